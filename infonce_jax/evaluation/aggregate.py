"""Combines the p-values of all coordinates into one answer, whatever their dependence."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import calibration, normality
from infonce_jax.evaluation.arrays import check_embeddings
from infonce_jax.evaluation.controls import gaussian_like


def benjamini_hochberg(pvalue: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """p-values adjusted for the false discovery rate, of independent or positively dependent tests.

    min over j ≥ i of d p₍ⱼ₎ / j: rejecting where it is at most q keeps the expected share of false
    rejections within q (Benjamini & Hochberg 1995). NaN stays NaN and does not count.

    Examples:
        >>> evaluation.aggregate.benjamini_hochberg(np.array([0.01, 0.02, 0.03, 0.5])).round(3)
        array([0.04, 0.04, 0.04, 0.5 ])

    Args:
        pvalue: one per coordinate, in [0, 1] or NaN.

    Raises:
        ValueError: for values outside [0, 1], or an array that is not 1-d.
    """
    return _step_up(pvalue, 1.0)


def benjamini_yekutieli(pvalue: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """The same under any dependence: p-values grow by Σ 1/i (Benjamini & Yekutieli 2001).

    Examples:
        >>> evaluation.aggregate.benjamini_yekutieli(np.array([0.01, 0.02, 0.03, 0.5])).round(3)
        array([0.083, 0.083, 0.083, 1.   ])

    Args:
        pvalue: one per coordinate, in [0, 1] or NaN.

    Raises:
        ValueError: for values outside [0, 1], or an array that is not 1-d.
    """
    count = np.sum(~np.isnan(np.asarray(pvalue, dtype=np.float64)))
    return _step_up(pvalue, float(np.sum(1.0 / np.arange(1, count + 1))))


def _step_up(pvalue: Float[np.ndarray, " d"], factor: float) -> Float[np.ndarray, " d"]:
    pvalue = np.asarray(pvalue, dtype=np.float64)
    if pvalue.ndim != 1:
        raise ValueError(f"the p-values have shape {pvalue.shape}: give a 1-d array of them.")
    known = ~np.isnan(pvalue)
    values = pvalue[known]
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"p-values lie in [0, 1], but these reach from {values.min():g} to {values.max():g}."
        )
    order = np.argsort(values)[::-1]
    rank = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(factor * len(values) / rank * values[order])
    out = np.full(pvalue.shape, np.nan)
    out[known] = np.minimum(adjusted, 1.0)
    return out


class GlobalResult(NamedTuple):
    """All coordinates at once, against Gaussians of the same covariance.

    Attributes:
        mean: the mean of A² over the coordinates.
        mean_pvalue: the share of Gaussians whose mean is as large.
        smallest: the smallest calibrated p-value of a coordinate.
        smallest_pvalue: the share of Gaussians with a p-value as small.
        pass_rate: the share of coordinates with p > 0.05.
        pass_rate_gaussian: its mean over the Gaussians.
        pass_rate_std: its standard deviation there: how much a pass rate may differ from 0.95.
        n: number of rows tested.
    """

    mean: float
    mean_pvalue: float
    smallest: float
    smallest_pvalue: float
    pass_rate: float
    pass_rate_gaussian: float
    pass_rate_std: float
    n: int


def global_test(
    x: Float[np.ndarray, "n d"], *, draws: int = 199, rows: int = 1000, seed: int = 0
) -> GlobalResult:
    """One p-value for all coordinates, by a parametric bootstrap at the fitted covariance.

    The coordinates of an embedding depend on one another, so that d tests are not independent.
    Gaussian samples with the same mean, covariance and number of rows are drawn. They show how the
    mean of A² over coordinates, the smallest p-value and the pass rate vary for a Gaussian.

    Examples:
        >>> z = np.random.default_rng(0).standard_t(4, size=(400, 4))
        >>> float(evaluation.aggregate.global_test(z, draws=99).mean_pvalue)
        0.01

    Args:
        x: embeddings, one per row, at least 8.
        draws: number of Gaussians; p-values are multiples of 1/(draws + 1).
        rows: the most rows used, a random subset.
        seed: of the subset and of the draws.

    Returns:
        The results; NaN where all coordinates are constant.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    x = check_embeddings(x)
    if len(x) > rows:
        x = x[np.sort(np.random.default_rng(seed).choice(len(x), rows, replace=False))]
    n = len(x)
    statistic = _tested(x)
    if not len(statistic):
        return GlobalResult(*[float("nan")] * 7, n)
    drawn = np.array([_summary(_tested(gaussian_like(x, seed=[seed, k])), n) for k in range(draws)])
    mean, smallest, passed = _summary(statistic, n)
    return GlobalResult(
        mean,
        float((1 + np.sum(drawn[:, 0] >= mean)) / (draws + 1)),
        smallest,
        float((1 + np.sum(drawn[:, 1] <= smallest)) / (draws + 1)),
        passed,
        float(drawn[:, 2].mean()),
        float(drawn[:, 2].std(ddof=1)),
        n,
    )


def _tested(x: np.ndarray) -> np.ndarray:
    statistic = normality.univariate(x, ["ad"])["ad"].statistic
    return statistic[~np.isnan(statistic)]


def _summary(statistic: np.ndarray, n: int) -> tuple[float, float, float]:
    pvalue = calibration.pvalue("ad", statistic, n)
    return float(statistic.mean()), float(pvalue.min()), float(np.mean(pvalue > 0.05))
