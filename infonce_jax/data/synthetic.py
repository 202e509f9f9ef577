"""Synthetic sources: laws of the sample X0 that can be drawn without end.

Each is `source(key, n, dim) -> (x [n, dim], labels [n] | None)` with independent rows; parameters
of the law are keyword arguments. All but the binary source have mean zero and, up to the mixture's
means, unit variance per coordinate, so that a channel's strength means the same everywhere.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from infonce_jax import draws

Sample = tuple[Float[Array, "n dim"], Int[Array, "n"] | None]


def laplace(key: Key[Array, ""], n: int, dim: int) -> Sample:
    """Independent Laplace coordinates of unit variance, density exp(-√2 |x|) / √2."""
    return draws.laplace(key, (n, dim)) / jnp.sqrt(2.0), None


def gaussian(key: Key[Array, ""], n: int, dim: int) -> Sample:
    """The standard normal law N(0, I)."""
    return draws.normal(key, (n, dim)), None


def sphere(key: Key[Array, ""], n: int, dim: int) -> Sample:
    """Uniform on the sphere of radius √dim, so that a coordinate has unit variance."""
    x = draws.normal(key, (n, dim))
    return x * jnp.sqrt(dim / jnp.sum(x**2, axis=1, keepdims=True)), None


def mixture(
    key: Key[Array, ""],
    n: int,
    dim: int,
    *,
    components: int,
    separation: float,
    law_key: Key[Array, ""],
) -> Sample:
    """Gaussian mixture of equal weights and unit covariances; the label is the component.

    The means are drawn once, from `law_key`, as N(0, separation² I). Two of them are
    separation·√(2 dim) apart on average, in standard deviations of a component.
    """
    label_key, noise_key = jax.random.split(key)
    means = mixture_means(law_key, components, dim, separation)
    labels = jax.random.randint(label_key, (n,), 0, components)
    return means[labels] + draws.normal(noise_key, (n, dim)), labels


def mixture_means(
    law_key: Key[Array, ""], components: int, dim: int, separation: float
) -> Float[Array, "components dim"]:
    """The component means of `mixture`."""
    return separation * draws.normal(law_key, (components, dim))


def binary(key: Key[Array, ""], n: int, dim: int, *, active: float) -> Sample:
    """Sparse binary rows: independent bits, each one with probability active / dim.

    `active` is the expected number of ones in a row. For a small one some rows are all zero.
    """
    return draws.bernoulli(key, active / dim, (n, dim)).astype(jnp.float32), None


SOURCES: dict[str, Callable] = {
    "binary": binary,
    "gaussian": gaussian,
    "laplace": laplace,
    "mixture": mixture,
    "sphere": sphere,
}
