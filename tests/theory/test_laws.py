"""The laws at finite dimension against mpmath, and against draws."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.special
from scipy import stats
from scipy.integrate import quad

from infonce_jax import evaluation, losses, theory
from infonce_jax.theory import _power, sphere

DIMS = [2, 3, 4, 5, 17, 59, 60, 128, 1000, 100_000]


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(50):
        yield


def density(dim):
    d = mp.mpf(dim)
    constant = mp.exp(mp.loggamma(d / 2) - mp.loggamma((d - 1) / 2)) / mp.sqrt(mp.pi)
    return lambda t: constant * mp.mpf(1 - t * t) ** ((d - 3) / 2)


def distribution(dim, t):
    t = mp.mpf(t)
    half = mp.mpf(1) / 2
    tail = mp.betainc((mp.mpf(dim) - 1) / 2, half, 0, 1 - t * t, regularized=True) / 2
    return tail if t <= 0 else 1 - tail


def points(dim):
    inside = np.array([-3.0, -0.3, 0.2, 2.0]) / np.sqrt(dim)
    return [t for t in (*inside, -0.9, 0.7) if abs(t) < 1]


@pytest.mark.parametrize("dim", DIMS)
def test_density_distribution_and_quantile_agree_with_mpmath(dim):
    f = density(dim)
    for t in points(dim):
        want = mp.log(f(mp.mpf(t)))
        assert abs(mp.mpf(float(sphere.log_density(dim, t))) - want) <= 1e-10 * abs(want)
        want = distribution(dim, t)
        if want > mp.mpf(10) ** -290:
            assert abs(mp.mpf(float(sphere.cdf(dim, t))) - want) <= 1e-10 * want
            back = distribution(dim, float(sphere.quantile(dim, float(want))))
            assert abs(back - mp.mpf(float(want))) <= 1e-10 * want


def test_ends_of_the_range():
    assert sphere.log_density(5, 1.5) == -np.inf
    np.testing.assert_array_equal(
        sphere.cdf(7, np.array([-2.0, -1.0, 0.0, 1.0, 2.0])), [0, 0, 0.5, 1, 1]
    )
    np.testing.assert_array_equal(sphere.quantile(7, np.array([0.0, 0.5, 1.0])), [-1, 0, 1])


@pytest.mark.parametrize("dim", [2, 3, 10, 300])
def test_moments_agree_with_mpmath_and_with_draws(dim):
    for order in (2, 4, 6):
        # t = sin θ takes the singularity of the circle's density away.
        whole, part = (
            mp.quad(lambda a: mp.sin(a) ** k * mp.cos(a) ** (dim - 2), [0, mp.pi / 2])  # noqa: B023
            for k in (0, order)
        )
        want = part / whole
        assert sphere.moment(dim, order) == pytest.approx(float(want), rel=1e-10)
    assert sphere.moment(dim, 3) == 0
    variance = sphere.moment(dim, 2)
    assert variance == pytest.approx(1 / dim)
    kurtosis = sphere.moment(dim, 4) / variance**2 - 3
    assert sphere.excess_kurtosis(dim) == pytest.approx(kurtosis)
    z = np.random.default_rng(0).standard_normal((20_000, 2, dim))
    u, v = np.moveaxis(z / np.linalg.norm(z, axis=2, keepdims=True), 1, 0)
    for sample in (u[:, 0], np.einsum("nd,nd->n", u, v)):
        from scipy.stats import kstest

        assert kstest(sample, lambda t: sphere.cdf(dim, t)).pvalue > 1e-3


@pytest.mark.parametrize("dim", [2, 3, 4, 8, 50, 399, 400, 100_000])
def test_distances_to_the_normal_agree_with_mpmath(dim):
    f, root = density(dim), mp.sqrt(dim)

    def difference(x):
        return mp.re(f(min(x / root, mp.mpf(1)))) / root - mp.npdf(x)

    # Where the densities cross, by bisection on either side of √3, the maximum of their ratio.
    last = root * (1 - mp.mpf(10) ** -40)
    inner = mp.findroot(
        difference, (0.3, min(mp.sqrt(3), 0.85 * last)), solver="illinois", tol=1e-45
    )
    outer = (
        root
        if dim <= 3
        else mp.findroot(
            difference, (mp.sqrt(3), min(last, mp.mpf(4))), solver="illinois", tol=1e-45
        )
    )
    below = distribution(dim, inner / root) - mp.ncdf(inner)
    above = distribution(dim, outer / root) - mp.ncdf(outer)
    got = sphere.distance_to_normal(dim)
    assert got.total_variation == pytest.approx(float(2 * (above - below)), rel=1e-10)
    assert got.kolmogorov == pytest.approx(float(max(-below, above)), rel=1e-10)


def test_distances_fall_as_one_over_the_dimension():
    far = sphere.distance_to_normal(100_000)
    assert 1e5 * far.total_variation == pytest.approx(0.350, abs=1e-3)
    assert 1e5 * far.kolmogorov == pytest.approx(0.1376, abs=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 7, 59, 60, 4096, 100_000])
def test_norm_cv_of_an_isotropic_gaussian_agrees_with_mpmath(dim):
    d = mp.mpf(dim)
    mean = mp.sqrt(2) * mp.exp(mp.loggamma((d + 1) / 2) - mp.loggamma(d / 2))
    want = float(mp.sqrt(d / mean**2 - 1))
    assert sphere.norm_cv(dim) == pytest.approx(want, rel=1e-10)
    if 1 < dim < 10_000:
        assert sphere.norm_cv(np.full(dim, 3.0)) == pytest.approx(want, rel=1e-10)


def test_norm_cv_of_a_spectrum():
    spectrum = np.array([4.0, 1.0, 1.0, 0.25, 0.0])
    z = np.random.default_rng(0).standard_normal((400_000, 5)) * np.sqrt(spectrum)
    norm = np.linalg.norm(z, axis=1)
    assert sphere.norm_cv(spectrum) == pytest.approx(norm.std() / norm.mean(), rel=0.01)
    # One direction: a half-normal, of CV √(π/2 - 1).
    assert sphere.norm_cv(np.array([2.0, 0.0])) == pytest.approx(np.sqrt(np.pi / 2 - 1), rel=1e-10)
    # Many: 1/√(2 PR).
    spectrum = np.linspace(0.5, 1.5, 2000)
    ratio = spectrum.sum() ** 2 / (spectrum**2).sum()
    assert sphere.norm_cv(spectrum) == pytest.approx(1 / np.sqrt(2 * ratio), rel=1e-3)


@pytest.mark.parametrize(
    ("dim", "alpha", "batch", "positive"),
    [
        (2, 1.0, 4, None),
        (8, 10.0, 64, 0.8),
        (8, 40.0, 256, None),
        (3, 20.0, 2, 0.5),
        (64, 14.0, 128, 0.7),
    ],
)
def test_expected_batch_uniformity_agrees_with_draws(dim, alpha, batch, positive):
    # A cosine is 2 B - 1 with B ~ Beta((d-1)/2, (d-1)/2).
    draws = 2_000_000 // batch
    cosine = 2 * np.random.default_rng(0).beta((dim - 1) / 2, (dim - 1) / 2, (draws, batch)) - 1
    if positive is not None:
        cosine[:, 0] = positive
    peak = cosine.max(axis=1)
    value = alpha * peak + np.log(np.exp(alpha * (cosine - peak[:, None])).mean(axis=1))
    want = theory.expected_batch_uniformity(dim, alpha, batch, positive)
    assert abs(value.mean() - want) < 4 * value.std() / np.sqrt(draws)


def test_expected_batch_uniformity_is_what_the_loss_reads():
    u, v = jax.random.normal(jax.random.key(0), (2, 100, 64, 12))
    u, v = (z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (u, v))
    z2 = 2 * u + v
    terms = jax.vmap(lambda a, b: losses.infonce_terms(a, b, temperature=0.2))(u, z2)
    # Cosines of the positives are given as a sample.
    positive = jnp.sum(u * losses.safe_normalize(z2), axis=-1).ravel()
    want = theory.expected_batch_uniformity(12, 5.0, 64, np.asarray(positive)[:500])
    error = float(jnp.std(terms.uniformity)) / 10
    assert abs(float(jnp.mean(terms.uniformity)) - want) < 4 * error + 2e-3


def test_batch_bias_vanishes_as_one_over_the_batch_with_the_stated_constant():
    dim, alpha, positive = 32, 4.0, 0.6
    phi, double = (float(theory.phi_sigma(dim, a)) for a in (alpha, 2 * alpha))
    first = np.exp(alpha * positive - phi) - 1 - (np.exp(double - 2 * phi) - 1) / 2
    bias = theory.batch_uniformity_bias(dim, alpha, 20_000, positive)
    assert 20_000 * bias == pytest.approx(first, rel=2e-3)
    assert theory.expected_batch_uniformity(dim, alpha, 1) == pytest.approx(0, abs=1e-9)


def test_detectable_sample_size_is_where_half_the_tests_reject():
    from infonce_jax.evaluation import anderson_darling, dagostino_pearson

    dim, rng = 24, np.random.default_rng(0)
    for name in ("anderson_darling", "dagostino_pearson"):
        n = round(sphere.detectable_sample_size(dim, name))
        x = np.sqrt(dim) * (2 * rng.beta(11.5, 11.5, (n, 1000)) - 1)
        if name == "anderson_darling":
            rejected = anderson_darling(x).statistic > 0.752
        else:
            rejected = dagostino_pearson(x).pvalue < 0.05
        # 0.016 is the standard error; the rest is what the asymptotic law misses at this n.
        assert rejected.mean() == pytest.approx(0.5, abs=0.12), name
    # The level itself, where there is nothing to detect.
    weights, shifts, rest = _power.anderson_darling_modes(scipy.special.ndtr)
    assert weights.sum() + rest == pytest.approx(0.384, abs=2e-3)
    level = _power.tail_of_quadratic_form(0.752 - rest, weights, 0 * shifts)
    assert level == pytest.approx(0.05, abs=2e-3)
    ratio = sphere.detectable_sample_size(256) / sphere.detectable_sample_size(128)
    assert ratio == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(("dim", "power"), [(8, 0.2), (8, 0.8), (16, 0.5), (32, 0.5), (128, 0.5)])
def test_power_of_dagostino_pearson_agrees_with_draws(dim, power):
    n = round(sphere.detectable_sample_size(dim, "dp", power))
    repeats = 4000 if dim < 100 else 600
    rng, rejected = np.random.default_rng(dim), 0
    half = (dim - 1) / 2
    for _ in range(10):
        x = 2 * rng.beta(half, half, (n, repeats // 10)) - 1
        rejected += int(np.sum(evaluation.dagostino_pearson(x).statistic > 5.9915))
    assert abs(rejected / repeats - power) < 3 * np.sqrt(power * (1 - power) / repeats)


def test_second_order_variances_of_skewness_and_kurtosis_are_the_exact_ones_under_normality():
    # 6/n (1 − 6/n) and 24/n (1 − 15/n), the bias −6/n; the power at the null is the level.
    moments = np.array([1, 0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10_395.0])
    normal = _power.expand(moments)
    assert normal[:6] == pytest.approx([3, -6, 24, -15, 6, -6])
    assert _power.dagostino_pearson_power(normal, 1000.0) == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize("dim", [2, 3, 8, 128, 10_000])
def test_detectable_sample_size_rises_with_the_power(dim):
    sizes = [sphere.detectable_sample_size(dim, "dp", p) for p in (0.06, 0.2, 0.5, 0.9, 0.99)]
    assert np.all(np.diff(sizes) >= 0) and sizes[0] >= 20
    # In high dimensions, the limiting law's.
    if dim == 10_000:
        limit = [stats.ncx2.sf(5.991464547107979, 2, n * 1.5 / (dim + 2) ** 2) for n in sizes]
        np.testing.assert_allclose(limit, (0.06, 0.2, 0.5, 0.9, 0.99), atol=0.003)


def test_detectable_sample_size_takes_the_evaluation_s_names():
    for name, short in (("anderson_darling", "ad"), ("dagostino_pearson", "dp")):
        assert short in evaluation.TESTS
        assert sphere.detectable_sample_size(8, short) == sphere.detectable_sample_size(8, name)


def test_bad_input_is_named(unchecked_types):
    with pytest.raises(ValueError, match="from dimension 2"):
        sphere.cdf(1, 0.0)
    with pytest.raises(ValueError, match="probability"):
        sphere.quantile(4, 1.5)
    with pytest.raises(ValueError, match="order is -2"):
        sphere.moment(4, -2)
    with pytest.raises(ValueError, match="none negative"):
        sphere.norm_cv(np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="at least 1"):
        sphere.norm_cv(0)
    with pytest.raises(ValueError, match="dagostino_pearson"):
        sphere.detectable_sample_size(8, "lilliefors")
    with pytest.raises(ValueError, match=r"power is 0\.01"):
        sphere.detectable_sample_size(8, power=0.01)
    with pytest.raises(ValueError, match="temperatures"):
        theory.expected_batch_uniformity(8, 1000.0, 10)
    with pytest.raises(ValueError, match="cosine"):
        theory.expected_batch_uniformity(8, 1.0, 10, 1.5)
    with pytest.raises(ValueError, match="one candidate"):
        theory.expected_batch_uniformity(8, 1.0, 0)


@pytest.mark.parametrize("dim", [3, 8, 1000])
def test_the_mean_of_anderson_darling_rises_by_its_excess(dim):
    def integrand(x):
        half = (dim - 1) / 2
        below = stats.beta.cdf((1 + x / np.sqrt(dim)) / 2, half, half)
        return (
            (below - stats.norm.cdf(x)) ** 2
            / (stats.norm.cdf(x) * stats.norm.sf(x))
            * stats.norm.pdf(x)
        )

    edge = min(np.sqrt(dim), 11)
    want = sum(
        quad(integrand, *limits, epsabs=0, epsrel=1e-7)[0]
        for limits in ((-11, -edge), (-edge, 0), (0, edge), (edge, 11))
    )
    got = theory.sphere.anderson_darling_excess(dim)
    assert got == pytest.approx(want, rel=1e-6)
    if dim == 1000:
        assert got == pytest.approx(0.0605 / dim**2, rel=5e-3)


def test_the_excess_of_anderson_darling_is_what_draws_show():
    dim, n = 8, 2000
    rng = np.random.default_rng(0)
    t = 2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, (n, 400)) - 1
    mean = evaluation.anderson_darling(t).statistic.mean()
    assert mean - 0.384 == pytest.approx(n * theory.sphere.anderson_darling_excess(dim), rel=0.05)


@pytest.mark.parametrize(("alpha", "spread", "mean"), [(1.0, 0.4, 0.6), (10.0, 0.15, 0.3)])
def test_uniformity_excess_near_uniform(alpha, spread, mean):
    # Unequal variances and a mean, both slight, against the potential of draws.
    dim, n = 8, 5000
    rng = np.random.default_rng(0)
    scale = np.sqrt(np.linspace(1 - spread, 1 + spread, dim))
    half = rng.standard_normal((n // 2, dim)) * scale
    for shift in (0.0, mean):
        z = np.concatenate([half, -half]) + shift * np.eye(dim)[0]
        u = z / np.linalg.norm(z, axis=1, keepdims=True)
        resultant = np.linalg.norm(u.mean(axis=0))
        # Without the pairs of a row with itself.
        ratio = (n - 1) / (n * np.sum((u.T @ u / n) ** 2) - 1)
        floor = theory.expected_batch_uniformity(dim, alpha, n - 1)
        got = evaluation.uniformity_potential(u, alpha) - floor
        want = float(theory.uniformity_excess(dim, alpha, resultant, ratio))
        assert got == pytest.approx(want, rel=0.15)
    assert float(theory.uniformity_excess(dim, alpha, 0.0, dim)) == pytest.approx(0, abs=1e-6)
