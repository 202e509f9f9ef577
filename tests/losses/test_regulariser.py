"""Entropy estimates at laws whose entropy is known, and the regulariser built on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infonce_jax import (
    gaussian_entropy,
    kernel_entropy,
    knn_entropy,
    norm_entropy_regulariser,
    theory,
)

ESTIMATORS = [gaussian_entropy, knn_entropy, kernel_entropy]


def gaussian_truth(covariance):
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]


@pytest.mark.parametrize("estimate", [gaussian_entropy, knn_entropy])
def test_recovers_the_entropy_of_a_correlated_gaussian(estimate):
    mixing = np.random.default_rng(0).normal(size=(4, 4)) + 2 * np.eye(4)
    z = jax.random.normal(jax.random.key(0), (4000, 4)) @ mixing.T + 5.0
    assert float(estimate(z)) == pytest.approx(gaussian_truth(mixing @ mixing.T), abs=0.1)


def test_nearest_neighbours_see_what_the_covariance_does_not():
    # Uniform on a cube of side 2: entropy dim·log 2, below that of the Gaussian of its covariance.
    z = jax.random.uniform(jax.random.key(0), (4000, 3), minval=-1)
    assert float(knn_entropy(z)) == pytest.approx(3 * np.log(2), abs=0.1)
    assert float(gaussian_entropy(z)) == pytest.approx(gaussian_truth(np.eye(3) / 3), abs=0.1)


def test_kernel_entropy_is_that_of_the_widened_law():
    # A Gaussian of variance 1 under a kernel of variance h² s² is one of variance 1 + h².
    z = jax.random.normal(jax.random.key(0), (4000, 2))
    want = -np.log(1 / (2 * np.pi * 1.09)) + 1 / 1.09
    assert float(kernel_entropy(z, bandwidth=0.3)) == pytest.approx(want, abs=0.05)


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_scaling_adds_dim_times_log_scale(estimate, scale):
    z = jax.random.normal(jax.random.key(1), (100, 6))
    want = float(estimate(z)) + 6 * np.log(scale)
    np.testing.assert_allclose(estimate(scale * z), want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("shape", [(4, 16), (16, 1), (6, 6)])
def test_finite_for_small_batches_and_equal_rows(estimate, shape):
    step = jax.jit(jax.value_and_grad(estimate))
    for z in (jax.random.normal(jax.random.key(0), shape), jnp.ones(shape), jnp.zeros(shape)):
        value, grad = step(z)
        assert np.isfinite(value) and np.isfinite(grad).all()


@pytest.mark.parametrize("entropy", ["gaussian", "knn"])
def test_the_minimiser_is_the_gaussian_of_variance_one_over_two_lambda(entropy):
    z = jax.random.normal(jax.random.key(0), (500, 3))
    scales = np.linspace(0.2, 1.5, 27)
    of_scale = jax.jit(lambda s: norm_entropy_regulariser(s * z, norm_weight=2.0, entropy=entropy))
    values = [of_scale(s) for s in scales]
    # Variance 1/(2λ) = 1/4: a standard deviation of one half.
    assert scales[int(np.argmin(values))] == pytest.approx(0.5, abs=0.051)


def test_bad_input_is_named():
    z = jnp.ones((10, 3))
    with pytest.raises(ValueError, match="gaussian, kernel, knn"):
        norm_entropy_regulariser(z, norm_weight=1.0, entropy="kde")
    with pytest.raises(ValueError, match="norm_weight"):
        norm_entropy_regulariser(z, norm_weight=0.0)
    with pytest.raises(ValueError, match="batch >= 4"):
        knn_entropy(z[:3])
    with pytest.raises(ValueError, match="batch >= 2"):
        gaussian_entropy(z[:1])
    with pytest.raises(ValueError, match="bandwidth is 0"):
        kernel_entropy(z, bandwidth=0)
    with pytest.raises(ValueError, match="k is 0"):
        knn_entropy(z, k=0)


def test_vanishing_beta_vanishes_with_the_dimension_and_without_augmentation():
    assert theory.vanishing_beta(128, 0.5) == pytest.approx(2 / (0.5 * 128))
    assert theory.vanishing_beta(256, 0.5) == pytest.approx(theory.vanishing_beta(128, 0.5) / 2)
    assert theory.vanishing_beta(128, 0.5, eta2=1.0) == 0
    with pytest.raises(ValueError, match="dimension 2"):
        theory.vanishing_beta(1, 0.5)
