"""Layers that several encoders share."""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax.encoders.cpu_conv import conv_on_cpu
from infonce_jax.encoders.initializers import check_name, conv_initializers, dense_initializers

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "identity": lambda x: x,
    "relu": nn.relu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
}
NORMS = ("batch", "group", "none")


class Dense(nn.Module):
    """A dense layer, x ↦ x·kernel + bias, whose initialisers are chosen by name.

    Attributes:
        features: Size of the output.
        initializer: One of `INITIALIZERS`, explained by `dense_initializers`.
        dtype: Type in which the layer computes.
        float32_sums: Whether products of `dtype` are summed, and returned, in float32.
    """

    features: int
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32
    float32_sums: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """Returns the output in `dtype`, or in float32 with `float32_sums`."""
        start = dense_initializers(self.initializer, x.shape[-1])
        kernel = self.param("kernel", start.kernel, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", start.bias, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jax.lax.dot_general(
            x,
            kernel,
            (((x.ndim - 1,), (0,)), ((), ())),
            preferred_element_type=jnp.float32 if self.float32_sums else None,
        )
        return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class Conv(nn.Module):
    """A convolution of images with square kernels, whose initialisers are chosen by name.

    On a CPU it is many times as fast as `nn.Conv` inside a loop, as training is, or under `jax.vmap`:
    XLA's CPU compiler has no fast form there for the gradients of `nn.Conv`. On other devices both are
    the same. The images are padded with size // 2 zeros on every side, as in PyTorch.

    Example:
        >>> import flax.linen as nn, jax
        >>> from infonce_jax.encoders import Conv
        >>> model = nn.Sequential([Conv(16, size=3, stride=2), nn.relu, Conv(32, size=3, stride=2)])
        >>> images = jax.random.normal(jax.random.key(0), (8, 32, 32, 3))
        >>> model.init_with_output(jax.random.key(1), images)[0].shape
        (8, 8, 8, 32)

    Attributes:
        channels: Output channels.
        size: Side of the kernels in pixels, an odd number.
        stride: Step of the kernels in pixels.
        use_bias: Whether a bias is added.
        initializer: One of `INITIALIZERS`, explained by `conv_initializers`.
        dtype: Type in which the layer computes.
    """

    channels: int
    size: int
    stride: int = 1
    use_bias: bool = True
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Returns the images convolved with the kernels."""
        inputs = x.shape[-1]
        start = conv_initializers(self.initializer, self.size, inputs, self.channels)
        shape = (self.size, self.size, inputs, self.channels)
        kernel = self.param("kernel", start.kernel, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", start.bias, (self.channels,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        # The padding of PyTorch. "SAME" pads the two sides differently where the stride is 2.
        pad = self.size // 2
        if jax.default_backend() == "cpu":
            y = conv_on_cpu(x, kernel, self.stride, pad)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride,) * 2,
                ((pad, pad),) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def max_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch out_height out_width channels"]:
    """Max-pooling over 3×3 pixels with stride 2 and one pixel of padding; equals `nn.max_pool`.

    On a CPU it is a maximum of slices, whose gradient is seven times as fast there. Where pixels of a
    window are equal, the gradient is then split among them, unequally.
    """
    if jax.default_backend() != "cpu":
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    for axis in (1, 2):
        out = (x.shape[axis] - 1) // 2 + 1
        edges = [(0, 0)] * 4
        edges[axis] = (1, 1)
        padded = jnp.pad(x, edges, constant_values=-jnp.inf)
        slices = (
            jax.lax.slice_in_dim(padded, i, i + 2 * out - 1, stride=2, axis=axis) for i in range(3)
        )
        x = functools.reduce(jnp.maximum, slices)
    return x


def norm(
    kind: str,
    channels: int,
    *,
    train: bool,
    dtype: DTypeLike,
    scale_init: Initializer = nn.initializers.ones,
) -> Callable[[Array], Array]:
    """Builds a normalisation of `channels` channels.

    Args:
        kind: `"batch"`, `"group"`, or `"none"` for the identity.
        channels: Size of the last axis of the input.
        train: Whether `"batch"` uses the statistics of this batch or the running averages.
        dtype: Type of the output.
        scale_init: Initialiser of the scale.

    Returns:
        A module, or the identity.

    Raises:
        ValueError: If the kind is unknown.
    """
    check_name("norm", kind, NORMS)
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
