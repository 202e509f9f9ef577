"""Minima of the loss when the alignment bound is attained: uniform, or a cone.

With alignment at its bound the loss is, up to a constant, Φ(μ) - q‖m(μ)‖² with q = α(1-η₂). Within the
von Mises-Fisher family the law is given by its concentration κ, and everything is a function of κ. The
functions work on the host in float64.
"""

import jax
import numpy as np
from jaxtyping import Float

from infonce_jax.theory._bessel import bessel_terms


def surrogate(
    dim: int, alpha: float, weight: float, kappa: Float[np.ndarray, "*shape"] | float
) -> Float[np.ndarray, "*shape"]:
    """Φ(μ) - q‖m(μ)‖² of the von Mises-Fisher law of concentration κ.

    E_v exp(α u·v) has the closed form exp(F(‖κe + αu‖) - F(κ)), with e the mean direction and
    F(x) = Φ_σ(x), so Φ(μ) is one integral over the cosine of u with e.

    Examples:
        >>> float(theory.stationary.surrogate(64, 5.0, 1.0, 0.0) - theory.phi_sigma(64, 5.0)) < 1e-6
        True

    Args:
        dim: dimension d ≥ 2.
        alpha: inverse temperature α > 0.
        weight: q ≥ 0; α(1-η₂) for the alignment bound.
        kappa: concentration κ ≥ 0; any shape.

    Returns:
        The value, in the shape of `kappa`.

    Raises:
        ValueError: for an argument outside its range.
    """
    _check(dim, alpha, weight)
    kappa = np.asarray(kappa, np.float64)
    if not np.all((kappa >= 0) & np.isfinite(kappa)):
        raise ValueError(f"kappa is {kappa}; a concentration is finite and at least 0.")
    nodes, weights = np.polynomial.legendre.leggauss(400)
    flat = kappa.reshape(-1, 1)
    mean_exp, ratio = _log_mean_and_ratio(dim, flat)
    # By the angle θ with the mean. The law has most of its mass within a few widths of its mode.
    cosine = 2 * flat / np.maximum(dim - 2 + np.hypot(dim - 2, 2 * flat), 1e-300)
    sine_square = np.maximum((1 - cosine) * (1 + cosine), 1e-300)
    width = 1.0 / np.sqrt(flat * cosine + (dim - 2) / sine_square + 1)
    mode = np.arccos(np.clip(cosine, -1.0, 1.0))
    low, high = np.maximum(mode - 14 * width, 0.0), np.minimum(mode + 14 * width, np.pi)
    angle = (high + low) / 2 + (high - low) / 2 * nodes
    with np.errstate(divide="ignore"):
        log_density = flat * (np.cos(angle) - 1) + (dim - 2) * np.log(np.sin(angle))
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True)) * weights
    length = np.sqrt((flat - alpha) ** 2 + 4 * flat * alpha * np.cos(angle / 2) ** 2)
    inner = _log_mean_and_ratio(dim, length)[0] - mean_exp
    potential = np.sum(density * inner, axis=1) / np.sum(density, axis=1)
    return (potential - weight * ratio[:, 0] ** 2).reshape(kappa.shape)


def critical_weight(dim: int, alpha: float) -> float:
    """The q up to which the uniform law is a local minimum: d r (1 - r/2) with r = A_d(α).

    Near uniform Φ rises by d r (1 - r/2)‖m‖² along the von Mises-Fisher family. Below this weight
    another, lower minimum may exist away from uniform; see `minimising_kappa`.

    Examples:
        >>> round(theory.stationary.critical_weight(64, 5.0), 3)
        4.778

    Args:
        dim: dimension d ≥ 2.
        alpha: inverse temperature α > 0.

    Returns:
        The critical weight.

    Raises:
        ValueError: for an argument outside its range.
    """
    _check(dim, alpha, 0.0)
    ratio = float(_log_mean_and_ratio(dim, np.asarray(float(alpha)))[1])
    return dim * ratio * (1 - ratio / 2)


def minimising_kappa(dim: int, alpha: float, weight: float) -> float:
    """The κ that minimises Φ(μ) - q‖m(μ)‖² over the von Mises-Fisher laws; 0 is the uniform law.

    As κ grows the law becomes a point, with the value α - q. `inf` is returned where no finite κ up to
    1e4 (d + α) gives less.

    Examples:
        >>> theory.stationary.minimising_kappa(64, 5.0, 1.0)  # below the critical weight: uniform
        0.0

    Args:
        dim: dimension d ≥ 2.
        alpha: inverse temperature α > 0.
        weight: q ≥ 0.

    Returns:
        κ of the global minimum within the family, to a relative error of about 1e-6.

    Raises:
        ValueError: for an argument outside its range.
    """
    from scipy.optimize import minimize_scalar

    _check(dim, alpha, weight)
    grid = np.geomspace(1e-3, 1e4, 300) * (dim + alpha)
    values = surrogate(dim, alpha, weight, grid)
    best = int(np.argmin(values))
    uniform = float(surrogate(dim, alpha, weight, 0.0))
    tolerance = 1e-11 * (1 + abs(uniform))
    if min(values[best], alpha - weight) >= uniform - tolerance:
        return 0.0
    if best == len(grid) - 1 or alpha - weight < values[best] - tolerance:
        return float("inf")
    low, high = (np.log(grid[i]) for i in (max(best - 1, 0), best + 1))
    found = minimize_scalar(
        lambda y: float(surrogate(dim, alpha, weight, np.exp(y))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))


def _log_mean_and_ratio(dim: int, kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        terms = bessel_terms(dim, kappa)
        return np.asarray(terms.log_mean), np.asarray(terms.ratio)


def _check(dim: int, alpha: float, weight: float) -> None:
    if int(dim) != dim or dim < 2:
        raise ValueError(f"dim is {dim}; the sphere has a uniform density from dimension 2 on.")
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha is {alpha}; an inverse temperature is positive and finite.")
    if not (np.isfinite(weight) and weight >= 0):
        raise ValueError(f"weight is {weight}; it must be finite and at least 0.")
