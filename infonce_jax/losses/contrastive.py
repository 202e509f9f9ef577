"""The relatives of InfoNCE, each a few lines over the sums of `tiles`.

All take representations [batch, dim] and compare them by their cosine unless told otherwise. The
options that they share are described in `infonce_jax.losses`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from infonce_jax.losses.common import (
    Axes,
    Exclude,
    Ids,
    Mask,
    PairMask,
    Positives,
    Reduction,
    Weights,
    as_ids,
    as_wide,
    check_arrays,
    check_flags,
    check_negatives,
    check_pair,
    check_reduction,
    check_rows,
    check_scalars,
    check_temperature,
    gather,
    global_index,
    global_size,
    is_below,
    make_pairs,
    number_of_rows,
    objective,
    over_devices,
    own_mask,
    reduce,
    row_weights,
    shares,
    static_scalar,
    without_masked,
)
from infonce_jax.losses.infonce import (
    InfoNCETerms,
    check_denominator,
    with_terms,
)
from infonce_jax.losses.positives import (
    Denominator,
    RowLosses,
    Sets,
    losses_of_rows,
    set_of_positives,
    sigmoid_losses_of_rows,
)
from infonce_jax.losses.tiles import (
    Implementation,
    lse_beside,
    make_plan,
    masked_pairs,
    own_pairs,
    row_and_column_lse,
    row_lse,
    row_softplus,
    safe_logaddexp,
    self_lse,
    swapped_pairs,
)


def nt_xent(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    normalize: bool = True,
    positives: Positives | None = None,
    denominator: Denominator = "all",
    exclude: Ids | None = None,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """NT-Xent, SimCLR's loss: candidates are the other 2·batch - 1 views of both kinds.

    With v the 2·batch rows of both views, v_p(i) the other view of v_i and s_ij = v_i·v_j / τ,

        ℓ_i = -s_ip(i) + log Σ_{j≠i} exp(s_ij),

    and an example's loss is the mean over its two views.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> z = jnp.ones((8, 4))
        >>> bool(abs(nt_xent(z, z, temperature=0.5) - jnp.log(15)) < 1e-6)
        True

    Args:
        z1: representations of the first view.
        z2: representations of the second view.
        temperature: τ > 0, one number or one per example; differentiable.
        positives: examples that belong together, if there are more than the two views of one: an
            integer per example, equal where two examples belong together, or a mask [batch, batch],
            True at [i, j] where both views of example j are positives of both of example i. The
            other view of an example is always its positive.
        denominator: "all" keeps a view's other positives in the denominator, as `sup_con` does;
            "negatives" leaves them out, as pairwise NT-Xent does. `infonce` has both formulas.
        exclude: an integer per example, equal where two examples show the same thing: none of their
            four views are negatives of each other then.

    References:
        Chen, Kornblith, Norouzi, Hinton, [A Simple Framework for Contrastive Learning of Visual
        Representations](https://arxiv.org/abs/2002.05709), 2020, eq. 1.
    """
    return nt_xent_terms(
        z1,
        z2,
        temperature=temperature,
        normalize=normalize,
        positives=positives,
        denominator=denominator,
        exclude=exclude,
        where=where,
        weights=weights,
        reduction=reduction,
        implementation=implementation,
        axis_name=axis_name,
        tile=tile,
    ).loss


@objective
def nt_xent_terms(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    normalize: bool = True,
    positives: Positives | None = None,
    denominator: Denominator = "all",
    exclude: Ids | None = None,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> InfoNCETerms:
    """NT-Xent with its alignment and its uniformity potential.

    Takes what `nt_xent` takes; `loss = -alignment / τ + uniformity + log(2·batch - 1)`.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> terms = infonce_jax.nt_xent_terms(z, z, temperature=0.5)
        >>> whole = -terms.alignment / 0.5 + terms.uniformity + jnp.log(2 * 64 - 1)
        >>> bool(jnp.isclose(terms.loss, whole, atol=1e-5))
        True
    """
    check_pair(z1, z2)
    n = z1.shape[0]
    check_temperature(temperature, n)
    check_reduction(reduction)
    check_denominator(denominator, positives)
    check_rows(n, where, weights)
    z1, z2 = without_masked(where, z1, z2)
    options = normalize, implementation, axis_name, tile, exclude, where
    inverse = 1 / as_wide(temperature, z1, z2)
    weights = row_weights(n, inverse.dtype, where, weights)
    log_candidates = jnp.log(jnp.maximum(2 * number_of_rows(n, where, axis_name) - 1, 1))
    if positives is None and inverse.ndim == 0:
        pair = _two_views(z1, z2, inverse, *options)
        logit = pair.scale * pair.positive
        of_views = [jax.nn.softplus(lse - logit) for lse in pair.lse]
        similarity = pair.positive
    else:
        found = _of_stacked_views(z1, z2, inverse, positives, denominator, *options)
        of_views = found.loss[:n], found.loss[n:]
        similarity = (found.logit[:n] + found.logit[n:]) / 2 / inverse
    loss = reduce((of_views[0] + of_views[1]) / 2, reduction, axis_name, weights)
    return with_terms(loss, similarity, inverse, log_candidates, reduction, axis_name, weights)


@objective
def dcl(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    normalize: bool = True,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """Decoupled contrastive loss: NT-Xent with the positive left out of the denominator.

        ℓ_i = -s_ip(i) + log Σ_{j≠i,p(i)} exp(s_ij)

    over the 2·batch - 2 views of other examples, which removes the coupling that shrinks the
    gradient of easy pairs in small batches. It takes what `nt_xent` takes except `exclude` and
    `positives`, and at least two examples; a single row that `where` leaves has ℓ_i = 0. It has no
    lower bound, and its gradient does not vanish as pairs align.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> bool(infonce_jax.dcl(z, z, temperature=0.5) < infonce_jax.nt_xent(z, z, temperature=0.5))
        True

    References:
        Yeh, Hong, Hsu, Liu, Chen, LeCun, [Decoupled Contrastive
        Learning](https://arxiv.org/abs/2110.06848), 2021, eq. 6.
    """
    _check_two_examples(z1, z2, axis_name)
    check_temperature(temperature, z1.shape[0])
    check_rows(z1.shape[0], where, weights)
    z1, z2 = without_masked(where, z1, z2)
    options = normalize, implementation, axis_name, tile, None, where
    pair = _two_views(z1, z2, 1 / as_wide(temperature, z1, z2), *options)
    lse = (pair.lse[0] + pair.lse[1]) / 2
    per_row = lse - pair.scale * pair.positive
    if where is not None:
        nothing = jnp.isneginf(lse)
        per_row = jnp.where(nothing, 0, jnp.where(nothing, 0, lse) - pair.scale * pair.positive)
    return reduce(
        per_row, reduction, axis_name, row_weights(z1.shape[0], lse.dtype, where, weights)
    )


@objective
def debiased_infonce(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "batch dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    positive_prior: float = 0.1,
    hardness: float = 0.0,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """NT-Xent corrected for negatives that share the anchor's class, and weighted by hardness.

    Of the N = 2·batch - 2 negatives of v_i, a share τ⁺ is expected to be of its class. With weights
    w_ij ∝ exp(β s_ij) of mean 1 on the negatives,

        g_i = max{ (Σ_j w_ij exp(s_ij) - τ⁺ N exp(s_ip(i))) / (1 - τ⁺), N exp(-1/τ) },
        ℓ_i = -log exp(s_ip(i)) / (exp(s_ip(i)) + g_i).

    With β = 0 it is the debiased loss, with τ⁺ = 0 as well NT-Xent. Gradients pass through the
    weights. Similarity is the cosine, on which the floor N exp(-1/τ) rests.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (64, 8))
        >>> loss = infonce_jax.debiased_infonce(z, z, temperature=0.5, positive_prior=0.1)
        >>> bool(loss < infonce_jax.nt_xent(z, z, temperature=0.5))
        True

    Args:
        z1: representations of the first view; at least two examples.
        z2: representations of the second view.
        temperature: τ > 0, one number or one per example; differentiable.
        positive_prior: τ⁺ in [0, 1), about 1 / classes if classes are balanced; static.
        hardness: β >= 0; static. A β above 0 doubles the work.
        where: as in all objectives; a single row that is left has ℓ_i = 0.

    References:
        Chuang, Robinson, Lin, Torralba, Jegelka, [Debiased Contrastive
        Learning](https://arxiv.org/abs/2007.00224), 2020, eq. 7-8.
        Robinson, Chuang, Sra, Jegelka, [Contrastive Learning with Hard Negative
        Samples](https://arxiv.org/abs/2010.04592), 2021, eq. 4 (the weights).
    """
    _check_two_examples(z1, z2, axis_name)
    check_temperature(temperature, z1.shape[0])
    check_rows(z1.shape[0], where, weights)
    z1, z2 = without_masked(where, z1, z2)
    temperature = as_wide(temperature, z1, z2)
    positive_prior = static_scalar("positive_prior", positive_prior)
    hardness = static_scalar("hardness", hardness)
    if not 0 <= positive_prior < 1:
        raise ValueError(f"positive_prior is {positive_prior}; it must lie in [0, 1).")
    if not hardness >= 0:
        raise ValueError(f"hardness is {hardness}; it must not be negative.")
    n_negatives = 2 * number_of_rows(z1.shape[0], where, axis_name) - 2
    log_n = jnp.log(jnp.maximum(n_negatives, 1)).astype(temperature.dtype)
    options = True, implementation, axis_name, tile, None, where

    def lse_of_negatives(sharpness):
        found = _two_views(z1, z2, sharpness / temperature, *options)
        # Rows without negatives, which `where` can leave, count for nothing below.
        return found.positive, [jnp.where(jnp.isneginf(a), 0, a) for a in found.lse]

    positive, negatives = lse_of_negatives(1 + hardness)
    if hardness > 0:
        _, lse_of_weights = lse_of_negatives(hardness)
        negatives = [log_n + a - b for a, b in zip(negatives, lse_of_weights, strict=True)]
    logit = positive / temperature
    floor = log_n - 1 / temperature

    def one_view(log_sum):
        log_g = log_sum
        if positive_prior > 0:
            # log(exp a - exp b) = a + log(1 - exp(b - a)), if that leaves anything.
            excess = jnp.log(positive_prior) + log_n + logit - log_sum
            remains = excess < 0
            log_rest = jnp.log(-jnp.expm1(jnp.where(remains, excess, -1.0)))
            log_g = jnp.where(remains, log_sum + log_rest, -jnp.inf) - jnp.log1p(-positive_prior)
        return jax.nn.softplus(jnp.maximum(log_g, floor) - logit)

    per_example = (one_view(negatives[0]) + one_view(negatives[1])) / 2
    if where is not None:
        per_example = jnp.where(n_negatives > 0, per_example, 0)
    counted = row_weights(z1.shape[0], logit.dtype, where, weights)
    return reduce(per_example, reduction, axis_name, counted)


@objective
def sup_con(
    z: Float[ArrayLike, "batch dim"],
    positives: Ids | PairMask,
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    normalize: bool = True,
    denominator: Denominator = "all",
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """Supervised contrastive loss: several positives, the mean of their logarithms (L_out).

    With P(i) the positives of row i, without i itself,

        ℓ_i = -1/|P(i)| Σ_{p∈P(i)} s_ip + log Σ_{j≠i} exp(s_ij).

    A row without positives has ℓ_i = 0 and is left out of the mean. To use two augmented views of a
    batch, stack them along the first axis and repeat the labels. Under `axis_name` the sums over a
    class gather the rows of all devices, with "ring" too.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (4, 16))
        >>> two_views, labels = jnp.concatenate([z, z + 1]), jnp.tile(jnp.arange(4), 2)
        >>> loss = sup_con(two_views, labels, temperature=0.1)
        >>> bool(jnp.allclose(loss, nt_xent(z, z + 1, temperature=0.1), rtol=1e-4))
        True

    Args:
        z: representations of all views.
        positives: a class label per row, rows of the same class being positives of each other; or
            a mask, True at [i, j] where row j is a positive of row i (under `axis_name`, this
            device's rows and the columns of all devices).
        temperature: τ > 0, one number or one per row; differentiable.
        denominator: "all", as in the formula, or "negatives", which leaves a row's other positives
            out of the denominator of each; see `infonce`.
        reduction: "mean" is over the rows that have a positive.

    References:
        Khosla et al., [Supervised Contrastive Learning](https://arxiv.org/abs/2004.11362), 2020,
        eq. 2.
    """
    check_pair(z, z, ("z", "z"))
    check_arrays(positives=positives)
    n = z.shape[0]
    check_temperature(temperature, n)
    check_flags(normalize=normalize)
    check_reduction(reduction)
    check_denominator(denominator, positives)
    check_rows(n, where, weights)
    (z,) = without_masked(where, z)
    rows, *_ = make_pairs(z, z, normalize, names=("z", "z"))
    n_all = global_size(n, axis_name)
    plan = make_plan(implementation, n, n_all, axis_name, tile)
    inverse = 1 / as_wide(temperature, rows)
    is_labels = positives.ndim == 1 and jnp.issubdtype(positives.dtype, jnp.integer)
    if positives.shape != (n,) if is_labels else positives.shape != (n, n_all):
        _refuse_positives(positives, n, n_all)
    if not is_labels and positives.dtype != jnp.bool_:
        _refuse_positives(positives, n, n_all)
    # A class of labels needs one sum for all of its rows; a symbolic size of `jax.export` has none.
    if is_labels and denominator == "all" and inverse.ndim == 0 and isinstance(n, int):
        found = _of_classes(rows, as_ids(positives), inverse, where, plan)
    else:
        sets = set_of_positives(positives, (n, n), axis_name)[0]
        sets = Sets(sets, _self_and_masked(n, axis_name, where))
        anchors = rows * (inverse[:, None] if inverse.ndim else inverse)
        one, columns = jnp.ones((), rows.dtype), gather(rows, axis_name)
        found = losses_of_rows(anchors, columns, one, sets, denominator, plan)
    counted = found.has_positive.astype(rows.dtype)
    if weights is not None:
        counted = counted * jnp.asarray(weights, rows.dtype)
    return reduce(found.loss, reduction, axis_name, counted)


def _refuse_positives(positives, n, n_all):
    raise ValueError(
        f"positives has shape {positives.shape} and dtype {positives.dtype}; pass an integer label "
        f"per row [{n}] or a boolean mask [{n}, {n_all}]."
    )


def _of_classes(rows, labels, inverse, where, plan) -> RowLosses:
    """SupCon of labels, whose positives need no sum over pairs: the sum of a class serves its rows."""
    n, axis_name = rows.shape[0], plan.axis_name
    n_all = global_size(n, axis_name)
    counts = jnp.ones(n, rows.dtype) if where is None else jnp.asarray(where).astype(rows.dtype)
    _, slot = jnp.unique(gather(labels, axis_name), size=n_all, return_inverse=True)
    slot = slot.astype(jnp.int32)
    index = global_index(n, axis_name)
    own = slot[index]
    total = jax.ops.segment_sum(gather(rows, axis_name), slot, n_all)[own]
    partners = jax.ops.segment_sum(gather(counts, axis_name), slot, n_all)[own] - 1
    has_positive = (partners > 0) & (counts > 0)
    logit = inverse * jnp.sum(rows * (total - rows), axis=1) / jnp.maximum(partners, 1)
    # A single positive is left out of its own candidates, where it would cancel against itself and
    # leave only rounding of a loss near zero. Of several positives the loss is at least the
    # logarithm of their number.
    is_single = partners == 1
    ids = jnp.where(is_single, own, n_all + index.astype(jnp.int32))
    pairs = own_pairs(ids, n, axis_name, where, is_only_source=False)
    lse = self_lse(rows, inverse, plan, pairs)
    # The -inf of a row without any candidate must not reach its zero weight.
    of_several = jnp.where(has_positive & ~is_single, lse, 0)
    loss = jnp.where(is_single, jax.nn.softplus(lse - logit), of_several - logit)
    return RowLosses(jnp.where(has_positive, loss, 0), logit, has_positive)


@objective
def moco(
    query: Float[ArrayLike, "batch dim"],
    key: Float[ArrayLike, "batch dim"],
    negatives: Float[ArrayLike, "queue dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    normalize: bool = True,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """InfoNCE against a queue, or any external negatives, in place of the rest of the batch.

        ℓ_i = -q_i·k_i / τ + log( exp(q_i·k_i / τ) + Σ_j exp(q_i·n_j / τ) )

    MoCo holds keys and queue fixed: pass them through `jax.lax.stop_gradient`; here all three are
    differentiable. `make_queue` and `enqueue` keep a queue. Under `axis_name` each device holds its
    own batch, and its own part of the queue or, replicated, all of it; see `negatives` of `infonce`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> query, key, queue = jnp.eye(3, 8), jnp.eye(3, 8), jnp.eye(8)[3:]
        >>> bool(jnp.allclose(moco(query, key, queue, temperature=1.0), jnp.log1p(5 / jnp.e)))
        True

    Args:
        query: representations that are trained.
        key: row i is the positive of row i of `query`.
        negatives: the queue.
        temperature: τ > 0, one number or one per row; differentiable.

    References:
        He, Fan, Wu, Xie, Girshick, [Momentum Contrast for Unsupervised Visual Representation
        Learning](https://arxiv.org/abs/1911.05722), 2019, eq. 1.
    """
    check_pair(query, key, ("query", "key"))
    check_negatives(negatives, query.shape[1])
    check_temperature(temperature, query.shape[0])
    check_reduction(reduction)
    check_rows(query.shape[0], where, weights)
    query, key = without_masked(where, query, key)
    names = "query", "key"
    rows = make_pairs(query, key, normalize, negatives=negatives, names=names)
    inverse = 1 / as_wide(temperature, rows.x)
    by_row = inverse.ndim == 1
    anchors = rows.x * inverse[:, None] if by_row else rows.x
    scale = jnp.ones((), rows.x.dtype) if by_row else inverse
    lse, _ = lse_beside(anchors, rows.negatives, scale, implementation, axis_name, tile)
    counted = row_weights(query.shape[0], lse.dtype, where, weights)
    return reduce(jax.nn.softplus(lse - inverse * rows.positive), reduction, axis_name, counted)


@objective
def siglip(
    image: Float[ArrayLike, "batch dim"],
    text: Float[ArrayLike, "candidates dim"],
    *,
    logit_scale: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    logit_bias: Num[ArrayLike, ""] | float,
    normalize: bool = True,
    positives: Positives | None = None,
    exclude: Exclude | None = None,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """SigLIP: every pair of the batch is a binary classification of its own.

    With logits s_ij = t u_i·v_j + b, and y_ij = 1 for i = j (or the pairs in `positives`) and -1
    otherwise,

        ℓ_i = Σ_j log(1 + exp(-y_ij s_ij)).

    Examples:
        >>> import jax.numpy as jnp
        >>> z = jnp.eye(4)
        >>> loss = siglip(z, z, logit_scale=1.0, logit_bias=0.0)
        >>> bool(jnp.allclose(loss, jnp.log1p(jnp.exp(-1.0)) + 3 * jnp.log(2.0)))
        True

    Args:
        image: representations of the first modality.
        text: representations of the second; row i belongs to row i of `image`. With `positives` it
            may have another number of rows.
        logit_scale: t > 0, one number or one per row of `image`, already exponentiated if a model
            learns log t; SigLIP starts at 10.
        logit_bias: b; SigLIP starts at -10. Both are differentiable.
        positives: as in `infonce`. A row without positives counts: all of its pairs are negatives.
        exclude: as in `infonce`; an excluded pair is left out of the sum.
        reduction: "mean" is over the rows of `image`, as in the paper, not over pairs.

    References:
        Zhai, Mustafa, Kolesnikov, Beyer, [Sigmoid Loss for Language Image
        Pre-Training](https://arxiv.org/abs/2303.15343), 2023, eq. 1.
    """
    check_pair(image, text, ("image", "text"), same_length=positives is None)
    hint = "SigLIP starts at 10; pass exp of a learned log"
    check_temperature(logit_scale, image.shape[0], "logit_scale", hint)
    check_scalars(logit_bias=logit_bias)
    check_reduction(reduction)
    n, m = image.shape[0], text.shape[0]
    check_rows(n, where, weights)
    if n != m and (where is not None or exclude is not None):
        raise ValueError(
            f"image has {n} rows and text has {m}, and where and exclude are for rows that come in "
            "pairs; leave them out, or pass as many rows of both."
        )
    image, text = without_masked(where, image, text)
    x, y, _, positive = make_pairs(image, text, normalize, names=("image", "text"))
    plan = make_plan(implementation, n, global_size(m, axis_name), axis_name, tile)
    logit_scale, logit_bias = (as_wide(a, x) for a in (logit_scale, logit_bias))
    counted = row_weights(n, x.dtype, where, weights)
    own = None if positive is None else jax.nn.softplus(-(logit_scale * positive + logit_bias))
    if logit_scale.ndim:
        x, logit_scale = x * logit_scale[:, None], jnp.ones((), x.dtype)
    if positives is not None:
        if implementation == "ring":
            raise ValueError(
                "implementation='ring' takes one positive per row; use 'tiled' with `positives`."
            )
        sets = Sets(set_of_positives(positives, (n, m), axis_name)[0])
        if where is not None:
            sets = sets._replace(left_out=_gathered(masked_pairs(where), axis_name))
        if exclude is not None:
            pairs = own_pairs(exclude, n, axis_name, is_only_source=False)
            sets = sets._replace(exclude=_gathered(pairs, axis_name))
        columns = gather(y, axis_name)
        per_row = sigmoid_losses_of_rows(x, columns, logit_scale, logit_bias, sets, plan)
        return reduce(per_row, reduction, axis_name, counted)
    pairs = own_pairs(exclude, n, axis_name, where, is_only_source=False)
    if reduction == "none":
        per_row = own + row_softplus(x, y, logit_scale, logit_bias, None, plan, pairs)
        return reduce(per_row, reduction, axis_name, counted)
    share = shares(n, x.dtype, reduction, axis_name, counted)
    total = row_softplus(x, y, logit_scale, logit_bias, share, plan, pairs)
    return over_devices(lax.psum, jnp.sum(share * own) + total, axis_name)


# --- both views of every example ------------------------------------------------------------------


class _TwoViews(NamedTuple):
    """Of every example: the similarity of its views, and log Σ exp over the other examples' views.

    Attributes:
        positive: the similarity of the two views.
        lse: for each of the two views, over both views of all other examples.
        scale: 1 / τ.
    """

    positive: Float[Array, " batch"]
    lse: tuple[Float[Array, " batch"], Float[Array, " batch"]]
    scale: Float[Array, ""] | Float[Array, " batch"]


def _two_views(
    z1, z2, scale, normalize, implementation, axis_name, tile, exclude, where
) -> _TwoViews:
    """Three blocks of the [2·batch, 2·batch] matrix, those within a view by their upper triangles.

    Together they are half of it. The positives are left out: a loss that counts them among the
    candidates adds them at the end, where they cannot cancel.
    """
    x, y, _, positive = make_pairs(z1, z2, normalize)
    n = x.shape[0]
    plan = make_plan(implementation, n, global_size(n, axis_name), axis_name, tile)
    _check_ids(exclude, n)
    pairs = own_pairs(exclude, n, axis_name, where)
    if scale.ndim:
        # Each view of an example is an anchor with the example's temperature: no block is symmetric.
        one, swapped = jnp.ones((), x.dtype), swapped_pairs(pairs, axis_name)
        views = ((x, y, pairs), (y, x, swapped))
        lse = tuple(
            safe_logaddexp(
                row_lse(z * scale[:, None], other, one, plan, across),
                row_lse(z * scale[:, None], z, one, plan, pairs),
            )
            for z, other, across in views
        )
        return _TwoViews(positive, lse, scale)
    across = row_and_column_lse(x, y, scale, plan, pairs)
    of_self = None if exclude is None and where is None else pairs
    within = (self_lse(z, scale, plan, of_self) for z in (x, y))
    lse = tuple(safe_logaddexp(a, b) for a, b in zip(across, within, strict=True))
    return _TwoViews(positive, lse, scale)


def _check_ids(exclude, n):
    if exclude is not None and np.ndim(exclude) != 1:
        raise ValueError(
            f"exclude has shape {np.shape(exclude)}; a mask does not say which views it is of. Pass an "
            f"integer per example [{n}], equal where two examples are no negatives of each other."
        )


def _of_stacked_views(
    z1,
    z2,
    inverse,
    positives,
    denominator,
    normalize,
    implementation,
    axis_name,
    tile,
    exclude,
    where,
) -> RowLosses:
    """The 2·batch rows of both views as anchors, the first view's before the second's."""
    if implementation == "ring":
        raise ValueError(
            "implementation='ring' takes one temperature and one positive per row; use 'tiled'."
        )
    x, y, *_ = make_pairs(z1, z2, normalize)
    n = x.shape[0]
    n_all = global_size(n, axis_name)
    plan = make_plan(implementation, 2 * n, 2 * n_all, axis_name, tile)

    def twice(a):
        return jnp.concatenate([a, a])

    def stacked(pairs):
        """A set of pairs of examples, between both views of these."""
        if isinstance(pairs, tuple):
            return twice(pairs[0]), twice(pairs[1])
        return jnp.tile(pairs, (2, 2))

    if positives is None:
        positives = global_index(n, axis_name)
        of_examples = positives, gather(positives, axis_name)
    else:
        if isinstance(positives, tuple):
            raise ValueError(
                f"positives is a tuple; both views have the same ids here. Pass an integer per "
                f"example [{n}], or a mask of examples [{n}, {n_all}]."
            )
        of_examples = set_of_positives(positives, (n, n), axis_name)[0]
        if not isinstance(of_examples, tuple):
            of_examples = of_examples | own_mask(n, axis_name)
    index = global_index(n, axis_name)
    of_self = (
        jnp.concatenate([index, index + n_all]),
        jnp.arange(2 * n_all, dtype=index.dtype),
    )
    if where is not None:
        rows, columns = (twice(m) for m in _gathered(masked_pairs(where), axis_name))
        of_self = (
            jnp.column_stack([of_self[0], rows]),
            jnp.column_stack([of_self[1], columns]),
        )
    _check_ids(exclude, n)
    left = None
    if exclude is not None:
        left = stacked(_gathered(own_pairs(exclude, n, axis_name), axis_name))
    sets = Sets(stacked(of_examples), of_self, left)
    rows = jnp.concatenate([x, y])
    columns = jnp.concatenate([gather(x, axis_name), gather(y, axis_name)])
    anchors = rows * (twice(inverse)[:, None] if inverse.ndim else inverse)
    one = jnp.ones((), rows.dtype)
    return losses_of_rows(anchors, columns, one, sets, denominator, plan)


def _self_and_masked(n, axis_name, where):
    """Pairs of a row with itself, or with a row that does not count, in one set of rows."""
    return _gathered(own_pairs(None, n, axis_name, where), axis_name)


def _gathered(pairs, axis_name):
    """Pairs of this device's rows and the columns of all devices."""
    if isinstance(pairs, tuple):
        return pairs[0], gather(pairs[1], axis_name)
    return pairs


def _check_two_examples(z1, z2, axis_name) -> None:
    check_pair(z1, z2)
    if is_below(global_size(z1.shape[0], axis_name), 2):
        raise ValueError(
            f"The batch has {z1.shape[0]} example, which leaves no negatives; pass at least two."
        )
