"""Skewness and kurtosis of every coordinate, and the tests that need nothing else."""

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation.arrays import row_blocks


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
    test: str, skewness: Float[np.ndarray, " d"], kurtosis: Float[np.ndarray, " d"], n: float
) -> Float[np.ndarray, " d"]:
    """K² ("dp") or JB ("jb") from the sample skewness and kurtosis of n rows."""
    if test == "jb":
        return n / 6.0 * (skewness**2 + (kurtosis - 3.0) ** 2 / 4.0)
    return _skewness_score(skewness, n) ** 2 + _kurtosis_score(kurtosis, n) ** 2


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


def anscombe_glynn_score(
    x: Float[np.ndarray, "..."] | np.floating, skew: float
) -> Float[np.ndarray, "..."] | np.floating:
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
