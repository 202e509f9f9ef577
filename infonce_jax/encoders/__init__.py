"""Encoders f: x ↦ z ∈ R^d as Flax modules: linear, MLP, ResNet and ViT, each with an optional head.

Build an encoder by name with `make_encoder` and use it with the pure functions `init` and `apply`.
Flax modules are defined in this package only. They also work alone, in a model and a loop of your own:

Example:
    >>> import flax.linen as nn, jax, optax
    >>> from infonce_jax.encoders import ResNet
    >>> model = nn.Sequential([ResNet(stages=(1, 1), width=16, norm="group"), nn.Dense(10)])
    >>> images = jax.random.normal(jax.random.key(0), (8, 16, 16, 3))
    >>> labels = jax.numpy.arange(8)
    >>> params = jax.jit(model.init)(jax.random.key(1), images)
    >>> @jax.jit
    ... @jax.value_and_grad
    ... def loss(params):
    ...     logits = model.apply(params, images)
    ...     return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    >>> optimizer = optax.adam(1e-2)
    >>> value, grads = loss(params)
    >>> updates, state = optimizer.update(grads, optimizer.init(params))
    >>> bool(loss(optax.apply_updates(params, updates))[0] < value)
    True
"""

from infonce_jax.encoders.encoder import HEADS, Encoder, Outputs, Variables, apply, init
from infonce_jax.encoders.initializers import INITIALIZERS
from infonce_jax.encoders.layers import ACTIVATIONS, NORMS, Conv
from infonce_jax.encoders.make import ENCODERS, RESNETS, make_classifier, make_encoder
from infonce_jax.encoders.mlp import MLP
from infonce_jax.encoders.resnet import STEMS, ResidualBlock, ResNet
from infonce_jax.encoders.towers import Half, TwoTowers
from infonce_jax.encoders.vit import POOLS, TransformerBlock, ViT
from infonce_jax.encoders.weights import carry_over, check_vit_settings, read_weights

__all__ = [
    "ACTIVATIONS",
    "ENCODERS",
    "HEADS",
    "INITIALIZERS",
    "MLP",
    "NORMS",
    "POOLS",
    "RESNETS",
    "STEMS",
    "Conv",
    "Encoder",
    "Half",
    "Outputs",
    "ResNet",
    "ResidualBlock",
    "TransformerBlock",
    "TwoTowers",
    "Variables",
    "ViT",
    "apply",
    "carry_over",
    "check_vit_settings",
    "init",
    "make_classifier",
    "make_encoder",
    "read_weights",
]
