"""Every objective against float64 NumPy: value, and every gradient by central differences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from infonce_jax import losses

N, DIM, QUEUE = 9, 5, 7
TILE = (4, 5)  # leaves a ragged last tile in both directions
LABELS = np.array([0, 1, 0, 2, 7, 0, -4, 2, 1])  # two rows without a partner
SAME = LABELS[:, None] == LABELS
ASYMMETRIC = np.random.default_rng(5).random((N, N)) < 0.3
ASYMMETRIC[4] = False

# name: (objective, reference, differentiable scalars, fixed options)
TWO_VIEWS = {
    "infonce": (losses.infonce, references.infonce, ["temperature"], {}),
    "infonce one-way": (
        losses.infonce,
        references.infonce,
        ["temperature"],
        {"symmetric": False},
    ),
    "infonce inner product": (
        losses.infonce,
        references.infonce,
        ["temperature"],
        {"normalize": False},
    ),
    "infonce distance": (
        losses.infonce,
        references.infonce,
        ["temperature"],
        {"normalize": False, "similarity": "squared_distance"},
    ),
    "nt_xent": (losses.nt_xent, references.nt_xent, ["temperature"], {}),
    "nt_xent inner product": (
        losses.nt_xent,
        references.nt_xent,
        ["temperature"],
        {"normalize": False},
    ),
    "dcl": (losses.dcl, references.dcl, ["temperature"], {}),
    "debiased": (
        losses.debiased_infonce,
        references.debiased_infonce,
        ["temperature"],
        {"positive_prior": 0.1},
    ),
    "debiased at its floor": (
        losses.debiased_infonce,
        references.debiased_infonce,
        ["temperature"],
        {"positive_prior": 0.6},
    ),
    "hard negatives": (
        losses.debiased_infonce,
        references.debiased_infonce,
        ["temperature"],
        {"positive_prior": 0.05, "hardness": 0.7},
    ),
    "clip": (losses.clip, references.clip, ["logit_scale", "logit_bias"], {}),
    "siglip": (losses.siglip, references.siglip, ["logit_scale", "logit_bias"], {}),
}
SCALARS = {"temperature": 0.4, "logit_scale": 2.0, "logit_bias": -3.0}


def _views(dtype=np.float32):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(N, DIM))
    b = a + 0.8 * rng.normal(size=(N, DIM))
    # References start from the very numbers that the objective is given.
    return [np.asarray(jnp.asarray(z, dtype).astype(jnp.float32), np.float64) for z in (a, b)]


def _assert_close(got, expected, tolerance):
    got, expected = np.asarray(got, np.float64), np.asarray(expected)
    assert got.shape == expected.shape
    scale = max(np.max(np.abs(expected)), 1e-3)
    error = np.max(np.abs(got - expected)) / scale
    assert error < tolerance, f"relative error {error:.1e}"


def _check(objective, reference, arrays, scalars, dtype=jnp.float32, tolerance=1e-5, mean=False):
    """Value and gradients of the per-example losses, and of their mean, dense and tiled."""
    arrays = [np.asarray(jnp.asarray(a, dtype).astype(jnp.float32), np.float64) for a in arrays]
    inputs = arrays + [np.asarray(SCALARS[name]) for name in scalars]
    rows = len(arrays)

    def expected(*arguments):
        return reference(*arguments[:rows], **dict(zip(scalars, arguments[rows:], strict=True)))

    per_example, slopes = expected(*inputs), references.jacobian(expected, inputs)
    weights = {"none": 1 + np.cos(np.arange(N)) / 2, "mean": np.full(N, 1 / N)}
    cast = [jnp.asarray(a, dtype) for a in arrays] + [jnp.float32(s) for s in inputs[rows:]]
    reductions = ("none", "mean") if mean else ("none",)
    for implementation, reduction in itertools.product(("dense", "tiled"), reductions):
        options = {"implementation": implementation, "reduction": reduction, "tile": TILE}

        def function(*arguments, options=options):
            named = dict(zip(scalars, arguments[rows:], strict=True))
            value = objective(*arguments[:rows], **named, **options)
            per_row = options["reduction"] == "none"
            return jnp.sum(value * weights["none"]) if per_row else value, value

        step = jax.jit(jax.value_and_grad(function, tuple(range(len(cast))), has_aux=True))
        (_, value), gradients = step(*cast)
        assert value.dtype == jnp.float32
        _assert_close(value, per_example if reduction == "none" else per_example.mean(), tolerance)
        for argument, got, slope in zip(cast, gradients, slopes, strict=True):
            assert got.dtype == argument.dtype
            _assert_close(got.astype(jnp.float32), slope @ weights[reduction], tolerance)


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_agrees_with_float64(name):
    objective, reference, scalars, options = TWO_VIEWS[name]
    _check(
        functools.partial(objective, **options),
        functools.partial(reference, **options),
        _views(),
        scalars,
        # Where the tiled mean has a pass of its own.
        mean=name in ("infonce one-way", "siglip"),
    )


@pytest.mark.parametrize("name", ["infonce", "infonce one-way", "nt_xent", "siglip"])
def test_agrees_in_bfloat16(name):
    objective, reference, scalars, options = TWO_VIEWS[name]
    _check(
        functools.partial(objective, **options),
        functools.partial(reference, **options),
        _views(),
        scalars,
        jnp.bfloat16,
        1e-2,
    )


NEAR_ZERO = {
    "infonce": {"temperature": 0.05},
    "infonce one-way": {"temperature": 0.05},
    "nt_xent": {"temperature": 0.05},
    "clip": {"logit_scale": 20.0},
    "siglip": {"logit_scale": 60.0, "logit_bias": -46.0},
    "moco": {"temperature": 0.05},
}


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
@pytest.mark.parametrize("name", NEAR_ZERO)
def test_exact_where_the_loss_is_nearly_zero(name, dtype, tolerance):
    """Relative to the loss itself: a positive among its own candidates would leave rounding alone."""
    table = TWO_VIEWS | {"moco": (losses.moco, references.moco, ["temperature"], {})}
    objective, reference, _, options = table[name]
    # Rows of ±1/4 are on the sphere in bfloat16 as well; each pair differs in one sign.
    signs = np.random.default_rng(2).integers(0, 2, (N + N + QUEUE, 16)) / 2 - 0.25
    a, b, queue = signs[:N], signs[:N].copy(), signs[2 * N :]
    b[np.arange(N), np.arange(N)] *= -1
    arrays = [a, b, queue] if name == "moco" else [a, b]
    names, scalars = zip(*NEAR_ZERO[name].items(), strict=True)
    fixed = options | ({"logit_bias": 0.0} if name == "clip" else {})

    def expected(*arguments):
        named = dict(zip(names, arguments[len(arrays) :], strict=True))
        return np.mean(reference(*arguments[: len(arrays)], **named, **fixed))

    inputs = [*arrays, *(np.asarray(np.float32(x), np.float64) for x in scalars)]
    value = expected(*inputs)
    assert 1e-9 < value < 0.02
    slopes = references.jacobian(expected, inputs)
    for implementation in ("dense", "tiled"):
        how = {"implementation": implementation, "tile": TILE} | fixed

        def function(*arguments, how=how):
            named = dict(zip(names, arguments[len(arrays) :], strict=True))
            return objective(*arguments[: len(arrays)], **named, **how)

        cast = [jnp.asarray(z, dtype) for z in arrays] + [jnp.float32(x) for x in scalars]
        got = jax.jit(jax.value_and_grad(function, tuple(range(len(cast)))))(*cast)
        assert got[0] == pytest.approx(value, rel=tolerance)
        for gradient, slope in zip(got[1], slopes, strict=True):
            error = np.linalg.norm(np.asarray(gradient, np.float64) - slope) / np.linalg.norm(slope)
            assert error < tolerance, f"{implementation}: {error:.1e}"


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("mask", [SAME, ASYMMETRIC], ids=["ids", "mask"])
def test_false_negatives_are_left_out(mask, symmetric):
    exclude = jnp.asarray(LABELS if mask is SAME else mask)
    _check(
        functools.partial(losses.infonce, symmetric=symmetric, exclude=exclude),
        functools.partial(references.infonce, symmetric=symmetric, exclude=mask),
        _views(),
        ["temperature"],
    )


def test_moco():
    queue = np.random.default_rng(3).normal(size=(QUEUE, DIM))
    _check(losses.moco, references.moco, [*_views(), queue], ["temperature"])


@pytest.mark.parametrize("mask", [SAME, ASYMMETRIC], ids=["labels", "mask"])
def test_sup_con(mask):
    positives = jnp.asarray(LABELS if mask is SAME else mask)
    has_positive = (mask & ~np.eye(N, dtype=bool)).any(1)
    assert not has_positive.all()

    def objective(z, *, reduction, **options):
        value = losses.sup_con(z, positives, reduction=reduction, **options)
        return value if reduction == "none" else value * has_positive.sum() / N

    _check(
        objective,
        lambda z, temperature: references.sup_con(z, mask, temperature=temperature),
        _views()[:1],
        ["temperature"],
        mean=True,
    )


def test_sup_con_of_two_views_is_nt_xent():
    a, b = (jnp.asarray(z, jnp.float32) for z in _views())
    labels = jnp.tile(jnp.arange(N), 2)

    @jax.jit
    def both(a, b):
        supervised = losses.sup_con(jnp.concatenate([a, b]), labels, temperature=0.3)
        return supervised, losses.nt_xent(a, b, temperature=0.3)

    np.testing.assert_allclose(*both(a, b), rtol=1e-6)


@pytest.mark.parametrize(
    "objective, reference, options",
    [
        (losses.alignment, references.alignment, {}),
        (losses.alignment, references.alignment, {"exponent": 1.0}),
        (losses.barlow_twins, references.barlow_twins, {}),
        (losses.vicreg, lambda a, b: references.vicreg(a, b), {}),
    ],
)
def test_without_negatives(objective, reference, options):
    a, b = _views()
    value, gradients = jax.value_and_grad(lambda *z: objective(*z, **options), (0, 1))(
        jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    )

    def mean(a, b):
        return np.mean(reference(a, b, **options))

    _assert_close(value, mean(a, b), 1e-5)
    for got, slope in zip(gradients, references.jacobian(mean, [a, b]), strict=True):
        _assert_close(got, slope, 2e-5)


@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_uniformity(implementation):
    z = _views()[0]
    how = {"implementation": implementation, "tile": TILE}
    value, gradient = jax.value_and_grad(lambda z: losses.uniformity(z, t=2.0, **how))(
        jnp.asarray(z, jnp.float32)
    )
    _assert_close(value, references.uniformity(z), 1e-5)
    _assert_close(gradient, references.jacobian(references.uniformity, [z])[0], 1e-5)


def test_negative_cosine_moves_the_prediction_alone():
    a, b = _views()
    value, gradients = jax.value_and_grad(losses.negative_cosine, (0, 1))(
        jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    )
    _assert_close(value, references.negative_cosine(a, b).mean(), 1e-5)
    slope = references.jacobian(lambda a: references.negative_cosine(a, b).mean(), [a])[0]
    _assert_close(gradients[0], slope, 1e-5)
    assert not jnp.any(gradients[1])


def test_cross_entropy():
    logits, labels = _views()[0] * 5, np.arange(N) % DIM
    value, gradient = jax.value_and_grad(losses.cross_entropy)(
        jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    )
    expected = references.cross_entropy(logits, labels)
    _assert_close(value, expected.mean(), 1e-5)
    slope = references.jacobian(lambda s: references.cross_entropy(s, labels).mean(), [logits])[0]
    _assert_close(gradient, slope, 1e-5)
    for outside in (-1, DIM):
        assert jnp.isnan(losses.cross_entropy(jnp.zeros((1, DIM)), jnp.array([outside])))


def test_terms_add_up():
    a, b = (jnp.asarray(z, jnp.float32) for z in _views())
    count = {losses.infonce_terms: N, losses.nt_xent_terms: 2 * N - 1}
    for function, candidates in count.items():
        for reduction, rows in (("mean", 1), ("sum", N), ("none", 1)):
            terms = function(a, b, temperature=0.2, reduction=reduction)
            total = terms.uniformity - terms.alignment / 0.2 + rows * jnp.log(candidates)
            np.testing.assert_allclose(terms.loss, total, rtol=2e-6, atol=1e-6)
            cosine = np.sum(references.unit(_views()[0]) * references.unit(_views()[1]), axis=1)
            if reduction == "mean":
                np.testing.assert_allclose(terms.alignment, cosine.mean(), rtol=1e-6)
