"""Losses of rows that have several positives, from strips of logits that see all candidates.

A row's positives, and the pairs that do not count, are each given as a set of pairs: ids of rows and
of columns, a pair belonging to the set if these are equal, or a mask that is True there.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from infonce_jax.losses.common import (
    Axes,
    Positives,
    as_ids,
    check_arrays,
    gather,
    global_size,
)
from infonce_jax.losses.tiles import (
    Plan,
    compiled_once,
    dot,
    padded,
    safe_logaddexp,
    safe_lse,
    same_id,
    strip_rows,
    swapped_pairs,
)

Denominator = Literal["all", "negatives"]
# Rows of this device by candidates of all, and candidates of this device by rows of all.
Pairs = tuple[Integer[Array, "n ..."], Integer[Array, "all_m ..."]] | Bool[Array, "n all_m"] | None
Swapped = (
    tuple[Integer[Array, "m ..."], Integer[Array, "all_n ..."]] | Bool[Array, "m all_n"] | None
)


class Sets(NamedTuple):
    """Sets of pairs, rows of this device by candidates of all.

    Attributes:
        positive: the positives.
        left_out: pairs that do not count at all, such as a row with itself.
        exclude: pairs that are no negatives.
    """

    positive: Pairs
    left_out: Pairs = None
    exclude: Pairs = None


class RowLosses(NamedTuple):
    """What a row's logits give.

    Attributes:
        loss: ℓ, 0 for a row without positives.
        logit: mean logit of its positives.
        has_positive: whether there are any.
    """

    loss: Float[Array, " n"]
    logit: Float[Array, " n"]
    has_positive: Bool[Array, " n"]


def losses_of_rows(
    x: Float[ArrayLike, "n dim"],
    y: Float[ArrayLike, "m dim"],
    scale: Float[ArrayLike, ""],
    sets: Sets,
    denominator: Denominator,
    plan: Plan,
    more: Float[ArrayLike, " n"] | None = None,
) -> RowLosses:
    """InfoNCE of each row of x against the candidates y, of all devices, with several positives.

    With P the positives of a row, N its negatives and Z = Σ_{j∈N} exp(s_j), the loss is

        "all":        log( Z + Σ_{p∈P} exp(s_p) ) - mean_{p∈P} s_p
        "negatives":  mean_{p∈P} log(1 + Z exp(-s_p)).

    The positives are summed apart from the negatives, so that nothing cancels near a loss of zero.
    `more` is a further log Σ exp over negatives of each row.
    """
    return _by_strips(
        _ROW_LOSSES[denominator], plan, x, y, scale, jnp.zeros_like(scale), sets, more
    )


def sigmoid_losses_of_rows(
    x: Float[ArrayLike, "n dim"],
    y: Float[ArrayLike, "m dim"],
    scale: Float[ArrayLike, ""],
    bias: Float[ArrayLike, ""],
    sets: Sets,
    plan: Plan,
) -> Float[Array, " n"]:
    """Σ_j log(1 + exp(∓s_ij)) of each row, with the minus for its positives; s = scale · x·y + bias."""
    return _by_strips(_sigmoid_losses, plan, x, y, scale, bias, sets, None)


def set_of_positives(
    positives: Positives,
    shape: tuple[int, int],
    axis_name: Axes,
) -> tuple[Pairs, Swapped]:
    """Positives as a set of rows by candidates, and as one of candidates by rows.

    `shape` is the number of rows and of candidates on this device.

    Raises:
        TypeError: if `positives` is not an array or a pair of them.
        ValueError: if its shape or dtype does not fit.
    """
    n, m = shape
    m_all = global_size(m, axis_name)
    ids = positives if isinstance(positives, tuple) else (positives, positives)
    check_arrays(**{"positives": ids[0]})
    if len(ids) == 2 and all(hasattr(i, "dtype") and _are_integers(i) for i in ids):
        if (ids[0].shape, ids[1].shape) == ((n,), (m,)):
            rows, columns = (
                _joint_ids(*ids) if isinstance(positives, tuple) else 2 * (as_ids(ids[0]),)
            )
            return (rows, gather(columns, axis_name)), (columns, gather(rows, axis_name))
    elif (
        not isinstance(positives, tuple)
        and jnp.result_type(positives) == jnp.bool_
        and positives.shape == (n, m_all)
        and (axis_name is None or n == m)
    ):
        mask = jnp.asarray(positives)
        return mask, swapped_pairs(mask, axis_name)
    given = [(i.shape, str(i.dtype)) if hasattr(i, "dtype") else type(i).__name__ for i in ids]
    raise ValueError(
        f"positives is {given if isinstance(positives, tuple) else given[0]}; pass an integer per row "
        f"[{n}], equal where two rows belong together, a boolean mask [{n}, {m_all}], or for two sets "
        f"of rows a tuple of integers [{n}] and [{m}]."
    )


def _are_integers(ids):
    return jnp.issubdtype(ids.dtype, jnp.integer)


def _joint_ids(rows, columns):
    """Ids of two sets of rows in one numbering."""
    if all(isinstance(i, np.ndarray) for i in (rows, columns)):
        both = as_ids(np.concatenate([rows, columns]))
        return both[: len(rows)], both[len(rows) :]
    return as_ids(rows), as_ids(columns)


# --- strips ---------------------------------------------------------------------------------------


@compiled_once(0, 1)
def _by_strips(function: Callable, plan: Plan, x, y, scale, bias, sets, more):
    """`function` of the logits of each row, in strips of rows that see all columns at once.

    Differentiated by JAX: the backward pass computes the logits of a strip a second time.
    """

    def of_strip(strip):
        x, more, of_rows = strip
        masks = [_mask(r, s) for r, s in zip(of_rows, sets, strict=True)]
        return function(scale * dot(x, y) + bias, *masks, more)

    of_rows = [s[0] if isinstance(s, tuple) else s for s in sets]
    if not plan.tiled:
        return of_strip((x, more, of_rows))
    n = len(x)
    strips = -(-n // strip_rows(plan, 4 * len(y)))
    rows = -(-n // strips)

    def split(a):
        return padded(a, strips * rows).reshape(strips, rows, *a.shape[1:])

    out = lax.map(jax.checkpoint(of_strip), jax.tree.map(split, (x, more, of_rows)))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], out)


def _mask(of_rows, pairs):
    if pairs is None:
        return None
    return same_id(of_rows, pairs[1]) if isinstance(pairs, tuple) else of_rows


def _split(positive, left_out, exclude):
    """Masks of the positives and of the negatives."""
    if left_out is not None:
        positive = positive & ~left_out
    others = [m for m in (positive, left_out, exclude) if m is not None]
    return positive, ~functools.reduce(jnp.logical_or, others)


def _parts(logits, positive, left_out, exclude, more):
    """Of every row: the masks, its count of positives, and log Σ exp over its negatives."""
    positive, negative = _split(positive, left_out, exclude)
    of_negatives = safe_lse(jnp.where(negative, logits, -jnp.inf), 1)
    if more is not None:
        of_negatives = safe_logaddexp(of_negatives, more)
    count = jnp.sum(positive, axis=1, dtype=logits.dtype)
    return positive, of_negatives, count, jnp.maximum(count, 1)


def _against_all(logits, *pairs_and_more):
    positive, of_negatives, count, divisor = _parts(logits, *pairs_and_more)
    top = lax.stop_gradient(jnp.max(jnp.where(positive, logits, -jnp.inf), axis=1))
    top = jnp.where(count > 0, top, 0)
    less = jnp.where(positive, logits - top[:, None], 0)
    total = jnp.sum(jnp.where(positive, jnp.exp(less), 0), axis=1)
    log_total = jnp.log(jnp.where(count > 0, total, 1))
    mean = jnp.sum(less, axis=1) / divisor
    # Of a single positive the spread is 0. So is its gradient, whose two parts would not cancel to
    # less than their rounding, which is more than the gradient of a loss near zero.
    spread = jnp.where(count > 1, log_total - mean, 0)
    loss = spread + jax.nn.softplus(of_negatives - top - log_total)
    return RowLosses(jnp.where(count > 0, loss, 0), top + mean, count > 0)


def _against_negatives(logits, *pairs_and_more):
    positive, of_negatives, count, divisor = _parts(logits, *pairs_and_more)
    of_pairs = jax.nn.softplus(of_negatives[:, None] - logits)
    loss = jnp.sum(jnp.where(positive, of_pairs, 0), axis=1) / divisor
    mean = jnp.sum(jnp.where(positive, logits, 0), axis=1) / divisor
    return RowLosses(loss, mean, count > 0)


def _sigmoid_losses(logits, positive, left_out, exclude, more):
    del more
    positive, negative = _split(positive, left_out, exclude)
    of_pairs = jax.nn.softplus(jnp.where(positive, -logits, logits))
    return jnp.sum(jnp.where(positive | negative, of_pairs, 0), axis=1)


_ROW_LOSSES = {"all": _against_all, "negatives": _against_negatives}
