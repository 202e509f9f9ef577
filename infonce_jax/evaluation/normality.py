"""Univariate tests of normality, all coordinates at once.

Each test is a function `x [n, d] -> NamedTuple(statistic [d], pvalue [d])`. The null hypothesis is
that the coordinate is normal, with unknown mean and variance unless they are given. Whatever the
input's type, sums are float64; a coordinate that is constant up to rounding has no shape to test
and gets NaN for both.

`method="calibrated"`, the default, takes the p-value from the law of the statistic at this very n
(`infonce_jax.evaluation.calibration`). `method="asymptotic"` gives the published approximation
that scipy, statsmodels, R's nortest and the paper use; each test names its own.

`null="sphere"` tests unit vectors against the exact law of a coordinate of a uniform direction
instead: see `normal_scores`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import (
    betainc,
    betaln,
    gammaln,
    kolmogorov,
    log_ndtr,
    ndtr,
    ndtri,
    ndtri_exp,
)

from infonce_jax.evaluation import calibration
from infonce_jax.evaluation.arrays import check_embeddings, map_columns, row_blocks

# Anderson-Darling's 5 % point for the modified statistic A*² (Stephens 1974; D'Agostino & Stephens
# 1986, Table 4.7), the paper's criterion: a coordinate passes below it.
AD_CRITICAL_5_PERCENT = 0.752
# E[A²] under normality as n grows: the trace of the limiting covariance kernel.
AD_GAUSSIAN_MEAN = 0.38443
# That kernel's largest eigenvalue λ₁ (Stephens 1976, mean and variance estimated; Gauss-Legendre
# discretisation with 1,600 nodes): A² is in the limit Σ λⱼ χ²₁, so its tail falls as exp(-A²/2λ₁).
_AD_LARGEST_EIGENVALUE = 0.098431
# Likewise for W² of Cramér and von Mises.
_CVM_LARGEST_EIGENVALUE = 0.018347
# Epps-Pulley: spacing and number of the nodes t = 0, h, 2h, …; values beyond the far limit are
# paired one by one, so that no difference of two values comes near the spacing's period 2π/h.
_EP_SPACING, _EP_NODES, _EP_FAR = 0.25, 27, 8.0
# From so many rows on, the characteristic function comes from moments about points so far apart.
_EP_FEWEST, _EP_WIDTH, _EP_ORDER = 512, 0.5, 14

Method = Literal["calibrated", "asymptotic"]
Null = Literal["normal", "sphere"]
Parameter = Float[np.ndarray, " d"] | float


class NormalityResult(NamedTuple):
    """A test's statistic and its p-value, one of each per coordinate."""

    statistic: Float[np.ndarray, " d"]
    pvalue: Float[np.ndarray, " d"]


def anderson_darling(
    x: Float[np.ndarray, "n d"],
    *,
    method: Method = "calibrated",
    mean: Parameter | None = None,
    std: Parameter | None = None,
    null: Null = "normal",
) -> NormalityResult:
    """Anderson-Darling test of normality per coordinate.

    With w₁ ≤ … ≤ wₙ the sorted coordinate, standardised by its mean and its standard deviation
    (ddof = 1) or by those given, and Φ the normal distribution function,

        A² = −n − (1/n) Σᵢ (2i − 1) [log Φ(wᵢ) + log Φ(−wₙ₊₁₋ᵢ)],

    the statistic of `scipy.stats.anderson(x, "norm")`. Under normality its mean is near 0.384, or 1
    where mean and standard deviation are known.

    The asymptotic p-value is D'Agostino & Stephens' (1986, Table 4.9) for
    A*² = A² (1 + 0.75/n + 2.25/n²), of which `scipy.stats.anderson(method="interpolate")` gives the
    piece between 0.01 and 0.15; with known parameters it is that of the limiting law. Far out the
    p-value goes on at the rate of the limiting law, down to the smallest normal double, 2.2e-308:
    read that as "at most".

    Args:
        x: embeddings, one per row, at least 8 rows; real and finite.
        method: "calibrated" for the law at this n, "asymptotic" for the published approximation.
        mean: the mean, for each coordinate or for all, where it is known; then `std` is needed too.
        std: the standard deviation likewise.
        null: "normal", or "sphere" for unit vectors (see `normal_scores`).

    Returns:
        A² and its p-value for each of the d coordinates; NaN where a coordinate is constant.

    Raises:
        TypeError: for integers, complex numbers, objects: what is not of real floating type.
        ValueError: for an array that is not 2-d, has fewer than 8 rows, or holds NaN or Inf; for an
            unknown method or null; for one of mean and std without the other; for rows that are
            not of unit length with null="sphere".

    References:
        Anderson & Darling, *A test of goodness of fit*, JASA 49, 1954.
        D'Agostino & Stephens, *Goodness-of-Fit Techniques*, Marcel Dekker, 1986, section 4.8.
    """
    return univariate(x, ["ad"], method=method, mean=mean, std=std, null=null)["ad"]


def cramer_von_mises(
    x: Float[np.ndarray, "n d"],
    *,
    method: Method = "calibrated",
    mean: Parameter | None = None,
    std: Parameter | None = None,
    null: Null = "normal",
) -> NormalityResult:
    """Cramér-von Mises test of normality per coordinate.

    W² = 1/(12n) + Σᵢ (Φ(wᵢ) − (2i − 1)/(2n))², with w as for `anderson_darling`. The asymptotic
    p-value is D'Agostino & Stephens' (1986, Table 4.9) for W² (1 + 0.5/n), that of R's
    `nortest::cvm.test`, carried on past W² = 1.1 at the rate of the limiting law; with known
    parameters it is that of the limiting law.

    Args:
        x: as for `anderson_darling`.
        method: likewise.
        mean: likewise.
        std: likewise.
        null: likewise.

    Returns:
        W² and its p-value for each coordinate; NaN where a coordinate is constant.

    Raises:
        TypeError: as `anderson_darling` does.
        ValueError: likewise.
    """
    return univariate(x, ["cvm"], method=method, mean=mean, std=std, null=null)["cvm"]


def lilliefors(
    x: Float[np.ndarray, "n d"],
    *,
    method: Method = "calibrated",
    mean: Parameter | None = None,
    std: Parameter | None = None,
    null: Null = "normal",
) -> NormalityResult:
    """Kolmogorov-Smirnov test of normality per coordinate, Lilliefors' where parameters are estimated.

    D = maxᵢ max(i/n − Φ(wᵢ), Φ(wᵢ) − (i − 1)/n), with w as for `anderson_darling`. The asymptotic
    p-value is Dallal & Wilkinson's (1986), completed above 0.1 as in R's `nortest::lillie.test`;
    with known parameters it is Kolmogorov's limit, and the calibrated one is exact.

    Args:
        x: as for `anderson_darling`.
        method: likewise.
        mean: likewise.
        std: likewise.
        null: likewise.

    Returns:
        D and its p-value for each coordinate; NaN where a coordinate is constant.

    Raises:
        TypeError: as `anderson_darling` does.
        ValueError: likewise.

    References:
        Dallal & Wilkinson, *An analytic approximation to the distribution of Lilliefors's test
        statistic for normality*, The American Statistician 40, 1986.
    """
    return univariate(x, ["lilliefors"], method=method, mean=mean, std=std, null=null)["lilliefors"]


def epps_pulley(
    x: Float[np.ndarray, "n d"],
    *,
    method: Method = "calibrated",
    mean: Parameter | None = None,
    std: Parameter | None = None,
    null: Null = "normal",
) -> NormalityResult:
    """Epps-Pulley test of normality per coordinate: the empirical characteristic function.

    T = n ∫ |φₙ(t) − exp(−t²/2)|² φ(t) dt with φₙ(t) = (1/n) Σⱼ exp(i t wⱼ), w standardised with
    ddof = 0, and φ the N(0, 1) density; in closed form

        T = (1/n) Σⱼₖ exp(−(wⱼ − wₖ)²/2) − √2 Σⱼ exp(−wⱼ²/4) + n/√3.

    It is summed in O(n) by the trapezoidal rule, which is exact to about 1e-10 for such integrands;
    the few values beyond 8 standard deviations are paired with all others one by one. The asymptotic
    p-value is that of the limiting law, a sum of weighted χ².

    Args:
        x: as for `anderson_darling`.
        method: likewise.
        mean: likewise.
        std: likewise.
        null: likewise.

    Returns:
        T and its p-value for each coordinate; NaN where a coordinate is constant.

    Raises:
        TypeError: as `anderson_darling` does.
        ValueError: likewise.

    References:
        Epps & Pulley, *A test for normality based on the empirical characteristic function*,
        Biometrika 70, 1983.
        Baringhaus & Henze, *A consistent test for multivariate normality based on the empirical
        characteristic function*, Metrika 35, 1988.
    """
    return univariate(x, ["ep"], method=method, mean=mean, std=std, null=null)["ep"]


def shapiro_francia(
    x: Float[np.ndarray, "n d"], *, method: Method = "calibrated", null: Null = "normal"
) -> NormalityResult:
    """Shapiro-Francia test of normality per coordinate: how straight the Q-Q plot is.

    W' is the squared correlation of the sorted coordinate with Blom's scores
    Φ⁻¹((i − 3/8)/(n + 1/4)); small values reject. The asymptotic p-value is Royston's (1993), that of
    R's `nortest::sf.test`, made for n from 5 to 5,000 and less sure beyond. The calibrated one
    rests on simulations up to n = 50,000; beyond, it extrapolates in 1/log n.

    Args:
        x: as for `anderson_darling`; location and scale do not matter to W'.
        method: likewise.
        null: likewise.

    Returns:
        W' and its p-value for each coordinate; NaN where a coordinate is constant.

    Raises:
        TypeError: as `anderson_darling` does.
        ValueError: likewise.

    References:
        Royston, *A toolkit for testing for non-normality in complete and censored samples*, The
        Statistician 42, 1993.
    """
    return univariate(x, ["sf"], method=method, null=null)["sf"]


def dagostino_pearson(
    x: Float[np.ndarray, "n d"], *, method: Method = "calibrated", null: Null = "normal"
) -> NormalityResult:
    """D'Agostino-Pearson omnibus test of normality from skewness and kurtosis, per coordinate.

    K² = Z₁² + Z₂², with Z₁ the sample skewness after D'Agostino's (1970) and Z₂ the sample kurtosis
    after Anscombe & Glynn's (1983) transformation to a standard normal variable; the asymptotic
    p-value is that of χ² with 2 degrees of freedom, exp(−K²/2). Both equal `scipy.stats.normaltest`
    on float64 input, except for a sample whose skewness is exactly 0: its Z₁ is 0 here, while scipy
    puts another value in its place. That p-value is too small by half at p = 0.01 for n = 200; the
    calibrated one is not.

    Args:
        x: as for `anderson_darling`; location and scale do not matter to K².
        method: likewise.
        null: likewise.

    Returns:
        K² and its p-value for each of the d coordinates; NaN where a coordinate is constant.

    Raises:
        TypeError: as `anderson_darling` does.
        ValueError: likewise.

    References:
        D'Agostino & Pearson, *Tests for departure from normality*, Biometrika 60, 1973.
        Anscombe & Glynn, *Distribution of the kurtosis statistic b₂ for normal samples*,
        Biometrika 70, 1983.
    """
    return univariate(x, ["dp"], method=method, null=null)["dp"]


def jarque_bera(
    x: Float[np.ndarray, "n d"], *, method: Method = "calibrated", null: Null = "normal"
) -> NormalityResult:
    """Jarque-Bera test of normality from skewness and kurtosis, per coordinate.

    JB = (n/6) (√b₁² + (b₂ − 3)²/4); its asymptotic p-value is exp(−JB/2), as in
    `scipy.stats.jarque_bera`, which is far off below some thousand rows.

    Args:
        x: as for `anderson_darling`; location and scale do not matter to JB.
        method: likewise.
        null: likewise.

    Returns:
        JB and its p-value for each coordinate; NaN where a coordinate is constant.

    Raises:
        TypeError: as `anderson_darling` does.
        ValueError: likewise.
    """
    return univariate(x, ["jb"], method=method, null=null)["jb"]


TESTS = {
    "ad": "Anderson-Darling",
    "dp": "D'Agostino-Pearson",
    "jb": "Jarque-Bera",
    "cvm": "Cramér-von Mises",
    "sf": "Shapiro-Francia",
    "lilliefors": "Lilliefors",
    "ep": "Epps-Pulley",
}
_MOMENT_TESTS = ("dp", "jb")
_OF_MOMENTS = (*_MOMENT_TESTS, "skewness", "kurtosis")
# Their statistics do not depend on location and scale, so that knowing these changes nothing.
INVARIANT_TESTS = (*_MOMENT_TESTS, "sf")


def univariate(
    x: Float[np.ndarray, "n d"],
    tests: Sequence[str] = tuple(TESTS),
    *,
    method: Method = "calibrated",
    mean: Parameter | None = None,
    std: Parameter | None = None,
    null: Null = "normal",
) -> dict[str, NormalityResult]:
    """Several tests in one pass: what they share, above all the sorting, is done once.

    Args:
        x: embeddings, one per row, at least 8 rows; real and finite.
        tests: keys of `TESTS`: "ad", "dp", "jb", "cvm", "sf", "lilliefors", "ep".
        method: "calibrated" or "asymptotic".
        mean: the mean, where it is known; then `std` is needed too. Not for "dp", "jb" and "sf".
        std: the standard deviation likewise.
        null: "normal", or "sphere" for unit vectors (see `normal_scores`).

    Returns:
        The result of each test by its key, in the order given.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an unknown test, method or null, and as `anderson_darling` does.
    """
    for what, value, known in (
        ("test", tests, TESTS),
        ("method", [method], ("calibrated", "asymptotic")),
        ("null", [null], ("normal", "sphere")),
    ):
        unknown = [v for v in value if v not in known]
        if unknown:
            raise ValueError(f"unknown {what} {unknown[0]!r}; choose from {', '.join(known)}.")
    x = check_embeddings(x)
    known = check_known(mean, std, x.shape[1], tests)
    if null == "sphere":
        x = normal_scores(x)
    found = statistics(x, tests, known)
    return results(found, tests, len(x), method=method, estimated=known is None)


def statistics(
    x: Float[np.ndarray, "n d"],
    names: Sequence[str],
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Float[np.ndarray, " d"]]:
    """Statistics by name, in one sorted pass and one of the moments, as far as either is needed.

    Args:
        x: a checked array.
        names: keys of `TESTS`, "w1" and "w2" (Wasserstein distances to the normal, in standard
            deviations), "skewness", "kurtosis".
        known: mean and standard deviation of each coordinate, where they are known.
    """
    n, d = x.shape
    sorting = [name for name in names if name not in _OF_MOMENTS]
    found = {name: np.full(d, np.nan) for name in sorting}
    if sorting:

        def compute(columns: slice, block: np.ndarray) -> None:
            # Sorted in its own type: float32 sorts twice as fast, and the order is the same.
            block.sort(axis=1)
            if known is None:
                w = _standardised(block, ddof=1)
            else:
                w = (block - known[0][columns, None]) / known[1][columns, None]
            for name, values in sorted_statistics(w, sorting, estimated=known is None).items():
                if name in found:
                    found[name][columns] = values

        map_columns(x, compute)
    if len(sorting) < len(names):
        skewness, kurtosis = moments(x)
        found |= {"skewness": skewness, "kurtosis": kurtosis}
        for test in _MOMENT_TESTS:
            if test in names:
                found[test] = moment_statistic(test, skewness, kurtosis, n)
    return found


def results(
    found: dict[str, Float[np.ndarray, " d"]],
    tests: Sequence[str],
    n: int,
    *,
    method: Method = "calibrated",
    estimated: bool = True,
) -> dict[str, NormalityResult]:
    """The tests' results from their `statistics` of n rows."""
    pvalue = calibration.pvalue if method == "calibrated" else _asymptotic_pvalue
    return {
        test: NormalityResult(found[test], pvalue(test, found[test], n, estimated=estimated))
        for test in tests
    }


def check_known(
    mean: Parameter | None, std: Parameter | None, d: int, tests: Sequence[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation of each of the d coordinates, or None where neither is given.

    Raises:
        ValueError: for one without the other, another number of them, what is not finite or not
            positive, and tests that they do not matter to.
    """
    if (mean is None) != (std is None):
        raise ValueError(
            f"mean is {mean} and std is {std}: the tests are calibrated for both known or both "
            f"estimated. Give both or neither."
        )
    if mean is None:
        return None
    invariant = [TESTS[test] for test in tests if test in INVARIANT_TESTS]
    if invariant:
        raise ValueError(
            f"{' and '.join(invariant)} do not depend on location and scale, so that a known mean "
            f"and std change nothing: leave them out, or choose among ad, cvm, lilliefors, ep."
        )
    known = []
    for name, value in (("mean", mean), ("std", std)):
        value = np.asarray(value, dtype=np.float64)
        if value.shape not in ((), (d,)):
            raise ValueError(
                f"{name} has shape {value.shape} for {d} coordinates: give one number, or one for "
                f"each coordinate."
            )
        if not np.isfinite(value).all() or (name == "std" and not (value > 0).all()):
            raise ValueError(f"{name} is {value}: it must be finite, and std positive.")
        known.append(np.broadcast_to(value, (d,)))
    return known[0], known[1]


def sorted_statistics(
    w: Float[np.ndarray, "columns n"], tests: Sequence[str], *, estimated: bool = True
) -> dict[str, Float[np.ndarray, " columns"]]:
    """The statistics that need a sorted sample, from rows sorted and standardised (ddof = 1).

    Args:
        w: sorted along its rows; NaN where there is nothing to test.
        tests: among "ad", "cvm", "lilliefors", "sf", "ep", "w1", "w2".
        estimated: whether `w` was standardised by its own mean and standard deviation.
    """
    n = w.shape[1]
    found: dict[str, np.ndarray] = {}
    if {"ad", "cvm", "lilliefors"} & set(tests):
        log_small, log_large, cdf = _log_tails(w)
    if "ad" in tests:
        weights = (2.0 * np.arange(1, n + 1) - 1.0) / n
        is_negative = w < 0
        log_small *= np.where(is_negative, weights, weights[::-1])
        log_large *= np.where(is_negative, weights[::-1], weights)
        log_small += log_large
        found["ad"] = -n - log_small.sum(axis=1)
    if {"cvm", "lilliefors"} & set(tests):
        cdf -= (np.arange(n) + 0.5) / n
        if "cvm" in tests:
            found["cvm"] = 1.0 / (12.0 * n) + np.einsum("ij,ij->i", cdf, cdf)
        if "lilliefors" in tests:
            found["lilliefors"] = np.maximum(cdf.max(axis=1), -cdf.min(axis=1)) + 0.5 / n
    if "sf" in tests:
        found["sf"] = _shapiro_francia(w)
    if {"w1", "w2"} & set(tests):
        gap = (w * np.sqrt(n / (n - 1.0)) if estimated else w) - _plotting_scores(n, 0.5)
        found["w1"] = np.abs(gap).mean(axis=1)
        found["w2"] = np.sqrt(np.einsum("ij,ij->i", gap, gap) / n)
    if "ep" in tests:
        found["ep"] = _epps_pulley(w * np.sqrt(n / (n - 1.0)) if estimated else w)
    return found


def moments(x: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
    """Skewness √b₁ = m₃/m₂^1.5 and kurtosis b₂ = m₄/m₂² of each column; NaN where constant.

    Args:
        x: a checked array; a memory-mapped one is read twice, a few rows at a time.
    """
    n, d = x.shape
    mean, scale = np.zeros(d), np.zeros(d)
    for _, block in row_blocks(x):
        mean += block.sum(axis=0)
        np.maximum(scale, np.maximum(block.max(axis=0), -block.min(axis=0)), out=scale)
    mean /= n
    # Powers of numbers beyond 1e75 or below 1e-75 would leave float64's range.
    scale[scale == 0] = 1.0
    drift, m2, m3, m4 = np.zeros((4, d))
    for _, block in row_blocks(x):
        c = block - mean
        c /= scale
        drift += c.sum(axis=0)
        square = c * c
        m2 += square.sum(axis=0)
        np.multiply(c, square, out=c)
        m3 += c.sum(axis=0)
        np.multiply(square, square, out=square)
        m4 += square.sum(axis=0)
    # The mean's own rounding, which matters for data far from 0, is still in: take it out.
    drift, m2, m3, m4 = drift / n, m2 / n, m3 / n, m4 / n
    m4 += -4.0 * drift * m3 + 6.0 * drift**2 * m2 - 3.0 * drift**4
    m3 += -3.0 * drift * m2 + 2.0 * drift**3
    m2 -= drift**2
    constant = np.sqrt(np.maximum(m2, 0.0)) * scale <= np.finfo(x.dtype).eps * np.abs(mean)
    m2 = np.where(constant, np.nan, m2)
    return m3 / m2**1.5, m4 / m2**2


def moment_statistic(
    test: str, skewness: Float[np.ndarray, " d"], kurtosis: Float[np.ndarray, " d"], n: int
) -> Float[np.ndarray, " d"]:
    """K² ("dp") or JB ("jb") from the sample skewness and kurtosis of n rows."""
    if test == "jb":
        return n / 6.0 * (skewness**2 + (kurtosis - 3.0) ** 2 / 4.0)
    return _skewness_score(skewness, n) ** 2 + _kurtosis_score(kurtosis, n) ** 2


def normal_scores(u: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Φ⁻¹(F_d(u)): what is exactly N(0, 1) in each coordinate where u is uniform on the sphere.

    F_d is the distribution function of a coordinate of a uniform direction in R^d, whose density is
    ∝ (1 − t²)^((d−3)/2): for t ≤ 0 half the regularised incomplete beta function of 1 − t² with
    parameters (d−1)/2 and 1/2. Any test of normality then tests against the spherical marginal, at
    every d; with mean 0 and std 1 known it tests the scale too.

    Args:
        u: unit vectors, one per row, in at least 2 dimensions.

    Returns:
        The scores, float64; ±Inf nowhere: a coordinate of exactly ±1 counts as the nearest double.

    Raises:
        ValueError: for rows whose length differs from 1 by more than 1e-3, or d < 2.
    """
    u = check_embeddings(u, "u", min_rows=1)
    n, d = u.shape
    if d < 2:
        raise ValueError(f"u has {d} coordinate: directions need at least 2.")
    a = 0.5 * (d - 1.0)
    out = np.empty((n, d))
    for rows, block in row_blocks(u):
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        wrong = np.flatnonzero(np.abs(norms - 1.0) > 1e-3)
        if wrong.size:
            row = rows.start + int(wrong[0])
            raise ValueError(
                f'null="sphere" is for unit vectors, but row {row} has length '
                f"{norms[wrong[0]]:.6g}: divide each row by its norm, or test against the normal."
            )
        rest = np.maximum(1.0 - block * block, np.finfo(np.float64).tiny)
        tail = 0.5 * betainc(a, 0.5, rest)
        scores = ndtri(tail)
        # Where the tail is no normal double any more, its leading term will do.
        far = tail < 1e-290
        if far.any():
            log_tail = a * np.log(rest[far]) - np.log(2.0 * a) - betaln(a, 0.5)
            scores[far] = ndtri_exp(log_tail)
        out[rows] = np.where(block > 0, -scores, scores)
    return out


def stephens_modified(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    """A*² = A² (1 + 0.75/n + 2.25/n²), whose law hardly depends on n (Stephens 1974).

    A coordinate passes at the 5 % level if A*² < `AD_CRITICAL_5_PERCENT` = 0.752.

    Args:
        statistic: A² as `anderson_darling` gives it.
        n: the number of rows it was computed from.
    """
    return statistic * (1.0 + 0.75 / n + 2.25 / n**2)


# --- published approximations --------------------------------------------------------------------


def _asymptotic_pvalue(
    test: str, statistic: Float[np.ndarray, " d"], n: int, *, estimated: bool
) -> Float[np.ndarray, " d"]:
    if test in _MOMENT_TESTS:
        return np.maximum(np.exp(-0.5 * statistic), np.finfo(np.float64).tiny)
    if test == "sf":
        return _shapiro_francia_pvalue(statistic, n)
    if test == "lilliefors":
        if estimated:
            return _lilliefors_pvalue(statistic, n)
        return np.maximum(kolmogorov(np.sqrt(n) * statistic), np.finfo(np.float64).tiny)
    if test == "ep" or not estimated:
        return calibration.pvalue(test, statistic, np.inf, estimated=estimated)
    if test == "cvm":
        return _cramer_von_mises_pvalue(statistic * (1.0 + 0.5 / n))
    return _anderson_darling_pvalue(stephens_modified(statistic, n))


def _anderson_darling_pvalue(a: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    rate = 0.5 / _AD_LARGEST_EIGENVALUE
    joint = (5.709 - rate) / (2 * 0.0186)
    body = np.minimum(a, joint)
    log_tail = 1.2937 - 5.709 * body + 0.0186 * body**2 - rate * np.maximum(a - joint, 0.0)
    pvalue = np.select(
        [a >= 0.6, a > 0.34, a > 0.2, a <= 0.2],
        [
            np.exp(log_tail),
            np.exp(0.9177 - 4.279 * body - 1.38 * body**2),
            -np.expm1(-8.318 + 42.796 * body - 59.938 * body**2),
            -np.expm1(-13.436 + 101.14 * body - 223.73 * body**2),
        ],
        default=np.nan,
    )
    return np.maximum(pvalue, np.finfo(np.float64).tiny)


def _cramer_von_mises_pvalue(w: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    rate = 0.5 / _CVM_LARGEST_EIGENVALUE
    joint = (34.242 - rate) / (2 * 12.832)
    body = np.minimum(w, joint)
    log_tail = 1.111 - 34.242 * body + 12.832 * body**2 - rate * np.maximum(w - joint, 0.0)
    pvalue = np.select(
        [w >= 0.092, w >= 0.051, w >= 0.0275, w < 0.0275],
        [
            np.exp(log_tail),
            np.exp(0.886 - 31.62 * body + 10.897 * body**2),
            -np.expm1(-5.903 + 179.546 * body - 1515.29 * body**2),
            -np.expm1(-13.953 + 775.5 * body - 12542.61 * body**2),
        ],
        default=np.nan,
    )
    return np.maximum(pvalue, np.finfo(np.float64).tiny)


def _lilliefors_pvalue(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    m, reach = (n, statistic) if n <= 100 else (100, statistic * (n / 100.0) ** 0.49)
    log_tail = -7.01256 * reach**2 * (m + 2.78019) + 2.99587 * reach * np.sqrt(m + 2.78019)
    log_tail += -0.122119 + 0.974598 / np.sqrt(m) + 1.67997 / m
    pvalue = np.exp(np.minimum(log_tail, 0.0))
    k = (np.sqrt(n) - 0.01 + 0.85 / np.sqrt(n)) * statistic
    body = np.select(
        [k <= 0.302, k <= 0.5, k <= 0.9, k <= 1.31],
        [
            np.ones_like(k),
            np.polyval([81.218052, -138.55152, 80.709644, -19.828315, 2.76773], k),
            np.polyval([-32.355711, 94.029866, -97.490286, 40.662806, -4.901232], k),
            np.polyval([2.423045, -12.234627, 23.186922, -19.558097, 6.198765], k),
        ],
        default=0.0,
    )
    pvalue = np.where(pvalue > 0.1, body, pvalue)
    return np.maximum(np.where(np.isnan(statistic), np.nan, pvalue), np.finfo(np.float64).tiny)


def _shapiro_francia_pvalue(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    score = calibration.royston_score(statistic, n)
    return np.maximum(ndtr(-score), np.finfo(np.float64).tiny)


def _skewness_score(skewness: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    y = skewness * np.sqrt((n + 1.0) * (n + 3.0) / (6.0 * (n - 2.0)))
    beta2 = (
        (3.0 * (n**2 + 27.0 * n - 70.0) * (n + 1.0) * (n + 3.0))
        / (n - 2.0)
        / ((n + 5.0) * (n + 7.0) * (n + 9.0))
    )
    w2 = np.sqrt(2.0 * (beta2 - 1.0)) - 1.0
    return np.arcsinh(y / np.sqrt(2.0 / (w2 - 1.0))) / np.sqrt(0.5 * np.log(w2))


def _kurtosis_score(kurtosis: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    mean = 3.0 * (n - 1.0) / (n + 1.0)
    variance = 24.0 * n * (n - 2.0) * (n - 3.0) / ((n + 1.0) ** 2 * (n + 3.0) * (n + 5.0))
    skew = 6.0 * (n**2 - 5.0 * n + 2.0) / ((n + 7.0) * (n + 9.0))
    skew *= np.sqrt(6.0 * (n + 3.0) * (n + 5.0) / (n * (n - 2.0) * (n - 3.0)))
    return anscombe_glynn_score((kurtosis - mean) / np.sqrt(variance), skew)


def anscombe_glynn_score(x: Float[np.ndarray, "..."], skew: float) -> Float[np.ndarray, "..."]:
    """Anscombe & Glynn's (1983) transformation of a kurtosis to nearly N(0, 1).

    It takes the kurtosis for a linear function of 1/χ², and that cubed root for normal.

    Args:
        x: the kurtosis, standardised by its exact mean and standard deviation.
        skew: the skewness of its law, positive.
    """
    a = 6.0 + 8.0 / skew * (2.0 / skew + np.sqrt(1.0 + 4.0 / skew**2))
    denominator = 1.0 + x * np.sqrt(2.0 / (a - 4.0))
    denominator = np.where(denominator == 0.0, np.nan, denominator)
    return (1.0 - 2.0 / (9.0 * a) - np.cbrt((1.0 - 2.0 / a) / denominator)) / np.sqrt(
        2.0 / (9.0 * a)
    )


# --- statistics of sorted, standardised rows -----------------------------------------------------


def _log_tails(w: Float[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log Φ(−|w|) and log Φ(|w|), both to the last digits however large |w| is, and Φ(w).

    One evaluation of Φ serves all; `log_ndtr` would take three times as long.
    """
    magnitude = np.abs(w)
    small = ndtr(np.negative(magnitude))
    log_large = np.log1p(np.negative(small))
    cdf = np.where(w < 0, small, 1.0 - small)
    with np.errstate(divide="ignore"):
        log_small = np.log(small, out=small)
    # Beyond this Φ(−|w|) is not a normal double any more.
    far = magnitude > 37.0
    if far.any():
        log_small[far] = log_ndtr(-magnitude[far])
    return log_small, log_large, cdf


@lru_cache(maxsize=4)
def _plotting_scores(n: int, offset: float) -> Float[np.ndarray, " n"]:
    """Φ⁻¹((i − a)/(n + 1 − 2a)), i = 1 … n: Blom's scores at a = 3/8, the midpoints' at 1/2."""
    return ndtri((np.arange(1, n + 1) - offset) / (n + 1.0 - 2.0 * offset))


def _shapiro_francia(w: Float[np.ndarray, "columns n"]) -> Float[np.ndarray, " columns"]:
    n = w.shape[1]
    scores = _plotting_scores(n, 0.375)
    scores = scores / np.sqrt(scores @ scores)
    centred = w - w.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    residual = centred / length[:, None] - scores
    # 1 - r from the difference of unit vectors: as 1 - r² it would lose half its digits.
    gap = 0.5 * np.einsum("ij,ij->i", residual, residual)
    return 1.0 - gap * (2.0 - gap)


def _epps_pulley(w: Float[np.ndarray, "columns n"]) -> Float[np.ndarray, " columns"]:
    n = w.shape[1]
    # Sorted, so that the far ones are at the ends.
    if n and (
        np.nanmax(w[:, -1], initial=0.0) > _EP_FAR or np.nanmin(w[:, 0], initial=0.0) < -_EP_FAR
    ):
        return np.array([_epps_pulley_far(row) for row in w])
    return n * _epps_pulley_near(w, n)


def _epps_pulley_near(w: np.ndarray, n: int, part: bool = False) -> np.ndarray:
    """∫ |φₙ − target|² φ dt by the trapezoidal rule; with `part`, ∫ |φₙ|² φ dt."""
    t = _EP_SPACING * np.arange(_EP_NODES)[:, None]
    weight = _EP_SPACING * np.exp(-0.5 * t * t) / np.sqrt(2.0 * np.pi)
    weight[1:] *= 2.0
    value = (_powers if w.shape[1] < _EP_FEWEST else _expansions)(w) / n
    target = 0.0 if part else np.exp(-0.5 * t * t)
    return np.sum(weight * np.abs(value - target) ** 2, axis=0)


def _powers(w: Float[np.ndarray, "columns n"]) -> np.ndarray:
    """Σⱼ exp(i t wⱼ) at all nodes t [nodes, columns], as powers of exp(i h wⱼ)."""
    angle = _EP_SPACING * w
    base = np.empty(w.shape, dtype=np.complex128)
    np.cos(angle, out=base.real)
    np.sin(angle, out=base.imag)
    power = np.ones_like(base)
    sums = np.empty((_EP_NODES, len(w)), dtype=np.complex128)
    for k in range(_EP_NODES):
        sums[k] = power.sum(axis=1)
        np.multiply(power, base, out=power)
    return sums


def _expansions(w: Float[np.ndarray, "columns n"]) -> np.ndarray:
    """The same from rows that are sorted, several times faster where they are long.

    Each value lies within 1/4 of a multiple c of 1/2, and exp(i t w) = exp(i t c) Σₖ (i t)ᵏ (w − c)ᵏ/k!
    up to 1e-10 where exp(−t²/2) weighs it; so moments about the points c, of which there are some
    thirty, are all that is needed.
    """
    columns, n = w.shape
    nan = np.isnan(w[:, 0])
    if nan.any():
        w = np.where(nan[:, None], 0.0, w)
    box = np.rint(w / _EP_WIDTH)
    offset = (w - _EP_WIDTH * box).ravel()
    begins = np.ones((columns, n), dtype=bool)
    np.not_equal(box[:, 1:], box[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    moments = np.empty((_EP_ORDER, len(starts)))
    moments[0] = np.diff(starts, append=columns * n)
    power = offset.copy()
    for k in range(1, _EP_ORDER):
        moments[k] = np.add.reduceat(power, starts)
        np.multiply(power, offset, out=power)
    t = _EP_SPACING * np.arange(_EP_NODES)[:, None]
    k = np.arange(_EP_ORDER)
    sums = ((1j * t) ** k / np.exp(gammaln(k + 1.0))) @ moments
    sums *= np.exp(1j * t * _EP_WIDTH * box.ravel()[starts])
    sums = np.add.reduceat(sums, np.flatnonzero(starts % n == 0), axis=1)
    return np.where(nan, np.nan, sums)


def _epps_pulley_far(w: Float[np.ndarray, " n"]) -> float:
    n = len(w)
    if np.isnan(w).any():
        return np.nan
    is_far = np.abs(w) > _EP_FAR
    near, far = w[~is_far], w[is_far]
    pairs = n * n * float(_epps_pulley_near(near[None, :], n, part=True)[0])
    for value in far:
        pairs += 2.0 * np.exp(-0.5 * (value - near) ** 2).sum()
        pairs += np.exp(-0.5 * (value - far) ** 2).sum()
    return pairs / n - np.sqrt(2.0) * np.exp(-0.25 * w * w).sum() + n / np.sqrt(3.0)


def _standardised(block: np.ndarray, *, ddof: int) -> Float[np.ndarray, "columns n"]:
    """The rows of `block` in float64, less their mean, over their std; NaN where constant."""
    w = block.astype(np.float64)
    n = w.shape[1]
    mean = w.mean(axis=1, keepdims=True)
    w -= mean
    # The mean's own rounding, which matters for data far from 0, is still in w: take it out.
    w -= w.mean(axis=1, keepdims=True)
    std = np.sqrt(np.sum(w * w, axis=1, keepdims=True) / (n - ddof))
    constant = std <= np.finfo(block.dtype).eps * np.abs(mean)
    w /= np.where(constant, np.nan, std)
    return w
