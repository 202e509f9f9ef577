"""Measures of representations: how many dimensions they use, and how alike two of them are.

For reports, beside `alignment` and `uniformity`; no objective is made of them. All are in float32,
or float64 for float64 rows.
"""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from infonce_jax.losses.common import (
    Axes,
    check_arrays,
    check_flags,
    check_floating,
    check_positive,
    gather,
    global_size,
    objective,
    over_devices,
    widen,
)


@objective
def effective_rank(z: Float[ArrayLike, "batch dim"], *, axis_name: Axes = None) -> Float[Array, ""]:
    """Roy and Vetterli's effective rank: exp of the entropy of the singular values.

        exp(-Σ_k p_k log p_k),   p_k = σ_k / Σ σ

    σ being the singular values of the [batch, dim] array as it is. Subtract the mean of the rows
    beforehand where it is not to count as a dimension. From 1, for rows on one line, to
    min(batch, dim); 0 for rows of zeros.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(effective_rank(jnp.eye(3)).round(4))
        3.0

    Args:
        z: representations.

    References:
        Roy, Vetterli, The effective rank: a measure of effective dimensionality, 2007.
    """
    shares = _singular_shares(z, axis_name)
    is_zero = shares == 0
    entropy = -jnp.sum(shares * jnp.log(jnp.where(is_zero, 1, shares)))
    return jnp.where(jnp.all(is_zero), 0, jnp.exp(entropy))


@objective
def rankme(
    z: Float[ArrayLike, "batch dim"],
    *,
    epsilon: float = 1e-7,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """RankMe: `effective_rank` with ε added to every share of the singular values.

        exp(-Σ_k p_k log p_k),   p_k = σ_k / Σ σ + ε

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (1000, 8)) * (jnp.arange(8) < 4)
        >>> round(float(infonce_jax.rankme(z)), 1)
        4.0

    Args:
        z: representations, as they are; the paper takes 25,600 of them.
        epsilon: ε > 0, the paper's for float32.

    References:
        Garrido, Balestriero, Najman, LeCun, [RankMe](https://arxiv.org/abs/2210.02885), 2023, eq.
        1-2.
    """
    check_positive("epsilon", epsilon, "1e-7 is usual")
    shares = _singular_shares(z, axis_name)
    shares = shares + jnp.asarray(epsilon, shares.dtype)
    return jnp.exp(-jnp.sum(shares * jnp.log(shares)))


def _singular_shares(z, axis_name):
    """Singular values of all rows over their sum, or zeros for rows of zeros."""
    rows = gather(_rows(z), axis_name)
    # Shares do not depend on the scale, squares of which could leave the range.
    scale = jnp.max(jnp.abs(rows))
    values = jnp.linalg.svd(rows / jnp.where(scale == 0, 1, scale), compute_uv=False)
    total = jnp.sum(values)
    return over_devices(lax.pmean, values / jnp.where(total == 0, 1, total), axis_name)


@objective
def lidar(
    z: Float[ArrayLike, "samples views dim"],
    *,
    delta: float = 1e-4,
    epsilon: float = 1e-8,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """LiDAR: the effective number of dimensions in which views of a sample differ less than samples.

        exp(-Σ_k p_k log p_k),   p_k = (λ_k + ε) / Σ (λ + ε)

    λ being the eigenvalues of Σ_w^(-1/2) Σ_b Σ_w^(-1/2): Σ_b is the covariance of the samples' means
    (with 1/(samples - 1)), and Σ_w that of the views about them (with 1/(samples · (views - 1))) plus
    δ I. At most min(dim, samples - 1), up to ε.

    Examples:
        >>> centres = jax.random.normal(jax.random.key(0), (200, 1, 4))
        >>> views = centres + 0.1 * jax.random.normal(jax.random.key(1), (200, 8, 4))
        >>> round(float(infonce_jax.lidar(views)), 1)
        4.0

    Args:
        z: representations of several views of each sample, at least two of both; the paper takes
            1,000 samples and 50 views.
        delta: δ > 0.
        epsilon: ε > 0.

    References:
        Thilak et al., [LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL
        Architectures](https://arxiv.org/abs/2312.04000), 2024.
    """
    check_floating(z=z)
    check_positive("delta", delta, "1e-4 is usual")
    check_positive("epsilon", epsilon, "1e-8 is usual")
    n = global_size(len(z), axis_name) if z.ndim == 3 and z.shape[2] > 0 else 0
    if n < 2 or z.shape[1] < 2:
        raise ValueError(
            f"z has shape {z.shape}; it must be [samples, views, dim] with at least two samples and "
            "two views of each."
        )
    z = widen(jnp.asarray(z))
    means = jnp.mean(z, axis=1, keepdims=True)
    within = (z - means).reshape(-1, z.shape[2])
    means = means[:, 0]
    between = means - over_devices(lax.pmean, jnp.mean(means, axis=0, keepdims=True), axis_name)
    covariance_between = _moments(between, axis_name) / (n - 1)
    covariance_within = _moments(within, axis_name) / (n * (z.shape[1] - 1))
    ridge = jnp.asarray(delta, z.dtype) * jnp.eye(z.shape[2], dtype=z.dtype)
    # The eigenvalues of Σ_w^(-1/2) Σ_b Σ_w^(-1/2) are those of L⁻¹ Σ_b L⁻ᵀ, with Σ_w = L Lᵀ.
    factor = jnp.linalg.cholesky(covariance_within + ridge)
    half = lax.linalg.triangular_solve(factor, covariance_between, left_side=True, lower=True)
    both = lax.linalg.triangular_solve(factor, half.T, left_side=True, lower=True)
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh((both + both.T) / 2), 0)
    eigenvalues = eigenvalues + jnp.asarray(epsilon, z.dtype)
    shares = eigenvalues / jnp.sum(eigenvalues)
    return jnp.exp(-jnp.sum(shares * jnp.log(shares)))


@objective
def isoscore(z: Float[ArrayLike, "batch dim"], *, axis_name: Axes = None) -> Float[Array, ""]:
    """IsoScore: 1 where variance is the same in all directions, 0 where one direction holds it all.

        (r - 1) / (dim - 1),   r = (tr Σ)² / tr(Σ²),   Σ = the rows' covariance

    The paper defines it by the distance of the normalised principal variances from (1, …, 1) and
    several rescalings; r, the participation ratio, is what these come to. 0 for equal rows.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (5000, 8))
        >>> bool(infonce_jax.isoscore(z) > infonce_jax.isoscore(z * jnp.arange(8)))
        True

    Args:
        z: representations, at least two rows of at least two dimensions.

    References:
        Rudman, Gillman, Rayne, Eickhoff, [IsoScore: Measuring the Uniformity of Embedding Space
        Utilization](https://arxiv.org/abs/2108.07344), 2022.
    """
    rows = _rows(z)
    dim = rows.shape[1]
    if dim < 2 or global_size(len(rows), axis_name) < 2:
        raise ValueError(
            f"z has shape {z.shape}; IsoScore needs at least two rows and two dimensions."
        )
    moments = _moments(_standardised(rows, axis_name), axis_name)
    trace, square = jnp.trace(moments), jnp.sum(moments**2)
    is_zero = square == 0
    participation = jnp.where(is_zero, 1, trace**2 / jnp.where(is_zero, 1, square))
    return (participation - 1) / (dim - 1)


@objective
def cka(
    x: Float[ArrayLike, "batch dim"],
    y: Float[ArrayLike, "batch other_dim"],
    *,
    unbiased: bool = False,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """Linear centred kernel alignment: how alike two representations of the same rows are, 0 to 1.

        HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)),   HSIC(x, y) = ‖xᵀ y‖²

    of centred rows. It is the same after a rotation, a scaling or a translation of either. With few
    rows against dimensions it is far from 0 for independent representations; `unbiased` takes the
    unbiased estimate of HSIC, for which it is about 0 there and may be below. 0 where all rows of
    one representation are equal.

    Examples:
        >>> x = jax.random.normal(jax.random.key(0), (256, 8))
        >>> round(float(infonce_jax.cka(x, 3 * x[:, ::-1])), 4)
        1.0

    Args:
        x: one representation.
        y: the other, row by row of the same examples; it may have another dimension.
        unbiased: needs at least four rows.

    References:
        Kornblith, Norouzi, Lee, Hinton, [Similarity of Neural Network Representations
        Revisited](https://arxiv.org/abs/1905.00414), 2019; Song, Smola, Gretton, Bedo, Borgwardt,
        [Feature Selection via Dependence Maximization](https://jmlr.org/papers/v13/song12a.html),
        2012, eq. 5 (the unbiased estimate).
    """
    check_flags(unbiased=unbiased)
    rows = [_rows(x, "x"), _rows(y, "y")]
    if len(rows[0]) != len(rows[1]):
        raise ValueError(
            f"x has shape {x.shape} and y {y.shape}; row i of both must be of the same example."
        )
    n = global_size(len(rows[0]), axis_name)
    least = 4 if unbiased else 2
    if n < least:
        kind = "unbiased" if unbiased else "linear"
        raise ValueError(f"x has shape {x.shape}; {kind} CKA needs at least {least} rows.")
    x, y = (_standardised(z, axis_name) for z in rows)

    def hsic(x, y):
        product = jnp.einsum("ni,nj->ij", x, y, precision=lax.Precision.HIGHEST)
        total = jnp.sum(over_devices(lax.psum, product, axis_name) ** 2)
        if not unbiased:
            return total
        # Song's estimate leaves the diagonals of both Gram matrices out. Of centred rows their rows
        # then sum to the diagonals, negated, and no Gram matrix is needed.
        diagonals = [jnp.sum(z**2, axis=1) for z in (x, y)]
        traces = [over_devices(lax.psum, jnp.sum(d), axis_name) for d in diagonals]
        shared = over_devices(lax.psum, jnp.sum(diagonals[0] * diagonals[1]), axis_name)
        return total + traces[0] * traces[1] / ((n - 1) * (n - 2)) - shared * (1 + 2 / (n - 2))

    squares = hsic(x, x) * hsic(y, y)
    # The unbiased estimate of a representation with itself can be negative too, by rounding.
    usable = squares > 0
    return jnp.where(usable, hsic(x, y) * lax.rsqrt(jnp.where(usable, squares, 1)), 0)


def _rows(z, name="z"):
    check_arrays(**{name: z})
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"{name} has shape {z.shape}; it must be [batch, dim], neither of them 0.")
    check_floating(**{name: z})
    return widen(jnp.asarray(z))


def _standardised(rows, axis_name):
    """Centred, and divided by the largest entry, so that fourth powers stay in range."""
    centred = rows - over_devices(lax.pmean, jnp.mean(rows, axis=0, keepdims=True), axis_name)
    scale, largest = (
        over_devices(lax.pmax, lax.stop_gradient(jnp.max(jnp.abs(z))), axis_name)
        for z in (centred, rows)
    )
    # Rows that differ by the rounding of their mean alone are equal.
    equal = scale <= 4 * jnp.finfo(rows.dtype).eps * largest
    return jnp.where(equal, 0, centred / jnp.where(equal, 1, scale))


def _moments(rows, axis_name):
    product = jnp.einsum("ni,nj->ij", rows, rows, precision=lax.Precision.HIGHEST)
    return over_devices(lax.psum, product, axis_name)
