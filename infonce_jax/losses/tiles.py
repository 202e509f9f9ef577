"""Sums over all pairs of rows, dense or in tiles: what the pairwise objectives are made of.

Every contrastive loss here needs only sums of the logits s_ij = scale · x_i·y_j along rows and
columns: log Σ_j exp(s_ij), or Σ_j softplus(s_ij). The tiled form computes them and their gradients
tile by tile and keeps no tile, so memory is O(batch · dim) and not O(batch²).
"""

import functools
import operator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Num

from infonce_jax.losses.common import (
    Axes,
    Exclude,
    Mask,
    Size,
    accumulator_dtype,
    as_ids,
    check_arrays,
    check_static,
    gather,
    global_index,
    global_size,
    own_mask,
    varying,
    warn_if_nothing_is_left,
)

Implementation = Literal["auto", "dense", "tiled", "ring"]

# Logits within ±40 are exponentiated as they are: e^40 times 10^20 candidates stays below the
# largest float32, and e^-40 times a cotangent of 10^-20 above the smallest normal one. One
# exponential then serves rows and columns alike.
_UNSHIFTED_LIMIT = 40.0

# Up to this many pairs the dense matrix is faster (benchmarks/losses.py measures it).
_DENSE_PAIRS = {"cpu": 1536 * 1536}
_DENSE_PAIRS_ELSEWHERE = 2048 * 2048

# Rows and columns of a tile, its float32 logits 4 MiB on a CPU and 32 MiB elsewhere.
_TILE = {"cpu": (1024, 1024)}
_TILE_ELSEWHERE = (2048, 4096)

# Logits in a strip of rows that sees all columns at once: 8 MiB on a CPU, 128 MiB elsewhere.
_STRIP_ELEMENTS = {"cpu": 2**21}
_STRIP_ELEMENTS_ELSEWHERE = 2**25


class Plan(NamedTuple):
    """How a sum over pairs is made; static under `jax.jit`.

    Attributes:
        tiled: in tiles rather than from the whole matrix.
        columns: sums along columns are wanted too.
        triangle: the columns are the rows themselves, and only pairs i < j are summed.
        tile: rows and columns of a tile; (0, 0) for the backend's own.
        axis_name: mapped axis over which the rows of x and of y are sharded.
        ring: pass y around the devices instead of gathering it.
    """

    tiled: bool = False
    columns: bool = False
    triangle: bool = False
    tile: tuple[int, int] = (0, 0)
    axis_name: Axes = None
    ring: bool = False


def make_plan(
    implementation: Implementation,
    n_rows: Size,
    n_columns: Size,
    axis_name: Axes,
    tile: tuple[int, int] | None = None,
) -> Plan:
    """The plan that `implementation` asks for; "auto" goes by the number of pairs and the backend.

    A symbolic batch (`jax.export`) is "dense" by "auto".

    Raises:
        TypeError: for a traced tile.
        ValueError: for an unknown implementation, a ring without an axis, a tile that is not two
            integers of at least 1, or a tiled form of a symbolic batch.
    """
    symbolic = not (isinstance(n_rows, int) and isinstance(n_columns, int))
    if tile is not None:
        tile = _as_tile(tile)
    if implementation == "ring" and axis_name is None:
        raise ValueError(
            "implementation='ring' passes negatives around the devices of a mapped axis; call the "
            "loss inside jax.shard_map and name that axis in axis_name."
        )
    if implementation == "auto":
        dense_pairs = _DENSE_PAIRS.get(jax.default_backend(), _DENSE_PAIRS_ELSEWHERE)
        many = not symbolic and n_rows * n_columns > dense_pairs
        implementation = "tiled" if many else "dense"
    if implementation not in ("dense", "tiled", "ring"):
        raise ValueError(
            f"implementation is {implementation!r}; use 'auto', 'dense', 'tiled' or 'ring'."
        )
    if symbolic and implementation != "dense":
        raise ValueError(
            f"implementation is {implementation!r} and the batch has the symbolic size {n_rows}; the "
            "number of tiles has to be known. Export with implementation='dense', or a fixed size."
        )
    return Plan(
        tiled=implementation != "dense",
        tile=tile or (0, 0),
        axis_name=axis_name,
        ring=implementation == "ring",
    )


def _as_tile(tile: tuple[int, int]) -> tuple[int, int]:
    check_static(tile=tile)
    try:
        rows, columns = map(operator.index, tile)
    except (TypeError, ValueError):
        rows = columns = 0
    if min(rows, columns) < 1:
        raise ValueError(
            f"tile is {tile!r}; pass its rows and its columns, two integers of at least 1 such as "
            "(512, 1024), or None for those chosen for the backend."
        )
    return rows, columns


def row_and_column_lse(
    x: Float[Array, "n dim"],
    y: Float[Array, "m dim"],
    scale: Num[Array, ""] | float,
    plan: Plan,
    exclude: tuple[Integer[Array, " n *k"], Integer[Array, " m *k"]]
    | Bool[Array, "n m"]
    | None = None,
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """log Σ_j exp(s_ij) for every row and log Σ_i exp(s_ij) for every column, s = scale · x yᵀ.

    Args:
        x: rows.
        y: columns. Under `plan.axis_name` the rows of x and y held by all devices take part.
        scale: multiplies the inner products; differentiable.
        plan: see `Plan`.
        exclude: pairs left out: an id, or several in a row, for each row and each column, those
            with the same id in any place being left out; or a mask that is True there. With every
            candidate left out the sum is -inf and its gradient zero.
    """
    return _row_and_column(plan._replace(columns=True), x, y, scale, exclude)


def row_lse(
    x: Float[Array, "n dim"],
    y: Float[Array, "m dim"],
    scale: Num[Array, ""] | float,
    plan: Plan,
    exclude: tuple[Integer[Array, " n *k"], Integer[Array, " m *k"]]
    | Bool[Array, "n m"]
    | None = None,
) -> Float[Array, " n"]:
    """log Σ_j exp(s_ij) for every row; see `row_and_column_lse`."""
    return _row_and_column(plan._replace(columns=False), x, y, scale, exclude)[0]


def lse_beside(
    x: Float[Array, "n dim"],
    negatives: Float[Array, "queue dim"],
    scale: Num[Array, ""] | float,
    implementation: Implementation,
    axis_name: Axes,
    tile: tuple[int, int] | None,
) -> tuple[Float[Array, " n"], int]:
    """log Σ_j exp(s_ij) over candidates beside the batch, and the number of these.

    Negatives that do not vary over a mapped axis are the same on all of its devices and count once.
    """
    over = axes_of_parts(x, negatives, axis_name)
    n_all = global_size(len_of(negatives), over)
    if implementation == "ring" and axis_name is not None and over is None:
        implementation = "tiled"
    plan = make_plan(implementation, len_of(x), n_all, over, tile)
    return row_lse(x, _vary(negatives, x), scale, plan), n_all


def axes_of_parts(x: Array, negatives: Array, axis_name: Axes) -> tuple[str, ...] | None:
    """The axes over which each device holds its own part of the negatives, if there are any."""
    axes = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name or ())
    # If shard_map does not track what varies, nothing does: then each device's are its own.
    if set(axes) <= varying(x):
        axes = tuple(axis for axis in axes if axis in varying(negatives))
    return axes or None


def len_of(value: Array) -> int:
    """Rows of an array; `len` refuses the symbolic sizes of `jax.export`."""
    return value.shape[0]


def self_lse(
    z: Float[Array, "n dim"],
    scale: Num[Array, ""] | float,
    plan: Plan,
    pairs: tuple[Integer[Array, " n *k"], Integer[Array, " n *k"]] | None = None,
) -> Float[Array, " n"]:
    """log Σ_{j≠i} exp(s_ij) for every row of s = scale · z zᵀ.

    On one device tiles below the diagonal are skipped.

    Args:
        z: rows.
        scale: multiplies the inner products; differentiable.
        plan: see `Plan`.
        pairs: pairs left out beside each row itself, as ids; the pairs (i, j) and (j, i) alike.
    """
    if not plan.tiled or plan.axis_name is not None:
        pairs = own_pairs(None, len_of(z), plan.axis_name) if pairs is None else pairs
        return row_lse(z, z, scale, plan, pairs)
    plan = plan._replace(columns=True, triangle=True)
    above, below = _row_and_column(plan, z, None, scale, pairs)
    return safe_logaddexp(above, below)


def weighted_row_loss(
    x: Float[Array, "n dim"],
    y: Float[Array, "n dim"],
    scale: Num[Array, ""] | float,
    positive: Float[Array, " n"],
    weights: Float[Array, " n"],
    plan: Plan,
    exclude: tuple[Integer[Array, " n *k"], Integer[Array, " n *k"]] | Bool[Array, "n m"],
) -> Float[Array, ""]:
    """Σ_i w_i log(1 + Σ_j exp(s_ij - p_i)), its gradient made in the same pass as its value.

    One strip of rows sees all its candidates at once, so three products of a strip make value and
    gradient (6 n m dim flops) where a gradient made later needs the logits again (8 n m dim).

    Args:
        x: rows.
        y: columns.
        scale: multiplies the inner products; differentiable.
        positive: the logit p of each row's positive.
        weights: w.
        plan: see `Plan`.
        exclude: pairs left out of the sum; see `row_and_column_lse`.
    """
    if not plan.tiled or plan.ring:
        lse = row_lse(x, y, scale, plan, exclude)
        return jnp.sum(weights * jax.nn.softplus(lse - positive))
    x, y, scale, _ = _common(plan, x, y, scale, 0.0)
    weights, positive = (_vary(value, x, y) for value in (weights, positive))
    return _weighted_rows("exp", plan, x, y, scale, positive, weights, exclude)


def row_softplus(
    x: Float[Array, "n dim"],
    y: Float[Array, "n dim"],
    scale: Num[Array, ""] | float,
    bias: Num[Array, ""] | float,
    weights: Float[Array, " n"] | None,
    plan: Plan,
    exclude: tuple[Integer[Array, " n *k"], Integer[Array, " n *k"]] | Bool[Array, "n m"],
) -> Float[Array, "..."]:
    """Σ_j log(1 + exp(s_ij + bias)) for every row, or their weighted sum if weights are given.

    Without the pairs in `exclude`; see `row_and_column_lse`.
    """
    _check_ring_takes(plan, exclude)
    x, y, scale, bias = _common(plan, x, y, scale, bias)
    if plan.tiled and weights is not None:
        return _weighted_rows("softplus", plan, x, y, scale, bias, _vary(weights, x, y), exclude)
    if plan.tiled:
        per_row = _tiled_row_softplus(plan, x, y, scale, bias, exclude)
    else:
        logits = scale * dot(x, gather(y, plan.axis_name)) + bias
        logits = _masked(logits, _gather_ids(plan, exclude))
        per_row = jnp.sum(jax.nn.softplus(logits), axis=1)
    return per_row if weights is None else jnp.sum(weights * per_row)


def own_pairs(
    exclude: Exclude | None,
    n_local: Size,
    axis_name: Axes,
    where: Mask | None = None,
    is_only_source: bool = True,
) -> (
    tuple[Integer[Array, " batch *k"], Integer[Array, " batch *k"]]
    | Bool[Array, "batch candidates"]
):
    """Pairs to leave out: each row's own partner, what `exclude` says, and rows that do not count.

    Args:
        exclude: an id per row, or a mask.
        n_local: rows on this device.
        axis_name: mapped axis over which the rows are sharded.
        where: rows that count; the others are left out as rows and as columns.
        is_only_source: the batch holds all negatives; a row without any is then worth a warning.

    Raises:
        TypeError: if `exclude` is not an array.
        ValueError: if `exclude` is neither an integer per row nor a mask of rows by candidates.
    """
    if exclude is None:
        ids = global_index(n_local, axis_name)
        return _with_masked(ids, where)
    check_arrays(exclude=exclude)
    n_all = global_size(n_local, axis_name)
    dtype = jnp.result_type(exclude)
    if exclude.shape == (n_local,) and jnp.issubdtype(dtype, jnp.integer):
        ids = as_ids(exclude)
        if is_only_source and axis_name is None:
            warn_if_nothing_is_left("exclude", ids)
        return _with_masked(ids, where)
    if exclude.shape == (n_local, n_all) and dtype == jnp.bool_:
        if is_only_source and axis_name is None:
            warn_if_nothing_is_left("exclude", exclude)
        mask = jnp.asarray(exclude) | own_mask(n_local, axis_name)
        if where is None:
            return mask
        counts = jnp.asarray(where)
        return mask | ~counts[:, None] | ~gather(counts, axis_name)[None, :]
    raise ValueError(
        f"exclude has shape {exclude.shape} and dtype {exclude.dtype}; pass an integer per row "
        f"[{n_local}] or a boolean mask [{n_local}, {n_all}]."
    )


def _with_masked(ids, where):
    """Ids of rows and of columns that are equal also if either does not count."""
    if where is None:
        return ids, ids
    return tuple(jnp.column_stack([ids, masked]) for masked in masked_pairs(where, ids.dtype))


def masked_pairs(
    where: Mask, dtype: Any = jnp.int32
) -> tuple[Integer[Array, "batch 2"], Integer[Array, "batch 2"]]:
    """Ids of rows and of columns that are equal if one of the two does not count."""
    counts = jnp.asarray(where).astype(dtype)
    zeros = jnp.zeros_like(counts)
    return jnp.stack([counts, zeros], axis=1), jnp.stack([zeros, counts], axis=1)


def swapped_pairs(
    pairs: tuple[Integer[Array, " n *k"], Integer[Array, " n *k"]] | Bool[Array, "n m"],
    axis_name: Axes,
) -> tuple[Integer[Array, " n *k"], Integer[Array, " n *k"]] | Bool[Array, "columns rows"]:
    """The same pairs with rows and columns exchanged; of a mask, this device's columns."""
    if isinstance(pairs, tuple):
        return pairs[::-1]
    return _transposed_mask(pairs, axis_name)


def _transposed_mask(mask, axis_name):
    if axis_name is None:
        return mask.T
    n = len_of(mask)
    start = lax.axis_index(axis_name) * n
    return lax.dynamic_slice_in_dim(gather(mask, axis_name), start, n, axis=1).T


def safe_logaddexp(a: Float[Array, "*n"], b: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """log(exp a + exp b), with a zero gradient where both are -inf."""
    nothing = jnp.isneginf(a) & jnp.isneginf(b)
    total = jnp.logaddexp(jnp.where(nothing, 0, a), jnp.where(nothing, 0, b))
    return jnp.where(nothing, -jnp.inf, total)


# Below: x, y and the scalars in the dtypes of the computation.


def _common(plan, x, y, scale, bias):
    """Rows and scalars in float32, or float64 if any rows are."""
    others = [] if y is None else [y]
    dtype = accumulator_dtype(jnp.result_type(x, *others))
    x, y = x.astype(dtype), None if y is None else y.astype(dtype)
    # Scalars are made to vary over the mapped axes before they enter a custom rule, so that the
    # transpose of this cast sums their gradient over devices.
    scale, bias = (_vary(jnp.asarray(a, dtype), x, *others) for a in (scale, bias))
    return x, y, scale, bias


def _check_ring_takes(plan, exclude):
    if plan.ring and exclude is not None and not isinstance(exclude, tuple):
        raise ValueError(
            "implementation='ring' takes an integer per row in exclude, which travels with the "
            "rows; a mask spans the columns of all devices. Pass integers, or use 'tiled'."
        )


def _row_and_column(plan, x, y, scale, exclude):
    _check_ring_takes(plan, exclude)
    x, y, scale, _ = _common(plan, x, y, scale, 0.0)
    if plan.tiled:
        return _tiled_lse(plan, x, y, scale, exclude)
    if plan.axis_name is None:
        logits = _masked(scale * dot(x, y), exclude)
        return safe_lse(logits, 1), safe_lse(logits, 0) if plan.columns else None
    rows = safe_lse(
        _masked(scale * dot(x, gather(y, plan.axis_name)), _gather_ids(plan, exclude)), 1
    )
    if not plan.columns:
        return rows, None
    swapped = _gather_ids(plan, exclude, swapped=True)
    columns = _masked(scale * dot(y, gather(x, plan.axis_name)), swapped)
    return rows, safe_lse(columns, 1)


def dot(a, b):
    """a bᵀ, accumulated in float32 or wider.

    The accelerators' default for float32 products (TF32, bfloat16 passes) errs by 1e-3, which a
    temperature of 0.01 turns into 0.1 in the exponent.
    """
    return _contract("id,jd->ij", a, b)


def _to_columns(weights, x):
    """(weightsᵀ x)ᵀ, made as xᵀ weights.

    A CPU takes 1.5 times as long for a product that has to transpose the weights, in bfloat16 4
    times. The barrier keeps the compiler from making that product out of this one.
    """
    return _contract("di,ij->dj", lax.optimization_barrier(x.T), weights)


def _contract(formula, a, b):
    return jnp.einsum(
        formula,
        a,
        b,
        precision=lax.Precision.HIGHEST,
        preferred_element_type=accumulator_dtype(a.dtype),
    )


def _masked(logits, exclude):
    if exclude is None:
        return logits
    mask = same_id(*exclude) if isinstance(exclude, tuple) else exclude
    return jnp.where(mask, -jnp.inf, logits)


def same_id(rows: Integer[Array, " n *k"], columns: Integer[Array, " m *k"]) -> Bool[Array, "n m"]:
    """True at [i, j] where row i and column j have the same id, in any place of several."""
    if rows.ndim == 1:
        return rows[:, None] == columns[None, :]
    places = [rows[:, None, k] == columns[None, :, k] for k in range(rows.shape[1])]
    return functools.reduce(jnp.logical_or, places)


def safe_lse(logits, axis):
    # The maximum and the sum over nothing are replaced before they are used: a `where` after the
    # logarithm would still leave NaN in the gradient.
    top = lax.stop_gradient(jnp.max(logits, axis=axis, keepdims=True))
    nothing = jnp.isneginf(top)
    shift = jnp.where(nothing, 0, top)
    total = jnp.sum(jnp.exp(logits - shift), axis=axis, keepdims=True)
    lse = jnp.where(nothing, -jnp.inf, shift + jnp.log(jnp.where(nothing, 1, total)))
    return jnp.squeeze(lse, axis)


# --- devices ------------------------------------------------------------------------------------


def _vary(value, *others):
    """`value` marked as varying over the mapped axes that any of `others` varies over."""
    axes = frozenset().union(*(varying(other) for other in others)) - varying(value)
    return lax.pcast(value, tuple(sorted(axes)), to="varying") if axes else value


def _gather_ids(plan, exclude, swapped=False):
    """Ids with those of all columns, or of all rows where `swapped`; a mask spans all columns."""
    if isinstance(exclude, tuple):
        rows, columns = exclude[::-1] if swapped else exclude
        return rows, gather(columns, plan.axis_name)
    if exclude is None or not swapped:
        return exclude
    return _transposed_mask(exclude, plan.axis_name)


def _scatter_sum(value, plan):
    if plan.axis_name is None:
        return value
    return lax.psum_scatter(value, plan.axis_name, scatter_dimension=0, tiled=True)


def _scatter_lse(value, plan):
    if plan.axis_name is None:
        return value
    top = _finite(lax.pmax(value, plan.axis_name))
    total = jnp.log(_scatter_sum(jnp.exp(value - top), plan))
    start = lax.axis_index(plan.axis_name) * total.shape[0]
    return total + lax.dynamic_slice_in_dim(top, start, total.shape[0])


def _round_the_ring(plan, step, staying, travelling):
    """Rotates `travelling` once around the ring; each block ends on its own device."""
    size = lax.axis_size(plan.axis_name)
    next_device = [(k, (k + 1) % size) for k in range(size)]

    def body(_, state):
        staying, travelling = step(*state)
        return staying, lax.ppermute(travelling, plan.axis_name, next_device)

    return lax.fori_loop(0, size, body, (staying, travelling))


# --- log-sum-exp, its logits made anew for the gradient ------------------------------------------


def compiled_once(*static):
    """Compiles a loop over tiles once per shape if it is called outside of `jax.jit`.

    Called eagerly, a loop over a new closure would be compiled in every call. Inside of `jax.jit`
    nothing changes: the loop is inlined.
    """
    return functools.partial(jax.jit, static_argnums=static, inline=True)


@compiled_once(0)
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tiled_lse(plan, x, y, scale, exclude):
    return _lse_forward(plan, x, y, scale, exclude)[0]


def _lse_forward(plan, x, y, scale, exclude):
    if plan.ring:
        rows, columns = _ring_lse(plan, x, y, scale, exclude)
    else:
        pairs = _gather_ids(plan, exclude)
        rows, columns = _lse(
            plan, x, None if y is None else gather(y, plan.axis_name), scale, pairs
        )
        if plan.columns and not plan.triangle:
            columns = _scatter_lse(columns, plan)
    return (rows, columns), (x, y, scale, exclude, rows, columns)


def _lse_backward(plan, residuals, cotangents):
    x, y, scale, exclude, rows, columns = residuals
    # -inf is the sum over nothing, of which the gradient sees nothing either; any number will do.
    by_row = (_finite(rows), cotangents[0])
    by_column = (_finite(columns), cotangents[1]) if plan.columns else None
    if plan.triangle:
        # Every pair has been entered at both of its ends.
        g = _lse_gradient(plan, x, None, scale, exclude, by_row, by_column)
        g_scale = jnp.sum(g * x) / 2
        return (scale * g).astype(x.dtype), None, g_scale, None
    if plan.ring:
        gx, gy = _ring_lse_gradient(plan, x, y, scale, exclude, by_row, by_column)
    else:
        pairs, by_column = (
            _gather_ids(plan, exclude),
            jax.tree.map(lambda value: gather(value, plan.axis_name), by_column),
        )
        gx, gy = _lse_gradient(plan, x, gather(y, plan.axis_name), scale, pairs, by_row, by_column)
        gy = _scatter_sum(gy, plan)
    g_scale = jnp.sum(gx * x)
    return (scale * gx).astype(x.dtype), (scale * gy).astype(y.dtype), g_scale, None


_tiled_lse.__wrapped__.defvjp(_lse_forward, _lse_backward)


def _ring_lse(plan, x, y, scale, exclude):
    def step(rows, travelling):
        y, ids, columns = travelling
        pairs = None if ids is None else (exclude[0], ids)
        more, more_columns = _lse(plan, x, y, scale, pairs)
        if plan.columns:
            columns = safe_logaddexp(columns, more_columns)
        return safe_logaddexp(rows, more), (y, ids, columns)

    rows, columns = (_vary(jnp.full(len(z), -jnp.inf, scale.dtype), x, y, scale) for z in (x, y))
    ids = None if exclude is None else exclude[1]
    rows, (_, _, columns) = _round_the_ring(plan, step, rows, (y, ids, columns))
    return rows, columns if plan.columns else None


def _ring_lse_gradient(plan, x, y, scale, exclude, by_row, by_column):
    def step(gx, travelling):
        y, ids, by_column, gy = travelling
        pairs = None if ids is None else (exclude[0], ids)
        more_x, more_y = _lse_gradient(plan, x, y, scale, pairs, by_row, by_column)
        return gx + more_x, (y, ids, by_column, gy + more_y)

    gx, gy = (_vary(jnp.zeros(z.shape, scale.dtype), x, y, scale) for z in (x, y))
    ids = None if exclude is None else exclude[1]
    gx, (_, _, _, gy) = _round_the_ring(plan, step, gx, (y, ids, by_column, gy))
    return gx, gy


def _lse(plan, x, y, scale, exclude):
    """Log-sum-exps along rows and, where wanted, columns of scale · x yᵀ."""
    tiles = _tiles(plan, x, y, exclude)
    n, m = tiles.n_rows, tiles.n_columns

    def unshifted():
        def step(sums, i, j):
            exponential = jnp.exp(_tile_logits(tiles, scale, i, j))
            rows = _add_at(sums[0], i, jnp.sum(exponential, axis=1))
            if not plan.columns:
                return rows, None
            return rows, _add_at(sums[1], j, jnp.sum(exponential, axis=0))

        zeros = (
            _zeros(tiles, scale, len(tiles.x)),
            _zeros(tiles, scale, len(tiles.y)) if plan.columns else None,
        )
        return jax.tree.map(_safe_log, _sweep(tiles, step, zeros))

    def shifted():
        def step(sums, i, j):
            logits = _tile_logits(tiles, scale, i, j)
            rows = _fold_in(sums[0], i, logits, axis=1)
            return rows, _fold_in(sums[1], j, logits, axis=0) if plan.columns else None

        def nothing(length):
            zeros = _zeros(tiles, scale, length)
            return zeros - jnp.inf, zeros

        start = nothing(len(tiles.x)), nothing(len(tiles.y)) if plan.columns else None
        rows, columns = _sweep(tiles, step, start)
        lse = [None if s is None else _finite(s[0]) + _safe_log(s[1]) for s in (rows, columns)]
        return tuple(lse)

    rows, columns = lax.cond(_is_bounded(x, y, scale), unshifted, shifted)
    return rows[:n], columns[:m] if plan.columns else None


def _lse_gradient(plan, x, y, scale, exclude, by_row, by_column):
    """Gradient for x and y of Σ_i w_i rows_i + Σ_j v_j columns_j, short of the factor `scale`.

    `by_row` is (rows, w) and `by_column` (columns, v). For a triangle the one array holds both
    gradients.
    """
    tiles = _tiles(plan, x, y, exclude)
    rows, row_weight = (padded(a, len(tiles.x)) for a in by_row)
    if plan.columns:
        columns, column_weight = (padded(a, len(tiles.y)) for a in by_column)

    def accumulate(weights_of_tile):
        def step(gradient, i, j):
            weights = weights_of_tile(i, j).astype(x.dtype)
            to_x = _contract("ij,jd->id", weights, _at(tiles.y, j))
            # Transposed behind a barrier too, for the same reason.
            to_y = lax.optimization_barrier(_to_columns(weights, _at(tiles.x, i))).T
            if plan.triangle:
                return _add_at(_add_at(gradient, i, to_x), j, to_y)
            return _add_at(gradient[0], i, to_x), _add_at(gradient[1], j, to_y)

        zeros = _zeros(tiles, scale, *tiles.x.shape)
        if not plan.triangle:
            zeros = zeros, _zeros(tiles, scale, *tiles.y.shape)
        return _sweep(tiles, step, zeros)

    def unshifted():
        row_factor = row_weight * jnp.exp(-rows)
        column_factor = column_weight * jnp.exp(-columns) if plan.columns else None

        def weights_of_tile(i, j):
            exponential = jnp.exp(_tile_logits(tiles, scale, i, j))
            factor = _at(row_factor, i)[:, None]
            if plan.columns:
                factor = factor + _at(column_factor, j)[None, :]
            return exponential * factor

        return accumulate(weights_of_tile)

    def shifted():
        def weights_of_tile(i, j):
            logits = _tile_logits(tiles, scale, i, j)
            weights = _at(row_weight, i)[:, None] * jnp.exp(logits - _at(rows, i)[:, None])
            if plan.columns:
                by_column = jnp.exp(logits - _at(columns, j)[None, :])
                weights += _at(column_weight, j)[None, :] * by_column
            return weights

        return accumulate(weights_of_tile)

    gradient = lax.cond(_is_bounded(x, y, scale), unshifted, shifted)
    if plan.triangle:
        return gradient[: len(x)]
    return gradient[0][: len(x)], gradient[1][: len(y)]


def _is_bounded(x, y, scale):
    """Whether no logit leaves ±_UNSHIFTED_LIMIT, by the Cauchy-Schwarz inequality."""
    wide = [z.astype(scale.dtype) for z in (x, x if y is None else y)]
    largest = [jnp.max(jnp.sum(z * z, axis=1)) for z in wide]
    bound = jnp.abs(scale) * jnp.sqrt(largest[0]) * jnp.sqrt(largest[1])
    return _of_all(bound <= _UNSHIFTED_LIMIT)


@jax.custom_batching.custom_vmap
def _of_all(condition):
    """A condition that under `jax.vmap` is one for the whole batch: true where it is for all.

    A batch of conditions would make `lax.cond` compute both of its branches for every member.
    """
    return condition


@_of_all.def_vmap
def _of_all_in_batch(axis_size, in_batched, condition):
    del axis_size, in_batched
    return _of_all(jnp.all(condition, axis=0)), False


def _fold_in(sums, at, logits, axis):
    """Running maximum and sum of exponentials less it, with one more tile."""
    top, total = _at(sums[0], at), _at(sums[1], at)
    new_top = jnp.maximum(top, jnp.max(logits, axis=axis))
    shift = _finite(new_top)
    more = jnp.sum(jnp.exp(logits - jnp.expand_dims(shift, axis)), axis=axis)
    total = total * jnp.exp(top - shift) + more
    return _put_at(sums[0], at, new_top), _put_at(sums[1], at, total)


# --- weighted sum over rows, with its gradient in the same pass -----------------------------------


# `shift` is the logit of each row's positive for "exp", and the bias of all logits for "softplus".


@compiled_once(0, 1)
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _weighted_rows(kind, plan, x, y, scale, shift, weights, exclude):
    if kind == "exp":
        lse = _lse_forward(plan, x, y, scale, exclude)[0][0]
        per_row = jax.nn.softplus(lse - shift)
    else:
        per_row = _softplus_forward(plan, x, y, scale, shift, exclude)[0]
    return jnp.sum(weights * per_row)


def _weighted_rows_forward(kind, plan, x, y, scale, shift, weights, exclude):
    per_row, gx, gy, g_shift = _value_and_gradient(kind, plan, x, y, scale, shift, weights, exclude)
    g_scale = jnp.sum(gx * x)
    gx, gy = (scale * gx).astype(x.dtype), (scale * gy).astype(y.dtype)
    return jnp.sum(weights * per_row), (gx, gy, g_scale, g_shift, per_row)


def _weighted_rows_backward(kind, plan, gradients, cotangent):
    return *((cotangent * g).astype(g.dtype) for g in gradients), None


_weighted_rows.__wrapped__.defvjp(_weighted_rows_forward, _weighted_rows_backward)


@compiled_once(0)
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tiled_row_softplus(plan, x, y, scale, bias, exclude):
    return _softplus_forward(plan, x, y, scale, bias, exclude)[0]


def _softplus_forward(plan, x, y, scale, bias, exclude):
    # XLA drops the gradient's products, which nothing uses.
    nothing = jnp.zeros(len(x), scale.dtype)
    per_row = _value_and_gradient("softplus", plan, x, y, scale, bias, nothing, exclude)[0]
    return per_row, (x, y, scale, bias, exclude)


def _softplus_backward(plan, residuals, cotangent):
    x, y, scale, bias, exclude = residuals
    _, gx, gy, g_bias = _value_and_gradient("softplus", plan, x, y, scale, bias, cotangent, exclude)
    g_scale = jnp.sum(gx * x)
    return (scale * gx).astype(x.dtype), (scale * gy).astype(y.dtype), g_scale, g_bias, None


_tiled_row_softplus.__wrapped__.defvjp(_softplus_forward, _softplus_backward)


def _value_and_gradient(kind, plan, x, y, scale, shift, weights, exclude):
    """Sums along rows and the gradient of their weighted sum, over all devices."""
    if not plan.ring:
        pairs = _gather_ids(plan, exclude)
        per_row, gx, gy, g_shift = _strips(
            kind, plan, x, gather(y, plan.axis_name), scale, shift, weights, pairs
        )
        return per_row, gx, _scatter_sum(gy, plan), g_shift

    def step(staying, travelling):
        y, ids, gy = travelling
        pairs = exclude[0], ids
        per_row, gx, more_y, g_shift = _strips(kind, plan, x, y, scale, shift, weights, pairs)
        staying = jax.tree.map(jnp.add, staying, (per_row, gx, g_shift))
        return staying, (y, ids, gy + more_y)

    shapes = [(len(x),), x.shape, (), y.shape]
    *staying, gy = (_vary(jnp.zeros(s, scale.dtype), x, y, scale) for s in shapes)
    travelling = y, exclude[1], gy
    (per_row, gx, g_shift), (*_, gy) = _round_the_ring(plan, step, tuple(staying), travelling)
    return per_row, gx, gy, g_shift


def _strips(kind, plan, x, y, scale, shift, weights, exclude):
    # Softplus and its derivative lie side by side.
    n, held = len(x), 1 if kind == "exp" else 2
    strips = -(-n // strip_rows(plan, held * len(y)))
    rows = -(-n // strips)
    left_out, ids = exclude if isinstance(exclude, tuple) else (exclude, None)
    per_row_inputs = [x, weights, left_out, *([shift] if kind == "exp" else [])]
    split = [padded(a, strips * rows).reshape(strips, rows, *a.shape[1:]) for a in per_row_inputs]

    def step(state, strip):
        gy, g_bias = state
        x_strip, weight, left_out, *positive = strip
        if ids is not None:
            left_out = same_id(left_out, ids)
        logits = scale * dot(x_strip, y)
        if kind == "exp":
            logits = jnp.where(left_out, -jnp.inf, logits)
            top = _finite(jnp.max(logits, axis=1))
            weights_of_strip = jnp.exp(logits - top[:, None])
            total = jnp.sum(weights_of_strip, axis=1)
            excess = top + _safe_log(total) - positive[0]
            per_row, pull = jax.nn.softplus(excess), weight * jax.nn.sigmoid(excess)
            factor, g_positive = pull / jnp.where(total > 0, total, 1), -pull
        else:
            # One exponential serves softplus and its derivative, the logistic function.
            logits = logits + shift
            decay = jnp.exp(-jnp.abs(logits))
            weights_of_strip = jnp.where(logits > 0, 1, decay) / (1 + decay)
            weights_of_strip = jnp.where(left_out, 0, weights_of_strip)
            softplus = jnp.maximum(logits, 0) + jnp.log1p(decay)
            per_row = jnp.sum(jnp.where(left_out, 0, softplus), axis=1)
            factor, g_positive = weight, None
            g_bias = g_bias + jnp.sum(factor * jnp.sum(weights_of_strip, axis=1))
        weights_of_strip = weights_of_strip.astype(x.dtype)
        # The factor of a row multiplies dim numbers here, and m in the weights.
        gx = factor[:, None] * _contract("ij,jd->id", weights_of_strip, y)
        gy = gy + _to_columns(weights_of_strip, (factor[:, None] * x_strip).astype(x.dtype))
        return (gy, g_bias), (per_row, gx, g_positive)

    zeros = [_vary(jnp.zeros(s, scale.dtype), x, y, scale, weights) for s in (y.shape[::-1], ())]
    (gy, g_bias), of_rows = lax.scan(step, tuple(zeros), tuple(split))
    per_row, gx, g_positive = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], of_rows)
    return per_row, gx, gy.T, g_positive if kind == "exp" else g_bias


def strip_rows(plan, n_columns):
    """Rows of a strip of all columns, with about as many logits as are asked for in a tile."""
    rows, columns = plan.tile
    elements = rows * columns
    if not elements:
        rows = 1024
        elements = _STRIP_ELEMENTS.get(jax.default_backend(), _STRIP_ELEMENTS_ELSEWHERE)
    return min(max(elements // n_columns, 64), rows)


# --- tiles ----------------------------------------------------------------------------------------


class _Tiles(NamedTuple):
    """Padded rows and columns, the shape of a tile, and which pairs count."""

    x: Array
    y: Array
    exclude: tuple[Array, Array] | Array | None
    n_rows: int
    n_columns: int
    tile: tuple[int, int]
    triangle: bool


def _tiles(plan, x, y, exclude):
    n, m = len(x), len(x if y is None else y)
    rows, columns = plan.tile if plan.tile[0] else _TILE.get(jax.default_backend(), _TILE_ELSEWHERE)
    # As many tiles as the size asks for, but even, so that little of the last one is padding.
    rows, columns = (-(-n // -(-n // rows)), -(-m // -(-m // columns)))
    if plan.triangle:
        columns = max(columns // rows, 1) * rows
        n_padded = -(-n // columns) * columns
        x = y = padded(x, n_padded)
    else:
        x, y = padded(x, -(-n // rows) * rows), padded(y, -(-m // columns) * columns)
    if isinstance(exclude, tuple):
        exclude = tuple(padded(ids, len(z)) for ids, z in zip(exclude, (x, y), strict=True))
    elif exclude is not None and exclude.shape != (len(x), len(y)):
        exclude = jnp.pad(exclude, [(0, len(x) - n), (0, len(y) - m)])
    return _Tiles(x, y, exclude, n, m, (rows, columns), plan.triangle)


def _sweep(tiles, step, state):
    """Folds `step(state, row start, column start)` over the tiles."""
    rows, columns = tiles.tile
    starts = [
        (i, j)
        for i in range(0, len(tiles.x), rows)
        for j in range(0, len(tiles.y), columns)
        if not tiles.triangle or j + columns > i
    ]
    return lax.scan(
        lambda state, start: (step(state, (start[0], rows), (start[1], columns)), None),
        state,
        jnp.asarray(starts, jnp.int32),
    )[0]


def _tile_logits(tiles, scale, i, j):
    """One tile of logits, -inf where the pair does not count."""
    logits = scale * dot(_at(tiles.x, i), _at(tiles.y, j))
    row, column = (start + jnp.arange(size, dtype=start.dtype) for start, size in (i, j))
    out = []
    if tiles.n_rows < len(tiles.x):
        out.append((row >= tiles.n_rows)[:, None])
    if tiles.n_columns < len(tiles.y):
        out.append((column >= tiles.n_columns)[None, :])
    if tiles.triangle:
        out.append(row[:, None] >= column[None, :])
    if isinstance(tiles.exclude, tuple):
        out.append(same_id(_at(tiles.exclude[0], i), _at(tiles.exclude[1], j)))
    elif tiles.exclude is not None:
        out.append(lax.dynamic_slice(tiles.exclude, (i[0], j[0]), (i[1], j[1])))
    if not out:
        return logits
    return jnp.where(functools.reduce(jnp.logical_or, out), -jnp.inf, logits)


def padded(value, length):
    short = length - value.shape[0]
    return jnp.pad(value, [(0, short)] + [(0, 0)] * (value.ndim - 1)) if short else value


def _zeros(tiles, scale, *shape):
    return _vary(jnp.zeros(shape, scale.dtype), tiles.x, tiles.y, scale)


def _at(value, at):
    return lax.dynamic_slice_in_dim(value, *at)


def _put_at(value, at, part):
    return lax.dynamic_update_slice_in_dim(value, part, at[0], 0)


def _add_at(value, at, part):
    return _put_at(value, at, _at(value, at) + part)


def _safe_log(value):
    # The slope at 0, which a second derivative meets, would be infinite.
    is_zero = value == 0
    return jnp.where(is_zero, -jnp.inf, jnp.log(jnp.where(is_zero, 1, value)))


def _finite(value):
    return jnp.where(jnp.isneginf(value), 0, value)
