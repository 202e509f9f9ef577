"""What Anderson-Darling can see: the smallest departure at an n, and the n at which it sees a sphere.

The table of departures is made by `python -m infonce_jax.evaluation._precompute.detectable`.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import betainc, ndtr

from infonce_jax.evaluation.normality import AD_CRITICAL_5_PERCENT, AD_GAUSSIAN_MEAN

_TABLE = Path(__file__).with_name("_precompute") / "detectable.npz"


def detectable(family: str, n: int) -> float:
    """The departure that the calibrated test at the 5% level rejects in 80% of samples of n rows.

    Interpolated in log n between the simulated sizes 8 to 10,000; beyond, it falls as 1/√n.

    Args:
        family: "kurtosis" for the excess kurtosis of a normal variable with a gamma variance (Laplace's
            has 3), "skewness" for the skewness of a gamma variable (the exponential's is 2).
        n: the sample size, at least 8.
    """
    sizes, values = _table(family)
    if n > sizes[-1]:
        return float(values[-1] * np.sqrt(sizes[-1] / n))
    return float(np.exp(np.interp(np.log(n), np.log(sizes), np.log(values))))


@cache
def directions_fail_from(dim: int) -> float:
    """The n at which the mean A² of a coordinate of uniform directions reaches its 5% point, 0.752.

    √d·u₁ has the law F of a beta variable, and the mean of A² is 0.384 + n Δ with

        Δ = ∫ (F − Φ)² / (Φ (1 − Φ)) dΦ,

    which is 0.06/d² for large d, so that n is 6 d².

    Args:
        dim: d, at least 2.
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    # Both laws are symmetric; F has a kink where the sphere ends, and Δ's integrand none beyond 12.
    edge, total = min(np.sqrt(dim), 12.0), 0.0
    for low, high in ((0.0, edge), (edge, 12.0)):
        x = (high + low) / 2 + (high - low) / 2 * nodes
        upper = betainc((dim - 1) / 2, (dim - 1) / 2, np.clip((1 - x / np.sqrt(dim)) / 2, 0.0, 1.0))
        density = (upper - ndtr(-x)) ** 2 * np.exp(-(x**2) / 2) / (ndtr(x) * ndtr(-x))
        total += float((high - low) * (weights @ density)) / np.sqrt(2 * np.pi)
    return (AD_CRITICAL_5_PERCENT - AD_GAUSSIAN_MEAN) / total


@cache
def _table(family: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(_TABLE) as stored:
        return stored["n"], stored[family]
