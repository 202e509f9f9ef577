"""Concentration of the norms, and the anisotropy that explains part of it."""

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation.arrays import check_embeddings, gram_square_norm, row_blocks, row_norms


def norm_cv(z: Float[np.ndarray, "n d"]) -> float:
    """Coefficient of variation of the norms, std(‖zᵢ‖) / mean(‖zᵢ‖), with ddof = 0.

    Small where the embeddings fill a thin shell; 1/√(2d), nearly, for N(0, σ²I_d). An anisotropic
    Gaussian has a larger one: compare with `norm_cv_gaussian`.

    Args:
        z: embeddings before any normalisation, one per row; rows of zeros count with norm 0.

    Returns:
        The coefficient of variation; NaN if all rows are zero.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an array that is not 2-d, has fewer than 2 rows, or holds NaN or Inf.
    """
    norms = row_norms(check_embeddings(z, "z", min_rows=2))
    mean = norms.mean()
    return float(norms.std() / mean) if mean > 0 else float("nan")


def participation_ratio(z: Float[np.ndarray, "n d"]) -> float:
    """PR = (tr C)² / tr C², with C the covariance of `z`: how many directions carry the variance.

    From 1 (all of it on a line) to d (isotropic); at most n − 1 from a sample of n rows. No
    eigenvalues are needed: tr C² = ‖C‖²_F.

    Args:
        z: embeddings, one per row.

    Returns:
        The participation ratio; NaN if all rows are equal.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an array that is not 2-d, has fewer than 2 rows, or holds NaN or Inf.
    """
    z = check_embeddings(z, "z", min_rows=2)
    n, d = z.shape
    mean = sum((block.sum(axis=0) for _, block in row_blocks(z)), np.zeros(d)) / n
    # A second pass takes out the mean's own rounding, as far from 0 as the embeddings may lie.
    mean += sum(((block - mean).sum(axis=0) for _, block in row_blocks(z)), np.zeros(d)) / n
    trace = sum(float(np.square(block - mean).sum()) for _, block in row_blocks(z))
    if np.sqrt(trace / n) <= np.finfo(z.dtype).eps * np.linalg.norm(mean):
        return float("nan")
    return trace**2 / gram_square_norm(z, shift=mean)


def norm_cv_gaussian(participation_ratio: float) -> float:
    """1/√(2 PR): the norm CV of a centred Gaussian with this participation ratio, for PR ≫ 1.

    ‖z‖² has mean tr C and variance 2 tr C² for z ~ N(0, C), so its CV is √(2/PR), and that of ‖z‖
    half of it to first order.

    Args:
        participation_ratio: as `participation_ratio` gives it.
    """
    return float(1.0 / np.sqrt(2.0 * participation_ratio))
