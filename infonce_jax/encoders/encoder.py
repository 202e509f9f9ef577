"""The encoder: a backbone, a linear layer to the representation, and an optional projection head."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, Num

from infonce_jax.encoders.initializers import check_name
from infonce_jax.encoders.layers import ACTIVATIONS, Dense, norm

HEADS = ("none", "linear", "mlp")

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
        head: One of `HEADS`.
        head_hidden: Hidden units of the MLP head.
        head_dim: Output dimension of the head.
        head_norm: Normalisation of the MLP head's hidden layer, one of `NORMS`.
        activation: Of the MLP head's hidden layer, one of `ACTIVATIONS`.
        initializer: Of the embedding and the head, one of `INITIALIZERS`.
        dtype: Type in which the layers compute. The outputs are float32.
        is_own: Whether the backbone is the user's own, which may take rows of any shape and need not
            have a parameter `train`.
    """

    backbone: nn.Module
    embedding_dim: int | None = 128
    head: str = "none"
    head_hidden: int = 512
    head_dim: int = 128
    head_norm: str = "none"
    activation: str = "relu"
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32
    is_own: bool = False

    @nn.compact
    def __call__(self, x: Num[Array, " batch *sample"], *, train: bool = False) -> Outputs:
        """Encodes a batch. `train` is that of BatchNorm.

        Raises:
            ValueError: If the input is neither floating-point vectors nor images, or a name is
                unknown.
        """
        if (x.ndim not in (2, 4) and not self.is_own) or not (
            self.is_own or jnp.issubdtype(x.dtype, jnp.floating)
        ):
            raise ValueError(
                f"An encoder takes floating-point vectors [batch, dim] or images [batch, height, "
                f"width, channels], but its input is {x.dtype}{list(x.shape)}."
            )
        check_name("head", self.head, HEADS)
        check_name("activation", self.activation, tuple(ACTIVATIONS))
        dense = functools.partial(Dense, initializer=self.initializer, dtype=self.dtype)
        if jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(self.dtype)
        x = self._features(x, train)
        if self.embedding_dim is not None:
            x = dense(self.embedding_dim, float32_sums=True, name="embedding")(x)
        representation = x.astype(jnp.float32)
        if self.head == "none":
            return Outputs(representation, representation)
        if self.head == "mlp":
            x = dense(self.head_hidden, name="head_hidden")(x)
            x = norm(self.head_norm, self.head_hidden, train=train, dtype=self.dtype)(x)
            x = ACTIVATIONS[self.activation](x)
        x = dense(self.head_dim, float32_sums=True, name="head_out")(x)
        return Outputs(representation, x)

    def _features(
        self, x: Num[Array, " batch *sample"], train: bool
    ) -> Float[Array, "batch features"]:
        if not self.is_own:
            return self.backbone(x, train=train)
        takes_train = "train" in inspect.signature(type(self.backbone).__call__).parameters
        try:
            features = self.backbone(x, **({"train": train} if takes_train else {}))
        except InvalidRngError as error:
            raise ValueError(
                f"The encoder {type(self.backbone).__name__} draws random numbers ({error}), but "
                "encoders get no random keys. Leave dropout and other random layers out."
            ) from None
        if jnp.ndim(features) != 2 or features.shape[0] != x.shape[0]:
            raise ValueError(
                f"The encoder {type(self.backbone).__name__} returns an array of shape "
                f"{list(jnp.shape(features))} for a batch of shape {list(x.shape)}; it must return "
                f"features [{x.shape[0]}, features]."
            )
        return features


@functools.partial(jax.jit, static_argnums=0)
def init(
    encoder: nn.Module, key: Key[Array, ""], sample_input: Num[Array, " batch *sample"]
) -> Variables:
    """Draws an encoder's initial variables: `encoder.init(key, sample_input)`, compiled.

    Each module has its own initialisers. `make_encoder` explains them at `initializer`.

    Examples:
        >>> from infonce_jax.encoders import make_encoder
        >>> encoder = make_encoder("linear", embedding_dim=4)
        >>> sorted(init(encoder, jax.random.key(0), jnp.ones((1, 8))))
        ['batch_stats', 'params']

    Args:
        encoder: From `make_encoder`.
        key: The key of the parameters.
        sample_input: An input of the right shape. Its values do not matter.

    Returns:
        `{"params": …, "batch_stats": …}`, the latter empty where there is no BatchNorm.

    Raises:
        ValueError: If the encoder does not take inputs of this shape or type.
    """
    return {"batch_stats": {}, **encoder.init(key, sample_input)}


def apply(
    encoder: nn.Module, variables: Variables, x: Num[Array, " batch *sample"], *, train: bool
) -> tuple[Outputs, Variables]:
    """Encodes a batch.

    Examples:
        >>> from infonce_jax.encoders import make_encoder
        >>> encoder = make_encoder("linear", embedding_dim=4)
        >>> variables = init(encoder, jax.random.key(0), jnp.ones((1, 8)))
        >>> outputs, batch_stats = apply(encoder, variables, jnp.ones((2, 8)), train=False)
        >>> outputs.encoder.shape
        (2, 4)

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
