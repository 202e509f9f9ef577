import numpy as np
import pytest
import scipy.stats

from infonce_jax.evaluation import aggregate, controls, norm_cv, participation_ratio, shape
from infonce_jax.evaluation.normality import anderson_darling


def test_spectrum_and_effective_rank():
    rng = np.random.default_rng(0)
    for n, d in ((300, 7), (30, 50)):
        z = rng.standard_normal((n, d)) * rng.uniform(0.2, 3, d) + 100
        expected = np.sort(np.linalg.eigvalsh(np.cov(z.T)))[::-1][: min(n - 1, d)]
        np.testing.assert_allclose(shape.spectrum(z), expected, rtol=1e-7, atol=1e-10)
    assert shape.effective_rank(np.full(9, 2.0)) == pytest.approx(9)
    assert shape.effective_rank(np.array([5.0, 0.0])) == pytest.approx(1)
    assert np.isnan(shape.effective_rank(np.zeros(3)))


def test_wasserstein_distances():
    rng = np.random.default_rng(1)
    z = rng.exponential(size=(20_000, 3)) * 5 + 2
    first, second = shape.wasserstein(z)
    w = (z - z.mean(axis=0)) / z.std(axis=0)
    normal = scipy.stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    for j in range(3):
        assert first[j] == pytest.approx(
            scipy.stats.wasserstein_distance(w[:, j], normal), abs=2e-3
        )
    # W₂² = 2 − 2 Cov(sorted, normal quantiles), for unit variances.
    exact = 2 - 2 * np.mean(-np.log1p(-scipy.stats.norm.cdf(normal)) * normal)
    assert second.mean() == pytest.approx(np.sqrt(exact), rel=0.02)


def test_effect_sizes_do_not_move_with_n():
    rng = np.random.default_rng(2)
    z = rng.gamma(20, size=(60_000, 8))
    small, large = (shape.effect_sizes(z[:n]) for n in (3000, 60_000))
    for name in ("skewness_rms", "excess_kurtosis", "negentropy", "delta", "w1", "w2", "norm_cv"):
        assert small[name] == pytest.approx(large[name], rel=0.3), name
    # Gamma(20): skewness 2/√20, excess kurtosis 6/20.
    assert large["skewness_rms"] == pytest.approx(2 / np.sqrt(20), rel=0.03)
    assert large["excess_kurtosis"] == pytest.approx(0.3, rel=0.12)
    assert large["norm_cv"] == pytest.approx(norm_cv(z))
    assert large["participation_ratio"] == pytest.approx(participation_ratio(z), rel=1e-9)
    gaussian = shape.effect_sizes(rng.standard_normal((2000, 200)))
    assert abs(gaussian["negentropy"]) < 3e-4
    assert abs(gaussian["delta"]) < 3e-5
    assert abs(gaussian["excess_kurtosis"]) < 0.03


def test_intervals_cover_and_shrink_with_n(unchecked_types):
    rng = np.random.default_rng(3)

    def compute(z):
        return {"cv": norm_cv(z), "ratio": participation_ratio(z)}

    scale = np.linspace(0.5, 1.5, 6)
    exact = np.sum(scale**2) ** 2 / np.sum(scale**4)
    covered, widths = 0, []
    for _ in range(120):
        found = shape.intervals(rng.standard_normal((800, 6)) * scale, compute, draws=60, level=0.9)
        covered += found["ratio"].low <= exact <= found["ratio"].high
        widths.append(found["cv"].high - found["cv"].low)
    assert 0.8 < covered / 120 < 0.98
    large = shape.intervals(rng.standard_normal((20_000, 6)) * scale, compute, rows=1000, level=0.9)
    assert (large["cv"].high - large["cv"].low) == pytest.approx(np.mean(widths) / 5, rel=0.4)


def test_classes_explain_what_they_were_made_to():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 4, 8000)
    centres = rng.standard_normal((4, 10)) * 2
    z = centres[labels] + rng.standard_normal((8000, 10))
    found = shape.class_conditional(z, labels)
    total = np.var(z, axis=0).sum()
    assert found["between_class_share"] == pytest.approx(1 - 10 / total, abs=0.02)
    assert found["classes"] == 4
    assert found["class_ad_mean"] == pytest.approx(0.384, abs=0.1)
    assert anderson_darling(z).statistic.mean() > 5
    few = shape.class_conditional(z[:60], np.arange(60))
    assert set(few) == {"between_class_share", "classes"}
    with pytest.raises(ValueError, match=r"shape \(5,\).*8000 rows"):
        shape.class_conditional(z, labels[:5])


def test_bh_and_by(unchecked_types):
    p = np.random.default_rng(5).uniform(size=40) ** 3
    np.testing.assert_allclose(
        aggregate.benjamini_hochberg(p), scipy.stats.false_discovery_control(p, method="bh")
    )
    np.testing.assert_allclose(
        aggregate.benjamini_yekutieli(p), scipy.stats.false_discovery_control(p, method="by")
    )
    holed = np.insert(p, 3, np.nan)
    adjusted = aggregate.benjamini_hochberg(holed)
    assert np.isnan(adjusted[3])
    np.testing.assert_allclose(np.delete(adjusted, 3), aggregate.benjamini_hochberg(p))
    with pytest.raises(ValueError, match=r"from -0\.1 to 0\.5"):
        aggregate.benjamini_hochberg(np.array([-0.1, 0.5]))
    with pytest.raises(ValueError, match="1-d"):
        aggregate.benjamini_yekutieli(np.ones((2, 2)))


def test_the_global_test_counts_dependent_coordinates_once(unchecked_types):
    rng = np.random.default_rng(6)
    # 30 coordinates that are nearly one: by themselves all rejected together at the level of one.
    rejected = []
    for k in range(60):
        z = rng.standard_normal((100, 1)) + 0.1 * rng.standard_normal((100, 20))
        found = aggregate.global_test(z, draws=19, seed=k)
        rejected.append([found.mean_pvalue <= 0.1, found.smallest_pvalue <= 0.1])
    rates = np.mean(rejected, axis=0)
    assert (np.abs(rates - 0.1) < 3 * np.sqrt(0.09 / 60)).all()
    assert found.pass_rate_std > 0.05  # not the 0.04 of independent coordinates, nor less
    heavy = aggregate.global_test(rng.standard_t(5, (500, 20)), draws=39)
    assert heavy.mean_pvalue == heavy.smallest_pvalue == 1 / 40
    assert heavy.pass_rate < 0.5 < heavy.pass_rate_gaussian
    assert np.isnan(aggregate.global_test(np.ones((20, 2))).mean)


def test_controls_keep_what_they_say():
    rng = np.random.default_rng(7)
    for n, d in ((4000, 5), (20, 40)):
        z = rng.exponential(size=(n, d)) @ rng.standard_normal((d, d)) + 3
        drawn = np.concatenate([controls.gaussian_like(z, seed=k) for k in range(8000 // n)])
        scale = np.sqrt(np.diag(np.cov(z.T)))
        assert np.abs((drawn.mean(axis=0) - z.mean(axis=0)) / scale).max() < 0.1
        gap = (np.cov(drawn.T) - np.cov(z.T)) / np.multiply.outer(scale, scale)
        assert np.abs(gap).max() < 0.1
    z = rng.exponential(size=(500, 3)).repeat(2, axis=1)
    mixed = controls.permuted(z)
    np.testing.assert_array_equal(np.sort(mixed, axis=0), np.sort(z, axis=0))
    assert abs(np.corrcoef(mixed.T)[0, 1]) < 0.2
    projected = controls.random_projection(rng.exponential(size=(2000, 400)), 12)
    assert projected.shape == (2000, 12)
    assert (anderson_darling(projected).pvalue > 1e-4).all()
    with pytest.raises(ValueError, match="dim is 0"):
        controls.random_projection(z, 0)
