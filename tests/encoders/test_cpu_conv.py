"""The convolution for CPUs against XLA's own, and the pool against Flax's."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_encoders import normal

from infonce_jax.encoders.cpu_conv import conv_on_cpu
from infonce_jax.encoders.layers import max_pool


@pytest.mark.parametrize("shape", [(16, 16), (7, 8), (1, 2)])
def test_the_pool_is_flax_s_with_its_gradient(shape):
    # Distinct values: where pixels are equal, the gradient is shared here and goes to the first there.
    x = jax.random.permutation(jax.random.key(0), jnp.arange(3.0 * math.prod(shape) * 2))
    x = x.reshape(3, *shape, 2)

    def theirs(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    np.testing.assert_array_equal(max_pool(x), theirs(x))
    gradients = [jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2))(x) for f in (max_pool, theirs)]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [
        ((8, 8), 3, 1),
        ((8, 9), 3, 2),
        ((8, 8), 1, 2),
        ((16, 15), 7, 2),
        ((2, 5), 3, 1),
        # Outputs with fewer pixels than the kernel.
        ((13, 12), 7, 2),
        ((1, 1), 3, 1),
        ((2, 2), 3, 1),
        ((2, 4), 3, 1),
        ((4, 3), 3, 2),
        ((3, 4), 5, 1),
    ],
)
def test_convolutions_on_the_cpu_agree_with_xla_s(shape, size, stride):
    x, kernel = normal(2, 3, *shape, 4), normal(2, size, size, 4, 5, seed=1)
    padding = ((size // 2,) * 2,) * 2

    def reference(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def fast(x, kernel):
        return conv_on_cpu(x, kernel, stride, size // 2)

    def gradient(conv, x, kernel):
        return jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel) ** 3), (0, 1))(x, kernel)

    def curvature(conv, x, kernel):
        return jax.jvp(functools.partial(gradient, conv), (x, kernel), (x, kernel))

    def close(found, expected):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))

    for i in range(2):
        close(fast(x[i], kernel[i]), reference(x[i], kernel[i]))
    compared = gradient if size != 3 or stride != 2 else curvature
    found = jax.jit(jax.vmap(functools.partial(compared, fast)))(x, kernel)
    one = jax.jit(functools.partial(compared, reference))
    alone = [one(x[i], kernel[i]) for i in range(2)]
    close(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))
