"""Single coordinates: which are the farthest from a Gaussian, and in what way.

Rows of an evaluation name them in their statistic, `coordinate_7_ad`, so that they survive a CSV file.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

WORST = 3
# What the rows' statistics of single coordinates begin with.
COORDINATE = "coordinate_"
# A departure gets its word where it is this many standard errors of a Gaussian's.
_ERRORS = 4.0
_NAMED = re.compile(rf"{COORDINATE}(\d+)_ad")
_NOUNS = {"principal": "principal axis", "projected": "random direction"}


class Coordinate(NamedTuple):
    """One coordinate that does not pass.

    Attributes:
        index: its column, counted from 0.
        ad: A².
        skewness: √b₁.
        excess_kurtosis: b₂ − 3.
        shape: in what way it differs, in words; "" where no simple word fits.
    """

    index: int
    ad: float
    skewness: float
    excess_kurtosis: float
    shape: str


def worst(
    z: Float[np.ndarray, "n d"],
    found: Mapping[str, Float[np.ndarray, " d"]],
    pvalue: Float[np.ndarray, " d"],
) -> dict[str, float]:
    """The statistics of the few coordinates with the largest A² of those with p ≤ 0.05, by name.

    Args:
        z: the tested sample.
        found: its "ad", "skewness" and "kurtosis".
        pvalue: of A²; NaN for constant coordinates.
    """
    order = np.argsort(-np.where(pvalue <= 0.05, found["ad"], -np.inf), kind="stable")
    values = {}
    for j in order[:WORST].tolist():
        if pvalue[j] <= 0.05:
            lean, repeated = _lean_and_repeated(z[:, j])
            values |= {
                f"{COORDINATE}{j}_ad": float(found["ad"][j]),
                f"{COORDINATE}{j}_skewness": float(found["skewness"][j]),
                f"{COORDINATE}{j}_excess_kurtosis": float(found["kurtosis"][j]) - 3.0,
                f"{COORDINATE}{j}_lean": lean,
                f"{COORDINATE}{j}_repeated": repeated,
            }
    return values


def named(values: Mapping[str, float], n: int) -> tuple[Coordinate, ...]:
    """The coordinates that `worst` put into rows of n, by falling A²."""
    found = []
    for name, ad in values.items():
        if match := _NAMED.fullmatch(name):
            skewness, kurtosis, lean, repeated = (
                values[f"{COORDINATE}{match[1]}_{key}"]
                for key in ("skewness", "excess_kurtosis", "lean", "repeated")
            )
            words = in_words(kurtosis, lean, repeated, n)
            found.append(Coordinate(int(match[1]), ad, skewness, kurtosis, words))
    return tuple(sorted(found, key=lambda one: -one.ad))


def shape_of(column: Float[np.ndarray, " n"], excess_kurtosis: float) -> str:
    """In what way a coordinate differs from a Gaussian, in words."""
    return in_words(excess_kurtosis, *_lean_and_repeated(column), len(column))


def in_words(excess_kurtosis: float, lean: float, repeated: float, n: int) -> str:
    """What is special: one value in many rows, skewed, heavy or thin tails, two modes; or nothing.

    Args:
        excess_kurtosis: b₂ − 3.
        lean: (q₉₅ + q₅ − 2 median)/(q₉₅ − q₅), with a standard error of 1/√n for a Gaussian. Single
            far values move the skewness, and not this.
        repeated: share of the rows that have the most frequent value.
        n: rows.
    """
    words = []
    if repeated >= 0.01 and repeated * n >= 5:
        words.append(f"one value in {repeated:.0%} of the rows")
    reach = _ERRORS * (24.0 / n) ** 0.5
    # A uniform law has −1.2; what has less is split in two, and its median lies on either side.
    if excess_kurtosis < -1.2 - reach:
        return ", ".join([*words, "two modes"])
    if abs(lean) > max(0.05, _ERRORS / n**0.5):
        words.append("skewed")
    if excess_kurtosis > reach:
        words.append("heavy tails")
    elif excess_kurtosis < -reach:
        words.append("thin tails")
    return ", ".join(words)


def quoted(found: tuple[Coordinate, ...], of: int, representation: str) -> str:
    """The worst of so many coordinates with their A², in a few words; a single one with its shape."""
    if of == 1:
        return told(found[:1], representation)
    noun, few = _NOUNS.get(representation, "coordinate"), found[:of]
    plural = "principal axes" if noun == "principal axis" else f"{noun}s"
    verb = "the worst are " if of > len(few) else ""
    return (
        f"{verb}{plural} {_listed([str(one.index) for one in few])}, counted from 0: A² = "
        f"{_listed([f'{one.ad:.3g}' for one in few])}"
    )


def told(found: tuple[Coordinate, ...], representation: str) -> str:
    """The coordinates with their A² and shapes."""
    noun = _NOUNS.get(representation, "coordinate")
    texts = [
        f"{one.index}{', counted from 0' if i == 0 else ''}: A² = {one.ad:.3g}"
        + (f", {one.shape}" if one.shape else "")
        for i, one in enumerate(found)
    ]
    return f"{noun} {'; '.join(texts)}"


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _lean_and_repeated(column: Float[np.ndarray, " n"]) -> tuple[float, float]:
    ordered = np.sort(np.asarray(column, dtype=np.float64))
    low, middle, high = np.quantile(ordered, (0.05, 0.5, 0.95))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0]))
    repeated = np.diff(np.append(starts, len(ordered))).max() / len(ordered)
    lean = (high + low - 2.0 * middle) / (high - low) if high > low else 0.0
    return float(lean), float(repeated)
