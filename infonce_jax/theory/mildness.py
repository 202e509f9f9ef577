"""Mildness η₂ of an augmentation: the squared maximal correlation of a view X and its sample X0.

    η₂ = sup_g Var(E[g(X) | X0]) / Var(g(X)) = (second singular value of g ↦ E[g(X) | X0])²

It is 1 where nothing is lost, 0 where the view knows nothing of its sample. Exact for the synthetic
pairs, by quadrature for any density on the line, and estimated from pairs of views for anything else.
All by NumPy and scipy in float64.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Num

_MOST_NODES = 3000
_KNOTS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
_REFINED = 6


class MildnessEstimate(NamedTuple):
    """η₂ from pairs of views.

    Attributes:
        estimate: correlation between two views of the learned feature, on pairs it was not learned
            from.
        standard_error: of the estimate, the feature held fixed.
        lower: lower confidence bound on that feature's correlation, and so on η₂.
    """

    estimate: float
    standard_error: float
    lower: float


def gaussian_noise(strength: float) -> float:
    """η₂ = 1/(1 + s²) for X = X0 + s·ε, X0 and ε standard normal; attained by linear features.

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


def bernoulli_noise(probability: float, strength: float) -> float:
    """η₂ of a bit with P(X0 = 1) = q under Gaussian noise, X = X0 + s·ε.

    The bit has one feature up to scale, so η₂ = Var P(X0 = 1 | X) / (q(1-q)), by the trapezoidal rule.

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
    if strength == 0:
        return 1.0
    # In units of the noise; the logit of the posterior is linear in x, of slope 1/s.
    x = np.arange(-12.0, 12.0 + 1 / strength, min(0.05, 0.05 * strength))
    one, zero = (
        weight * np.exp(-0.5 * (x - at) ** 2) for weight, at in ((q, 1 / strength), (1 - q, 0))
    )
    total = one + zero
    posterior = one / np.where(total > 0, total, 1)
    # 1 - E Var(X0|X)/Var(X0), whose second term does not cancel.
    return float(1 - np.sum(posterior * zero) / np.sum(total) / (q * (1 - q)))


def sphere_noise(dim: int, strength: float) -> float:
    """η₂ of the uniform law on the sphere of radius √D under Gaussian noise, X = X0 + s·ε.

    The pair is invariant under rotations. By the Funk-Hecke theorem the features that do best are the
    coordinates, whose conditional expectation given ‖X‖ = r is A_D(κ) times the direction of X with
    κ = √D r/s²; hence η₂ = E A_D(κ)², an integral over the law of ‖X‖.

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
    r = np.linspace(max(1e-9, middle - 14 * strength), middle + 14 * strength, 4001)
    with jax.enable_x64(True):
        terms = bessel_terms(dim, np.sqrt(dim) * r / strength**2)
        mean_exp, ratio = np.asarray(terms.log_mean), np.asarray(terms.ratio)
    logs = (dim - 1) * np.log(r) - (r**2 + dim) / (2 * strength**2) + mean_exp
    weight = np.exp(logs - logs.max())
    return float(np.sum(weight * ratio**2) / np.sum(weight))


def tensorised(*values: float) -> float:
    """η₂ of independent coordinates with independent channels: the largest of theirs.

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
    return additive_noise(
        lambda x: -np.sqrt(2) * np.abs(x),
        strength,
        support=(-150.0, 150.0),
        breaks=(0.0,),
        tail_rate=np.sqrt(2),
    )


def mixture_noise(means: Float[np.ndarray, "components dim"], strength: float) -> float | None:
    """η₂ of an equal mixture of unit Gaussians N(m_k, I) under Gaussian noise, X = X0 + s·ε.

    Across the span of the means the law is a product, so for two components (or means on a line) η₂ is
    the larger of 1/(1+s²) and that of the one-dimensional mixture along the line. For more components
    the mixture along each line through two means gives a lower bound; where that is 1 to within 1e-6,
    because the components can be told apart, it is returned.

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
    centred = means - means.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if not spread[0] > 0:
        return linear
    on_a_line = len(spread) < 2 or spread[1] <= 1e-9 * spread[0]
    directions = [axes[0]]
    if not on_a_line:
        differences = [a - b for i, a in enumerate(means) for b in means[:i]]
        lengths = [float(np.linalg.norm(d)) for d in differences]
        order = np.argsort(lengths)[::-1]
        directions = [differences[i] / lengths[i] for i in order[:4]]
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
) -> float | None:
    """η₂ of a synthetic source and channel of `infonce_jax.data`, where it is known.

    Args:
        source: "laplace", "gaussian", "sphere", "mixture" or "binary".
        channel: "gaussian_noise", "erasure", "bit_flip" or "identity".
        strength: as the channel takes it.
        dim: number of coordinates.
        probability: of a one, for the binary source.
        means: of the components, for the mixture.

    Returns:
        η₂, or None where it is not known (erasure of dependent coordinates, data of other sources).

    Raises:
        ValueError: for a strength outside the channel's range.
    """
    if channel == "identity":
        return 1.0
    if source == "binary" and probability is not None:
        if probability >= 1:
            return 0.0
        per_bit = {
            "bit_flip": bernoulli_flip,
            "erasure": bernoulli_erasure,
            "gaussian_noise": bernoulli_noise,
        }
        return per_bit[channel](probability, strength) if channel in per_bit else None
    if channel == "erasure" and source in ("laplace", "gaussian"):
        return erasure(strength)
    if channel != "gaussian_noise":
        return None
    if source == "gaussian":
        return gaussian_noise(strength)
    if source == "laplace":
        return laplace_noise(strength)
    if source == "sphere" and dim >= 2:
        return sphere_noise(dim, strength)
    if source == "mixture" and means is not None:
        return mixture_noise(means, strength)
    return None


def feature_correlation(
    view1: Float[np.ndarray, "n"], view2: Float[np.ndarray, "n"], confidence: float = 0.975
) -> MildnessEstimate:
    """Correlation of one feature between two views of a sample, which bounds η₂ from below.

    For views X, Y that are independent given X0, Corr(g(X), g(Y)) = Var(E[g(X)|X0]) / Var(g(X)) ≤ η₂
    for every g. The standard error is the delta method's.

    Args:
        view1: g of one view of each sample.
        view2: g of the other view, in the same order.
        confidence: of the lower bound, one-sided.

    Returns:
        The correlation, with a lower bound.

    Raises:
        ValueError: for shapes that differ, fewer than 8 pairs, or a constant feature.
    """
    a, b = np.asarray(view1, np.float64), np.asarray(view2, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 8:
        raise ValueError(
            f"view1 has shape {a.shape} and view2 {b.shape}; pass the feature of both views of the "
            "same samples, two vectors of one length of at least 8."
        )
    return _summary(_influence(a, b), confidence)


def estimate(
    view1: Num[np.ndarray, "n dim"],
    view2: Num[np.ndarray, "n dim"],
    *,
    confidence: float = 0.975,
    seed: int = 0,
) -> MildnessEstimate:
    """η₂ of real data from pairs of views, by learning the feature that is most alike in both.

    Canonical correlation of the columns, of piecewise linear features of each, or of such features of
    the leading canonical variates, so that a feature of a projection is found too; which of the three is
    decided, by its lower bound, on a third of the pairs that they are learned from. Learned on one
    half of the pairs and judged on the other, and the other way round: any feature's correlation is
    at most η₂, so apart from sampling error the estimate errs downwards only. It can see no more than
    the columns show; for images pass representations, not pixels.

    Args:
        view1: one view of each of n samples, a row each: data, or representations of them.
        view2: the other view, in the same order.
        confidence: of the lower bound, one-sided.
        seed: of the split into halves.

    Returns:
        The estimate and its lower bound.

    Raises:
        ValueError: for shapes that differ or too few pairs for the number of columns.
    """
    x, y = np.asarray(view1, np.float64), np.asarray(view2, np.float64)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(
            f"view1 has shape {x.shape} and view2 {y.shape}; both must be [n, dim], row i of one and "
            "row i of the other being views of the same sample."
        )
    n, dim = x.shape
    if n < 20 * dim or n < 100:
        raise ValueError(
            f"There are {n} pairs of {dim} columns; half of the pairs must settle the weights of "
            f"{dim} columns, which takes at least {max(100, 20 * dim)}. Pass more pairs, or fewer "
            "columns (principal components)."
        )
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence is {confidence}; it is one-sided, from 0.5 up to below 1.")
    halves = np.array_split(np.random.default_rng(seed).permutation(n), 2)
    influences = []
    for learn, judge in (halves, halves[::-1]):
        feature = _learn_feature(x[learn], y[learn])
        influences.append(_influence(feature(x[judge]), feature(y[judge])))
    value = np.concatenate([one[1] for one in influences])
    mean = float(np.mean([one[0] for one in influences]))
    return _summary((mean, value), confidence)


def _influence(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """The correlation of two views of a feature, and each pair's influence on it."""
    mean = (a.mean() + b.mean()) / 2
    a, b = a - mean, b - mean
    square = (a**2 + b**2) / 2
    variance = square.mean()
    if not variance > 0:
        raise ValueError("The feature is constant over the pairs, so it has no correlation.")
    correlation = float(np.mean(a * b) / variance)
    return correlation, (a * b - correlation * square) / variance


def _summary(influence: tuple[float, np.ndarray], confidence: float) -> MildnessEstimate:
    from scipy.special import ndtri

    value, each = influence
    error = float(each.std() / np.sqrt(len(each)))
    return MildnessEstimate(value, error, value - float(ndtri(confidence)) * error)


def _learn_feature(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The best of a few families, by its lower bound on a third of the pairs kept apart for that.

    By the bound and not by the correlation: a feature that lives on few samples may look good by
    chance, and is known to be uncertain.
    """
    kept = len(x) * 2 // 3
    families = [_fit_linear]
    if kept >= 20 * (len(_KNOTS) + 1) * x.shape[1]:
        families += [_fit_splines, _fit_refined]
    else:
        families += [_fit_refined_linear]

    def judged(fit):
        feature = fit(x[:kept], y[:kept])
        return _summary(_influence(feature(x[kept:]), feature(y[kept:])), 0.975).lower

    return max(families, key=judged)(x, y)


def _fit_linear(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return _first_variate(_linear, x, y)


def _fit_splines(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return _first_variate(_splines, x, y)


def _fit_refined(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return _refine(_splines, x, y)


def _fit_refined_linear(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return _refine(_linear, x, y)


def _first_variate(family: Callable, x: np.ndarray, y: np.ndarray) -> Callable:
    expand, features = family(np.concatenate([x, y]))
    weights = _canonical(features)[:, 0]
    return lambda rows: expand(rows) @ weights


def _refine(family: Callable, x: np.ndarray, y: np.ndarray) -> Callable:
    """Splines of the leading canonical variates."""
    expand, features = family(np.concatenate([x, y]))
    weights = _canonical(features)[:, :_REFINED]
    outer, refined = _splines(features @ weights)
    final = _canonical(refined)[:, 0]
    return lambda rows: outer(expand(rows) @ weights) @ final


def _linear(rows: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """The columns, standardised: as a function of rows, and of these rows."""
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    varying = scale > 0
    mean, scale = mean[varying], scale[varying]

    def standardised(x):
        return (x[:, varying] - mean) / scale

    return standardised, standardised(rows)


def _splines(rows: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Each column, and max(0, column - knot) at a grid of its quantiles, standardised; as `_linear`."""
    limits = [(column.min(), column.max()) for column in rows.T]
    knots = [np.unique(column) for column in np.quantile(rows, _KNOTS, axis=0).T]
    columns = [
        (i, knot)
        for i, (low, high) in enumerate(limits)
        for knot in (None, *knots[i][(knots[i] > low) & (knots[i] < high)])
        if low < high
    ]

    def expand(x):
        # A feature's values lie side by side in memory, as they are made, summed and multiplied.
        features = np.empty((len(columns), len(x)))
        for row, (i, knot) in zip(features, columns, strict=True):
            if knot is None:
                row[:] = x[:, i]
            else:
                np.subtract(x[:, i], knot, out=row)
                np.maximum(row, 0, out=row)
        return features

    of_rows = expand(rows)
    mean = of_rows.mean(axis=1, keepdims=True)
    of_rows -= mean
    scale = np.sqrt(np.einsum("fn,fn->f", of_rows, of_rows) / len(rows))[:, None]
    of_rows /= scale

    def standardised(x):
        features = expand(x)
        features -= mean
        features /= scale
        return features.T

    return standardised, of_rows.T


def _canonical(features: np.ndarray) -> np.ndarray:
    """Weights of the canonical variates of an exchangeable pair, the most correlated first.

    The rows are all of one view, and then all of the other.
    """
    from scipy.linalg import eigh

    n = len(features) // 2
    between = features[:n].T @ features[n:]
    cross = (between + between.T) / (2 * n)
    within = features.T @ features / (2 * n)
    within += 1e-4 * np.trace(within) / len(within) * np.eye(len(within))
    return eigh(cross, within)[1][:, ::-1]


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
