"""A matrix whose rows lie in several places: shards, row groups, chunks of a store."""

import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

# Larger matrices go to a scratch file, which the system keeps in memory as far as there is room.
_IN_MEMORY_BYTES = 2**28
_BLOCK_ENTRIES = 2**20


class Part(NamedTuple):
    """Some consecutive rows of a matrix, wherever they are.

    Attributes:
        name: what errors call it.
        shape: [rows, d].
        dtype: of the values.
        read: reads rows `start` to `stop` (excluded).
        array: all rows, where they are in memory or mapped.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]
    array: np.ndarray | None = None


def part_of(x: np.ndarray, name: str) -> Part:
    """An array as a part. A mapped one is read from its file: pages once mapped would stay in memory."""
    if isinstance(x, np.memmap) and x.ndim == 2 and x.flags.c_contiguous and x.filename:
        file, dtype, offset, d = x.filename, x.dtype, x.offset, x.shape[1]

        def read(start: int, stop: int) -> np.ndarray:
            place = offset + start * d * dtype.itemsize
            rows = np.fromfile(file, dtype, count=(stop - start) * d, offset=place)
            return rows.reshape(stop - start, d)

        return Part(name, x.shape, dtype, read, x)
    return Part(name, x.shape, x.dtype, lambda start, stop: x[start:stop], x)


class Stacked:
    """Rows of several parts as one matrix that is read a few rows at a time.

    It has what `row_blocks` needs (`len`, `shape`, `dtype`, slices of rows), so that passes over it use
    as much memory as one block.

    Args:
        parts: in the order of the rows.
        name: what errors call the whole.

    Raises:
        TypeError: for values that are not real numbers.
        ValueError: for parts that are not matrices, or of different dimension; for no rows.
    """

    ndim = 2

    def __init__(self, parts: Sequence[Part], name: str):
        for part in parts:
            if len(part.shape) != 2 or 0 in part.shape[1:]:
                raise ValueError(
                    f"{part.name} has shape {tuple(part.shape)}: a shard is a matrix with one row per "
                    f"embedding. Leave this file out, or reshape it."
                )
            if part.dtype.kind not in "fiu" and part.dtype.name != "bfloat16":
                raise TypeError(
                    f"{part.name} has dtype {part.dtype}, which is not real: convert it to float32."
                )
            if part.shape[1] != parts[0].shape[1]:
                raise ValueError(
                    f"{part.name} has {part.shape[1]} coordinates and {parts[0].name} "
                    f"{parts[0].shape[1]}: the shards of one set have the same number. Name the files "
                    f"of one set only."
                )
        self.parts = [part for part in parts if part.shape[0]]
        if not self.parts:
            raise ValueError(f"{name} has no rows: give at least one shard with some.")
        self.name = name
        self.starts = np.concatenate([[0], np.cumsum([part.shape[0] for part in self.parts])])
        self.shape = (int(self.starts[-1]), int(self.parts[0].shape[1]))
        self.dtype = np.result_type(*(part.dtype for part in self.parts))
        self.size = self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Num[np.ndarray, "m d"]:
        start, stop, step = rows.indices(len(self))
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        pieces = []
        while first < len(self.parts) and self.starts[first] < stop:
            offset = int(self.starts[first])
            part = self.parts[first]
            pieces.append(part.read(max(start - offset, 0), min(stop - offset, part.shape[0])))
            first += 1
        if not pieces:
            return np.empty((0, self.shape[1]), dtype=self.dtype)
        return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces))[::step]

    def take(self, rows: Num[np.ndarray, " m"]) -> Num[np.ndarray, "m d"]:
        """The rows at these places, which ascend."""
        out = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        size = max(1, _BLOCK_ENTRIES // self.shape[1])
        done = 0
        while done < len(rows):
            start = int(rows[done])
            upto = int(np.searchsorted(rows, start + size))
            out[done:upto] = self[start : int(rows[upto - 1]) + 1][rows[done:upto] - start]
            done = upto
        return out

    def whole(self) -> Num[np.ndarray, "n d"]:
        """All rows as one array: mapped where it is one file, and in a scratch file where it is large.

        The scratch file lies in the system's temporary folder (TMPDIR) and goes when the array does.
        """
        if len(self.parts) == 1:
            part = self.parts[0]
            return part.read(0, len(self)) if part.array is None else part.array
        if self.size * self.dtype.itemsize <= _IN_MEMORY_BYTES:
            out = np.empty(self.shape, dtype=self.dtype)
        else:
            with tempfile.TemporaryFile() as scratch:
                out = np.memmap(scratch, dtype=self.dtype, mode="w+", shape=self.shape)
        size = max(1, _BLOCK_ENTRIES // self.shape[1])
        for start in range(0, len(self), size):
            out[start : start + size] = self[start : start + size]
        return out


def sample_rows(n: int, count: int | None, seed: int) -> Num[np.ndarray, " m"] | None:
    """`count` of n rows at random, ascending; None for all of them.

    Raises:
        ValueError: for a count below 8.
    """
    if count is None or count >= n:
        return None
    if count < 8:
        raise ValueError(f"sample is {count}: give at least 8 rows.")
    # Without replacement, and without the permutation of all n where few are wanted.
    return np.sort(np.random.default_rng([seed, 2]).choice(n, count, replace=False, shuffle=False))
