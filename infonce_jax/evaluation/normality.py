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
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import asymptotic, calibration
from infonce_jax.evaluation.arrays import check_embeddings, map_columns
from infonce_jax.evaluation.asymptotic import stephens_modified
from infonce_jax.evaluation.moments import moment_statistic, moments
from infonce_jax.evaluation.names import several, test_keys
from infonce_jax.evaluation.ordered import sorted_statistics, standardised
from infonce_jax.evaluation.scores import normal_scores

__all__ = [
    "AD_CRITICAL_5_PERCENT",
    "AD_GAUSSIAN_MEAN",
    "INVARIANT_TESTS",
    "TESTS",
    "NormalityResult",
    "anderson_darling",
    "check_known",
    "cramer_von_mises",
    "dagostino_pearson",
    "epps_pulley",
    "jarque_bera",
    "lilliefors",
    "moments",
    "normal_scores",
    "results",
    "shapiro_francia",
    "statistics",
    "stephens_modified",
    "univariate",
]

# Anderson-Darling's 5% point for the modified statistic A*² (Stephens 1974; D'Agostino & Stephens
# 1986, Table 4.7), the paper's criterion: a coordinate passes below it.
AD_CRITICAL_5_PERCENT = 0.752
# E[A²] under normality as n grows: the trace of the limiting covariance kernel.
AD_GAUSSIAN_MEAN = 0.38443

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
    piece between 0.01 and 0.15; with known parameters it is that of the limiting law. For large A²
    the p-value follows the tail of the limiting law. The smallest is 2.2e-308; read it as "at
    most".

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.anderson_darling(z).pvalue < 1e-6).all())
        True

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

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.cramer_von_mises(z).pvalue < 1e-3).all())
        True

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

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.lilliefors(z).pvalue < 1e-3).all())
        True

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

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.epps_pulley(z).pvalue < 1e-3).all())
        True

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

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.shapiro_francia(z).pvalue < 1e-3).all())
        True

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
    puts another value in its place. At n = 200 the asymptotic p-value is below 0.01 in 1.6% of
    Gaussian samples; the calibrated one in 1%.

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.dagostino_pearson(z).pvalue < 1e-3).all())
        True

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

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(1000, 3))
        >>> bool((evaluation.jarque_bera(z).pvalue < 1e-3).all())
        True

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
    tests: str | Sequence[str] = tuple(TESTS),
    *,
    method: Method = "calibrated",
    mean: Parameter | None = None,
    std: Parameter | None = None,
    null: Null = "normal",
) -> dict[str, NormalityResult]:
    """Several tests in one pass: what they share, above all the sorting, is done once.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((1000, 4))
        >>> found = evaluation.univariate(z, ["ad", "dp"])
        >>> found["ad"].statistic.shape, found["dp"].pvalue.shape
        ((4,), (4,))

    Args:
        x: embeddings, one per row, at least 8 rows; real and finite.
        tests: one or several of `TESTS`: "ad", "dp", "jb", "cvm", "sf", "lilliefors", "ep". Their
            functions' names, such as "anderson_darling", and their titles will do too.
        method: "calibrated" or "asymptotic".
        mean: the mean, where it is known; then `std` is needed too. Not for "dp", "jb" and "sf".
        std: the standard deviation likewise.
        null: "normal", or "sphere" for unit vectors (see `normal_scores`).

    Returns:
        The result of each test by the name that it was given by, in this order.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an unknown test, method or null, and as `anderson_darling` does.
    """
    keys = test_keys(tests, TESTS)
    for what, value, choices in (
        ("method", method, ("calibrated", "asymptotic")),
        ("null", null, ("normal", "sphere")),
    ):
        if value not in choices:
            raise ValueError(f"unknown {what} {value!r}; choose from {', '.join(choices)}.")
    x = check_embeddings(x)
    known = check_known(mean, std, x.shape[1], keys)
    if null == "sphere":
        x = normal_scores(x)
    found = statistics(x, keys, known)
    by_key = results(found, keys, len(x), method=method, estimated=known is None)
    return {name: by_key[key] for name, key in zip(several(tests), keys, strict=True)}


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
                w = standardised(block, ddof=1)
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
    pvalue = calibration.pvalue if method == "calibrated" else asymptotic.pvalue
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
