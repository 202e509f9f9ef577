"""Which rows a model was fitted on: the split, and marks by which such rows are recognised anywhere."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt64

from infonce_jax.evaluation.stacked import Stacked

_MOST_MARKS = 2**18
_BLOCK_ENTRIES = 2**20


class Split(NamedTuple):
    """The rows that a model was fitted on.

    Attributes:
        n: the rows it was given.
        judged: how many of these it was not fitted on.
        seed: of the split.
        marks: 64-bit marks of fitted rows, ascending; of all, or of those whose mark is the smallest.
        below: every fitted row with a mark up to this one is in `marks`.
    """

    n: int
    judged: int
    seed: int
    marks: UInt64[np.ndarray, " m"]
    below: int


class Known(NamedTuple):
    """What is known of some rows.

    Attributes:
        fitted: which of them the model was fitted on, or None where only the share can be told.
        share: the share of them that it was fitted on.
    """

    fitted: Bool[np.ndarray, " n"] | None
    share: float


def parts(n: int, judged: int, count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Random parts of n rows: `judged` rows in part `count`, the others evenly in 0 … count − 1."""
    order = np.random.default_rng(seed).permutation(n)
    out = np.empty(n, dtype=np.int8)
    out[order[:judged]] = count
    out[order[judged:]] = np.arange(n - judged) % count
    return out


def record(x: Num[np.ndarray, "n d"] | Stacked, fitted: Bool[np.ndarray, " n"], seed: int) -> Split:
    """The record of a split, with a second pass over the rows for their marks."""
    kept = np.empty(0, dtype=np.uint64)
    below = np.iinfo(np.uint64).max
    for start, marks in _marks(x):
        new = marks[fitted[start : start + len(marks)]]
        kept = np.unique(np.concatenate([kept, new[new <= below]]))
        if len(kept) > _MOST_MARKS:
            kept = kept[:_MOST_MARKS]
            below = kept[-1]
    return Split(len(fitted), int((~fitted).sum()), seed, kept, int(below))


def known(split: Split | None, x: Num[np.ndarray, "n d"] | Stacked) -> Known:
    """Which rows of `x` a model was fitted on, whatever their order and their floating type's width."""
    nothing = Known(np.zeros(len(x), dtype=bool), 0.0)
    if split is None:
        return nothing
    found, visible = np.zeros((2, len(x)), dtype=bool)
    for start, marks in _marks(x):
        rows = slice(start, start + len(marks))
        visible[rows] = marks <= split.below
        found[rows] = np.isin(marks, split.marks)
    if not found.any():
        return nothing
    if visible.all():
        return Known(found, float(found.mean()))
    if len(x) == split.n:
        fitted = parts(split.n, split.judged, 1, split.seed) == 0
        if np.array_equal(fitted[visible], found[visible]):
            return Known(fitted, float(fitted.mean()))
    return Known(None, float(found[visible].mean()))


def _marks(
    x: Num[np.ndarray, "n d"] | Stacked,
) -> Iterator[tuple[int, UInt64[np.ndarray, " m"]]]:
    d = x.shape[1]
    weights = np.random.default_rng(0).integers(0, 2**63, d, dtype=np.uint64) * 2 + 1
    size = max(1, _BLOCK_ENTRIES // d)
    for start in range(0, len(x), size):
        block: Float[np.ndarray, "m d"] = np.asarray(x[start : start + size]).astype(np.float64)
        # A multiply-shift hash of the bits of float64, which holds the narrower types exactly.
        bits = np.ascontiguousarray(block + 0.0).view(np.uint64)
        bits = (bits ^ (bits >> np.uint64(32))) * weights
        mark = bits.sum(axis=1, dtype=np.uint64)
        mark ^= mark >> np.uint64(29)
        mark *= np.uint64(0xBF58476D1CE4E5B9)
        yield start, mark ^ (mark >> np.uint64(32))
