import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

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
    calibration,
    cramer_von_mises,
    dagostino_pearson,
    epps_pulley,
    jarque_bera,
    lilliefors,
    normal_scores,
    ordered,
    shapiro_francia,
    stephens_modified,
    univariate,
)
from infonce_jax.evaluation import TESTS as BY_NAME
from infonce_jax.evaluation._precompute import calibrate
from infonce_jax.evaluation.asymptotic import _AD_LARGEST_EIGENVALUE, _anderson_darling_pvalue

TESTS = [
    anderson_darling,
    dagostino_pearson,
    jarque_bera,
    cramer_von_mises,
    shapiro_francia,
    lilliefors,
    epps_pulley,
]
EDF_TESTS = [anderson_darling, cramer_von_mises, lilliefors, epps_pulley]


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


def test_the_papers_two_tests_agree_with_scipy_on_1000_cases():
    rng = np.random.default_rng(0)
    sizes = [8, 9, 20, 20_000, *np.exp(rng.uniform(np.log(8), np.log(20_000), 96)).astype(int)]
    for n in sizes:
        x = _zoo(rng, n)
        a2 = anderson_darling(x).statistic
        np.testing.assert_allclose(a2, [_scipy_anderson(c) for c in x.T], rtol=1e-8)
        ours = dagostino_pearson(x, method="asymptotic")
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
            # A p-value of 1e-127 has the statistic's rounding error in its exponent.
            np.testing.assert_allclose(
                np.log(alone.pvalue), np.log(together.pvalue[[j]]), rtol=1e-12
            )


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


# D'Agostino & Stephens 1986, Table 4.7: upper tail points of A*², mean and variance estimated, as
# scipy.stats.anderson tabulates them.
@pytest.mark.parametrize(
    ("point", "level"), [(0.561, 0.15), (0.631, 0.10), (0.752, 0.05), (0.873, 0.025), (1.035, 0.01)]
)
def test_ad_pvalue_at_the_published_points(point, level):
    assert _anderson_darling_pvalue(np.array([point]))[0] == pytest.approx(level, rel=0.03)


def test_the_modified_statistic_at_small_n():
    assert stephens_modified(np.array([0.5]), 10)[0] == pytest.approx(0.5 * (1 + 0.075 + 0.0225))
    x = np.random.default_rng(10).exponential(size=(8, 4))
    a2, pvalue = anderson_darling(x, method="asymptotic")
    np.testing.assert_allclose(pvalue, _anderson_darling_pvalue(stephens_modified(a2, 8)))


def test_ad_pvalue_falls_all_the_way_and_stays_positive():
    a = np.concatenate([np.linspace(0.6, 130, 5000), np.linspace(130, 1e4, 5000)])
    pvalue = _anderson_darling_pvalue(a)
    assert np.all(pvalue > 0)
    assert np.all(np.diff(pvalue) <= 0)
    assert np.all(np.diff(pvalue[a < 130]) < 0)
    two_points = np.random.default_rng(7).choice([-1.0, 1.0], (20_000, 1))
    x = two_points + 1e-3 * np.random.default_rng(8).normal(size=(20_000, 1))
    for method in ("asymptotic", "calibrated"):
        result = anderson_darling(x, method=method)
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


def test_false_positives_of_the_papers_criteria():
    columns, n = 20_000, 200
    x = np.random.default_rng(9).standard_normal((n, columns))
    ad, dp = (t(x, method="asymptotic") for t in (anderson_darling, dagostino_pearson))
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
def test_bad_input_is_named_with_its_remedy(unchecked_types, test, x, error, message):
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


def _brute_force_epps_pulley(w):
    n = len(w)
    pairs = np.exp(-0.5 * np.subtract.outer(w, w) ** 2).sum() / n
    return pairs - np.sqrt(2) * np.exp(-0.25 * w**2).sum() + n / np.sqrt(3)


def test_the_other_statistics_agree_with_their_definitions():
    rng = np.random.default_rng(20)
    for n in (8, 50, 1501):
        x = _zoo(rng, n)
        w = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
        jb = jarque_bera(x, method="asymptotic")
        reference = scipy.stats.jarque_bera(x, axis=0)
        np.testing.assert_allclose(jb.statistic, reference.statistic, rtol=1e-9)
        np.testing.assert_allclose(jb.pvalue, reference.pvalue, rtol=1e-8, atol=1e-300)
        for j in range(x.shape[1]):
            one = {test: r.statistic[0] for test, r in univariate(x[:, [j]]).items()}
            expected = scipy.stats.cramervonmises(w[:, j], "norm").statistic
            assert one["cvm"] == pytest.approx(expected, rel=1e-9)
            expected = scipy.stats.kstest(w[:, j], "norm").statistic
            assert one["lilliefors"] == pytest.approx(expected, rel=1e-9)
            scores = ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
            expected = np.corrcoef(np.sort(x[:, j]), scores)[0, 1] ** 2
            assert one["sf"] == pytest.approx(expected, rel=1e-9)
            z = (x[:, j] - x[:, j].mean()) / x[:, j].std()
            assert one["ep"] == pytest.approx(_brute_force_epps_pulley(z), rel=1e-7, abs=1e-9)


def test_the_characteristic_function_of_long_rows_is_that_of_short_ones():
    rng = np.random.default_rng(33)
    w = np.sort(np.stack([*rng.standard_normal((2, 900)), rng.uniform(-8, 8, 900)]), axis=1)
    w = np.concatenate([w, np.full((1, 900), np.nan), np.full((1, 900), -8.0)])
    close, exact = ordered._expansions(w), ordered._powers(w)
    assert np.isnan(close[:, 3]).all()
    assert np.isnan(exact[1:, 3]).all()
    close, exact = np.delete(close, 3, axis=1), np.delete(exact, 3, axis=1)
    t = ordered._EP_SPACING * np.arange(len(close))[:, None]
    weight = np.exp(-0.5 * t * t)
    np.testing.assert_allclose(weight * close / 900, weight * exact / 900, atol=1e-10)


def test_one_pass_gives_what_each_test_gives_alone():
    x = np.random.default_rng(21).laplace(size=(700, 40)).astype(np.float32)
    together = univariate(x)
    assert list(together) == list(BY_NAME)
    for test, alone in zip(("ad", "dp", "jb", "cvm", "sf", "lilliefors", "ep"), TESTS, strict=True):
        for a, b in zip(together[test], alone(x), strict=True):
            np.testing.assert_array_equal(a, b)


def test_outliers_at_40_standard_deviations_and_tiny_samples_have_finite_pvalues():
    rng = np.random.default_rng(22)
    x = rng.standard_normal((5000, 2))
    x[17] = 40.0
    x[18, 1] = -60.0
    for sample in (x, rng.standard_cauchy((8, 2))):
        for method in ("calibrated", "asymptotic"):
            for result in univariate(sample, method=method).values():
                assert np.isfinite(result.statistic).all()
                assert ((result.pvalue > 0) & (result.pvalue <= 1)).all()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    expected = [_brute_force_epps_pulley(column) for column in z.T]
    np.testing.assert_allclose(epps_pulley(x).statistic, expected, rtol=1e-8)


def test_float32_statistics_are_close_even_100_standard_deviations_from_zero():
    x = np.random.default_rng(23).standard_normal((5000, 4))
    for shift, tolerance in ((0.0, 1e-4), (100.0, 1e-4)):
        narrow, wide = (univariate(z) for z in ((x + shift).astype(np.float32), x))
        assert np.abs(narrow["ad"].statistic - wide["ad"].statistic).max() < tolerance
        for test in ("ad", "dp"):
            assert np.abs(narrow[test].pvalue - wide[test].pvalue).max() < 2e-5


def test_epps_pulley_quantiles_against_a_simulation_of_the_definition():
    rng, n, repeats = np.random.default_rng(30), 20, 20_000
    w = rng.standard_normal((repeats, n))
    w = (w - w.mean(axis=1, keepdims=True)) / w.std(axis=1, keepdims=True)
    statistic = np.array([_brute_force_epps_pulley(row) for row in w])
    _within_three_standard_errors(calibration.pvalue("ep", statistic, n))


def _marsaglia_limit(z):
    """P(A² < z) for known parameters and n → ∞, by Marsaglia & Marsaglia's (2004) approximation."""
    low = np.polyval([0.00168691, -0.0116720, 0.0347962, -0.0649821, 0.247105, 2.00012], z)
    high = np.polyval([-0.0003146, 0.008056, -0.082433, 0.43424, -2.30695, 1.0776], z)
    return np.where(z < 2, np.exp(-1.2337141 / z) / np.sqrt(z) * low, np.exp(-np.exp(high)))


def test_known_parameters_against_the_literature_and_scipy():
    z = np.array([0.5, 1.0, 1.933, 2.492, 3.857, 6.0])
    found = calibration.pvalue("ad", z, np.inf, estimated=False)
    np.testing.assert_allclose(found, 1 - _marsaglia_limit(z), rtol=1e-3, atol=3e-6)
    # The published 10%, 5% and 1% points (Stephens 1974, case 0).
    np.testing.assert_allclose(found[2:5], [0.10, 0.05, 0.01], rtol=0.03)
    for n in (20, 300):
        x = np.random.default_rng([31, n]).standard_normal((n, 20)) * 1.3
        expected = scipy.stats.cramervonmises(x, "norm", axis=0)
        ours = cramer_von_mises(x, mean=0.0, std=1.0)
        np.testing.assert_allclose(ours.statistic, expected.statistic, rtol=1e-9)
        np.testing.assert_allclose(ours.pvalue, expected.pvalue, rtol=0.03, atol=2e-3)


def _within_three_standard_errors(pvalue, levels=(0.1, 0.05, 0.01, 0.001)):
    for level in levels:
        allowed = 3 * np.sqrt(level * (1 - level) / len(pvalue))
        assert abs(np.mean(pvalue <= level) - level) < allowed, level


@pytest.mark.parametrize(
    ("n", "columns"), [(8, 100_000), (57, 30_000), (200, 20_000), (3000, 3000)]
)
def test_false_positives_come_at_the_nominal_rate(n, columns):
    x = np.random.default_rng([24, n]).standard_normal((n, columns))
    for test, result in univariate(x).items():
        _within_three_standard_errors(result.pvalue)
        uniform = scipy.stats.kstest(result.pvalue, "uniform").pvalue
        assert uniform > 0.001, test


def test_false_positives_with_known_parameters_come_at_the_nominal_rate():
    mean, std = np.array([3.0, -1.0]), np.array([0.1, 20.0])
    x = np.random.default_rng(25).standard_normal((60, 2, 10_000)) * std[:, None] + mean[:, None]
    given = {"mean": np.repeat(mean, 10_000), "std": np.repeat(std, 10_000)}
    tests = ("ad", "cvm", "lilliefors", "ep")
    for result in univariate(x.reshape(60, -1), ("ad", "cvm", "ep"), **given).values():
        _within_three_standard_errors(result.pvalue)
    exact = lilliefors(x[:, 0, :2000], mean=3.0, std=0.1).pvalue
    _within_three_standard_errors(exact)
    # A wrong mean is found, which estimating it would hide.
    shifted = univariate(x[:, 0, :50] + 0.1, tests, mean=3.0, std=0.1)
    assert all((result.pvalue < 1e-6).all() for result in shifted.values())


@pytest.mark.parametrize("dim", [2, 8, 300])
def test_uniform_directions_pass_as_spherical_marginals(dim):
    u = np.random.default_rng([26, dim]).standard_normal((400, 3000 // dim + 1, dim))
    u /= np.linalg.norm(u, axis=2, keepdims=True)
    # The coordinates of one direction depend on one another: of each take one.
    pvalues = [
        anderson_darling(u[:, k], null="sphere").pvalue[0] for k in range(min(u.shape[1], 300))
    ]
    assert scipy.stats.kstest(pvalues, "uniform").pvalue > 0.001
    scores = normal_scores(u[:, 0])
    assert np.isfinite(scores).all()
    density_free = scipy.stats.beta((dim - 1) / 2, (dim - 1) / 2).cdf((1 + u[:, 0]) / 2)
    np.testing.assert_allclose(ndtri(density_free), scores, rtol=1e-6, atol=1e-9)
    if dim == 8:
        flat = np.random.default_rng(27).standard_normal((30_000, 8))
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        assert (anderson_darling(flat).pvalue < 1e-4).all()
        assert (anderson_darling(flat, null="sphere").pvalue > 1e-4).all()


def test_tables_are_read_by_several_threads_at_once():
    interval = sys.getswitchinterval()
    # Threads that change places at every turn meet in the parser of the arrays' headers.
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(100):
                calibration.load.cache_clear()
                assert len(list(pool.map(calibration.load, calibration.LAWS))) == 10
    finally:
        sys.setswitchinterval(interval)


# At 1e-5 and 1e-6 a check by brute force takes 10⁸ samples; the limits are known exactly.
def test_the_rarest_levels_join_the_limit():
    for law in ("ad", "cvm", "ep", "ad_known", "cvm_known", "ep_known"):
        far, near = (np.exp(calibration.score_at(law, n)) for n in (10**8, 2 * 10**4))
        np.testing.assert_allclose(near[-5:], far[-5:], rtol=0.03)
    exact = -2 * np.log(calibration.load("dp").levels)
    np.testing.assert_allclose(np.exp(calibration.score_at("dp", 10**12)), exact, rtol=1e-3)
    np.testing.assert_allclose(
        np.exp(calibration.score_at("dp", 10**5))[-8:], exact[-8:], rtol=0.02
    )


def test_chains_find_the_rare_quantiles_that_brute_force_finds():
    rng = np.random.default_rng(31)
    n, count = 12, 1_500_000
    drawn = {law: [] for law in ("dp", "jb")}
    for _ in range(10):
        w = rng.standard_normal((count // 10, n))
        for law, values in calibrate._statistics("moments", tuple(drawn), w).items():
            drawn[law].append(np.log(values))
    levels = calibrate.LEVELS
    simulated: dict = {"count": np.array(20_000)}
    for law, values in drawn.items():
        # What a small simulation tells the chains: nothing beyond 1e-3.
        simulated[law] = np.quantile(np.concatenate(values)[:20_000], 1 - levels)
    found = calibrate.simulate_rare("moments", n, simulated, steps=1000)
    again = calibrate.simulate_rare("moments", n, simulated, steps=1000)
    rare = np.isclose(levels, 1e-4)
    for law, values in drawn.items():
        np.testing.assert_array_equal(found[law], again[law])
        share = np.mean(np.concatenate(values) > found[law][rare])
        # 8% from brute force, some 10% from the chains and 2% from their anchor, three times over.
        assert 0.6e-4 < share < 1.6e-4
        assert np.isfinite(found[law][-1]) and found[f"{law}_count"][-1] > 3e6
        assert found[law][-1] > found[law][rare]


def test_normal_scores_reach_the_poles():
    u = np.zeros((3, 2000))
    u[0, 0], u[1, 1], u[2, 2] = 1.0, -1.0, np.nextafter(1.0, 0)
    scores = normal_scores(u)
    assert np.isfinite(scores).all()
    assert scores[0, 0] > 100
    assert scores[1, 1] < -100


@pytest.mark.parametrize("test", EDF_TESTS)
def test_every_alternative_is_found(test):
    rng = np.random.default_rng(28)
    for x in (
        rng.exponential(size=(500, 20)),
        rng.uniform(size=(500, 20)),
        rng.standard_t(3, (500, 20)),
        rng.choice([-2.0, 2.0], (500, 20)) + rng.standard_normal((500, 20)),
    ):
        assert (test(x).pvalue < 0.01).mean() > 0.9


def test_calibrated_pvalues_fall_without_a_step_at_any_n():
    for law in calibration.LAWS:
        test, estimated = law.removesuffix("_known"), not law.endswith("_known")
        for n in (8, 13, 50, 333, 5000, 70_000, 10**6):
            middle = calibration.score_at(law, n)
            score = np.linspace(middle[0] - 1, middle[-1] + 1, 3000)
            if law == "sf":
                u, v = np.log(n), np.log(np.log(n))
                log = score * (1.0308 - 0.26758 * (v + 2 / u)) - 1.2725 + 1.0521 * (v - u)
                statistic = 1 - np.exp(np.minimum(log, 0.0))
            else:
                statistic = np.exp(score) / (np.sqrt(n) if law == "lilliefors" else 1)
            pvalue = calibration.pvalue(test, statistic, n, estimated=estimated)
            assert (np.diff(pvalue) <= 1e-12).all(), (law, n)
            if n >= 50:  # below, the support ends within the table
                assert (np.abs(np.diff(np.log(pvalue))) < 2.0).all(), (law, n)


def test_what_cannot_be_known_or_chosen_is_said(unchecked_types):
    x = np.random.default_rng(29).standard_normal((50, 3))
    for call, message in [
        (lambda: anderson_darling(x, method="exact"), "'exact'.*calibrated, asymptotic"),
        (lambda: anderson_darling(x, null="cube"), "'cube'.*normal, sphere"),
        (lambda: univariate(x, ["sw"]), "'sw'.*ad .Anderson-Darling., dp"),
        (lambda: anderson_darling(x, mean=0.0), "std is None.*both or neither"),
        (lambda: anderson_darling(x, mean=0.0, std=0.0), "std positive"),
        (lambda: anderson_darling(x, mean=np.zeros(2), std=1.0), r"shape \(2,\) for 3"),
        (lambda: univariate(x, mean=0.0, std=1.0), "do not depend on location and scale"),
        (lambda: anderson_darling(x, null="sphere"), "row 0 has length"),
        (lambda: normal_scores(np.ones((9, 1))), "at least 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
