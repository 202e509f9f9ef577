"""A Gaussian model of embeddings: whitening, likelihood, entropy, mutual information, outliers.

Fitted on some rows and applied to others. On the rows it was fitted to, whitening makes anything look
isotropic once n is near d; `fit_and_judge` therefore fits on one half and judges on the other. Either is
one pass over the rows, which may lie in files larger than memory (`load.open_rows`).
"""

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from infonce_jax.evaluation import covariance as streamed
from infonce_jax.evaluation.arrays import as_floats, check_embeddings, row_blocks
from infonce_jax.evaluation.covariance import Sums
from infonce_jax.evaluation.shrinkage import (
    NEAR_DUPLICATE,
    Options,
    check_options,
    estimate,
    shrunk,
)
from infonce_jax.evaluation.split import Recorder, Split, parts
from infonce_jax.evaluation.stacked import Stacked
from infonce_jax.files import replacing

KINDS = ("pca", "zca")
_FORMAT = "infonce_jax.whitening.1"

Rows = Num[np.ndarray, "n d"] | Stacked
Progress = Callable[[int], None] | None


class Whitening(NamedTuple):
    """N(mean, V diag(variances) Vᵀ), on the span of V's columns.

    Attributes:
        mean: [d].
        components: V [d, k], orthonormal columns, the largest variance first.
        variances: [k], after shrinkage and scale.
        kind: "pca" for whitened coordinates along V, "zca" for those nearest to the originals.
        shrinkage: the weight of the multiple of the identity.
        n: the rows it was fitted on.
        near_duplicates: (i, j, correlation) of coordinates, by falling |correlation|, at most 1,000.
        split: which rows it was fitted on, where `fit_and_judge` fitted it.
    """

    mean: Float[np.ndarray, " d"]
    components: Float[np.ndarray, "d k"]
    variances: Float[np.ndarray, " k"]
    kind: str
    shrinkage: float
    n: int
    near_duplicates: tuple[tuple[int, int, float], ...]
    split: Split | None = None


class Judged(NamedTuple):
    """A whitening fitted on one part of the rows, and how it does on both.

    Attributes:
        whitening: the model.
        held_out: mean Mahalanobis² / rank on the rows it has not seen: 1 for a model that holds.
        in_sample: the same on the rows it was fitted on, below 1 by overfitting: no evidence.
        held_out_log_likelihood: mean log-likelihood of the rows it has not seen, in nats.
        fitted_rows: how many rows it was fitted on.
        held_out_rows: how many it was judged on.
    """

    whitening: Whitening
    held_out: float
    in_sample: float
    held_out_log_likelihood: float
    fitted_rows: int
    held_out_rows: int


def fit(
    x: Rows,
    *,
    kind: str = "pca",
    shrinkage: float | str = "ledoit_wolf",
    floor: float = 1e-7,
    folds: int = 5,
    duplicates: float = NEAR_DUPLICATE,
    seed: int = 0,
    progress: Progress = None,
) -> Whitening:
    """Fits the Gaussian model, in one pass over the rows.

    The covariance is c ((1 − s) S + s μ I), S with ddof = 0 and μ = tr S / d. s is Ledoit & Wolf's
    (2004), which minimises the expected squared error, or a number given. With s > 0, c is the mean
    Mahalanobis² / d of held-out rows over `folds` parts, the value that maximises their likelihood:
    without it the directions of small variance would make new rows look too far once d is near n.
    With s = 0, c = 1. Directions whose variance is below `floor` times the largest are left out, and
    what lies along them is not scored.

    Memory: 2 `folds` + 1 matrices [d, d] in float64 and a block of rows, whatever n is.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4)) * np.array([3.0, 1.0, 1.0, 1.0])
        >>> model = evaluation.whitening.fit(z)
        >>> evaluation.whitening.apply(model, z).std(axis=0).round(1)
        array([1., 1., 1., 1.])

    Args:
        x: embeddings, one per row, at least 8: an array, or rows in files (`load.open_rows`).
        kind: "pca" or "zca".
        shrinkage: "ledoit_wolf", or a number in [0, 1].
        floor: smallest variance kept, relative to the largest, from 0 to 1.
        folds: parts for c, from 2; 0 leaves c = 1.
        duplicates: pairs of coordinates with |correlation| beyond are named.
        seed: of the folds.
        progress: called with the number of rows that are done.

    Returns:
        The model.

    Raises:
        TypeError: for what is not real.
        ValueError: for an unknown kind, numbers out of range, embeddings that are all equal; as
            `check_embeddings` does.

    References:
        Ledoit & Wolf, *A well-conditioned estimator for large-dimensional covariance matrices*, J.
        Multivar. Anal. 88, 2004. Kessy, Lewin & Strimmer, *Optimal whitening and decorrelation*, The
        American Statistician 72, 2018. Betser, Levi & Gilboa, *Whitened CLIP as a likelihood
        surrogate of images and captions*, ICML 2025.
    """
    options = _options(kind, shrinkage, floor, folds, duplicates)
    x = _checked(x, 8)
    count = max(1, 2 * folds)
    unit = streamed.unit_of(x)
    found = streamed.gather(x, parts(len(x), 0, count, seed), count, unit, progress)
    return _in_units(Whitening(kind=kind, **estimate(found, _eps(x), options)._asdict()), unit)


def fit_and_judge(
    x: Rows,
    *,
    held_out: float = 0.5,
    seed: int = 0,
    kind: str = "pca",
    shrinkage: float | str = "ledoit_wolf",
    floor: float = 1e-7,
    folds: int = 5,
    duplicates: float = NEAR_DUPLICATE,
    progress: Progress = None,
) -> Judged:
    """Fits on a random part of the rows, and judges on the others, in one pass over both.

    The model remembers which rows it was fitted on (`split.known`).

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4)) * np.array([3.0, 1.0, 1.0, 1.0])
        >>> bool(abs(evaluation.whitening.fit_and_judge(z).held_out - 1) < 0.1)
        True

    Args:
        x: embeddings, one per row, at least 8 for either part.
        held_out: the share of rows to judge on.
        seed: of the split and the folds.
        kind: as for `fit`, and so are the others.
        shrinkage: as for `fit`.
        floor: as for `fit`.
        folds: as for `fit`.
        duplicates: as for `fit`.
        progress: called with the number of rows that are done.

    Raises:
        TypeError: for what is not real.
        ValueError: for a share that leaves fewer than 8 rows to either part; as `fit` does.
    """
    options = _options(kind, shrinkage, floor, folds, duplicates)
    x = _checked(x, 8)
    n = len(x)
    judged_rows = round(held_out * n) if 0 < held_out < 1 else 0
    if judged_rows < 8 or n - judged_rows < 8:
        raise ValueError(f"held_out is {held_out} of {n} rows: both parts need at least 8 rows.")
    count = max(1, 2 * folds)
    part = parts(n, judged_rows, count, seed)
    recorder = Recorder(part < count, seed)
    unit = streamed.unit_of(x)
    *seen, unseen = streamed.gather(x, part, count + 1, unit, progress, recorder.see)
    found = estimate(seen, _eps(x), options)._asdict()
    whitening = Whitening(kind=kind, split=recorder.split(), **found)
    outside = mean_mahalanobis(whitening, unseen)
    inside = mean_mahalanobis(whitening, streamed.total(seen))
    rank = len(whitening.variances)
    whitening = _in_units(whitening, unit)
    return Judged(
        whitening,
        outside / rank,
        inside / rank,
        -0.5 * (_log_constant(whitening) + outside),
        n - judged_rows,
        judged_rows,
    )


def mean_mahalanobis(whitening: Whitening, rows: Sums) -> float:
    """The mean squared Mahalanobis distance of rows whose sums are known."""
    off = rows.mean - whitening.mean
    matrix = whitening.components / np.sqrt(whitening.variances)
    within = float(np.einsum("ij,ij->", matrix, rows.covariance @ matrix))
    return within + float(np.square(off @ matrix).sum())


def apply(whitening: Whitening, x: Rows) -> Float[np.ndarray, "n k"]:
    """The whitened rows: (x − mean) V diag(variances)^(−1/2), for "zca" times Vᵀ.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4)) + 5
        >>> model = evaluation.whitening.fit(z)
        >>> evaluation.whitening.apply(model, z).mean(axis=0).round(3) + 0
        array([0., 0., 0., 0.])

    Args:
        whitening: from `fit`.
        x: embeddings of the same dimension, one per row.

    Returns:
        [n, k] along the principal axes, or [n, d] for "zca"; float64.

    Raises:
        TypeError: for what is not real.
        ValueError: for another dimension; as `check_embeddings` does.
    """
    zca = whitening.kind == "zca"
    out = np.empty((len(x), len(whitening.mean) if zca else len(whitening.variances)))
    for rows, block in whitened_blocks(whitening, x):
        out[rows] = block
    return out


def whitened_blocks(
    whitening: Whitening, x: Rows
) -> Iterator[tuple[slice, Float[np.ndarray, "m k"]]]:
    """`apply`, a few rows at a time: yields (rows, whitened rows).

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4))
        >>> model = evaluation.whitening.fit(z)
        >>> sum(len(block) for _, block in evaluation.whitening.whitened_blocks(model, z))
        2000
    """
    matrix = whitening.components / np.sqrt(whitening.variances)
    if whitening.kind == "zca":
        matrix = matrix @ whitening.components.T
    for rows, block in _blocks(whitening, x):
        yield rows, (block - whitening.mean) @ matrix


def mahalanobis(
    whitening: Whitening, x: Rows, progress: Progress = None
) -> Float[np.ndarray, " n"]:
    """The squared Mahalanobis distance of each row to the mean; χ² with k degrees if the model holds.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4))
        >>> model = evaluation.whitening.fit(z)
        >>> round(float(evaluation.whitening.mahalanobis(model, z).mean()), 1)
        4.0

    Args:
        whitening: from `fit`.
        x: embeddings of the same dimension, one per row.
        progress: called with the number of rows that are done.

    Raises:
        TypeError: for what is not real.
        ValueError: for another dimension; as `check_embeddings` does.
    """
    matrix = whitening.components / np.sqrt(whitening.variances)
    out = np.empty(len(x))
    for rows, block in _blocks(whitening, x):
        white = (block - whitening.mean) @ matrix
        out[rows] = np.einsum("ij,ij->i", white, white)
        if progress is not None:
            progress(rows.stop)
    return out


def log_likelihood(whitening: Whitening, x: Rows) -> Float[np.ndarray, " n"]:
    """log p(x) = −½ (k log 2π + Σ log variances + Mahalanobis²), in nats.

    With all d directions kept it is the density of x; with k < d, that of its projection on the
    directions kept.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4))
        >>> model = evaluation.whitening.fit(z)
        >>> rows = np.array([[0.0] * 4, [9.0] * 4])
        >>> typical, unusual = evaluation.whitening.log_likelihood(model, rows)
        >>> bool(typical > unusual)
        True

    Args:
        whitening: from `fit`.
        x: embeddings of the same dimension, one per row.

    Raises:
        TypeError: for what is not real.
        ValueError: for another dimension; as `check_embeddings` does.
    """
    return log_likelihood_of(whitening, mahalanobis(whitening, x))


def log_likelihood_of(
    whitening: Whitening, distance: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """`log_likelihood` of rows whose squared Mahalanobis distance is known.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4))
        >>> model = evaluation.whitening.fit(z)
        >>> distance = evaluation.whitening.mahalanobis(model, z)
        >>> found = evaluation.whitening.log_likelihood_of(model, distance)
        >>> bool(np.allclose(found, evaluation.whitening.log_likelihood(model, z)))
        True
    """
    return -0.5 * (_log_constant(whitening) + distance)


def entropy(whitening: Whitening) -> float:
    """The model's differential entropy ½ (k log 2πe + Σ log variances), in nats.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((5000, 4))
        >>> model = evaluation.whitening.fit(z)
        >>> round(evaluation.whitening.entropy(model), 1), round(float(2 * np.log(2 * np.pi * np.e)), 1)
        (5.7, 5.7)

    Args:
        whitening: from `fit`.
    """
    k = len(whitening.variances)
    return float(0.5 * (k * np.log(2 * np.pi * np.e) + np.log(whitening.variances).sum()))


def auroc(inside: Num[np.ndarray, " n"], outside: Num[np.ndarray, " m"]) -> float:
    """The probability that a score from `outside` exceeds one from `inside`, ties counting half.

    Examples:
        >>> evaluation.whitening.auroc(np.array([1.0, 2.0]), np.array([1.5, 4.0]))
        0.75

    Args:
        inside: scores of embeddings like those fitted on, such as their `mahalanobis`.
        outside: scores of others.

    Raises:
        ValueError: where either is empty or holds NaN.
    """
    inside, outside = np.ravel(inside), np.ravel(outside)
    if not len(inside) or not len(outside) or np.isnan(inside).any() or np.isnan(outside).any():
        raise ValueError(
            f"auroc needs numbers on both sides; given {len(inside)} and {len(outside)}, of which "
            f"{int(np.isnan(inside).sum() + np.isnan(outside).sum())} are NaN."
        )
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left")
    ties = np.searchsorted(ordered, outside, side="right") - below
    return float((below + 0.5 * ties).mean() / len(inside))


class MutualInformation(NamedTuple):
    """Gaussian mutual information between two views, in nats.

    Attributes:
        nats: −½ Σ log(1 − ρ²) with the canonical correlations ρ found on one half and measured on the
            other; those that come out negative there count 0.
        in_sample: the same with ρ as found, on all rows; too large once d is some tenth of n, by
            about d₁ d₂ / (2n).
        correlations: the held-out ρ, in the order of the fitted ones.
    """

    nats: float
    in_sample: float
    correlations: Float[np.ndarray, " k"]


def mutual_information(
    view1: Num[np.ndarray, "n d1"], view2: Num[np.ndarray, "n d2"], *, seed: int = 0
) -> MutualInformation:
    """The mutual information of two views, were they jointly Gaussian: canonical correlations.

    For jointly Gaussian views I = −½ Σ log(1 − ρₖ²) exactly; for others with Gaussian margins it is a
    lower bound.

    Examples:
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 5000, 1))
        >>> found = evaluation.whitening.mutual_information(x, 0.8 * x + 0.6 * noise)
        >>> round(float(found[0]), 1), round(float(-0.5 * np.log(1 - 0.8**2)), 1)
        (0.5, 0.5)

    Args:
        view1: one view of each of n samples.
        view2: the other, in the same order.
        seed: of the split.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for different numbers of rows, or no more than 2 (d₁ + d₂) of them; as
            `check_embeddings` does.
    """
    view1 = check_embeddings(as_floats(view1), "view1")
    view2 = check_embeddings(as_floats(view2), "view2")
    n, width = len(view1), view1.shape[1] + view2.shape[1]
    if n != len(view2):
        raise ValueError(
            f"view1 has {n} rows and view2 {len(view2)}: row i of both must be of the same sample."
        )
    if n <= 2 * width:
        raise ValueError(
            f"{n} rows of {view1.shape[1]} + {view2.shape[1]} coordinates: each half needs more rows "
            f"than both views have coordinates together, {2 * width} in all. Reduce the dimension, "
            f"for instance to the leading principal components."
        )
    order = np.random.default_rng(seed).permutation(n)
    first, second = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    a, b, _ = _canonical(view1[first], view2[first])
    u, v = (np.asarray(x[second], dtype=np.float64) @ w for x, w in ((view1, a), (view2, b)))
    u, v = u - u.mean(axis=0), v - v.mean(axis=0)
    rho = np.einsum("ij,ij->j", u, v) / np.sqrt((u * u).sum(axis=0) * (v * v).sum(axis=0))
    in_sample = _canonical(view1, view2)[2]
    return MutualInformation(_gaussian_nats(np.maximum(rho, 0.0)), _gaussian_nats(in_sample), rho)


def save(whitening: Whitening, path: Path | str) -> None:
    """Writes the model to one .npz file, whole or not at all.

    Examples:
        >>> import os, tempfile
        >>> model = evaluation.whitening.fit(np.random.default_rng(0).standard_normal((500, 4)))
        >>> file = os.path.join(tempfile.mkdtemp(), "model.npz")
        >>> evaluation.whitening.save(model, file)
        >>> evaluation.whitening.load(file).kind
        'pca'

    Args:
        whitening: from `fit`.
        path: the file, its name as given.
    """
    path = Path(path)
    facts = {
        "format": _FORMAT,
        "kind": whitening.kind,
        "shrinkage": whitening.shrinkage,
        "n": whitening.n,
        "near_duplicates": whitening.near_duplicates,
    }
    arrays = {name: getattr(whitening, name) for name in ("mean", "components", "variances")}
    if whitening.split is not None:
        facts["split"] = whitening.split._replace(marks=None)._asdict()
        arrays["marks"] = whitening.split.marks
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch, open(scratch, "wb") as stream:
        np.savez(stream, facts=np.array(json.dumps(facts)), **arrays)


def load(path: Path | str) -> Whitening:
    """Reads a model that `save` wrote.

    Examples:
        >>> import os, tempfile
        >>> model = evaluation.whitening.fit(np.random.default_rng(0).standard_normal((500, 4)))
        >>> file = os.path.join(tempfile.mkdtemp(), "model.npz")
        >>> evaluation.whitening.save(model, file)
        >>> bool((evaluation.whitening.load(file).mean == model.mean).all())
        True

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a file that is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Make one with `infonce-jax whiten`.")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no .npz file")
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            if facts["format"] != _FORMAT:
                raise ValueError(f"format {facts['format']!r}")
            arrays = [stored[name] for name in ("mean", "components", "variances")]
            split = None
            if "split" in facts:
                split = Split(**facts["split"])._replace(marks=stored["marks"])
    except (KeyError, OSError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a whitening, or it is damaged ({error}). Make it again with "
            f"`infonce-jax whiten`."
        ) from None
    named = tuple((int(i), int(j), float(r)) for i, j, r in facts["near_duplicates"])
    return Whitening(*arrays, facts["kind"], facts["shrinkage"], facts["n"], named, split)


def _log_constant(whitening: Whitening) -> float:
    k = len(whitening.variances)
    return float(k * np.log(2 * np.pi) + np.log(whitening.variances).sum())


def _in_units(whitening: Whitening, unit: float) -> Whitening:
    variances = whitening.variances * unit**2
    return whitening._replace(mean=whitening.mean * unit, variances=variances)


def _options(
    kind: str, shrinkage: float | str, floor: float, folds: int, duplicates: float
) -> Options:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; choose from {', '.join(KINDS)}.")
    options = Options(shrinkage, floor, folds, duplicates)
    check_options(options)
    return options


def _checked(x: Rows, least: int) -> Rows:
    if not isinstance(x, Stacked):
        return check_embeddings(as_floats(x) if isinstance(x, np.ndarray) else x, min_rows=least)
    if len(x) < least:
        raise ValueError(f"{x.name} has {len(x)} rows; at least {least} are needed: give more.")
    return x


def _eps(x: Rows) -> float:
    return float(np.finfo(np.float64 if x.dtype == np.float64 else np.float32).eps)


def _canonical(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    roots = []
    for view in (x, y):
        one = streamed.gather(view, np.zeros(len(view), dtype=np.int8), 1)[0]
        variances, components = shrunk(one.covariance, 0.0, 1e-12)
        roots.append((one.mean, components / np.sqrt(variances)))
    (mean_x, white_x), (mean_y, white_y) = roots
    cross = (x - mean_x).T @ (y - mean_y) / len(x)
    left, rho, right = np.linalg.svd(white_x.T @ cross @ white_y, full_matrices=False)
    return white_x @ left, white_y @ right.T, np.minimum(rho, 1.0)


def _gaussian_nats(rho: Sequence[float] | np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(-0.5 * np.sum(np.log1p(-np.minimum(np.square(rho), 1.0))))


def _blocks(whitening: Whitening, x: Rows) -> Iterator[tuple[slice, Float[np.ndarray, "m d"]]]:
    x = _checked(x, 1)
    if x.shape[1] != len(whitening.mean):
        raise ValueError(
            f"x has {x.shape[1]} coordinates and the whitening was fitted on "
            f"{len(whitening.mean)}: score embeddings of the same encoder."
        )
    for rows, block in row_blocks(x):
        streamed.check_block(block, rows.start, getattr(x, "name", "x"))
        yield rows, block
