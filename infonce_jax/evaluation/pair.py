"""Two modalities of the same samples, such as images and their captions: the law of each and of both.

Row i of either belongs to the same sample. Cosines, gap and retrieval need a space that both share:
they are left out where the dimensions differ. Likelihoods and mutual information do not need one.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from infonce_jax.evaluation import concentration, normality, shape, uniformity, whitening
from infonce_jax.evaluation.arrays import BLOCK_ENTRIES, as_floats, check_embeddings, row_norms

RECALLS = (1, 5, 10)
# Normality, cosines, retrieval and uniformity are those of so many rows: they take all pairs.
_MOST_ROWS = 5000
# At most one component for so many rows, and no shrinkage from so many rows for each coordinate.
_ROWS_PER_COMPONENT, _ROWS_PER_COORDINATE = 20, 10


class Law(NamedTuple):
    """One modality on its own.

    Attributes:
        rows: n.
        dim: d.
        mean_norm: mean of ‖z‖.
        norm_cv: coefficient of variation of the norms.
        norm_cv_gaussian: that of a Gaussian with the same mean and covariance.
        participation_ratio: (tr C)² / tr C², the directions that carry the variance.
        ad_mean: average A² of Anderson and Darling over coordinates.
        ad_pass: share of coordinates with calibrated p > 0.05.
        mean_resultant: ‖mean of z/‖z‖‖, 1 in a narrow cone.
        uniformity: Φ = E_u log E_v exp(α u·v) within the modality; smallest for the uniform law.
        log_likelihood: mean under its own Gaussian, fitted on the other half of the rows, in nats.
    """

    rows: int
    dim: int
    mean_norm: float
    norm_cv: float
    norm_cv_gaussian: float
    participation_ratio: float
    ad_mean: float
    ad_pass: float
    mean_resultant: float
    uniformity: float
    log_likelihood: float


class Cosines(NamedTuple):
    """A law of cosines: mean, standard deviation and three quantiles (5, 50 and 95 %)."""

    mean: float
    std: float
    low: float
    median: float
    high: float


class Shared(NamedTuple):
    """Both modalities in the space they share; u and v are the rows divided by their norms.

    Attributes:
        gap: ‖E u − E v‖, the distance of the two mean directions (Liang et al. 2022).
        matched: the cosines uᵢ·vᵢ; their mean is the alignment.
        unmatched: the cosines uᵢ·vⱼ of all i ≠ j.
        alignment_share: E[(u − E u)·(v − E v)] / √(E‖u − E u‖² E‖v − E v‖²), the share of the largest
            alignment possible once the means are taken out: 0 where pairs do not matter, at most 1.
        gallery: rows among which partners are sought.
        auroc: the probability that a matched cosine exceeds an unmatched one.
        recall_first: share of rows of the first whose own partner is among the k nearest of the
            second, for k of `RECALLS`.
        recall_second: the same from the second to the first.
        uniformity_across: E_u log E_v exp(α u·v) over unmatched pairs.
    """

    gap: float
    matched: Cosines
    unmatched: Cosines
    alignment_share: float
    gallery: int
    auroc: float
    recall_first: tuple[float, ...]
    recall_second: tuple[float, ...]
    uniformity_across: float


class Pair(NamedTuple):
    """What `compare` finds.

    Attributes:
        first: the first modality.
        second: the second.
        shared: both together, or None where the dimensions differ.
        alpha: the inverse temperature of the uniformities.
        information: Gaussian mutual information by canonical correlations, held out, in nats.
        information_in_sample: the same without holding out: too large.
        components: the leading principal components of each that it was computed on; the
            dimensions where there are rows enough for all.
        joint_log_likelihood: mean under the joint Gaussian, fitted on the other half, in nats.
        rows: of each row the cosine, the ranks of its partner (0 is nearest) seen from the first and
            from the second, and its log-likelihoods: own of both, and joint. NaN where
            there is no shared space.
    """

    first: Law
    second: Law
    shared: Shared | None
    alpha: float
    information: float
    information_in_sample: float
    components: tuple[int, int]
    joint_log_likelihood: float
    rows: dict[str, Float[np.ndarray, " n"]]


def compare(
    first: Num[np.ndarray, "n d1"],
    second: Num[np.ndarray, "n d2"],
    *,
    alpha: float = 10.0,
    seed: int = 0,
) -> Pair:
    """Compares two modalities of the same samples.

    Log-likelihoods are of unnormalised rows, each under the Gaussian of the half that it is not in.
    With at least 20 rows for each coordinate of both, joint − own − own of a row is its share of
    the mutual information, were both jointly Gaussian; with fewer, the covariances are shrunk
    (Ledoit & Wolf) and the difference is too small. Canonical correlations are taken of at most
    n/20 leading principal components of each, which can only lose information. Normality, cosines,
    retrieval and uniformity are those of at most 5,000 rows, drawn at random.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> shared = rng.standard_normal((500, 8))
        >>> image, text = (shared + 0.5 * rng.standard_normal((500, 8)) for _ in range(2))
        >>> found = evaluation.pair.compare(image, text)
        >>> found.components, bool(found.information > 1)
        ((8, 8), True)

    Args:
        first: embeddings of one modality, one per row.
        second: of the other, in the same order.
        alpha: inverse temperature of the uniformities.
        seed: of the halves.

    Raises:
        TypeError: for what is not of real numbers.
        ValueError: for different numbers of rows, fewer than 32, rows of zeros, α that is not positive;
            as `check_embeddings` does.

    References:
        Liang et al., *Mind the gap*, NeurIPS 2022. Betser, Levi & Gilboa, *Whitened CLIP*, ICML 2025.
    """
    x = check_embeddings(as_floats(first), "the first modality", min_rows=32)
    y = check_embeddings(as_floats(second), "the second modality", min_rows=32)
    if len(x) != len(y):
        raise ValueError(
            f"the first modality has {len(x)} rows and the second {len(y)}: row i of both must be of "
            f"the same sample."
        )
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha is {alpha}: the inverse temperature must be positive and finite.")
    u, v = _directions(x, "first"), _directions(y, "second")
    n, d1, d2 = len(x), x.shape[1], y.shape[1]
    shrinkage = 0.0 if n >= 2 * _ROWS_PER_COORDINATE * (d1 + d2) else "ledoit_wolf"
    own = [_held_out_likelihood([z], shrinkage, seed) for z in (x, y)]
    joint = _held_out_likelihood([x, y], shrinkage, seed)
    reduced = [_leading(z, max(1, n // _ROWS_PER_COMPONENT)) for z in (x, y)]
    found = whitening.mutual_information(*reduced, seed=seed)
    drawn = np.sort(np.random.default_rng(seed).permutation(n)[:_MOST_ROWS])
    rows = {name: np.full(n, np.nan) for name in ("cosine", "rank_first", "rank_second")}
    shared = None
    if d1 == d2:
        shared, *ranks = _shared(u[drawn], v[drawn], alpha)
        rows["cosine"] = np.einsum("ij,ij->i", u, v)
        rows["rank_first"][drawn], rows["rank_second"][drawn] = ranks
    rows |= {"own_first": own[0], "own_second": own[1], "joint": joint}
    return Pair(
        _law(x, u, drawn, alpha, own[0]),
        _law(y, v, drawn, alpha, own[1]),
        shared,
        alpha,
        found.nats,
        found.in_sample,
        (reduced[0].shape[1], reduced[1].shape[1]),
        float(joint.mean()),
        rows,
    )


def format_pair(pair: Pair, names: tuple[str, str] = ("first", "second")) -> str:
    """The comparison as text for a terminal.

    Examples:
        >>> x, y = np.random.default_rng(0).standard_normal((2, 500, 8))
        >>> text = evaluation.pair.format_pair(evaluation.pair.compare(x, y), names=("image", "text"))
        >>> "image" in text.splitlines()[0]
        True
    """
    width = max(34, *(len(name) + 2 for name in names))
    lines = [f"{'':38}" + "".join(f"{name:>{width}}" for name in names)]
    for label, key, form in _LAW_LINES:
        values = (format(getattr(law, key), form) for law in (pair.first, pair.second))
        lines.append(f"{label:38}" + "".join(f"{value:>{width}}" for value in values))
    lines.append("")
    if pair.shared is None:
        lines.append(
            f"no shared space: {pair.first.dim} and {pair.second.dim} coordinates, so no cosines, gap "
            f"or retrieval"
        )
    else:
        lines += _shared_lines(pair.shared, names)
    parts = pair.joint_log_likelihood - pair.first.log_likelihood - pair.second.log_likelihood
    used = (
        ""
        if pair.components == (pair.first.dim, pair.second.dim)
        else (
            f", on {pair.components[0]} and {pair.components[1]} principal components: "
            f"{pair.first.rows} rows are too few for all"
        )
    )
    dims = pair.first.dim + pair.second.dim
    enough = pair.first.rows >= 2 * _ROWS_PER_COORDINATE * dims
    shrunk = "" if enough else ", too small: few rows for each coordinate, covariances shrunk"
    lines += [
        f"joint log-likelihood               {pair.joint_log_likelihood:.4f} nats, held out",
        f"  above the sum of the two         {parts:.4f} nats{shrunk}",
        f"mutual information (CCA)           {pair.information:.4f} nats, held out{used}",
        f"                                   {pair.information_in_sample:.4f} nats, in sample",
    ]
    return "\n".join(lines)


_LAW_LINES = (
    ("rows", "rows", ",d"),
    ("coordinates", "dim", ",d"),
    ("mean norm", "mean_norm", ".4g"),
    ("norm CV", "norm_cv", ".4f"),
    ("  of a Gaussian like it", "norm_cv_gaussian", ".4f"),
    ("participation ratio", "participation_ratio", ".1f"),
    ("AD mean", "ad_mean", ".3f"),
    ("AD pass (calibrated)", "ad_pass", ".1%"),
    ("|mean direction|", "mean_resultant", ".4f"),
    ("uniformity", "uniformity", ".4f"),
    ("log-likelihood (nats, held out)", "log_likelihood", ".4f"),
)


def _shared_lines(shared: Shared, names: tuple[str, str]) -> list[str]:
    def law(of: Cosines) -> str:
        return f"{of.mean:.4f} ± {of.std:.4f}  ({of.low:.3f} | {of.median:.3f} | {of.high:.3f})"

    def recall(of: tuple[float, ...], start: str, end: str) -> str:
        shares = ", ".join(f"{value:.1%} @{k}" for k, value in zip(RECALLS, of, strict=True))
        return f"recall among {shared.gallery:,} rows, {start} to {end}: {shares}"

    return [
        f"gap between the mean directions    {shared.gap:.4f}",
        f"cosine of matched pairs            {law(shared.matched)}",
        f"cosine of unmatched pairs          {law(shared.unmatched)}",
        f"  matched exceeds unmatched        {shared.auroc:.4f} (AUROC)",
        f"alignment, means taken out         {shared.alignment_share:.1%} of the largest possible",
        recall(shared.recall_first, *names),
        recall(shared.recall_second, *names[::-1]),
        f"uniformity across                  {shared.uniformity_across:.4f}",
    ]


def _directions(z: Float[np.ndarray, "n d"], which: str) -> Float[np.ndarray, "n d"]:
    norms = row_norms(z)
    if not norms.all():
        raise ValueError(
            f"row {int(np.argmin(norms))} of the {which} modality is zero and has no direction: drop it "
            f"from both."
        )
    return np.asarray(z, np.float64) / norms[:, None]


def _law(
    z: np.ndarray, u: np.ndarray, drawn: np.ndarray, alpha: float, likelihood: np.ndarray
) -> Law:
    varying = np.asarray(z[drawn], np.float64)
    varying = varying[:, varying.std(axis=0) > 0]
    found = normality.anderson_darling(varying) if varying.size else None
    return Law(
        len(z),
        z.shape[1],
        float(row_norms(z).mean()),
        concentration.norm_cv(z),
        concentration.shell(z, shape.spectrum(z)).expected,
        concentration.participation_ratio(z),
        float(np.nanmean(found.statistic)) if found else math.nan,
        float(np.mean(found.pvalue > 0.05)) if found else math.nan,
        uniformity.mean_resultant(u),
        float(uniformity.row_potentials(u[drawn], alpha).mean()),
        float(likelihood.mean()),
    )


def _held_out_likelihood(
    parts: list[np.ndarray], shrinkage: float | str, seed: int
) -> Float[np.ndarray, " n"]:
    """log p of every row under the Gaussian of the half that it is not in, of `parts` side by side.

    Each part is brought to unit variance first, and the change of scale taken back: shrinkage towards
    a multiple of the identity would otherwise favour the part with the larger numbers.
    """
    scales = [float(np.sqrt(np.mean(np.var(np.asarray(z, np.float64), axis=0)))) for z in parts]
    scales = [scale if scale > 0 else 1.0 for scale in scales]
    z = np.concatenate(
        [np.asarray(part, np.float64) / s for part, s in zip(parts, scales, strict=True)], axis=1
    )
    halves = np.array_split(np.random.default_rng(seed).permutation(len(z)), 2)
    out = np.empty(len(z))
    for seen, unseen in (halves, halves[::-1]):
        model = whitening.fit(z[np.sort(seen)], shrinkage=shrinkage, seed=seed)
        out[unseen] = whitening.log_likelihood(model, z[unseen])
    return out - sum(part.shape[1] * math.log(s) for part, s in zip(parts, scales, strict=True))


def _leading(z: np.ndarray, most: int) -> Float[np.ndarray, "n k"]:
    if z.shape[1] <= most:
        return z
    centred = np.asarray(z, np.float64) - z.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, ::-1][:, :most]


def _shared(
    u: Float[np.ndarray, "n d"], v: Float[np.ndarray, "n d"], alpha: float
) -> tuple[Shared, Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    n = len(u)
    matched = np.einsum("ij,ij->i", u, v)
    first, over_first, histogram, moments, potentials = _over_all_pairs(u, v, matched, alpha)
    second = _over_all_pairs(v, u, matched, alpha)[0]
    count = n * (n - 1)
    mean = moments[0] / count
    std = math.sqrt(max(moments[1] / count - mean**2, 0.0))
    quantiles = _quantiles(histogram, (0.05, 0.5, 0.95))
    mean_u, mean_v = u.mean(axis=0), v.mean(axis=0)
    spread = math.sqrt((1 - mean_u @ mean_u) * (1 - mean_v @ mean_v))
    share = float(matched.mean() - mean_u @ mean_v) / spread if spread > 0 else math.nan
    shared = Shared(
        float(np.linalg.norm(mean_u - mean_v)),
        Cosines(float(matched.mean()), float(matched.std()), *_of(matched)),
        Cosines(mean, std, *quantiles),
        share,
        n,
        1 - over_first / count,
        tuple(float(np.mean(first < k)) for k in RECALLS),
        tuple(float(np.mean(second < k)) for k in RECALLS),
        float(potentials.mean()),
    )
    return shared, first, second


_BINS = 20_000


def _over_all_pairs(u, v, matched, alpha):
    """Ranks of partners, pairs above a matched one, histogram, sums and potentials, in blocks."""
    n = len(u)
    size = max(1, 8 * BLOCK_ENTRIES // n)
    ranks, potentials = np.empty(n), np.empty(n)
    histogram, moments, above = np.zeros(_BINS, np.int64), np.zeros(2), 0.0
    ordered = np.sort(matched)
    for start in range(0, n, size):
        scores = u[start : start + size] @ v.T
        local = np.arange(len(scores))
        own = matched[start + local][:, None]
        # Equal texts have equal cosines: a tie counts half.
        tie = np.abs(scores - own) <= 1e-12
        tie[local, start + local] = False
        higher = (scores > own) & ~tie
        higher[local, start + local] = False
        ranks[start + local] = higher.sum(axis=1) + 0.5 * tie.sum(axis=1)
        others = np.ones(scores.shape, bool)
        others[local, start + local] = False
        values = scores[others]
        moments += values.sum(), np.square(values).sum()
        histogram += np.histogram(values, _BINS, (-1.0000001, 1.0000001))[0]
        below = np.searchsorted(ordered, values, side="left")
        ties = np.searchsorted(ordered, values, side="right") - below
        above += float((below + 0.5 * ties).sum()) / n
        scores *= alpha
        scores[~others] = -np.inf
        peak = scores.max(axis=1)
        total = np.exp(scores - peak[:, None]).sum(axis=1)
        potentials[start + local] = peak + np.log(total / (n - 1))
    return ranks, above, histogram, moments, potentials


def _quantiles(histogram: np.ndarray, levels: tuple[float, ...]) -> tuple[float, ...]:
    edges = np.linspace(-1.0000001, 1.0000001, _BINS + 1)
    cumulative = np.concatenate([[0], np.cumsum(histogram)]) / histogram.sum()
    return tuple(float(np.interp(level, cumulative, edges)) for level in levels)


def _of(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, (0.05, 0.5, 0.95)))
