"""Representations of any number of rows, block by block."""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

from infonce_jax.data.images import Images
from infonce_jax.training.embed import VIEWS
from infonce_jax.training.program import Program
from infonce_jax.training.state import TrainState


def encode_blocks(
    program: Program, state: TrainState, rows: Shaped[np.ndarray | Images, "n ..."], batch_size: int
) -> Float[np.ndarray, "members n dim"]:
    """Representations of any number of rows, `batch_size` at a time."""
    encode_block = functools.partial(program.encode, state)
    blocks = [
        np.asarray(encode_block(block))[:, :count] for _, count, block in _blocks(rows, batch_size)
    ]
    return np.concatenate(blocks, axis=1)


def encode_view_blocks(
    program: Program,
    state: TrainState,
    rows: Shaped[np.ndarray | Images, "n ..."],
    batch_size: int,
    labels: Int[np.ndarray, " n"] | None = None,
) -> dict[str, Float[np.ndarray, "members n dim"]]:
    """Representations of any number of rows and of two views of them, `batch_size` at a time.

    The views depend on the member's seed and the row's block, not on the training step, so that the
    same views are compared across steps. The labels are for channels that need them.

    Returns:
        Arrays by the names in `VIEWS`.
    """
    blocks = []
    for first, count, block in _blocks(rows, batch_size):
        block_labels = None
        if labels is not None:
            block_labels = _padded(labels[first : first + count], len(block))
        outputs = program.encode_views(state, block, block_labels, first)
        blocks.append({name: np.asarray(z)[:, :count] for name, z in outputs.items()})
    return {name: np.concatenate([b[name] for b in blocks], axis=1) for name in VIEWS}


def _blocks(
    rows: Shaped[np.ndarray | Images, "n ..."], batch_size: int
) -> Iterator[tuple[int, int, Shaped[np.ndarray, "block ..."]]]:
    """First row, count and rows of each block; all of one size, so that one program serves them."""
    batch_size = min(batch_size, len(rows))
    for first in range(0, len(rows), batch_size):
        block = rows[first : first + batch_size]
        yield first, len(block), _padded(block, batch_size)


def _padded(block: Shaped[np.ndarray, "n ..."], size: int) -> Shaped[np.ndarray, "size ..."]:
    """A block that its last entry is repeated in until it has `size` entries."""
    return np.concatenate([block, np.repeat(block[-1:], size - len(block), axis=0)])
