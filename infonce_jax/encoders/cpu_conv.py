"""A convolution that XLA's CPU compiler runs fast, inside loops and under `jax.vmap` too.

XLA's CPU compiler has a fast convolution in one layout only. It brings the convolutions of the
gradients into that layout outside of loops, but not in the body of a loop. It never does so for a
convolution with several kernels, which `jax.vmap` produces. Those cases take from 5 to 100 times as
long. Here the gradients are written in the fast layout, and `jax.vmap` becomes a loop.

An output with fewer pixels than the kernel, as in the last stages of a ResNet of small images, is slow
in every layout: 48 times as slow as a matrix product for 2×2 pixels of 512 channels. Here it is one.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def conv_on_cpu(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels out_channels"],
    stride: int,
    pad: int,
) -> Float[Array, "batch out_height out_width out_channels"]:
    """Convolves images with square kernels.

    `jax.grad` works, and so does `jax.jvp` of a gradient. `jax.jvp` of the convolution alone works
    only where the output has fewer pixels than the kernel, because else the gradient is a
    `jax.custom_vjp`.

    Args:
        x: Images.
        kernel: A kernel for each pair of an input and an output channel.
        stride: Step of the kernels in pixels, the same on both axes.
        pad: Rows and columns of zeros that are added on each of the four sides.

    Returns:
        The images convolved with the kernels.
    """
    size = kernel.shape[0]
    height, width = ((side + 2 * pad - size) // stride + 1 for side in x.shape[1:3])
    if 0 < height * width < size**2:
        return _by_product(x, kernel, stride, pad, height, width)
    return _convolve(stride, pad, x, kernel)


def _by_product(x: Array, kernel: Array, stride: int, pad: int, height: int, width: int) -> Array:
    """The convolution as one product of the images' patches with the kernel."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    patches = [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _fast_conv(x: Array, kernel: Array, **geometry: Any) -> Array:
    def one(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **geometry
        )

    return jax.custom_batching.sequential_vmap(one)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolve(stride: int, pad: int, x: Array, kernel: Array) -> Array:
    return _fast_conv(x, kernel, window_strides=(stride,) * 2, padding=((pad, pad),) * 2)


def _convolve_forward(
    stride: int, pad: int, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    out = _fast_conv(x, kernel, window_strides=(stride,) * 2, padding=((pad, pad),) * 2)
    return out, (x, kernel)


def _convolve_backward(
    stride: int, pad: int, residuals: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    size = kernel.shape[0]
    # How far the strided windows reach into the padded image, per axis, and what they leave over.
    reach = [stride * (n - 1) + size for n in grad.shape[1:3]]
    rest = [n + 2 * pad - r for n, r in zip(x.shape[1:3], reach, strict=True)]
    grad_x = _fast_conv(
        grad,
        kernel[::-1, ::-1].swapaxes(2, 3),
        window_strides=(1, 1),
        padding=[(size - 1 - pad, size - 1 - pad + r) for r in rest],
        lhs_dilation=(stride, stride),
    )
    # The batch takes the place of the channels: this convolution sums over it.
    grad_kernel = _fast_conv(
        x.transpose(3, 1, 2, 0),
        grad.transpose(1, 2, 0, 3),
        window_strides=(1, 1),
        padding=[(pad, pad - r) for r in rest],
        rhs_dilation=(stride, stride),
    )
    return grad_x, grad_kernel.transpose(1, 2, 0, 3)


_convolve.defvjp(_convolve_forward, _convolve_backward)
