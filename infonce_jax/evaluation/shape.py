"""Effect sizes: how far from Gaussian, in numbers that do not grow with n, with intervals.

A p-value says whether n rows suffice to see a departure; these say how large it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigvalsh

from infonce_jax.evaluation import concentration, normality
from infonce_jax.evaluation.arrays import check_embeddings, gram, row_blocks

_WITHIN_CLASSES = (
    "ad_mean",
    "delta",
    "skewness_rms",
    "excess_kurtosis",
    "negentropy",
    "norm_cv",
    "participation_ratio",
)


class Interval(NamedTuple):
    """An estimate and a confidence interval for it."""

    value: float
    low: float
    high: float


def spectrum(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " k"]:
    """The eigenvalues of the covariance (ddof = 1), largest first; min(n − 1, d) of them.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((5000, 3)) * np.array([2.0, 1.0, 1.0])
        >>> evaluation.shape.spectrum(z).round(1)
        array([4.1, 1. , 1. ])

    Args:
        z: embeddings, one per row, at least 2.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    z = check_embeddings(z, "z", min_rows=2)
    n, d = z.shape
    mean = sum((block.sum(axis=0) for _, block in row_blocks(z)), np.zeros(d)) / n
    values = eigvalsh(gram(z, mean), overwrite_a=True, check_finite=False)[::-1] / (n - 1)
    return np.maximum(values[: min(n - 1, d)], 0.0)


def effective_rank(eigenvalues: Float[np.ndarray, " k"]) -> float:
    """exp of the entropy of λ/Σλ (Roy & Vetterli 2007): from 1 to d, NaN where all are 0.

    Examples:
        >>> round(evaluation.shape.effective_rank(np.array([1.0, 1.0, 0.0])), 3)
        2.0

    Args:
        eigenvalues: as `spectrum` gives them.
    """
    total = eigenvalues.sum()
    if not total > 0:
        return float("nan")
    share = eigenvalues[eigenvalues > 0] / total
    return float(np.exp(-np.sum(share * np.log(share))))


def wasserstein(z: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray]:
    """W₁ and W₂ of each standardised coordinate to N(0, 1), through the sorted values.

    W_p = ((1/n) Σᵢ |wᵢ − qᵢ|^p)^(1/p) with qᵢ = Φ⁻¹((i − 1/2)/n); in units of the coordinate's
    standard deviation. A Gaussian sample of n rows scores about 0.8/√n and √(log log n + 1)/√n, not 0.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((5000, 2))
        >>> w1, w2 = evaluation.shape.wasserstein(z)
        >>> bool(w1.max() < 0.05)
        True

    Args:
        z: embeddings, one per row, at least 8.

    Returns:
        W₁ and W₂, each [d]; NaN where a coordinate is constant.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    found = normality.statistics(check_embeddings(z, "z"), ["w1", "w2"])
    return found["w1"], found["w2"]


def negentropy(
    skewness: Float[np.ndarray, " d"], kurtosis: Float[np.ndarray, " d"], n: int
) -> Float[np.ndarray, " d"]:
    """Edgeworth's estimate of KL(coordinate ‖ normal) in nats, s²/12 + (k − 3)²/48.

    The expectation for a Gaussian sample of n rows is subtracted, so that a Gaussian scores 0 on
    average and single estimates may be negative. It is the leading term for small departures, and
    too large for tails as heavy as Student's with few degrees of freedom.

    Examples:
        >>> evaluation.shape.negentropy(np.array([0.0]), np.array([1.0]), 1000).round(3)
        array([0.082])

    Args:
        skewness: √b₁ of each coordinate.
        kurtosis: b₂ of each coordinate.
        n: the number of rows.
    """
    of_skewness = 6.0 * (n - 2.0) / ((n + 1.0) * (n + 3.0))
    of_kurtosis = 24.0 * n * (n - 2.0) * (n - 3.0) / ((n + 1.0) ** 2 * (n + 3.0) * (n + 5.0))
    excess = kurtosis - 3.0 * (n - 1.0) / (n + 1.0)
    return (skewness**2 - of_skewness) / 12.0 + (excess**2 - of_kurtosis) / 48.0


# What `effect_sizes` takes from `normality.statistics`.
STATISTICS = ("ad", "w1", "w2", "skewness", "kurtosis")


def effect_sizes(
    z: Float[np.ndarray, "n d"],
    statistics: Mapping[str, np.ndarray] | None = None,
    eigenvalues: Float[np.ndarray, " k"] | None = None,
) -> dict[str, float]:
    """The departure from normality, averaged over coordinates, and the concentration.

    * `norm_cv` beside `norm_cv_gaussian` = 1/√(2 PR): what a centred Gaussian with this spectrum has.
    * `participation_ratio`, `effective_rank`: of the covariance's spectrum; `largest_variance_share`:
      what its first principal axis has of the total variance.
    * `skewness_rms`, `excess_kurtosis`: of the coordinates, the latter less its expectation for a
      Gaussian of n rows, −6/(n + 1).
    * `w1`, `w2`: `wasserstein`. `negentropy`: see there.
    * `delta`: Δ̂ = (mean A² − 0.384)/n, the rate at which A² grows with n.

    Constant coordinates are left out.

    Examples:
        >>> z = np.random.default_rng(0).laplace(size=(5000, 4))
        >>> round(evaluation.shape.effect_sizes(z)["excess_kurtosis"], 1)
        3.1

    Args:
        z: embeddings, one per row, at least 8.
        statistics: those named in `STATISTICS` of this very `z`, where they have been computed.
        eigenvalues: its `spectrum`, where that has been computed.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    z = check_embeddings(z, "z")
    n = len(z)
    found = normality.statistics(z, STATISTICS) if statistics is None else statistics
    eigenvalues = spectrum(z) if eigenvalues is None else eigenvalues
    total = eigenvalues.sum()
    known = ~np.isnan(found["skewness"])
    statistic, first, second, skewness, kurtosis = (found[name][known] for name in STATISTICS)
    ratio = float(total**2 / np.sum(eigenvalues**2)) if known.any() else float("nan")
    return {
        "norm_cv": concentration.norm_cv(z),
        "norm_cv_gaussian": concentration.norm_cv_gaussian(ratio),
        "participation_ratio": ratio,
        "effective_rank": effective_rank(eigenvalues) if known.any() else float("nan"),
        "largest_variance_share": float(eigenvalues[0] / total) if known.any() else float("nan"),
        "skewness_rms": _mean(skewness**2) ** 0.5,
        "excess_kurtosis": _mean(kurtosis - 3.0 * (n - 1.0) / (n + 1.0)),
        "w1": _mean(first),
        "w2": _mean(second),
        "negentropy": _mean(negentropy(skewness, kurtosis, n)),
        "delta": (_mean(statistic) - normality.AD_GAUSSIAN_MEAN) / n,
    }


def excess_kurtosis_error(z: Float[np.ndarray, "n d"], *, rows: int = 5000) -> float:
    """The standard error of the mean excess kurtosis over coordinates, their dependence included.

    By the delta method: each row's influence w⁴ − b₂ − 2 b₂ (w² − 1) − 4 √b₁ w, averaged over the
    coordinates, from at most `rows` rows spread evenly.

    Args:
        z: embeddings, one per row, at least 8.
        rows: the most rows used.

    Returns:
        The error at all n rows; NaN where all coordinates are constant.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.
    """
    z = check_embeddings(z, "z")
    some = np.asarray(z[:: -(-len(z) // rows)], dtype=np.float64)
    centred = some - some.mean(axis=0)
    spread = np.sqrt(np.mean(centred**2, axis=0))
    known = spread > np.finfo(z.dtype).eps * np.abs(some.mean(axis=0))
    if not known.any():
        return float("nan")
    w = centred[:, known] / spread[known]
    square = w * w
    skewness, kurtosis = np.mean(square * w, axis=0), np.mean(square * square, axis=0)
    influence = np.mean(
        square * square - kurtosis - 2.0 * kurtosis * (square - 1.0) - 4.0 * skewness * w, axis=1
    )
    return float(influence.std(ddof=1) / np.sqrt(len(z)))


def intervals(
    z: Float[np.ndarray, "n d"],
    compute: Callable[[np.ndarray], dict[str, float]] = effect_sizes,
    *,
    level: float = 0.95,
    draws: int = 100,
    rows: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Confidence intervals by half-sampling: the bootstrap without repetition.

    Each of the draws takes m = min(n/2, rows) of the n rows; the spread of the statistic over the
    draws, times √(m/(n − m)), estimates its spread at n. (The bootstrap proper draws rows with
    repetition: ties, which no sample from a continuous law has, and which A² and W₂ take for a
    departure. It covers no better where both apply.) The draws' quantiles are centred at the
    estimate from all rows, so that the interval is for the expectation of the estimate at this n.
    That differs from the population's value by the estimate's bias. Where `w1`, `w2` and
    `skewness_rms` are near 0, they are mostly bias. Where a statistic converges faster than 1/√n,
    as `delta`, `w1` and `w2` do on an exact Gaussian, the interval is too wide; for kurtosis and
    norm CV under heavy tails it is somewhat too narrow, as every resampling interval is.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4))
        >>> low, high = evaluation.shape.intervals(z, draws=50)["norm_cv"][:2]
        >>> bool(low < 0.36 < high)
        False

    Args:
        z: embeddings, one per row, at least 16.
        compute: rows to named statistics.
        level: of confidence.
        draws: number of resamples.
        rows: the most rows of one.
        seed: of the resamples.

    Returns:
        An interval for each statistic; NaN ends where it is NaN.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for fewer than 16 rows, a level outside (0, 1), fewer than 2 draws; as
            `check_embeddings` does.
    """
    z = check_embeddings(z, "z", min_rows=16)
    if not 0 < level < 1 or draws < 2:
        raise ValueError(
            f"level is {level} and draws {draws}: the level must lie between 0 and 1, and there must "
            f"be at least 2 draws."
        )
    n = len(z)
    m = min(n // 2, rows)
    rng = np.random.default_rng(seed)
    whole = compute(z)
    drawn = [compute(z[np.sort(rng.choice(n, m, replace=False))]) for _ in range(draws)]
    factor = np.sqrt(m / (n - m))
    found = {}
    for name, value in whole.items():
        values = np.array([one[name] for one in drawn])
        # Few draws' inner quantiles would fall short of the level: Weibull's do not, on average.
        ends = np.quantile(
            values - values.mean(), [(1 - level) / 2, (1 + level) / 2], method="weibull"
        )
        low, high = value + factor * ends
        found[name] = Interval(float(value), float(low), float(high))
    return found


def class_conditional(
    z: Float[np.ndarray, "n d"], labels: Sequence | np.ndarray, *, min_rows: int = 50
) -> dict[str, float]:
    """The same within classes, averaged over classes by their rows; and the variance between them.

    `between_class_share` is tr B / tr T: the share of the total variance that the class means
    explain, of which (classes − 1)/(n − 1) is chance. `class_ad_mean` is at the classes' own sizes,
    whose mean is `class_rows`.

    Examples:
        >>> labels = np.arange(1000) % 2
        >>> z = np.random.default_rng(0).standard_normal((1000, 4)) + 3 * labels[:, None]
        >>> round(evaluation.shape.class_conditional(z, labels)["between_class_share"], 2)
        0.69

    Args:
        z: embeddings, one per row.
        labels: the class of each row.
        min_rows: classes with fewer are left out of the within-class figures.

    Returns:
        `between_class_share`, `classes`, and, where a class is large enough, `class_rows`,
        `class_ad_mean`, `class_delta`, `class_skewness_rms`, `class_excess_kurtosis`,
        `class_negentropy`, `class_norm_cv`, `class_participation_ratio`.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for labels of another length or not one per row; as `check_embeddings` does.
    """
    z = check_embeddings(z, "z")
    labels = check_labels(labels, len(z))
    names, index = np.unique(labels, return_inverse=True)
    mean = sum((block.sum(axis=0) for _, block in row_blocks(z)), np.zeros(z.shape[1])) / len(z)
    total = sum(float(np.square(block - mean).sum()) for _, block in row_blocks(z))
    between, weights, parts = 0.0, [], []
    for k in range(len(names)):
        rows = np.asarray(z[index == k], dtype=np.float64)
        gap = rows.mean(axis=0) - mean
        between += len(rows) * float(gap @ gap)
        if len(rows) >= max(min_rows, 8):
            sizes = effect_sizes(rows)
            sizes["ad_mean"] = sizes["delta"] * len(rows) + normality.AD_GAUSSIAN_MEAN
            weights.append(len(rows))
            parts.append(sizes)
    found = {
        "between_class_share": between / total if total > 0 else float("nan"),
        "classes": float(len(names)),
    }
    if parts:
        found["class_rows"] = float(np.mean(weights))
        for name in _WITHIN_CLASSES:
            values = [part[name] for part in parts]
            found[f"class_{name}"] = float(np.average(values, weights=weights))
    return found


def check_labels(labels: Sequence | np.ndarray, rows: int) -> np.ndarray:
    """The labels as an array of one per row.

    Raises:
        ValueError: for another number of them, or more than one per row.
    """
    labels = np.asarray(labels)
    if labels.shape != (rows,):
        raise ValueError(
            f"the labels have shape {labels.shape}, the embeddings {rows} rows: give one label for "
            f"each row, in the same order."
        )
    return labels


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
