"""Univariate tests of normality, all coordinates at once.

Each test is a function `x [n, d] -> NamedTuple(statistic [d], pvalue [d])`. The null hypothesis is
that the coordinate is normal with unknown mean and variance. Whatever the input's type, sums are
float64; a coordinate that is constant up to rounding has no shape to test and gets NaN for both.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import log_ndtr, ndtr

from infonce_jax.evaluation.arrays import check_embeddings, column_blocks

# Anderson-Darling's 5 % point for the modified statistic A*² (Stephens 1974; D'Agostino & Stephens
# 1986, Table 4.7), the paper's criterion: a coordinate passes below it.
AD_CRITICAL_5_PERCENT = 0.752
# E[A²] under normality as n grows: the trace of the limiting covariance kernel.
AD_GAUSSIAN_MEAN = 0.38443
# That kernel's largest eigenvalue λ₁ (Stephens 1976, mean and variance estimated; Gauss-Legendre
# discretisation with 1,600 nodes): A² is in the limit Σ λⱼ χ²₁, so its tail falls as exp(-A²/2λ₁).
_AD_LARGEST_EIGENVALUE = 0.098431


class AndersonDarlingResult(NamedTuple):
    """Anderson-Darling's A² and its p-value, one of each per coordinate."""

    statistic: Float[np.ndarray, " d"]
    pvalue: Float[np.ndarray, " d"]


class DAgostinoPearsonResult(NamedTuple):
    """D'Agostino-Pearson's K² and its p-value, one of each per coordinate."""

    statistic: Float[np.ndarray, " d"]
    pvalue: Float[np.ndarray, " d"]


def anderson_darling(x: Float[np.ndarray, "n d"]) -> AndersonDarlingResult:
    """Anderson-Darling test of normality, mean and variance estimated, per coordinate.

    With w₁ ≤ … ≤ wₙ the sorted coordinate, standardised by its mean and its standard deviation
    (ddof = 1), and Φ the normal distribution function,

        A² = −n − (1/n) Σᵢ (2i − 1) [log Φ(wᵢ) + log Φ(−wₙ₊₁₋ᵢ)],

    the statistic of `scipy.stats.anderson(x, "norm")`. Under normality its mean is near 0.384.

    The p-value is D'Agostino & Stephens' (1986, Table 4.9) for A*² = A² (1 + 0.75/n + 2.25/n²);
    `scipy.stats.anderson(method="interpolate")` interpolates the table of 5 critical values
    instead, so that its p-value stays within [0.01, 0.15]. Past A*² = 16.9, where the published
    polynomial would fall more slowly than the limiting law does, the p-value goes on along its
    tangent, which has that law's rate, down to the smallest normal double, 2.2e-308: read that as
    "at most".

    Args:
        x: embeddings, one per row, at least 8 rows; real and finite.

    Returns:
        A² and its p-value for each of the d coordinates; NaN where a coordinate is constant.

    Raises:
        TypeError: for integers, complex numbers, objects: what is not of real floating type.
        ValueError: for an array that is not 2-d, has fewer than 8 rows, or holds NaN or Inf.

    References:
        Anderson & Darling, *A test of goodness of fit*, JASA 49, 1954.
        D'Agostino & Stephens, *Goodness-of-Fit Techniques*, Marcel Dekker, 1986, section 4.8.
    """
    x = check_embeddings(x)
    n, d = x.shape
    weights = (2.0 * np.arange(1, n + 1) - 1.0) / n
    statistic = np.empty(d)
    for columns, block in column_blocks(x):
        # Sorted in its own type: float32 sorts twice as fast, and the order is the same.
        block.sort(axis=1)
        w = _standardised(block, ddof=1)
        log_small, log_large = _log_tails(w)
        is_negative = w < 0
        terms = log_small * np.where(is_negative, weights, weights[::-1])
        terms += log_large * np.where(is_negative, weights[::-1], weights)
        statistic[columns] = -n - terms.sum(axis=1)
    return AndersonDarlingResult(
        statistic, _anderson_darling_pvalue(stephens_modified(statistic, n))
    )


def stephens_modified(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    """A*² = A² (1 + 0.75/n + 2.25/n²), whose law hardly depends on n (Stephens 1974).

    A coordinate passes at the 5 % level if A*² < `AD_CRITICAL_5_PERCENT` = 0.752.

    Args:
        statistic: A² as `anderson_darling` gives it.
        n: the number of rows it was computed from.
    """
    return statistic * (1.0 + 0.75 / n + 2.25 / n**2)


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


def dagostino_pearson(x: Float[np.ndarray, "n d"]) -> DAgostinoPearsonResult:
    """D'Agostino-Pearson omnibus test of normality from skewness and kurtosis, per coordinate.

    K² = Z₁² + Z₂², with Z₁ the sample skewness after D'Agostino's (1970) and Z₂ the sample kurtosis
    after Anscombe & Glynn's (1983) transformation to a standard normal variable; the p-value is
    that of χ² with 2 degrees of freedom, exp(−K²/2). Both equal `scipy.stats.normaltest` on float64
    input, except for a sample whose skewness is exactly 0: its Z₁ is 0 here, while scipy puts
    another value in its place. Below 20 rows the transformation of the kurtosis is rough.

    Args:
        x: embeddings, one per row, at least 8 rows; real and finite.

    Returns:
        K² and its p-value for each of the d coordinates; NaN where a coordinate is constant.

    Raises:
        TypeError: for integers, complex numbers, objects: what is not of real floating type.
        ValueError: for an array that is not 2-d, has fewer than 8 rows, or holds NaN or Inf.

    References:
        D'Agostino & Pearson, *Tests for departure from normality*, Biometrika 60, 1973.
        Anscombe & Glynn, *Distribution of the kurtosis statistic b₂ for normal samples*,
        Biometrika 70, 1983.
    """
    x = check_embeddings(x)
    n, d = x.shape
    skewness, kurtosis = np.empty(d), np.empty(d)
    for columns, block in column_blocks(x):
        w = _standardised(block, ddof=0)
        square = w * w
        kurtosis[columns] = np.mean(square * square, axis=1)
        skewness[columns] = np.mean(np.multiply(square, w, out=w), axis=1)
    statistic = _skewness_score(skewness, n) ** 2 + _kurtosis_score(kurtosis, n) ** 2
    return DAgostinoPearsonResult(statistic, np.exp(-0.5 * statistic))


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
    x = (kurtosis - mean) / np.sqrt(variance)
    skew = 6.0 * (n**2 - 5.0 * n + 2.0) / ((n + 7.0) * (n + 9.0))
    skew *= np.sqrt(6.0 * (n + 3.0) * (n + 5.0) / (n * (n - 2.0) * (n - 3.0)))
    a = 6.0 + 8.0 / skew * (2.0 / skew + np.sqrt(1.0 + 4.0 / skew**2))
    denominator = 1.0 + x * np.sqrt(2.0 / (a - 4.0))
    denominator = np.where(denominator == 0.0, np.nan, denominator)
    return (1.0 - 2.0 / (9.0 * a) - np.cbrt((1.0 - 2.0 / a) / denominator)) / np.sqrt(
        2.0 / (9.0 * a)
    )


def _log_tails(w: Float[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
    """log Φ(−|w|) and log Φ(|w|), both to the last digits however large |w| is.

    One evaluation of Φ serves both sides; `log_ndtr` would take three times as long.
    """
    magnitude = np.abs(w)
    small = ndtr(np.negative(magnitude))
    log_large = np.log1p(np.negative(small))
    with np.errstate(divide="ignore"):
        log_small = np.log(small, out=small)
    # Beyond this Φ(−|w|) is not a normal double any more.
    far = magnitude > 37.0
    if far.any():
        log_small[far] = log_ndtr(-magnitude[far])
    return log_small, log_large


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
