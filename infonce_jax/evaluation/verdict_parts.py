"""What the parts of a verdict are made of: answers, effect sizes, and how numbers are told."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from infonce_jax.evaluation.coordinates import Coordinate

HOLDS, CLOSE, FAILS, UNDECIDED, UNTESTED = "holds", "close", "fails", "undecided", "untested"
TOO_FEW = "the rows are too few to tell whether "
Z95 = 1.959964


class Effect(NamedTuple):
    """One effect size.

    Attributes:
        name: what it is.
        value: the estimate.
        low: the lower end of its 95% interval, or None where it has none.
        high: the upper end.
        gaussian: what an exact isotropic Gaussian scores; for norms, one of this mean and covariance.
        detectable: the smallest departure from `gaussian` found with 80% power at this n, or None.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    gaussian: float
    detectable: float | None


class Part(NamedTuple):
    """One part of a verdict.

    Attributes:
        answer: "holds" where no departure was found, "close" for a small one, "fails" for a larger one,
            "undecided" where none was found, but so few rows could not show one, "untested".
        text: the answer in words, with its reason.
        short: the answer in a few words, for `Verdict.sentence`.
        effects: the effect sizes.
        worst: of the coordinates, the few with the largest A², where they do not hold.
    """

    answer: str
    text: str
    short: str
    effects: tuple[Effect, ...] = ()
    worst: tuple[Coordinate, ...] = ()


def effect(name: str, values: Mapping[str, float], statistic: str, least: float | None) -> Effect:
    """One effect size, with its interval where the values hold a standard error."""
    value, error = (float(values.get(key, math.nan)) for key in (statistic, f"{statistic}_se"))
    if math.isnan(error):
        return Effect(name, value, None, None, 0.0, least)
    return Effect(name, value, value - Z95 * error, value + Z95 * error, 0.0, least)


def told(effect: Effect) -> str:
    """Its value, with its interval where it has one."""
    if effect.low is None or effect.high is None:
        return f"{effect.name} {effect.value:.3g}"
    return f"{effect.name} {effect.value:.3g} (95% interval {effect.low:.3g} to {effect.high:.3g})"


def rounded(rows: float) -> str:
    """A number of rows, to two digits."""
    if rows > 1e9:
        return "a billion"
    digits = max(0, int(math.log10(max(rows, 1.0))) - 1)
    return f"{round(rows, -digits):,.0f}"
