"""Mildness η₂ of an augmentation, estimated from pairs of views.

For views X, Y of one sample, Corr(g(X), g(Y)) ≤ η₂ for every feature g, so a learned feature gives a
lower bound. `theory.mildness` has the exact values of known channels. All by NumPy and scipy in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

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


def feature_correlation(
    view1: Float[np.ndarray, " n"], view2: Float[np.ndarray, " n"], confidence: float = 0.975
) -> MildnessEstimate:
    """Correlation of one feature between two views of a sample, which bounds η₂ from below.

    For views X, Y that are independent given X0, Corr(g(X), g(Y)) = Var(E[g(X)|X0]) / Var(g(X)) ≤ η₂
    for every g. The standard error is the delta method's.

    Examples:
        >>> x0, *noise = np.random.default_rng(0).standard_normal((3, 5000))
        >>> found = theory.mildness.feature_correlation(x0 + 0.5 * noise[0], x0 + 0.5 * noise[1])
        >>> [round(float(value), 2) for value in found]
        [0.8, 0.01, 0.79]

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

    Examples:
        >>> x0, *noise = np.random.default_rng(0).standard_normal((3, 4000, 4))
        >>> found = theory.mildness.estimate(x0 + 0.5 * noise[0], x0 + 0.5 * noise[1])
        >>> bool(found.lower < theory.mildness.gaussian_noise(0.5))
        True

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
