"""The norm-and-entropy regulariser, and the entropy estimates it can use."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from infonce_jax.losses.common import (
    Axes,
    Size,
    as_wide,
    check_floating,
    check_positive,
    gather,
    global_size,
    is_below,
    objective,
    over_devices,
    own_mask,
    static_scalar,
    whole_number,
    widen,
)

_LOG_2_PI_E = math.log(2 * math.pi) + 1


@objective
def gaussian_entropy(
    z: Float[ArrayLike, "batch dim"],
    *,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """Entropy in nats of the Gaussian with the rows' covariance: H = ½ log det(2πe Σ̂).

    It is the largest entropy that any law with covariance Σ̂ can have. Σ̂ is the sample covariance S
    shrunk towards its mean variance, Σ̂ = (1-ρ) S + ρ (tr S / d) I, with the oracle-approximating
    ρ, so that it stays finite and differentiable where the batch is smaller than the dimension.
    Variances below the resolution of the dtype are held at it.

    Examples:
        >>> import jax
        >>> z = jax.random.normal(jax.random.key(0), (4096, 8))
        >>> bool(abs(gaussian_entropy(z) - 8 * 1.4189385) < 0.05)
        True

    Args:
        z: representations, at least two rows.

    Returns:
        The entropy, in float32 (float64 for float64 input).

    References:
        Chen, Wiesel, Eldar, Hero, [Shrinkage Algorithms for MMSE Covariance
        Estimation](https://arxiv.org/abs/0907.4698), 2010, eq. 23 (the shrinkage ρ).
    """
    n = _check_rows(z, 2, "the covariance", axis_name)
    dim = z.shape[1]
    unit, log_scale = _standardise(z, axis_name)
    product = jnp.einsum("ni,nj->ij", unit, unit, precision=lax.Precision.HIGHEST)
    covariance = over_devices(lax.psum, product, axis_name) / as_wide(n, unit)
    mean_variance = jnp.trace(covariance) / dim
    square_trace = jnp.sum(covariance**2)
    trace_square = (dim * mean_variance) ** 2
    spread = (as_wide(n, unit) + 1 - 2 / dim) * (square_trace - trace_square / dim)
    # An exactly isotropic covariance (dim = 1, equal rows) is its own target; the division is kept
    # away from it so that the gradient stays finite.
    isotropic = spread <= 0
    rho = ((1 - 2 / dim) * square_trace + trace_square) / jnp.where(isotropic, 1, spread)
    rho = jnp.where(isotropic, 1, jnp.clip(rho, 0, 1))
    # Rows that are all equal have entropy -inf; variances are held at the dtype's resolution.
    floor = jnp.finfo(unit.dtype).eps ** 2
    shrunk = (1 - rho) * covariance + (rho * mean_variance + floor) * jnp.eye(dim)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(shrunk))))
    return dim * (_LOG_2_PI_E / 2 + log_scale) + log_det / 2


@objective
def knn_entropy(
    z: Float[ArrayLike, "batch dim"],
    *,
    k: int = 3,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """Kozachenko-Leonenko entropy in nats from the distance to the k-th nearest neighbour.

        H = ψ(n) - ψ(k) + log V_d + (d / n) Σ_i log r_i

    with r_i the distance of row i to its k-th nearest other row, V_d the volume of the unit ball
    and ψ the digamma function. It assumes no shape of the distribution; its bias grows with the
    dimension. Distances below the resolution of the dtype (duplicated rows) are held at
    it, which keeps value and gradient finite.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 4))
        >>> bool(infonce_jax.knn_entropy(2 * z) > infonce_jax.knn_entropy(z))
        True

    Args:
        z: representations, more than `k` rows.
        k: which neighbour. A larger k lowers the variance and raises the bias.

    Returns:
        The entropy, in float32 (float64 for float64 input).

    References:
        Kozachenko, Leonenko, Sample estimate of the entropy of a random vector, 1987.
        Kraskov, Stögbauer, Grassberger, [Estimating mutual
        information](https://arxiv.org/abs/cond-mat/0305641), 2004, eq. 20.
    """
    k = whole_number("k", k)
    n = _check_rows(z, k + 1, f"the distance to neighbour {k}", axis_name)
    dim = z.shape[1]
    unit, log_scale = _standardise(z, axis_name)
    others, own = gather(unit, axis_name), own_mask(unit.shape[0], axis_name)
    square_norm, of_others = jnp.sum(unit**2, axis=1), jnp.sum(others**2, axis=1)
    gram = jnp.einsum("id,jd->ij", unit, others, precision=lax.Precision.HIGHEST)
    square_distance = square_norm[:, None] + of_others[None, :] - 2 * gram
    square_distance = jnp.where(own, jnp.inf, square_distance)
    # The neighbours are found from the expanded square, which cancels for close rows; the distance
    # itself, and so the gradient, is taken from the difference.
    neighbour = lax.top_k(-lax.stop_gradient(square_distance), k)[1][:, k - 1]
    square_radius = jnp.sum((unit - others[neighbour]) ** 2, axis=1)
    square_radius = jnp.maximum(square_radius, jnp.finfo(unit.dtype).eps ** 2)
    mean_log = over_devices(lax.pmean, jnp.mean(jnp.log(square_radius)), axis_name)
    log_radius = log_scale + mean_log / 2
    log_ball = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)
    return digamma(as_wide(n, unit)) - digamma(float(k)) + log_ball + dim * log_radius


@objective
def kernel_entropy(
    z: Float[ArrayLike, "batch dim"],
    *,
    bandwidth: float | None = None,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """Entropy in nats from a Gaussian kernel density of the other rows.

        H = -(1/n) Σ_i log [ (1/(n-1)) Σ_(j≠i) N(z_i; z_j, h² s² I) ],   s² = the mean variance

    Smooth in every row, while `knn_entropy` jumps between neighbours. The kernel widens the
    distribution: a bias upwards, which grows with the dimension. Variances below the resolution of
    the dtype are held at it.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 4))
        >>> bool(infonce_jax.kernel_entropy(2 * z) > infonce_jax.kernel_entropy(z))
        True

    Args:
        z: representations, at least two rows.
        bandwidth: h > 0 in standard deviations, static; by default Silverman's (4/((d+2) n))^(1/(d+4)).

    Returns:
        The entropy, in float32 (float64 for float64 input).

    Raises:
        ValueError: for too few rows, or a bandwidth that is not positive.

    References:
        Silverman, Density Estimation for Statistics and Data Analysis, 1986, eq. 4.14 (the bandwidth).
    """
    n = _check_rows(z, 2, "a density from the other rows", axis_name)
    dim = z.shape[1]
    unit, log_scale = _standardise(z, axis_name)
    if bandwidth is None:
        bandwidth = (4 / ((dim + 2) * as_wide(n, unit))) ** (1 / (dim + 4))
    else:
        bandwidth = static_scalar("bandwidth", bandwidth)
        check_positive("bandwidth", bandwidth, "None takes Silverman's")
    mean_square = over_devices(lax.pmean, jnp.mean(unit**2), axis_name)
    variance = mean_square + jnp.finfo(unit.dtype).eps ** 2
    others, own = gather(unit, axis_name), own_mask(unit.shape[0], axis_name)
    gram = jnp.einsum("id,jd->ij", unit, others, precision=lax.Precision.HIGHEST)
    square_norm = jnp.sum(jnp.where(own, gram, 0), axis=1)
    of_others = gather(square_norm, axis_name)
    square_distance = jnp.maximum(square_norm[:, None] + of_others[None, :] - 2 * gram, 0)
    scores = -square_distance / (2 * bandwidth**2 * variance)
    scores = jnp.where(own, -jnp.inf, scores)
    log_density = jax.nn.logsumexp(scores, axis=1) - jnp.log(as_wide(n - 1, unit))
    mean_log_density = over_devices(lax.pmean, jnp.mean(log_density), axis_name)
    log_kernel = math.log(2 * math.pi) / 2 + jnp.log(bandwidth) + jnp.log(variance) / 2
    return dim * (log_kernel + log_scale) - mean_log_density


ENTROPY_ESTIMATORS: dict[str, Callable] = {
    "gaussian": gaussian_entropy,
    "kernel": kernel_entropy,
    "knn": knn_entropy,
}


@objective
def norm_entropy_regulariser(
    z: Float[ArrayLike, "batch dim"],
    *,
    norm_weight: Num[ArrayLike, ""] | float,
    entropy: str = "gaussian",
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """The paper's regulariser of the unnormalised representation: R = -H(ρ) + λ E‖z‖².

    Up to a constant R is KL(ρ ‖ γ_λ) with γ_λ ∝ exp(-λ‖z‖²), so its minimiser is the isotropic
    Gaussian of variance 1 / (2λ) per coordinate. Add β·R to InfoNCE; `theory.vanishing_beta` gives
    a sufficient β.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 4))
        >>> value = infonce_jax.norm_entropy_regulariser(z, norm_weight=0.5)
        >>> bool(value < infonce_jax.norm_entropy_regulariser(5 * z, norm_weight=0.5))
        True

    Args:
        z: unnormalised representations.
        norm_weight: λ > 0.
        entropy: estimator of the differential entropy H, "gaussian", "knn" or "kernel".

    Returns:
        R in nats.

    Raises:
        ValueError: for an unknown estimator, λ known and not positive, or too few rows.

    References:
        Betser, Gofer, Levi, Gilboa, [InfoNCE Induces Gaussian
        Distribution](https://arxiv.org/abs/2602.24012), 2026.
    """
    if entropy not in ENTROPY_ESTIMATORS:
        raise ValueError(
            f"entropy is {entropy!r}; the estimators are {', '.join(sorted(ENTROPY_ESTIMATORS))}."
        )
    check_positive("norm_weight", norm_weight, "λ = 1 / (2 · variance)")
    _check_rows(z, 1, "the mean of ‖z‖²", axis_name)
    square_norm = jnp.sum(widen(z) ** 2, axis=1)
    mean_square_norm = over_devices(lax.pmean, jnp.mean(square_norm), axis_name)
    return as_wide(norm_weight, square_norm) * mean_square_norm - ENTROPY_ESTIMATORS[entropy](
        z, axis_name=axis_name
    )


def _standardise(z: Array, axis_name: Axes) -> tuple[Array, Array]:
    """Rows centred and divided by their largest entry, and the log of that entry.

    Keeps squares and their gradients in range at any scale of `z`. Entropy is the same for every
    choice of the divisor, so no gradient is lost by holding it fixed.
    """
    wide = widen(z)
    centred = wide - over_devices(lax.pmean, jnp.mean(wide, axis=0, keepdims=True), axis_name)
    scale, largest = (
        over_devices(lax.pmax, lax.stop_gradient(jnp.max(jnp.abs(rows))), axis_name)
        for rows in (centred, wide)
    )
    # Rows that differ by rounding only are equal. A compiler that computes them twice, rounded
    # differently, would otherwise divide by the wrong scale.
    equal = scale <= jnp.finfo(wide.dtype).eps * largest
    scale = jnp.where(equal, 1, scale)
    return jnp.where(equal, 0, centred / scale), jnp.log(scale)


def _check_rows(z: Array, least: int, what: str, axis_name: Axes) -> Size:
    """The number of rows of all devices, at least `least`."""
    check_floating(z=z)
    n_all = global_size(z.shape[0], axis_name) if z.ndim == 2 else 0
    if is_below(n_all, least):
        raise ValueError(f"z has shape {z.shape}; {what} needs [batch, dim] with batch >= {least}.")
    return n_all
