"""What users' programs meet: rows of any dtype, wide ids, meshes, export, eager loops."""

import functools
import gc
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from jax import export
from objectives import ALL, OBJECTIVES, cast, draw

from infonce_jax import losses

HOW = ("dense", "tiled")


def _in_float64(function, *rows):
    with jax.enable_x64(True):
        return jax.device_get(function(*(jnp.asarray(z, jnp.float64) for z in rows)))


def _error(got, expected):
    got, expected = (np.asarray(z, np.float64) for z in (got, expected))
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


# --- rows in bfloat16 -----------------------------------------------------------------------------


def _clustered(size, noise, n=256, dim=64):
    """Two views of rows in clusters, exact in bfloat16, and the cluster of each."""
    rng = np.random.default_rng(0)
    centre = np.repeat(rng.normal(size=(n // size, dim)), size, axis=0)
    views = [jnp.asarray(centre + noise * rng.normal(size=(n, dim)), jnp.bfloat16) for _ in "ab"]
    return [np.asarray(z.astype(jnp.float32), np.float64) for z in views], np.arange(n) // size


OF_CLUSTERS = {
    "sup_con": lambda a, b, c: losses.sup_con(
        jnp.concatenate([a, b]), jnp.tile(c, 2), temperature=0.1
    ),
    "sup_con mask": lambda a, b, c: losses.sup_con(
        jnp.concatenate([a, b]), jnp.tile(c[:, None] == c[None, :], (2, 2)), temperature=0.1
    ),
    "sup_con tiled": lambda a, b, c: losses.sup_con(
        jnp.concatenate([a, b]), jnp.tile(c, 2), temperature=0.1, implementation="tiled"
    ),
    "infonce": lambda a, b, c: losses.infonce(a, b, temperature=0.1),
    "infonce tiled": lambda a, b, c: losses.infonce(a, b, temperature=0.1, implementation="tiled"),
    "nt_xent": lambda a, b, c: losses.nt_xent(a, b, temperature=0.1),
    "dcl": lambda a, b, c: losses.dcl(a, b, temperature=0.1),
    "debiased": lambda a, b, c: losses.debiased_infonce(a, b, temperature=0.1, hardness=0.5),
    "siglip": lambda a, b, c: losses.siglip(a, b, logit_scale=10.0, logit_bias=-5.0),
    "moco": lambda a, b, c: losses.moco(a, b, b[::-1], temperature=0.1),
}


@pytest.mark.parametrize("name", OF_CLUSTERS)
def test_gradient_from_bfloat16_rows_in_clusters(name):
    gradient = jax.jit(jax.grad(OF_CLUSTERS[name], (0, 1)))
    # 2 a class with noise 0.01 is a batch of nearly aligned pairs.
    for size, noise in ((8, 0.1), (8, 0.3), (32, 0.3), (2, 0.1), (2, 0.01)):
        views, labels = _clustered(size, noise)
        labels = jnp.asarray(labels, jnp.int32)
        got = gradient(*(jnp.asarray(z, jnp.bfloat16) for z in views), labels)
        expected = _in_float64(lambda a, b, c=labels: gradient(a, b, c), *views)
        error = _error(np.stack([z.astype(jnp.float32) for z in got]), np.stack(expected))
        assert error < 1e-2, f"{size} a class, noise {noise}: {error:.1e}"


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
def test_sup_con_of_pairs_keeps_its_digits_near_zero(dtype, tolerance):
    """64 pairs at a loss of about 1e-7, by labels and by a mask, dense and tiled."""
    rng = np.random.default_rng(1)
    a = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    z = np.concatenate([a, a + 0.03 * rng.normal(size=a.shape)]).astype(np.float32)
    z = np.asarray(jnp.asarray(z, dtype).astype(jnp.float32), np.float64)
    labels = np.tile(np.arange(64), 2)
    expected = _in_float64(lambda z: losses.nt_xent(z[:64], z[64:], temperature=0.04), z)
    slope = _in_float64(jax.grad(lambda z: losses.nt_xent(z[:64], z[64:], temperature=0.04)), z)
    assert 0 < expected < 1e-6
    for positives in (labels, labels[:, None] == labels):
        for how in HOW:
            loss = functools.partial(
                losses.sup_con, positives=positives, temperature=0.04, implementation=how
            )
            value, gradient = jax.jit(jax.value_and_grad(lambda z, f=loss: f(z)))(
                jnp.asarray(z, dtype)
            )
            assert value > 0
            assert value == pytest.approx(expected, rel=tolerance)
            assert _error(gradient.astype(jnp.float32), slope) < tolerance


def test_sup_con_of_three_rows_keeps_its_digits_near_zero():
    z = np.array([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0], [0.4, 0.0, 1.0]])
    labels = np.array([0, 0, 1])
    expected = references.sup_con(z, labels, temperature=0.07)[:2].mean()
    assert 1e-5 < expected < 1e-2
    got = losses.sup_con(jnp.asarray(z, jnp.float32), labels, temperature=0.07)
    np.testing.assert_allclose(got, expected, rtol=5e-6)


def test_float8_is_refused():
    z = jnp.ones((4, 3), jnp.float8_e4m3fn)
    for how in HOW:
        with pytest.raises(TypeError, match=r"z1 has dtype float8_e4m3fn.*astype\(jnp.bfloat16\)"):
            losses.infonce(z, z, temperature=1, implementation=how)


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_ids_beyond_32_bits(how, dtype):
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("infonce", 12).rows)
    wide = (np.arange(12) * 2.0**32).astype(dtype)
    options = {"temperature": 0.1, "implementation": how}
    pairs = np.arange(12) // 2

    def check(got, expected):
        np.testing.assert_allclose(got, expected, rtol=1e-6)

    for run in (lambda f: f(), lambda f: jax.jit(f)()):
        infonce = losses.infonce(a, b, **options)
        check(run(lambda: losses.infonce(a, b, exclude=wide, **options)), infonce)
        check(
            run(lambda: losses.sup_con(a, wide[pairs], **options)),
            losses.sup_con(a, jnp.asarray(pairs), **options),
        )
        check(
            run(lambda: losses.infonce(a, b, positives=wide, **options)),
            infonce,
        )
    assert infonce > 0.1


def test_ids_of_labels():
    assert losses.ids_of(["cat", "dog", "cat"]).tolist() == [0, 1, 0]
    assert losses.ids_of(np.array([2**40, 5, 2**40])).tolist() == [1, 0, 1]
    assert losses.ids_of(np.array([[1, 2], [1, 3], [1, 2]])).tolist() == [0, 1, 0]
    unknown = losses.ids_of(np.array([3, -1, 3, -1]), unknown=-1)
    assert unknown[0] == unknown[2] and len(set(unknown.tolist())) == 3
    traced = jax.jit(functools.partial(losses.ids_of, unknown=-1))(jnp.array([3, -1, 3, -1]))
    assert traced[0] == traced[2] and len(set(traced.tolist())) == 3
    halves = jax.jit(losses.ids_of)(jnp.array([[0, 1], [1, 0], [0, 1]]))
    assert halves[0] == halves[2] != halves[1]
    with pytest.raises(ValueError, match="one label per row"):
        losses.ids_of(np.zeros((2, 2, 2)))


def test_a_row_without_negatives_is_warned_of():
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("infonce", 4).rows)
    with pytest.warns(UserWarning, match="exclude leaves 4 of 4 rows without a negative"):
        losses.infonce(a, b, exclude=jnp.zeros(4, int), temperature=1)
    mask = np.zeros((4, 4), bool)
    mask[1] = True
    with pytest.warns(UserWarning, match="exclude leaves 1 of 4"):
        each = losses.infonce(a, b, exclude=mask, temperature=1, symmetric=False, reduction="none")
    assert each[1] == 0
    with warnings.catch_warnings(action="error"):
        losses.infonce(a, b, exclude=mask, negatives=a, temperature=1)
        losses.infonce(a, b, exclude=np.arange(4), temperature=1)


# --- programs -------------------------------------------------------------------------------------


def test_eager_calls_of_the_tiled_form_compile_once():
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("infonce", 64).rows)

    def call(scale):
        options = {"temperature": 0.1 * scale, "implementation": "tiled", "tile": (16, 16)}
        losses.nt_xent(a * scale, b, **options)
        jax.grad(lambda z: losses.infonce(z, b, symmetric=False, **options))(a)
        losses.siglip(
            a, b, logit_scale=scale, logit_bias=0.0, implementation="tiled", reduction="none"
        )
        losses.sup_con(a, jnp.eye(64, dtype=bool)[::-1], **options)

    call(1.0)
    compiled = []
    listen = lambda event, duration, **_: compiled.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for k in range(2, 4):
            call(float(k))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    gc.collect()
    assert not [event for event in compiled if "backend_compile" in event]


# Order statistics have tables of the batch's size, and whitening compares it with the dimension.
_NEED_THE_SIZE = ("wasserstein", "cramer_von_mises", "anderson_darling", "visreg", "w_mse")
EXPORTED = [
    name for name, o in ALL.items() if o.rows != "abq" and not name.startswith(_NEED_THE_SIZE)
]


# JAX publishes no type for a symbolic size.
@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", EXPORTED)
def test_export_with_a_symbolic_batch(name):
    objective = ALL[name]
    batch = draw(name)
    rows, scalars, of_rows, _ = cast(batch)
    # The nearest neighbours ask for more rows than there are of these.
    (n,) = export.symbolic_shape("n", constraints=["n >= 4"])

    def sizes(a):
        return jax.ShapeDtypeStruct(tuple(n if s == 9 else s for s in a.shape), a.dtype)

    def loss(rows, of_rows):
        return objective.loss(*rows, *of_rows, **scalars)

    exported = export.export(jax.jit(loss))(*jax.tree.map(sizes, (rows, of_rows)))
    np.testing.assert_allclose(
        jax.jit(exported.call)(rows, of_rows), loss(rows, of_rows), rtol=1e-5, atol=1e-6
    )


def test_the_tiled_form_says_that_it_needs_the_size():
    (n,) = export.symbolic_shape("n")
    rows = jax.ShapeDtypeStruct((n, 8), jnp.float32)
    loss = jax.jit(lambda z: losses.infonce(z, z, temperature=1, implementation="tiled"))
    with pytest.raises(ValueError, match=r"'tiled' and the batch has the symbolic size n.*'dense'"):
        export.export(loss)(rows)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda a: losses.siglip(a, a, logit_scale=-1.0, logit_bias=0.0),
            "logit_scale is -1.0; it must be positive",
        ),
        (lambda a: losses.infonce(a, a, temperature=1e-45), "temperature is 1e-45, outside of the"),
        (lambda a: losses.infonce(a, a, temperature=float("inf")), "temperature is inf, outside"),
        (
            lambda a: losses.infonce(a, a * 1e20, temperature=1, normalize=False),
            r"z2 has a row of norm 1\.\de\+20.*divide the rows",
        ),
        (
            lambda a: losses.moco(a, a, a * 1e20, temperature=1, normalize=False),
            "negatives has a row of norm",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 3)))


# --- meshes ---------------------------------------------------------------------------------------


def _mapped(loss, specs):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=jax.P())


@pytest.mark.parametrize(
    "specs, name",
    [
        ((jax.P(), jax.P(), jax.P()), "z1"),
        ((jax.P("data"), jax.P(), jax.P("data")), "z2"),
        ((jax.P("data"), jax.P("data"), jax.P()), "exclude"),
    ],
)
def test_rows_that_are_the_same_on_every_device_are_refused(specs, name):
    a = jnp.ones((4, 3))

    def loss(z1, z2, ids):
        return losses.infonce(z1, z2, exclude=ids, temperature=1, axis_name="data")

    with pytest.raises(ValueError, match=f"{name} does not vary over 'data'.*in_specs"):
        jax.eval_shape(_mapped(loss, specs), a, a, jnp.arange(4))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_refuses_replicated_rows(name):
    objective = OBJECTIVES[name]
    rows, scalars, of_rows, _ = cast(draw(name))

    def loss(rows, of_rows):
        return objective.loss(*rows, *of_rows, **scalars, axis_name=["data"])

    with pytest.raises(ValueError, match="does not vary over 'data'"):
        jax.eval_shape(_mapped(loss, (jax.P(), jax.P())), rows, of_rows)


def test_axis_names_may_be_a_list():
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("infonce").rows)
    for how in ("dense", "tiled", "ring"):

        def loss(a, b, how=how):
            return losses.infonce(a, b, temperature=1, axis_name=["data"], implementation=how)

        got = jax.jit(_mapped(loss, jax.P("data")))(a, b)
        np.testing.assert_allclose(got, losses.infonce(a, b, temperature=1), rtol=1e-6)
