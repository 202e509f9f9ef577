"""The MLP against NumPy."""

import jax
import numpy as np
import pytest
from small_encoders import images, initialised

from infonce_jax import encoders


@pytest.mark.parametrize("activation", sorted(encoders.ACTIVATIONS))
def test_mlp_agrees_with_numpy(activation):
    x = images()
    encoder, variables = initialised("mlp", x, activation=activation, head="linear", head_dim=3)
    outputs, _ = encoders.apply(encoder, variables, x, train=True)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    function = {
        "elu": lambda t: np.where(t > 0, t, np.expm1(np.minimum(t, 0))),
        "gelu": lambda t: 0.5 * t * (1 + np.tanh(np.sqrt(2 / np.pi) * (t + 0.044715 * t**3))),
        "identity": lambda t: t,
        "relu": lambda t: np.maximum(t, 0),
        "silu": lambda t: t / (1 + np.exp(-t)),
        "tanh": np.tanh,
    }[activation]

    def dense(layer, t):
        return t @ layer["kernel"] + layer["bias"]

    hidden = np.asarray(x, np.float64).reshape(4, -1)
    for layer in ("Dense_0", "Dense_1"):
        hidden = function(dense(params["backbone"][layer], hidden))
    expected = dense(params["embedding"], hidden)
    np.testing.assert_allclose(outputs.encoder, expected, atol=1e-5)
    np.testing.assert_allclose(outputs.head, dense(params["head_out"], expected), atol=1e-5)
