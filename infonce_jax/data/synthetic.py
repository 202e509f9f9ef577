"""Synthetic sources: laws of the sample X0 from which any number of rows can be drawn.

Each is `source(key, n, dim) -> (x [n, dim], labels [n] | None)` with independent rows; parameters
of the law are keyword arguments. By default all but the binary source have mean zero and, up to the
mixture's means, unit variance per coordinate, so that a channel's strength means the same everywhere.
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

# Laws of the number of ones in a binary row.
BINARY_COUNTS = ("bernoulli", "fixed", "uniform", "exponential", "lognormal")

# Of the Laplace law with variance 1.
UNIT_LAPLACE = 0.5**0.5

Sample = tuple[Float[Array, "n dim"], Int[Array, " n"] | None]


def laplace(key: Key[Array, ""], n: int, dim: int, *, scale: float = UNIT_LAPLACE) -> Sample:
    """Independent Laplace coordinates, of density exp(-|x| / scale) / (2 scale) and variance 2 scale².

    By default the variance is 1; Laplace(0, 1) has scale 1 and variance 2.
    """
    return scale * draws.laplace(key, (n, dim)), None


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


def binary(
    key: Key[Array, ""],
    n: int,
    dim: int,
    *,
    active: float,
    counts: str = "bernoulli",
    log_std: float = 1.0,
    skew: float = 0.0,
    prototypes: int = 0,
    flips: float = 0.0,
    law_key: Key[Array, ""] | None = None,
) -> Sample:
    """Sparse binary rows; for few ones expected some rows are all zero.

    Args:
        key: of the rows.
        n: number of rows.
        dim: number of bits.
        active: expected number of ones in a row, before flips.
        counts: law of their number, one of `BINARY_COUNTS`. "bernoulli": independent bits, each one with
            probability active / dim. Otherwise the number K is drawn first, and then which K bits are
            one, all choices equally likely. "fixed": K = active. "uniform", "exponential", "lognormal":
            a variable of this law and of mean `active`, on [0, 2·active] for the uniform one, rounded
            up or down at random so that its mean stays, and at most `dim`.
        log_std: standard deviation of the logarithm, for "lognormal".
        skew: exponent s of unequal frequencies: bit i = 1, 2, … is chosen with weight i^-s. With
            "bernoulli" its probability is proportional to that, and at most 1; otherwise the K bits are
            drawn one after the other with these weights, without replacement.
        prototypes: number of prototypes for clustered rows; 0 for independent rows. Prototypes are
            drawn once, from `law_key`, by the law above. A row is one of them, each equally likely,
            with every bit flipped with probability `flips`; its label is the prototype.
        flips: see `prototypes`.
        law_key: of the prototypes.
    """
    if not prototypes:
        return _binary_rows(key, n, dim, active, counts, log_std, skew), None
    centres = _binary_rows(law_key, prototypes, dim, active, counts, log_std, skew)
    label_key, flip_key = jax.random.split(key)
    labels = jax.random.randint(label_key, (n,), 0, prototypes)
    rows = centres[labels]
    return jnp.where(draws.bernoulli(flip_key, flips, (n, dim)), 1 - rows, rows), labels


def _binary_rows(
    key: Key[Array, ""], n: int, dim: int, active: float, counts: str, log_std: float, skew: float
) -> Float[Array, "n dim"]:
    if counts == "bernoulli":
        probability = _bit_probabilities(dim, active, skew)
        return draws.bernoulli(key, probability, (n, dim)).astype(jnp.float32)
    mean_key, round_key, place_key = jax.random.split(key, 3)
    if counts == "fixed":
        real = jnp.full(n, active, jnp.float32)
    elif counts == "uniform":
        real = 2 * active * draws.uniform(mean_key, (n,))
    elif counts == "exponential":
        real = -active * jnp.log1p(-draws.uniform(mean_key, (n,)))
    else:
        real = active * jnp.exp(log_std * draws.normal(mean_key, (n,)) - log_std**2 / 2)
    whole = jnp.floor(real)
    number = whole + (draws.uniform(round_key, (n,)) < real - whole)
    if skew:
        # The largest of independent Gumbel variables shifted by the weights' logarithms.
        gumbel = -jnp.log(-jnp.log(draws.uniform(place_key, (n, dim))))
        order = jnp.argsort(skew * jnp.log(jnp.arange(1, dim + 1)) - gumbel, axis=1)
    else:
        order = jnp.argsort(draws.bits(place_key, (n, dim)), axis=1)
    first = (jnp.arange(dim) < number[:, None]).astype(jnp.float32)
    return jnp.zeros((n, dim)).at[jnp.arange(n)[:, None], order].set(first)


def _bit_probabilities(dim: int, active: float, skew: float) -> float | Float[np.ndarray, " dim"]:
    """Probabilities proportional to i^-skew and at most 1, whose sum is `active`."""
    if not skew:
        return active / dim
    weights = np.arange(1, dim + 1, dtype=np.float64) ** -skew
    ones = 0
    # Bits that would exceed 1 become certain, and the others share what is left.
    while ones < active and (active - ones) * weights[ones] / weights[ones:].sum() > 1:
        ones += 1
    rest = (active - ones) * weights[ones:] / weights[ones:].sum()
    return np.concatenate([np.ones(ones), rest]).astype(np.float32)


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
    """The spec of a synthetic source.

    Args:
        d: the section `config.data`.

    Raises:
        ValueError: for sizes or parameters that cannot be.
    """
    for name in ("dim", "train_size", "test_size"):
        if d[name] < 1:
            raise ValueError(f"config.data.{name} is {d[name]}; it must be at least 1.")
    if d.source == "binary":
        _check_binary(d)
    if d.source == "laplace" and not (np.isfinite(d.laplace_scale) and d.laplace_scale > 0):
        raise ValueError(
            f"config.data.laplace_scale is {d.laplace_scale}; it must be positive and finite."
        )
    if d.source == "mixture" and d.mixture_components < 1:
        raise ValueError(
            f"config.data.mixture_components is {d.mixture_components}; it must be at least 1."
        )
    num_classes = {
        "mixture": d.mixture_components,
        "binary": d.binary_prototypes or None,
    }.get(d.source)
    return DataSpec((d.dim,), False, d.train_size, d.test_size, num_classes)


def make_law(d: config_dict.ConfigDict) -> Callable:
    """The configured source as `(key, n) -> (rows, labels | None)`; `d` is the section `config.data`."""
    settings = {
        "binary": {
            "active": d.binary_active,
            "counts": d.binary_counts,
            "log_std": d.binary_counts_log_std,
            "skew": d.binary_skew,
            "prototypes": d.binary_prototypes,
            "flips": d.binary_flips,
            "law_key": _data_keys(d).law,
        },
        "laplace": {"scale": d.laplace_scale},
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
        "probability" of a one for the binary source with independent bits of equal frequency, the
        component "means" [components, dim] for the mixture, the "scale" of the Laplace law, nothing for
        the others.
    """
    d = config.data
    # Configurations of older runs lack some of these fields.
    if d.source == "laplace":
        return {"scale": d.get("laplace_scale", UNIT_LAPLACE)}
    has_independent_bits = d.get("binary_counts", "bernoulli") == "bernoulli"
    is_uneven = d.get("binary_prototypes", 0) or d.get("binary_skew", 0)
    if d.source == "binary" and has_independent_bits and not is_uneven:
        return {"probability": d.binary_active / d.dim}
    if d.source == "mixture":
        means = mixture_means(_data_keys(d).law, d.mixture_components, d.dim, d.mixture_separation)
        return {"means": np.asarray(means)}
    return {}


def load_synthetic(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    """Draws the training and test rows; no training rows where `data.fresh` draws them at every step."""
    draw = make_law(d)
    return Dataset(spec, *draw_dataset(draw, d), mean=np.float32(0), std=np.float32(1), draw=draw)


def draw_dataset(
    draw: Callable, d: config_dict.ConfigDict
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Training rows and labels, then test rows and labels, of a law `(key, n) -> (rows, labels | None)`.

    The section `config.data` gives their seed and number. There are no training rows where `fresh`
    draws them at every step.
    """
    keys = _data_keys(d)

    def sample(key, n):
        rows, labels = jax.jit(draw, static_argnums=1)(key, n)
        return np.asarray(rows), None if labels is None else np.asarray(labels)

    train = sample(keys.train, 0 if d.fresh else d.train_size)
    return *train, *sample(keys.test, d.test_size)


def _check_binary(d: config_dict.ConfigDict) -> None:
    if d.binary_counts not in BINARY_COUNTS:
        raise ValueError(
            f"config.data.binary_counts is {d.binary_counts!r}; it must be one of "
            f"{', '.join(BINARY_COUNTS)}."
        )
    # Uniform counts reach twice their mean.
    most = d.dim / 2 if d.binary_counts == "uniform" else d.dim
    if not 0 < d.binary_active <= most:
        raise ValueError(
            f"config.data.binary_active is {d.binary_active}; it is the expected number of ones among "
            f"config.data.dim = {d.dim} coordinates, so above 0 and at most {most:g} with "
            f"config.data.binary_counts = {d.binary_counts!r}."
        )
    if not d.binary_counts_log_std >= 0:
        raise ValueError(
            f"config.data.binary_counts_log_std is {d.binary_counts_log_std}; it is a standard "
            "deviation, at least 0."
        )
    if not (np.isfinite(d.binary_skew) and d.binary_skew >= 0):
        raise ValueError(
            f"config.data.binary_skew is {d.binary_skew}; it is the exponent of the bits' frequencies, "
            "at least 0, and 0 for equal ones."
        )
    if d.binary_prototypes < 0:
        raise ValueError(
            f"config.data.binary_prototypes is {d.binary_prototypes}; give a number of prototypes, or 0 "
            "for rows that are independent."
        )
    if not 0 <= d.binary_flips <= 1:
        raise ValueError(
            f"config.data.binary_flips is {d.binary_flips}; it is a probability, 0 to 1."
        )
    if d.binary_flips and not d.binary_prototypes:
        raise ValueError(
            f"config.data.binary_flips is {d.binary_flips} but config.data.binary_prototypes is 0, so "
            "nothing is flipped; give a number of prototypes, or set binary_flips=0."
        )


def _data_keys(d: config_dict.ConfigDict) -> _DataKeys:
    return _DataKeys(*jax.random.split(jax.random.key(d.seed), 3))
