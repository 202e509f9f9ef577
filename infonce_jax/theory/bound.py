"""The bound on alignment, and the weight below which the regulariser cannot be bought off."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

Scalar = Num[Array, ""] | float


def alignment_bound(
    eta2: Num[ArrayLike, "*#shape"] | float, mean_resultant: Num[ArrayLike, "*#shape"] | float = 0.0
) -> Float[Array, "*shape"]:
    """The highest alignment an encoder can reach: E_π[u·v] ≤ η₂ + (1-η₂) ‖m(μ)‖².

    Each coordinate of u less its mean is a feature of the view, whose correlation between two views
    of a sample is at most η₂; the mean is shared by both views.

    Examples:
        >>> [round(float(theory.alignment_bound(0.8, length)), 4) for length in (0.0, 0.5)]
        [0.8, 0.85]

    Args:
        eta2: mildness η₂ in [0, 1] of the augmentation.
        mean_resultant: ‖m(μ)‖ = ‖E u‖ in [0, 1]; 0 at uniformity.

    Returns:
        The bound, in [0, 1].

    Raises:
        ValueError: where η₂ or ‖m(μ)‖ is known and outside [0, 1].

    References:
        Betser, Gofer, Levi, Gilboa, `InfoNCE Induces Gaussian Distribution
        <https://arxiv.org/abs/2602.24012>`_, 2026, Proposition 1.
    """
    _check_unit_interval("mean_resultant", mean_resultant, "the length of a mean of directions")
    _check_eta2(eta2)
    eta2, mean_resultant = jnp.asarray(eta2), jnp.asarray(mean_resultant)
    return eta2 + (1 - eta2) * mean_resultant**2


def batch_alignment_bound(
    eta2: Num[ArrayLike, "*#shape"] | float,
    batch_resultant: Num[ArrayLike, "*#shape"] | float,
    alignment: Num[ArrayLike, "*#shape"] | float,
    batch: int,
) -> Float[ArrayLike, "*shape"] | float:
    """`alignment_bound` from one batch of pairs, without the bias of its mean.

    The mean of the 2N directions of N independent pairs has
    E‖m̂‖² = (1-1/N) ‖m‖² + (1 + E_π[u·v])/(2N), most of it noise where ‖m‖ is small; this is solved
    for ‖m‖². Averages over batches are unbiased; a single value may lie below η₂.

    Examples:
        >>> round(float(theory.batch_alignment_bound(0.8, 0.1, 0.75, batch=256)), 4)
        0.8013

    Args:
        eta2: mildness η₂ of the augmentation in [0, 1].
        batch_resultant: ‖m̂‖ over both views of the batch.
        alignment: mean cosine of the batch's positive pairs.
        batch: number N ≥ 2 of pairs.

    Returns:
        The bound.

    Raises:
        ValueError: where N < 2, or η₂ is known and outside [0, 1].
    """
    _check_eta2(eta2)
    if batch < 2:
        raise ValueError(f"batch is {batch}; the mean's noise is taken out from 2 pairs on.")
    square = (batch_resultant**2 - (1 + alignment) / (2 * batch)) * (batch / (batch - 1))
    return eta2 + (1 - eta2) * square


def vanishing_beta(
    dim: int, temperature: Num[ArrayLike, ""] | float, eta2: Num[ArrayLike, ""] | float = 0.0
) -> Float[Array, ""] | float:
    """A regulariser weight under which uniformity is the global minimum: β₀ = 2(1-η₂) / (τ d).

    The paper proves β₀ = α(1-η₂) / (C(d-1)) with α = 1/τ and an unstated constant C. Writing m for
    the mean of the normalised representation, the alignment bound lets the loss gain at most
    α(1-η₂)‖m‖² by moving away from uniformity, while KL(μ‖σ) ≥ (d/2)‖m‖² is what the regulariser
    charges for it (von Mises-Fisher laws are the extremal ones, since A_d(κ) ≤ κ/d). Hence
    C = d/(2(d-1)). It vanishes as the dimension grows.

    Examples:
        >>> [round(float(theory.vanishing_beta(dim, 0.1, 0.8)), 4) for dim in (32, 128)]
        [0.125, 0.0312]

    Args:
        dim: dimension d of the representation.
        temperature: τ > 0.
        eta2: mildness η₂ of the augmentation in [0, 1]. The default, 0, gives the largest β₀, which
            suffices for every augmentation.

    Returns:
        β₀.

    Raises:
        ValueError: where `dim` < 2 (the sphere has no uniform density to spread over), τ is known
            and not positive, or η₂ is known and outside [0, 1].

    References:
        Betser, Gofer, Levi, Gilboa, `InfoNCE Induces Gaussian Distribution
        <https://arxiv.org/abs/2602.24012>`_, 2026.
    """
    if dim < 2:
        raise ValueError(f"dim is {dim}; the regulariser's weight is defined from dimension 2 on.")
    if not _is_traced(temperature) and not np.all(np.asarray(temperature) > 0):
        raise ValueError(f"temperature is {temperature}; it must be positive.")
    _check_eta2(eta2)
    return 2 * (1 - eta2) / (temperature * dim)


def vanishing_beta_schedule(
    dim: int,
    temperature: Callable[[Num[ArrayLike, ""]], Num[ArrayLike, ""]] | Scalar,
    eta2: Scalar = 0.0,
    multiple: Scalar = 1.0,
) -> Callable[[Num[Array, ""]], Float[Array, ""]]:
    """β₀ as a schedule `step -> β`, following the temperature's own.

    Examples:
        >>> beta = theory.vanishing_beta_schedule(32, lambda step: 0.2 if step < 100 else 0.1, 0.8)
        >>> round(float(beta(0)), 4), round(float(beta(100)), 4)
        (0.0625, 0.125)

    Args:
        dim: dimension d of the representation.
        temperature: τ, or a schedule `step -> τ`.
        eta2: mildness η₂ of the augmentation in [0, 1].
        multiple: β/β₀; 1 is the least weight that is known to suffice.

    Returns:
        The schedule, to be called with a step that may be traced.

    Raises:
        ValueError: where `dim` < 2, τ is a known number and not positive, or η₂ is known and
            outside [0, 1].
    """
    vanishing_beta(dim, 1.0 if callable(temperature) else temperature, eta2)

    def schedule(step: Num[ArrayLike, ""]) -> Float[Array, ""] | float:
        tau = temperature(step) if callable(temperature) else temperature
        return multiple * vanishing_beta(dim, tau, eta2)

    return schedule


def local_beta(
    dim: int, temperature: Num[ArrayLike, ""] | float, eta2: Num[ArrayLike, ""] | float = 0.0
) -> Float[Array, ""]:
    """The weight from which uniformity is stable against a small common drift of all directions.

    Along von Mises-Fisher laws of small κ the potential itself rises,
    Φ(μ) - Φ(σ) = d A (1 - A/2) ‖m‖² + o(‖m‖²) with A = A_d(α), which `vanishing_beta` leaves out.
    Uniformity is a local minimum along them, for an encoder that attains the alignment bound, from

        β_loc = max(0, (2/d) [α (1-η₂) - d A (1 - A/2)])

    on. It is below β₀, and 0 where η₂ exceeds about α/(2d): there InfoNCE alone holds the mean at 0.

    Examples:
        >>> bool(theory.local_beta(32, 0.1, 0.8) <= theory.vanishing_beta(32, 0.1, 0.8))
        True

    Args:
        dim: dimension d ≥ 2.
        temperature: τ = 1/α > 0.
        eta2: mildness η₂ of the augmentation in [0, 1].

    Returns:
        β_loc.

    Raises:
        ValueError: where `dim` < 2, τ is known and not positive, or η₂ is known and outside [0, 1].
    """
    from infonce_jax.theory.vmf import mean_resultant_length

    gain = vanishing_beta(dim, temperature, eta2)
    ratio = mean_resultant_length(dim, 1 / jnp.asarray(temperature, jnp.result_type(float)))
    return jnp.maximum(gain - 2 * ratio * (1 - ratio / 2), 0)


def _check_eta2(eta2: Num[ArrayLike, "..."] | float) -> None:
    _check_unit_interval("eta2", eta2, "a mildness; theory.mildness has those of known channels")


def _check_unit_interval(name: str, value: Num[ArrayLike, "..."] | float, what: str) -> None:
    if _is_traced(value):
        return
    known = np.asarray(value)
    if not np.all((known >= 0) & (known <= 1)):
        raise ValueError(f"{name} is {value}; it must lie in [0, 1], being {what}.")


def _is_traced(value: Num[ArrayLike, "..."] | float) -> bool:
    return isinstance(value, jax.core.Tracer)
