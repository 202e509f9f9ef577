"""Synthetic sources: laws of the sample X0 from which any number of rows can be drawn.

Each is `source(key, n, dim) -> (x [n, dim], labels [n] | None)` with independent rows; parameters
of the law are keyword arguments. All but the binary source have mean zero and, up to the mixture's
means, unit variance per coordinate, so that a channel's strength means the same everywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from ml_collections import config_dict

from infonce_jax import draws
from infonce_jax.data.spec import Dataset, DataSpec

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


class _DataKeys(NamedTuple):
    """Keys of the data, by purpose."""

    law: Key[Array, ""]
    train: Key[Array, ""]
    test: Key[Array, ""]


def describe_synthetic(d: config_dict.ConfigDict) -> DataSpec:
    """The spec of a synthetic source; `d` is the section `config.data`.

    Raises:
        ValueError: for sizes or parameters that cannot be.
    """
    for name in ("dim", "train_size", "test_size"):
        if d[name] < 1:
            raise ValueError(f"config.data.{name} is {d[name]}; it must be at least 1.")
    if d.source == "binary" and not 0 < d.binary_active <= d.dim:
        raise ValueError(
            f"config.data.binary_active is {d.binary_active}; it is the expected number of ones among "
            f"config.data.dim = {d.dim} coordinates, so above 0 and at most {d.dim}."
        )
    if d.source == "mixture" and d.mixture_components < 1:
        raise ValueError(
            f"config.data.mixture_components is {d.mixture_components}; it must be at least 1."
        )
    num_classes = d.mixture_components if d.source == "mixture" else None
    return DataSpec((d.dim,), False, d.train_size, d.test_size, num_classes)


def make_law(d: config_dict.ConfigDict) -> Callable:
    """The configured source as `(key, n) -> (rows, labels | None)`; `d` is the section `config.data`."""
    settings = {
        "binary": {"active": d.binary_active},
        "mixture": {
            "components": d.mixture_components,
            "separation": d.mixture_separation,
            "law_key": _data_keys(d).law,
        },
    }.get(d.source, {})

    def draw(key, n):
        return SOURCES[d.source](key, n, d.dim, **settings)

    return draw


def law_parameters(config: config_dict.ConfigDict) -> dict[str, float | np.ndarray]:
    """The parameters of a synthetic source's law, beside its name and dimension.

    Returns:
        "probability" of a one for the binary source, the component "means" [components, dim] for the
        mixture, nothing for the others.
    """
    d = config.data
    if d.source == "binary":
        return {"probability": d.binary_active / d.dim}
    if d.source == "mixture":
        means = mixture_means(_data_keys(d).law, d.mixture_components, d.dim, d.mixture_separation)
        return {"means": np.asarray(means)}
    return {}


def load_synthetic(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    """Draws the training and test rows; no training rows where `data.fresh` draws them at every step."""
    draw = make_law(d)
    keys = _data_keys(d)

    def sample(key, n):
        rows, labels = jax.jit(draw, static_argnums=1)(key, n)
        return np.asarray(rows), None if labels is None else np.asarray(labels)

    train = sample(keys.train, 0 if d.fresh else spec.train_size)
    test = sample(keys.test, spec.test_size)
    return Dataset(spec, *train, *test, mean=np.float32(0), std=np.float32(1), draw=draw)


def _data_keys(d: config_dict.ConfigDict) -> _DataKeys:
    return _DataKeys(*jax.random.split(jax.random.key(d.seed), 3))
