"""InfoNCE, dense form."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Num

Reduction = Literal["mean", "sum", "none"]


class InfoNCETerms(NamedTuple):
    """InfoNCE and its two parts: `loss = -alignment / temperature + uniformity + log(batch)`.

    Attributes:
        loss: the cross-entropy over the batch.
        alignment: mean similarity of the positive pairs, E_π[u·v].
        uniformity: the uniformity potential Φ(μ) = E_u log E_v exp(u·v / temperature), its inner
            expectation taken over the batch.
    """

    loss: Float[Array, "..."]
    alignment: Float[Array, "..."]
    uniformity: Float[Array, "..."]


def safe_normalize(z: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Projects rows on the unit sphere, u = z / ‖z‖, with u = 0 and a zero gradient at z = 0.

    Rows are first divided by their largest entry, so that neither tiny nor huge rows lose their
    direction to underflow or overflow of the square. Computed in float32 (or float64) and returned
    in the dtype of `z`.
    """
    wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    # u does not depend on the scale of z, so the gradient through the scale is exactly zero.
    scale = lax.stop_gradient(jnp.max(jnp.abs(wide), axis=-1, keepdims=True))
    is_zero = scale == 0
    wide = wide / jnp.where(is_zero, 1, scale)
    square = jnp.sum(wide**2, axis=-1, keepdims=True)
    # The square of a zero row is replaced before the root: a `where` after it would still leave NaN
    # in the gradient.
    inverse_norm = jnp.where(is_zero, 0, lax.rsqrt(jnp.where(is_zero, 1, square)))
    unit = wide * inverse_norm
    return unit.astype(z.dtype)


def infonce(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    symmetric: bool = True,
    normalize: bool = True,
    reduction: Reduction = "mean",
) -> Float[Array, ""] | Float[Array, "batch"]:
    """InfoNCE: the cross-entropy of picking each row's partner out of the batch.

    With s_ij = u_i·v_j / τ and u, v the rows of z1, z2 on the unit sphere, row i contributes

        ℓ_i = -s_ii + log Σ_j exp(s_ij),

    and, where `symmetric`, the mean of ℓ_i and of the same with the two views exchanged. As the
    batch grows, the loss less log(batch) tends to -E_π[u·v] / τ + Φ(μ); see `infonce_terms`.

    Negatives are all rows of the arrays passed in. Under `jax.jit` with the batch sharded over
    devices these are the rows of all devices.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (256, 64))
        >>> loss = infonce(z, jnp.roll(z, 1, axis=0), temperature=0.5)
        >>> bool(loss > infonce(z, z, temperature=0.5))
        True

    Args:
        z1: representations of the first view.
        z2: representations of the second view; row i is the positive of row i of `z1`.
        temperature: τ > 0, in units of the similarity. May be traced, and is differentiable.
        symmetric: average the direction z1 → z2 with z2 → z1 instead of the first alone.
        normalize: similarity is the cosine; otherwise the inner product of the raw rows.
        reduction: "mean" or "sum" over the batch, or "none" for ℓ [batch].

    Returns:
        The loss, accumulated in float32 (float64 for float64 input) whatever dtype comes in.

    Raises:
        ValueError: where shapes disagree, the batch is empty, or τ is known and not positive.
        TypeError: where the representations are not floating point.

    References:
        van den Oord, Li, Vinyals, `Representation Learning with Contrastive Predictive Coding
        <https://arxiv.org/abs/1807.03748>`_, 2018.
        Radford et al., `Learning Transferable Visual Models From Natural Language Supervision
        <https://arxiv.org/abs/2103.00020>`_, 2021 (the symmetric form).
    """
    positive, potential = _positive_and_potential(z1, z2, temperature, symmetric, normalize)
    per_example = potential - positive / temperature + jnp.log(z1.shape[0])
    return _reduce(per_example, reduction)


def infonce_terms(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    symmetric: bool = True,
    normalize: bool = True,
    reduction: Reduction = "mean",
) -> InfoNCETerms:
    """InfoNCE with its two parts, alignment and uniformity potential; one pass gives all three.

    Takes what `infonce` takes. With `normalize`, alignment lies in [-1, 1], and Φ in
    [-1/τ, 1/τ]; the paper's population loss is `uniformity - alignment / temperature`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (256, 64))
        >>> terms = infonce_terms(z, z, temperature=0.5)
        >>> round(float(terms.alignment), 4)
        1.0

    Returns:
        `InfoNCETerms`, each reduced as `reduction` says.

    References:
        Wang, Isola, `Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere <https://arxiv.org/abs/2005.10242>`_, 2020.
        Betser, Gofer, Levi, Gilboa, `InfoNCE Induces Gaussian Distribution
        <https://arxiv.org/abs/2602.24012>`_, 2026.
    """
    positive, potential = _positive_and_potential(z1, z2, temperature, symmetric, normalize)
    per_example = potential - positive / temperature + jnp.log(z1.shape[0])
    return InfoNCETerms(
        loss=_reduce(per_example, reduction),
        alignment=_reduce(positive, reduction),
        uniformity=_reduce(potential, reduction),
    )


def _positive_and_potential(z1, z2, temperature, symmetric, normalize):
    """Similarity of the positive pair and log-mean-exp over candidates, per example [batch]."""
    _check(z1, z2, temperature)
    if normalize:
        z1, z2 = safe_normalize(z1), safe_normalize(z2)
    # The accelerators' default for float32 products (TF32, bfloat16 passes) errs by 1e-3, which a
    # temperature of 0.01 turns into 0.1 in the exponent.
    accumulator = jnp.promote_types(jnp.promote_types(z1.dtype, z2.dtype), jnp.float32)
    similarity = jnp.einsum(
        "id,jd->ij", z1, z2, precision=lax.Precision.HIGHEST, preferred_element_type=accumulator
    )
    positive = jnp.diagonal(similarity)
    logits = similarity / temperature
    log_sum_exp = jax.nn.logsumexp(logits, axis=1)
    if symmetric:
        log_sum_exp = (log_sum_exp + jax.nn.logsumexp(logits, axis=0)) / 2
    return positive, log_sum_exp - jnp.log(z1.shape[0])


def _reduce(per_example: Float[Array, "batch"], reduction: Reduction) -> Float[Array, "..."]:
    match reduction:
        case "mean":
            return jnp.mean(per_example)
        case "sum":
            return jnp.sum(per_example)
        case "none":
            return per_example
    raise ValueError(f"reduction is {reduction!r}; use 'mean', 'sum' or 'none'.")


def _check(z1, z2, temperature) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise ValueError(
            f"z1 has shape {z1.shape} and z2 {z2.shape}; both must be [batch, dim], row i of one "
            "being the positive of row i of the other."
        )
    if z1.shape[0] == 0:
        raise ValueError(f"The batch is empty (z1 has shape {z1.shape}); pass at least one pair.")
    for name, z in (("z1", z1), ("z2", z2)):
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise TypeError(f"{name} has dtype {z.dtype}; cast it to a floating-point dtype.")
    # A traced temperature has no value to look at yet.
    if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive (0.05 to 1 is usual).")
