"""Joint-embedding objectives that ask for a Gaussian: LeJEPA and VISReg.

`infonce_jax.losses` describes the options that they share with `sigreg`.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PRNGKeyArray

from infonce_jax.losses.common import (
    Axes,
    check_flags,
    check_positive,
    check_scalars,
    global_size,
    objective,
    over_devices,
    static_scalar,
)
from infonce_jax.losses.sliced import (
    as_views,
    normal_quantiles,
    prepare,
    sigreg,
    sliced_transport,
)


@objective
def view_prediction(
    z: Float[ArrayLike, "views batch dim"],
    *,
    n_global: int | None = None,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """LeJEPA's prediction term: the mean square of each view's distance from the global views' mean.

        L = mean_{v, i, k} (z_vik - c_ik)²,   c = the mean of the global views

    For two views, both global, this is a quarter of the mean of (z1 - z2)².

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> float(infonce_jax.view_prediction(jnp.stack([z, z])))
        0.0

    Args:
        z: the views' representations, the global views first.
        n_global: how many of the views are global; all by default. Static.

    References:
        Balestriero, LeCun, [LeJEPA](https://arxiv.org/abs/2511.08544), 2025.
    """
    rows = _several_views(z)
    n_global = len(rows) if n_global is None else static_scalar("n_global", n_global)
    if n_global not in range(1, len(rows) + 1):
        raise ValueError(
            f"n_global is {n_global} and z has shape {z.shape}; n_global is how many of the "
            f"{len(rows)} views are global, from 1 to {len(rows)}."
        )
    centre = jnp.mean(rows[: int(n_global)], axis=0, keepdims=True)
    return over_devices(lax.pmean, jnp.mean((rows - centre) ** 2), axis_name)


@objective
def lejepa(
    z: Float[ArrayLike, "views batch dim"],
    *,
    weight: Num[ArrayLike, ""] | float = 0.05,
    additive: bool = False,
    n_global: int | None = None,
    key: PRNGKeyArray | None = None,
    directions: Float[ArrayLike, "dim directions"] | None = None,
    n_directions: int = 1024,
    pooled: bool = False,
    unbiased: bool = False,
    t_max: float = 3.0,
    knots: int = 17,
    block: int = 128,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """LeJEPA: views predict their mean, and their law is to be N(0, I).

        L = (1 - λ) · prediction + λ · SIGReg        as published
        L = prediction + λ · SIGReg                  with `additive`

    with `view_prediction` and `sigreg`. The published form with λ is 1 - λ times the additive one
    with λ / (1 - λ).

    Examples:
        >>> import jax
        >>> views = jax.random.normal(jax.random.key(0), (2, 256, 16))
        >>> loss = lejepa(views, key=jax.random.key(1), n_directions=64)
        >>> loss.shape
        ()

    Args:
        z: the views' representations, not normalised, the global views first.
        weight: λ, at most 1 unless `additive`; differentiable.
        additive: the second form.
        n_global: how many of the views are global; all by default. Static.
        unbiased: as in `sigreg`. Its statistic is smaller by the number of rows.

    References:
        Balestriero, LeCun, [LeJEPA](https://arxiv.org/abs/2511.08544), 2025.
    """
    check_flags(additive=additive)
    check_scalars(weight=weight)
    prediction = view_prediction(z, n_global=n_global, axis_name=axis_name)
    how = {"pooled": pooled, "unbiased": unbiased, "t_max": t_max, "knots": knots, "block": block}
    drawn = {"key": key, "directions": directions, "n_directions": n_directions}
    regulariser = sigreg(z, **drawn, **how, axis_name=axis_name)
    weight = jnp.asarray(weight, prediction.dtype)
    return (1 if additive else 1 - weight) * prediction + weight * regulariser


@objective
def visreg(
    z: Float[ArrayLike, "*views batch dim"],
    *,
    key: PRNGKeyArray | None = None,
    directions: Float[ArrayLike, "dim directions"] | None = None,
    n_directions: int = 1024,
    pooled: bool = False,
    scale_weight: Num[ArrayLike, ""] | float = 1.0,
    shape_weight: Num[ArrayLike, ""] | float = 1.0,
    centre_weight: Num[ArrayLike, ""] | float = 1.0,
    epsilon: float = 1e-4,
    block: int = 128,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """VISReg's regulariser: centre, scale and shape of the rows' law, each by a term of its own.

        R = w_c mean_k μ_k² + w_s mean_k (1 - σ_k)² + w_h mean_a mean_i (x_a(i) - Φ⁻¹(i / (n+1)))²

    μ and σ² are mean and variance (with 1/n) of each coordinate, and x_a(i) is the i-th smallest of
    a·(z - μ) / (σ + ε) for unit vectors a. No gradient passes through this σ. The scale term keeps
    its gradient as the rows collapse, where that of SIGReg vanishes. The published loss is
    (1 - λ)·`view_prediction` + λ·R.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (2, 256, 8))
        >>> one, other = (infonce_jax.visreg(x, key=jax.random.key(1)) for x in (z, 0.1 * z))
        >>> bool(one < other)
        True

    Args:
        z: representations, not normalised: one view, or several of equal size.
        scale_weight: w_s.
        shape_weight: w_h.
        centre_weight: w_c.
        epsilon: ε > 0, which keeps constant coordinates finite.

    References:
        Wu et al., [VISReg](https://arxiv.org/abs/2606.02572), 2026, eq. 1-6.
    """
    check_scalars(scale_weight=scale_weight, shape_weight=shape_weight, centre_weight=centre_weight)
    check_positive("epsilon", epsilon, "1e-4 is usual")
    rows, directions = prepare(z, key, directions, n_directions, pooled, axis_name)
    mean = over_devices(lax.pmean, jnp.mean(rows, axis=1, keepdims=True), axis_name)
    centred = rows - mean
    variance = over_devices(lax.pmean, jnp.mean(centred**2, axis=1, keepdims=True), axis_name)
    # The square root has no finite slope at 0, where equal rows get a zero gradient.
    is_zero = variance == 0
    deviation = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, variance)))
    unit = centred / (lax.stop_gradient(deviation) + jnp.asarray(epsilon, rows.dtype))
    n = global_size(rows.shape[1], axis_name)
    quantiles = normal_quantiles(np.arange(1, n + 1) / (n + 1))
    shape = sliced_transport(unit, directions, quantiles, block, axis_name)
    terms = (
        (centre_weight, jnp.mean(mean**2)),
        (scale_weight, jnp.mean((1 - deviation) ** 2)),
        (shape_weight, shape),
    )
    return sum(jnp.asarray(weight, rows.dtype) * term for weight, term in terms)


def _several_views(z: Array) -> Float[Array, "views batch dim"]:
    rows = as_views(z)
    if z.ndim != 3 or len(rows) < 2:
        raise ValueError(
            f"z has shape {z.shape}; it must be [views, batch, dim] with at least two views, as "
            "jnp.stack([z1, z2]) makes."
        )
    return rows
