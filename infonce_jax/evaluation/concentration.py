"""Concentration of the norms, and the anisotropy that explains part of it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from infonce_jax.evaluation.arrays import check_embeddings, gram_square_norm, row_blocks, row_norms

# Below this norm CV all rows count as having the same norm: rounding to bfloat16 stays below, and an
# isotropic Gaussian would need more than 100,000 dimensions.
EQUAL_NORMS = 2e-3


def norm_cv(z: Float[np.ndarray, "n d"]) -> float:
    """Coefficient of variation of the norms, std(‖zᵢ‖) / mean(‖zᵢ‖), with ddof = 0.

    Small where the embeddings fill a thin shell; 1/√(2d), nearly, for N(0, σ²I_d). An anisotropic
    Gaussian has a larger one: compare with `norm_cv_gaussian`.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((5000, 128))
        >>> round(evaluation.norm_cv(z), 3), round(1 / (2 * 128) ** 0.5, 3)
        (0.061, 0.062)

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

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((5000, 4)) * np.array([1, 1, 0, 0])
        >>> round(evaluation.participation_ratio(z), 2)
        2.0

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

    Examples:
        >>> evaluation.norm_cv_gaussian(50.0)
        0.1

    Args:
        participation_ratio: as `participation_ratio` gives it.
    """
    return float(1.0 / np.sqrt(2.0 * participation_ratio))


class Shell(NamedTuple):
    """The spread of the norms beside that of a Gaussian with the same mean and covariance.

    Attributes:
        cv: `norm_cv`.
        cv_se: its standard error.
        expected: the norm CV of the Gaussian.
        log_ratio_se: the standard error of log(cv / expected).
        null_log_ratio_se: what it is for a Gaussian.
    """

    cv: float
    cv_se: float
    expected: float
    log_ratio_se: float
    null_log_ratio_se: float


def shell(z: Float[np.ndarray, "n d"], eigenvalues: Float[np.ndarray, " k"]) -> Shell:
    """Compares the norms with those of a Gaussian of the same mean m and covariance C.

    Its ‖z‖² has mean μ = tr C + ‖m‖² and variance v = 2 tr C² + 4 mᵀC m. The expected CV is that of the
    root of a gamma variable with these two moments, times what the exact law of a centred Gaussian
    changes in it, to the power (tr C/μ)². It is exact for centred Gaussians, and tends to 1/√(2 PR)
    for those of large participation ratio. tr C² and mᵀC m are estimated without bias, so that it
    holds with fewer rows than coordinates too.

    Args:
        z: embeddings, one per row, at least 8.
        eigenvalues: of their covariance (ddof = 1), as `shape.spectrum` gives them.

    Returns:
        The numbers; NaN where all rows are zero, or equal.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    z = check_embeddings(z, "z")
    n, d = z.shape
    norms, total = row_norms(z), float(eigenvalues.sum())
    if not norms.mean() > 0 or not total > 0:
        return Shell(*[float("nan")] * 5)
    # In units of √tr C, so that fourth powers stay within float64's range.
    unit = np.sqrt(total)
    norms, eigenvalues, total = norms / unit, eigenvalues / total, 1.0
    mean, spread, squares = float(norms.mean()), float(norms.std()), float(np.sum(eigenvalues**2))
    off = norms - mean
    influence = (off**2 - spread**2) / (2.0 * mean * max(spread, 1e-300)) - spread * off / mean**2
    cv, cv_se = spread / mean, float(influence.std() / np.sqrt(n))
    # Unbiased for Gaussian rows; at least its value for an isotropic covariance.
    square = (n - 1.0) ** 2 / ((n - 2.0) * (n + 1.0)) * (squares - total**2 / (n - 1.0))
    square = max(square, total**2 / d)
    centre = sum((block.sum(axis=0) / unit for _, block in row_blocks(z)), np.zeros(d)) / n
    along = np.concatenate([block @ (centre / unit) for _, block in row_blocks(z)])
    tilt = max(float(along.var(ddof=1)) - square / n, 0.0)
    mean_square = float(np.mean(norms**2))
    expected = _root_gamma_cv(mean_square**2 / (2.0 * square + 4.0 * tilt))
    of_gamma = _root_gamma_cv(total**2 / (2.0 * squares))
    expected *= (_centred_norm_cv(eigenvalues) / of_gamma) ** (min(total / mean_square, 1.0) ** 2)
    # The estimate of tr C² has this relative variance, of which the CV gets a quarter.
    known = 8.0 * float(np.sum(eigenvalues**4)) / (n * squares**2) + 4.0 / n**2
    null = np.sqrt(0.5 / n + expected**2 / n + 0.25 * known)
    error = np.sqrt((cv_se / cv) ** 2 + 0.25 * known) if cv > 0 else float("nan")
    return Shell(cv, cv_se, expected, float(error), float(null))


def _root_gamma_cv(shape: float) -> float:
    """The coefficient of variation of √G, G gamma with this shape."""
    if shape > 100.0:
        # 1 − (Γ(k + ½)/Γ(k))²/k, whose next term is of order k⁻⁵.
        x = 1.0 / shape
        lost = x / 4.0 - x**2 / 32.0 - x**3 / 128.0 + 5.0 * x**4 / 2048.0
        return float(np.sqrt(lost / (1.0 - lost)))
    log_mean = gammaln(shape + 0.5) - gammaln(shape)
    return float(np.sqrt(np.expm1(np.log(shape) - 2.0 * log_mean)))


def _centred_norm_cv(eigenvalues: Float[np.ndarray, " k"]) -> float:
    """The norm CV of N(0, C), from E‖z‖ = (1/(2√π)) ∫ s^(−3/2) (1 − Πᵢ (1 + 2sλᵢ)^(−1/2)) ds."""
    share = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    # The trapezoidal rule in log s, where the integrand falls exponentially on both sides.
    step = 0.25
    s = np.exp(np.arange(-60.0, 60.0, step))
    log_mgf = sum(
        (
            -0.5 * np.log1p(2.0 * np.outer(s, part)).sum(axis=1)
            for part in np.array_split(share, 16)
        ),
        np.zeros(len(s)),
    )
    mean = step * float(np.sum(-np.expm1(log_mgf) / np.sqrt(s))) / (2.0 * np.sqrt(np.pi))
    return float(np.sqrt(max(1.0 / mean**2 - 1.0, np.finfo(np.float64).tiny)))
