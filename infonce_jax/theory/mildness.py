"""Mildness η₂ of an augmentation: the squared maximal correlation of a view X and its sample X0.

    η₂ = sup_g Var(E[g(X) | X0]) / Var(g(X)) = (second singular value of g ↦ E[g(X) | X0])²

It is 1 where nothing is lost, 0 where the view knows nothing of its sample. Exact for the synthetic
pairs, by quadrature for any density on the line, and estimated from pairs of views for anything else.
All by NumPy and scipy in float64.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float

from infonce_jax.theory._mildness_estimate import (
    MildnessEstimate as MildnessEstimate,
)
from infonce_jax.theory._mildness_estimate import (
    estimate as estimate,
)
from infonce_jax.theory._mildness_estimate import (
    feature_correlation as feature_correlation,
)

_MOST_NODES = 3000


def gaussian_noise(strength: float) -> float:
    """η₂ = 1/(1 + s²) for X = X0 + s·ε, X0 and ε standard normal; attained by linear features.

    Examples:
        >>> theory.mildness.gaussian_noise(0.5)
        0.8

    Args:
        strength: s ≥ 0, in standard deviations of X0.

    Returns:
        η₂.

    Raises:
        ValueError: for a negative strength.
    """
    _check_strength(strength)
    return 1.0 / (1.0 + strength**2)


def erasure(strength: float) -> float:
    """η₂ = 1 - p for X = X0 with probability 1-p and erased otherwise, any X0.

    An erasure must be recognisable. Setting to zero is, where X0 = 0 has probability 0; where it has
    not, see `bernoulli_erasure`.

    Examples:
        >>> theory.mildness.erasure(0.25)
        0.75

    Args:
        strength: probability p of an erasure.

    Returns:
        η₂.

    Raises:
        ValueError: for p outside [0, 1].
    """
    _check_probability("strength", strength)
    return 1.0 - strength


def bernoulli_flip(probability: float, strength: float) -> float:
    """η₂ of a bit with P(X0 = 1) = q, flipped with probability p.

        η₂ = q(1-q)(1-2p)² / (r(1-r)),   r = P(X = 1) = q(1-p) + (1-q)p

    Examples:
        >>> round(theory.mildness.bernoulli_flip(0.5, 0.1), 4)
        0.64

    Args:
        probability: q in (0, 1).
        strength: p in [0, 1].

    Returns:
        η₂; (1-2p)² for a fair bit.

    Raises:
        ValueError: for a q or p outside these ranges.
    """
    q, p = _check_bit(probability), strength
    _check_probability("strength", p)
    r = q * (1 - p) + (1 - q) * p
    return q * (1 - q) * (1 - 2 * p) ** 2 / (r * (1 - r))


def bernoulli_erasure(probability: float, strength: float) -> float:
    """η₂ = (1-p)(1-q) / (1 - q(1-p)) of a bit with P(X0 = 1) = q, set to 0 with probability p.

    Below 1 - p, because an erased bit looks like a 0.

    Examples:
        >>> round(theory.mildness.bernoulli_erasure(0.1, 0.2), 4)
        0.7826

    Args:
        probability: q in (0, 1).
        strength: p in [0, 1].

    Returns:
        η₂.

    Raises:
        ValueError: for a q or p outside these ranges.
    """
    q, p = _check_bit(probability), strength
    _check_probability("strength", p)
    return (1 - p) * (1 - q) / (1 - q * (1 - p))


def bernoulli_addition(probability: float, strength: float) -> float:
    """η₂ = q(1-p) / (q + p(1-q)) of a bit, P(X0 = 1) = q, if a zero becomes one with probability p.

    It is `bernoulli_erasure` with the two values exchanged. For a vector of independent bits take
    `tensorised` of the bits' values: the most frequent bit decides.

    Examples:
        >>> round(theory.mildness.bernoulli_addition(0.05, 0.001), 4)
        0.9804

    Args:
        probability: q in (0, 1).
        strength: p in [0, 1].

    Returns:
        η₂.

    Raises:
        ValueError: for a q or p outside these ranges.
    """
    q, p = _check_bit(probability), strength
    _check_probability("strength", p)
    return q * (1 - p) / (q + p * (1 - q))


def gaussian_mixing(kept: float) -> float:
    """η₂ = A² for X = A X0 + √(1-A²) ε, X0 and ε standard normal.

    Examples:
        >>> round(theory.mildness.gaussian_mixing(0.6), 4)
        0.36

    Args:
        kept: A in [0, 1].

    Returns:
        η₂.

    Raises:
        ValueError: for A outside [0, 1].
    """
    _check_probability("kept", kept)
    return kept**2


def laplace_mixing(kept: float, scale: float = 1.0) -> float:
    """η₂ for X = A X0 + √(1-A²) ε with X0 Laplace(0, scale) and ε standard normal.

    Division by A changes nothing, so this is `laplace_noise` of √(1-A²)/(A √2 scale).

    Channels that may follow: independent Gaussian jitter of standard deviation s turns the noise's
    √(1-A²) into √(1-A²+s²), exactly. Coordinates that are then set to zero with probability p are
    recognised as erased, and η₂ is (1-p) times the value before, exactly. A random factor for the
    whole row makes coordinates dependent. It can only lower η₂; the exact value is not known.

    Examples:
        >>> round(theory.mildness.laplace_mixing(0.6), 4)
        0.6412

    Args:
        kept: A in [0, 1].
        scale: of the Laplace law; its variance is 2·scale².

    Returns:
        η₂.

    Raises:
        ValueError: for A outside [0, 1], or a scale that is not positive.
    """
    _check_probability("kept", kept)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}; it must be positive and finite.")
    if kept == 0:
        return 0.0
    return laplace_noise(float(np.sqrt((1 - kept) * (1 + kept)) / (kept * np.sqrt(2) * scale)))


def mixture_component(
    means: Float[np.ndarray, "components dim"], scale: float = 1.0
) -> float | None:
    """η₂ of views that are independent draws of one component of an equal mixture of N(m_k, scale² I).

    What two such views share is the component's label, which takes the place of X0. η₂ is 1 where some
    components can be told from the others, and below 1 where they overlap. Alignment is then decided by
    the law between components alone: E u·v = E‖E[u | component]‖².

    For means on a line it comes from quadrature along it. For others the line through two means gives a
    lower bound, which is returned where it is 1 to within 1e-6.

    Examples:
        >>> means = np.array([[-1.0, 0.0], [1.0, 0.0]])
        >>> round(theory.mildness.mixture_component(means), 4)
        0.5504

    Args:
        means: one row per component.
        scale: standard deviation within a component, positive.

    Returns:
        η₂, or None where the means span more than a line and η₂ is not 1 to within 1e-6.

    Raises:
        ValueError: for a scale that is not positive.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}; it must be positive and finite.")
    means = np.asarray(means, np.float64) / scale
    centred, directions, on_a_line = _lines(means)
    # The trapezoidal rule near each component; far from all of them there is no mass.
    step, best = 0.05, 0.0
    near = np.arange(-200, 201)
    for at in (centred @ direction for direction in directions):
        x = step * np.unique(np.round(at[:, None] / step) + near)
        best = max(best, finite(np.exp(-0.5 * (x - at[:, None]) ** 2)))
    if best > 1 - 1e-6:
        return 1.0
    return best if on_a_line else None


def bernoulli_noise(probability: float, strength: float) -> float:
    """η₂ of a bit with P(X0 = 1) = q under Gaussian noise, X = X0 + s·ε.

    The bit has one feature up to scale, so η₂ = Var P(X0 = 1 | X) / (q(1-q)), by the trapezoidal rule.

    Examples:
        >>> round(theory.mildness.bernoulli_noise(0.1, 0.5), 4)
        0.4113

    Args:
        probability: q in (0, 1).
        strength: s ≥ 0.

    Returns:
        η₂.

    Raises:
        ValueError: for a q outside (0, 1), or a negative strength.
    """
    q = _check_bit(probability)
    _check_strength(strength)
    # Forty standard deviations apart: no view is in doubt.
    if strength < 0.025:
        return 1.0
    # In units of the noise; the logit of the posterior is linear in x, of slope 1/s.
    x = np.arange(-12.0, 12.0 + 1 / strength, min(0.05, 0.05 * strength))
    one, zero = (
        weight * np.exp(-0.5 * (x - at) ** 2) for weight, at in ((q, 1 / strength), (1 - q, 0))
    )
    total = one + zero
    posterior = one / np.where(total > 0, total, 1)
    if strength > 1:
        # The posterior less q is q (1-q) (f₁ - f₀)/f, which does not cancel where noise hides the bit.
        gap = np.exp(-0.5 * x**2) * np.expm1(x / strength - 0.5 / strength**2)
        return float(q * (1 - q) * np.sum(gap**2 / total) / np.sum(total))
    # 1 - E Var(X0|X)/Var(X0), whose second term does not cancel.
    return float(1 - np.sum(posterior * zero) / np.sum(total) / (q * (1 - q)))


def sphere_noise(dim: int, strength: float) -> float:
    """η₂ of the uniform law on the sphere of radius √D under Gaussian noise, X = X0 + s·ε.

    The pair is invariant under rotations. By the Funk-Hecke theorem the features that do best are the
    coordinates, whose conditional expectation given ‖X‖ = r is A_D(κ) times the direction of X with
    κ = √D r/s²; hence η₂ = E A_D(κ)², an integral over the law of ‖X‖.

    Examples:
        >>> round(theory.mildness.sphere_noise(64, 0.5), 4)
        0.8018

    Args:
        dim: dimension D ≥ 2 of the data.
        strength: s ≥ 0.

    Returns:
        η₂, near 1/(1 + s²) for a large D.

    Raises:
        ValueError: where D < 2, or the strength is negative.
    """
    from infonce_jax.theory._bessel import bessel_terms

    _check_strength(strength)
    if dim < 2:
        raise ValueError(f"dim is {dim}; the sphere has a uniform density from dimension 2 on.")
    if strength == 0:
        return 1.0
    middle = np.sqrt(dim * (1 + strength**2))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    low, high = max(0.0, middle - 14 * strength), middle + 14 * strength
    r = (high + low) / 2 + (high - low) / 2 * nodes
    with jax.enable_x64(True):
        terms = bessel_terms(dim, np.sqrt(dim) * r / strength**2)
        mean_exp, ratio = np.asarray(terms.log_mean), np.asarray(terms.ratio)
    logs = (dim - 1) * np.log(r) - (r**2 + dim) / (2 * strength**2) + mean_exp
    weight = weights * np.exp(logs - logs.max())
    return float(np.sum(weight * ratio**2) / np.sum(weight))


def tensorised(*values: float) -> float:
    """η₂ of independent coordinates with independent channels: the largest of theirs.

    Examples:
        >>> theory.mildness.tensorised(0.3, 0.8, 0.5)
        0.8

    Args:
        *values: η₂ of each coordinate.

    Returns:
        Their maximum.

    Raises:
        ValueError: where there are none, or one lies outside [0, 1].

    References:
        Witsenhausen, On sequences of pairs of dependent random variables, 1975.
    """
    if not values:
        raise ValueError("tensorised() needs the mildness of at least one coordinate.")
    for value in values:
        _check_probability("a coordinate's mildness", value)
    return float(max(values))


def finite(joint: Float[np.ndarray, "samples views"]) -> float:
    """η₂ of a pair with finitely many values.

    It is the square of the second singular value of P(x0, x) / √(P(x0) P(x)).

    Examples:
        >>> joint = np.array([[0.4, 0.1], [0.1, 0.4]])  # a fair bit, flipped with probability 0.2
        >>> round(theory.mildness.finite(joint), 4)
        0.36

    Args:
        joint: joint probabilities, rows X0 and columns X; need not sum to 1.

    Returns:
        η₂.

    Raises:
        ValueError: for a matrix that is not 2-d, or holds what is not a probability.
    """
    joint = np.asarray(joint, np.float64)
    if joint.ndim != 2 or not np.all(joint >= 0) or not joint.sum() > 0:
        raise ValueError(
            f"joint has shape {joint.shape}; it must be a matrix of probabilities, none negative and "
            "not all zero."
        )
    joint = joint[joint.sum(axis=1) > 0][:, joint.sum(axis=0) > 0]
    if min(joint.shape) < 2:
        return 0.0
    scaled = joint / np.sqrt(np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    return float(min(np.linalg.svd(scaled, compute_uv=False)[1] ** 2, 1.0))


def additive_noise(
    log_density: Callable[[np.ndarray], np.ndarray],
    strength: float,
    *,
    support: tuple[float, float],
    breaks: Sequence[float] = (),
    tail_rate: float | None = None,
) -> float:
    """η₂ of a density on the line under Gaussian noise, X = X0 + s·ε.

    The eigenvalues of E[E[·|X]|X0] on a quadrature grid: Gauss-Legendre panels for X0, the trapezoidal
    rule for X.

    A tail exp(-λ|x|) needs care. Far out in it the channel is the same at every x, the operator has a
    continuous spectrum up to exp(-λ²s²/4), and features that live ever further out come as near to
    that as they like: η₂ is at least exp(-λ²s²/4) though no feature attains it, and a grid, which
    ends somewhere, would not show it. Tails that are heavier than exponential have η₂ = 1.

    Examples:
        >>> normal = lambda x: -(x**2) / 2 - np.log(2 * np.pi) / 2
        >>> round(theory.mildness.additive_noise(normal, 0.5, support=(-12, 12)), 4)
        0.8

    Args:
        log_density: log of the density of X0, up to a constant, at an array of points.
        strength: standard deviation s > 0 of the noise, in the units of x.
        support: the interval outside of which X0 has no mass worth counting.
        breaks: points inside at which the density is not smooth.
        tail_rate: λ where the slower of the two tails is exponential; None for lighter tails.

    Returns:
        η₂.

    Raises:
        ValueError: for an empty support, or a strength that is not positive or so small against the
            support that the grid would be too large.
    """
    from scipy.linalg import eigh

    low, high = support
    if not low < high:
        raise ValueError(
            f"support is {support}; it must be an interval (low, high) with low < high."
        )
    if not strength > 0:
        raise ValueError(f"strength is {strength}; it must be positive (η₂ is 1 without noise).")
    edges = np.unique([low, *(b for b in breaks if low < b < high), high])
    nodes, weights = np.polynomial.legendre.leggauss(16)
    points, masses = [], []
    for left, right in itertools.pairwise(edges):
        # Both the kernel and the density must be smooth on a panel.
        count = int(np.ceil((right - left) / min(6 * strength, (high - low) / 16)))
        sides = np.linspace(left, right, count + 1)
        half = np.diff(sides)[:, None] / 2
        points.append((sides[:-1, None] + half + half * nodes).ravel())
        masses.append((half * weights).ravel())
    a, log_mass = np.concatenate(points), np.log(np.concatenate(masses))
    if a.size > _MOST_NODES:
        raise ValueError(
            f"strength {strength:g} on the support {support} needs {a.size} nodes, above the limit of "
            f"{_MOST_NODES}; shorten the support or take a strength of at least "
            f"{strength * a.size / _MOST_NODES:.2g}."
        )
    log_mass = log_mass + np.asarray(log_density(a), np.float64)
    log_mass = log_mass - np.logaddexp.reduce(log_mass)
    x = np.arange(low - 9 * strength, high + 9 * strength, 0.35 * strength)
    log_joint = log_mass[:, None] - 0.5 * ((x - a[:, None]) / strength) ** 2
    log_view = np.logaddexp.reduce(log_joint, axis=0)
    constant = np.log(0.35 / np.sqrt(2 * np.pi))
    operator = np.exp(log_joint - 0.5 * log_mass[:, None] - 0.5 * log_view + 0.5 * constant)
    last = a.size - 1
    values = eigh(operator @ operator.T, eigvals_only=True, subset_by_index=[last - 1, last - 1])
    floor = 0.0 if tail_rate is None else np.exp(-((tail_rate * strength) ** 2) / 4)
    return float(min(max(values[0], floor), 1.0))


def laplace_noise(strength: float) -> float:
    """η₂ of a Laplace variable of unit variance under Gaussian noise, X = X0 + s·ε.

    exp(-s²/2) for s up to about 1.2, approached by features far out in the tails and attained by
    none; an eigenvalue beyond. It is above the 1/(1+s²) of linear features.

    Examples:
        >>> round(theory.mildness.laplace_noise(0.5), 4)
        0.8825

    Args:
        strength: s ≥ 0, in standard deviations of X0.

    Returns:
        η₂.

    Raises:
        ValueError: for a negative strength.
    """
    _check_strength(strength)
    # Below, no eigenvalue exceeds what the tails give, on grids of any length.
    if strength < 1:
        return float(np.exp(-(strength**2) / 2))
    found = additive_noise(
        lambda x: -np.sqrt(2) * np.abs(x),
        strength,
        support=(-150.0, 150.0),
        breaks=(0.0,),
        tail_rate=np.sqrt(2),
    )
    # The linear feature is a bound from below, under which the grid's rounding must not fall.
    return max(found, gaussian_noise(strength))


def mixture_noise(means: Float[np.ndarray, "components dim"], strength: float) -> float | None:
    """η₂ of an equal mixture of unit Gaussians N(m_k, I) under Gaussian noise, X = X0 + s·ε.

    Across the span of the means the law is a product, so for two components (or means on a line) η₂ is
    the larger of 1/(1+s²) and that of the one-dimensional mixture along the line. For more components
    the mixture along each line through two means gives a lower bound; where that is 1 to within 1e-6,
    because the components can be told apart, it is returned.

    Examples:
        >>> means = np.array([[-3.0, 0.0], [3.0, 0.0]])
        >>> round(theory.mildness.mixture_noise(means, 0.5), 4)
        0.995

    Args:
        means: one row per component.
        strength: s ≥ 0.

    Returns:
        η₂, or None where it lies in more than one dimension and cannot be said to 1e-6.

    Raises:
        ValueError: for a negative strength.
    """
    _check_strength(strength)
    means = np.asarray(means, np.float64)
    linear = gaussian_noise(strength)
    if strength == 0:
        return 1.0
    centred, directions, on_a_line = _lines(means)
    best = linear
    for direction in directions:
        at = centred @ direction
        gap = float(np.max(np.diff(np.sort(at))))
        # Across the widest gap between components, misclassification leaves 1 - η₂ below this.
        if np.exp(-((gap / 2) ** 2) / (2 * (1 + strength**2))) * len(means) < 1e-8:
            return 1.0
        best = max(best, _line_mixture(at, strength))
    return best if on_a_line or best > 1 - 1e-6 else None


def synthetic(
    source: str,
    channel: str,
    strength: float,
    *,
    dim: int,
    probability: float | None = None,
    means: Float[np.ndarray, "components dim"] | None = None,
    scale: float = 0.5**0.5,
    noise_std: float = 0.0,
    erasure_prob: float = 0.0,
) -> float | None:
    """η₂ of a synthetic source and channel of `infonce_jax.data`, where it is known.

    More noise and an erasure may follow the channel. With the Laplace or Gaussian source and the
    channels "gaussian_noise", "mixing" and "identity" both are exact: noises add, and an erasure
    multiplies by 1 - p. In all other cases the value is that of the channel alone: what follows a
    channel can only lower η₂, so it is an upper bound.

    Examples:
        >>> round(theory.mildness.synthetic("gaussian", "gaussian_noise", 0.5, dim=64), 4)
        0.8

    Args:
        source: "laplace", "gaussian", "sphere", "mixture" or "binary".
        channel: "gaussian_noise", "mixing", "erasure", "bit_flip", "bit_add", "same_component" or
            "identity".
        strength: as the channel takes it.
        dim: number of coordinates.
        probability: of a one, for the binary source.
        means: of the components, for the mixture.
        scale: of the Laplace law; by default its variance is 1.
        noise_std: standard deviation of Gaussian noise after the channel.
        erasure_prob: probability that a coordinate is set to zero after that.

    Returns:
        η₂, or None where it is not known (erasure of dependent coordinates, data of other sources).

    Raises:
        ValueError: for a strength outside the channel's range.
    """
    _check_strength(noise_std)
    _check_probability("erasure_prob", erasure_prob)
    if source in ("laplace", "gaussian") and channel in ("gaussian_noise", "mixing", "identity"):
        # Up to a factor the view is X0 and Gaussian noise, independently by coordinate.
        kept, variance = 1.0, noise_std**2
        if channel == "gaussian_noise":
            _check_strength(strength)
            variance += strength**2
        if channel == "mixing":
            _check_probability("strength", strength)
            kept, variance = strength, variance + (1 - strength) * (1 + strength)
        if kept == 0:
            return 0.0
        noise = float(np.sqrt(variance)) / kept
        if source == "gaussian":
            return (1 - erasure_prob) * gaussian_noise(noise)
        return (1 - erasure_prob) * laplace_noise(noise / (np.sqrt(2) * scale))
    if channel == "identity":
        return 1.0
    if channel == "same_component":
        return None if means is None else mixture_component(means)
    if source == "binary" and probability is not None:
        if probability >= 1:
            return 0.0
        per_bit = {
            "bit_add": bernoulli_addition,
            "bit_flip": bernoulli_flip,
            "erasure": bernoulli_erasure,
            "gaussian_noise": bernoulli_noise,
        }
        return per_bit[channel](probability, strength) if channel in per_bit else None
    if channel == "erasure" and source in ("laplace", "gaussian"):
        return erasure(strength)
    if channel != "gaussian_noise":
        return None
    if source == "sphere" and dim >= 2:
        return sphere_noise(dim, strength)
    if source == "mixture" and means is not None:
        return mixture_noise(means, strength)
    return None


def _lines(means: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], bool]:
    """The means less their mean, the lines to look along, and whether the first holds all of them.

    There is none where the means are all the same.
    """
    centred = means - means.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if not spread[0] > 0:
        return centred, [], True
    if len(spread) < 2 or spread[1] <= 1e-9 * spread[0]:
        return centred, [axes[0]], True
    differences = [a - b for i, a in enumerate(means) for b in means[:i]]
    lengths = [float(np.linalg.norm(d)) for d in differences]
    order = np.argsort(lengths)[::-1]
    return centred, [differences[i] / lengths[i] for i in order[:4] if lengths[i] > 0], False


def _line_mixture(at: np.ndarray, strength: float) -> float:
    def log_density(x):
        return np.logaddexp.reduce(-0.5 * (x[:, None] - at) ** 2, axis=1)

    return additive_noise(log_density, strength, support=(at.min() - 9.0, at.max() + 9.0))


def _check_bit(probability: float) -> float:
    if not 0 < probability < 1:
        raise ValueError(
            f"probability is {probability}; a bit's must lie strictly between 0 and 1."
        )
    return probability


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must lie in [0, 1].")


def _check_strength(strength: float) -> None:
    if not (np.isfinite(strength) and strength >= 0):
        raise ValueError(
            f"strength is {strength}; it is a standard deviation, finite and at least 0."
        )
