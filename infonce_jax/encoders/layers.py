"""Layers that several encoders share."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from infonce_jax.encoders.cpu_conv import conv_on_cpu

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "identity": lambda x: x,
    "relu": nn.relu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
}
NORMS = ("batch", "group", "none")


def norm(
    kind: str,
    channels: int,
    *,
    train: bool,
    dtype: DTypeLike,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> Callable[[Array], Array]:
    """Builds a normalisation of `channels` channels.

    Args:
        kind: `"batch"`, `"group"`, or `"none"` for the identity.
        channels: Size of the last axis of what is normalised.
        train: Whether `"batch"` uses the statistics of this batch or the running averages.
        dtype: Type of the output.
        scale_init: Initialiser of the scale.

    Returns:
        A module or the identity.
    """
    if kind == "none":
        return lambda x: x
    if kind == "batch":
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=dtype,
            scale_init=scale_init,
        )
    # At most 32 groups. Each has at least two channels, unless the number of channels is odd.
    groups = math.gcd(32, channels, channels // 2)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=dtype, scale_init=scale_init)


def dense(features: int, dtype: DTypeLike, name: str | None = None, **options: Any) -> nn.Dense:
    """Builds a dense layer that computes in `dtype`."""
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.zeros, name=name, **options)


def float32_dense(features: int, dtype: DTypeLike, name: str) -> nn.Dense:
    """Builds a dense layer that multiplies in `dtype`, and sums and returns float32."""
    dot_general = functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32)
    return dense(features, dtype, name, dot_general=dot_general)


def conv(channels: int, size: int, stride: int, *, bias: bool, dtype: DTypeLike) -> nn.Conv:
    """Builds a convolution with a kernel of `size` x `size` pixels."""
    return nn.Conv(
        channels,
        (size, size),
        strides=stride,
        # The padding of PyTorch. "SAME" pads the two sides differently where the stride is 2.
        padding=size // 2,
        use_bias=bias,
        kernel_init=nn.initializers.zeros,
        dtype=dtype,
        conv_general_dilated=conv_on_cpu if jax.default_backend() == "cpu" else None,
    )
