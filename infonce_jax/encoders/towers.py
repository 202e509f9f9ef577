"""Two encoders for rows that are pairs, such as an image and its caption."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from infonce_jax.encoders.encoder import Encoder, Outputs


class Half(NamedTuple):
    """What one half of a pair looks like.

    Attributes:
        shape: of one sample.
        is_integer: whether it holds whole numbers, such as the ids of tokens.
    """

    shape: tuple[int, ...]
    is_integer: bool

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return math.prod(self.shape)


class TwoTowers(nn.Module):
    """An encoder for each half of a pair.

    A row is both halves, flattened, one after the other, as float32. Of a batch, the first tower
    encodes the first half of every row in the first half of the batch, and the second tower the second
    half of every row in the rest. So a batch of first views and second views, which are views of the
    same pairs, becomes representations of the two halves of the pairs.

    Attributes:
        first: the encoder of the first halves.
        second: the encoder of the second halves; its representations are of the same dimension.
        halves: what the two halves look like.
    """

    first: Encoder
    second: Encoder
    halves: Sequence[Half]

    @nn.compact
    def __call__(self, x: Float[Array, "two_n numbers"], *, train: bool = False) -> Outputs:
        """Encodes a batch of an even number of rows.

        Raises:
            ValueError: where the two towers give representations of different dimensions.
        """
        split = self.halves[0].size
        n = x.shape[0] // 2
        parts = (x[:n, :split], x[n:, split:])
        outputs = []
        for tower, half, part in zip((self.first, self.second), self.halves, parts, strict=True):
            rows = part.reshape(n, *half.shape)
            outputs.append(tower(rows.astype(jnp.int32) if half.is_integer else rows, train=train))
        dims = [output.head.shape[1] for output in outputs]
        dims += [output.encoder.shape[1] for output in outputs]
        if dims[0] != dims[1] or dims[2] != dims[3]:
            raise ValueError(
                f"The encoders of the two halves give {dims[2]} and {dims[3]} dimensions (heads: "
                f"{dims[0]} and {dims[1]}); give config.encoder and config.encoder_b the same "
                "embedding_dim, and the same head_dim."
            )
        return Outputs(*map(jnp.concatenate, zip(*outputs, strict=True)))
