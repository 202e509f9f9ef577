import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from infonce_jax.evaluation import (
    AD_CRITICAL_5_PERCENT,
    GAUSSIAN,
    anderson_darling,
    dagostino_pearson,
    stephens_modified,
)
from infonce_jax.evaluation.normality import _AD_LARGEST_EIGENVALUE, _anderson_darling_pvalue

TESTS = [anderson_darling, dagostino_pearson]


def _zoo(rng, n):
    """Ten columns of ten shapes, each scaled by up to 10⁶ and some shifted by 100 sd."""
    columns = [
        rng.standard_normal(n),
        rng.uniform(-1, 1, n),
        rng.laplace(size=n),
        rng.standard_t(3, n),
        rng.standard_cauchy(n),
        rng.exponential(size=n),
        -rng.lognormal(size=n),
        rng.gamma(30, size=n),
        rng.choice([-2.0, 2.0], n) + rng.standard_normal(n),
        rng.standard_normal(n) * np.where(rng.uniform(size=n) < 0.1, 3, 1),
    ]
    x = np.stack(columns, axis=1)
    scale = 10 ** rng.uniform(-6, 6, 10)
    return scale * (x + rng.choice([0, 0, 1, -100, 100], 10) * x.std(axis=0))


def _scipy_anderson(column):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will change its second output
        return scipy.stats.anderson(column, "norm").statistic


def test_both_tests_agree_with_scipy_on_1000_cases():
    rng = np.random.default_rng(0)
    sizes = [8, 9, 20, 20_000, *np.exp(rng.uniform(np.log(8), np.log(20_000), 96)).astype(int)]
    for n in sizes:
        x = _zoo(rng, n)
        a2 = anderson_darling(x).statistic
        np.testing.assert_allclose(a2, [_scipy_anderson(c) for c in x.T], rtol=1e-8)
        ours = dagostino_pearson(x)
        reference = scipy.stats.normaltest(np.ascontiguousarray(x.T), axis=1)
        np.testing.assert_allclose(ours.statistic, reference.statistic, rtol=1e-8)
        # Below 1e-300 doubles are on their way to 0 and have lost digits.
        np.testing.assert_allclose(ours.pvalue, reference.pvalue, rtol=1e-8, atol=1e-300)


def test_float32_input_is_tested_in_float64():
    x = np.random.default_rng(1).gumbel(100, 1, (3000, 5)).astype(np.float32)
    for test in TESTS:
        for narrow, wide in zip(test(x), test(x.astype(np.float64)), strict=True):
            np.testing.assert_array_equal(narrow, wide)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    log_scale=st.floats(-8, 8),
    shift=st.floats(-1e4, 1e4),
    sign=st.sampled_from([-1, 1]),
)
def test_affine_maps_and_row_order_change_nothing(seed, log_scale, shift, sign):
    rng = np.random.default_rng(seed)
    x = rng.standard_t(4, (300, 3))
    moved = sign * 10**log_scale * (rng.permutation(x) + shift)
    for test in TESTS:
        for before, after in zip(test(x), test(moved), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-120, 1e-40, 1e40, 1e90])
def test_extreme_scales_do_not_overflow(scale):
    x = np.random.default_rng(2).exponential(size=(500, 2))
    for test in TESTS:
        for before, after in zip(test(x), test(scale * x), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-9)


def test_columns_do_not_influence_each_other_across_blocks():
    # More columns than one block holds at this n.
    x = np.random.default_rng(3).laplace(size=(9000, 70))
    for test in TESTS:
        together = test(x)
        for j in (0, 28, 29, 30, 69):
            alone = test(x[:, [j]])
            np.testing.assert_allclose(alone.statistic, together.statistic[[j]], rtol=1e-12)
            np.testing.assert_allclose(alone.pvalue, together.pvalue[[j]], rtol=1e-12)


def test_input_is_left_as_it_was_and_any_memory_order_will_do():
    x = np.random.default_rng(4).standard_normal((200, 6))
    kept = x.copy()
    for test in TESTS:
        expected = test(x).statistic
        np.testing.assert_array_equal(x, kept)
        np.testing.assert_array_equal(test(np.asfortranarray(x)).statistic, expected)
        np.testing.assert_array_equal(test(x.astype(">f8")).statistic, expected)
        np.testing.assert_array_equal(test(np.repeat(x, 2, axis=1)[:, ::2]).statistic, expected)
        x.flags.writeable = False
        test(x)
        x.flags.writeable = True


def test_constant_columns_are_nan_and_nothing_else_is():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((100, 7)).astype(np.float32)
    x[:, 1] = 0.0
    x[:, 3] = 0.1
    x[:, 5] = np.where(rng.uniform(size=100) < 0.5, 1e6, np.nextafter(np.float32(1e6), np.inf))
    for test in TESTS:
        for values in test(x):
            np.testing.assert_array_equal(
                np.isnan(values), [False, True, False, True, False, True, False]
            )
    # 0.1 is no double: its sum over many rows is not 100 times it, and must still be constant.
    assert np.isnan(anderson_darling(np.full((997, 1), 0.1)).statistic[0])


def test_a_symmetric_sample_has_no_skewness_score():
    half = np.random.default_rng(6).exponential(size=50)
    x = np.concatenate([half, -half])
    expected = scipy.stats.kurtosistest(x).statistic ** 2
    assert dagostino_pearson(x[:, None]).statistic[0] == pytest.approx(expected, rel=1e-10)


# D'Agostino & Stephens 1986, Table 4.7: upper tail points of A*², mean and variance estimated.
@pytest.mark.parametrize(
    ("point", "level"), [(0.470, 0.25), (0.631, 0.10), (0.752, 0.05), (0.873, 0.025), (1.035, 0.01)]
)
def test_ad_pvalue_at_the_published_points(point, level):
    assert _anderson_darling_pvalue(np.array([point]))[0] == pytest.approx(level, rel=0.03)


def test_the_modified_statistic_at_small_n():
    assert stephens_modified(np.array([0.5]), 10)[0] == pytest.approx(0.5 * (1 + 0.075 + 0.0225))
    x = np.random.default_rng(10).exponential(size=(8, 4))
    a2, pvalue = anderson_darling(x)
    np.testing.assert_allclose(pvalue, _anderson_darling_pvalue(stephens_modified(a2, 8)))


def test_ad_pvalue_falls_all_the_way_and_stays_positive():
    a = np.concatenate([np.linspace(0.6, 130, 5000), np.linspace(130, 1e4, 5000)])
    pvalue = _anderson_darling_pvalue(a)
    assert np.all(pvalue > 0)
    assert np.all(np.diff(pvalue) <= 0)
    assert np.all(np.diff(pvalue[a < 130]) < 0)
    two_points = np.random.default_rng(7).choice([-1.0, 1.0], (20_000, 1))
    result = anderson_darling(two_points + 1e-3 * np.random.default_rng(8).normal(size=(20_000, 1)))
    assert result.statistic[0] > 1000
    assert 0 < result.pvalue[0] < 1e-300


def test_ad_constants_come_from_the_limiting_kernel():
    nodes, weights = np.polynomial.legendre.leggauss(500)
    s, weights = (nodes + 1) / 2, weights / 2
    q = ndtri(s)
    density = np.exp(-(q**2) / 2) / np.sqrt(2 * np.pi)
    kernel = np.minimum.outer(s, s) - np.outer(s, s)
    kernel -= np.outer(density, density) * (1 + np.outer(q, q) / 2)
    root = np.sqrt(weights / (s * (1 - s)))
    kernel *= np.outer(root, root)
    assert np.trace(kernel) == pytest.approx(GAUSSIAN["ad_mean"], rel=1e-5)
    assert np.linalg.eigvalsh(kernel)[-1] == pytest.approx(_AD_LARGEST_EIGENVALUE, rel=1e-4)


def test_false_positives_come_at_the_nominal_rate():
    columns, n = 20_000, 200
    x = np.random.default_rng(9).standard_normal((n, columns))
    ad, dp = anderson_darling(x), dagostino_pearson(x)
    passed = stephens_modified(ad.statistic, n) < AD_CRITICAL_5_PERCENT
    for rate in (1 - passed.mean(), np.mean(ad.pvalue < 0.05)):
        assert abs(rate - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / columns)
    # Known of the χ² approximation: close to, not at, the nominal level.
    assert abs(np.mean(dp.pvalue < 0.05) - 0.05) < 0.01
    assert ad.statistic.mean() == pytest.approx(GAUSSIAN["ad_mean"], rel=0.02)
    assert dp.pvalue.mean() == pytest.approx(GAUSSIAN["dp_mean_p"], rel=0.03)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros(20), ValueError, r"1-dimensional, with shape \(20,\).*x\[:, None\]"),
        (np.zeros((2, 10, 3)), ValueError, r"3-dimensional.*reshape"),
        (np.zeros((7, 3)), ValueError, r"7 rows of 3 coordinates; at least 8"),
        (np.zeros((20, 0)), ValueError, r"\(20, 0\): no coordinates"),
        (np.zeros((20, 2), int), TypeError, r"int64.*ties.*astype\(np\.float64\)"),
        (np.zeros((20, 2), bool), TypeError, r"dtype bool.*ties"),
        (np.zeros((20, 2), complex), TypeError, r"complex128.*x\.real"),
        (np.full((20, 2), None), TypeError, r"dtype object.*convert"),
        (np.full((20, 2), "a"), TypeError, r"dtype <U1.*convert"),
        (np.ma.zeros((20, 2)), TypeError, r"masked array"),
        (np.full((20, 2), 1e200), ValueError, r"1e\+200.*divide by"),
    ],
)
def test_bad_input_is_named_with_its_remedy(test, x, error, message):
    with pytest.raises(error, match=message):
        test(x)


@pytest.mark.parametrize("test", TESTS)
def test_nan_and_inf_are_counted_and_the_first_is_located(test):
    x = np.zeros((70_000, 5), np.float32)
    x[66_001, 3] = np.inf
    x[66_001, 4] = np.nan
    x[69_999, 0] = -np.inf
    with pytest.raises(ValueError, match=r"holds 3 values.*inf at row 66001, column 3"):
        test(x)
