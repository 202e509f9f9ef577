"""Random arrays: the numbers of `jax.random`, faster to compile and to draw on a CPU.

On a CPU `jax.random` compiles its generator to a loop, and each round of the loop passes through
memory. Here the rounds are written out. They and what follows run as one kernel.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Key, Num, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
# Coefficients of erf⁻¹(x) / x, highest power first, in w - 2.5 for w = -log(1 - x²) < 5 and in √w - 3
# above.
_CENTRE = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_TAIL = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


@functools.partial(jax.jit, static_argnames="shape")
def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
    """Uniform 32-bit integers, those of `jax.random.bits`: Threefry-2x32 with 20 rounds.

    Examples:
        >>> infonce_jax.draws.bits(jax.random.key(0), (2, 3)).dtype
        dtype('uint32')

    References:
        Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
    """
    if jax.random.key_impl(key) != "threefry2x32" or math.prod(shape) >= 2**32:
        return jax.random.bits(key, shape)
    # The number of each element; the counter's other word stays zero.
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    count = jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(strides):
        count += lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    one, other = jax.random.key_data(key)
    keys = (one, other, one ^ other ^ jnp.uint32(_PARITY))
    left, right = jnp.full_like(count, keys[0]), count + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            left += right
            right = (right << jnp.uint32(rotation)) | (right >> jnp.uint32(32 - rotation))
            right ^= left
        left += keys[(group + 1) % 3]
        right += keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return left ^ right


@functools.partial(jax.jit, static_argnames=("shape", "minval", "maxval"))
def uniform(
    key: Key[Array, ""], shape: tuple[int, ...], minval: float = 0.0, maxval: float = 1.0
) -> Float[Array, "*shape"]:
    """Uniform in [minval, maxval), in float32.

    Examples:
        >>> x = infonce_jax.draws.uniform(jax.random.key(0), (1000,), -1.0, 1.0)
        >>> bool(abs(x).max() < 1)
        True
    """
    minval, maxval = np.float32(minval), np.float32(maxval)
    in_1_to_2 = (bits(key, shape) >> jnp.uint32(9)) | jnp.uint32(0x3F800000)
    unit = lax.bitcast_convert_type(in_1_to_2, jnp.float32) - 1
    return jnp.maximum(minval, unit * (maxval - minval) + minval)


@functools.partial(jax.jit, static_argnames="shape")
def normal(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Standard normal, √2 erf⁻¹(u) for u uniform in (-1, 1).

    Examples:
        >>> round(float(infonce_jax.draws.normal(jax.random.key(0), (100_000,)).std()), 2)
        1.0

    References:
        Giles, Approximating the erfinv function, GPU Computing Gems Jade Edition, 2012.
    """
    u = uniform(key, shape, float(np.nextafter(np.float32(-1), np.float32(0))), 1.0)
    # The product is exact where it matters, at the ends; log1p would take longer than all the rest.
    w = -jnp.log((1 - u) * (1 + u))
    is_central = w < 5
    at = jnp.where(is_central, w - 2.5, jnp.sqrt(w) - 3)
    ratio = jnp.where(is_central, np.float32(_CENTRE[0]), np.float32(_TAIL[0]))
    for centre, tail in zip(_CENTRE[1:], _TAIL[1:], strict=True):
        ratio = ratio * at + jnp.where(is_central, np.float32(centre), np.float32(tail))
    return np.float32(math.sqrt(2)) * ratio * u


@functools.partial(jax.jit, static_argnames="shape")
def laplace(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Laplace of scale 1, density exp(-|x|) / 2.

    Examples:
        >>> round(float(infonce_jax.draws.laplace(jax.random.key(0), (100_000,)).var()), 1)
        2.0
    """
    u = uniform(key, shape, float(-1 + np.finfo(np.float32).epsneg), 1.0)
    return jnp.sign(u) * jnp.log(1 - jnp.abs(u))


@functools.partial(jax.jit, static_argnames="shape")
def bernoulli(
    key: Key[Array, ""], probability: Num[ArrayLike, "..."] | float, shape: tuple[int, ...]
) -> Bool[Array, "*shape"]:
    """True with the given probability.

    Examples:
        >>> round(float(infonce_jax.draws.bernoulli(jax.random.key(0), 0.3, (100_000,)).mean()), 2)
        0.3
    """
    return uniform(key, shape) < probability
