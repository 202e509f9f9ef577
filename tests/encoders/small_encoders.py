"""Small encoders for the tests, with variables as they could be after some steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from infonce_jax import encoders

TINY = {
    "linear": {},
    "mlp": {"width": 16, "depth": 3},
    "resnet18": {"width": 8},
    "vit": {"width": 12, "depth": 1, "num_heads": 3, "patch_size": 4},
}


def normal(*shape, seed=0):
    """Normal numbers from NumPy. To compile a draw by JAX takes longer than the tests."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def images():
    """Four images of 8 x 8 pixels."""
    return normal(4, 8, 8, 3)


def make(name, **options):
    """A small encoder. A ResNet has two stages of one block, which compile quickly."""
    encoder = encoders.make_encoder(name, **{"embedding_dim": 6, **TINY[name], **options})
    if name == "resnet18":
        encoder = encoder.clone(backbone=encoder.backbone.clone(stages=(1, 1)))
    return encoder


def initialised(name, x, seed=0, **options):
    """A small encoder and variables as they could be after some steps."""
    encoder = make(name, **options)
    abstract = jax.eval_shape(lambda key: encoders.init(encoder, key, x), jax.random.key(0))

    def draw(path, leaf):
        if leaf.ndim == 1:
            return (path[-1].key in ("scale", "var")) + 0.1 * jnp.abs(
                normal(*leaf.shape, seed=seed)
            )
        return normal(*leaf.shape, seed=seed) / np.sqrt(np.prod(leaf.shape[:-1]))

    return encoder, jax.tree_util.tree_map_with_path(draw, abstract)


def jitted(encoder, *, train):
    """`encoders.apply` of this encoder, compiled."""
    return jax.jit(lambda variables, x: encoders.apply(encoder, variables, x, train=train))


def count(variables):
    """The number of trained parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def parameters(name, shape, **options):
    """How many parameters an encoder has for an input of this shape."""
    encoder = encoders.make_encoder(name, **options)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda key, x: encoders.init(encoder, key, x), jax.random.key(0), x)
    return count(variables)
