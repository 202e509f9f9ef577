import tracemalloc

import numpy as np
import pytest
from scipy.special import logsumexp

from infonce_jax.evaluation import (
    alignment,
    mean_resultant,
    negative_cosines,
    norm_cv,
    norm_cv_gaussian,
    participation_ratio,
    uniformity_potential,
    zero_rows,
)


def _brute_force_cosines(z):
    u = z[np.linalg.norm(z, axis=1) > 0].astype(np.float64)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    cosines = u @ u.T
    return cosines[~np.eye(len(u), dtype=bool)]


@pytest.fixture(params=[(300, 7), (40, 90)], ids=["tall", "wide"])
def z(request):
    rng = np.random.default_rng(0)
    x = rng.standard_t(5, request.param) * rng.uniform(0.2, 3, request.param[1]) + 0.3
    x[[3, 17]] = 0.0
    return x


def test_negative_cosines_equal_brute_force(z):
    cosines = _brute_force_cosines(z)
    found = negative_cosines(z)
    assert found.mean == pytest.approx(cosines.mean(), rel=1e-12)
    assert found.std == pytest.approx(cosines.std(), rel=1e-10)
    assert zero_rows(z) == 2


def test_negative_cosines_by_hand():
    # Three axes and one opposite: of 6 pairs one has cosine −1, the others 0.
    found = negative_cosines(np.array([[2.0, 0, 0], [0, 3.0, 0], [0, 0, 5.0], [-7.0, 0, 0]]))
    assert found.mean == pytest.approx(-1 / 6)
    assert found.std == pytest.approx(np.sqrt(1 / 6 - 1 / 36))


def test_negative_cosines_never_build_all_pairs():
    x = np.random.default_rng(1).standard_normal((40_000, 3)).astype(np.float32)
    tracemalloc.start()
    negative_cosines(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # all pairs would take 12.8e9 bytes


def test_identical_directions_have_cosine_one_and_no_spread():
    z = np.outer(np.arange(1.0, 30.0), [3.0, 4.0])
    assert negative_cosines(z) == pytest.approx((1.0, 0.0), abs=1e-7)
    assert mean_resultant(z) == pytest.approx(1.0)


def test_alignment_is_the_mean_cosine_of_pairs_with_directions(z):
    other = z + np.random.default_rng(2).standard_normal(z.shape)
    kept = np.linalg.norm(z, axis=1) > 0
    norms = np.linalg.norm(z[kept], axis=1) * np.linalg.norm(other[kept], axis=1)
    expected = np.mean(np.sum(z[kept] * other[kept], axis=1) / norms)
    assert alignment(z, other) == pytest.approx(expected, rel=1e-12)
    assert alignment(other, z) == pytest.approx(expected, rel=1e-12)
    assert alignment(z, -3 * z) == pytest.approx(-1.0)


def test_mean_resultant_is_the_norm_of_the_mean_direction(z):
    u = z[np.linalg.norm(z, axis=1) > 0]
    u = u / np.linalg.norm(u, axis=1, keepdims=True)
    assert mean_resultant(z) == pytest.approx(np.linalg.norm(u.mean(axis=0)), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 10.0, 200.0, 5000.0])
def test_uniformity_potential_equals_its_definition(z, alpha):
    u = z[np.linalg.norm(z, axis=1) > 0]
    u = u / np.linalg.norm(u, axis=1, keepdims=True)
    scores = alpha * (u @ u.T)
    np.fill_diagonal(scores, -np.inf)
    expected = np.mean(logsumexp(scores, axis=1) - np.log(len(u) - 1))
    assert uniformity_potential(z, alpha) == pytest.approx(expected, rel=1e-10)


def test_norm_cv_and_participation_ratio_equal_their_definitions(z):
    norms = np.linalg.norm(z, axis=1)
    assert norm_cv(z) == pytest.approx(norms.std() / norms.mean(), rel=1e-12)
    eigenvalues = np.linalg.eigvalsh(np.cov(z.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(z) == pytest.approx(expected, rel=1e-9)
    assert participation_ratio(z + 1e6) == pytest.approx(expected, rel=1e-6)
    assert norm_cv(1e-3 * z) == pytest.approx(norm_cv(z), rel=1e-12)


def test_a_centred_gaussian_has_the_norm_cv_its_participation_ratio_predicts():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((20_000, 200)) * np.linspace(0.2, 2, 200)
    assert norm_cv(z) == pytest.approx(norm_cv_gaussian(participation_ratio(z)), rel=0.03)


def test_what_is_not_defined_is_nan():
    zeros = np.zeros((10, 3))
    assert np.isnan(norm_cv(zeros))
    assert np.isnan(participation_ratio(np.full((10, 3), 0.1)))
    assert np.isnan(mean_resultant(zeros))
    assert np.isnan(alignment(zeros, zeros))
    assert np.isnan(negative_cosines(zeros)).all()
    assert np.isnan(uniformity_potential(zeros, 1.0))
    assert zero_rows(zeros) == 10


def test_bad_arguments_name_values_and_remedy(unchecked_types):
    x = np.ones((10, 3))
    with pytest.raises(ValueError, match=r"\(10, 3\).*\(9, 3\)"):
        alignment(x, x[:9])
    for alpha in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="alpha is"):
            uniformity_potential(x, alpha)
    for function in (norm_cv, participation_ratio, negative_cosines, mean_resultant):
        with pytest.raises(ValueError, match="row 2, column 1"):
            function(np.where(np.arange(30).reshape(10, 3) == 7, np.nan, 1.0))
        with pytest.raises(TypeError, match="int64"):
            function(np.ones((10, 3), int))
