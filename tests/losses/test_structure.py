"""What holds of the losses whatever the numbers: invariances, transformations, limits, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_vjp
from objectives import (
    ALL,
    GAUSSIAN,
    OBJECTIVES,
    PAIRWISE,
    at_temperature,
    cases,
    cast,
    draw,
    step,
    weighted_sum,
)

from infonce_jax import losses

HOW = [{"implementation": "dense"}, {"implementation": "tiled", "tile": (3, 4)}]
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


def test_vmap_computes_one_of_both_ranges_for_the_batch():
    a, b, temperatures = *map(jnp.asarray, draw("infonce").rows), jnp.full((2, 3), 0.5)
    value = jax.value_and_grad(lambda t: losses.infonce(a, b, temperature=t, **HOW[1]))
    # A `cond` that had become a `select` would compute both branches for every member.
    jaxpr = str(jax.make_jaxpr(jax.vmap(jax.vmap(value)))(temperatures))
    assert len(re.findall(r"= cond\[", jaxpr)) == 2


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


def test_every_candidate_excluded_leaves_the_positive():
    a, b = map(jnp.asarray, draw("infonce", 5).rows)
    for how in HOW:
        options = {"temperature": 0.3, "exclude": jnp.zeros(5, int), **how}
        step = jax.value_and_grad(lambda a, o=options: losses.infonce(a, b, **o))
        value, gradient = jax.jit(step)(a)
        np.testing.assert_allclose(value, 0, atol=1e-6)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda a: losses.infonce(a, a[:2], temperature=1), r"\(4, 3\) and z2 \(2, 3\)"),
        (lambda a: losses.infonce(a[:0], a[:0], temperature=1), "empty"),
        (lambda a: losses.infonce(a, a, temperature=0), "temperature is 0"),
        (lambda a: losses.infonce(a, a, temperature=-1), "temperature is -1"),
        (lambda a: losses.infonce(a, a, temperature=float("nan")), "temperature is nan"),
        (lambda a: losses.infonce(a, a, temperature=1, implementation="fast"), "'fast'"),
        (lambda a: losses.infonce(a, a, temperature=1, implementation="ring"), "axis_name"),
        (lambda a: losses.infonce(a, a, temperature=1, reduction="max"), "'max'"),
        (lambda a: losses.infonce(a, a, temperature=1, similarity="l1"), "'l1'"),
        (lambda a: losses.infonce(a, a, temperature=1, tile=(0, 4)), r"tile is \(0, 4\)"),
        (lambda a: losses.infonce(a, a, temperature=1, exclude=jnp.zeros(3, int)), r"\[4, 4\]"),
        (lambda a: losses.moco(a, a, a[:, :2], temperature=1), r"\[queue, 3\]"),
        (lambda a: losses.infonce(a, a, negatives=a[:0], temperature=1), r"\[queue, 3\]"),
        (
            lambda a: losses.nt_xent(a, a, exclude=jnp.eye(4, dtype=bool), temperature=1),
            "integer per example",
        ),
        (lambda a: losses.sup_con(a, jnp.zeros(4), temperature=1), "float32"),
        (lambda a: losses.debiased_infonce(a, a, temperature=1, positive_prior=1), "prior is 1"),
        (lambda a: losses.clip(a, a, logit_scale=-1.0), "logit_scale is -1"),
        (lambda a: losses.uniformity(a[:1]), "two rows"),
        (lambda a: losses.barlow_twins(a, a, epsilon=0.0), "epsilon is 0"),
        (lambda a: losses.vicreg(a, a, epsilon=-1.0), "epsilon is -1"),
        (lambda a: losses.knn_entropy(a, k=2.5), "whole number"),
        (lambda a: losses.knn_entropy(a, k=float("nan")), "whole number"),
        (lambda a: losses.vicreg(a[:1], a[:1]), "two rows"),
        (lambda a: losses.microbatched(lambda w, x: x, 0), "size is 0"),
        (lambda a: losses.microbatched(lambda w, x, y: x, 2)(0, a, a[:3]), r"\[3, 4\]"),
    ],
)
def test_bad_input_is_refused(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 3)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_accumulated_in_float32(dtype):
    batch = draw("infonce", 256, 32, dtype=dtype)
    got, expected = (
        losses.infonce(*(jnp.asarray(z, kind) for z in batch.rows), temperature=0.1)
        for kind in (dtype, jnp.float32)
    )
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-2)


@pytest.mark.parametrize("symmetric", [True, False])
def test_terms_count_the_negatives_beside_the_batch(symmetric):
    a, b, beside = map(jnp.asarray, draw("negatives beside").rows)
    options = {"temperature": 0.3, "symmetric": symmetric, "negatives": beside}
    terms = losses.infonce_terms(a, b, **options)
    # All rows alike, the potential is the similarity itself, however many candidates there are.
    alike = [jnp.ones_like(z) for z in (a, b, beside)]
    same = losses.infonce_terms(alike[0], alike[1], **options | {"negatives": alike[2]})
    np.testing.assert_allclose(same.uniformity, 1 / 0.3, rtol=1e-6)
    assert terms.loss > losses.infonce(a, b, temperature=0.3, symmetric=symmetric)


def test_symmetric_is_the_mean_of_the_two_directions():
    a, b = map(jnp.asarray, draw("infonce").rows)
    forward, backward = (
        losses.infonce(*views, temperature=0.2, symmetric=False) for views in ((a, b), (b, a))
    )
    both = losses.infonce(a, b, temperature=0.2)
    np.testing.assert_allclose(both, (forward + backward) / 2, rtol=1e-5)


def test_integers_are_refused(unchecked_types):
    with pytest.raises(TypeError, match="int32"):
        losses.infonce(jnp.ones((4, 3), int), jnp.ones((4, 3), int), temperature=1)
