"""Interpolation of embeddings along a circle in whitened space (full-circle slerp)."""

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import whitening
from infonce_jax.evaluation.whitening import Whitening


def unwhiten(model: Whitening, white: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n d"]:
    """The embeddings whose whitened rows are `white`: mean + white diag(variances)^(1/2) Vᵀ.

    The inverse of `whitening.apply` on the span of the directions kept.

    Args:
        model: from `whitening.fit`.
        white: along the principal axes for kind "pca", [n, d] for "zca".
    """
    if model.kind == "zca":
        white = white @ model.components
    return model.mean + (white * np.sqrt(model.variances)) @ model.components.T


def full_circle(
    model: Whitening,
    start: Float[np.ndarray, " d"],
    end: Float[np.ndarray, " d"],
    *,
    steps: int = 60,
) -> Float[np.ndarray, "steps d"]:
    """Embeddings on the circle through two others, taken in whitened space.

    Step i is at the angle 2π i / steps from `start` towards `end`, in the plane of the two whitened
    rows. The norm goes from that of the one to that of the other and back, so that the circle
    passes through both. The log-likelihood depends on the whitened norm alone, and so stays between
    the two.

    Args:
        model: from `whitening.fit`.
        start: an embedding.
        end: another; the two whitened rows must not lie on one line through 0.
        steps: embeddings on the circle, the first of them `start`.

    Returns:
        The embeddings, unnormalised, for a decoder or for retrieval.

    Raises:
        ValueError: where the two whitened rows are on one line; fewer than 2 steps.

    References:
        Betser, Levi & Gilboa, *Whitened CLIP as a likelihood surrogate*, ICML 2025.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: give at least 2.")
    white = whitening.apply(model, np.stack([start, end]))
    norms = np.linalg.norm(white, axis=1)
    if not norms.all():
        raise ValueError("start or end is the mean of the model, which has no direction.")
    first = white[0] / norms[0]
    rest = white[1] / norms[1] - first * (first @ white[1] / norms[1])
    if np.linalg.norm(rest) < 1e-6:
        raise ValueError("start and end are on one line through the mean: that gives no circle.")
    second = rest / np.linalg.norm(rest)
    between = float(np.arctan2(second @ white[1], first @ white[1]))
    angles = 2 * np.pi * np.arange(steps) / steps
    # The share of the way to `end`, by the shorter of the two arcs from `start`.
    share = np.where(
        angles <= between, angles / between, (2 * np.pi - angles) / (2 * np.pi - between)
    )
    length = norms[0] + (norms[1] - norms[0]) * share
    points = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
    return unwhiten(model, length[:, None] * points)
