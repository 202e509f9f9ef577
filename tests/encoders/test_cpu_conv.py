"""The convolution for CPUs against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_encoders import normal

from infonce_jax.encoders.cpu_conv import conv_on_cpu


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [((8, 8), 3, 1), ((8, 9), 3, 2), ((8, 8), 1, 2), ((13, 12), 7, 2)],
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
