"""The hidden layers of a multilayer perceptron."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax.encoders.initializers import check_name
from infonce_jax.encoders.layers import ACTIVATIONS, Dense


class MLP(nn.Module):
    """Hidden layers on flattened inputs. With no hidden layer it only flattens.

    Attributes:
        hidden_layers: How many layers, each followed by the activation.
        width: Units of each layer.
        activation: One of `ACTIVATIONS`.
        initializer: One of `INITIALIZERS`.
        dtype: Type in which the layers compute.
    """

    hidden_layers: int = 1
    width: int = 512
    activation: str = "relu"
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, " batch *sample"], *, train: bool = False
    ) -> Float[Array, "batch features"]:
        """Returns the last hidden layer. `train` changes nothing.

        Raises:
            ValueError: If the activation is unknown.
        """
        del train
        check_name("activation", self.activation, tuple(ACTIVATIONS))
        x = x.reshape(x.shape[0], -1)
        for _ in range(self.hidden_layers):
            x = ACTIVATIONS[self.activation](Dense(self.width, self.initializer, self.dtype)(x))
        return x
