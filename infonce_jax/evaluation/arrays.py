"""What every statistic needs first: a checked array, and passes over it in blocks.

Every check here names the array, the sizes or values found, and the remedy. Arrays stay in the
floating type they came in (memory-mapped ones stay mapped); blocks are float64.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Num
from numpy.typing import ArrayLike

from infonce_jax.evaluation.stacked import Stacked

MIN_ROWS = 8
# Squares of entries beyond this leave float64's range once summed and squared again.
LARGEST_ENTRY = 1e100
# Blocks of this many entries keep a pass's temporaries near 10 MiB, whatever the array's size.
BLOCK_ENTRIES = 2**18
COLUMN_ENTRIES = 2**15


def check_embeddings(
    x: ArrayLike, name: str = "x", *, min_rows: int = MIN_ROWS
) -> Float[np.ndarray, "n d"]:
    """Returns `x` as a finite float32 or float64 matrix, or says what is wrong with it.

    float16 and bfloat16 become float32, which holds their values exactly.

    Args:
        x: anything NumPy reads as an array, one row per embedding, one column per coordinate.
        name: what to call it in an error: a variable or a file.
        min_rows: the fewest rows the caller can use.

    Raises:
        TypeError: for integers, booleans, complex numbers, objects, text and masked arrays.
        ValueError: for an array that is not a matrix, has too few rows or no columns, holds NaN or
            Inf (with their number and the first one's row and column), or values beyond 1e100.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, and the tests know nothing of masks: pass the complete "
            f"rows only, x[~np.ma.getmaskarray(x).any(axis=1)].data."
        )
    x = _as_float(np.asarray(x), name)
    if x.ndim != 2:
        remedy = (
            "pass x[:, None] to test it as a single coordinate"
            if x.ndim == 1
            else "reshape it to one row per embedding, for instance x.reshape(-1, x.shape[-1])"
        )
        raise ValueError(
            f"{name} is {x.ndim}-dimensional, with shape {x.shape}; the tests take a matrix with "
            f"one row per embedding and one column per coordinate: {remedy}."
        )
    rows, columns = x.shape
    if columns == 0:
        raise ValueError(
            f"{name} has shape {x.shape}: no coordinates to test. Give at least one column."
        )
    if rows < min_rows:
        raise ValueError(
            f"{name} has {rows} rows of {columns} coordinates; at least {min_rows} rows are "
            f"needed. Give more embeddings, or the transpose if rows and columns are swapped."
        )
    _check_entries(x, name)
    return x


def _as_float(x: np.ndarray, name: str) -> np.ndarray:
    dtype = x.dtype
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return x.astype(dtype.newbyteorder("="), copy=False)
    if dtype == np.float16 or dtype.name == "bfloat16":
        return x.astype(np.float32)
    if dtype.kind == "f":
        return x.astype(np.float64)
    if dtype.kind in "iub":
        raise TypeError(
            f"{name} has dtype {dtype}: such values are full of ties, for which tests against a "
            f"continuous law are not made. `evaluate` and `evaluate_arrays` dither whole numbers "
            f"first; here, cast them on purpose: x.astype(np.float64)."
        )
    if dtype.kind == "c":
        raise TypeError(
            f"{name} has complex dtype {dtype}: test its parts as real coordinates, "
            f"np.concatenate([x.real, x.imag], axis=1)."
        )
    if dtype.kind == "V" and dtype.itemsize == 2:
        raise TypeError(
            f"{name} has dtype {dtype}, raw bytes: .npy files cannot name bfloat16. If that is what "
            f"it holds, x.view(ml_dtypes.bfloat16).astype(np.float32) gives the numbers back."
        )
    raise TypeError(
        f"{name} has dtype {dtype}, which is not a real floating type: convert it to float32 or "
        f"float64 first."
    )


def as_floats(x: np.ndarray) -> np.ndarray:
    """Whole numbers as floats; float32 holds those of 16 bits, and everything else stays as it is."""
    if x.dtype.kind not in "iu":
        return x
    return x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)


def _check_entries(x: np.ndarray, name: str) -> None:
    bad, first, largest = 0, None, 0.0
    for rows, block in row_blocks(x, dtype=x.dtype):
        # One reduction tells both: a NaN or an Inf anywhere makes the block's extremes so.
        extreme = float(np.maximum(block.max(), -block.min()))
        if np.isfinite(extreme):
            largest = max(largest, extreme)
            continue
        wrong = ~np.isfinite(block)
        bad += int(wrong.sum())
        if first is None:
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            first = (rows.start + row, column, float(block[row, column]))
    if first is not None:
        row, column, value = first
        raise ValueError(
            f"{name} holds {bad} values that are NaN or infinite among {x.size}; the first is "
            f"{value} at row {row}, column {column} (counted from 0). Drop those rows, "
            f"x[np.isfinite(x).all(axis=1)], or find what made them."
        )
    if largest > LARGEST_ENTRY:
        raise ValueError(
            f"{name} has entries as large as {largest:.3g}, whose powers leave float64's range. No "
            f"statistic here depends on the scale: divide by np.abs(x).max() first."
        )


def row_blocks(
    x: Num[np.ndarray, "n d"] | Stacked,
    *,
    dtype: np.dtype | type = np.float64,
    least_rows: int = 64,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (rows, x[rows] in `dtype`), a few rows at a time, so that mapped files stay on disk."""
    size = max(least_rows, BLOCK_ENTRIES // x.shape[1])
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        yield rows, np.asarray(x[rows], dtype=dtype, order="C")


def map_columns(x: Float[np.ndarray, "n d"], compute: Callable[[slice, np.ndarray], None]) -> None:
    """Calls `compute(columns, block)` on contiguous copies [columns, n] in x's type, in threads.

    Each coordinate lies along the fast axis, where sorting and summing are several times faster.
    Sorting and ufuncs release the interpreter lock, so that a thread for each core keeps it busy.

    Args:
        x: a checked array; a memory-mapped one is read a few columns at a time.
        compute: stores what it finds; called for disjoint ranges of columns, each once, at a time
            and in any order.
    """
    n, d = x.shape
    cores = os.cpu_count() or 1
    # Fewer columns than a cache line holds would read every line of x again for each copy.
    wide = max(min(16, -(-d // cores)), COLUMN_ENTRIES // n)
    # A quarter of a megabyte for each temporary keeps them in a core's own cache.
    narrow = max(1, COLUMN_ENTRIES // n)

    def copy_and_compute(start: int) -> None:
        block = np.array(x[:, start : start + wide].T, order="C")
        for offset in range(0, len(block), narrow):
            part = block[offset : offset + narrow]
            compute(slice(start + offset, start + offset + len(part)), part)

    starts = range(0, d, wide)
    workers = min(len(starts), cores)
    if workers == 1:
        for start in starts:
            copy_and_compute(start)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(copy_and_compute, starts):
            pass


def row_norms(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """The Euclidean norm of each row, in float64."""
    norms = np.empty(len(x))
    for rows, block in row_blocks(x):
        norms[rows] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return norms


def directions(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """The rows of `x` divided by their norms, in float64; rows of zeros have none and are left out.

    Args:
        x: embeddings, one per row.

    Returns:
        Unit vectors, as many as `x` has rows that are not zero, in the same order.
    """
    norms = row_norms(x)
    kept = norms > 0
    if kept.all():
        return x / norms[:, None]
    return x[kept] / norms[kept, None]


def gram_square_norm(
    x: Float[np.ndarray, "n d"], shift: Float[np.ndarray, " d"] | float = 0.0
) -> float:
    """‖YᵀY‖²_F for Y = x − shift: the sum over all pairs of rows of their squared inner product.

    Summed through YᵀY [d, d] over blocks of rows, or through YYᵀ [n, n] where there are fewer rows
    than columns; so the memory needed is the square of the smaller side.
    """
    products = gram(x, shift)
    return float(np.einsum("ij,ij->", products, products))


def gram(
    x: Float[np.ndarray, "n d"], shift: Float[np.ndarray, " d"] | float = 0.0
) -> Float[np.ndarray, "k k"]:
    """YᵀY [d, d] for Y = x − shift, summed over blocks of rows; YYᵀ [n, n] where n ≤ d."""
    n, d = x.shape
    if n <= d:
        centred = np.asarray(x, dtype=np.float64) - shift
        return centred @ centred.T
    products = np.zeros((d, d))
    # Blocks as high as they are wide: adding up [d, d] products would take longer than making them.
    for _, block in row_blocks(x, least_rows=d):
        centred = block - shift
        products += centred.T @ centred
    return products
