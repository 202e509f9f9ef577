"""Every interpolation, series and table of the evaluation and the theory outside its usual range."""

import mpmath as mp
import numpy as np
import pytest

from infonce_jax.evaluation import (
    asymptotic,
    calibration,
    concentration,
    detectable,
    isotropy,
    multivariate,
    normality,
    sphere,
    whitening,
)
from infonce_jax.theory import sphere as laws
from infonce_jax.theory import uniformity, vmf

SIZES = (8, 9, 57, 5000, 5001, 10**6, 10**9)


@pytest.mark.parametrize("law", list(normality.TESTS))
def test_pvalues_fall_from_one_to_the_smallest_double(law):
    ends = np.concatenate([np.geomspace(1e-300, 1e-3, 20), np.geomspace(1.1e-3, 1e300, 400)])
    if law in ("lilliefors", "sf"):  # D and W' lie between 0 and 1
        ends = np.concatenate([np.geomspace(1e-12, 0.5, 200), 1.0 - np.geomspace(0.49, 1e-12, 200)])
    for n in SIZES:
        p = normality.results({law: ends}, (law,), n)[law].pvalue
        assert np.all((p > 0) & (p <= 1)), n
        falls = np.diff(p) if law != "sf" else -np.diff(p)
        assert np.all(falls <= 1e-12), n
        # The table's ends, 0.999 and 1e-6, join what is beyond them.
        score = calibration.score_at(law, n)
        assert np.all(np.diff(score) > 0)
        if law not in ("lilliefors", "sf"):
            smooth = asymptotic.pvalue(law, ends, n, estimated=True) if law != "ep" else p
            assert np.all((smooth >= 0) & (smooth <= 1)), n


@pytest.mark.parametrize("d", [1, 2, 3, 64, 1000])
def test_the_mean_distance_to_a_normal_point_at_any_norm(d):
    norms = np.concatenate([[0.0], np.geomspace(1e-150, 1e150, 61), np.geomspace(0.5, 200, 40)])
    found = multivariate.distance_to_normal(norms**2, d)
    with mp.workdps(40):
        for norm, value in zip(norms.tolist(), found.tolist(), strict=True):
            if norm > 300:  # ‖y‖ + (d − 1)/(2‖y‖)
                assert value == pytest.approx(norm + 0.5 * (d - 1) / norm, rel=1e-9)
                continue
            half = mp.mpf(d) / 2
            mean = mp.sqrt(2) * mp.gamma(half + 0.5) / mp.gamma(half)
            exact = mean * mp.hyp1f1(mp.mpf(-1) / 2, half, -(mp.mpf(norm) ** 2) / 2)
            assert value == pytest.approx(float(exact), rel=1e-9), norm


@pytest.mark.parametrize("d", [2, 3, 8, 512])
def test_spherical_scores_keep_the_digits_of_small_and_large_coordinates(d):
    t = np.concatenate([np.geomspace(1e-15, 0.3, 30), [0.5, 0.9, 1 - 1e-6, 1 - 1e-12]])
    u = np.zeros((2 * len(t), d))
    u[:, 0] = np.concatenate([t, -t])
    u[:, 1] = np.sqrt(1 - u[:, 0] ** 2)
    scores = normality.normal_scores(u)[:, 0]
    np.testing.assert_array_equal(scores[: len(t)], -scores[len(t) :])
    with mp.workdps(50):
        half = (mp.mpf(d) - 1) / 2
        for x, score in zip(t[:30].tolist(), scores.tolist(), strict=False):
            inside = mp.betainc(0.5, half, 0, mp.mpf(x) ** 2, regularized=True)
            if inside < 1 - mp.mpf(10) ** -12:
                assert score == pytest.approx(float(mp.sqrt(2) * mp.erfinv(inside)), rel=1e-9), x
    assert np.all(np.diff(scores[: len(t)]) > 0) and np.isfinite(scores).all()


def test_norm_laws_at_one_and_at_many_dimensions():
    half_normal = np.sqrt(np.pi / 2 - 1)
    assert concentration._centred_norm_cv(np.ones(1)) == pytest.approx(half_normal, rel=1e-9)
    # Rayleigh's, and the asymptote 1/√(2d).
    assert concentration._centred_norm_cv(np.ones(2)) == pytest.approx(
        np.sqrt(4 / np.pi - 1), rel=1e-9
    )
    assert concentration._centred_norm_cv(np.ones(10**5)) == pytest.approx(0.5e-5**0.5, rel=1e-5)
    for spread in (1e-300, 1e300):  # scale does not matter
        found = concentration._centred_norm_cv(spread * np.array([3.0, 1.0]))
        assert found == pytest.approx(
            concentration._centred_norm_cv(np.array([3.0, 1.0])), rel=1e-12
        )
    near = [concentration._root_gamma_cv(shape) for shape in (100.0, np.nextafter(100, 101))]
    assert near[0] == pytest.approx(near[1], rel=1e-9)
    assert concentration._root_gamma_cv(0.5) == pytest.approx(half_normal, rel=1e-12)
    assert laws.norm_cv(1) == pytest.approx(half_normal, rel=1e-9)
    assert laws.norm_cv(10**6) == pytest.approx(0.5e-6**0.5, rel=1e-5)


def test_what_a_sample_detects_falls_with_its_size():
    for family in ("kurtosis", "skewness"):
        values = [detectable.detectable(family, n) for n in (8, 9, 94, 9999, 10_000, 10_001, 10**9)]
        assert np.all(np.diff(values) < 0) and values[4] == pytest.approx(values[5], rel=1e-3)
    for n in SIZES:
        for d in (1, 2, 3, 512, 10**5):
            assert 0 < isotropy.detectable_resultant(n, d) <= 1
            if d > 1:
                assert 0 < isotropy.detectable_anisotropy(n, d) <= np.sqrt(d - 1)


@pytest.mark.parametrize("dim", [2, 3, 64, 10**5])
def test_potentials_and_von_mises_fisher_laws_at_both_ends(dim):
    for alpha in (0.0, 1e-8, 1e-3, 10.0, 1e4):
        exact = 0.0
        if alpha:
            with mp.workdps(60):
                order, a = mp.mpf(dim) / 2, mp.mpf(alpha)
                exact = float(mp.log(mp.hyp0f1(order, a**2 / 4)))
        for found in (
            sphere.uniform_potential(dim, alpha) if alpha else 0.0,
            float(uniformity.phi_sigma(dim, alpha)),
        ):
            assert found == pytest.approx(exact, rel=2e-5, abs=1e-12), (dim, alpha)
        length = float(vmf.mean_resultant_length(dim, alpha))
        assert 0 <= length < 1.0 + 1e-7
        if 0 < alpha < 1e-2:
            assert length == pytest.approx(alpha / dim, rel=1e-4)
        if 1e-3 < length < 0.999:
            assert float(vmf.concentration(dim, length)) == pytest.approx(alpha, rel=1e-2)


@pytest.mark.parametrize("n", [8, 9, 10, 12])
def test_as_many_rows_as_coordinates_and_few_more(n):
    rng = np.random.default_rng(n)
    for d in (1, n - 2, n - 1, n, n + 1):
        for scale in (1e-80, 1.0, 1e80):
            x = scale * rng.standard_normal((n, d))
            model = whitening.fit(x)
            assert np.isfinite(whitening.log_likelihood(model, x)).all(), (d, scale)
            found = concentration.shell(x, np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T))))
            assert np.isfinite(found).all() and found.expected > 0
            if 1 <= d < n - 1:
                mean, variance, _ = multivariate.mardia_kurtosis_moments(n, d)
                p = multivariate.mardia_kurtosis(x).pvalue
                assert mean > 0 and variance >= 0 and 0 < p <= 1, (n, d, scale)
