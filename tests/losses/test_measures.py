"""Measures of representations: against float64 NumPy, and where their values are known."""

import functools

import gaussian_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_references import unit

from infonce_jax import losses

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 6)) * [0.3, 0.5, 1, 1, 2, 3] + 0.5
Y = X[:, :4] @ RNG.normal(size=(4, 3)) + RNG.normal(size=(40, 3))
VIEWS = X[:, None] + 0.4 * RNG.normal(size=(40, 3, 6))

MEASURES = {
    "effective_rank": (losses.effective_rank, references.effective_rank, (X,)),
    "rankme": (losses.rankme, functools.partial(references.effective_rank, epsilon=1e-7), (X,)),
    "lidar": (losses.lidar, references.lidar, (VIEWS,)),
    "isoscore": (losses.isoscore, references.isoscore, (X,)),
    "cka": (losses.cka, references.cka, (X, Y)),
    "cka, unbiased": (
        functools.partial(losses.cka, unbiased=True),
        functools.partial(references.cka, unbiased=True),
        (X, Y),
    ),
}


@pytest.fixture(autouse=True)
def strict():
    with (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.debug_nans(True),
    ):
        yield


@pytest.mark.parametrize("name", MEASURES)
def test_agrees_with_float64_numpy(name):
    measure, reference, arrays = MEASURES[name]
    for dtype, tolerance in ((jnp.float32, 1e-5), (jnp.bfloat16, 1e-4), (jnp.float16, 1e-4)):
        exact = [jnp.asarray(z, dtype) for z in arrays]
        got = measure(*exact)
        assert got.dtype == jnp.float32 and got.shape == ()
        want = reference(*(np.asarray(z).astype(np.float64) for z in exact))
        np.testing.assert_allclose(got, want, rtol=tolerance)
    with jax.enable_x64(True):
        got = measure(*map(jnp.asarray, arrays))
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, reference(*arrays), rtol=1e-10)


@pytest.mark.parametrize("name", MEASURES)
def test_invariant_to_rotation_order_and_scale(name):
    measure, _, arrays = MEASURES[name]
    order, value = RNG.permutation(len(X)), measure(*arrays)
    rotations = [np.linalg.qr(RNG.normal(size=(z.shape[-1],) * 2))[0] for z in arrays]
    moved = [z[order] @ r for z, r in zip(arrays, rotations, strict=True)]
    np.testing.assert_allclose(measure(*moved), value, rtol=1e-5)
    if name != "lidar":  # whose ridge δ has the scale of a variance
        for scale in (1e-12, 1e12):
            np.testing.assert_allclose(measure(*(scale * z for z in arrays)), value, rtol=1e-5)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("fill", [0.0, 0.1])
def test_finite_for_equal_rows(name, fill):
    measure, _, arrays = MEASURES[name]
    assert jnp.isfinite(measure(*(np.full_like(z, fill) for z in arrays)))


def test_known_values():
    axes = jnp.eye(6)
    assert float(losses.effective_rank(axes)) == pytest.approx(6)
    assert float(losses.effective_rank(jnp.outer(jnp.arange(1.0, 9), axes[0]))) == pytest.approx(1)
    assert float(losses.effective_rank(jnp.zeros((5, 3)))) == 0
    assert float(losses.rankme(axes)) == pytest.approx(6, rel=1e-4)
    both_signs = jnp.concatenate([axes, -axes])
    assert float(losses.isoscore(both_signs)) == pytest.approx(1)
    assert float(losses.isoscore(jnp.outer(jnp.arange(8.0), axes[0]))) == pytest.approx(0, abs=1e-6)
    # k of 6 dimensions used alike: (k - 1) / 5.
    three = jnp.concatenate([axes[:3], -axes[:3]])
    assert float(losses.isoscore(three)) == pytest.approx(2 / 5)


def test_lidar_counts_the_dimensions_in_which_samples_differ():
    samples = np.zeros((500, 1, 6))
    samples[..., :2] = RNG.normal(size=(500, 1, 2))
    views = samples + 0.01 * RNG.normal(size=(500, 10, 6))
    assert float(losses.lidar(views, delta=1e-6)) == pytest.approx(2, abs=0.2)


def test_cka_of_a_rotation_is_one_and_the_unbiased_one_of_noise_zero():
    z, noise = RNG.normal(size=(2, 60, 30))
    for unbiased in (False, True):
        moved = 3 * z @ np.linalg.qr(RNG.normal(size=(30, 30)))[0] + 7
        assert float(losses.cka(z, moved, unbiased=unbiased)) == pytest.approx(1, rel=1e-5)
    # Independent representations: 60 rows are few for 30 dimensions.
    assert losses.cka(z, noise) > 0.3
    assert abs(losses.cka(z, noise, unbiased=True)) < 0.1


def test_spread_representations_score_higher_than_collapsed_ones():
    collapsed = unit(X) * 0.01 + np.eye(6)[0]
    for measure in (losses.effective_rank, losses.rankme):
        assert measure(collapsed) < measure(X)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: losses.effective_rank(X[0]), r"shape \(6,\)"),
        (lambda: losses.rankme(X, epsilon=0.0), "epsilon is 0"),
        (lambda: losses.isoscore(X[:, :1]), "two rows and two dimensions"),
        (lambda: losses.lidar(X), r"shape \(40, 6\); it must be \[samples, views, dim\]"),
        (lambda: losses.lidar(VIEWS[:, :1]), "two views of each"),
        (lambda: losses.lidar(VIEWS, delta=-1.0), "delta is -1"),
        (lambda: losses.cka(X, Y[:5]), r"x has shape \(40, 6\) and y \(5, 3\)"),
        (lambda: losses.cka(X[:3], Y[:3], unbiased=True), "at least 4 rows"),
    ],
)
def test_bad_input_is_named(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call()
