"""What holds of the losses whatever the numbers: invariances, limits, transformations, errors."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from infonce_jax import losses

TWO_VIEWS = {
    "infonce": lambda a, b, **kw: losses.infonce(a, b, temperature=0.3, **kw),
    "one-way": lambda a, b, **kw: losses.infonce(a, b, temperature=0.3, symmetric=False, **kw),
    "nt_xent": lambda a, b, **kw: losses.nt_xent(a, b, temperature=0.3, **kw),
    "dcl": lambda a, b, **kw: losses.dcl(a, b, temperature=0.3, **kw),
    "debiased": lambda a, b, **kw: losses.debiased_infonce(
        a, b, temperature=0.3, hardness=0.5, **kw
    ),
    "siglip": lambda a, b, **kw: losses.siglip(a, b, logit_scale=5.0, logit_bias=-3.0, **kw),
}
HOW = [{"implementation": "dense"}, {"implementation": "tiled", "tile": (3, 4)}]


def _views(n, dim, seed=0):
    a, b = jax.random.normal(jax.random.key(seed), (2, n, dim))
    return a, a + 0.7 * b


def _close(got, expected, rtol=1e-5):
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=rtol * max(float(jnp.max(jnp.abs(e))), 1e-3))


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_permutation_rotation_and_exchange_of_the_views(name):
    loss, (a, b) = TWO_VIEWS[name], _views(10, 4)
    order = jax.random.permutation(jax.random.key(1), 10)
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.key(2), (4, 4)))[0]
    for how in HOW:
        each = jax.jit(lambda a, b, how=how: loss(a, b, reduction="none", **how))
        _close(each(a[order], b[order]), each(a, b)[order])
        _close(each(a @ rotation, b @ rotation), each(a, b), 2e-5)
        if name == "siglip":
            # Rows become columns: only the sum over all pairs is the same.
            _close(each(b, a).sum(), each(a, b).sum())
        elif name != "one-way":
            _close(each(b, a), each(a, b))


@given(
    n=st.integers(2, 40),
    dim=st.integers(1, 9),
    rows=st.integers(1, 45),
    columns=st.integers(1, 45),
    temperature=st.sampled_from([0.01, 0.1, 1.0]),
    name=st.sampled_from(["infonce", "one-way", "nt_xent"]),
    weighted=st.booleans(),
)
@settings(max_examples=5, deadline=None, derandomize=True)
def test_tiled_equals_dense(n, dim, rows, columns, temperature, name, weighted):
    objective = losses.nt_xent if name == "nt_xent" else losses.infonce
    options = {"symmetric": False} if name == "one-way" else {}
    a, b = _views(n, dim, seed=n)

    def value(a, b, temperature, **how):
        reduction = "none" if weighted else "mean"
        per_row = objective(a, b, temperature=temperature, reduction=reduction, **options, **how)
        return jnp.sum(per_row * (1 + jnp.cos(jnp.arange(per_row.size)) / 2))

    def both(**how):
        step = jax.value_and_grad(lambda *args: value(*args, **how), (0, 1))
        return jax.jit(step)(a, b, temperature)

    got, expected = both(implementation="tiled", tile=(rows, columns)), both(implementation="dense")
    # A logit of 1 / τ is rounded to eps / τ: so is a loss, however small it is, and relatively so
    # are the weights of a gradient, which are exponentials of logits.
    tolerance = 1e-5 if temperature >= 0.1 else 1e-4
    rounding = 4 * float(jnp.finfo(jnp.float32).eps) / temperature * (n if weighted else 1)
    np.testing.assert_allclose(got[0], expected[0], rtol=tolerance, atol=rounding)
    scale = max(float(jnp.max(jnp.abs(g))) for g in expected[1])
    for g, e in zip(got[1], expected[1], strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=tolerance * scale + rounding / temperature)


@pytest.mark.parametrize("name", ["infonce", "one-way", "siglip"])
def test_gradients_by_finite_differences(name):
    loss = jax.jit(lambda a, b: TWO_VIEWS[name](a, b, **HOW[1]))
    check_grads(loss, _views(7, 3), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_second_derivative_of_the_dense_form():
    a, b = _views(6, 3)

    @jax.jit
    def slope(t):
        gradient = jax.grad(lambda a: losses.infonce(a, b, temperature=0.5, implementation="dense"))
        return jnp.vdot(gradient(a + t * direction), direction)

    direction = jax.random.normal(jax.random.key(4), a.shape)
    second = jax.jit(jax.grad(slope))(0.0)
    difference = (slope(0.02) - slope(-0.02)) / 0.04
    np.testing.assert_allclose(second, difference, rtol=2e-2)


@pytest.mark.parametrize("name", ["infonce", "one-way", "siglip"])
def test_vmap_equals_the_loop(name):
    how = HOW[1]
    a, b = jax.random.normal(jax.random.key(0), (2, 3, 7, 4))
    step = jax.jit(jax.value_and_grad(lambda a, b: TWO_VIEWS[name](a, b, **how), (0, 1)))
    looped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(step, a, b))
    _close(jax.jit(jax.vmap(step))(a, b), looped, 2e-6)


def test_vmap_over_the_temperature_crosses_both_ranges_of_the_exponential():
    a, b = _views(9, 4)
    step = jax.jit(jax.value_and_grad(lambda t: losses.infonce(a, b, temperature=t, **HOW[1])))
    temperatures = jnp.array([0.01, 0.02, 0.03, 0.5])
    _close(
        jax.vmap(step)(temperatures),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(step, temperatures)),
    )


def test_vmap_computes_one_of_both_ranges_for_the_batch():
    a, b = _views(9, 4)
    step = jax.value_and_grad(lambda t: losses.infonce(a, b, temperature=t, **HOW[1]))
    # A `cond` that had become a `select` would compute both branches for every member.
    jaxpr = str(jax.make_jaxpr(jax.vmap(jax.vmap(step)))(jnp.full((2, 3), 0.5)))
    assert len(re.findall(r"= cond\[", jaxpr)) == 2


DEGENERATE = {
    "zero rows": lambda a: a.at[jnp.array([0, 3])].set(0),
    "all rows zero": lambda a: 0 * a,
    "equal rows": lambda a: jnp.broadcast_to(a[0], a.shape),
    "huge rows": lambda a: 1e30 * a,
}


@pytest.mark.parametrize("how", HOW, ids=["dense", "tiled"])
@pytest.mark.parametrize("name", ["infonce", "one-way", "siglip"])
def test_degenerate_rows_stay_finite(name, how):
    step = jax.jit(jax.value_and_grad(lambda a, b: TWO_VIEWS[name](a, b, **how), (0, 1)))
    for spoil in DEGENERATE.values():
        a, b = map(spoil, _views(6, 4))
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(step(a, b)))


@pytest.mark.parametrize("how", HOW, ids=["dense", "tiled"])
def test_equal_rows_give_the_logarithm_of_the_candidates(how):
    a = jnp.ones((8, 4))
    for name, candidates in {"infonce": 8, "one-way": 8, "nt_xent": 15, "dcl": 14}.items():
        loss = jax.jit(functools.partial(TWO_VIEWS[name], **how))
        np.testing.assert_allclose(loss(a, a), np.log(candidates), rtol=1e-6)


@pytest.mark.parametrize("how", HOW, ids=["dense", "tiled"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_cold_temperature_stays_finite_and_exact(symmetric, how):
    def loss(a, b):
        return losses.infonce(a, b, temperature=1e-3, symmetric=symmetric, **how)

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(step(*_views(6, 6))))
    # With one candidate far ahead the sum is its maximum.
    u = jnp.eye(6)
    np.testing.assert_allclose(step(u, u[::-1])[0], 1000, rtol=1e-6)


@pytest.mark.parametrize("how", HOW, ids=["dense", "tiled"])
def test_one_example(how):
    a, b = _views(1, 4)
    for name in ("infonce", "one-way", "nt_xent"):
        loss = functools.partial(TWO_VIEWS[name], **how)
        value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(a, b)
        # Its partner is the only candidate.
        np.testing.assert_allclose([value, *map(jnp.max, gradients)], 0, atol=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        losses.dcl(a, b, temperature=0.3, **how)


def test_every_candidate_excluded_leaves_the_positive():
    a, b = _views(5, 4)
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
        (lambda a: losses.infonce(a, a, temperature=1, implementation="fast"), "'fast'"),
        (lambda a: losses.infonce(a, a, temperature=1, implementation="ring"), "axis_name"),
        (lambda a: losses.infonce(a, a, temperature=1, reduction="max"), "'max'"),
        (lambda a: losses.infonce(a, a, temperature=1, similarity="l1"), "'l1'"),
        (lambda a: losses.infonce(a, a, temperature=1, tile=(0, 4)), r"tile is \(0, 4\)"),
        (lambda a: losses.infonce(a, a, temperature=1, exclude=jnp.zeros(3, int)), r"\[4, 4\]"),
        (lambda a: losses.moco(a, a, a[:, :2], temperature=1), r"\[queue, 3\]"),
        (lambda a: losses.sup_con(a, jnp.zeros(4), temperature=1), "float32"),
        (lambda a: losses.debiased_infonce(a, a, temperature=1, positive_prior=1), "prior is 1"),
        (lambda a: losses.clip(a, a, logit_scale=-1.0), "logit_scale is -1"),
        (lambda a: losses.uniformity(a[:1]), "two rows"),
        (lambda a: losses.vicreg(a[:1], a[:1]), "two rows"),
        (lambda a: losses.cross_entropy(a, jnp.zeros(3, int)), r"labels \(3,\)"),
        (lambda a: losses.microbatched(lambda w, x: x, 0), "size is 0"),
        (lambda a: losses.microbatched(lambda w, x, y: x, 2)(0, a, a[:3]), r"\[3, 4\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 3)))


def test_integers_are_refused():
    with pytest.raises(TypeError, match="int32"):
        losses.infonce(jnp.ones((4, 3), int), jnp.ones((4, 3), int), temperature=1)
