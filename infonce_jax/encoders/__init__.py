"""Encoders f: x ↦ z ∈ R^d as Flax modules: linear, MLP, ResNet and ViT, each with an optional head.

Build an encoder by name with `make_encoder` and use it with the pure functions `init` and `apply`.
Flax modules are defined in this package only.
"""

from infonce_jax.encoders.encoder import Encoder, Outputs, Variables, apply, init
from infonce_jax.encoders.layers import ACTIVATIONS, NORMS
from infonce_jax.encoders.make import ENCODERS, HEADS, make_classifier, make_encoder
from infonce_jax.encoders.mlp import MLP
from infonce_jax.encoders.resnet import STEMS, ResidualBlock, ResNet
from infonce_jax.encoders.vit import POOLS, TransformerBlock, ViT

__all__ = [
    "ACTIVATIONS",
    "ENCODERS",
    "HEADS",
    "MLP",
    "NORMS",
    "POOLS",
    "STEMS",
    "Encoder",
    "Outputs",
    "ResNet",
    "ResidualBlock",
    "TransformerBlock",
    "Variables",
    "ViT",
    "apply",
    "init",
    "make_classifier",
    "make_encoder",
]
