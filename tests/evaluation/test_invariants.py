"""What must hold for every test of the evaluation, whatever the sample: ranges and invariances."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infonce_jax.evaluation import aggregate, calibration, normality
from infonce_jax.evaluation import multivariate as mv
from infonce_jax.evaluation import sphere as sp

KINDS = ("normal", "outlier", "cauchy", "t2", "integers", "bits", "half_constant", "huge", "tiny")
RANGES = {"lilliefors": (0.0, 1.0), "sf": (0.0, 1.0 + 1e-12)}
# The statistics' rounding, relative and absolute.
CLOSE = {"rel": 1e-6, "abs": 1e-7}


def draw(kind, n, d, seed):
    rng = np.random.default_rng([seed, n, d])
    x = rng.standard_normal((n, d))
    if kind == "outlier":
        x[rng.integers(n), rng.integers(d)] = 10.0 ** rng.integers(1, 9)
    elif kind == "cauchy":
        x = rng.standard_cauchy((n, d))
    elif kind == "t2":
        x = rng.standard_t(2, (n, d))
    elif kind == "integers":
        x = np.round(2 * x)
    elif kind == "bits":
        x = (x > 0.5).astype(float)
    elif kind == "half_constant":
        x[: n // 2, 0] = 0.25
    elif kind in ("huge", "tiny"):
        x *= 1e60 if kind == "huge" else 1e-60
    return x


samples = st.tuples(
    st.sampled_from(KINDS), st.integers(8, 60), st.integers(1, 6), st.integers(0, 10**6)
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(samples)
def test_univariate_tests(sample):
    _, n, _, seed = sample
    x = draw(*sample)
    rng = np.random.default_rng(seed)
    constant = np.ptp(x, axis=0) == 0
    for method in ("calibrated", "asymptotic"):
        first = normality.univariate(x, method=method)
        moved = normality.univariate(-4.0 * x[rng.permutation(n)], method=method)
        size = np.abs(x).max()
        shifted = normality.univariate(2.0 * x + 3.0 * size, method=method)
        for test, result in first.items():
            assert (np.isnan(result.statistic) == constant).all(), test
            assert (np.isnan(result.pvalue) == constant).all(), test
            s, p = result.statistic[~constant], result.pvalue[~constant]
            assert ((p > 0) & (p <= 1)).all(), (test, method)
            low, high = RANGES.get(test, (0.0, np.inf))
            assert ((s >= low) & (s <= high)).all(), (test, s)
            for other in (moved, shifted):
                assert other[test].statistic[~constant] == pytest.approx(s, **CLOSE), (test, method)
    known = normality.univariate(
        x, ["ad", "cvm", "lilliefors", "ep"], mean=0.0, std=float(np.abs(x).max() or 1.0)
    )
    for test, result in known.items():
        assert np.all((result.pvalue > 0) & (result.pvalue <= 1) & (result.statistic >= 0)), test


@settings(max_examples=60, deadline=None, derandomize=True)
@given(samples)
def test_multivariate_tests(sample):
    kind, n, d, seed = sample
    x = draw(*sample)
    rng = np.random.default_rng(seed)
    tests = [t for t in mv.TESTS if not t.startswith("sliced")]
    try:
        found = mv.multivariate(x, draws=19, slices=8)
    except ValueError as error:
        assert "full rank" in str(error) or "rows of" in str(error)
        return
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    if kind in ("outlier", "cauchy"):
        # A rotation would spread the one large value over all coordinates, and float64 lose the others.
        turn = np.eye(d)[rng.permutation(d)] * rng.uniform(0.1, 10.0, d)
    shift = 0.0 if kind in ("outlier", "cauchy") else np.abs(x).max()
    moved = mv.multivariate((x[rng.permutation(n)] @ turn) * 3.0 + shift, tests, draws=19)
    for test, result in found.items():
        assert 0 < result.pvalue <= 1 and np.isfinite(result.statistic), test
        assert result.statistic >= -1e-9 * n, (test, result)
        if test in moved:
            assert moved[test].statistic == pytest.approx(result.statistic, rel=1e-5, abs=1e-6), (
                test
            )
    whole = mv.mardia_kurtosis(x)
    assert 0 < whole.pvalue <= 1 and whole.statistic == pytest.approx(
        found["mardia_kurtosis"].statistic, rel=1e-6
    )
    # Cauchy-Schwarz, and |b₁| ≤ b₂.
    assert found["mardia_kurtosis"].statistic >= d**2 * (1 - 1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(samples, st.sampled_from([1e-3, 1.0, 50.0, 5000.0]))
def test_sphere_tests(sample, alpha):
    _, n, d, seed = sample
    x = draw(*sample)
    rng = np.random.default_rng(seed)
    try:
        found = sp.sphere(x, alpha=alpha, draws=19)
    except ValueError as error:
        assert "at least" in str(error)
        return
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    # Powers of two: no row is rounded.
    stretch = 2.0 ** rng.integers(-8, 8, (n, 1))
    moved = sp.sphere(((x * stretch) @ turn)[rng.permutation(n)], alpha=alpha, draws=19)
    for test, result in found.items():
        assert 0 < result.pvalue <= 1 and np.isfinite(result.statistic), (test, result)
        assert moved[test].statistic == pytest.approx(result.statistic, rel=1e-5, abs=1e-5), test
    assert found["rayleigh"].statistic >= 0
    assert found["bingham"].statistic >= -1e-9 * n * d**2
    assert -8.0 <= found["wang_isola"].statistic <= 1e-9
    assert abs(found["potential"].statistic) <= alpha * (1 + 1e-9)
    if found["rayleigh"].n >= 16:
        cosines = sp.cosine_law(x)
        assert 0 < cosines.pvalue <= 1 and 0 <= cosines.statistic <= 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0.0, 1e-300, 1e-6, 0.01, 0.5, 1.0]), min_size=1, max_size=30))
def test_adjusted_pvalues(values):
    p = np.array(values)
    for adjust in (aggregate.benjamini_hochberg, aggregate.benjamini_yekutieli):
        q = adjust(p)
        assert ((q >= p) & (q <= 1)).all()
        assert (np.diff(q[np.argsort(p, kind="stable")]) >= -1e-15).all()
        order = np.random.default_rng(len(p)).permutation(len(p))
        np.testing.assert_allclose(adjust(p[order]), q[order])


def test_a_gross_outlier_is_found():
    for n, d in ((200, 1), (200, 3), (300, 8)):
        x = np.random.default_rng(n + d).standard_normal((n, d))
        for size in (30.0, 1e3, 1e6):
            x[0, 0] = size
            for test, result in normality.univariate(x).items():
                assert result.pvalue[0] < 1e-3, (test, n, d, size)
            for test, result in mv.multivariate(x, draws=99, slices=16).items():
                assert result.pvalue <= 0.03, (test, n, d, size, result)
            assert mv.mardia_kurtosis(x).pvalue < 1e-6


@pytest.mark.parametrize("law", calibration.LAWS)
def test_calibrated_pvalues_fall_over_the_whole_range(law):
    test, estimated = law.removesuffix("_known"), not law.endswith("_known")
    for n in (8, 9, 20, 300, 10**4, 10**7):
        statistic = np.geomspace(1e-12, 1e12, 4001)
        if test == "sf":
            statistic = 1 - np.geomspace(1e-16, 1 - 1e-9, 4001)
        elif test == "lilliefors":
            statistic = np.linspace(1e-9, 1, 4001)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            p = calibration.pvalue(test, statistic, n, estimated=estimated)
        assert ((p > 0) & (p <= 1)).all(), n
        assert (np.diff(p) <= 1e-12).all(), n
