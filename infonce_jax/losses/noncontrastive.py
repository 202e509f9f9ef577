"""Objectives without negatives, for comparison, and the two properties that InfoNCE balances.

All are O(batch · dim²) or less, except `uniformity`, which sums over pairs as `infonce` does.
"""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from infonce_jax.losses.common import (
    Axes,
    Mask,
    Reduction,
    as_wide,
    check_pair,
    check_positive,
    check_rows,
    check_scalars,
    gather,
    global_size,
    is_below,
    number_of_rows,
    objective,
    over_devices,
    reduce,
    safe_normalize,
    static_scalar,
    widen,
    without_masked,
)
from infonce_jax.losses.tiles import Implementation, make_plan, own_pairs, safe_lse, self_lse


@objective
def alignment(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    exponent: float = 2.0,
    reduction: Reduction = "mean",
    axis_name: Axes = None,
) -> Float[Array, "..."]:
    """Wang and Isola's alignment, E ‖u - v‖^α of positive pairs on the unit sphere.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> float(infonce_jax.alignment(z, z))
        0.0

    Args:
        z1: representations of the first view.
        z2: representations of the second view.
        exponent: α > 0; static.

    References:
        Wang, Isola, [Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere](https://arxiv.org/abs/2005.10242), 2020, eq. 6.
    """
    check_pair(z1, z2)
    exponent = static_scalar("exponent", exponent)
    check_positive("exponent", exponent, "2 is usual")
    difference = safe_normalize(widen(z1)) - safe_normalize(widen(z2))
    square = jnp.sum(difference**2, axis=1)
    if exponent == 2:
        return reduce(square, reduction, axis_name)
    # The power has no finite slope at 0 for α < 2; equal rows get a zero gradient.
    equal = square == 0
    power = jnp.where(equal, 1, square) ** (exponent / 2)
    return reduce(jnp.where(equal, 0, power), reduction, axis_name)


@objective
def uniformity(
    z: Float[ArrayLike, "batch dim"],
    *,
    t: Num[ArrayLike, ""] | float = 2.0,
    where: Mask | None = None,
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""]:
    """Wang and Isola's uniformity, log E exp(-t ‖u - v‖²) over distinct rows on the unit sphere.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 32))
        >>> cone = z.at[:, 0].add(10.0)
        >>> bool(infonce_jax.uniformity(z) < infonce_jax.uniformity(cone))
        True

    Args:
        z: representations, at least two rows. Rows of zeros, which have no direction, count as one
            direction at right angles to all others.
        t: inverse width of the Gaussian potential; differentiable.
        where: rows that count. If fewer than two do, the value is 0.

    References:
        Wang, Isola, 2020, eq. 7; see `alignment`.
    """
    check_pair(z, z, ("z", "z"))
    check_scalars(t=t)
    n = z.shape[0]
    check_rows(n, where)
    n_all = global_size(n, axis_name)
    if is_below(n_all, 2):
        raise ValueError(f"z has shape {z.shape}; uniformity needs at least two rows.")
    (z,) = without_masked(where, z)
    u = safe_normalize(widen(z))
    plan = make_plan(implementation, n, n_all, axis_name, tile)
    # A row of zeros gets a direction of its own, so that on the sphere all norms are 1 and
    # -t‖u - v‖² = 2t u·v - t(‖u‖² + ‖v‖²) = 2t u·v - 2t.
    is_zero = jnp.all(u == 0, axis=1, keepdims=True).astype(u.dtype)
    t = as_wide(t, u)
    pairs = None if where is None else own_pairs(None, n, axis_name, where)
    per_row = self_lse(jnp.concatenate([u, is_zero], axis=1), 2 * t, plan, pairs)
    counted = number_of_rows(n, where, axis_name)
    if where is not None:
        per_row = jnp.where(jnp.asarray(where), per_row, -jnp.inf)
    total = over_devices(lax.pmean, safe_lse(gather(per_row, axis_name), 0), axis_name)
    if where is None:
        return total - 2 * t - jnp.log(counted) - jnp.log(counted - 1)
    others = jnp.maximum(counted - 1, 1)
    total = jnp.where(jnp.isneginf(total), 2 * t, total)
    return jnp.where(counted > 1, total - 2 * t - jnp.log(counted) - jnp.log(others), 0)


@objective
def negative_cosine(
    prediction: Float[ArrayLike, "batch dim"],
    target: Float[ArrayLike, "batch dim"],
    *,
    reduction: Reduction = "mean",
    axis_name: Axes = None,
) -> Float[Array, "..."]:
    """The term of SimSiam and BYOL, -p·z / (‖p‖ ‖z‖), the target held fixed.

    SimSiam's loss is the mean of `negative_cosine(p1, z2)` and `negative_cosine(p2, z1)`; BYOL's
    is 2 + 2 times it, for targets of its slow network.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> round(float(infonce_jax.negative_cosine(z, 2 * z)), 4)
        -1.0

    Args:
        prediction: the predictor's output for one view.
        target: the other view's projection, through which no gradient passes.

    References:
        Chen, He, [Exploring Simple Siamese Representation
        Learning](https://arxiv.org/abs/2011.10566), 2020, eq. 1.
        Grill et al., [Bootstrap Your Own Latent](https://arxiv.org/abs/2006.07733), 2020, eq. 2.
    """
    check_pair(prediction, target, ("prediction", "target"))
    target = lax.stop_gradient(target)
    cosine = jnp.sum(safe_normalize(widen(prediction)) * safe_normalize(widen(target)), axis=1)
    return reduce(-cosine, reduction, axis_name)


@objective
def barlow_twins(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    off_diagonal_weight: Num[ArrayLike, ""] | float = 5e-3,
    epsilon: float = 1e-5,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """Barlow Twins: draws the cross-correlation of the two views to the identity.

        L = Σ_k (1 - C_kk)² + λ Σ_{k≠l} C_kl²,   C = Ẑ1ᵀ Ẑ2 / batch,

    with Ẑ centred and divided by sqrt(variance + ε) along the batch, as batch normalisation does.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 16))
        >>> bool(infonce_jax.barlow_twins(z, z) < infonce_jax.barlow_twins(z, z[::-1]))
        True

    Args:
        z1: representations of the first view.
        z2: representations of the second view.
        off_diagonal_weight: λ.
        epsilon: ε > 0, which keeps constant coordinates finite.
        axis_name: means, variances and correlations are those of all devices' rows.

    References:
        Zbontar, Jing, Misra, LeCun, Deny, [Barlow Twins](https://arxiv.org/abs/2103.03230), 2021,
        eq. 1-2.
    """
    check_pair(z1, z2)
    check_scalars(off_diagonal_weight=off_diagonal_weight)
    check_positive("epsilon", epsilon, "1e-5 is usual")
    unit1, unit2 = (_batch_normalize(widen(z), epsilon, axis_name) for z in (z1, z2))
    correlation = over_devices(lax.pmean, _product(unit1.T, unit2) / z1.shape[0], axis_name)
    diagonal = jnp.diagonal(correlation)
    off_diagonal = jnp.sum(_without_diagonal(correlation) ** 2)
    return jnp.sum((1 - diagonal) ** 2) + as_wide(off_diagonal_weight, diagonal) * off_diagonal


@objective
def vicreg(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    invariance_weight: Num[ArrayLike, ""] | float = 25.0,
    variance_weight: Num[ArrayLike, ""] | float = 25.0,
    covariance_weight: Num[ArrayLike, ""] | float = 1.0,
    epsilon: float = 1e-4,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """VICReg: invariance, variance and covariance.

        L = λ mean (z1 - z2)² + μ (v(z1) + v(z2)) / 2 + ν (c(z1) + c(z2)),
        v(z) = mean_k max(0, 1 - sqrt(Var z_k + ε)),   c(z) = Σ_{k≠l} Cov(z)_kl² / dim,

    with unbiased variances and covariances, and the factor ½ of the authors' code.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 16))
        >>> bool(infonce_jax.vicreg(z, z) < infonce_jax.vicreg(0.1 * z, 0.1 * z))  # a collapse costs
        True

    Args:
        z1: representations of the first view; at least two rows.
        z2: representations of the second view.
        invariance_weight: λ.
        variance_weight: μ.
        covariance_weight: ν.
        epsilon: ε > 0, which keeps the root's gradient finite.
        axis_name: variances and covariances are those of all devices' rows.

    References:
        Bardes, Ponce, LeCun, [VICReg](https://arxiv.org/abs/2105.04906), 2022, eq. 1-6.
    """
    check_pair(z1, z2)
    check_scalars(
        invariance_weight=invariance_weight,
        variance_weight=variance_weight,
        covariance_weight=covariance_weight,
    )
    check_positive("epsilon", epsilon, "1e-4 is usual")
    n_all = global_size(z1.shape[0], axis_name)
    if is_below(n_all, 2):
        raise ValueError(f"z1 has shape {z1.shape}; a variance needs at least two rows.")
    z1, z2 = widen(z1), widen(z2)

    def variance_and_covariance(z):
        centred = _centre(z, axis_name)
        product = over_devices(lax.psum, _product(centred.T, centred), axis_name)
        covariance = product / as_wide(n_all - 1, z)
        deviation = jnp.sqrt(jnp.diagonal(covariance) + as_wide(epsilon, z))
        off_diagonal = jnp.sum(_without_diagonal(covariance) ** 2)
        return jnp.mean(jnp.maximum(0, 1 - deviation)), off_diagonal / z.shape[1]

    (variance1, covariance1), (variance2, covariance2) = map(variance_and_covariance, (z1, z2))
    invariance = over_devices(lax.pmean, jnp.mean((z1 - z2) ** 2), axis_name)
    return (
        as_wide(invariance_weight, z1) * invariance
        + as_wide(variance_weight, z1) * (variance1 + variance2) / 2
        + as_wide(covariance_weight, z1) * (covariance1 + covariance2)
    )


def _centre(z, axis_name):
    return z - over_devices(lax.pmean, jnp.mean(z, axis=0, keepdims=True), axis_name)


def _batch_normalize(z, epsilon, axis_name):
    centred = _centre(z, axis_name)
    variance = over_devices(lax.pmean, jnp.mean(centred**2, axis=0, keepdims=True), axis_name)
    return centred * lax.rsqrt(variance + as_wide(epsilon, z))


def _product(a, b):
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _without_diagonal(matrix):
    return jnp.where(jnp.eye(len(matrix), dtype=bool), 0, matrix)
