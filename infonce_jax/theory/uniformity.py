"""What the uniformity potential is worth where representations are uniform on the sphere."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num

from infonce_jax.theory._bessel import bessel_terms
from infonce_jax.theory.vmf import check, log_mean_exp

_MOST_ALPHA = 300.0


def phi_sigma(
    dim: Int[ArrayLike, "*#shape"] | int, alpha: Num[ArrayLike, "*#shape"] | float
) -> Float[Array, "*shape"]:
    """Φ(σ), the least value of the uniformity potential, attained by the uniform law σ alone.

        Φ(σ) = log E_σ exp(α u·v) = log[ Γ(d/2) (2/α)^(d/2-1) I_(d/2-1)(α) ] ≈ α²/(2d) for α ≪ d

    Relative error below 1e-12 in float64 and 2e-6 in float32 for d from 2 to 100,000 and α from 0.01
    to 10,000. The derivative in α is the Bessel ratio A_d(α), to the same accuracy.

    Examples:
        >>> round(float(phi_sigma(128, 10.0)), 4)
        0.3895

    Args:
        dim: dimension d ≥ 2, an integer or integers.
        alpha: inverse temperature α = 1/τ ≥ 0; broadcast with `dim`. May be traced, and is
            differentiable.

    Returns:
        Φ(σ) in nats, in the dtype of `alpha`, at least float32.

    Raises:
        TypeError: where `dim` is not an integer.
        ValueError: where d < 2, or α is known and negative.

    References:
        Betser, Gofer, Levi, Gilboa, `InfoNCE Induces Gaussian Distribution
        <https://arxiv.org/abs/2602.24012>`_, 2026 (Lemma 2: σ is the minimiser).
    """
    return log_mean_exp(*check("alpha", dim, alpha))


def wang_isola_sigma(
    dim: Int[ArrayLike, "*#shape"] | int, t: Num[ArrayLike, "*#shape"] | float = 2.0
) -> Float[Array, "*shape"]:
    """Wang and Isola's uniformity log E exp(-t ‖u - v‖²) where u and v are uniform on the sphere.

    It equals Φ(σ) - 2t at α = 2t, computed without that difference, and is the least value of
    `losses.uniformity` over laws on the sphere.

    Examples:
        >>> round(float(theory.wang_isola_sigma(128)), 3)
        -3.938

    Args:
        dim: dimension d ≥ 2, an integer or integers.
        t: t ≥ 0; broadcast with `dim`. May be traced.

    Returns:
        The value in nats, at most 0.

    Raises:
        TypeError: where `dim` is not an integer.
        ValueError: where d < 2, or t is known and negative.

    References:
        Wang, Isola, `Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere <https://arxiv.org/abs/2005.10242>`_, 2020.
    """
    dim, t = check("t", dim, t)
    terms = bessel_terms(dim, 2 * t)
    return -(terms.gap + terms.kl)


def uniformity_excess(
    dim: int,
    alpha: Num[ArrayLike, "*#shape"] | float,
    mean_resultant: Num[ArrayLike, "*#shape"] | float,
    participation_ratio: Num[ArrayLike, "*#shape"] | float,
) -> Float[Array, "*shape"]:
    """Φ(μ) - Φ(σ) of a law near σ, from its mean and its second moments.

    A density 1 + q with respect to σ, q a spherical harmonic of degree k, raises the potential by
    E q² ρ_k (1 - ρ_k/2) + o(E q²) with ρ_k = I_(d/2-1+k)(α) / I_(d/2-1)(α). For degree 1 E q² is
    d ‖m‖², for degree 2 it is ½ d (d+2) (1/PR - 1/d), so that

        Φ(μ) - Φ(σ) ≈ d ρ₁ (1 - ρ₁/2) ‖m‖² + ½ d (d+2) ρ₂ (1 - ρ₂/2) (1/PR - 1/d),

    which for α ≪ d is α ‖m‖² + ½ α² (1/PR - 1/d). It is what an encoder whose directions keep unequal
    variances stays above Φ(σ), whatever the batch.

    Examples:
        >>> round(float(theory.uniformity_excess(64, 5.0, 0.1, 50.0)), 4)
        0.1017

    Args:
        dim: dimension d ≥ 2.
        alpha: inverse temperature α ≥ 0.
        mean_resultant: ‖m‖ = ‖E u‖, small against 1.
        participation_ratio: PR = 1/tr (E uuᵀ)² of the directions u, near d. That of the covariance of
            unnormalised Gaussian representations serves as well: the directions' 1/PR - 1/d is
            (1 + 2/d)² times smaller.

    Returns:
        The excess in nats, to second order.

    Raises:
        TypeError: where `dim` is not an integer.
        ValueError: where d < 2, or α is known and negative.
    """
    dim, alpha = check("alpha", dim, alpha)
    first = bessel_terms(dim, alpha).ratio
    second = first * bessel_terms(dim + 2, alpha).ratio
    mean = dim * jnp.square(mean_resultant)
    spread = dim * (dim + 2) / 2 * (1 / jnp.asarray(participation_ratio) - 1 / dim)
    return first * (1 - first / 2) * mean + second * (1 - second / 2) * spread


def expected_batch_uniformity(
    dim: int,
    alpha: float,
    batch: int,
    positive: Float[np.ndarray, " pairs"] | float | None = None,
) -> float:
    """E log (1/N) Σ_j exp(α u·v_j) at uniformity: what a batch of N reads where the truth is Φ(σ).

    The N candidates v_j of a row u are one positive, and N - 1 negatives uniform on the sphere. From
    log S = ∫ (exp(-t) - exp(-tS)) dt/t and the independence of the candidates,

        E log S = ∫ (exp(-t) - E exp(-t exp(α u·v₊)) · [E_σ exp(-t exp(α u·v))]^(N-1)) dt/t,

    two one-dimensional integrals, done to about 1e-10 by the trapezoidal rule. Less α·alignment and
    plus log N it is the expectation of the InfoNCE loss.

    Examples:
        >>> round(float(theory.expected_batch_uniformity(64, 5.0, 256)), 4)
        0.1938

    Args:
        dim: dimension d ≥ 2.
        alpha: inverse temperature α in (0, 300].
        batch: number N ≥ 1 of candidates.
        positive: cosine of the positive pair, or a sample of such cosines; None for a positive that
            is as independent of the row as the negatives are.

    Returns:
        The expectation in nats, by NumPy in float64.

    Raises:
        ValueError: for arguments outside these ranges.
    """
    check("alpha", dim, alpha)
    if not 0 < alpha <= _MOST_ALPHA:
        raise ValueError(
            f"alpha is {alpha}; the quadrature covers 0 < α <= {_MOST_ALPHA:g}, that is temperatures "
            f"of {1 / _MOST_ALPHA:.4f} and more."
        )
    if batch < 1:
        raise ValueError(f"batch is {batch}; a row has at least one candidate, its positive.")
    drawn = batch if positive is None else batch - 1
    own = np.empty(0) if positive is None else np.atleast_1d(np.asarray(positive, np.float64))
    if np.any(np.abs(own) > 1 + 1e-6):
        raise ValueError(f"positive holds {own[np.argmax(np.abs(own))]}; a cosine lies in [-1, 1].")
    cosine, weight = _cosine_rule(dim, alpha)
    phi = np.log(weight @ np.exp(alpha * (cosine - 1))) + alpha
    # Everything relative to N exp(Φ), so that the two terms under the integral nearly cancel.
    log_negative = alpha * cosine - phi - np.log(batch)
    log_own = alpha * own - phi - np.log(batch)
    highest = max(0.0, float(np.max(log_own, initial=-np.inf)))
    lowest = min(float(log_negative.min()), float(np.min(log_own, initial=np.inf)))
    grid = np.arange(-40 - highest, 5 - lowest, 0.2)
    total = 0.0
    for log_t in np.array_split(grid, 1 + grid.size * cosine.size // 2**21):
        rate = np.exp(np.minimum(log_t[:, None] + log_negative, 700.0))
        absent, present = -np.expm1(-rate) @ weight, np.exp(-rate) @ weight
        absent = np.minimum(absent, 0.5)
        log_present = np.where(absent < 0.5, np.log1p(-absent), np.log(np.maximum(present, 1e-300)))
        survival = np.exp(drawn * log_present)
        if own.size:
            survival *= np.exp(-np.exp(np.minimum(log_t[:, None] + log_own, 700.0))).mean(axis=1)
        total += float(np.sum(np.exp(-np.exp(np.minimum(log_t, 700.0))) - survival))
    return phi + 0.2 * total


def batch_uniformity_bias(
    dim: int,
    alpha: float,
    batch: int,
    positive: Float[np.ndarray, " pairs"] | float | None = None,
) -> float:
    """How far a batch of N reads from Φ(σ) at uniformity: `expected_batch_uniformity` - `phi_sigma`.

    To first order in 1/N it is (exp(α u·v₊ - Φ(α)) - 1)/N, the positive among the candidates, less
    (exp(Φ(2α) - 2Φ(α)) - 1)/(2N), the concavity of the logarithm.

    Examples:
        >>> round(float(theory.batch_uniformity_bias(64, 5.0, 256)), 5)
        -0.00091

    Args:
        dim: dimension d ≥ 2.
        alpha: inverse temperature α in (0, 300].
        batch: number N ≥ 1 of candidates.
        positive: see `expected_batch_uniformity`.

    Returns:
        The bias in nats.

    Raises:
        ValueError: for arguments outside these ranges.
    """
    cosine, weight = _cosine_rule(dim, alpha)
    phi = np.log(weight @ np.exp(alpha * (cosine - 1))) + alpha
    return expected_batch_uniformity(dim, alpha, batch, positive) - float(phi)


def _cosine_rule(dim: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for E over the cosine of two uniform directions.

    With the cosine tanh x the density is ∝ sech^(d-1) x on the line, smooth for every d, where the
    trapezoidal rule converges geometrically.
    """
    half_width = np.arccosh(np.exp(45.0 / (dim - 1)))
    step = min(0.25, 0.4 / np.sqrt(dim - 1), 1 / (3 * alpha))
    x = step * np.arange(-np.ceil(half_width / step), np.ceil(half_width / step) + 1)
    weight = np.exp(-(dim - 1) * np.logaddexp(x, -x) + (dim - 1) * np.log(2.0))
    return np.tanh(x), weight / weight.sum()
