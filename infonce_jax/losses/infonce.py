"""InfoNCE, one-way and symmetric, and its CLIP form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from infonce_jax.losses.common import (
    Axes,
    Exclude,
    Mask,
    Positives,
    Reduction,
    Similarity,
    Weights,
    as_wide,
    check_flags,
    check_negatives,
    check_pair,
    check_reduction,
    check_rows,
    check_scalars,
    check_temperature,
    gather,
    global_size,
    make_pairs,
    number_of_rows,
    objective,
    over_devices,
    reduce,
    row_weights,
    shares,
    without_masked,
)
from infonce_jax.losses.positives import (
    Denominator,
    Sets,
    losses_of_rows,
    set_of_positives,
)
from infonce_jax.losses.tiles import (
    Implementation,
    lse_beside,
    make_plan,
    masked_pairs,
    own_pairs,
    row_and_column_lse,
    row_lse,
    safe_logaddexp,
    swapped_pairs,
    weighted_row_loss,
)


class InfoNCETerms(NamedTuple):
    """InfoNCE and its two parts: `loss = -alignment / temperature + uniformity + log(candidates)`.

    There are as many candidates as rows in the batch, for NT-Xent 2·batch - 1. `negatives` beside
    the batch add to those of z1 → z2; symmetric InfoNCE takes the mean of both logarithms. Excluded
    pairs count towards the candidates but add zero to the sum; rows masked by `where` do not count.
    For a sum over the batch the logarithm is added once per example. With one temperature per row
    the first term is the mean of -s_ii / τ_i.

    Attributes:
        loss: the cross-entropy over the batch.
        alignment: mean similarity of the positive pairs, E_π[u·v].
        uniformity: the uniformity potential Φ(μ) = E_u log E_v exp(u·v / temperature), with the
            inner expectation over the candidates.
    """

    loss: Float[Array, "..."]
    alignment: Float[Array, "..."]
    uniformity: Float[Array, "..."]


def infonce(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "candidates dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    symmetric: bool = True,
    normalize: bool = True,
    similarity: Similarity = "inner_product",
    positives: Positives | None = None,
    denominator: Denominator = "all",
    exclude: Exclude | None = None,
    negatives: Float[ArrayLike, "queue dim"] | None = None,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, ""] | Float[Array, " batch"]:
    """InfoNCE: the cross-entropy of picking each row's partner out of the batch.

    With s_ij = u_i·v_j / τ and u, v the rows of z1, z2 on the unit sphere, row i contributes

        ℓ_i = -s_ii + log Σ_j exp(s_ij),

    and if `symmetric`, the mean of ℓ_i and of the same with the two views exchanged. As the batch
    grows, the loss minus log(batch) tends to -E_π[u·v] / τ + Φ(μ); see `infonce_terms`.

    With several positives P(i) of a row, and N(i) the candidates that are not positives,

        ℓ_i = mean_{p∈P(i)} -log exp(s_ip) / Σ_{j∈N(i)∪P(i)} exp(s_ij)     (denominator="all"),
        ℓ_i = mean_{p∈P(i)} -log exp(s_ip) / Σ_{j∈N(i)∪{p}} exp(s_ij)      (denominator="negatives").

    A row without positives has ℓ_i = 0 and is left out of the mean.

    The module `infonce_jax.losses` describes the options that all objectives share.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (256, 64))
        >>> loss = infonce(z, jnp.roll(z, 1, axis=0), temperature=0.5)
        >>> bool(loss > infonce(z, z, temperature=0.5))
        True

    Args:
        z1: representations of the first view, or queries.
        z2: representations of the second; row i belongs to row i of `z1`. With `positives` it may
            have another number of rows. For more candidates than queries and one positive each,
            pass the further candidates as `negatives`.
        temperature: τ > 0, one number or one per row; differentiable. A row's own τ divides the
            logits of its direction: τ_i those of row i of `z1`, and of row i of `z2` as an anchor.
        symmetric: the mean of both directions, as in CLIP, or z1 → z2 alone.
        similarity: "inner_product" u·v, or "squared_distance" for -‖u - v‖². The latter is made of
            inner products: in float32 it is exact to about 1e-6 of the largest ‖u‖² of the centred
            rows.
        positives: rows that belong together, if there are several per row: an integer per row,
            equal where rows of `z1` and `z2` belong together; a mask, True at [i, j] where row j of
            `z2` is a positive of row i of `z1` (it alone decides: row i of `z2` is a positive only
            if the mask says so); or a tuple of two integer arrays, of the rows of `z1` and of `z2`.
        denominator: "all" keeps a row's other positives in the denominator (as SupCon does),
            "negatives" leaves them out.
        exclude: pairs that are not negatives of each other (false negatives): an integer per
            example, equal where two examples show the same thing (see `ids_of`), or a mask, True at
            [i, j] where row j of `z2` does not count as a negative of row i of `z1`. The positive
            always counts. A row whose candidates are all excluded has ℓ_i = 0, with a warning if
            the values are known. Under `axis_name` a mask has this device's rows and the columns of
            all devices; "ring" takes integers only.
        negatives: candidates beside the batch, such as mined hard negatives or a queue: every row
            of `z1` meets all of them, beside the rows of `z2`; the direction z2 → z1 does not, and
            `exclude` does not reach them. They are differentiable. Under `axis_name` each device
            passes a part of them, and all parts count; or all devices pass the same ones,
            replicated over the axis, and they count once (with `check_vma=False`, and inside
            `jax.pmap`, they are taken for parts). With a queue in place of the batch's own
            negatives the objective is `moco`.

    Returns:
        The loss, in float32 (float64 for float64 rows).

    Raises:
        ValueError: if shapes disagree, the batch is empty, τ is known and not positive, or an
            option is unknown.
        TypeError: if the rows are not arrays of floating point, or a static option is traced.

    References:
        van den Oord, Li, Vinyals, [Representation Learning with Contrastive Predictive
        Coding](https://arxiv.org/abs/1807.03748), 2018.
        Radford et al., [Learning Transferable Visual Models From Natural Language
        Supervision](https://arxiv.org/abs/2103.00020), 2021 (the symmetric form).
    """
    return infonce_terms(
        z1,
        z2,
        temperature=temperature,
        symmetric=symmetric,
        normalize=normalize,
        similarity=similarity,
        positives=positives,
        denominator=denominator,
        exclude=exclude,
        negatives=negatives,
        where=where,
        weights=weights,
        reduction=reduction,
        implementation=implementation,
        axis_name=axis_name,
        tile=tile,
    ).loss


@objective
def infonce_terms(
    z1: Float[ArrayLike, "batch dim"],
    z2: Float[ArrayLike, "candidates dim"],
    *,
    temperature: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    symmetric: bool = True,
    normalize: bool = True,
    similarity: Similarity = "inner_product",
    positives: Positives | None = None,
    denominator: Denominator = "all",
    exclude: Exclude | None = None,
    negatives: Float[ArrayLike, "queue dim"] | None = None,
    where: Mask | None = None,
    weights: Weights | None = None,
    reduction: Reduction = "mean",
    implementation: Implementation = "auto",
    axis_name: Axes = None,
    tile: tuple[int, int] | None = None,
) -> InfoNCETerms:
    """InfoNCE with its two parts, alignment and uniformity potential; one pass gives all three.

    Takes what `infonce` takes. For cosines, alignment lies in [-1, 1], and Φ, if nothing is
    excluded, in [-1/τ, 1/τ]; the paper's population loss is `uniformity - alignment / temperature`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (256, 64))
        >>> terms = infonce_terms(z, z, temperature=0.5)
        >>> round(float(terms.alignment), 4)
        1.0

    Returns:
        `InfoNCETerms`, each reduced as `reduction` says.

    References:
        Wang, Isola, [Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere](https://arxiv.org/abs/2005.10242), 2020.
        Betser, Gofer, Levi, Gilboa, [InfoNCE Induces Gaussian
        Distribution](https://arxiv.org/abs/2602.24012), 2026.
    """
    check_pair(z1, z2, same_length=positives is None)
    if negatives is not None:
        check_negatives(negatives, z1.shape[1])
    check_temperature(temperature, z1.shape[0])
    check_flags(symmetric=symmetric)
    check_reduction(reduction)
    check_denominator(denominator, positives)
    check_rows(z1.shape[0], where, weights)
    if z1.shape[0] != z2.shape[0]:
        given = {
            "exclude": exclude is not None,
            "where": where is not None,
            "weights": weights is not None,
            "temperature": jnp.ndim(temperature) > 0,
            "reduction='none'": reduction == "none",
        }
        _check_for_two_lengths(z1.shape[0], z2.shape[0], symmetric, given)
    z1, z2 = without_masked(where, z1, z2)
    rows = make_pairs(z1, z2, normalize, similarity, axis_name, negatives)
    options = _Options(implementation, axis_name, tile, reduction, where, weights)
    if positives is not None:
        return _of_several_positives(
            rows, temperature, symmetric, positives, denominator, exclude, options
        )
    return _of_partners(rows, temperature, symmetric, exclude, options)


class _Options(NamedTuple):
    """The options that both forms below share."""

    implementation: Implementation
    axis_name: Axes
    tile: tuple[int, int] | None
    reduction: Reduction
    where: Mask | None
    weights: Weights | None


def _of_partners(rows, temperature, symmetric, exclude, options) -> InfoNCETerms:
    """Row i of both views are each other's only positives."""
    x, y, beside, positive = rows
    implementation, axis_name, tile, reduction, where, weights = options
    n = x.shape[0]
    n_all = global_size(n, axis_name)
    plan = make_plan(implementation, n, n_all, axis_name, tile)
    pairs = own_pairs(exclude, n, axis_name, where, is_only_source=beside is None)
    weights = row_weights(n, x.dtype, where, weights)
    inverse = 1 / as_wide(temperature, x)
    logit = inverse * positive
    counted = number_of_rows(n, where, axis_name)
    log_candidates = jnp.log(counted)
    # ℓ_i = log(1 + Σ_{j≠i} exp(s_ij - s_ii)): the positive is left out of its own candidates, where
    # it would cancel against itself and leave only rounding of a loss near zero.
    if beside is None and not symmetric and reduction != "none" and inverse.ndim == 0:
        share = shares(n, x.dtype, reduction, axis_name, weights)
        total = weighted_row_loss(x, y, inverse, logit, share, plan, pairs)
        loss = over_devices(jax.lax.psum, total, axis_name)
    else:
        # A temperature of each row multiplies the rows, and leaves the scale at 1.
        by_row = inverse.ndim == 1
        scale = jnp.ones((), x.dtype) if by_row else inverse
        anchors = x * inverse[:, None] if by_row else x
        columns = None
        if symmetric and not by_row:
            of_rows, columns = row_and_column_lse(x, y, scale, plan, pairs)
        else:
            of_rows = row_lse(anchors, y, scale, plan, pairs)
            if symmetric:
                swapped = swapped_pairs(pairs, axis_name)
                columns = row_lse(y * inverse[:, None], x, scale, plan, swapped)
        if beside is not None:
            more, m_all = lse_beside(anchors, beside, scale, implementation, axis_name, tile)
            of_rows = safe_logaddexp(of_rows, more)
            # The directions count their candidates apart; the mean of both logarithms enters.
            both = jnp.log(counted + m_all)
            log_candidates = (log_candidates + both) / 2 if symmetric else both
        per_row = jax.nn.softplus(of_rows - logit)
        if symmetric:
            per_row = (per_row + jax.nn.softplus(columns - logit)) / 2
        loss = reduce(per_row, reduction, axis_name, weights)
    return with_terms(loss, positive, inverse, log_candidates, reduction, axis_name, weights)


def _of_several_positives(
    rows, temperature, symmetric, positives, denominator, exclude, options
) -> InfoNCETerms:
    """A row has the positives that ids or a mask say, in any number."""
    x, y, beside, _ = rows
    implementation, axis_name, tile, reduction, where, weights = options
    n, m = x.shape[0], y.shape[0]
    if implementation == "ring":
        raise ValueError(
            "implementation='ring' takes one positive per row; use 'tiled' with `positives`."
        )
    plan = make_plan(implementation, n, global_size(m, axis_name), axis_name, tile)
    sets, swapped = (
        Sets(of_positives) for of_positives in set_of_positives(positives, (n, m), axis_name)
    )
    if where is not None:
        left, right = masked_pairs(where)
        sets = sets._replace(left_out=(left, gather(right, axis_name)))
        swapped = swapped._replace(left_out=(right, gather(left, axis_name)))
    if exclude is not None:
        pairs = own_pairs(exclude, n, axis_name, is_only_source=beside is None)
        if not isinstance(pairs, tuple):
            pairs = jnp.asarray(exclude)
        turned = swapped_pairs(pairs, axis_name)
        pairs, turned = (
            (p[0], gather(p[1], axis_name)) if isinstance(p, tuple) else p for p in (pairs, turned)
        )
        sets, swapped = sets._replace(exclude=pairs), swapped._replace(exclude=turned)
    inverse = 1 / as_wide(temperature, x)
    scale = jnp.ones((), x.dtype)

    def anchors(z):
        return z * (inverse[:, None] if inverse.ndim else inverse)

    def direction(x, y, sets, more, candidates):
        """Reduced over its anchors x: the loss, the similarity, its logit, log(candidates)."""
        of_rows = losses_of_rows(
            anchors(x), gather(y, axis_name), scale, sets, denominator, plan, more
        )
        counted = of_rows.has_positive.astype(x.dtype)
        counted = counted if weights is None else counted * weights
        log_of_rows = jnp.full_like(counted, jnp.log(candidates))
        values = of_rows.loss, of_rows.logit / inverse, of_rows.logit, log_of_rows
        return [reduce(value, reduction, axis_name, counted) for value in values]

    more, candidates = None, number_of_rows(m, where, axis_name)
    if beside is not None:
        more, m_all = lse_beside(anchors(x), beside, scale, implementation, axis_name, tile)
        candidates = candidates + m_all
    weights = row_weights(n, x.dtype, where, weights)
    reduced = direction(x, y, sets, more, candidates)
    if symmetric:
        backward = direction(y, x, swapped, None, number_of_rows(n, where, axis_name))
        reduced = [(a + b) / 2 for a, b in zip(reduced, backward, strict=True)]
    loss, alignment, logit, log_candidates = reduced
    return InfoNCETerms(loss, alignment, loss + logit - log_candidates)


def _check_for_two_lengths(n, m, symmetric, given) -> None:
    """Refuses options that need row i of z1 and row i of z2 to belong to one example."""
    needs = ("exclude", "where") if not symmetric else tuple(given)
    for name in needs:
        if given[name]:
            raise ValueError(
                f"z1 has {n} rows and z2 has {m}, and {name} is for rows that come in pairs; leave it "
                "out, or pass as many rows of both."
            )


def check_denominator(denominator: str, positives: object) -> None:
    if denominator not in ("all", "negatives"):
        raise ValueError(f"denominator is {denominator!r}; use 'all' or 'negatives'.")
    if positives is None and denominator != "all":
        raise ValueError(
            "denominator='negatives' is for several positives per row; pass positives, or for a "
            "single one left out of the denominator use dcl."
        )


def with_terms(
    loss: Float[ArrayLike, "..."],
    positive: Float[ArrayLike, " batch"],
    inverse: Float[ArrayLike, "..."],
    log_candidates: Float[ArrayLike, ""],
    reduction: Reduction,
    axis_name: Axes,
    weights: Float[ArrayLike, " batch"] | None,
) -> InfoNCETerms:
    """A reduced loss over so many candidates, with its alignment and its potential."""
    alignment = reduce(positive, reduction, axis_name, weights)
    if inverse.ndim:
        logit = reduce(positive * inverse, reduction, axis_name, weights)
    else:
        logit = alignment * inverse
    if weights is None:
        n_all = global_size(positive.shape[0], axis_name)
        total = (n_all if reduction == "sum" else 1) * log_candidates
    else:
        total = reduce(jnp.full_like(weights, log_candidates), reduction, axis_name, weights)
    return InfoNCETerms(loss, alignment, loss + logit - total)


def clip(
    image: Float[ArrayLike, "batch dim"],
    text: Float[ArrayLike, "candidates dim"],
    *,
    logit_scale: Num[ArrayLike, ""] | Float[ArrayLike, " batch"] | float,
    logit_bias: Num[ArrayLike, ""] | float = 0.0,
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
    """CLIP's loss: symmetric InfoNCE of logits t u_i·v_j + b with a learned scale t.

    It is `infonce` with temperature 1 / t. A bias b shared by all logits cancels between the
    positive and its candidates: it is accepted for models that carry one, changes nothing and has a
    zero gradient. For the other options of `infonce`, such as mined `negatives`, call that with
    `temperature=1 / logit_scale`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> z = jax.random.normal(jax.random.key(0), (64, 16))
        >>> scaled = clip(z, z, logit_scale=10.0)
        >>> bool(jnp.allclose(scaled, infonce(z, z, temperature=0.1)))
        True

    Args:
        image: representations of the first modality.
        text: representations of the second; row i belongs to row i of `image`.
        logit_scale: t > 0, one number or one per pair, already exponentiated if a model learns log t.
            CLIP starts at 1 / 0.07 and keeps it below 100.
        logit_bias: b.
        positives: as in `infonce`.
        exclude: as in `infonce`.

    References:
        Radford et al., [Learning Transferable Visual Models From Natural Language
        Supervision](https://arxiv.org/abs/2103.00020), 2021, figure 3.
    """
    check_pair(image, text, ("image", "text"), same_length=positives is None)
    hint = "CLIP starts at 1 / 0.07; pass exp of a learned log"
    check_temperature(logit_scale, image.shape[0], "logit_scale", hint)
    if image.shape[0] != text.shape[0] and jnp.ndim(logit_scale):
        raise ValueError(
            f"image has {image.shape[0]} rows and text has {text.shape[0]}, and one logit_scale per "
            "row is for rows that come in pairs; pass one number."
        )
    check_scalars(logit_bias=logit_bias)
    loss = infonce(
        image,
        text,
        temperature=1 / as_wide(logit_scale, image),
        normalize=normalize,
        positives=positives,
        exclude=exclude,
        where=where,
        weights=weights,
        reduction=reduction,
        implementation=implementation,
        axis_name=axis_name,
        tile=tile,
    )
    return loss + 0 * jnp.asarray(logit_bias, loss.dtype)
