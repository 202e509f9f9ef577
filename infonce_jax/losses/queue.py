"""A queue of past keys, as explicit state, and integer ids of whatever names rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from infonce_jax.losses.common import (
    Axes,
    Mask,
    as_axes,
    as_ids,
    check_floating,
    check_rows,
    global_size,
    safe_normalize,
    varying,
)


class Queue(NamedTuple):
    """The newest keys, to be passed on as `negatives=queue.keys`.

    Attributes:
        keys: one key per row, in no particular order.
        position: the row that is overwritten next.
    """

    keys: Float[Array, "queue dim"]
    position: Int[Array, ""]


def make_queue(key: Array, size: int, dim: int, dtype: Any = jnp.float32) -> Queue:
    """A queue of random unit vectors, as MoCo starts from.

    Examples:
        >>> infonce_jax.make_queue(jax.random.key(0), 256, 8).keys.shape
        (256, 8)

    Args:
        key: of `jax.random.key`.
        size: number of keys it holds.
        dim: their dimension.
        dtype: their dtype.

    Raises:
        ValueError: if `size` or `dim` is below 1.

    References:
        He et al., [Momentum Contrast for Unsupervised Visual Representation
        Learning](https://arxiv.org/abs/1911.05722), 2019, algorithm 1.
    """
    if size < 1 or dim < 1:
        raise ValueError(f"size is {size} and dim {dim}; a queue needs at least one of each.")
    keys = safe_normalize(jax.random.normal(key, (size, dim)))
    return Queue(keys.astype(dtype), jnp.zeros((), jnp.int32))


def enqueue(
    queue: Queue,
    keys: Float[ArrayLike, "batch dim"],
    *,
    where: Mask | None = None,
    axis_name: Axes = None,
) -> Queue:
    """The queue with its oldest keys replaced by new ones, through which no gradient passes.

    Pure: it returns a new queue, which belongs in the state of training. The batch need not divide
    the queue's size.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> queue = make_queue(jax.random.key(0), size=6, dim=2)
        >>> queue = enqueue(queue, jnp.ones((4, 2)))
        >>> int(queue.position), bool((queue.keys[:4] == 1).all())
        (4, True)

    Args:
        queue: from `make_queue` or an earlier call.
        keys: the new keys, as the loss is given them. With a loss that normalizes, their length
            does not matter.
        where: rows of `keys` that enter; padding is False.
        axis_name: for a queue that every device holds whole: the axis over which the batch is
            sharded, so that the keys of all devices enter. Leave it out if each device holds its
            own part of the queue.

    Raises:
        TypeError: if the keys are not floating point.
        ValueError: if their dimension is not the queue's, or there are more than it holds.
    """
    check_floating(keys=keys)
    size, dim = queue.keys.shape
    axis_name = None if axis_name is None else as_axes(axis_name)
    if keys.ndim != 2 or keys.shape[1] != dim:
        raise ValueError(f"keys has shape {keys.shape}; the queue takes [batch, {dim}].")
    check_rows(keys.shape[0], where)
    n = global_size(keys.shape[0], axis_name)
    if n > size:
        raise ValueError(f"keys has {n} rows and the queue holds {size}; make it larger.")
    keys = lax.stop_gradient(jnp.asarray(keys)).astype(queue.keys.dtype)
    counts = jnp.ones(keys.shape[0], bool) if where is None else jnp.asarray(where)
    counts = counts.astype(jnp.int32)
    keys, counts = (_of_all_devices(value, axis_name) for value in (keys, counts))
    rows = (queue.position + jnp.cumsum(counts) - 1) % size
    # A row beyond the last is dropped.
    rows = jnp.where(counts == 1, rows, size)
    position = (queue.position + jnp.sum(counts)) % size
    return Queue(queue.keys.at[rows].set(keys, mode="drop"), position)


def _of_all_devices(value, axis_name):
    """The rows of all devices, by a sum, whose result shard_map knows to be the same everywhere."""
    if axis_name is None:
        return value
    n = value.shape[0]
    whole = jnp.zeros((global_size(n, axis_name), *value.shape[1:]), value.dtype)
    missing = tuple(sorted(varying(value)))
    whole = lax.pcast(whole, missing, to="varying") if missing else whole
    whole = lax.dynamic_update_slice_in_dim(whole, value, lax.axis_index(axis_name) * n, 0)
    return lax.psum(whole, axis_name)


def ids_of(
    labels: Sequence[Any] | np.ndarray | Array, *, unknown: Any = None
) -> Int[Array, " batch"]:
    """An integer per row, equal where the labels are equal: for `exclude`, `positives` and `sup_con`.

    Takes what identifies rows in practice: strings, paths, hashes of any width, class numbers, or
    rows of several columns, which are equal if all columns are. Labels on the host are ranked there;
    traced integers inside of `jax.jit` are ranked there too.

    `jax.jit` cuts 64-bit integers to 32 bits as they enter, before any loss sees them: rank hashes
    by this function outside of it, or pass them as two columns of 32 bits.

    Examples:
        >>> ids_of(["cat", "dog", "cat"]).tolist()
        [0, 1, 0]
        >>> ids_of([7, -1, 7, -1], unknown=-1).tolist()
        [0, 1, 0, 2]

    Args:
        labels: one per row, or an array [batch, columns].
        unknown: a label that stands for none; such rows get an id each of their own.

    Raises:
        ValueError: if `labels` is empty or has more than two axes.
    """
    if not isinstance(labels, jax.Array):
        labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or labels.shape[0] == 0:
        raise ValueError(
            f"labels has shape {labels.shape}; pass one label per row, [batch] or [batch, columns]."
        )
    is_traced = isinstance(labels, jax.core.Tracer)
    xp = jnp if is_traced else np
    labels = labels if is_traced else np.asarray(labels)
    size = {"size": labels.shape[0]} if is_traced else {}
    axis = 0 if labels.ndim == 2 else None
    _, ranks = xp.unique(labels, axis=axis, return_inverse=True, **size)
    ranks = xp.reshape(ranks, -1).astype(np.int32)
    if unknown is not None:
        is_unknown = labels == unknown
        is_unknown = is_unknown if is_unknown.ndim == 1 else is_unknown.all(axis=1)
        n = labels.shape[0]
        ranks = xp.where(is_unknown, n + xp.arange(n, dtype=np.int32), ranks)
        if not is_traced:
            _, ranks = np.unique(ranks, return_inverse=True)
    return as_ids(np.asarray(ranks, np.int32)) if not is_traced else ranks
