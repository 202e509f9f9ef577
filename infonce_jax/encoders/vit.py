"""The vision transformer, up to its pooled features (Dosovitskiy et al., ICLR 2021)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax.encoders.layers import dense

POOLS = ("mean", "token")


class TransformerBlock(nn.Module):
    """A pre-normalised transformer block: self-attention, then an MLP four times as wide.

    Attributes:
        num_heads: Attention heads. They must divide the width of the tokens.
        dtype: Type in which the layers compute.
    """

    num_heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens width"]:
        """Returns the tokens after attention and MLP, each added to its input."""
        batch, tokens, width = x.shape
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = dense(3 * width, self.dtype, "query_key_value")(y)
        y = y.reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        y = jax.nn.dot_product_attention(y[:, :, 0], y[:, :, 1], y[:, :, 2])
        x = x + dense(width, self.dtype, "attention_out")(y.reshape(batch, tokens, width))
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = nn.gelu(dense(4 * width, self.dtype)(y))
        return x + dense(width, self.dtype)(y)


class ViT(nn.Module):
    """A vision transformer with learned positions, up to its class token or the mean of its tokens.

    Attributes:
        patch_size: Side of the square patches in pixels.
        depth: Transformer blocks.
        num_heads: Attention heads. They must divide `width`.
        width: Size of the tokens.
        pool: What is returned: the class `"token"`, or the `"mean"` of the tokens without one.
        dtype: Type in which the layers compute.
    """

    patch_size: int
    depth: int
    num_heads: int
    width: int
    pool: str
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *sample"], *, train: bool
    ) -> Float[Array, "batch width"]:
        """Returns the pooled tokens. `train` changes nothing.

        Raises:
            ValueError: If the input is not a batch of images, or patches do not tile them.
        """
        del train
        if x.ndim != 4:
            raise ValueError(
                f"A ViT takes images [batch, height, width, channels], but its input has the shape "
                f"{list(x.shape)}; use the encoder 'linear' or 'mlp' for vectors."
            )
        batch, height, width, channels = x.shape
        size = self.patch_size
        if height % size or width % size:
            raise ValueError(
                f"A ViT cuts images into square patches, but height {height} and width {width} are "
                f"not both multiples of patch_size {size}; choose a patch_size that divides "
                f"{math.gcd(height, width)}."
            )
        rows, columns = height // size, width // size
        x = x.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
        x = x.reshape(batch, rows * columns, size * size * channels)
        x = dense(self.width, self.dtype, "patches")(x)
        if self.pool == "token":
            token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
            token = jnp.broadcast_to(token.astype(x.dtype), (batch, 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        positions = self.param("positions", nn.initializers.zeros, (1, x.shape[1], self.width))
        x = x + positions.astype(x.dtype)
        for _ in range(self.depth):
            x = TransformerBlock(self.num_heads, self.dtype)(x)
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return x[:, 0] if self.pool == "token" else jnp.mean(x, axis=1, dtype=jnp.float32)
