"""Initial values of parameters, as Flax's layers take them: functions of key, shape and dtype.

They draw with `infonce_jax.draws`, which XLA compiles for a CPU about ten times faster than
`jax.random`. A ResNet has one draw for each of its 20 to 54 layers, so this decides how long the
first step takes.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax import draws

INITIALIZERS = ("normal", "pytorch")


class LayerInitializers(NamedTuple):
    """How the parameters of one layer start.

    Attributes:
        kernel: Initialiser of the kernel.
        bias: Initialiser of the bias.
    """

    kernel: Initializer
    bias: Initializer


def dense_initializers(name: str, inputs: int) -> LayerInitializers:
    """Returns the initialisers of a dense layer with `inputs` inputs.

    Args:
        name: `"normal"`: a kernel with variance 1 / inputs (LeCun et al. 1998) and a bias of 0. Or
            `"pytorch"`: both uniform in ±1/√inputs, as in `torch.nn.Linear`.
        inputs: How many inputs each output sums over.

    Raises:
        ValueError: If the name is unknown.
    """
    check_name("initializer", name, INITIALIZERS)
    if name == "pytorch":
        return LayerInitializers(*[uniform(math.sqrt(1 / inputs))] * 2)
    return LayerInitializers(normal(math.sqrt(1 / inputs)), initializers.zeros)


def conv_initializers(name: str, size: int, inputs: int, outputs: int) -> LayerInitializers:
    """Returns the initialisers of a convolution with kernels of `size` x `size` pixels.

    Args:
        name: `"normal"`: kernels with variance 2 / (size² · outputs) (He et al. 2015) and a bias of
            0. Or `"pytorch"`: both uniform in ±1/√(size² · inputs), as in `torch.nn.Conv2d`.
        size: Side of the kernels.
        inputs: Input channels.
        outputs: Output channels.

    Raises:
        ValueError: If the name is unknown.
    """
    check_name("initializer", name, INITIALIZERS)
    if name == "pytorch":
        return LayerInitializers(*[uniform(math.sqrt(1 / (size**2 * inputs)))] * 2)
    return LayerInitializers(normal(math.sqrt(2 / (size**2 * outputs))), initializers.zeros)


def normal(std: float) -> Initializer:
    """Returns an initialiser that draws from a normal law with mean 0 and this standard deviation."""

    def initialize(
        key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32, **_
    ) -> Float[Array, "..."]:
        return (std * draws.normal(_typed(key), tuple(shape))).astype(dtype)

    return initialize


def uniform(bound: float) -> Initializer:
    """Returns an initialiser that draws uniformly from [-bound, bound)."""

    def initialize(
        key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32, **_
    ) -> Float[Array, "..."]:
        return draws.uniform(_typed(key), tuple(shape), -bound, bound).astype(dtype)

    return initialize


def check_name(kind: str, name: str, valid: tuple[str, ...]) -> None:
    """Raises a `ValueError` that lists the valid names if `name` is none of them."""
    if name not in valid:
        raise ValueError(f"Unknown {kind} {name!r}; choose one of {', '.join(valid)}.")


def _typed(key: Array) -> Array:
    """A typed key. `module.init` may have been given one from `jax.random.PRNGKey`."""
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return key if is_typed else jax.random.wrap_key_data(key)
