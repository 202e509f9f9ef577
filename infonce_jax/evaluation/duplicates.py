"""Coordinates that are copies of others."""

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation.arrays import BLOCK_ENTRIES, check_embeddings, row_blocks

_SKETCHES = 64
# Copies whose mean is a thousand standard deviations away agree to this much in float32.
_CANDIDATE = 0.9999
# A float computed in a few roundings is off by at most so many of its own.
_ROUNDINGS = 16.0


def duplicate_coordinates(x: Float[np.ndarray, "n d"]) -> list[tuple[int, ...]]:
    """Groups of coordinates that are equal up to rounding, sign, shift and scale.

    Coordinate j is a copy of i where the root mean square of xⱼ − a − b xᵢ over all rows is at most
    16 ε (rms xⱼ + |b| rms xᵢ), ε that of x's own type. All d² pairs are first compared on 64 random
    sums of the rows, where copies are copies too. At most d pairs are then compared on all rows.
    Near duplicates, which differ by more than rounding, are not counted here: `whitening.fit` names
    them.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((500, 3))
        >>> evaluation.duplicate_coordinates(np.column_stack([z, z[:, 0]]))
        [(0, 3)]

    Args:
        x: embeddings, one per row, at least 8; a memory-mapped array is read a few rows at a time.

    Returns:
        The groups, each in increasing order, by their first coordinate. Constant coordinates are in
        none.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    x = check_embeddings(x)
    n, d = x.shape
    eps = float(np.finfo(x.dtype).eps)
    rng = np.random.default_rng(0)
    mean, ones, sketch = np.zeros(d), np.zeros(_SKETCHES), np.zeros((_SKETCHES, d))
    for _, block in row_blocks(x):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (_SKETCHES, len(block)), dtype=np.int8)
        mean += block.sum(axis=0)
        ones += signs.sum(axis=1)
        sketch += signs @ block
    mean /= n
    sketch -= np.outer(ones, mean)
    length = np.sqrt(np.einsum("ij,ij->j", sketch, sketch))
    varies = length > _ROUNDINGS * eps * np.sqrt(n * _SKETCHES) * np.abs(mean)
    unit = np.where(varies, sketch, 0.0) / np.where(varies, length, 1.0)
    copies, originals = _candidates(unit)
    if not len(copies):
        return []
    slope = np.einsum("ij,ij->j", sketch[:, copies], sketch[:, originals]) / length[originals] ** 2
    residual, of_copy, of_original = np.zeros((3, len(copies)))
    for _, block in row_blocks(x):
        copy, original = block[:, copies], block[:, originals]
        of_copy += np.einsum("ij,ij->j", copy, copy)
        of_original += np.einsum("ij,ij->j", original, original)
        copy -= mean[copies]
        copy -= slope * (original - mean[originals])
        residual += np.einsum("ij,ij->j", copy, copy)
    size = np.sqrt(of_copy) + np.abs(slope) * np.sqrt(of_original)
    first = np.arange(d)
    equal = np.sqrt(residual) <= _ROUNDINGS * eps * size
    for j, i in zip(copies[equal], originals[equal], strict=True):
        first[j] = first[i]
    groups: dict[int, list[int]] = {}
    for j, i in enumerate(first.tolist()):
        groups.setdefault(i, []).append(j)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _candidates(unit: Float[np.ndarray, "k d"]) -> tuple[np.ndarray, np.ndarray]:
    """Each column that is nearly parallel to an earlier one, and the most parallel of these."""
    d = unit.shape[1]
    copies, originals = [], []
    size = max(1, 8 * BLOCK_ENTRIES // d)
    for start in range(0, d, size):
        columns = np.arange(start, min(start + size, d))
        cosine = np.abs(unit[:, columns].T @ unit[:, : columns[-1] + 1])
        cosine[np.arange(columns[-1] + 1) >= columns[:, None]] = 0.0
        nearest = cosine.argmax(axis=1)
        found = cosine[np.arange(len(columns)), nearest] > _CANDIDATE
        copies.append(columns[found])
        originals.append(nearest[found])
    return np.concatenate(copies), np.concatenate(originals)
