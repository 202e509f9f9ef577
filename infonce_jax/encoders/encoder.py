"""The encoder: a backbone, a linear layer to the representation, and an optional projection head."""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, Num

from infonce_jax.encoders.layers import ACTIVATIONS, dense, float32_dense, norm

Variables = Mapping[str, Any]


class Outputs(NamedTuple):
    """What an encoder returns, in float32.

    Attributes:
        encoder: The representations z.
        head: The projection head's output, or the representations where there is no head.
    """

    encoder: Float[Array, "batch dim"]
    head: Float[Array, "batch head_dim"]


class Encoder(nn.Module):
    """A backbone, a linear layer to the representation, and a projection head.

    Build it with `make_encoder`, which documents and checks the options.

    Attributes:
        backbone: An `MLP`, `ResNet` or `ViT`, or any module called as `backbone(x, train=train)`
            that returns [batch, features].
        embedding_dim: Dimension of the representation, or `None` for the features themselves.
        head: `"none"`, `"linear"` or `"mlp"`.
        head_hidden: Hidden units of the MLP head.
        head_dim: Output dimension of the head.
        head_norm: Normalisation of the MLP head's hidden layer, one of `NORMS`.
        activation: Of the MLP head's hidden layer, one of `ACTIVATIONS`.
        dtype: Type in which the layers compute. The outputs are float32.
    """

    backbone: nn.Module
    embedding_dim: int | None
    head: str
    head_hidden: int
    head_dim: int
    head_norm: str
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Num[Array, "batch *sample"], *, train: bool) -> Outputs:
        """Encodes a batch. `train` is that of BatchNorm.

        Raises:
            ValueError: If the input is neither floating-point vectors nor images.
        """
        if x.ndim not in (2, 4) or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"An encoder takes floating-point vectors [batch, dim] or images [batch, height, "
                f"width, channels], but its input is {x.dtype}{list(x.shape)}."
            )
        x = self.backbone(x.astype(self.dtype), train=train)
        if self.embedding_dim is not None:
            x = float32_dense(self.embedding_dim, self.dtype, "embedding")(x)
        representation = x.astype(jnp.float32)
        if self.head == "none":
            return Outputs(representation, representation)
        if self.head == "mlp":
            x = dense(self.head_hidden, self.dtype, "head_hidden")(x)
            x = norm(self.head_norm, self.head_hidden, train=train, dtype=self.dtype)(x)
            x = ACTIVATIONS[self.activation](x)
        return Outputs(representation, float32_dense(self.head_dim, self.dtype, "head_out")(x))


def init(
    encoder: Encoder, key: Key[Array, ""], sample_input: Num[Array, "batch *sample"]
) -> Variables:
    """Draws an encoder's initial variables.

    Kernels are normal with mean 0. The variance is 2 / (kernel area · output channels) for
    convolutions (He et al. 2015) and 1 / inputs for dense layers (LeCun et al. 1998). The positions
    of a ViT are normal with standard deviation 0.02. Biases are 0, scales of normalisations 1.

    Args:
        encoder: From `make_encoder`.
        key: The key of the parameters.
        sample_input: An input of the right shape. Its values do not matter.

    Returns:
        `{"params": …, "batch_stats": …}`, the latter empty where there is no BatchNorm.

    Raises:
        ValueError: If the encoder does not take inputs of this shape or type.
    """
    return _init(encoder, key, sample_input)


@functools.partial(jax.jit, static_argnums=0)
def _init(encoder: Encoder, key: Array, sample_input: Array) -> Variables:
    variables = encoder.init(key, sample_input, train=False)
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables["params"])
    stds = [_initial_std(path[-1].key, leaf.shape) for path, leaf in leaves]
    # One draw for all of them: XLA takes 0.5 s on a CPU to compile a draw, however short.
    sizes = [leaf.size if std else 0 for std, (_, leaf) in zip(stds, leaves, strict=True)]
    draws = jnp.split(jax.random.normal(key, (sum(sizes),)), list(itertools.accumulate(sizes)))
    params = [
        std * draw.reshape(leaf.shape) if std else leaf
        for std, draw, (_, leaf) in zip(stds, draws[:-1], leaves, strict=True)
    ]
    return {
        "params": jax.tree_util.tree_unflatten(structure, params),
        "batch_stats": variables.get("batch_stats", {}),
    }


def _initial_std(name: str, shape: tuple[int, ...]) -> float:
    """The standard deviation of a parameter's first values, or 0 if they are constant."""
    if name == "positions":
        return 0.02
    if name != "kernel":
        return 0.0
    if len(shape) == 4:
        height, width, _, out_channels = shape
        return math.sqrt(2 / (height * width * out_channels))
    return math.sqrt(1 / shape[0])


def apply(
    encoder: Encoder, variables: Variables, x: Num[Array, "batch *sample"], *, train: bool
) -> tuple[Outputs, Variables]:
    """Encodes a batch.

    Args:
        encoder: From `make_encoder`.
        variables: From `init`, or later in training.
        x: Vectors [batch, dim] or images [batch, height, width, channels].
        train: Whether BatchNorm normalises by the statistics of this batch and updates the running
            averages, or normalises by the running averages.

    Returns:
        The outputs, and the new `batch_stats`. They are those given where `train` is false.

    Raises:
        ValueError: If the encoder does not take inputs of this shape or type.
    """
    if not train:
        return encoder.apply(variables, x, train=False), variables.get("batch_stats", {})
    outputs, updated = encoder.apply(variables, x, train=True, mutable=["batch_stats"])
    return outputs, updated.get("batch_stats", {})
