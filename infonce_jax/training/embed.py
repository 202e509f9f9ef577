"""Representations of rows by all members, in evaluation mode, and by blocks for many rows."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PyTree, Shaped

from infonce_jax.data import to_float
from infonce_jax.training.members import Hyper, Layout, over_members, to_grid, to_list
from infonce_jax.training.method import Method, draw_two_views
from infonce_jax.training.model import encode
from infonce_jax.training.state import TrainState, member_keys

if TYPE_CHECKING:
    from infonce_jax.training.program import Program

VIEWS = ("clean", "view1", "view2")


def encode_rows(
    method: Method,
    layout: Layout,
    params: PyTree,
    batch_stats: PyTree,
    rows: Num[Array, "n ..."],
    hyper: Hyper,
) -> Float[Array, "members n dim"]:
    """Representations of rows."""

    def one(variables, hyper):
        del hyper
        return _embedded(method, variables, to_float(rows))

    variables = to_grid(layout, (params, batch_stats))
    return to_list(layout, over_members(layout, one, variables, hyper))


def encode_views(
    method: Method,
    layout: Layout,
    params: PyTree,
    batch_stats: PyTree,
    rows: Num[Array, "n ..."],
    first_row: Int[Array, ""],
    hyper: Hyper,
) -> dict[str, Float[Array, "members n dim"]]:
    """Representations of rows and of two views of them, by the names in `VIEWS`.

    The views follow from the member's seed and `first_row`, not from the training step.
    """

    def one(variables, hyper):
        key = jax.random.fold_in(member_keys(hyper["seed"]).embed, first_row)
        views = draw_two_views(method, key, rows, hyper)
        z = _embedded(method, variables, jnp.concatenate([to_float(rows), views]))
        return dict(zip(VIEWS, jnp.split(z, 3), strict=True))

    variables = to_grid(layout, (params, batch_stats))
    return to_list(layout, over_members(layout, one, variables, hyper))


def encode_blocks(
    program: "Program", state: TrainState, rows: Shaped[np.ndarray, "n ..."], batch_size: int
) -> Float[np.ndarray, "members n dim"]:
    """Representations of any number of rows, `batch_size` at a time."""
    encode_block = functools.partial(program.encode, state)
    blocks = [
        np.asarray(encode_block(block))[:, :count] for _, count, block in _blocks(rows, batch_size)
    ]
    return np.concatenate(blocks, axis=1)


def encode_view_blocks(
    program: "Program", state: TrainState, rows: Shaped[np.ndarray, "n ..."], batch_size: int
) -> dict[str, Float[np.ndarray, "members n dim"]]:
    """Representations of any number of rows and of two views of them, `batch_size` at a time.

    The views depend on the member's seed and the row's block, not on the training step, so that the
    same views are compared across steps.

    Returns:
        Arrays by the names in `VIEWS`.
    """
    blocks = []
    for first, count, block in _blocks(rows, batch_size):
        outputs = program.encode_views(state, block, jnp.int32(first))
        blocks.append({name: np.asarray(z)[:, :count] for name, z in outputs.items()})
    return {name: np.concatenate([b[name] for b in blocks], axis=1) for name in VIEWS}


def _embedded(
    method: Method, variables: tuple[PyTree, PyTree], inputs: Float[Array, "n ..."]
) -> Float[Array, "n dim"]:
    outputs, _ = encode(method.model, *variables, inputs, train=False)
    return getattr(outputs, method.model.embedded_output)


def _blocks(
    rows: Shaped[np.ndarray, "n ..."], batch_size: int
) -> Iterator[tuple[int, int, Shaped[np.ndarray, "block ..."]]]:
    """First row, count and rows of each block; all of one size, so that one program serves them."""
    batch_size = min(batch_size, len(rows))
    for first in range(0, len(rows), batch_size):
        block = rows[first : first + batch_size]
        count = len(block)
        padding = np.repeat(block[-1:], batch_size - count, axis=0)
        yield first, count, np.concatenate([block, padding])
