"""Coordinates of unit vectors as normal scores, so that tests of normality test uniform directions."""

import numpy as np
from jaxtyping import Float
from scipy.special import betainc, betaln, erfinv, ndtri, ndtri_exp

from infonce_jax.evaluation.arrays import check_embeddings, row_blocks


def normal_scores(u: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Φ⁻¹(F_d(u)): each coordinate becomes exactly N(0, 1) where u is uniform on the sphere.

    F_d is the distribution function of a coordinate of a uniform direction in R^d, whose density is
    ∝ (1 − t²)^((d−3)/2): for t ≤ 0 half the regularised incomplete beta function of 1 − t² with
    parameters (d−1)/2 and 1/2. Any test of normality then tests against the spherical marginal, at
    every d; with mean 0 and std 1 known it tests the scale too.

    Examples:
        >>> u = np.random.default_rng(0).standard_normal((1000, 3))
        >>> u /= np.linalg.norm(u, axis=1, keepdims=True)
        >>> bool(evaluation.anderson_darling(evaluation.normal_scores(u)).pvalue.min() > 0.01)
        True

    Args:
        u: unit vectors, one per row, in at least 2 dimensions.

    Returns:
        The scores, float64 and finite: a coordinate of exactly ±1 counts as the nearest double.

    Raises:
        ValueError: for rows whose length differs from 1 by more than 1e-3, or d < 2.
    """
    u = check_embeddings(u, "u", min_rows=1)
    n, d = u.shape
    if d < 2:
        raise ValueError(f"u has {d} coordinate: directions need at least 2.")
    a = 0.5 * (d - 1.0)
    out = np.empty((n, d))
    for rows, block in row_blocks(u):
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        wrong = np.flatnonzero(np.abs(norms - 1.0) > 1e-3)
        if wrong.size:
            row = rows.start + int(wrong[0])
            raise ValueError(
                f'null="sphere" is for unit vectors, but row {row} has length '
                f"{norms[wrong[0]]:.6g}: divide each row by its norm, or test against the normal."
            )
        square = block * block
        rest = np.maximum(1.0 - square, np.finfo(np.float64).tiny)
        tail = 0.5 * betainc(a, 0.5, rest)
        centre = betainc(0.5, a, square)  # keeps the digits of a small t, which 1 − t² loses
        scores = np.where(centre < 0.5, -np.sqrt(2.0) * erfinv(centre), ndtri(tail))
        # Where the tail is no normal double any more, its leading term will do.
        far = tail < 1e-290
        if far.any():
            log_tail = a * np.log(rest[far]) - np.log(2.0 * a) - betaln(a, 0.5)
            scores[far] = ndtri_exp(log_tail)
        out[rows] = np.where(block > 0, -scores, scores)
    return out
