"""Every objective against float64 NumPy, and its invariances, with the same compiled programs.

The value, and every gradient by central differences. `step` compiles for an objective, an implementation
and a dtype once in a process, so what can do with these programs belongs into this file.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_vjp
from objectives import (
    ALL,
    DIM,
    GAUSSIAN,
    OBJECTIVES,
    PAIRWISE,
    VARIANTS,
    N,
    at_temperature,
    cases,
    cast,
    draw,
    has_temperature,
    step,
    weighted_sum,
)

from infonce_jax import losses


def _truth(name, batch):
    """The losses of a batch, and the gradients of their weighted sum."""
    arrays, scalars = len(batch.rows), list(batch.scalars)

    held = {"held": batch.rows} if ALL[name].holds_rows else {}

    def losses_of(*inputs):
        named = held | dict(zip(scalars, inputs[arrays:], strict=True))
        return ALL[name].reference(*inputs[:arrays], *batch.of_rows, **named)

    inputs = [*batch.rows, *(np.asarray(s) for s in batch.scalars.values())]
    slopes = references.jacobian(lambda *z: np.sum(losses_of(*z) * batch.weights), inputs)
    if ALL[name].held is not None:
        slopes[ALL[name].held][:] = 0
    return losses_of(*inputs), slopes


@functools.cache
def _batch_and_truth(name, dtype=jnp.float32, n=N, temperature=None):
    batch = draw(name, n, dtype=dtype)
    batch = at_temperature(batch, temperature) if temperature else batch
    return batch, *_truth(name, batch)


def _check(name, implementation, dtype=jnp.float32, tolerance=1e-5, of_slopes=None, **setting):
    batch, value, slopes = _batch_and_truth(name, dtype, **setting)
    rows, scalars, *rest = cast(batch, dtype)
    (_, got), (of_rows, of_scalars) = step(name, implementation)(rows, scalars, *rest)
    assert got.dtype == rest[-1].dtype
    _assert_close(got, value, tolerance)
    for gradient, row in zip(of_rows, rows, strict=True):
        assert gradient.dtype == row.dtype
    gradients = [*of_rows, *(of_scalars[k] for k in batch.scalars)]
    for gradient, slope in zip(gradients, slopes, strict=True):
        _assert_close(gradient, slope, of_slopes or tolerance)


def _assert_close(got, expected, tolerance):
    got, expected = np.asarray(got).astype(np.float64), np.asarray(expected)
    assert got.shape == expected.shape
    scale = max(np.max(np.abs(expected)), 1e-3)
    error = np.max(np.abs(got - expected)) / scale
    assert error < tolerance, f"relative error {error:.1e}"


@pytest.mark.parametrize("name, implementation", cases(ALL))
def test_agrees_in_float32(name, implementation):
    _check(name, implementation, tolerance=2e-5 if name in GAUSSIAN else 1e-5)


@pytest.mark.parametrize("name, implementation", cases(OBJECTIVES | GAUSSIAN))
def test_agrees_in_bfloat16(name, implementation):
    """Rows are exact in bfloat16; only the gradient is rounded to it."""
    _check(name, implementation, jnp.bfloat16, 1e-2)


@pytest.mark.parametrize("name", ["infonce", "sigreg", "wasserstein", "visreg", "koleo", "w_mse"])
def test_agrees_in_float16(name):
    implementation = "tiled" if ALL[name].pairwise else None
    _check(name, implementation, jnp.float16, 2e-5, of_slopes=1e-3)


def _in_clusters(batch, spread):
    """Rows of one class close together, and both views of a row."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(N, DIM))
    labels = np.arange(N) % 3 if spread else np.arange(N)
    rows = [centres[labels] + (spread or 0.01) * rng.normal(size=(N, DIM)) for _ in batch.rows]
    rows = [z if len(old) == N else old for z, old in zip(rows, batch.rows, strict=True)]
    exact = [np.asarray(jnp.asarray(z, jnp.bfloat16).astype(jnp.float32)) for z in rows]
    return batch._replace(rows=[z.astype(np.float64) for z in exact])


# The shared classes are those of the clusters: 0, 1 and 2, three rows of each.
@pytest.mark.parametrize("spread", [0.1, 0], ids=["clustered", "nearly aligned"])
@pytest.mark.parametrize("name", ALL)
def test_gradient_from_bfloat16_rows(name, spread):
    """Near the optimum too it is that of float64, but for the rounding of the result."""
    batch = _in_clusters(draw(name), spread)
    if spread:
        ids = np.arange(N) % 3
        shared = [ids if e.ndim == 1 else ids[:, None] == ids for e in batch.of_rows]
        batch = batch._replace(of_rows=shared)
    compiled = step(name, "dense" if ALL[name].pairwise else None)
    got = compiled(*cast(batch, jnp.bfloat16))[1][0]
    with jax.enable_x64(True):
        expected = jax.device_get(compiled(*cast(batch, jnp.float64))[1][0])
    got = np.stack([np.asarray(z.astype(jnp.float32), np.float64) for z in got if len(z) == N])
    expected = np.stack([z for z in expected if len(z) == N])
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert error < 2e-2, f"relative error {error:.1e}"


@pytest.mark.parametrize("name, implementation", cases(OBJECTIVES | GAUSSIAN))
def test_agrees_in_float64(name, implementation):
    """Nothing but rounding parts float32 from the formulas, at cold temperatures too."""
    with jax.enable_x64(True):
        # Logits of ±50 leave the range that is exponentiated as it is.
        for temperature in (None, 0.02) if has_temperature(name) else (None,):
            of_slopes = 1e-7 if name in GAUSSIAN else 1e-5
            tolerances = {"tolerance": 1e-11, "of_slopes": of_slopes}
            _check(name, implementation, jnp.float64, temperature=temperature, **tolerances)


@pytest.mark.parametrize("name, implementation", cases(OBJECTIVES))
def test_one_example(name, implementation):
    if ALL[name].least > 1:
        with pytest.raises(ValueError, match=r"at least two|batch >= "):
            step(name, implementation)(*cast(draw(name, 1)))
    else:
        _check(name, implementation, n=1)


def _zero(*positions):
    return lambda z: np.where(np.isin(np.arange(len(z)), positions)[:, None], 0.0, z)


DEGENERATE = {
    "as drawn": lambda z: z,
    "zero rows": _zero(0, 3),
    "all rows zero": lambda z: 0 * z,
    "duplicated rows": lambda z: z[np.arange(len(z)) // 2],
    "equal rows": lambda z: np.broadcast_to(z[0], z.shape),
}


@pytest.mark.parametrize("name, implementation", cases(OBJECTIVES | VARIANTS))
def test_degenerate_rows_and_a_cold_temperature(name, implementation):
    """Finite, and exact to rounding where the reference is finite."""
    for kind, spoil in DEGENERATE.items():
        for temperature in (None, 1e-3) if has_temperature(name) else (None,):
            batch = draw(name, dtype=np.float32)
            batch = batch._replace(rows=[spoil(z) for z in batch.rows])
            batch = at_temperature(batch, temperature) if temperature else batch
            (_, got), gradients = step(name, implementation)(*cast(batch))
            finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((got, gradients))]
            assert all(finite), f"{kind}, temperature {temperature}"
            if kind == "zero rows" and "scale" in ALL[name].invariances:
                # They have no direction to change.
                assert not any(jnp.any(g[jnp.array([0, 3])]) for g in gradients[0])
            with np.errstate(divide="ignore", invalid="ignore"):
                expected = ALL[name].reference(*batch.rows, *batch.of_rows, **batch.scalars)
            if np.isfinite(expected).all():
                error = np.max(np.abs(got - expected))
                # Similarities are rounded before they are divided by the temperature.
                largest = max(1, *(np.max(np.sum(z**2, axis=1)) for z in batch.rows))
                rounding = 4 * np.finfo(np.float32).eps * largest / (temperature or 1)
                tolerance = 1e-5 * max(np.max(np.abs(expected)), 1) + rounding
                assert error < tolerance, f"{kind}, temperature {temperature}: {error:.1e}"
            else:
                # Equal rows have an entropy of -inf; the estimates hold it at the resolution.
                assert name.startswith("regulariser")


NEAR_ZERO = {
    "infonce": {"temperature": 0.05},
    "one-way": {"temperature": 0.05},
    "nt_xent": {"temperature": 0.05},
    "clip": {"logit_scale": 20.0},
    "siglip": {"logit_scale": 60.0, "logit_bias": -30.0},
    "moco": {"temperature": 0.04},
}


def _aligned_views():
    """Rows on the sphere in bfloat16 as well: 3/4 similar to their partner, at most 1/4 to others."""
    signs = list(itertools.product((-0.5, 0.5), repeat=4))
    rows = np.array([np.insert(s, k, 0.0) for k in range(DIM) for s in signs])
    # In this order enough of them are found.
    similarity, order = rows @ rows.T, np.random.default_rng(3).permutation(len(rows))
    chosen = []
    for i, j in itertools.product(order, order):
        if similarity[i, j] == 0.75 and (similarity[[i, j]][:, chosen] <= 0.25).all():
            chosen += [i, j]
    return rows[chosen[: 2 * N : 2]], rows[chosen[1 : 2 * N : 2]]


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
@pytest.mark.parametrize("name", NEAR_ZERO)
def test_exact_where_the_loss_is_nearly_zero(name, dtype, tolerance):
    """Relative to the loss itself: a positive among its own candidates would leave rounding alone."""
    a, b = _aligned_views()
    rows = {"a": a, "b": b, "q": np.concatenate([np.eye(DIM), -np.eye(DIM)])[:7]}
    batch = draw(name)
    batch = batch._replace(
        rows=[rows[k] for k in ALL[name].rows],
        scalars=NEAR_ZERO[name],
        weights=batch.weights / np.sum(batch.weights),
    )
    value, slopes = _truth(name, batch)
    mean = np.sum(value * batch.weights)
    assert 1e-9 < mean < 0.02
    for implementation in ("dense", "tiled"):
        (got, _), gradients = step(name, implementation)(*cast(batch, dtype))
        assert got == pytest.approx(mean, rel=tolerance)
        by_name = [*gradients[0], *(gradients[1][k] for k in batch.scalars)]
        for gradient, slope in zip(by_name, slopes, strict=True):
            error = np.linalg.norm(np.asarray(gradient, np.float64) - slope)
            assert error <= tolerance * np.linalg.norm(slope), f"{implementation}: {error:.1e}"


@pytest.mark.parametrize("name", [k for k, o in OBJECTIVES.items() if o.reduction])
def test_reductions(name):
    rows, scalars, of_rows, _ = cast(draw(name))

    @jax.jit
    def reduced(rows, scalars):
        how = [{"reduction": kind} for kind in ("none", "sum", "mean")]
        return [OBJECTIVES[name].loss(*rows, *of_rows, **scalars, **options) for options in how]

    each, total, mean = reduced(rows, scalars)
    counted = N
    if name.startswith("sup_con"):
        counted = int(references.has_positive(np.asarray(*of_rows)).sum())
        assert counted < N
    assert each.shape == (N,)
    np.testing.assert_allclose([total, mean], [each.sum(), each.sum() / counted], rtol=1e-6)


def test_sup_con_of_two_views_is_nt_xent():
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("infonce").rows)
    labels = jnp.tile(jnp.arange(N), 2)

    @jax.jit
    def both(a, b):
        supervised = losses.sup_con(jnp.concatenate([a, b]), labels, temperature=0.3)
        return supervised, losses.nt_xent(a, b, temperature=0.3)

    np.testing.assert_allclose(*both(a, b), rtol=1e-6)


def test_terms_add_up():
    views = draw("infonce").rows
    a, b = (jnp.asarray(z, jnp.float32) for z in views)
    count = {losses.infonce_terms: N, losses.nt_xent_terms: 2 * N - 1}
    for function, candidates in count.items():
        for reduction, rows in (("mean", 1), ("sum", N), ("none", 1)):
            terms = function(a, b, temperature=0.2, reduction=reduction)
            total = terms.uniformity - terms.alignment / 0.2 + rows * jnp.log(candidates)
            np.testing.assert_allclose(terms.loss, total, rtol=2e-6, atol=1e-6)
            cosine = -references.negative_cosine(*views)
            if reduction == "mean":
                np.testing.assert_allclose(terms.alignment, cosine.mean(), rtol=1e-6)
    terms = losses.infonce_terms(a, b, temperature=0.2, symmetric=False)
    inner = np.mean(np.exp(references.similarities(*views, normalize=True) / 0.2), axis=1)
    np.testing.assert_allclose(terms.uniformity, np.mean(np.log(inner)), rtol=1e-5)


# --- invariances and transformations --------------------------------------------------------------

RNG = np.random.default_rng(6)
# Rows of a group of three stay together.
ORDER = np.array([5, 4, 3, 0, 2, 1, 8, 6, 7])
ROTATION = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
SCALES = 10 ** RNG.uniform(-20, 20, (9, 1))


def _close(got, expected, rtol=1e-5):
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=rtol * max(float(jnp.max(jnp.abs(e))), 1e-3))


def _permuted(batch):
    # A queue has fewer rows, in an order of its own.
    rows = [z[ORDER] if len(z) == len(ORDER) else z[::-1] for z in batch.rows]
    of_rows = [e[ORDER] if e.ndim == 1 else e[np.ix_(ORDER, ORDER)] for e in batch.of_rows]
    return batch._replace(rows=rows, of_rows=of_rows)


def _by_rows(function):
    return lambda batch: batch._replace(rows=[function(z) for z in batch.rows])


def _exchanged(batch):
    return batch._replace(rows=batch.rows[::-1], of_rows=[e.T for e in batch.of_rows])


# name: the batch, changed, and what becomes of its losses
TRANSFORMATIONS = {
    "permutation": (_permuted, lambda value: value[ORDER] if value.ndim else value),
    "rotation": (_by_rows(lambda z: z @ ROTATION), lambda value: value),
    "scale": (_by_rows(lambda z: z * SCALES[: len(z)]), lambda value: value),
    "translation": (_by_rows(lambda z: z + np.arange(5)), lambda value: value),
    "exchange": (_exchanged, lambda value: value),
    # Rows become columns: only the sum over all pairs is the same.
    "exchange of the sum": (_exchanged, None),
}


@pytest.mark.parametrize("name, implementation", cases(ALL))
def test_invariances(name, implementation):
    def losses_of(batch):
        return step(name, implementation)(*cast(batch))[0][1]

    batch = draw(name)
    value = losses_of(batch)
    for kind in ("permutation", *ALL[name].invariances):
        change, follow = TRANSFORMATIONS[kind]
        got = losses_of(change(batch))
        if follow:
            _close(got, follow(value))
        else:
            _close(jnp.sum(got), jnp.sum(value))


@pytest.mark.parametrize("name, implementation", cases(OBJECTIVES | GAUSSIAN))
def test_vmap_equals_the_loop(name, implementation):
    # The colder member leaves the range of logits that is exponentiated as it is.
    members = [cast(draw(name, seed=1)), cast(at_temperature(draw(name, seed=2), 0.02))]
    one = step(name, implementation)
    stacked, looped = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        for each in (members, [one(*member) for member in members])
    )
    _close(jax.jit(jax.vmap(one))(*stacked), looped)


def _line(name):
    """A direction in the space of rows and scalars, and the batch so far along it, in float64."""
    *start, of_rows, weights = cast(draw(name), jnp.float64)
    rng = np.random.default_rng(4)
    direction = jax.tree.map(lambda z: jnp.asarray(rng.normal(size=z.shape)), start)
    if ALL[name].held is not None:
        direction[0][ALL[name].held] *= 0

    def at(length):
        return *jax.tree.map(lambda z, v: z + length * v, start, direction), of_rows, weights

    return direction, at


@pytest.mark.parametrize("name, implementation", cases(OBJECTIVES))
def test_check_grads(name, implementation):
    with jax.enable_x64(True):
        direction, at = _line(name)

        def with_pullback(length):
            (total, _), gradient = step(name, implementation)(*at(length))
            slope = sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))
            return total, lambda cotangent: (cotangent * slope,)

        tolerance = {"rtol": 1e-6, "atol": 1e-6, "eps": 1e-5}
        check_vjp(lambda t: with_pullback(t)[0], with_pullback, (jnp.zeros(()),), **tolerance)


@pytest.mark.parametrize(
    "name", [*OBJECTIVES, "sigreg, unbiased", "anderson_darling", "w_mse", "koleo"]
)
def test_second_derivative_of_the_dense_form(name):
    implementation = "dense" if ALL[name].pairwise else None
    with jax.enable_x64(True):
        _, at = _line(name)
        gradient = jax.grad(weighted_sum(name, implementation), (0, 1), has_aux=True)
        curvature = jax.jit(lambda: jax.jvp(lambda t: gradient(*at(t))[0], (0.0,), (1.0,))[1])()
        ahead, behind = (step(name, implementation)(*at(t))[1] for t in (1e-5, -1e-5))
        difference = jax.tree.map(lambda a, b: (a - b) / 2e-5, ahead, behind)
        _close(curvature, difference, 1e-6)


@given(
    name=st.sampled_from(PAIRWISE),
    n=st.integers(2, 40),
    dim=st.integers(1, 9),
    tile=st.tuples(st.integers(1, 45), st.integers(1, 45)),
    temperature=st.sampled_from([0.01, 0.1, 1.0]),
)
@settings(max_examples=5, deadline=None, derandomize=True)
def test_tiled_equals_dense(name, n, dim, tile, temperature):
    with jax.enable_x64(True):
        batch = cast(at_temperature(draw(name, n, dim, seed=n), temperature), jnp.float64)
        _close(step(name, "tiled", tile)(*batch), step(name, "dense")(*batch), 1e-9)
