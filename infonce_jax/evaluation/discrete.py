"""Data that a continuous law cannot have: values on a grid, and rows that repeat.

Ties alone raise A² and its relatives, so a rounded Gaussian sample would be rejected at large n for its
rounding. `quantisation` recognises the grid, and `dithered` takes it out: each value is drawn anew
within the interval that rounds to it. `distinct_rows` finds the rows that differ.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import ndtr, ndtri

from infonce_jax.evaluation.arrays import row_blocks

# Enough rows and columns to see a grid that all values share.
_ROWS, _COLUMNS, _FIRST = 4096, 64, 4
# A grid shows in at least so many levels; fewer are categories. Floats need more, since small integers
# are exact in every type.
_FEWEST_LEVELS, _FEWEST_FLOATS = 5, 32
# How far from a multiple of the step a value may lie, in steps: rounding of a scale stays below.
_OFF_GRID = 0.02
# Up to this step, in standard deviations, a uniform draw within the interval will do: the distribution
# function is then off by 3e-4 at most. Beyond the second, little of the shape is left to test.
_FINE, _COARSE = 0.1, 1.0
# Bits of the mantissa and the least exponent. The coarser type first: most of its values fit the finer.
_FLOATS = {"bfloat16": (7, -126), "float16": (10, -14)}


class Quantisation(NamedTuple):
    """The grid that all values lie on.

    Attributes:
        kind: "integer" for whole numbers, "grid" for multiples of another step, each coordinate with its
            own; "float16" or "bfloat16" for values rounded to these types, whose step grows with the
            value.
        step: the step of each coordinate; for the floating types, that of a value as large as the
            coordinate's root mean square. 0 where a coordinate has no grid or is constant.
        relative: the same in standard deviations of the coordinate.
    """

    kind: Literal["integer", "grid", "float16", "bfloat16"]
    step: Float[np.ndarray, " d"]
    relative: Float[np.ndarray, " d"]

    @property
    def typical(self) -> float:
        """The median step of the coordinates that have one, in their standard deviations."""
        return float(np.median(self.relative[self.relative > 0]))


def quantisation(z: Num[np.ndarray, "n d"]) -> Quantisation | None:
    """The grid of the values, or None where they have none.

    Judged on up to 4,096 rows spread evenly. At least 5 levels in each coordinate make a grid, and at
    least 32 make values of a floating type.

    Args:
        z: embeddings, real and finite, of integer or floating type.
    """
    sample = np.asarray(z[:: -(-len(z) // _ROWS)])
    columns = range(0, z.shape[1], -(-z.shape[1] // _COLUMNS))
    part = sample[:, columns].astype(np.float64)
    varying = part.max(axis=0) > part.min(axis=0)
    if not varying.any():
        return None
    part = part[:, varying]
    is_integer = z.dtype.kind in "iu"
    if is_integer or all(_step(part[:, j]) > 0 for j in range(min(_FIRST, part.shape[1]))):
        steps = np.array([_step(sample[:, j].astype(np.float64)) for j in range(z.shape[1])])
        if is_integer:
            steps = np.where(steps > 0, steps, 1.0)
            steps[sample.max(axis=0) == sample.min(axis=0)] = 0.0
        has_grid = steps > 0
        if np.mean(has_grid[sample.max(axis=0) > sample.min(axis=0)]) > 0.95:
            whole = bool(np.all(steps[has_grid] == 1.0))
            return _described("integer" if whole or is_integer else "grid", steps, z)
        return None
    for kind in _FLOATS:
        if len(np.unique(part)) >= _FEWEST_FLOATS and np.array_equal(_rounded(part, kind), part):
            size = np.sqrt(np.mean(np.square(sample, dtype=np.float64), axis=0))
            steps = np.where(sample.max(axis=0) > sample.min(axis=0), _ulp(size, kind), 0.0)
            return _described(kind, steps, z)
    return None


def dithered(
    z: Float[np.ndarray, "n d"], grid: Quantisation, *, seed: int = 0
) -> Float[np.ndarray, "n d"]:
    """Replaces each value by a random one from the interval that rounds to it.

    Up to a tenth of a standard deviation the draw is uniform over one step. For coarser grids it has the
    law of a normal variable within the interval, with the coordinate's mean and its variance less
    step²/12 (Sheppard), so that a normal variable that was rounded becomes normal again. Coordinates
    whose step is larger than their standard deviation, constant ones and, in the floating types, zeros
    stay as they are.

    Args:
        z: embeddings, one per row.
        grid: as `quantisation` found it.
        seed: of the draws.

    References:
        Dunn & Smyth, *Randomized quantile residuals*, J. Comput. Graph. Statist. 5, 1996.
    """
    rng = np.random.default_rng([seed, 1])
    out = np.empty(z.shape, dtype=np.float32 if grid.kind in _FLOATS else np.float64)
    step = np.where(grid.relative <= _COARSE, grid.step, 0.0)
    coarse = np.flatnonzero((grid.relative > _FINE) & (step > 0))
    mean, spread = _location_and_spread(z)
    latent = np.sqrt(np.maximum(spread**2 - step**2 / 12.0, 0.0))
    for rows, block in row_blocks(z):
        draws = rng.random(block.shape)
        if grid.kind in _FLOATS:
            width = np.where((step > 0) & (block != 0), _ulp(block, grid.kind), 0.0)
        else:
            width = step
        if len(coarse):
            centre = (block[:, coarse] - mean[coarse]) / latent[coarse]
            half = 0.5 * step[coarse] / latent[coarse]
            # In the lower tail, where Φ keeps its digits.
            sign = np.where(centre > 0, -1.0, 1.0)
            low, high = ndtr(sign * centre - half), ndtr(sign * centre + half)
            score = sign * ndtri(low + draws[:, coarse] * (high - low))
        found = block + (draws - 0.5) * width
        if len(coarse):
            found[:, coarse] = np.where(
                np.isfinite(score), mean[coarse] + latent[coarse] * score, found[:, coarse]
            )
        out[rows] = found
    return out


def distinct_rows(z: np.ndarray) -> np.ndarray:
    """The places of the rows that differ, each at its first occurrence; rows of zeros all count.

    Args:
        z: embeddings, one per row.
    """
    n = len(z)
    # Most data differ in their first 8 bytes already; only rows that agree there are read whole.
    few = np.ascontiguousarray(z[:, : max(1, 8 // z.dtype.itemsize)]).view(np.uint8).reshape(n, -1)
    key = np.zeros((n, 8), dtype=np.uint8)
    key[:, : few.shape[1]] = few
    key = key.view(np.uint64)[:, 0]
    ordered = np.sort(key)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.arange(n)
    suspects = np.flatnonzero(np.isin(key, twice))
    seen: set[tuple[int, int]] = set()
    kept = np.ones(n, dtype=bool)
    for i in suspects.tolist():
        row = np.asarray(z[i])
        text = row.tobytes()
        # Two independent 64-bit hashes; a row of 0.0 and one of -0.0 count as two.
        mark = (hash(text), hash(text[::-1]))
        if mark in seen and row.any():
            kept[i] = False
        seen.add(mark)
    return np.flatnonzero(kept)


def expected_repeats(n: int, relative_step: Float[np.ndarray, " d"]) -> float:
    """How many pairs of equal rows chance gives: independent normal coordinates of these steps.

    A coordinate of step h σ takes the same value twice with probability h/(2√π), nearly.
    """
    varying = relative_step[relative_step > 0]
    log_equal = np.sum(np.log(np.minimum(varying / (2.0 * np.sqrt(np.pi)), 1.0)))
    return float(0.5 * n * n * np.exp(log_equal))


def _described(kind: str, steps: np.ndarray, z: np.ndarray) -> Quantisation:
    _, spread = _location_and_spread(z)
    return Quantisation(
        kind, steps, np.where(spread > 0, steps / np.where(spread > 0, spread, 1), 0)
    )


def _location_and_spread(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = sum((block.sum(axis=0) for _, block in row_blocks(z)), np.zeros(z.shape[1])) / len(z)
    square = sum(
        (np.square(block - mean).sum(axis=0) for _, block in row_blocks(z)), np.zeros(z.shape[1])
    )
    return mean, np.sqrt(square / len(z))


def _step(column: Float[np.ndarray, " n"]) -> float:
    """The step of the grid that a column lies on, or 0."""
    levels = np.unique(column)
    if len(levels) < _FEWEST_LEVELS or len(levels) > 0.9 * len(column):
        return 0.0
    gaps = np.diff(levels)
    place = np.concatenate([[0.0], np.cumsum(np.rint(gaps / gaps.min()))])
    offset = levels - levels[0]
    step = float(place @ offset / (place @ place))
    on_grid = np.abs(offset - step * place).max() <= _OFF_GRID * step
    # A grid that 0 is no point of would be one of a shifted scale; the step is what counts.
    return float(np.rint(step)) if on_grid and abs(step - np.rint(step)) < 1e-9 else step * on_grid


def _rounded(x: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        if kind == "float16":
            return x.astype(np.float16).astype(np.float64)
        single = x.astype(np.float32)
        # Values that differ from their first 16 bits are none of bfloat16.
        exact = (single.view(np.uint32) & 0xFFFF) == 0
        return np.where(exact & (single == x), x, np.nan)


def _ulp(x: np.ndarray, kind: str) -> np.ndarray:
    bits, least = _FLOATS[kind]
    _, exponent = np.frexp(np.abs(x))
    return np.ldexp(1.0, np.maximum(exponent - 1, least) - bits)
