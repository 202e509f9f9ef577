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
    """Random parts of n rows: `judged` rows in part `count`, the others in parts 0 to count − 1."""
    order = np.random.default_rng(seed).permutation(n)
    out = np.empty(n, dtype=np.int8)
    out[order[:judged]] = count
    out[order[judged:]] = np.arange(n - judged) % count
    return out


class Recorder:
    """Collects the marks of fitted rows, block by block.

    Args:
        fitted: which rows the model is fitted on.
        seed: of the split.
    """

    def __init__(self, fitted: Bool[np.ndarray, " n"], seed: int):
        self.fitted, self.seed = fitted, seed
        self.kept = np.empty(0, dtype=np.uint64)
        self.below = int(np.iinfo(np.uint64).max)

    def see(self, start: int, block: Float[np.ndarray, "m d"]) -> None:
        """Takes the rows from `start` on."""
        new = _mark(block)[self.fitted[start : start + len(block)]]
        self.kept = np.unique(np.concatenate([self.kept, new[new <= self.below]]))
        if len(self.kept) > _MOST_MARKS:
            self.kept = self.kept[:_MOST_MARKS]
            self.below = int(self.kept[-1])

    def split(self) -> Split:
        """The record."""
        judged = int((~self.fitted).sum())
        return Split(len(self.fitted), judged, self.seed, self.kept, self.below)


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
    size = max(1, _BLOCK_ENTRIES // x.shape[1])
    for start in range(0, len(x), size):
        yield start, _mark(np.asarray(x[start : start + size]).astype(np.float64))


def _mark(block: Float[np.ndarray, "m d"]) -> UInt64[np.ndarray, " m"]:
    """A multiply-shift hash of the bits of float64, which holds the narrower types exactly."""
    d = block.shape[1]
    weights = np.random.default_rng(0).integers(0, 2**63, d, dtype=np.uint64) * 2 + 1
    bits = np.ascontiguousarray(block + 0.0).view(np.uint64)
    mark = ((bits ^ (bits >> np.uint64(32))) * weights).sum(axis=1, dtype=np.uint64)
    mark ^= mark >> np.uint64(29)
    mark *= np.uint64(0xBF58476D1CE4E5B9)
    return mark ^ (mark >> np.uint64(32))
