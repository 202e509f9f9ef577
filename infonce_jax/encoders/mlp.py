"""The hidden layers of a multilayer perceptron."""

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax.encoders.layers import ACTIVATIONS, dense


class MLP(nn.Module):
    """Hidden layers on flattened inputs. With no hidden layer it only flattens.

    Attributes:
        hidden_layers: How many layers, each followed by the activation.
        width: Units of each layer.
        activation: One of `ACTIVATIONS`.
        dtype: Type in which the layers compute.
    """

    hidden_layers: int
    width: int
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch *sample"], *, train: bool) -> Float[Array, "batch _"]:
        """Returns the last hidden layer. `train` changes nothing."""
        del train
        x = x.reshape(x.shape[0], -1)
        for _ in range(self.hidden_layers):
            x = ACTIVATIONS[self.activation](dense(self.width, self.dtype)(x))
        return x
