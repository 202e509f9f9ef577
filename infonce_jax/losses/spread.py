"""Objectives that spread the representations without a softmax: KoLeo, W-MSE, spectral contrastive."""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from infonce_jax.losses.common import (
    Axes,
    check_pair,
    check_positive,
    gather,
    global_index,
    global_size,
    objective,
    over_devices,
    safe_normalize,
    static_scalar,
    whole_number,
    widen,
)


@objective
def koleo(
    z: Float[ArrayLike, "batch dim"],
    *,
    epsilon: float = 1e-8,
    block: int = 1024,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """KoLeo: the mean log distance to the nearest other row on the unit sphere, negated.

        L = -(1/n) Σ_i log(min_{j≠i} ‖u_i - u_j‖ + ε)

    Up to constants the Kozachenko-Leonenko entropy on the sphere. `knn_entropy` is that of the rows
    as they are.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> bool(infonce_jax.koleo(z) < infonce_jax.koleo(z.at[:, 0].add(10.0)))
        True

    Args:
        z: representations, at least two rows.
        epsilon: ε > 0, which keeps equal rows finite; they get a zero gradient.
        block: rows whose neighbours are searched at once; memory is proportional to
            block · rows.

    References:
        Sablayrolles, Douze, Schmid, Jégou, [Spreading Vectors for Similarity
        Search](https://arxiv.org/abs/1806.03198), 2019, eq. 2.
    """
    check_pair(z, z, ("z", "z"))
    check_positive("epsilon", epsilon, "1e-8 is usual")
    u = safe_normalize(widen(jnp.asarray(z)))
    n = global_size(u.shape[0], axis_name)
    if n < 2:
        raise ValueError(f"z has shape {z.shape}; a nearest other row needs at least two rows.")
    others = gather(u, axis_name)
    # Which row is nearest is found without a gradient, and the distance taken from the difference,
    # which does not cancel for close rows.
    held, held_others = lax.stop_gradient((u, others))
    half_square = jnp.sum(held_others**2, axis=1) / 2

    def nearest(row):
        unit, index = row
        closeness = jnp.matmul(held_others, unit, precision=lax.Precision.HIGHEST) - half_square
        return jnp.argmax(jnp.where(jnp.arange(n) == index, -jnp.inf, closeness))

    block = whole_number("block", block)
    neighbour = lax.map(nearest, (held, global_index(u.shape[0], axis_name)), batch_size=block)
    square = jnp.sum((u - others[neighbour]) ** 2, axis=1)
    equal = square == 0
    distance = jnp.where(equal, 0, jnp.sqrt(jnp.where(equal, 1, square)))
    log_distance = jnp.log(distance + jnp.asarray(epsilon, u.dtype))
    return over_devices(lax.pmean, -jnp.mean(log_distance), axis_name)


@objective
def w_mse(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    epsilon: float = 0.0,
    sub_batch: int | None = None,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """W-MSE: the distance of two views on the sphere after each is whitened.

        L = mean_i ‖v1_i - v2_i‖² = 2 - 2 mean_i cos(w1_i, w2_i),   w = L⁻¹ (z - μ)

    with μ and Σ = L Lᵀ (Cholesky) the mean and covariance (with 1/(n - 1)) of a view, and v = w / ‖w‖.
    The covariance is (1 - ε) Σ + ε I. If it is singular to working precision, just so much of the
    identity is added that it is not; value and gradient stay finite, and say little.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 8))
        >>> float(infonce_jax.w_mse(z, z)) < 1e-4
        True

    Args:
        z1: representations of the first view; more rows than dimensions, twice as many as usual.
        z2: representations of the second view.
        epsilon: ε, from 0 to 1; 0 is the published one.
        sub_batch: whitens so many rows at a time, each group of consecutive rows by itself, as the
            authors do with random groups (shuffle the rows if their order means something). It
            divides the number of rows. By default all rows, of all devices, are one group.

    References:
        Ermolov, Siarohin, Sangineto, Sebe, [Whitening for Self-Supervised Representation
        Learning](https://arxiv.org/abs/2007.06346), 2021, eq. 5-7.
    """
    check_pair(z1, z2)
    epsilon = static_scalar("epsilon", epsilon)
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon is {epsilon}; it is the share of the identity, from 0 to 1.")
    n_rows, dim = z1.shape
    if sub_batch is None:
        size, over = n_rows, axis_name
    else:
        size, over = whole_number("sub_batch", sub_batch), None
        if n_rows % size:
            raise ValueError(
                f"sub_batch is {size} and z1 has shape {z1.shape}; sub_batch must divide the number "
                "of rows."
            )
    n = global_size(size, over)
    if epsilon == 0 and n <= dim:
        what = "z1 has shape" if sub_batch is None else f"sub_batch is {sub_batch} and z1 has shape"
        raise ValueError(
            f"{what} {z1.shape}; whitening needs more rows than dimensions. Use a larger batch, or "
            "epsilon > 0."
        )
    groups = (widen(jnp.asarray(z)).reshape(-1, size, dim) for z in (z1, z2))
    white1, white2 = (_whiten(group, n, epsilon, over) for group in groups)
    cosine = jnp.sum(safe_normalize(white1) * safe_normalize(white2), axis=2)
    return over_devices(lax.pmean, 2 - 2 * jnp.mean(cosine), axis_name)


def _whiten(groups, n, epsilon, axis_name):
    mean = over_devices(lax.pmean, jnp.mean(groups, axis=1, keepdims=True), axis_name)
    centred = groups - mean
    product = jnp.einsum("gni,gnj->gij", centred, centred, precision=lax.Precision.HIGHEST)
    covariance = over_devices(lax.psum, product, axis_name) / max(n - 1, 1)
    dim = groups.shape[2]
    identity = jnp.eye(dim, dtype=groups.dtype)[None]
    covariance = (1 - epsilon) * covariance + epsilon * identity
    eigenvalues = jnp.linalg.eigvalsh(lax.stop_gradient(covariance))
    smallest, largest = eigenvalues[:, :1, None], eigenvalues[:, -1:, None]
    # Rounding of a Cholesky factor can reach this much; below it the factor need not exist.
    least = 8 * dim * jnp.finfo(groups.dtype).eps * jnp.where(largest > 0, largest, 1)
    covariance = covariance + jnp.maximum(least - smallest, 0) * identity
    factor = jnp.linalg.cholesky(covariance)
    return lax.linalg.triangular_solve(factor, centred, lower=True, transpose_a=True)


@objective
def spectral_contrastive(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    square_radius: float | None = None,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """The spectral contrastive loss, whose minimisers span the top eigenvectors of the pair graph.

        L = -(2/n) Σ_i z1_i·z2_i + 1/(n (n - 1)) Σ_{i≠j} (z1_i·z2_j)²

    The sum over pairs is that of products of the two second-moment matrices: O(batch · dim²), and
    no [batch, batch] array.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> infonce_jax.spectral_contrastive(z, z).shape
        ()

    Args:
        z1: representations of the first view, not normalised; at least two rows.
        z2: representations of the second view.
        square_radius: projects rows with ‖z‖² above it back on that sphere, as the authors do with
            their μ. By default rows are taken as they are.

    References:
        HaoChen, Wei, Gaidon, Ma, [Provable Guarantees for Self-Supervised Deep Learning with
        Spectral Contrastive Loss](https://arxiv.org/abs/2106.04156), 2021, eq. 6.
    """
    check_pair(z1, z2)
    n = global_size(z1.shape[0], axis_name)
    if n < 2:
        raise ValueError(f"z1 has shape {z1.shape}; negatives need at least two rows.")
    rows = [widen(jnp.asarray(z)) for z in (z1, z2)]
    if square_radius is not None:
        square_radius = static_scalar("square_radius", square_radius)
        check_positive("square_radius", square_radius, "None takes the rows as they are")
        rows = [_into_ball(z, square_radius) for z in rows]
    products = (jnp.einsum("ni,nj->ij", z, z, precision=lax.Precision.HIGHEST) for z in rows)
    moments1, moments2 = (over_devices(lax.psum, product, axis_name) for product in products)
    positive = jnp.sum(rows[0] * rows[1], axis=1)
    of_positives = over_devices(lax.psum, jnp.sum(positive**2), axis_name)
    of_pairs = jnp.sum(moments1 * moments2) - of_positives
    mean_positive = over_devices(lax.pmean, jnp.mean(positive), axis_name)
    return of_pairs / (n * (n - 1)) - 2 * mean_positive


def _into_ball(z, square_radius):
    outside = jnp.sum(z**2, axis=1, keepdims=True) > square_radius
    return jnp.where(outside, safe_normalize(z) * square_radius**0.5, z)
