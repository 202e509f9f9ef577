"""Channels: the augmentations that make two views of a sample, `channel(key, x, strength) -> view`.

`strength` is a scalar that may be traced, so that runs at several strengths can be vmapped.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from infonce_jax import draws

Strength = Num[Array, ""] | float


def gaussian_noise(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Adds independent noise, y = x + s·ε with ε ~ N(0, I).

    `strength` s ≥ 0 is the noise's standard deviation in the units of x.
    """
    return x + strength * draws.normal(key, x.shape).astype(x.dtype)


def erasure(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Drops coordinates: each is set to zero with probability `strength` in [0, 1]."""
    return jnp.where(draws.bernoulli(key, strength, x.shape), 0, x)


def bit_flip(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Flips bits: each coordinate x in {0, 1} becomes 1 - x with probability `strength`."""
    return jnp.where(draws.bernoulli(key, strength, x.shape), 1 - x, x)


def identity(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Leaves the sample as it is: both views are equal, and η₂ = 1."""
    del key, strength
    return x


CHANNELS: dict[str, Callable] = {
    "bit_flip": bit_flip,
    "erasure": erasure,
    "gaussian_noise": gaussian_noise,
    "identity": identity,
}
