import mpmath
import numpy as np
import pytest
import scipy.spatial
import scipy.stats
from scipy.special import ive

from infonce_jax.evaluation import multivariate as mv
from infonce_jax.evaluation import sphere as sp


def _white(x):
    centred = x - x.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(centred.T @ centred / len(x)), centred.T).T


def _distance_by_quadrature(square, d):
    law = scipy.stats.ncx2(d, square)
    centre, width = d + square, 14 * np.sqrt(2 * (d + 2 * square))
    x = np.linspace(max(centre - width, 0.0), centre + width, 40_001)[1:]
    # In √x, whose density has no pole at 0.
    root = np.sqrt(x)
    return np.trapezoid(root * law.pdf(x) * 2 * root, root)


@pytest.mark.parametrize(("n", "d"), [(60, 3), (90, 12)])
def test_statistics_equal_their_definitions_over_all_pairs(n, d):
    rng = np.random.default_rng([0, n])
    x = rng.standard_t(6, (n, d)) @ rng.standard_normal((d, d)) + 3
    found = mv.multivariate(x, draws=19)
    y = _white(x)
    r = y @ y.T
    distance = np.maximum(np.add.outer(np.diag(r), np.diag(r)) - 2 * r, 0)
    assert found["mardia_skewness"].statistic == pytest.approx(np.sum(r**3) / n**2, rel=1e-9)
    assert found["mardia_kurtosis"].statistic == pytest.approx(np.mean(np.diag(r) ** 2), rel=1e-9)
    to_normal = sum(_distance_by_quadrature(square, d) for square in np.diag(r))
    between = 2 * scipy.special.gamma((d + 1) / 2) / scipy.special.gamma(d / 2)
    energy = 2 * to_normal - n * between - np.sqrt(distance).sum() / n
    assert found["energy"].statistic == pytest.approx(energy, abs=1e-8 * to_normal)
    beta2 = mv.default_bandwidth(n, d) ** 2
    # ∫ |φₙ − φ|² dN(0, β²) by simulation of t.
    t = rng.standard_normal((4000, d)) * np.sqrt(beta2)
    gap = np.exp(1j * t @ y.T).mean(axis=1) - np.exp(-0.5 * np.sum(t**2, axis=1))
    sample = n * np.abs(gap) ** 2
    error = 5 * sample.std() / np.sqrt(len(sample))
    assert found["bhep"].statistic == pytest.approx(sample.mean(), abs=error)


@pytest.mark.parametrize("d", [1, 2, 3, 8, 60, 512, 4096])
def test_mean_distance_to_a_normal_for_any_norm(d):
    square = np.array([0, 1e-300, 1e-8, 0.3, 1, 4, 30, d, 5 * d, 1e3, 1e6, 1e10, 1e20, 1e200])
    found = mv.distance_to_normal(square, d)
    with mpmath.workdps(40):
        half = mpmath.mpf(d) / 2
        chi = mpmath.sqrt(2) * mpmath.gamma(half + mpmath.mpf(1) / 2) / mpmath.gamma(half)
        for s, value in zip(map(mpmath.mpf, square.tolist()), found, strict=True):
            if s < 1e12:
                want = chi * mpmath.hyp1f1(-mpmath.mpf(1) / 2, half, -s / 2)
            else:
                want = mpmath.sqrt(s) * (1 + (d - 1) / (2 * s))
            assert abs(value / want - 1) < 1e-12, (d, float(s))


@pytest.mark.parametrize("n", [1500, 40])
def test_energy_with_one_gross_outlier_agrees_with_mpmath(n):
    x = np.random.default_rng(n).standard_normal((n, 3))
    x[0, 0] = 1000.0
    rows = 40 if n == 40 else 2000
    found = mv.multivariate(x, ["energy"], draws=19, rows=rows)["energy"]
    assert found.pvalue == 0.05
    y = _white(x)
    with mpmath.workdps(30):
        # E‖a − Z‖ in three dimensions is elementary.
        def distance(a):
            near = mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-(a**2) / 2)
            return near + (a + 1 / a) * mpmath.erf(a / mpmath.sqrt(2))

        to_normal = sum(distance(mpmath.mpf(float(a))) for a in np.linalg.norm(y, axis=1))
        between = 4 / mpmath.sqrt(mpmath.pi)
        pairs = scipy.spatial.distance.pdist(y).sum() * 2
        want = float(2 * to_normal - n * between - pairs / n)
    assert found.statistic == pytest.approx(want, rel=1e-8)


def test_energy_of_heavy_tails_agrees_with_mpmath():
    x = np.random.default_rng(2).standard_t(2, (150, 2))
    found = mv.multivariate(x, ["energy"], draws=19)["energy"]
    y = _white(x)
    with mpmath.workdps(30):
        to_normal = sum(
            mpmath.sqrt(mpmath.pi / 2) * mpmath.hyp1f1(-0.5, 1, -mpmath.mpf(float(s)) / 2)
            for s in np.square(y).sum(axis=1)
        )
        between = mpmath.sqrt(mpmath.pi)
        pairs = scipy.spatial.distance.pdist(y).sum() * 2
        want = float(2 * to_normal - len(y) * between - pairs / len(y))
    assert found.statistic == pytest.approx(want, rel=1e-8)


def test_the_stein_kernel_integrates_to_zero_under_the_normal():
    rng = np.random.default_rng(1)
    y = rng.standard_normal((3000, 3))
    sums = dict.fromkeys(mv._PAIRWISE, 0.0)
    square = np.einsum("ij,ij->i", y, y)
    mv._add_pairs(sums, ("ksd",), y @ y.T, square, square, 1.0, 3)
    diagonal = np.sum(square * 3**-0.5 + 3.0**-1.5 * 3)
    pairs = (sums["ksd"] - diagonal) / (3000 * 2999)
    assert abs(pairs) < 0.005 < diagonal / 3000


def test_location_and_linear_maps_change_no_statistic():
    rng = np.random.default_rng(2)
    x = rng.laplace(size=(200, 5))
    tests = [t for t in mv.TESTS if not t.startswith("sliced")]
    first = mv.multivariate(x, tests, draws=19)
    moved = mv.multivariate(x @ rng.standard_normal((5, 5)) + 7, tests, draws=19)
    for test in tests:
        assert moved[test].statistic == pytest.approx(first[test].statistic, rel=1e-6), test
        assert moved[test].pvalue == first[test].pvalue


def test_exact_moments_of_mardias_kurtosis_and_skewness(unchecked_types):
    rng = np.random.default_rng(3)
    n, d = 40, 20
    found = np.array(
        [
            mv._statistics(
                mv.whiten(rng.standard_normal((n, d))),
                ("mardia_kurtosis", "mardia_skewness"),
                1,
                None,
                0,
            )
            for _ in range(1000)
        ]
    )
    mean, variance, skewness = mv.mardia_kurtosis_moments(n, d)
    assert found[:, 0].mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 1000))
    assert found[:, 0].var() == pytest.approx(variance, rel=0.18)
    assert scipy.stats.skew(found[:, 0]) == pytest.approx(skewness, abs=4 * np.sqrt(6 / 1000))
    assert found[:, 1].mean() == pytest.approx(mv.mardia_skewness_mean(n, d), rel=0.005)


def test_mardias_kurtosis_of_one_coordinate_is_the_kurtosis_test():
    x = np.random.default_rng(12).standard_t(9, (200, 5))
    for column, expected in zip(x.T, scipy.stats.kurtosistest(x).pvalue, strict=True):
        assert mv.mardia_kurtosis(column[:, None]).pvalue == pytest.approx(expected, rel=1e-9)


def test_mardias_kurtosis_false_positives_and_thin_shells(unchecked_types):
    rng = np.random.default_rng(13)
    for n, d in ((60, 3), (100, 40)):
        p = [mv.mardia_kurtosis(rng.standard_normal((n, d))).pvalue for _ in range(1500)]
        for level in (0.1, 0.05, 0.01):
            error = np.sqrt(level * (1 - level) / len(p))
            assert abs(np.mean(np.array(p) <= level) - level) < 3 * error
    for d in (2, 8, 64):
        assert mv.mardia_kurtosis(_uniform(rng, 2000, d)).pvalue < 1e-20


def test_multivariate_false_positives_come_at_the_nominal_rate(unchecked_types):
    rng = np.random.default_rng(4)
    repeats, draws = 300, 199
    rejected = dict.fromkeys(mv.TESTS, 0)
    for _ in range(repeats):
        found = mv.multivariate(rng.standard_normal((50, 4)), draws=draws, slices=16)
        for test, result in found.items():
            rejected[test] += result.pvalue <= 0.1
    # The draws are shared by all repeats, so that their own scatter counts too.
    allowed = 3 * np.sqrt(0.1 * 0.9 * (1 / repeats + 1 / draws))
    for test, count in rejected.items():
        assert abs(count / repeats - 0.1) < allowed, test


def test_the_sliced_test_on_all_rows_is_the_one_on_few():
    x = np.random.default_rng(11).standard_t(8, (900, 6)) + 4
    for test in ("sliced_ad", "sliced_ep"):
        few = mv.multivariate(x, [test], draws=99, rows=900)[test]
        assert mv.sliced_test(x, test, draws=99) == pytest.approx(few, rel=1e-9)


def test_dependence_that_no_coordinate_shows_is_found():
    # Every coordinate is exactly normal; only their signs agree too often.
    rng = np.random.default_rng(5)
    x = rng.standard_normal((800, 6))
    x[:, 5] = np.abs(x[:, 5]) * np.sign(x[:, 0] * x[:, 1])
    found = mv.multivariate(x, draws=49)
    assert found["bhep"].pvalue <= 0.02
    assert found["mardia_skewness"].pvalue <= 0.02
    tails = rng.standard_normal((600, 40)) * np.sqrt(8 / rng.chisquare(8, (600, 1)))
    found = mv.multivariate(tails, draws=49)
    assert all(r.pvalue <= 0.02 for t, r in found.items() if t != "mardia_skewness"), found
    assert mv.mardia_kurtosis(tails).pvalue < 1e-6
    assert mv.mardia_kurtosis(rng.standard_normal((1000, 128))).pvalue > 1e-3


def test_multivariate_bad_inputs():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((50, 4))
    for call, message in [
        (lambda: mv.multivariate(x, ["hotelling"]), "'hotelling'.*mardia_skewness"),
        (lambda: mv.multivariate(x[:, [0, 1, 1]]), "full rank"),
        (lambda: mv.multivariate(np.insert(x, 0, 1.0, axis=1)), "full rank"),
        (lambda: mv.multivariate(rng.standard_normal((20, 30))), "20 rows of 30"),
        (lambda: mv.mardia_kurtosis(rng.standard_normal((20, 30))), "20 rows of 30"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def _uniform(rng, n, d):
    z = rng.standard_normal((n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_closed_forms_of_uniform_directions():
    for d, alpha in [(2, 0.5), (3, 2.0), (8, 10.0), (128, 20.0)]:
        bessel = np.log(ive(d / 2 - 1, alpha)) + alpha
        expected = scipy.special.gammaln(d / 2) + (d / 2 - 1) * np.log(2 / alpha) + bessel
        assert sp.uniform_potential(d, alpha) == pytest.approx(expected, rel=1e-10)
    # In three dimensions it is log(sinh α / α), at temperatures where Bessel functions overflow.
    assert sp.uniform_potential(3, 3000.0) == pytest.approx(3000 - np.log(6000), rel=1e-12)
    assert 0 < sp.uniform_potential(4096, 5.0) < 25 / 4096
    t = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(sp.cosine_cdf(t, 3), (1 + t) / 2, atol=1e-12)
    tiny = np.array([-1, -1e-3, -1e-9, 0, 1e-9, 1e-3, 1])
    np.testing.assert_allclose(sp.cosine_cdf(tiny, 3), (1 + tiny) / 2, rtol=1e-14)
    for d in (2, 3, 16, 1024):
        for alpha in (1e-6, 1e-3, 50.0, 1000.0):
            with mpmath.workdps(40):
                f = mpmath.hyp0f1(mpmath.mpf(d) / 2, mpmath.mpf(alpha) ** 2 / 4)
                want = float(mpmath.log(f))
            assert sp.uniform_potential(d, alpha) == pytest.approx(want, rel=1e-9), (d, alpha)


def test_sphere_statistics_equal_their_definitions():
    rng = np.random.default_rng(7)
    n, d = 70, 5
    z = rng.standard_normal((n, d)) + 0.2
    found = sp.sphere(z, alpha=7.0, draws=19)
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    t = (u @ u.T)[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    assert found["rayleigh"].statistic == pytest.approx(n * d * np.sum(u.mean(axis=0) ** 2))
    scatter = u.T @ u / n
    expected = n * d * (d + 2) / 2 * (np.trace(scatter @ scatter) - 1 / d)
    assert found["bingham"].statistic == pytest.approx(expected)
    assert found["wang_isola"].statistic == pytest.approx(np.log(np.exp(4 * t - 4).mean()))
    expected = np.mean(np.log(np.exp(7 * t).mean(axis=1)))
    assert found["potential"].statistic == pytest.approx(expected)
    rho = d**-0.5
    kernel = (1 - rho**2) / (1 + rho**2 - 2 * rho * t) ** (d / 2)
    assert found["poisson"].statistic == pytest.approx(np.log(kernel.mean()))
    ratio = np.exp(scipy.special.gammaln((d - 1) / 2) - scipy.special.gammaln(d / 2))
    expected = n / 2 - (d - 1) / (2 * n) * ratio**2 * np.sqrt(1 - t**2).sum() / 2
    assert found["gine"].statistic == pytest.approx(expected)


@pytest.mark.parametrize("d", [2, 32, 2048])
def test_uniform_directions_score_what_is_said(d):
    rng = np.random.default_rng([8, d])
    z = _uniform(rng, 400, d) * rng.uniform(1, 9, (400, 1))
    found = sp.sphere(z, draws=39)
    for test, result in found.items():
        assert np.isfinite(result.statistic) and result.pvalue > 0.02, test
    for test in ("wang_isola", "potential", "poisson"):
        assert found[test].statistic == pytest.approx(found[test].uniform, abs=0.15)
    assert sp.cosine_law(z).pvalue > 0.001


def test_sphere_false_positives_and_power():
    rng = np.random.default_rng(9)
    repeats, draws = 200, 199
    rejected = dict.fromkeys(sp.TESTS, 0)
    ks = []
    for _ in range(repeats):
        z = rng.standard_normal((40, 4))
        ks.append(sp.cosine_law(z).pvalue)
        for test, result in sp.sphere(z, draws=draws).items():
            rejected[test] += result.pvalue <= 0.1
    allowed = 3 * np.sqrt(0.1 * 0.9 * (1 / repeats + 1 / draws))
    for test, count in rejected.items():
        assert abs(count / repeats - 0.1) < allowed, test
    assert scipy.stats.kstest(ks, "uniform").pvalue > 0.001
    shifted = sp.sphere(rng.standard_normal((500, 16)) + 0.2, draws=99)
    assert all(
        shifted[t].pvalue == 0.01 for t in ("rayleigh", "wang_isola", "potential", "poisson")
    )
    stretched = rng.standard_normal((500, 16)) * np.linspace(0.3, 2, 16)
    found = sp.sphere(stretched, draws=99)
    assert found["bingham"].pvalue == found["gine"].pvalue == 0.01
    assert sp.cosine_law(np.repeat(stretched, 4, axis=0)).pvalue < 0.05


def test_sphere_bad_inputs():
    x = np.random.default_rng(10).standard_normal((50, 4))
    for call, message in [
        (lambda: sp.sphere(x, ["ajne"]), "'ajne'.*rayleigh"),
        (lambda: sp.sphere(x, alpha=0.0), "alpha is 0"),
        (lambda: sp.sphere(x[:, :1]), "at least 2"),
        (lambda: sp.sphere(np.zeros((50, 4))), "0 rows that are not all zeros"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
