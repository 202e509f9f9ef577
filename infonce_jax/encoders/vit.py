"""The vision transformer, up to its pooled features (Dosovitskiy et al., ICLR 2021)."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax.encoders.initializers import check_name, normal
from infonce_jax.encoders.layers import Dense

POOLS = ("mean", "token")


class TransformerBlock(nn.Module):
    """A pre-normalised transformer block: self-attention, then an MLP four times as wide.

    Attributes:
        num_heads: Attention heads. They must divide the width of the tokens.
        initializer: One of `INITIALIZERS`, for the dense layers.
        dtype: Type in which the layers compute.
        norm_epsilon: Added to the variance in LayerNorm.
    """

    num_heads: int
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32
    norm_epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens width"]:
        """Returns the tokens after attention and MLP, each added to its input."""
        batch, tokens, width = x.shape
        dense = functools.partial(Dense, initializer=self.initializer, dtype=self.dtype)
        y = nn.LayerNorm(self.norm_epsilon, dtype=self.dtype)(x)
        y = dense(3 * width, name="query_key_value")(y)
        y = y.reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        y = jax.nn.dot_product_attention(y[:, :, 0], y[:, :, 1], y[:, :, 2])
        x = x + dense(width, name="attention_out")(y.reshape(batch, tokens, width))
        y = nn.LayerNorm(self.norm_epsilon, dtype=self.dtype)(x)
        y = nn.gelu(dense(4 * width)(y), approximate=False)
        return x + dense(width)(y)


class ViT(nn.Module):
    """A vision transformer with learned positions, up to its class token or the mean of its tokens.

    The positions start normal with standard deviation 0.02, the class token starts at 0.

    Attributes:
        patch_size: Side of the square patches in pixels.
        depth: Transformer blocks.
        num_heads: Attention heads. They must divide `width`.
        width: Size of the tokens.
        pool: What is returned: the class `"token"`, or the `"mean"` of the tokens without one.
        initializer: One of `INITIALIZERS`, for the dense layers.
        dtype: Type in which the layers compute.
        norm_epsilon: Added to the variance in LayerNorm.
    """

    patch_size: int = 4
    depth: int = 6
    num_heads: int = 3
    width: int = 192
    pool: str = "token"
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32
    norm_epsilon: float = 1e-6

    @nn.compact
    def __call__(
        self, x: Float[Array, " batch *sample"], *, train: bool = False
    ) -> Float[Array, "batch width"]:
        """Returns the pooled tokens. `train` changes nothing.

        Raises:
            ValueError: If the input is not a batch of images, patches do not tile them, or
                `num_heads` does not divide `width`.
        """
        del train
        check_name("pool", self.pool, POOLS)
        check_heads(self.num_heads, self.width)
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
        x = Dense(self.width, self.initializer, self.dtype, name="patches")(x)
        if self.pool == "token":
            token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
            token = jnp.broadcast_to(token.astype(x.dtype), (batch, 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        positions = self.param("positions", normal(0.02), (1, x.shape[1], self.width))
        x = x + positions.astype(x.dtype)
        for _ in range(self.depth):
            x = TransformerBlock(self.num_heads, self.initializer, self.dtype, self.norm_epsilon)(x)
        x = nn.LayerNorm(self.norm_epsilon, dtype=self.dtype)(x)
        return x[:, 0] if self.pool == "token" else jnp.mean(x, axis=1, dtype=jnp.float32)


def check_heads(num_heads: int, width: int) -> None:
    """Raises a `ValueError` if attention heads cannot share a width evenly."""
    if width % num_heads:
        raise ValueError(
            f"The heads of a ViT share its width, but num_heads {num_heads} does not divide width "
            f"{width}."
        )
