"""Mean, covariance and fourth moment of rows in one pass, of parts that are merged exactly."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from infonce_jax.evaluation.arrays import LARGEST_ENTRY, as_floats
from infonce_jax.evaluation.stacked import Stacked

# Blocks of 16 MiB: large enough that products outweigh the sums of [d, d] matrices.
_BLOCK_ENTRIES = 2**21


class Sums(NamedTuple):
    """Sums over n rows x with c = x − mean.

    Attributes:
        n: the rows.
        mean: [d].
        scatter: Σ c cᵀ.
        third: Σ ‖c‖² c.
        fourth: Σ ‖c‖⁴.
    """

    n: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]
    third: Float[np.ndarray, " d"]
    fourth: float

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """With ddof = 0."""
        return self.scatter / self.n


def nothing(d: int) -> Sums:
    """Empty sums, to start from."""
    return Sums(0, np.zeros(d), np.zeros((d, d)), np.zeros(d), 0.0)


def sums(x: Num[np.ndarray, "n d"]) -> Sums:
    """The sums over some rows, in float64."""
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    square = np.einsum("ij,ij->i", centred, centred)
    return Sums(
        len(x),
        mean,
        centred.T @ centred,
        square @ centred,
        float(np.einsum("i,i->", square, square)),
    )


def merged(a: Sums, b: Sums) -> Sums:
    """Adds two sums: as if taken over the rows of both, up to rounding.

    References:
        Chan, Golub & LeVeque, *Updating formulae and a pairwise algorithm for computing sample
        variances*, 1979; the third and fourth moments likewise.
    """
    if not a.n or not b.n:
        return a if a.n else b
    n = a.n + b.n
    mean = a.mean + (b.mean - a.mean) * (b.n / n)
    (s, t, q), (u, v, w) = _about(a, mean), _about(b, mean)
    return Sums(n, mean, s + u, t + v, q + w)


def gather(
    x: Num[np.ndarray, "n d"] | Stacked,
    part: Int[np.ndarray, " n"],
    parts: int,
    unit: float = 1.0,
    progress: Callable[[int], None] | None = None,
    see: Callable[[int, np.ndarray], None] | None = None,
) -> list[Sums]:
    """The sums of each part of the rows, in one pass.

    Args:
        x: rows of any real type, an array or one that is read a few rows at a time.
        part: which part each row is of, from 0.
        parts: their number.
        unit: what the rows are divided by; a power of two changes no digit.
        progress: called with the number of rows that are done.
        see: called with every block of rows and the place of its first.

    Raises:
        ValueError: for values that are NaN, infinite, or beyond 1e100, with the first row's place.
    """
    found = [nothing(x.shape[1]) for _ in range(parts)]
    size = max(64, _BLOCK_ENTRIES // x.shape[1])
    for start in range(0, len(x), size):
        block = np.asarray(as_floats(np.asarray(x[start : start + size])), dtype=np.float64)
        check_block(block, start, getattr(x, "name", "x"))
        of = part[start : start + len(block)]
        for k in np.unique(of):
            rows = block if (of == k).all() else block[of == k]
            found[k] = merged(found[k], sums(rows / unit))
        if see is not None:
            see(start, block)
        if progress is not None:
            progress(start + len(block))
    return found


def unit_of(x: Num[np.ndarray, "n d"] | Stacked) -> float:
    """A power of two near the largest entry of the first rows, for which fourth powers stay in range."""
    first = as_floats(np.asarray(x[: max(64, _BLOCK_ENTRIES // x.shape[1])])).astype(np.float64)
    largest = float(np.abs(first).max())
    if not 0.0 < largest <= LARGEST_ENTRY:
        return 1.0
    return float(2.0 ** np.round(np.log2(largest)))


def check_block(block: Float[np.ndarray, "m d"], start: int, name: str) -> None:
    """Refuses NaN, Inf and values beyond 1e100; `start` is the first row's place."""
    extreme = np.maximum(block.max(), -block.min())
    if extreme <= LARGEST_ENTRY:
        return
    row, column = (int(i) for i in np.argwhere(~(np.abs(block) <= LARGEST_ENTRY))[0])
    raise ValueError(
        f"{name} holds {block[row, column]} at row {start + row}, column {column} (counted from 0): "
        f"values are finite and at most {LARGEST_ENTRY:g}. Drop that row, or find what made it."
    )


def total(found: Iterable[Sums]) -> Sums:
    """All parts merged."""
    return reduce(merged, found)


def others(found: Sequence[Sums]) -> Iterator[Sums]:
    """For each part, the sums over all other parts."""
    none = nothing(len(found[0].mean))
    after = [none, *accumulate(found[:0:-1], merged)][::-1]
    before = none
    for one, rest in zip(found, after, strict=True):
        yield merged(before, rest)
        before = merged(before, one)


def _about(a: Sums, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Scatter, third and fourth sums about another centre: each row's c gets δ = mean − centre."""
    shift = a.mean - centre
    square, trace = float(shift @ shift), float(np.trace(a.scatter))
    along = a.scatter @ shift
    scatter = a.scatter + a.n * np.outer(shift, shift)
    third = a.third + trace * shift + 2.0 * along + a.n * square * shift
    fourth = (
        a.fourth
        + 4.0 * float(shift @ a.third)
        + 4.0 * float(shift @ along)
        + 2.0 * square * trace
        + a.n * square**2
    )
    return scatter, third, fourth
