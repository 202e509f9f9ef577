"""InfoNCE, one-way and symmetric, and its CLIP form."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from infonce_jax.losses.common import (
    Reduction,
    Similarity,
    as_scalar,
    check_flags,
    check_negatives,
    check_pair,
    check_positive,
    check_reduction,
    check_scalars,
    check_temperature,
    global_size,
    make_pairs,
    reduce,
    with_auto_axes,
)
from infonce_jax.losses.tiles import (
    Implementation,
    lse_beside,
    make_plan,
    own_pairs,
    row_and_column_lse,
    row_lse,
    safe_logaddexp,
    weighted_row_loss,
)


class InfoNCETerms(NamedTuple):
    """InfoNCE and its two parts: `loss = -alignment / temperature + uniformity + log(candidates)`.

    There are as many candidates as rows in the batch, for NT-Xent 2·batch - 1. `negatives` beside
    the batch add to those of z1 → z2; symmetric InfoNCE takes the mean of both logarithms. Excluded
    pairs are counted, as candidates that contribute nothing. Of a sum over the batch the logarithm
    is taken once for each example.

    Attributes:
        loss: the cross-entropy over the batch.
        alignment: mean similarity of the positive pairs, E_π[u·v].
        uniformity: the uniformity potential Φ(μ) = E_u log E_v exp(u·v / temperature), its inner
            expectation taken over the candidates.
    """

    loss: Float[Array, "..."]
    alignment: Float[Array, "..."]
    uniformity: Float[Array, "..."]


def infonce(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    symmetric: bool = True,
    normalize: bool = True,
    similarity: Similarity = "inner_product",
    exclude: Int[Array, "batch"] | Bool[Array, "batch candidates"] | None = None,
    negatives: Float[Array, "queue dim"] | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """InfoNCE: the cross-entropy of picking each row's partner out of the batch.

    With s_ij = u_i·v_j / τ and u, v the rows of z1, z2 on the unit sphere, row i contributes

        ℓ_i = -s_ii + log Σ_j exp(s_ij),

    and, where `symmetric`, the mean of ℓ_i and of the same with the two views exchanged. As the
    batch grows, the loss less log(batch) tends to -E_π[u·v] / τ + Φ(μ); see `infonce_terms`.

    Negatives are all rows of the arrays passed in. Under `jax.jit` with the batch sharded over
    devices these are the rows of all devices. Inside `jax.shard_map` the arrays are one device's
    rows; name the mapped axis in `axis_name`, and negatives are again the rows of all devices, and
    the mean is over all of them.

    Under `jax.jit` the arrays and the temperature may be arguments. The other options are static:
    close over them (`functools.partial`) or name them in `static_argnames`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (256, 64))
        >>> loss = infonce(z, jnp.roll(z, 1, axis=0), temperature=0.5)
        >>> bool(loss > infonce(z, z, temperature=0.5))
        True

    Args:
        z1: representations of the first view.
        z2: representations of the second view; row i is the positive of row i of `z1`.
        temperature: τ > 0, in units of the similarity; a number or a 0-d array. May be traced, and
            is differentiable.
        symmetric: average the direction z1 → z2 with z2 → z1 instead of the first alone.
        normalize: take the rows on the unit sphere, so that the inner product is the cosine;
            otherwise as they are.
        similarity: "inner_product" u·v, or "squared_distance" for -‖u - v‖², made of inner products:
            it is exact to some 1e-6 of the largest ‖u‖² of the centred rows, in float32.
        exclude: pairs that are no negatives of each other (false negatives): an integer per
            example, equal where two examples show the same thing, or a mask, True at [i, j] where
            row j of `z2` is not to count as a negative of row i of `z1`. The positive always
            counts. Under `axis_name` the mask has this device's rows and the columns of all; "ring"
            takes integers alone.
        negatives: candidates beside the batch, such as mined hard negatives or a queue: every row of
            `z1` meets all of them, beside the rows of `z2`; the direction z2 → z1 does not, and
            `exclude` does not reach them. They are differentiable. Under `axis_name` each device
            passes a part of them, and all parts count; or all devices pass the same ones, replicated
            over the axis, and they count once (where `jax.shard_map` does not check what varies, with
            `check_vma=False`, and inside `jax.pmap`, they are taken for parts). With a queue instead
            of the batch's own negatives it is `moco`.
        reduction: "mean" or "sum" over the batch, or "none" for ℓ [batch].
        implementation: "dense" builds the [batch, batch] matrix and can be differentiated any
            number of times, in either mode; "tiled" never builds it, takes O(batch · dim) memory
            and is made for one derivative, in reverse mode (`jax.grad`); "ring" is tiled with the
            rows of `z2` passed round the devices of `axis_name`, for batches of which no device can
            hold all rows; "auto" takes dense for at most 1,536² pairs on a CPU, 2,048² elsewhere,
            and tiled for more. `negatives` are met in the same way, "auto" going by their number.
            Forward mode (`jax.jvp`, `jax.jacfwd`) of the tiled form ends in JAX's "can't apply
            forward-mode autodiff (jvp) to a custom_vjp function": pass "dense", as for Hessians and
            other second derivatives too, whose memory the tiled form does not bound. "auto" does
            not know which derivative is to come.
        axis_name: axis of `jax.shard_map` or `jax.pmap` over which the batch is sharded, or several.
            Differentiate outside of `jax.shard_map`; a gradient taken inside it under
            `check_vma=False`, or inside `jax.pmap`, is that of every device's own copy of the loss:
            take its `pmean`. Over an axis that `jax.vmap` names, differentiate the dense form.
        tile: rows and columns of a tile, instead of those chosen for the backend. The one-way mean
            or sum goes by strips that see all columns: as many rows as hold so many logits, at least
            64, at most the tile's.

    Returns:
        The loss, accumulated in float32 (float64 for float64 input) whatever dtype comes in.

    Raises:
        ValueError: where shapes disagree, the batch is empty, τ is no scalar or known and not
            positive, or an option is none of those named.
        TypeError: where the representations are no arrays or not floating point, τ is no number, or
            a static option is traced.

    References:
        van den Oord, Li, Vinyals, `Representation Learning with Contrastive Predictive Coding
        <https://arxiv.org/abs/1807.03748>`_, 2018.
        Radford et al., `Learning Transferable Visual Models From Natural Language Supervision
        <https://arxiv.org/abs/2103.00020>`_, 2021 (the symmetric form).
    """
    return infonce_terms(
        z1,
        z2,
        temperature=temperature,
        symmetric=symmetric,
        normalize=normalize,
        similarity=similarity,
        exclude=exclude,
        negatives=negatives,
        reduction=reduction,
        implementation=implementation,
        axis_name=axis_name,
        tile=tile,
    ).loss


@with_auto_axes
def infonce_terms(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    symmetric: bool = True,
    normalize: bool = True,
    similarity: Similarity = "inner_product",
    exclude: Int[Array, "batch"] | Bool[Array, "batch candidates"] | None = None,
    negatives: Float[Array, "queue dim"] | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> InfoNCETerms:
    """InfoNCE with its two parts, alignment and uniformity potential; one pass gives all three.

    Takes what `infonce` takes. Of cosines alignment lies in [-1, 1], and Φ, where nothing is
    excluded, in [-1/τ, 1/τ]; the paper's population loss is `uniformity - alignment / temperature`.

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
    check_pair(z1, z2)
    if negatives is not None:
        check_negatives(negatives, z1.shape[1])
    check_temperature(temperature)
    check_flags(symmetric=symmetric)
    check_reduction(reduction)
    x, y, beside, positive = make_pairs(z1, z2, normalize, similarity, axis_name, negatives)
    n, n_all = len(x), global_size(len(x), axis_name)
    plan = make_plan(implementation, n, n_all, axis_name, tile)
    pairs = own_pairs(exclude, n, axis_name)
    scale = 1 / as_scalar(temperature, z1)
    logit = scale * positive
    candidates = n_all
    # ℓ_i = log(1 + Σ_{j≠i} exp(s_ij - s_ii)): a positive among its own candidates would cancel
    # itself, and of a loss near zero little else than rounding would be left.
    if beside is None and not symmetric and reduction != "none":
        weights = jnp.full(n, 1 / n if reduction == "mean" else 1.0, positive.dtype)
        total = weighted_row_loss(x, y, scale, logit, weights, plan, pairs)
        # One number per device: what is left to do is the mean or sum over devices.
        loss = reduce(total[None], reduction, axis_name)
    else:
        if symmetric:
            rows, columns = row_and_column_lse(x, y, scale, plan, pairs)
        else:
            rows = row_lse(x, y, scale, plan, pairs)
        if beside is not None:
            more, m_all = lse_beside(x, beside, scale, implementation, axis_name, tile)
            rows = safe_logaddexp(rows, more)
            # The two directions count candidates of their own; what enters is their mean logarithm.
            candidates = n_all + m_all
            candidates = math.sqrt(n_all * candidates) if symmetric else candidates
        per_row = jax.nn.softplus(rows - logit)
        if symmetric:
            per_row = (per_row + jax.nn.softplus(columns - logit)) / 2
        loss = reduce(per_row, reduction, axis_name)
    return beside_its_terms(loss, positive, scale, n_all, candidates, reduction, axis_name)


def beside_its_terms(
    loss: Float[Array, "..."],
    positive: Float[Array, "batch"],
    scale: Float[Array, ""],
    batch: int,
    candidates: float,
    reduction: Reduction,
    axis_name: str | tuple[str, ...] | None,
) -> InfoNCETerms:
    """A reduced loss over so many candidates, with its alignment and its potential."""
    alignment = reduce(positive, reduction, axis_name)
    count = batch if reduction == "sum" else 1
    potential = loss + alignment * scale - count * jnp.log(candidates)
    return InfoNCETerms(loss, alignment, potential)


def clip(
    image: Float[Array, "batch dim"],
    text: Float[Array, "batch dim"],
    *,
    logit_scale: Num[Array, ""] | float,
    logit_bias: Num[Array, ""] | float = 0.0,
    normalize: bool = True,
    exclude: Int[Array, "batch"] | Bool[Array, "batch candidates"] | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """CLIP's loss: symmetric InfoNCE of logits t u_i·v_j + b with a learned scale t.

    It is `infonce` with temperature 1 / t. A bias b shared by all logits cancels between the
    positive and its candidates: it is taken for the sake of models that carry one, changes nothing
    and has a zero gradient. For what else `infonce` takes, such as mined `negatives`, call it with
    `temperature=1 / logit_scale`.

    Args:
        image: representations of the first modality.
        text: representations of the second; row i belongs to row i of `image`.
        logit_scale: t > 0, already exponentiated where a model learns log t. CLIP starts at
            1 / 0.07 and holds it below 100.
        logit_bias: b.
        normalize: see `infonce`.
        exclude: see `infonce`.
        reduction: see `infonce`.
        implementation: see `infonce`.
        axis_name: see `infonce`.
        tile: see `infonce`.

    References:
        Radford et al., `Learning Transferable Visual Models From Natural Language Supervision
        <https://arxiv.org/abs/2103.00020>`_, 2021, figure 3.
    """
    check_pair(image, text, ("image", "text"))
    check_positive("logit_scale", logit_scale, "CLIP starts at 1 / 0.07; pass exp of a learned log")
    check_scalars(logit_bias=logit_bias)
    loss = infonce(
        image,
        text,
        temperature=1 / as_scalar(logit_scale, image),
        normalize=normalize,
        exclude=exclude,
        reduction=reduction,
        implementation=implementation,
        axis_name=axis_name,
        tile=tile,
    )
    return loss + 0 * jnp.asarray(logit_bias, loss.dtype)
