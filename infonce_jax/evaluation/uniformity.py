"""Alignment of positive pairs and uniformity of the directions u = z/‖z‖ on the sphere.

A row of zeros has no direction: it is left out of every statistic here. `zero_rows` counts them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation.arrays import (
    BLOCK_ENTRIES,
    check_embeddings,
    directions,
    gram_square_norm,
    row_blocks,
    row_norms,
)


class NegativeCosines(NamedTuple):
    """Mean and standard deviation (ddof = 0) of the cosines of all pairs of different rows."""

    mean: float
    std: float


def zero_rows(z: Float[np.ndarray, "n d"]) -> int:
    """The number of rows of `z` that are zero in every coordinate.

    Examples:
        >>> evaluation.zero_rows(np.array([[0.0, 0.0], [1.0, 2.0]]))
        1
    """
    return int(np.sum(row_norms(check_embeddings(z, "z", min_rows=1)) == 0))


def cosines(
    view1: Float[np.ndarray, "n d"], view2: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """The cosine of row i of one array with row i of the other, uᵢ·vᵢ.

    With two views of the same samples these are the cosines of the positive pairs. With one view
    rolled, `cosines(view1, np.roll(view2, 1, axis=0))`, they are a sample of those of negative pairs.

    Examples:
        >>> evaluation.cosines(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]]))
        array([0.6])

    Args:
        view1: embeddings, one per row.
        view2: as many others of the same dimension.

    Returns:
        [n] numbers in [−1, 1], up to rounding; NaN where either row is zero.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for shapes that differ, for arrays that are not 2-d or hold NaN or Inf.
    """
    view1 = check_embeddings(view1, "view1", min_rows=1)
    view2 = check_embeddings(view2, "view2", min_rows=1)
    if view1.shape != view2.shape:
        raise ValueError(
            f"view1 has shape {view1.shape} and view2 {view2.shape}: row i of both must embed two "
            f"views of the same sample, so the shapes must be equal."
        )
    out = np.full(len(view1), np.nan)
    for (rows, a), (_, b) in zip(row_blocks(view1), row_blocks(view2), strict=True):
        # Dividing by each norm, not by their product, keeps the smallest rows from underflowing.
        norms_a, norms_b = row_norms(a), row_norms(b)
        kept = (norms_a > 0) & (norms_b > 0)
        u, v = a[kept] / norms_a[kept, None], b[kept] / norms_b[kept, None]
        out[rows][kept] = np.einsum("ij,ij->i", u, v)
    return out


def alignment(view1: Float[np.ndarray, "n d"], view2: Float[np.ndarray, "n d"]) -> float:
    """Mean cosine of positive pairs, (1/n) Σᵢ uᵢ·vᵢ, with u and v the directions of two views.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((100, 8))
        >>> round(evaluation.alignment(z, z), 6)
        1.0

    Args:
        view1: embeddings of one view of each of n samples.
        view2: embeddings of another view of the same samples, in the same order.

    Returns:
        A number in [−1, 1]; pairs with a row of zeros are left out, NaN if none remains.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for shapes that differ, for arrays that are not 2-d or hold NaN or Inf.
    """
    found = cosines(view1, view2)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else float("nan")


def negative_cosines(z: Float[np.ndarray, "n d"]) -> NegativeCosines:
    """Mean and standard deviation of the cosine uᵢ·uⱼ over all pairs i ≠ j, exactly.

    With m unit vectors, S their sum and U the matrix of them,

        Σ_{i≠j} uᵢ·uⱼ = ‖S‖² − m,      Σ_{i≠j} (uᵢ·uⱼ)² = ‖UᵀU‖²_F − m,

    so no n × n array is built, except where n < d. For directions uniform on the sphere the mean is
    0 and the standard deviation 1/√d. As a difference of two sums the standard deviation is exact
    to about 1e-8, which is coarse only where all directions agree.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 64))
        >>> round(evaluation.negative_cosines(z).std, 3), 1 / 64**0.5
        (0.125, 0.125)

    Args:
        z: embeddings, one per row, normalised or not.

    Returns:
        The mean and the standard deviation; NaN with fewer than 2 rows that are not zero.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an array that is not 2-d, has fewer than 2 rows, or holds NaN or Inf.
    """
    u = directions(check_embeddings(z, "z", min_rows=2))
    m = len(u)
    if m < 2:
        return NegativeCosines(float("nan"), float("nan"))
    total = u.sum(axis=0)
    mean = float((total @ total - m) / (m * (m - 1)))
    mean_square = (gram_square_norm(u) - m) / (m * (m - 1))
    return NegativeCosines(mean, float(np.sqrt(max(mean_square - mean**2, 0.0))))


def mean_resultant(z: Float[np.ndarray, "n d"]) -> float:
    """‖m(μ)‖, the norm of the mean direction: 0 on a centred law, 1 where all directions agree.

    For n directions uniform on the sphere it is about 1/√n.

    Examples:
        >>> round(evaluation.mean_resultant(np.array([[1.0, 0.0], [0.0, 1.0]])), 4)
        0.7071

    Args:
        z: embeddings, one per row, normalised or not.

    Returns:
        A number in [0, 1]; NaN if all rows are zero.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an array that is not 2-d, is empty, or holds NaN or Inf.
    """
    u = directions(check_embeddings(z, "z", min_rows=1))
    return float(np.linalg.norm(u.mean(axis=0))) if len(u) else float("nan")


def uniformity_potential(z: Float[np.ndarray, "n d"], alpha: float) -> float:
    """Φ(μ) = E_u log E_v exp(α u·v), estimated over all pairs of different rows.

    (1/n) Σᵢ log[ (1/(n−1)) Σ_{j≠i} exp(α uᵢ·uⱼ) ], in blocks of rows: time n² d, memory n per row of
    a block. The uniform law on the sphere is its unique minimiser (Lemma 2 of the paper). Leaving
    j = i out keeps each inner mean unbiased; a pair with itself would add exp(α)/n.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 64))
        >>> round(evaluation.uniformity_potential(z, 5.0), 2), round(float(theory.phi_sigma(64, 5.0)), 2)
        (0.19, 0.19)

    Args:
        z: embeddings, one per row, normalised or not.
        alpha: inverse temperature α = 1/τ, positive.

    Returns:
        The potential; NaN with fewer than 2 rows that are not zero.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for α that is not positive and finite; for an array that is not 2-d, has fewer
            than 2 rows, or holds NaN or Inf.
    """
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(
            f"alpha is {alpha}; the inverse temperature 1/τ must be positive and finite."
        )
    u = directions(check_embeddings(z, "z", min_rows=2))
    m = len(u)
    if m < 2:
        return float("nan")
    return float(row_potentials(u, alpha).mean())


def row_potentials(u: Float[np.ndarray, "m d"], alpha: float) -> Float[np.ndarray, " m"]:
    """log[ (1/(m−1)) Σ_{j≠i} exp(α uᵢ·uⱼ) ] for each of m ≥ 2 unit vectors, in blocks of rows."""
    m = len(u)
    size = max(1, 8 * BLOCK_ENTRIES // m)
    out = np.empty(m)
    for start in range(0, m, size):
        scores = alpha * (u[start : start + size] @ u.T)
        local = np.arange(len(scores))
        scores[local, start + local] = -np.inf
        # A fixed shift by α would underflow at small temperatures; the row's maximum cannot.
        peak = scores.max(axis=1)
        scores -= peak[:, None]
        out[start + local] = peak + np.log(np.exp(scores, out=scores).sum(axis=1) / (m - 1))
    return out
