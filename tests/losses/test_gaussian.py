"""The objectives that ask for a Gaussian: against float64 NumPy, against peers, and their laws."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives import DIM, DIRECTIONS, GAUSSIAN, N, cast, draw, step

from infonce_jax import losses

HERE = Path(__file__).parent
SLICED = [
    losses.sigreg,
    losses.sliced_wasserstein,
    losses.sliced_cramer_von_mises,
    losses.sliced_anderson_darling,
    losses.visreg,
]


def _assert_close(got, expected, tolerance):
    got, expected = np.asarray(got).astype(np.float64), np.asarray(expected)
    assert got.shape == expected.shape
    error = np.max(np.abs(got - expected)) / max(np.max(np.abs(expected)), 1e-3)
    assert error < tolerance, f"relative error {error:.1e}"


def value_and_gradients(name, batch, dtype=jnp.float32):
    (value, _), (of_rows, of_scalars) = step(name, None)(*cast(batch, dtype))
    return value, of_rows, of_scalars


DEGENERATE = {
    "zero rows": lambda z: np.where(np.isin(np.arange(N), (0, 3))[:, None], 0, z),
    "all zero": np.zeros_like,
    "equal rows": lambda z: np.broadcast_to(z[0], z.shape),
    "duplicated rows": lambda z: z[np.arange(N) // 2],
    "far out": lambda z: 1e6 * z,
}


@pytest.mark.parametrize("name", GAUSSIAN)
def test_degenerate_rows_are_finite(name):
    batch = draw(name)
    for kind, spoil in DEGENERATE.items():
        found = value_and_gradients(name, batch._replace(rows=list(map(spoil, batch.rows))))
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found)), kind


@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_fewest_rows(name):
    least = GAUSSIAN[name].least
    if least == 1:
        found = value_and_gradients(name, draw(name, 1))
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))
    elif not (name.endswith("pooled, unbiased") or "groups" in name):
        with pytest.raises(ValueError, match=r"at least two rows|more rows than dimensions"):
            value_and_gradients(name, draw(name, least - 1))


@pytest.mark.parametrize("loss", SLICED)
def test_blocks_and_keys(loss):
    z = jnp.asarray(draw("sigreg").rows)
    key = jax.random.key(3)
    directions = losses.random_directions(key, DIM, 10)
    np.testing.assert_allclose(jnp.sum(directions**2, axis=0), 1, rtol=1e-6)

    def value_and_gradient(**options):
        return jax.jit(jax.value_and_grad(functools.partial(loss, **options)))(z)

    drawn = value_and_gradient(key=key, n_directions=10)
    for block in (4, 99):
        found = value_and_gradient(directions=directions, block=block)
        for got, want in zip(found, drawn, strict=True):
            _assert_close(got, want, 1e-5)
    other = value_and_gradient(key=jax.random.key(4), n_directions=10)
    assert abs(other[0] - drawn[0]) > 1e-4


@pytest.mark.parametrize("loss", [losses.sigreg, losses.visreg])
def test_memory_does_not_grow_with_the_directions(loss):
    rows = jax.ShapeDtypeStruct((2, 512, 32), jnp.float32)

    def memory(count):
        directions = jax.ShapeDtypeStruct((32, count), jnp.float32)
        step = jax.jit(jax.grad(lambda z, a: loss(z, directions=a, block=32)))
        return step.lower(rows, directions).compile().memory_analysis().temp_size_in_bytes

    few, many = memory(64), memory(4096)
    # The projections alone would take 16 MB.
    assert many < few + 4e6


def test_the_unbiased_mean_does_not_depend_on_the_batch_size():
    """And that of the published statistic does: it is n·D + C."""
    rng = np.random.default_rng(1)
    count = 2**15
    directions = jnp.asarray(DIRECTIONS, jnp.float32)
    for law in (rng.normal, rng.laplace):
        rows = jnp.asarray(law(size=(count, DIM)), jnp.float32)
        found = {}
        for n in (4, 16, 64):
            batches = rows.reshape(-1, n, DIM)
            for unbiased in (True, False):
                loss = functools.partial(losses.sigreg, directions=directions, unbiased=unbiased)
                each = jax.jit(jax.vmap(loss))(batches)
                error = jnp.std(each) / np.sqrt(len(batches))
                found[n, unbiased] = float(jnp.mean(each)), float(error)
        of_all = float(losses.sigreg(rows, directions=directions, unbiased=True))
        for n in (4, 16, 64):
            mean, error = found[n, True]
            assert abs(mean - of_all) < 4 * error
        # By the relation of the two: V = (n - 1) U + C, up to the noise of both.
        slope = (found[64, False][0] - found[4, False][0]) / 60
        tolerance = 4 * (found[64, False][1] + found[4, False][1]) / 60
        assert abs(slope - of_all) < tolerance
    assert of_all > 0.003
    assert found[64, False][0] > found[4, False][0] + 0.2


def test_means_for_a_gaussian_are_the_known_ones():
    # Of n points of the null: 1 for Anderson-Darling and 1/6 for Cramér-von Mises, whatever n.
    batches = jax.random.normal(jax.random.key(0), (2000, 10, DIM))
    directions = jnp.asarray(DIRECTIONS, jnp.float32)
    for loss, mean in (
        (losses.sliced_anderson_darling, 1),
        (losses.sliced_cramer_von_mises, 1 / 6),
    ):
        each = jax.jit(jax.vmap(functools.partial(loss, directions=directions)))(batches)
        assert abs(jnp.mean(each) - mean) < 4 * jnp.std(each) / np.sqrt(2000)


def test_wasserstein_of_a_scaled_gaussian_is_the_square_of_the_difference():
    z = jax.random.normal(jax.random.key(0), (20_000, 3))
    for scale in (0.5, 2.0):
        found = losses.sliced_wasserstein(scale * z, key=jax.random.key(1), n_directions=16)
        assert float(found) == pytest.approx((scale - 1) ** 2, rel=0.05)


def test_visreg_keeps_its_gradient_as_rows_collapse_and_sigreg_does_not():
    z = jax.random.normal(jax.random.key(0), (64, DIM))
    directions = jnp.asarray(DIRECTIONS, jnp.float32)

    def slope(loss, scale):
        return -float(jax.grad(lambda s: loss(s * z, directions=directions))(scale))

    scale_term = functools.partial(losses.visreg, shape_weight=0.0)
    assert slope(scale_term, 1e-3) == pytest.approx(slope(scale_term, 1e-1), rel=0.2)
    assert slope(losses.sigreg, 1e-3) < 0.02 * slope(losses.sigreg, 1e-1)


def test_the_two_forms_of_lejepa():
    rows, *_ = cast(draw("lejepa"))
    loss = GAUSSIAN["lejepa"].loss
    weight = 0.2
    published = loss(*rows, weight=weight)
    additive = loss(*rows, weight=weight / (1 - weight), additive=True)
    np.testing.assert_allclose(published, (1 - weight) * additive, rtol=1e-6)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_minimisation_lowers_the_objective(name):
    """Plain gradient descent in float32: the gradient points where the loss falls."""
    batch = draw(name)
    before, gradient, _ = value_and_gradients(name, batch)
    square = sum(float(jnp.sum(g**2)) for g in gradient)
    length = 1e-3 * abs(float(before)) / square
    moved = [z - length * np.asarray(g) for z, g in zip(batch.rows, gradient, strict=True)]
    after = value_and_gradients(name, batch._replace(rows=moved))[0]
    assert after < before


# --- peers ----------------------------------------------------------------------------------------


@functools.cache
def peers():
    with np.load(HERE / "gaussian_peers.npz") as record:
        return dict(record)


def _visreg_loss(z, directions):
    options = {"scale_weight": 0.7, "centre_weight": 1.3, "directions": directions}
    return 0.1 * losses.view_prediction(z, n_global=2) + 0.9 * losses.visreg(z, **options)


PEERS = {
    "lightly SIGReg": lambda z, a: losses.sigreg(z, directions=a),
    "lightly LeJEPALoss": lambda z, a: losses.lejepa(z, weight=0.2, n_global=2, directions=a),
    "stable-pretraining EppsPulley, pooled": lambda z, a: losses.sigreg(
        z, directions=a, pooled=True
    ),
    "lightly VISRegLoss": _visreg_loss,
    "lightly KoLeoLoss": lambda z, a: losses.koleo(z[0]),
    "lightly W-MSE": lambda z, a: losses.w_mse(z[0], z[1]),
}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_the_peer(name):
    """Values and gradients that record_gaussian_peers.py has recorded, in float64."""
    with jax.enable_x64(True):
        views, directions = (jnp.asarray(peers()[k]) for k in ("views", "directions"))
        value, gradient = jax.jit(jax.value_and_grad(PEERS[name]))(views, directions)
    _assert_close(value, peers()[name], 1e-6)
    _assert_close(gradient, peers()[f"{name} gradient"], 1e-6)


def test_peers_of_measures():
    views = peers()["views"]
    with jax.enable_x64(True):
        found = {
            "stable-pretraining LiDAR": losses.lidar(views.transpose(1, 0, 2)),
            "IsoScore": losses.isoscore(views[0]),
            "cka-pytorch HSIC, unbiased": losses.cka(views[0], views[1], unbiased=True),
        }
    for name, value in found.items():
        _assert_close(value, peers()[name], 1e-6)


# --- devices --------------------------------------------------------------------------------------


def test_directions_that_differ_between_devices_are_refused():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(z):
        key = jax.random.fold_in(jax.random.key(0), jax.lax.axis_index("data"))
        return losses.sigreg(z, key=key, n_directions=4, axis_name="data")

    spec = jax.sharding.PartitionSpec
    mapped = jax.shard_map(loss, mesh=mesh, in_specs=spec("data"), out_specs=spec())
    with pytest.raises(ValueError, match="directions differ between the devices of axis data"):
        jax.eval_shape(mapped, jnp.ones((8, 3)))


# --- errors ---------------------------------------------------------------------------------------

Z = jnp.ones((2, 8, 3))
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: losses.sigreg(Z), "either key.*neither is given"),
        (lambda: losses.sigreg(Z, key=KEY, directions=jnp.eye(3)), "both are given"),
        (lambda: losses.sigreg(Z, directions=jnp.eye(4)), r"\(4, 4\) and z \(2, 8, 3\)"),
        (lambda: losses.sigreg(Z[0, 0], key=KEY), r"shape \(3,\)"),
        (lambda: losses.sigreg(Z[:, :0], key=KEY), r"shape \(2, 0, 3\)"),
        (lambda: losses.sigreg(Z[:, :1], key=KEY, unbiased=True), "at least two rows"),
        (lambda: losses.sigreg(Z, key=KEY, knots=1), "knots is 1; pass a whole number"),
        (lambda: losses.sigreg(Z, key=KEY, t_max=0), "t_max is 0"),
        (lambda: losses.sigreg(Z, key=KEY, n_directions=0), "n_directions is 0"),
        (lambda: losses.sigreg(Z, key=KEY, block=2.5), "block is 2.5"),
        (lambda: losses.lejepa(Z[0], key=KEY), "at least two views"),
        (lambda: losses.view_prediction(Z, n_global=3), "n_global is 3"),
        (lambda: losses.visreg(Z, key=KEY, epsilon=0.0), "epsilon is 0"),
        (lambda: losses.koleo(Z[0], epsilon=-1.0), "epsilon is -1"),
        (lambda: losses.w_mse(Z[0, :3], Z[1, :3]), "more rows than dimensions"),
        (lambda: losses.w_mse(Z[0], Z[1], sub_batch=3), "sub_batch is 3"),
        (lambda: losses.w_mse(Z[0], Z[1], sub_batch=2), "more rows than dimensions"),
        (lambda: losses.w_mse(Z[0], Z[1], epsilon=2.0), "epsilon is 2"),
        (lambda: losses.spectral_contrastive(Z[0], Z[1], square_radius=0.0), "square_radius is 0"),
        (lambda: losses.spectral_contrastive(Z[0], Z[1, :4]), r"z2 \(4, 3\)"),
    ],
)
def test_bad_input_is_named(unchecked_types, call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def test_integers_and_traced_options_are_refused(unchecked_types):
    with pytest.raises(TypeError, match="z has dtype int32"):
        losses.sigreg(jnp.ones((4, 3), int), key=KEY)
    with pytest.raises(TypeError, match="unbiased is 'no'"):
        losses.sigreg(Z, key=KEY, unbiased="no")
    for option in ("n_directions", "knots", "block"):
        with pytest.raises(TypeError, match=f"(?s){option} is traced.*static_argnames"):
            jax.eval_shape(lambda v, o=option: losses.sigreg(Z, key=KEY, **{o: v}), 4)
