"""The relatives of InfoNCE, each a few lines over the sums of `tiles`.

All take representations [batch, dim], compare them by their cosine unless told otherwise, and take
`reduction`, `implementation`, `axis_name` and `tile` as `infonce` does: negatives are the rows
passed in, of all devices where an axis is named.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from infonce_jax.losses.common import (
    Reduction,
    as_scalar,
    check_arrays,
    check_flags,
    check_negatives,
    check_pair,
    check_reduction,
    check_scalars,
    check_temperature,
    gather,
    global_index,
    global_size,
    make_pairs,
    own_mask,
    reduce,
    safe_normalize,
    static_scalar,
    widen,
    with_auto_axes,
)
from infonce_jax.losses.infonce import InfoNCETerms, beside_its_terms
from infonce_jax.losses.tiles import (
    Implementation,
    lse_beside,
    make_plan,
    own_pairs,
    row_and_column_lse,
    row_softplus,
    safe_logaddexp,
    self_lse,
)


def nt_xent(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    normalize: bool = True,
    exclude: Int[Array, "batch"] | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """NT-Xent, SimCLR's loss: candidates are the other 2·batch - 1 views of both kinds.

    With v the 2·batch rows of both views, v_p(i) the other view of v_i and s_ij = v_i·v_j / τ,

        ℓ_i = -s_ip(i) + log Σ_{j≠i} exp(s_ij),

    and an example's loss is the mean over its two views.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> z = jnp.ones((8, 4))
        >>> bool(abs(nt_xent(z, z, temperature=0.5) - jnp.log(15)) < 1e-6)
        True

    Args:
        z1: representations of the first view.
        z2: representations of the second view.
        temperature: τ > 0; differentiable.
        normalize: see `infonce`.
        exclude: an integer per example, equal where two examples show the same thing: none of their
            four views are negatives of each other then.
        reduction: see `infonce`.
        implementation: see `infonce`.
        axis_name: see `infonce`.
        tile: see `infonce`.

    References:
        Chen, Kornblith, Norouzi, Hinton, `A Simple Framework for Contrastive Learning of Visual
        Representations <https://arxiv.org/abs/2002.05709>`_, 2020, eq. 1.
    """
    return nt_xent_terms(
        z1,
        z2,
        temperature=temperature,
        normalize=normalize,
        exclude=exclude,
        reduction=reduction,
        implementation=implementation,
        axis_name=axis_name,
        tile=tile,
    ).loss


@with_auto_axes
def nt_xent_terms(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    normalize: bool = True,
    exclude: Int[Array, "batch"] | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> InfoNCETerms:
    """NT-Xent with its alignment and its uniformity potential.

    Takes what `nt_xent` takes; `loss = -alignment / τ + uniformity + log(2·batch - 1)`.
    """
    options = normalize, implementation, axis_name, tile, exclude
    pair = _two_views(z1, z2, temperature, *options)
    logit = pair.scale * pair.positive
    of_views = [jax.nn.softplus(lse - logit) for lse in pair.lse]
    loss = reduce((of_views[0] + of_views[1]) / 2, reduction, axis_name)
    n_all = global_size(len(z1), axis_name)
    return beside_its_terms(
        loss, pair.positive, pair.scale, n_all, 2 * n_all - 1, reduction, axis_name
    )


@with_auto_axes
def dcl(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    normalize: bool = True,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """Decoupled contrastive loss: NT-Xent without the positive among its candidates.

        ℓ_i = -s_ip(i) + log Σ_{j≠i,p(i)} exp(s_ij)

    over the 2·batch - 2 views of other examples, which removes the coupling that shrinks the
    gradient of easy pairs in small batches. It takes what `nt_xent` takes but `exclude`, and at
    least two examples.

    References:
        Yeh, Hong, Hsu, Liu, Chen, LeCun, `Decoupled Contrastive Learning
        <https://arxiv.org/abs/2110.06848>`_, 2021, eq. 6.
    """
    _check_two_examples(z1, z2, axis_name)
    options = normalize, implementation, axis_name, tile
    pair = _two_views(z1, z2, temperature, *options)
    lse = (pair.lse[0] + pair.lse[1]) / 2
    return reduce(lse - pair.scale * pair.positive, reduction, axis_name)


@with_auto_axes
def debiased_infonce(
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    *,
    temperature: Num[Array, ""] | float,
    positive_prior: float = 0.1,
    hardness: float = 0.0,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """NT-Xent corrected for negatives that share the anchor's class, and weighted by hardness.

    Of the N = 2·batch - 2 negatives of v_i a share τ⁺ is expected to be positives in truth. With
    weights w_ij ∝ exp(β s_ij) of mean 1 on the negatives,

        g_i = max{ (Σ_j w_ij exp(s_ij) - τ⁺ N exp(s_ip(i))) / (1 - τ⁺), N exp(-1/τ) },
        ℓ_i = -log exp(s_ip(i)) / (exp(s_ip(i)) + g_i).

    With β = 0 it is the debiased loss, with τ⁺ = 0 as well NT-Xent. Gradients pass through the
    weights. Similarity is the cosine, which the floor N exp(-1/τ) rests upon.

    Args:
        z1: representations of the first view; at least two examples.
        z2: representations of the second view.
        temperature: τ > 0; differentiable.
        positive_prior: τ⁺ in [0, 1), about 1 / classes where classes are balanced; static.
        hardness: β >= 0; static. A β above 0 doubles the work.
        reduction: see `infonce`.
        implementation: see `infonce`.
        axis_name: see `infonce`.
        tile: see `infonce`.

    References:
        Chuang, Robinson, Lin, Torralba, Jegelka, `Debiased Contrastive Learning
        <https://arxiv.org/abs/2007.00224>`_, 2020, eq. 7-8.
        Robinson, Chuang, Sra, Jegelka, `Contrastive Learning with Hard Negative Samples
        <https://arxiv.org/abs/2010.04592>`_, 2021, eq. 4 (the weights).
    """
    _check_two_examples(z1, z2, axis_name)
    check_temperature(temperature)
    temperature = as_scalar(temperature, z1)
    positive_prior = static_scalar("positive_prior", positive_prior)
    hardness = static_scalar("hardness", hardness)
    if not 0 <= positive_prior < 1:
        raise ValueError(f"positive_prior is {positive_prior}; it must lie in [0, 1).")
    if not hardness >= 0:
        raise ValueError(f"hardness is {hardness}; it must not be negative.")
    log_n = jnp.log(2 * global_size(len(z1), axis_name) - 2)
    options = True, implementation, axis_name, tile

    def lse_of_negatives(sharpness):
        return _two_views(z1, z2, temperature / sharpness, *options)

    positive, negatives, _ = lse_of_negatives(1 + hardness)
    if hardness > 0:
        weights = lse_of_negatives(hardness).lse
        negatives = [log_n + a - b for a, b in zip(negatives, weights, strict=True)]
    logit = positive / temperature
    floor = log_n - 1 / temperature

    def one_view(log_sum):
        log_g = log_sum
        if positive_prior > 0:
            # log(exp a - exp b) = a + log(1 - exp(b - a)), where that leaves anything.
            excess = jnp.log(positive_prior) + log_n + logit - log_sum
            remains = excess < 0
            log_rest = jnp.log(-jnp.expm1(jnp.where(remains, excess, -1.0)))
            log_g = jnp.where(remains, log_sum + log_rest, -jnp.inf) - jnp.log1p(-positive_prior)
        return jax.nn.softplus(jnp.maximum(log_g, floor) - logit)

    per_example = (one_view(negatives[0]) + one_view(negatives[1])) / 2
    return reduce(per_example, reduction, axis_name)


@with_auto_axes
def sup_con(
    z: Float[Array, "batch dim"],
    positives: Int[Array, "batch"] | Bool[Array, "batch candidates"],
    *,
    temperature: Num[Array, ""] | float,
    normalize: bool = True,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """Supervised contrastive loss: several positives, the mean of their logarithms (L_out).

    With P(i) the positives of row i, itself apart,

        ℓ_i = -1/|P(i)| Σ_{p∈P(i)} s_ip + log Σ_{j≠i} exp(s_ij).

    A row without positives has ℓ_i = 0 and is left out of the mean. Two augmented views of a batch
    are stacked along the first axis and their labels repeated. Under `axis_name` the sums over a
    class gather the rows of all devices, with "ring" too.

    Args:
        z: representations of all views.
        positives: a class label per row, rows of the same class being positives of each other; or
            a mask, True at [i, j] where row j is a positive of row i (under `axis_name`, this
            device's rows and the columns of all).
        temperature: τ > 0; differentiable.
        normalize: see `infonce`.
        reduction: see `infonce`; "mean" is over the rows that have a positive.
        implementation: see `infonce`.
        axis_name: see `infonce`.
        tile: see `infonce`.

    References:
        Khosla et al., `Supervised Contrastive Learning <https://arxiv.org/abs/2004.11362>`_, 2020,
        eq. 2.
    """
    check_pair(z, z, ("z", "z"))
    check_arrays(positives=positives)
    check_temperature(temperature)
    check_flags(normalize=normalize)
    check_reduction(reduction)
    n, n_all = len(z), global_size(len(z), axis_name)
    z = safe_normalize(z) if normalize else z
    wide = widen(z)
    plan = make_plan(implementation, n, n_all, axis_name, tile)

    if positives.shape == (n,) and jnp.issubdtype(positives.dtype, jnp.integer):
        # The sum over a class serves all of its rows: O(batch · dim) instead of a mask's product.
        _, slot = jnp.unique(gather(positives, axis_name), size=n_all, return_inverse=True)
        total = jax.ops.segment_sum(gather(wide, axis_name), slot, n_all)
        size = jax.ops.segment_sum(jnp.ones(n_all, wide.dtype), slot, n_all)
        own = slot[global_index(n, axis_name)]
        count = size[own] - 1
        sum_of_positives = total[own] - wide
    elif positives.shape == (n, n_all) and positives.dtype == jnp.bool_:
        mask = positives & ~own_mask(n, axis_name)
        count = jnp.sum(mask, axis=1).astype(wide.dtype)
        sum_of_positives = jnp.matmul(
            mask.astype(wide.dtype), gather(wide, axis_name), precision=lax.Precision.HIGHEST
        )
    else:
        raise ValueError(
            f"positives has shape {positives.shape} and dtype {positives.dtype}; pass an integer "
            f"label per row [{n}] or a boolean mask [{n}, {n_all}]."
        )
    has_positive = count > 0
    positive = jnp.sum(wide * sum_of_positives, axis=1) / jnp.maximum(count, 1)
    scale = 1 / as_scalar(temperature, z)
    lse = self_lse(z, scale, plan)
    # The -inf of a row without any candidate must not reach the product with its zero weight.
    lse = jnp.where(has_positive, lse, 0)
    per_row = jnp.where(has_positive, lse - scale * positive, 0)
    if reduction != "mean":
        return reduce(per_row, reduction, axis_name)
    total, rows = (reduce(v, "sum", axis_name) for v in (per_row, has_positive.astype(wide.dtype)))
    return total / jnp.maximum(rows, 1)


@with_auto_axes
def moco(
    query: Float[Array, "batch dim"],
    key: Float[Array, "batch dim"],
    negatives: Float[Array, "queue dim"],
    *,
    temperature: Num[Array, ""] | float,
    normalize: bool = True,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """InfoNCE against a queue, or any external negatives, instead of the rest of the batch.

        ℓ_i = -q_i·k_i / τ + log( exp(q_i·k_i / τ) + Σ_j exp(q_i·n_j / τ) )

    MoCo holds keys and queue fixed: pass them through `jax.lax.stop_gradient`; here all three are
    differentiable. Under `axis_name` each device holds its own batch, and its own part of the queue
    or, replicated, all of it; see `negatives` of `infonce`.

    Args:
        query: representations that are trained.
        key: row i is the positive of row i of `query`.
        negatives: the queue.
        temperature: τ > 0; differentiable.
        normalize: see `infonce`.
        reduction: see `infonce`.
        implementation: see `infonce`.
        axis_name: see `infonce`.
        tile: see `infonce`.

    References:
        He, Fan, Wu, Xie, Girshick, `Momentum Contrast for Unsupervised Visual Representation
        Learning <https://arxiv.org/abs/1911.05722>`_, 2019, eq. 1.
    """
    check_pair(query, key, ("query", "key"))
    check_negatives(negatives, query.shape[1])
    check_temperature(temperature)
    check_reduction(reduction)
    q, _, negatives, positive = make_pairs(query, key, normalize, negatives=negatives)
    scale = 1 / as_scalar(temperature, query)
    lse, _ = lse_beside(q, negatives, scale, implementation, axis_name, tile)
    return reduce(jax.nn.softplus(lse - scale * positive), reduction, axis_name)


@with_auto_axes
def siglip(
    image: Float[Array, "batch dim"],
    text: Float[Array, "batch dim"],
    *,
    logit_scale: Num[Array, ""] | float,
    logit_bias: Num[Array, ""] | float,
    normalize: bool = True,
    exclude: Int[Array, "batch"] | Bool[Array, "batch candidates"] | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: str | tuple[str, ...] | None = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, "batch"]:
    """SigLIP: every pair of the batch is a binary classification of its own.

    With logits s_ij = t u_i·v_j + b, and y_ij = 1 for i = j and -1 otherwise,

        ℓ_i = Σ_j log(1 + exp(-y_ij s_ij)).

    Args:
        image: representations of the first modality.
        text: representations of the second; row i belongs to row i of `image`.
        logit_scale: t, already exponentiated where a model learns log t; SigLIP starts at 10.
        logit_bias: b; SigLIP starts at -10. Both are differentiable.
        normalize: see `infonce`.
        exclude: see `infonce`; an excluded pair is no pair of the sum.
        reduction: see `infonce`; "mean" is over rows, as in the paper, not over pairs.
        implementation: see `infonce`.
        axis_name: see `infonce`.
        tile: see `infonce`.

    References:
        Zhai, Mustafa, Kolesnikov, Beyer, `Sigmoid Loss for Language Image Pre-Training
        <https://arxiv.org/abs/2303.15343>`_, 2023, eq. 1.
    """
    check_pair(image, text, ("image", "text"))
    check_scalars(logit_scale=logit_scale, logit_bias=logit_bias)
    check_reduction(reduction)
    x, y, _, positive = make_pairs(image, text, normalize)
    n, n_all = len(x), global_size(len(x), axis_name)
    plan = make_plan(implementation, n, n_all, axis_name, tile)
    pairs = own_pairs(exclude, n, axis_name)
    logit_scale, logit_bias = (as_scalar(a, image) for a in (logit_scale, logit_bias))
    own = jax.nn.softplus(-(logit_scale * positive + logit_bias))
    if reduction == "none":
        return own + row_softplus(x, y, logit_scale, logit_bias, None, plan, pairs)
    weights = jnp.full(n, 1 / n if reduction == "mean" else 1.0, positive.dtype)
    total = row_softplus(x, y, logit_scale, logit_bias, weights, plan, pairs)
    return reduce(own, reduction, axis_name) + reduce(total[None], reduction, axis_name)


class _TwoViews(NamedTuple):
    """Of every example: the similarity of its views, and log Σ exp over the other examples' views.

    Attributes:
        positive: the similarity of the two views.
        lse: for each of the two views, over both views of all other examples.
        scale: 1 / τ.
    """

    positive: Float[Array, "batch"]
    lse: tuple[Float[Array, "batch"], Float[Array, "batch"]]
    scale: Float[Array, ""]


def _two_views(
    z1, z2, temperature, normalize, implementation, axis_name, tile, exclude=None
) -> _TwoViews:
    """Three blocks of the [2·batch, 2·batch] matrix, those within a view by their upper triangles.

    Together they are half of it. The positives are left out: a loss that counts them among the
    candidates adds them at the end, where they cannot cancel.
    """
    check_pair(z1, z2)
    check_temperature(temperature)
    x, y, _, positive = make_pairs(z1, z2, normalize)
    n, n_all = len(x), global_size(len(x), axis_name)
    plan = make_plan(implementation, n, n_all, axis_name, tile)
    scale = 1 / as_scalar(temperature, z1)
    if exclude is not None and np.ndim(exclude) != 1:
        raise ValueError(
            f"exclude has shape {np.shape(exclude)}; a mask does not say which views it is of. Pass an "
            f"integer per example [{n}], equal where two examples are no negatives of each other."
        )
    across = row_and_column_lse(x, y, scale, plan, own_pairs(exclude, n, axis_name))
    within = (self_lse(z, scale, plan, exclude) for z in (x, y))
    lse = tuple(safe_logaddexp(a, b) for a, b in zip(across, within, strict=True))
    return _TwoViews(positive, lse, scale)


def _check_two_examples(z1, z2, axis_name) -> None:
    check_pair(z1, z2)
    if global_size(len(z1), axis_name) < 2:
        raise ValueError(
            f"The batch has {len(z1)} example, which leaves no negatives; pass at least two."
        )
