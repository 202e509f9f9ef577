"""The statistics that need a sorted sample, from rows that are sorted and standardised."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, log_ndtr, ndtr, ndtri

# Epps-Pulley: spacing and number of the nodes t = 0, h, 2h, …; values beyond the far limit are
# paired one by one, so that no difference of two values comes near the spacing's period 2π/h.
_EP_SPACING, _EP_NODES, _EP_FAR = 0.25, 27, 8.0
# From so many rows on, the characteristic function comes from moments about points so far apart.
_EP_FEWEST, _EP_WIDTH, _EP_ORDER = 512, 0.5, 14


def sorted_statistics(
    w: Float[np.ndarray, "columns n"], tests: Sequence[str], *, estimated: bool = True
) -> dict[str, Float[np.ndarray, " columns"]]:
    """The statistics that need a sorted sample, from rows sorted and standardised (ddof = 1).

    Args:
        w: sorted along its rows; NaN where there is nothing to test.
        tests: among "ad", "cvm", "lilliefors", "sf", "ep", "w1", "w2".
        estimated: whether `w` was standardised by its own mean and standard deviation.
    """
    n = w.shape[1]
    found: dict[str, np.ndarray] = {}
    if {"ad", "cvm", "lilliefors"} & set(tests):
        log_small, log_large, cdf = _log_tails(w)
    if "ad" in tests:
        weights = (2.0 * np.arange(1, n + 1) - 1.0) / n
        is_negative = w < 0
        log_small *= np.where(is_negative, weights, weights[::-1])
        log_large *= np.where(is_negative, weights[::-1], weights)
        log_small += log_large
        found["ad"] = -n - log_small.sum(axis=1)
    if {"cvm", "lilliefors"} & set(tests):
        cdf -= (np.arange(n) + 0.5) / n
        if "cvm" in tests:
            found["cvm"] = 1.0 / (12.0 * n) + np.einsum("ij,ij->i", cdf, cdf)
        if "lilliefors" in tests:
            found["lilliefors"] = np.maximum(cdf.max(axis=1), -cdf.min(axis=1)) + 0.5 / n
    if "sf" in tests:
        found["sf"] = _shapiro_francia(w)
    if {"w1", "w2"} & set(tests):
        gap = (w * np.sqrt(n / (n - 1.0)) if estimated else w) - _plotting_scores(n, 0.5)
        found["w1"] = np.abs(gap).mean(axis=1)
        found["w2"] = np.sqrt(np.einsum("ij,ij->i", gap, gap) / n)
    if "ep" in tests:
        found["ep"] = _epps_pulley(w * np.sqrt(n / (n - 1.0)) if estimated else w)
    return found


def standardised(block: np.ndarray, *, ddof: int) -> Float[np.ndarray, "columns n"]:
    """The rows of `block` in float64, less their mean, over their std; NaN where constant."""
    w = block.astype(np.float64)
    n = w.shape[1]
    mean = w.mean(axis=1, keepdims=True)
    w -= mean
    # The mean's own rounding, which matters for data far from 0, is still in w: take it out.
    w -= w.mean(axis=1, keepdims=True)
    std = np.sqrt(np.sum(w * w, axis=1, keepdims=True) / (n - ddof))
    constant = std <= np.finfo(block.dtype).eps * np.abs(mean)
    w /= np.where(constant, np.nan, std)
    return w


def _log_tails(w: Float[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log Φ(−|w|) and log Φ(|w|), both to the last digits however large |w| is, and Φ(w).

    One evaluation of Φ serves all; `log_ndtr` would take three times as long.
    """
    magnitude = np.abs(w)
    small = ndtr(np.negative(magnitude))
    log_large = np.log1p(np.negative(small))
    cdf = np.where(w < 0, small, 1.0 - small)
    with np.errstate(divide="ignore"):
        log_small = np.log(small, out=small)
    # Beyond this Φ(−|w|) is not a normal double any more.
    far = magnitude > 37.0
    if far.any():
        log_small[far] = log_ndtr(-magnitude[far])
    return log_small, log_large, cdf


@lru_cache(maxsize=4)
def _plotting_scores(n: int, offset: float) -> Float[np.ndarray, " n"]:
    """Φ⁻¹((i − a)/(n + 1 − 2a)), i = 1 … n: Blom's scores at a = 3/8, the midpoints' at 1/2."""
    return ndtri((np.arange(1, n + 1) - offset) / (n + 1.0 - 2.0 * offset))


def _shapiro_francia(w: Float[np.ndarray, "columns n"]) -> Float[np.ndarray, " columns"]:
    n = w.shape[1]
    scores = _plotting_scores(n, 0.375)
    scores = scores / np.sqrt(scores @ scores)
    centred = w - w.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    residual = centred / length[:, None] - scores
    # 1 - r from the difference of unit vectors: as 1 - r² it would lose half its digits.
    gap = 0.5 * np.einsum("ij,ij->i", residual, residual)
    return 1.0 - gap * (2.0 - gap)


def _epps_pulley(w: Float[np.ndarray, "columns n"]) -> Float[np.ndarray, " columns"]:
    n = w.shape[1]
    # Sorted, so that the far ones are at the ends.
    if n and (
        np.nanmax(w[:, -1], initial=0.0) > _EP_FAR or np.nanmin(w[:, 0], initial=0.0) < -_EP_FAR
    ):
        return np.array([_epps_pulley_far(row) for row in w])
    return n * _epps_pulley_near(w, n)


def _epps_pulley_near(w: np.ndarray, n: int, part: bool = False) -> np.ndarray:
    """∫ |φₙ − target|² φ dt by the trapezoidal rule; with `part`, ∫ |φₙ|² φ dt."""
    t = _EP_SPACING * np.arange(_EP_NODES)[:, None]
    weight = _EP_SPACING * np.exp(-0.5 * t * t) / np.sqrt(2.0 * np.pi)
    weight[1:] *= 2.0
    value = (_powers if w.shape[1] < _EP_FEWEST else _expansions)(w) / n
    target = 0.0 if part else np.exp(-0.5 * t * t)
    return np.sum(weight * np.abs(value - target) ** 2, axis=0)


def _powers(w: Float[np.ndarray, "columns n"]) -> np.ndarray:
    """Σⱼ exp(i t wⱼ) at all nodes t [nodes, columns], as powers of exp(i h wⱼ)."""
    angle = _EP_SPACING * w
    base = np.empty(w.shape, dtype=np.complex128)
    np.cos(angle, out=base.real)
    np.sin(angle, out=base.imag)
    power = np.ones_like(base)
    sums = np.empty((_EP_NODES, len(w)), dtype=np.complex128)
    for k in range(_EP_NODES):
        sums[k] = power.sum(axis=1)
        np.multiply(power, base, out=power)
    return sums


def _expansions(w: Float[np.ndarray, "columns n"]) -> np.ndarray:
    """The same from rows that are sorted, several times faster where they are long.

    Each value lies within 1/4 of a multiple c of 1/2, and exp(i t w) = exp(i t c) Σₖ (i t)ᵏ (w − c)ᵏ/k!
    up to 1e-10 where exp(−t²/2) weighs it; so moments about the points c, of which there are some
    thirty, are all that is needed.
    """
    columns, n = w.shape
    nan = np.isnan(w[:, 0])
    if nan.any():
        w = np.where(nan[:, None], 0.0, w)
    box = np.rint(w / _EP_WIDTH)
    offset = (w - _EP_WIDTH * box).ravel()
    begins = np.ones((columns, n), dtype=bool)
    np.not_equal(box[:, 1:], box[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    moments = np.empty((_EP_ORDER, len(starts)))
    moments[0] = np.diff(starts, append=columns * n)
    power = offset.copy()
    for k in range(1, _EP_ORDER):
        moments[k] = np.add.reduceat(power, starts)
        np.multiply(power, offset, out=power)
    t = _EP_SPACING * np.arange(_EP_NODES)[:, None]
    k = np.arange(_EP_ORDER)
    sums = ((1j * t) ** k / np.exp(gammaln(k + 1.0))) @ moments
    sums *= np.exp(1j * t * _EP_WIDTH * box.ravel()[starts])
    sums = np.add.reduceat(sums, np.flatnonzero(starts % n == 0), axis=1)
    return np.where(nan, np.nan, sums)


def _epps_pulley_far(w: Float[np.ndarray, " n"]) -> float:
    n = len(w)
    if np.isnan(w).any():
        return np.nan
    is_far = np.abs(w) > _EP_FAR
    near, far = w[~is_far], w[is_far]
    pairs = n * n * float(_epps_pulley_near(near[None, :], n, part=True)[0])
    for value in far:
        pairs += 2.0 * np.exp(-0.5 * (value - near) ** 2).sum()
        pairs += np.exp(-0.5 * (value - far) ** 2).sum()
    return pairs / n - np.sqrt(2.0) * np.exp(-0.25 * w * w).sum() + n / np.sqrt(3.0)
