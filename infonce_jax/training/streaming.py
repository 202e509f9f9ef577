"""Training on batches that are streamed from the host, one step at a time."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree
from ml_collections import config_dict

from infonce_jax.config import Member
from infonce_jax.data import Dataset, DataSpec, Stream, make_host_index
from infonce_jax.training.distributed import local_rows, place
from infonce_jax.training.members import Layout
from infonce_jax.training.state import TrainState, member_keys

# Steps that are handed to the devices before the host waits for the first of them.
_IN_FLIGHT = 2


def abstract_batch(
    config: config_dict.ConfigDict, spec: DataSpec, layout: Layout
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct | None]:
    """Shapes of a step's rows and labels: those of every seed, or of the only one."""
    shape = (*_seeds(layout), config.train.batch_size)
    rows = jax.ShapeDtypeStruct((*shape, *spec.sample_shape), jnp.uint8, sharding=_sharding(layout))
    if spec.num_classes is None:
        return rows, None
    return rows, jax.ShapeDtypeStruct(shape, jnp.int32, sharding=_sharding(layout))


def place_batch(
    layout: Layout, rows: np.ndarray, labels: np.ndarray | None
) -> tuple[Array, Array | None]:
    """Brings a decoded batch, with a leading axis of seeds, to the devices.

    Each process copies the rows that its devices hold, and need not have decoded the others.
    """
    if not _seeds(layout):
        rows, labels = rows[0], None if labels is None else labels[0]
    return place((rows, labels), _sharding(layout))


def make_advance(
    advance_one: Callable[..., tuple[TrainState, Int[Array, ""]]],
    config: config_dict.ConfigDict,
    data: Dataset,
    members: Sequence[Member],
    layout: Layout,
) -> Callable[[TrainState, int], tuple[TrainState, Int[Array, ""]]]:
    """`(state, stop) -> (state, failed)` as `Program.advance`, which streams its batches.

    Args:
        advance_one: `step.advance_streamed`, compiled, as `(state, batch=, failed=)`.
        config: the configuration.
        data: the streamed data.
        members: all members.
        layout: of the members.
    """
    seeds = jnp.array(list(dict.fromkeys(member.seed for member in members)), jnp.uint32)

    @functools.cache
    def stream() -> Stream:
        # Made at the first step: the threads are not wanted where only shapes are.
        keys = jax.vmap(lambda seed: member_keys(seed).batch)(seeds)
        index = make_host_index(keys, config.train.batch_size, data.spec.train_size)
        return Stream(
            data.train,
            data.train_labels,
            index,
            functools.partial(place_batch, layout),
            ahead=config.data.prefetch,
            own=local_rows(layout.mesh, config.train.batch_size),
        )

    def advance(state: TrainState, stop: int) -> tuple[TrainState, Int[Array, ""]]:
        # Placed as the program returns it, which is then compiled once.
        failed = place(np.int32(-1), layout.replicated)
        waiting: list[Array] = []
        for step in range(int(state.step), stop):
            state, failed = advance_one(state, batch=stream()(step), failed=failed)
            waiting.append(failed)
            # Without a limit the host would hand over batches faster than the devices use them up.
            if len(waiting) > _IN_FLIGHT and int(waiting.pop(0)) >= 0:
                break
        return state, failed

    return advance


def any_values(arrays: PyTree) -> PyTree:
    """Arrays for shapes, where only the shapes matter; other leaves as they are."""
    return jax.tree.map(
        lambda leaf: (
            jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
        ),
        arrays,
    )


def _seeds(layout: Layout) -> tuple[int, ...]:
    return (layout.grid["seed"],) if "seed" in layout.grid else ()


def _sharding(layout: Layout) -> NamedSharding:
    seeds = ("members" if layout.spread == "seed" else None,) if _seeds(layout) else ()
    return NamedSharding(layout.mesh, PartitionSpec(*seeds, "batch"))
