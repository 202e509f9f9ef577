"""The surrogate loss of von Mises-Fisher laws, and the channels of the synthetic experiments."""

import jax
import numpy as np
import pytest

from infonce_jax.theory import mildness, phi_sigma, sphere, stationary, vmf


@pytest.mark.parametrize(
    ("dim", "alpha", "kappa"), [(2, 3.0, 1.0), (32, 10.0, 20.0), (500, 10.0, 3000.0)]
)
def test_the_surrogate_agrees_with_draws(dim, alpha, kappa):
    mean = np.eye(dim, dtype=np.float32)[0]
    u, v = (np.asarray(vmf.sample(jax.random.key(i), mean, kappa, 4000)) for i in (0, 1))
    value = np.log(np.exp(alpha * u @ v.T).mean(axis=1))
    length = float(vmf.mean_resultant_length(dim, kappa))
    got = stationary.surrogate(dim, alpha, 2.0, kappa) + 2.0 * length**2
    assert got == pytest.approx(value.mean(), abs=5 * value.std() / np.sqrt(4000) + 0.01)
    at_uniform = stationary.surrogate(dim, alpha, 2.0, 0.0)
    assert at_uniform == pytest.approx(float(phi_sigma(dim, alpha)), rel=1e-5)


@pytest.mark.parametrize(("dim", "alpha"), [(2, 1.0), (16, 5.0), (128, 10.0)])
def test_uniform_is_a_minimum_up_to_the_critical_weight(dim, alpha):
    critical = stationary.critical_weight(dim, alpha)
    near = 0.02 * dim
    for factor, is_minimum in ((0.97, True), (1.03, False)):
        low, high = stationary.surrogate(dim, alpha, factor * critical, np.array([0.0, near]))
        assert (high > low) == is_minimum
    assert stationary.minimising_kappa(dim, alpha, 0.0) == 0
    weight = 1.2 * critical
    kappa = stationary.minimising_kappa(dim, alpha, weight)
    grid = np.geomspace(0.01, 1000, 500) * dim
    best = stationary.surrogate(dim, alpha, weight, grid).min()
    least = alpha - weight if np.isinf(kappa) else stationary.surrogate(dim, alpha, weight, kappa)
    assert kappa > 0 and least <= best + 1e-9 * abs(best)


@pytest.mark.parametrize(("dim", "count"), [(16, 1), (10, 2), (64, 8), (512, 100), (5, 3), (6, 5)])
def test_coordinates_of_the_sphere_against_the_normal(dim, count):
    from scipy import stats

    q = np.append(np.linspace(0, dim + 60 * np.sqrt(dim), 1_000_001)[1:], dim)
    q.sort()
    beta = stats.beta(count / 2, (dim - count) / 2)
    cdf = beta.cdf(np.minimum(q / dim, 1)) - stats.chi2(count).cdf(q)
    got = sphere.coordinates_total_variation(dim, count)
    # The difference of the distribution functions falls, rises, and falls: its total rise.
    assert got == pytest.approx(cdf.max() - min(cdf[: cdf.argmax() + 1].min(), 0), rel=1e-5)
    if count == 1:
        assert got == pytest.approx(sphere.distance_to_normal(dim).total_variation, rel=1e-8)
    if count <= dim - 4:
        assert got < sphere.diaconis_freedman_bound(dim, count)


def test_channels_of_the_synthetic_experiments():
    assert mildness.gaussian_mixing(0.6) == pytest.approx(mildness.gaussian_noise(4 / 3))
    for q, p in ((0.5, 0.1), (0.03, 0.001), (0.9, 0.4)):
        added = np.array([[(1 - q) * (1 - p), (1 - q) * p], [0, q]])
        assert mildness.bernoulli_addition(q, p) == pytest.approx(mildness.finite(added))
    assert mildness.laplace_mixing(1.0) == 1 and mildness.laplace_mixing(0.0) == 0
    assert mildness.laplace_mixing(0.6) == pytest.approx(mildness.laplace_noise(0.8 / 0.6 / 2**0.5))
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400_000)
    gap = 2.0
    means = np.array([[0.0, 0.0], [gap, 0.0]])
    views = gap * label + rng.standard_normal((2, label.size))
    posterior = 1 / (1 + np.exp(-gap * (views - gap / 2)))
    found = mildness.feature_correlation(*posterior)
    want = mildness.mixture_component(means)
    assert found.estimate == pytest.approx(want, abs=4 * found.standard_error)
    assert mildness.mixture_component(20 * means) == 1
    assert mildness.mixture_component(40 * np.eye(3)) == 1
    assert mildness.mixture_component(np.ones((3, 2))) == 0
    assert mildness.mixture_component(np.eye(3)) is None
