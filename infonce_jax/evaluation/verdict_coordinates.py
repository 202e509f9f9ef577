"""The first part of the verdict: are the coordinates normal, and if not, which are the worst?"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from infonce_jax.evaluation import coordinates, normality
from infonce_jax.evaluation.arrays import MIN_ROWS
from infonce_jax.evaluation.detectable import detectable
from infonce_jax.evaluation.verdict_parts import (
    CLOSE,
    FAILS,
    HOLDS,
    TOO_FEW,
    UNDECIDED,
    UNTESTED,
    Effect,
    Part,
    effect,
    rounded,
    told,
)

# A mean A² at this many rows below the 5% point counts as close: the paper's criterion, at an n.
REFERENCE_ROWS = 1000
# Without the power to see even Laplace's excess kurtosis, no departure found decides nothing.
_LAPLACE = 3.0
# A Gaussian's coordinates pass less often than the stated number in one sample of two hundred.
_FEW_PASS = 0.005


def judge_coordinates(representation: str, values: Mapping[str, float], n: int, dim: int) -> Part:
    """Whether they hold, and the few that depart the most where they do not."""
    mean, passed = values.get("ad_mean"), values.get("ad_calibrated_pass")
    if mean is None or passed is None or math.isnan(mean):
        text = "Anderson-Darling was not computed, or every coordinate is constant."
        return Part(UNTESTED, text, "the coordinates were not tested")
    least = detectable("kurtosis", n)
    growth = 1000 * (mean - normality.AD_GAUSSIAN_MEAN) / n
    effects = (
        effect("mean excess kurtosis", values, "excess_kurtosis", least),
        Effect("A² growth per 1,000 rows", growth, None, None, 0.0, None),
    )
    found = accepted(values, passed, dim)
    reason = f"{found.reason}; {told(effects[0])}"
    power = (
        f"{n:,} rows detect, in one coordinate and with 80% power, an excess kurtosis of "
        f"{least:.2g} or a skewness of {detectable('skewness', n):.2g}"
    )
    if found.accepted and least > _LAPLACE:
        text = "No deviation from a Gaussian found, but so few rows show large ones only"
        short = f"{TOO_FEW}the coordinates are Gaussian"
        return Part(UNDECIDED, f"{text}: {power}; {reason}.", short, effects)
    if found.accepted:
        text = f"No deviation from a Gaussian found: {reason}; {power}."
        short = f"the coordinates show no deviation from a Gaussian ({found.described})"
        return Part(HOLDS, text, short, effects)
    # Each seed has coordinates of its own.
    worst = coordinates.named(values, n) if values["seeds"] == 1 else ()
    if found.only_few:  # others beyond 5% are chance's
        worst = worst[: found.rejected]
    is_close = _fails_from(mean, n) > REFERENCE_ROWS
    grows = _growth(values, found, n, is_close)
    if worst:
        reason = f"{reason}; the worst: {coordinates.told(worst, representation)}"
    if found.only_few:
        few, others = found.rejected, found.tested - found.rejected
        is_few_close = _fails_from(found.rejected_mean, n) > REFERENCE_ROWS
        called = "close to Gaussian, but rejected" if is_few_close else "not Gaussian"
        which = f"A² = {found.rejected_mean:.3g} on average"
        if worst:
            which = coordinates.quoted(worst, few, representation)
        short = (
            f"{others:,} of {found.tested:,} coordinates show no deviation from a Gaussian "
            f"({found.described}) and {few:,} {'is' if few == 1 else 'are'} {called} ({which})"
        )
    elif is_close:
        short = (
            f"the coordinates are close to Gaussian, but rejected ({found.described}; the average one "
            f"fails from {_when(mean, n)} on)"
        )
    else:
        short = f"the coordinates are not Gaussian ({found.described})"
    if is_close:
        average = " on average" if found.only_few else ""
        text = f"Close to Gaussian{average}, but rejected at n = {n:,}: {reason}; {grows}; {power}."
        return Part(CLOSE, text, short, effects, worst)
    return Part(FAILS, f"Not Gaussian: {grows}; {reason}.", short, effects, worst)


def _fails_from(a2: float, n: int) -> float:
    """The rows from which on a coordinate fails that has this A² at n rows."""
    slope = (a2 - normality.AD_GAUSSIAN_MEAN) / n
    # Below this slope it passes at any n that could be asked for.
    return (normality.AD_CRITICAL_5_PERCENT - normality.AD_GAUSSIAN_MEAN) / max(slope, 1e-12)


def _when(a2: float, n: int) -> str:
    rows = _fails_from(a2, n)
    return "the smallest sample" if rows < MIN_ROWS else f"some {rounded(rows)} rows"


def _growth(values: Mapping[str, float], found: "Accepted", n: int, is_close: bool) -> str:
    """From which n on the coordinates fail, told so that one of them does not speak for all."""
    mean, median = values["ad_mean"], values.get("ad_median", math.nan)
    if 2 * found.passing > found.tested and found.rejected:
        rejected = found.rejected_mean
        which, verb = (
            ("the one rejected has", "fails")
            if found.rejected == 1
            else (f"the {found.rejected:,} rejected have", "fail")
        )
        average = "" if found.rejected == 1 else " on average"
        return (
            f"the median A² is {median:.3g}; {which} A² = {rejected:.3g}{average} and {verb} from "
            f"{_when(rejected, n)} on"
        )
    if is_close or 2 * found.passing > found.tested or math.isnan(median):
        return f"with A² = {mean:.3g} on average, a coordinate fails from {_when(mean, n)} on"
    average = f" ({mean:.3g} on average)" if mean > 2 * median else ""
    return (
        f"with a median A² of {median:.3g}{average}, half of the coordinates fail from "
        f"{_when(median, n)} on"
    )


class Accepted(NamedTuple):
    """Whether the coordinates may be Gaussian, by which numbers, and the same in full."""

    accepted: bool
    described: str
    reason: str
    tested: int
    passing: int
    rejected: int
    rejected_mean: float
    only_few: bool


def accepted(values: Mapping[str, float], passed: float, dim: int) -> Accepted:
    """Whether they may be Gaussian: by the global test, or by counts and false discoveries."""
    # It takes long to import.
    from scipy.stats import binom

    # All numbers are counts: 7 of 8 is nothing unusual, which "87.5%" does not say.
    tested = (dim - round(values.get("constant_coordinates", 0.0))) * round(values["seeds"])
    passing = round(passed * tested)
    rejected = round(values.get("ad_by_rejected", 0.0) * tested)
    usual = int(binom.ppf(_FEW_PASS, tested, 0.95))
    only_few = passing >= usual and rejected > 0 and 2 * passing > tested
    rejected_mean = values.get("ad_mean", math.nan)
    if rejected and "ad_by_rejected_part" in values:  # rows of older versions lack it
        rejected_mean = values["ad_by_rejected_part"] / values["ad_by_rejected"]
    counts = (tested, passing, rejected, rejected_mean, only_few)
    counted = f"{passing:,} of {tested:,} pass Anderson-Darling at the 5% level"
    if "global_mean_p" in values:
        mean, smallest = values["global_mean_p"], values["global_smallest_p"]
        return Accepted(
            min(mean, smallest) > 0.01,
            f"{counted}; the global test has p = {min(mean, smallest):.2g}",
            f"{counted}; against Gaussians of the same covariance the mean A² has p = {mean:.2g} and "
            f"the most extreme coordinate p = {smallest:.2g} (n = {values['global_rows']:,.0f})",
            *counts,
        )
    return Accepted(
        passing >= usual and not rejected,
        f"{counted}; an exact Gaussian: {usual:,} or more",
        f"{counted}; of an exact Gaussian's, if independent, {usual:,} or more pass in 99.5% of "
        f"samples; {rejected or 'none'} {'are' if rejected > 1 else 'is'} rejected at a false "
        f"discovery rate of 5%",
        *counts,
    )
