"""The representations that are tested: maps of an embedding matrix to another."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

from infonce_jax.evaluation import normality
from infonce_jax.evaluation.arrays import MIN_ROWS, directions, gram, row_blocks

REPRESENTATIONS = {
    "raw": "z as it is",
    "normalized": "z/|z|",
    "spherical": "z/|z|, each coordinate mapped so that the exact law of a uniform direction's "
    "coordinate becomes the normal one",
    "principal": "z along its principal axes, the largest variance first",
    "projected": "z along as many random directions as it has coordinates",
}
DEFAULT_REPRESENTATIONS = ("raw", "normalized")


def _normalized(z: Float[np.ndarray, "n d"], name: str) -> Float[np.ndarray, "m d"]:
    u = directions(z)
    if len(u) < MIN_ROWS:
        raise ValueError(
            f"{name} has {len(u)} rows that are not all zeros in a sample of {len(z)}; rows of "
            f"zeros have no direction, and at least {MIN_ROWS} others are needed to test the "
            f"normalised representation. Drop the rows of zeros, or evaluate raw only."
        )
    return u


def _along(z: Float[np.ndarray, "n d"], axes: Float[np.ndarray, "d k"]) -> np.ndarray:
    out = np.empty((len(z), axes.shape[1]))
    for rows, block in row_blocks(z):
        out[rows] = block @ axes
    return out


def _principal(z: Float[np.ndarray, "n d"], name: str) -> Float[np.ndarray, "n k"]:
    mean, variances, axes = principal_axes(z)
    if not len(variances):
        raise ValueError(
            f"all rows of {name} are equal: they have no principal axes to test along."
        )
    # Of fewer rows than coordinates, `gram` has the axes in the space of the rows.
    return axes * np.sqrt(variances) if len(z) <= z.shape[1] else _along(z, axes) - mean @ axes


def principal_axes(z: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, and n times the variances along the axes that have more than rounding, and these."""
    n, d = z.shape
    mean, square = np.zeros((2, d))
    for _, block in row_blocks(z):
        mean += block.sum(axis=0)
        square += np.einsum("ij,ij->j", block, block)
    mean /= n
    variances, axes = eigh(gram(z, mean))
    variances, axes = variances[::-1], axes[:, ::-1]
    # Rounding of the sums, which are float64, and of sums over d that made the entries.
    rounding = max(n, d) * np.finfo(np.float64).eps * variances[0]
    rounding += d * float(np.finfo(z.dtype).eps) ** 2 * square.max()
    # Centring takes one direction from n rows.
    kept = min(n - 1, d, int(np.sum(variances > max(rounding, 0.0))))
    return mean, variances[:kept], axes[:, :kept]


def _projected(z: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n d"]:
    d = z.shape[1]
    axes = np.random.default_rng([seed, d]).standard_normal((d, d))
    return _along(z, axes / np.linalg.norm(axes, axis=0))


MAPS: dict[str, Callable[[np.ndarray, str, int], np.ndarray]] = {
    "normalized": lambda z, name, seed: _normalized(z, name),
    "spherical": lambda z, name, seed: normality.normal_scores(_normalized(z, name)),
    "principal": lambda z, name, seed: _principal(z, name),
    "projected": lambda z, name, seed: _projected(z, seed),
}
