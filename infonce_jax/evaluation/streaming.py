"""The evaluation's main numbers while embeddings arrive in batches, as in a training loop.

    stream = streaming.init(dim=512)
    for batch in batches:
        stream = streaming.update(stream, embeddings)
    print(streaming.report(stream).ad_mean)

A stream holds sums over all rows and one histogram of each coordinate on a fixed grid, from which A² is
computed. Streams of several processes are merged; their state is plain arrays, to save or to send
(`to_arrays`, `from_arrays`).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.special import log_ndtr

from infonce_jax.evaluation import covariance, normality
from infonce_jax.evaluation.arrays import as_floats, check_embeddings
from infonce_jax.evaluation.covariance import Sums
from infonce_jax.evaluation.isotropy import detectable_resultant
from infonce_jax.evaluation.moments import moment_statistic

BINS = 2048
# The grid is even in asinh of the distance from its middle, up to 10,000 standard deviations.
_REACH = float(np.arcsinh(1e4))


class Stream(NamedTuple):
    """What is kept of the rows so far.

    Attributes:
        sums: of the rows; see `covariance.Sums`.
        central: Σ (x − mean)ᵏ of each coordinate for k = 2, 3, 4.
        norms: Σ ‖x‖ and Σ ‖x‖².
        directions: Σ x/‖x‖.
        directed: the rows that are not zero.
        middle: of each coordinate's grid: the first batch's mean.
        scale: of each coordinate's grid: the first batch's standard deviation.
        counts: rows in each interval of each coordinate's grid.
    """

    sums: Sums
    central: Float[np.ndarray, "3 d"]
    norms: Float[np.ndarray, "2"]
    directions: Float[np.ndarray, " d"]
    directed: int
    middle: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    counts: Float[np.ndarray, "d bins"]


class Report(NamedTuple):
    """The statistics of a stream, over all rows; constant coordinates are left out of averages.

    Attributes:
        n: the rows.
        dim: d.
        skewness: √b₁ of each coordinate; NaN where constant.
        kurtosis: b₂ of each coordinate, 3 for a Gaussian.
        norm_cv: standard deviation of the norms over their mean.
        participation_ratio: (tr C)²/tr C².
        mean_resultant: length of the mean of x/‖x‖, about 1/√n if uniform.
        mean_resultant_detectable: what n rows detect with 80% power, to read it by.
        ad: A² of Anderson and Darling of each coordinate.
        ad_mean: their average, 0.384 for a Gaussian.
        ad_pass: share of coordinates with A² < 0.752 (Stephens' modification).
        dp_mean_p: mean asymptotic p-value of D'Agostino and Pearson's test.
        dp_pass: share of coordinates with p > 0.05.
        delta: (ad_mean − 0.384)/n, the growth of A² with each row, which does not depend on n.
        step: the widest interval of the grid near a coordinate's mean, in its standard deviations.
    """

    n: int
    dim: int
    skewness: Float[np.ndarray, " d"]
    kurtosis: Float[np.ndarray, " d"]
    norm_cv: float
    participation_ratio: float
    mean_resultant: float
    mean_resultant_detectable: float
    ad: Float[np.ndarray, " d"]
    ad_mean: float
    ad_pass: float
    dp_mean_p: float
    dp_pass: float
    delta: float
    step: float


def init(dim: int, *, bins: int = BINS) -> Stream:
    """An empty stream.

    Memory: 8 d (d + `bins`) bytes.

    Examples:
        >>> stream = evaluation.streaming.init(8)
        >>> rows = np.random.default_rng(0).standard_normal((500, 8))
        >>> stream = evaluation.streaming.update(stream, rows)
        >>> evaluation.streaming.report(stream).n
        500

    Args:
        dim: coordinates of a row.
        bins: intervals of each coordinate's grid. With 2,048 they are 0.0097 standard deviations wide at
            the mean, and wider in proportion far from it.

    Raises:
        ValueError: for fewer than 1 coordinate or 16 intervals.
    """
    if dim < 1 or bins < 16:
        raise ValueError(f"dim is {dim} and bins {bins}: give at least 1 and 16.")
    zeros = np.zeros(dim)
    return Stream(
        covariance.nothing(dim),
        np.zeros((3, dim)),
        np.zeros(2),
        zeros,
        0,
        zeros,
        np.ones(dim),
        np.zeros((dim, bins)),
    )


def update(stream: Stream, rows: Num[np.ndarray, "n d"]) -> Stream:
    """The stream with more rows.

    The first batch fixes the grids by its means and standard deviations, so it should have some tens
    of rows.

    Examples:
        >>> stream = evaluation.streaming.init(8)
        >>> for batch in np.random.default_rng(0).standard_normal((4, 500, 8)):
        ...     stream = evaluation.streaming.update(stream, batch)
        >>> evaluation.streaming.report(stream).n
        2000

    Args:
        stream: as `init`, `update` or `merge` gave it; it is not changed.
        rows: embeddings, one per row; `np.asarray` of a JAX array.

    Raises:
        ValueError: for another dimension, NaN or Inf.
    """
    x = check_embeddings(as_floats(np.asarray(rows)), "rows", min_rows=1)
    dim = len(stream.middle)
    if x.shape[1] != dim:
        raise ValueError(f"rows have {x.shape[1]} coordinates and the stream has {dim}.")
    block = np.asarray(x, dtype=np.float64)
    found = covariance.sums(block)
    off = block - found.mean
    square = off * off
    central = np.stack([v.sum(axis=0) for v in (square, square * off, square * square)])
    norms = np.sqrt(np.einsum("ij,ij->i", block, block))
    directed = norms > 0
    if stream.sums.n == 0:
        stream = stream._replace(middle=found.mean, scale=_scales(central[0] / len(block), block))
    counts = stream.counts.copy()
    bins = counts.shape[1]
    places = _places(block, stream.middle, stream.scale, bins)
    places += np.arange(dim) * bins
    if places.size < counts.size:
        np.add.at(counts.reshape(-1), places.reshape(-1), 1.0)
    else:
        counts += np.bincount(places.reshape(-1), minlength=counts.size).reshape(counts.shape)
    return stream._replace(
        sums=covariance.merged(stream.sums, found),
        central=_merged_central(stream.sums, stream.central, found, central),
        norms=stream.norms + np.array([norms.sum(), np.square(norms).sum()]),
        directions=stream.directions + np.einsum("ij,i->j", block[directed], 1.0 / norms[directed]),
        directed=stream.directed + int(directed.sum()),
        counts=counts,
    )


def merge(first: Stream, second: Stream) -> Stream:
    """The stream of both streams' rows, for instance of two processes.

    Sums are those over all rows but for rounding. Where the grids differ, the second histogram is
    converted to the first one's grid, its rows spread evenly within each interval.

    Examples:
        >>> parts = [
        ...     evaluation.streaming.update(evaluation.streaming.init(8), batch)
        ...     for batch in np.random.default_rng(0).standard_normal((2, 500, 8))
        ... ]
        >>> evaluation.streaming.report(evaluation.streaming.merge(*parts)).n
        1000

    Raises:
        ValueError: for different dimensions or numbers of intervals.
    """
    if first.counts.shape != second.counts.shape:
        raise ValueError(
            f"the streams have {first.counts.shape} and {second.counts.shape} coordinates and "
            f"intervals: both have to be equal."
        )
    if not first.sums.n or not second.sums.n:
        return first if first.sums.n else second
    return first._replace(
        sums=covariance.merged(first.sums, second.sums),
        central=_merged_central(first.sums, first.central, second.sums, second.central),
        norms=first.norms + second.norms,
        directions=first.directions + second.directions,
        directed=first.directed + second.directed,
        counts=first.counts + _regridded(second, first),
    )


def report(stream: Stream) -> Report:
    """The statistics of the rows so far, over all of them.

    Moments, norms, participation ratio, mean resultant length and D'Agostino-Pearson are exact up to
    rounding. A² takes the rows of an interval of the grid as spread evenly over it: with 2,048 intervals
    it is off by at most 0.02 + 0.005 A² in each coordinate up to a million rows, as long as `step` is at
    most 0.02, and by much less on average (`benchmarks.evaluation streaming`). A Gaussian coordinate's
    own A² scatters by 0.25. Rounding to float16 or bfloat16 does not show. A coordinate that takes one
    value in many rows, such as the zeros of a ReLU, is far from Gaussian, and its A² is off by up to 3%.

    Examples:
        >>> stream = evaluation.streaming.init(8)
        >>> rows = np.random.default_rng(0).standard_normal((5000, 8))
        >>> stream = evaluation.streaming.update(stream, rows)
        >>> found = evaluation.streaming.report(stream)
        >>> found.n, bool(0.2 < found.ad_mean < 0.7)
        (5000, True)

    Args:
        stream: of at least 8 rows.

    Raises:
        ValueError: for fewer than 8 rows.
    """
    n, dim = stream.sums.n, len(stream.middle)
    if n < 8:
        raise ValueError(f"the stream has {n} rows: at least 8 are needed.")
    m2, m3, m4 = stream.central / n
    mean = stream.sums.mean
    eps = float(np.finfo(np.float32).eps)
    std = np.sqrt(np.where(np.sqrt(m2) > eps * np.abs(mean), m2, np.nan))
    skewness, kurtosis = m3 / std**3, m4 / std**4
    k2 = moment_statistic("dp", skewness, kurtosis, n)
    p = np.exp(-0.5 * k2[~np.isnan(k2)])
    ad = _anderson_darling(stream, std * math.sqrt(n / (n - 1.0)))
    known = ad[~np.isnan(ad)]
    passed = normality.stephens_modified(known, n) < normality.AD_CRITICAL_5_PERCENT
    mean_norm, square = stream.norms / n
    cv = math.sqrt(max(square - mean_norm**2, 0.0)) / mean_norm if mean_norm > 0 else math.nan
    scatter = stream.sums.scatter
    size = float(np.einsum("ij,ij->", scatter, scatter))
    length = float(np.linalg.norm(stream.directions))
    # The derivative of sinh, where the mean lies.
    width = np.sqrt(stream.scale**2 + (mean - stream.middle) ** 2) * _step(stream.counts.shape[1])
    return Report(
        n,
        dim,
        skewness,
        kurtosis,
        cv,
        float(np.trace(scatter)) ** 2 / size if size > 0 else math.nan,
        length / stream.directed if stream.directed else math.nan,
        detectable_resultant(n, dim),
        ad,
        _mean(known),
        _mean(passed),
        _mean(p),
        _mean(p > 0.05),
        (_mean(known) - normality.AD_GAUSSIAN_MEAN) / n,
        float(np.nanmax(width / std)) if len(known) else math.nan,
    )


def to_arrays(stream: Stream) -> dict[str, np.ndarray]:
    """The stream as plain arrays by name, to save or to send to another process.

    Examples:
        >>> stream = evaluation.streaming.init(8)
        >>> rows = np.random.default_rng(0).standard_normal((500, 8))
        >>> stream = evaluation.streaming.update(stream, rows)
        >>> arrays = evaluation.streaming.to_arrays(stream)  # to send or to save
        >>> evaluation.streaming.report(evaluation.streaming.from_arrays(arrays)).n
        500
    """
    flat = {f"sums_{name}": value for name, value in stream.sums._asdict().items()}
    flat |= {name: value for name, value in stream._asdict().items() if name != "sums"}
    return {name: np.asarray(value) for name, value in flat.items()}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Stream:
    """The stream that `to_arrays` gave.

    Examples:
        >>> stream = evaluation.streaming.init(8)
        >>> rows = np.random.default_rng(0).standard_normal((500, 8))
        >>> stream = evaluation.streaming.update(stream, rows)
        >>> again = evaluation.streaming.from_arrays(evaluation.streaming.to_arrays(stream))
        >>> evaluation.streaming.report(again).n
        500

    Raises:
        ValueError: for arrays that are not those of a stream.
    """
    try:
        sums = {name: np.asarray(arrays[f"sums_{name}"]) for name in Sums._fields}
        rest = {name: np.asarray(arrays[name]) for name in Stream._fields if name != "sums"}
    except KeyError as error:
        raise ValueError(f"{error} is missing: give what `to_arrays` returned.") from None
    sums |= {"n": int(sums["n"]), "fourth": float(sums["fourth"])}
    return Stream(sums=Sums(**sums), **rest | {"directed": int(rest["directed"])})


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _scales(variance: np.ndarray, block: np.ndarray) -> np.ndarray:
    """The standard deviations, with those of the other coordinates where one has none."""
    std = np.sqrt(variance)
    varying = std[std > 0]
    other = float(np.median(varying)) if len(varying) else float(np.abs(block).max()) or 1.0
    return np.where(std > 0, std, other)


def _step(bins: int) -> float:
    return 2.0 * _REACH / bins


def _places(
    block: Float[np.ndarray, "n d"], middle: np.ndarray, scale: np.ndarray, bins: int
) -> Int[np.ndarray, "n d"]:
    place = np.floor((np.arcsinh((block - middle) / scale) + _REACH) / _step(bins))
    return np.clip(place, 0, bins - 1).astype(np.int64)


def _edges(stream: Stream, j: int) -> Float[np.ndarray, " edges"]:
    bins = stream.counts.shape[1]
    return stream.middle[j] + stream.scale[j] * np.sinh(np.linspace(-_REACH, _REACH, bins + 1))


def _regridded(second: Stream, first: Stream) -> Float[np.ndarray, "d bins"]:
    if np.array_equal(first.middle, second.middle) and np.array_equal(first.scale, second.scale):
        return second.counts
    out = np.empty_like(second.counts)
    for j, counts in enumerate(second.counts):
        below = np.concatenate([[0.0], np.cumsum(counts)])
        inner = np.interp(_edges(first, j)[1:-1], _edges(second, j), below)
        out[j] = np.diff(np.concatenate([[0.0], inner, [below[-1]]]))
    return out


def _anderson_darling(stream: Stream, std: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """A² = −n − (1/n) Σ [(2i − 1) log Φ(wᵢ) + (2(n − i) + 1) log(1 − Φ(wᵢ))], interval by interval.

    Within an interval of c rows the logarithms are taken as linear in the rank, whose scatter adds
    (c² − 1)/6 times their change over it to the sum with the average rank.
    """
    n = stream.sums.n
    out = np.full(len(std), np.nan)
    for j in np.flatnonzero(~np.isnan(std)).tolist():
        counts = stream.counts[j]
        some = np.flatnonzero(counts)
        count = counts[some]
        above = np.cumsum(count)
        edges = (_edges(stream, j) - stream.sums.mean[j]) / std[j]
        low, high = edges[some], edges[some + 1]
        total = 0.0
        for sign, weight in (
            (1.0, above**2 - (above - count) ** 2),
            (-1.0, (n - above + count) ** 2 - (n - above) ** 2),
        ):
            left, middle, right = (log_ndtr(sign * w) for w in (low, 0.5 * (low + high), high))
            total += float(weight @ ((left + 4.0 * middle + right) / 6.0))
            scatter = np.maximum(count**2 - 1.0, 0.0) / 6.0
            total += float(scatter @ (sign * (right - left)))
        out[j] = -n - total / n
    return out


def _merged_central(a: Sums, of_a: np.ndarray, b: Sums, of_b: np.ndarray) -> np.ndarray:
    """Pébay's formulas: *Formulas for robust, one-pass parallel computation of covariances*, 2008."""
    if not a.n or not b.n:
        return of_a if a.n else of_b
    n, gap = a.n + b.n, b.mean - a.mean
    share_a, share_b = a.n / n, b.n / n
    (a2, a3, a4), (b2, b3, b4) = of_a, of_b
    pair = n * share_a * share_b
    second = a2 + b2 + pair * gap**2
    third = a3 + b3 + pair * (share_a - share_b) * gap**3
    third += 3.0 * gap * (share_a * b2 - share_b * a2)
    fourth = a4 + b4 + pair * (share_a**2 - share_a * share_b + share_b**2) * gap**4
    fourth += 6.0 * gap**2 * (share_a**2 * b2 + share_b**2 * a2)
    fourth += 4.0 * gap * (share_a * b3 - share_b * a3)
    return np.stack([second, third, fourth])
