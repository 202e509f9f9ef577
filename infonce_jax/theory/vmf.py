"""Von Mises-Fisher laws on the sphere S^(d-1), of density ∝ exp(κ u·μ).

Among laws with a given mean they are the ones nearest to uniform, which makes them the extremal ones
of the bound on the regulariser's weight.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, Num

from infonce_jax.theory._bessel import bessel_terms

__all__ = ["concentration", "kl_to_uniform", "log_normalizer", "mean_resultant_length", "sample"]

Dim = Int[ArrayLike, "*#shape"] | int
Scalar = Num[ArrayLike, "*#shape"] | float


def log_normalizer(dim: Dim, kappa: Scalar) -> Float[Array, "*shape"]:
    """log c_d(κ) of the density c_d(κ) exp(κ u·μ) with respect to the sphere's surface measure.

        log c_d(κ) = -log|S^(d-1)| - log[ Γ(d/2) (2/κ)^(d/2-1) I_(d/2-1)(κ) ]

    Examples:
        >>> round(float(theory.vmf.log_normalizer(3, 1.0)), 4)
        -2.6925

    Args:
        dim: dimension d ≥ 2 of the space, an integer or integers.
        kappa: concentration κ ≥ 0; broadcast with `dim`. May be traced, and is differentiable.

    Returns:
        The logarithm, in the dtype of `kappa`, at least float32.

    Raises:
        ValueError: where d < 2, or κ is known and negative.
    """
    dim, kappa = check("kappa", dim, kappa)
    half = dim.astype(kappa.dtype) / 2
    log_area = math.log(2) + half * math.log(math.pi) - gammaln(half)
    return -log_area - log_mean_exp(dim, kappa)


def mean_resultant_length(dim: Dim, kappa: Scalar) -> Float[Array, "*shape"]:
    """‖E u‖ = A_d(κ) = I_(d/2)(κ) / I_(d/2-1)(κ), which is at most κ/d.

    Examples:
        >>> round(float(theory.vmf.mean_resultant_length(64, 32.0)), 4)
        0.4155

    Args:
        dim: dimension d ≥ 2, an integer or integers.
        kappa: concentration κ ≥ 0; broadcast with `dim`. May be traced, and is differentiable.

    Returns:
        A number in [0, 1), in the dtype of `kappa`, at least float32.

    Raises:
        ValueError: where d < 2, or κ is known and negative.
    """
    dim, kappa = check("kappa", dim, kappa)
    return bessel_terms(dim, kappa).ratio


def concentration(dim: Dim, length: Scalar) -> Float[Array, "*shape"]:
    """κ of the von Mises-Fisher law with mean resultant length r: the inverse of A_d.

    Newton's method from κ = r (d - r²)/(1 - r²), which is within a few per cent of the root. Near
    r = 1 a change of r by δ changes κ by the fraction δ/(1-r), so no more of κ's digits are
    significant than 1-r has.

    Examples:
        >>> round(float(theory.vmf.concentration(64, 0.5)), 2)
        42.4

    Args:
        dim: dimension d ≥ 2, an integer or integers.
        length: r in [0, 1); broadcast with `dim`. May be traced, and is differentiable.

    Returns:
        κ, in the dtype of `length`, at least float32.

    Raises:
        ValueError: where d < 2, or r is known and outside [0, 1).

    References:
        Banerjee, Dhillon, Ghosh, Sra, `Clustering on the Unit Hypersphere using von Mises-Fisher
        Distributions <https://jmlr.org/papers/v6/banerjee05a.html>`_, 2005 (the starting point).
    """
    dim, length = check("length", dim, length)
    if not isinstance(length, jax.core.Tracer) and np.any(np.asarray(length) >= 1):
        raise ValueError(
            f"length is {length}; a mean resultant length of 1 or more belongs to no law with a "
            "density. Pass a value in [0, 1)."
        )
    return _concentration(dim, length)


def kl_to_uniform(dim: Dim, kappa: Scalar) -> Float[Array, "*shape"]:
    """KL(vMF_κ ‖ σ) = κ A_d(κ) - Φ_σ(κ) in nats, which is at least (d/2) A_d(κ)².

    Examples:
        >>> length = theory.vmf.mean_resultant_length(64, 10.0)
        >>> bool(theory.vmf.kl_to_uniform(64, 10.0) > 64 / 2 * length**2)
        True

    Args:
        dim: dimension d ≥ 2, an integer or integers.
        kappa: concentration κ ≥ 0; broadcast with `dim`. May be traced, and is differentiable.

    Returns:
        The divergence, in the dtype of `kappa`, at least float32.

    Raises:
        ValueError: where d < 2, or κ is known and negative.
    """
    dim, kappa = check("kappa", dim, kappa)
    return _kl(dim, kappa)


def sample(
    key: Key[Array, ""], mean: Float[ArrayLike, " dim"], kappa: Num[ArrayLike, ""] | float, n: int
) -> Float[Array, "n dim"]:
    """Independent draws of the law with mean direction `mean` and concentration κ.

    The cosine with the mean by Wood's rejection from a transformed beta law, which accepts about two
    draws in three in every dimension; the rest uniformly.

    Examples:
        >>> mean = jnp.zeros(16).at[0].set(1.0)
        >>> u = theory.vmf.sample(jax.random.key(0), mean, 20.0, 1000)
        >>> u.shape, round(float(u[:, 0].mean()), 2)
        ((1000, 16), 0.68)

    Args:
        key: a typed key.
        mean: mean direction; its length does not matter, but must not be 0.
        kappa: concentration κ ≥ 0.
        n: number of draws.

    Returns:
        Unit vectors.

    Raises:
        ValueError: where `mean` is not a vector of at least 2 entries or is zero, or κ is negative.

    References:
        Wood, Simulation of the von Mises Fisher distribution, 1994.
    """
    if mean.ndim != 1:
        raise ValueError(
            f"mean has shape {mean.shape}; pass one mean direction, of shape [dim], and draw from "
            "several laws with jax.vmap."
        )
    dim = len(mean)
    _, kappa = check("kappa", dim, kappa)
    length = jnp.linalg.norm(mean)
    if not isinstance(length, jax.core.Tracer) and not length > 0:
        raise ValueError("mean is zero, which is no direction; pass a vector of any other length.")
    mean = mean / length
    cosine_key, tangent_key = jax.random.split(key)
    cosine = _sample_cosine(cosine_key, dim, kappa.astype(mean.dtype), n)
    tangent = jax.random.normal(tangent_key, (n, dim), mean.dtype)
    for _ in range(2):
        # Twice, because what is left of a draw near the mean is mostly rounding the first time.
        tangent -= (tangent @ mean)[:, None] * mean
        tangent /= jnp.linalg.norm(tangent, axis=1, keepdims=True)
    sine = jnp.sqrt(jnp.maximum((1 - cosine) * (1 + cosine), 0))
    return cosine[:, None] * mean + sine[:, None] * tangent


def _sample_cosine(key: Array, dim: int, kappa: Array, n: int) -> Float[Array, " n"]:
    half = (dim - 1) / 2
    b = (dim - 1) / (2 * kappa + jnp.sqrt(4 * kappa**2 + (dim - 1) ** 2))
    x0 = (1 - b) / (1 + b)
    # 1 - x0², without cancellation.
    limit = kappa * x0 + (dim - 1) * jnp.log(4 * b / (1 + b) ** 2)

    def propose(state: tuple[Array, Float[ArrayLike, "n"], Bool[ArrayLike, "n"]]):
        key, cosine, accepted = state
        key, beta_key, uniform_key = jax.random.split(key, 3)
        e = jax.random.beta(beta_key, half, half, (n,), kappa.dtype)
        w = (1 - (1 + b) * e) / (1 - (1 - b) * e)
        score = kappa * w + (dim - 1) * jnp.log1p(-x0 * w) - limit
        is_new = score >= jnp.log(jax.random.uniform(uniform_key, (n,), kappa.dtype))
        return key, jnp.where(accepted, cosine, w), accepted | is_new

    start = (key, jnp.zeros(n, kappa.dtype), jnp.zeros(n, bool))
    return lax.while_loop(lambda state: ~jnp.all(state[2]), propose, start)[1]


@jax.custom_jvp
def log_mean_exp(dim: Int[ArrayLike, "..."], kappa: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """log E_σ exp(κ u_1), for checked arguments."""
    return bessel_terms(dim, kappa).log_mean


@log_mean_exp.defjvp
def _(primals, tangents):
    # The dimension, an integer, has no tangent.
    return log_mean_exp(*primals), bessel_terms(*primals).ratio * tangents[1]


def _slope(dim: Array, kappa: Array) -> Array:
    """A_d'(κ)."""
    return jax.jvp(lambda kappa: bessel_terms(dim, kappa).ratio, (kappa,), (jnp.ones_like(kappa),))[
        1
    ]


@jax.custom_jvp
def _kl(dim: Array, kappa: Array) -> Array:
    return bessel_terms(dim, kappa).kl


@_kl.defjvp
def _(primals, tangents):
    dim, kappa = primals
    return _kl(dim, kappa), kappa * _slope(dim, kappa) * tangents[1]


@jax.custom_jvp
def _concentration(dim: Array, length: Array) -> Array:
    floats = dim.astype(length.dtype)
    kappa = length * (floats - length**2) / ((1 - length) * (1 + length))

    def newton(_, kappa):
        terms = bessel_terms(dim, kappa)
        # A - r = (1-r) - (1-A): the form that does not cancel.
        excess = jnp.where(
            length > 0.5,
            (1 - length) - terms.gap / jnp.where(kappa > 0, kappa, 1),
            terms.ratio - length,
        )
        return kappa - excess / _slope(dim, kappa)

    return lax.fori_loop(0, 6, newton, kappa)


@_concentration.defjvp
def _(primals, tangents):
    dim, length = primals
    kappa = _concentration(dim, length)
    return kappa, tangents[1] / _slope(dim, kappa)


def check(name: str, dim: Dim, value: Scalar) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """`dim` and `value` as arrays of one shape, `value` in floating point.

    Raises:
        TypeError: where `dim` is not an integer.
        ValueError: where d < 2, or the value is known and negative or NaN.
    """
    dim, value = jnp.asarray(dim), jnp.asarray(value)
    if not jnp.issubdtype(dim.dtype, jnp.integer):
        raise TypeError(f"dim has dtype {dim.dtype}; a dimension is an integer.")
    if not isinstance(dim, jax.core.Tracer) and not np.all(np.asarray(dim) >= 2):
        raise ValueError(f"dim is {dim}; the sphere has a uniform density from dimension 2 on.")
    if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) >= 0):
        raise ValueError(f"{name} is {value}; it must be a number that is not negative.")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        value = value.astype(jnp.result_type(float))
    value = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    shape = jnp.broadcast_shapes(dim.shape, value.shape)
    return jnp.broadcast_to(dim, shape), jnp.broadcast_to(value, shape)
