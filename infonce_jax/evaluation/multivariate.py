"""Tests of multivariate normality, mean and covariance estimated.

All statistics are of the whitened sample y = S^(−1/2) (x − mean), S the covariance with ddof = 0, and
do not depend on location or on any linear map; so their law under normality depends on n and d
alone, and `draws` samples of N(0, I) give an exact Monte Carlo p-value, (1 + #{T* ≥ T}) / (draws + 1).
Sums over pairs go block by block, and no n × n array is built; they cost n² d for the sample and for
each draw, and are taken on a stated number of rows.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import cpu_count
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from infonce_jax.evaluation import moments, normality, ordered
from infonce_jax.evaluation.arrays import BLOCK_ENTRIES, check_embeddings, row_blocks
from infonce_jax.evaluation.names import test_keys

TESTS = {
    "mardia_skewness": "Mardia's skewness",
    "mardia_kurtosis": "Mardia's kurtosis",
    "bhep": "Henze-Zirkler (BHEP)",
    "energy": "energy test",
    "ksd": "kernel Stein discrepancy",
    "sliced_ad": "sliced Anderson-Darling",
    "sliced_ep": "sliced Epps-Pulley",
}
_PAIRWISE = ("mardia_skewness", "bhep", "energy", "ksd")
_SLICED = {"sliced_ad": "ad", "sliced_ep": "ep"}


class MultivariateResult(NamedTuple):
    """A test's statistic, its p-value, and the number of rows they are of."""

    statistic: float
    pvalue: float
    n: int


def multivariate(
    x: Float[np.ndarray, "n d"],
    tests: str | Sequence[str] = tuple(TESTS),
    *,
    draws: int = 199,
    rows: int = 2000,
    slices: int = 64,
    bandwidth: float | None = None,
    seed: int = 0,
) -> dict[str, MultivariateResult]:
    """Tests of multivariate normality with Monte Carlo p-values, in one pass over what they share.

    With r = yⱼ·yₖ and D² = ‖yⱼ − yₖ‖²:

    * `mardia_skewness`: b₁ = (1/n²) Σⱼₖ r³.
    * `mardia_kurtosis`: b₂ = (1/n) Σⱼ ‖yⱼ‖⁴; two-sided, |b₂ − E b₂| decides.
    * `bhep`: (1/n) Σⱼₖ exp(−β²D²/2) − 2 (1+β²)^(−d/2) Σⱼ exp(−β²‖yⱼ‖²/(2(1+β²))) + n (1+2β²)^(−d/2).
      Henze & Zirkler's β grows with d: from d ≈ 32 on all kernels vanish and the test has no power.
      β² is therefore at most 1/d, where the kernel of two typical points is 1/e.
    * `energy`: 2 Σⱼ E‖yⱼ − Z‖ − n E‖Z − Z'‖ − (1/n) Σⱼₖ D.
    * `ksd`: (1/n) Σⱼₖ of Stein's kernel for N(0, I) made of (d + D²)^(−1/2).
    * `sliced_ad`, `sliced_ep`: the mean over random directions of A² or of Epps-Pulley's T.

    Examples:
        >>> z = np.random.default_rng(0).standard_t(4, size=(400, 4))
        >>> found = evaluation.multivariate.multivariate(z, ["mardia_kurtosis"], draws=99)
        >>> float(found["mardia_kurtosis"].pvalue)
        0.01

    Args:
        x: embeddings, one per row, more rows than coordinates.
        tests: one or several keys of `TESTS`, or their titles.
        draws: how many samples of N(0, I) stand for the null; p-values are multiples of
            1/(draws + 1).
        rows: the most rows used, a random subset, for all tests alike.
        slices: the number of directions of the sliced tests.
        bandwidth: β of `bhep`; by default the smaller of Henze & Zirkler's and d^(−1/2).
        seed: of the subset, the directions and the draws.

    Returns:
        The result of each test by its key.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an unknown test; for n ≤ d + 1; for a covariance without full rank (duplicate
            or constant coordinates); as `check_embeddings` does.

    References:
        Mardia, *Measures of multivariate skewness and kurtosis with applications*, Biometrika 57,
        1970. Henze & Zirkler, *A class of invariant consistent tests for multivariate normality*,
        Comm. Statist. 19, 1990. Székely & Rizzo, *A new test for multivariate normality*, J.
        Multivar. Anal. 93, 2005. Gorham & Mackey, *Measuring sample quality with kernels*, ICML 2017.
    """
    tests = test_keys(tests, TESTS)
    x = check_embeddings(x)
    if len(x) > rows:
        chosen = np.random.default_rng(seed).choice(len(x), rows, replace=False)
        x = x[np.sort(chosen)]
    n, d = x.shape
    if n <= d + 1:
        raise ValueError(
            f"{n} rows of {d} coordinates: whitening needs more rows than coordinates, and the "
            f"tests some times as many. Use more rows (rows=), or fewer coordinates, for instance "
            f"the leading principal components."
        )
    key = (tests, n, d, slices, bandwidth, seed)
    observed = _statistics(whiten(x), *key[:1], slices, bandwidth, seed)
    null = _null(*key, draws)
    results = {}
    for i, test in enumerate(tests):
        value, drawn = observed[i], null[:, i]
        if test == "mardia_kurtosis":
            centre = mardia_kurtosis_moments(n, d)[0]
            extreme = np.abs(drawn - centre) >= abs(value - centre)
        else:
            extreme = drawn >= value
        results[test] = MultivariateResult(
            float(value), float((1 + extreme.sum()) / (draws + 1)), n
        )
    return results


def mardia_kurtosis(x: Float[np.ndarray, "n d"]) -> MultivariateResult:
    """Mardia's kurtosis b₂ on all rows, with a p-value from its exact mean, variance and skewness.

    The moments are exact at this n and d. From them `moments.anscombe_glynn_score` makes a score
    that is nearly N(0, 1); both tails reject. At d = 1 this is the kurtosis part of D'Agostino and
    Pearson's test. Mardia's own p-value uses the limits d(d+2) and 8d(d+2)/n, and rejects nearly
    always once d is some tenth of n.

    Args:
        x: embeddings, one per row, more rows than coordinates.

    Returns:
        b₂, its p-value and n.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `multivariate` does.
    """
    x = check_embeddings(x)
    n, d = x.shape
    if n <= d + 1:
        raise ValueError(f"{n} rows of {d} coordinates: whitening needs more rows than that.")
    total = 0.0
    mean, root = _location_and_root(x)
    for _, block in row_blocks(x):
        y = solve_triangular(root, (block - mean).T, lower=True)
        total += float(np.sum(np.einsum("ij,ij->j", y, y) ** 2))
    centre, variance, skewness = mardia_kurtosis_moments(n, d)
    # Below the least value of the law that the score is made for, any is as small as can be.
    a = 6.0 + 8.0 / skewness * (2.0 / skewness + np.sqrt(1.0 + 4.0 / skewness**2))
    x = max((total / n - centre) / np.sqrt(variance), -np.sqrt((a - 4.0) / 2.0) * (1.0 - 1e-9))
    z = moments.anscombe_glynn_score(x, skewness)
    pvalue = max(float(2 * ndtr(-abs(z))), np.finfo(float).tiny)
    return MultivariateResult(total / n, pvalue, n)


def sliced_test(
    x: Float[np.ndarray, "n d"],
    test: str = "sliced_ad",
    *,
    slices: int = 64,
    draws: int = 99,
    null_rows: int = 2000,
    seed: int = 0,
) -> MultivariateResult:
    """A sliced test on all rows; the law of its null is simulated with fewer.

    The law of the mean of A² or T over fixed directions of a whitened sample differs from its limit
    by O(1/n), so that draws of `null_rows` rows stand for larger n; below, n itself is drawn.

    Examples:
        >>> z = np.random.default_rng(0).standard_t(4, size=(400, 4))
        >>> float(evaluation.multivariate.sliced_test(z, draws=99).pvalue)
        0.01

    Args:
        x: embeddings, one per row, more rows than coordinates.
        test: "sliced_ad" or "sliced_ep".
        slices: number of random directions.
        draws: number of samples of N(0, I).
        null_rows: the most rows of one of them.
        seed: of directions and draws.

    Returns:
        The mean statistic, its p-value and n.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `multivariate` does.
    """
    if test not in _SLICED:
        raise ValueError(f"unknown test {test!r}; choose from {', '.join(_SLICED)}.")
    x = check_embeddings(x)
    n, d = x.shape
    if n <= d + 1:
        raise ValueError(f"{n} rows of {d} coordinates: whitening needs more rows than that.")
    mean, root = _location_and_root(x)
    directions = solve_triangular(root, _directions(d, slices, seed), lower=True, trans="T")
    projected = np.empty((n, slices))
    for rows, block in row_blocks(x):
        projected[rows] = (block - mean) @ directions
    statistic = normality.univariate(projected, [_SLICED[test]])[_SLICED[test]].statistic.mean()
    null = _null((test,), min(n, max(null_rows, 4 * d)), d, slices, None, seed, draws)
    pvalue = float((1 + np.sum(null >= statistic)) / (draws + 1))
    return MultivariateResult(float(statistic), pvalue, n)


def mardia_kurtosis_moments(n: int, d: int) -> tuple[float, float, float]:
    """Mean, variance and skewness of Mardia's b₂ for n samples of a normal law in d dimensions.

    Mean and variance are Mardia's (1974). b₂/n is the sum of the squared diagonal of the projection
    onto the centred sample, a random subspace of d of n − 1 dimensions; that of the projection onto
    its complement differs by a constant, so that the law is unchanged by d ↔ m = n − 1 − d. With it
    the third moment at d = 1 (Anscombe & Glynn 1983) and its limit 64 d(d+2)(d+8)/n² give

        64 d(d+2) m(m+2) (n−3) [n d m + 8n² − 43n + 18 − a (d m − n + 2)]
        / ((n+1)³ (n+3)(n+5)(n+7)(n+9))

    with a = 26 − 60/n fitted to simulations from n = 7 on; it matters little at large n.
    """
    m = n - d - 1.0
    pairs = d * (d + 2.0) * m * (m + 2.0) * (n - 3.0)
    mean = d * (d + 2.0) * (n - 1.0) / (n + 1.0)
    variance = 8.0 * pairs / ((n + 1.0) ** 2 * (n + 3.0) * (n + 5.0))
    factor = n * d * m + 8.0 * n**2 - 43.0 * n + 18.0 - (26.0 - 60.0 / n) * (d * m - n + 2.0)
    third = 64.0 * pairs * factor
    third /= (n + 1.0) ** 3 * (n + 3.0) * (n + 5.0) * (n + 7.0) * (n + 9.0)
    return mean, variance, third / variance**1.5


def mardia_skewness_mean(n: int, d: int) -> float:
    """The mean of Mardia's b₁ for n samples of a normal law in d dimensions (Mardia 1974)."""
    return d * (d + 2.0) * ((n + 1.0) * (d + 1.0) - 6.0) / ((n + 1.0) * (n + 3.0))


def whiten(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The rows less their mean, times an inverse root of their own covariance (ddof = 0).

    Raises:
        ValueError: where the covariance has not full rank.
    """
    mean, root = _location_and_root(x)
    return solve_triangular(root, (np.asarray(x, dtype=np.float64) - mean).T, lower=True).T


def _location_and_root(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, d = x.shape
    mean = sum((block.sum(axis=0) for _, block in row_blocks(x)), np.zeros(d)) / n
    covariance = np.zeros((d, d))
    for _, block in row_blocks(x):
        centred = block - mean
        covariance += centred.T @ centred
    covariance /= n
    scale = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / np.multiply.outer(scale, scale)
    try:
        root = cholesky(correlation, lower=True)
        smallest = float(np.diag(root).min())
    except (LinAlgError, ValueError):
        smallest = 0.0
    if smallest < 1e-5:
        raise ValueError(
            f"the covariance of the {d} coordinates has not full rank: some are constant, "
            f"duplicates or sums of others, so that the sample cannot be whitened. Drop them, or "
            f"pass the leading principal components."
        )
    return mean, root * scale[:, None]


@lru_cache(maxsize=8)
def _null(
    tests: tuple[str, ...],
    n: int,
    d: int,
    slices: int,
    bandwidth: float | None,
    seed: int,
    draws: int,
) -> Float[np.ndarray, "draws tests"]:
    def draw(index: int) -> list[float]:
        x = np.random.default_rng([seed, n, d, index]).standard_normal((n, d))
        return _statistics(whiten(x), tests, slices, bandwidth, seed)

    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        return np.array(list(pool.map(draw, range(draws))))


def _statistics(
    y: Float[np.ndarray, "n d"],
    tests: tuple[str, ...],
    slices: int,
    bandwidth: float | None,
    seed: int,
) -> list[float]:
    n, d = y.shape
    square = np.einsum("ij,ij->i", y, y)
    beta2 = bandwidth**2 if bandwidth is not None else default_bandwidth(n, d) ** 2
    sums = dict.fromkeys(_PAIRWISE, 0.0)
    if set(_PAIRWISE) & set(tests):
        size = max(1, BLOCK_ENTRIES // n)
        for start in range(0, n, size):
            inner = y[start : start + size] @ y.T
            _add_pairs(sums, tests, inner, square[start : start + size], square, beta2, d)
    found = {"mardia_kurtosis": float(np.mean(square**2))}
    found["mardia_skewness"] = sums["mardia_skewness"] / n**2
    if "bhep" in tests:
        single = np.exp(-beta2 * square / (2 * (1 + beta2))).sum()
        found["bhep"] = float(
            sums["bhep"] / n
            - 2 * (1 + beta2) ** (-d / 2) * single
            + n * (1 + 2 * beta2) ** (-d / 2)
        )
    if "energy" in tests:
        # E‖Z − Z'‖ is √2 times E‖Z‖.
        norm = np.sqrt(2.0) * distance_to_normal(np.zeros(1), d)[0]
        to_normal = distance_to_normal(square, d).sum()
        found["energy"] = float(2 * to_normal - n * norm - sums["energy"] / n)
    found["ksd"] = sums["ksd"] / n
    for test, of in _SLICED.items():
        if test in tests:
            found[test] = sliced(y, of, slices, seed)
    return [found[test] for test in tests]


def _add_pairs(
    sums: dict[str, float],
    tests: tuple[str, ...],
    inner: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    beta2: float,
    d: int,
) -> None:
    if "mardia_skewness" in tests:
        sums["mardia_skewness"] += float(np.einsum("ij,ij,ij->", inner, inner, inner))
    if {"bhep", "energy", "ksd"} & set(tests):
        distance = left[:, None] + right - 2.0 * inner
        # Equal rows are at distance 0, which rounding hides, and a square root would make visible.
        distance[distance < 1e-14 * (left[:, None] + right)] = 0.0
    if "bhep" in tests:
        sums["bhep"] += float(np.exp(-0.5 * beta2 * distance).sum())
    if "energy" in tests:
        sums["energy"] += float(np.sqrt(distance).sum())
    if "ksd" in tests:
        base = 1.0 / (d + distance)
        kernel = np.sqrt(base)
        # With k(D²) and its derivatives k', k'': r k + 2 k' D² - 2 d k' - 4 k'' D².
        steep = distance * (-3.0 * base - 1.0) + d
        sums["ksd"] += float(np.sum(kernel * (inner + base * steep)))


def distance_to_normal(square: Float[np.ndarray, " n"], d: int) -> Float[np.ndarray, " n"]:
    """E‖a − Z‖ for Z ~ N(0, I_d) and ‖a‖² given: the mean of a noncentral chi variable.

    In closed form it is √2 Γ((d+1)/2)/Γ(d/2) · ₁F₁(−1/2; d/2; −‖a‖²/2). Programs for ₁F₁ overflow or
    cancel at high d, so it is computed from E D = (1/(2√π)) ∫ (1 − E exp(−tD²)) t^(−3/2) dt, where

        E exp(−t D²) = (1 + 2t)^(−d/2) exp(−‖a‖² t/(1 + 2t)).

    The same integral with exp(−m t), m = d + ‖a‖² = E D², in the place of E exp(−t D²) is √m. Only the
    difference is integrated, by the trapezoidal rule in log t. The integrand is analytic and bounded
    for |Im log t| < π/2, so a step of 0.3 leaves a relative error below 1e-13 for every d and norm.

    Args:
        square: ‖a‖² of each row, finite and not negative.
        d: dimension of Z, at least 1.
    """
    mean_square = d + square
    share, scale = square / mean_square, 2.0 / mean_square
    step = 0.3
    lost = np.zeros_like(mean_square)
    for log_t in np.arange(-21.0, 70.0, step):
        # In units of 1/m.
        t = np.exp(log_t)
        spread = 1.0 + scale * t
        log_law = -share * t / spread - 0.5 * d * np.log1p(scale * t)
        if t < 1:
            # log_law + t, without the two terms that cancel.
            rest = t * (d / mean_square + scale * t) / spread - 0.5 * d * np.log1p(scale * t)
            difference = np.exp(-t) * np.expm1(rest)
        else:
            difference = np.exp(log_law) - np.exp(-t)
        difference *= np.exp(-0.5 * log_t)
        lost += difference
        if t > 1 and np.abs(difference).max(initial=0.0) < 1e-17:
            break
    return np.sqrt(mean_square) * (1.0 - step / (2.0 * np.sqrt(np.pi)) * lost)


def default_bandwidth(n: int, d: int) -> float:
    """β of `bhep`: the smaller of Henze & Zirkler's ((2d+1) n/4)^(1/(d+4)) / √2 and d^(−1/2)."""
    return float(min(((2 * d + 1) * n / 4) ** (1 / (d + 4)) / np.sqrt(2), d**-0.5))


def sliced(x: Float[np.ndarray, "n d"], test: str, slices: int, seed: int) -> float:
    """The mean over random directions of a univariate statistic ("ad" or "ep") of the projections."""
    w = np.sort((x @ _directions(x.shape[1], slices, seed)).T, axis=1)
    w = ordered.standardised(w, ddof=1)
    return float(ordered.sorted_statistics(w, [test])[test].mean())


def _directions(d: int, slices: int, seed: int) -> Float[np.ndarray, "d slices"]:
    directions = np.random.default_rng([seed, d, slices]).standard_normal((d, slices))
    return directions / np.linalg.norm(directions, axis=0)
