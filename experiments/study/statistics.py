"""Rank correlations over settings, with another quantity held fixed, and their intervals."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from experiments.pages import Interval, interval

DRAWS = 1000
Values = Float[np.ndarray, " n"]


def spearman(x: Values, y: Values) -> float:
    """The rank correlation of two quantities; NaN where one is constant."""
    return _correlation(rankdata(x), rankdata(y))


def partial_spearman(x: Values, y: Values, given: Values) -> float:
    """The rank correlation of x and y with a third quantity held fixed.

    (r_xy − r_xg r_yg) / √((1 − r_xg²)(1 − r_yg²)) of the ranks' correlations: what is left of the ranks
    of x and y after a linear fit on those of the third. NaN where the third decides one of them.
    """
    x, y, given = rankdata(x), rankdata(y), rankdata(given)
    xy, xg, yg = _correlation(x, y), _correlation(x, given), _correlation(y, given)
    left = (1 - xg**2) * (1 - yg**2)
    return float((xy - xg * yg) / np.sqrt(left)) if left > 1e-12 else float("nan")


def over_groups(
    statistic: Callable[..., float],
    columns: Sequence[Values],
    groups: Sequence[object],
    *,
    seed: int = 0,
) -> tuple[float, float, float]:
    """A statistic of runs, with a 95% bootstrap interval over groups of them.

    Seeds of one setting are no independent evidence of what settings do, so whole settings are drawn.

    Args:
        statistic: a function of the columns.
        columns: of one value for each run.
        groups: the setting of each run.
        seed: of the bootstrap's draws.

    Returns:
        The value, and the interval's ends; NaN where more than 5% of the draws leave it undefined.
    """
    columns = [np.asarray(column, np.float64) for column in columns]
    names, index = np.unique([str(group) for group in groups], return_inverse=True)
    members = [np.flatnonzero(index == k) for k in range(len(names))]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in rng.integers(len(names), size=len(names))])
        found.append(statistic(*(column[rows] for column in columns)))
    low, high = np.nan, np.nan
    if np.mean(np.isnan(found)) <= 0.05:
        low, high = np.nanquantile(found, [0.025, 0.975])
    return statistic(*columns), float(low), float(high)


def paired(after: dict[int, float], before: dict[int, float]) -> Interval:
    """The mean change by seed, with Student's 95% interval."""
    return interval([after[seed] - before[seed] for seed in sorted(after.keys() & before.keys())])


def _correlation(x: Values, y: Values) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
