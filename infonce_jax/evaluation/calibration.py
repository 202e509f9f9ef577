"""p-values from tabulated laws of the test statistics at any n.

`_precompute/calibration.npz` holds, for each law, the logarithm of the statistic's upper quantiles at
a grid of levels and of sample sizes. `python -m infonce_jax.evaluation._precompute.calibrate` makes
it: by simulation at finite n, and exactly in the limit where that law is a known sum of weighted χ².
"""

import threading
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

TABLE = Path(__file__).with_name("_precompute") / "calibration.npz"
# A law's name is the test's, with "_known" behind it where mean and variance are given.
LAWS = ("ad", "cvm", "ep", "lilliefors", "sf", "dp", "jb", "ad_known", "cvm_known", "ep_known")
# The statistic's power in which the logarithm of the tail is straight, in the limit.
_TAIL_POWER = {"lilliefors": 2.0}
_LAST_DECADE = 3  # the levels end with 1e-5, 3e-6, 1e-6


class Law(NamedTuple):
    """The law of one statistic.

    Attributes:
        levels: upper tail probabilities, falling.
        place: the grid of sample sizes, as `place_of` gives them, rising.
        score: `score_of` the statistic's upper quantile at each level and sample size.
    """

    levels: Float[np.ndarray, " levels"]
    place: Float[np.ndarray, " sizes"]
    score: Float[np.ndarray, "levels sizes"]


def place_of(law: str, n: float) -> float:
    """Where a sample size lies on the grid: n^(−1/2), or 1/log n for Shapiro-Francia.

    Quantiles are smooth in n^(−1/2) and have a limit; those of Shapiro-Francia have none.
    """
    return float(1.0 / np.log(n)) if law == "sf" else float(n) ** -0.5


def score_of(law: str, statistic: Float[np.ndarray, " d"], n: float) -> Float[np.ndarray, " d"]:
    """A rising function of the evidence against normality, nearly free of n.

    log A², log W², log T, log K², log JB; log(√n D); Royston's normal score of W'.
    """
    if law == "sf":
        return royston_score(statistic, n)
    with np.errstate(divide="ignore"):
        score = np.log(statistic)
    return score + 0.5 * np.log(n) if law == "lilliefors" else score


def royston_score(statistic: Float[np.ndarray, " d"], n: float) -> Float[np.ndarray, " d"]:
    """Royston's (1993) transformation of W' to nearly N(0, 1); large where W' is small."""
    u, v = np.log(n), np.log(np.log(n))
    mean = -1.2725 + 1.0521 * (v - u)
    std = 1.0308 - 0.26758 * (v + 2.0 / u)
    return (np.log(np.maximum(1.0 - statistic, 1e-300)) - mean) / std


def pvalue(
    test: str, statistic: Float[np.ndarray, " d"], n: float, *, estimated: bool = True
) -> Float[np.ndarray, " d"]:
    """The probability, under the null hypothesis at sample size n, of a statistic as extreme.

    Between levels the log-odds are interpolated monotonically. Beyond the outermost levels, 0.999
    and 1e-6, they are continued with the slope found there: the upper tail falls as exp(−c ·
    statistic) or, for Lilliefors, exp(−c · statistic²).

    Args:
        test: a key of `infonce_jax.evaluation.TESTS`.
        statistic: its values; NaN gives NaN.
        n: the sample size, at least 8; infinity for the limiting law, where there is one.
        estimated: whether mean and variance were estimated.

    Returns:
        p-values from 2.2e-308 to 1.
    """
    statistic = np.asarray(statistic, dtype=np.float64)
    if test == "lilliefors" and not estimated:
        from scipy.stats import kstwo

        tail = np.asarray(kstwo.sf(statistic, int(n)))
        return np.where(np.isnan(statistic), np.nan, np.maximum(tail, np.finfo(float).tiny))
    law = test if estimated else f"{test}_known"
    table = load(law)
    score, log_odds, inner = _curve(law, n)
    given = score_of(law, statistic, n)
    value = inner(np.clip(given, score[0], score[-1]))
    below = given < score[0]
    with np.errstate(invalid="ignore"):
        value = np.where(below, log_odds[0] + inner(score[0], 1) * (given - score[0]), value)
    p = 1.0 / (1.0 + np.exp(-value))
    # Beyond the last level the tail falls at the rate of its last decade, 1e-5 to 1e-6.
    last, before = score[-1], score[-_LAST_DECADE]
    power = _TAIL_POWER.get(law, 1.0)
    reach, at_last, at_before = (
        _natural(law, s, power) for s in (np.maximum(given, last), last, before)
    )
    rate = np.log(table.levels[-_LAST_DECADE] / table.levels[-1]) / (at_last - at_before)
    log_tail = np.log(table.levels[-1]) - rate * (reach - at_last)
    p = np.where(given > last, np.exp(np.maximum(log_tail, -708.0)), p)
    p = np.where(np.isnan(statistic), np.nan, p)
    return np.clip(p, np.finfo(np.float64).tiny, 1.0)


def _natural(law: str, score, power: float):
    # Royston's score is nearly normal; its log tail is straight in its square.
    return np.square(score) if law == "sf" else np.exp(power * score)


def score_at(law: str, n: float) -> Float[np.ndarray, " levels"]:
    """The scores of the quantiles at sample size n, interpolated along the grid of sizes."""
    from scipy.interpolate import CubicSpline

    table = load(law)
    place = 0.0 if np.isinf(n) else place_of(law, n)
    score = CubicSpline(table.place, table.score, axis=1)(place)
    # At small n the rarest quantiles lie at the end of the support and touch; PCHIP wants them to rise.
    return np.maximum.accumulate(score) + 1e-9 * np.arange(len(score))


@lru_cache(maxsize=64)
def _curve(law: str, n: float):
    """The scores at n, the log-odds of their levels, and the curve between them."""
    from scipy.interpolate import PchipInterpolator

    levels = load(law).levels
    score, log_odds = score_at(law, n), np.log(levels) - np.log1p(-levels)
    return score, log_odds, PchipInterpolator(score, log_odds)


# NumPy has Python parse an array's header, and CPython 3.11 counts the parser's recursions for all
# threads together: two that read at once may end in a SystemError (python/cpython#106905).
_READING = threading.Lock()


@cache
def load(law: str) -> Law:
    """Reads one law from the table that comes with the package."""
    with _READING, np.load(TABLE) as stored:
        return Law(stored["levels"], stored[f"{law}_place"], stored[f"{law}_score"])
