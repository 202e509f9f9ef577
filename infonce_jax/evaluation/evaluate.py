"""From embeddings to tidy rows: every statistic, at a grid of sample sizes, for every seed.

To add a statistic, write a function `Sample -> {name: value}` and add one line to `STATISTICS`.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from infonce_jax.evaluation import concentration, normality, uniformity
from infonce_jax.evaluation.arrays import MIN_ROWS, check_embeddings, directions
from infonce_jax.evaluation.load import Embeddings, open_embeddings

SAMPLE_SIZES = (250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, "all")
REPRESENTATIONS = ("raw", "normalized")
_IDENTITY = ("source", "run", "step", "epoch", "member", "seed", "hyperparameters", "split")
COLUMNS = (*_IDENTITY, "representation", "n", "dim", "statistic", "value")
_GROUP = tuple(c for c in COLUMNS if c not in ("member", "seed", "value"))
SUMMARY_COLUMNS = (*_GROUP, "mean", "standard_error", "count")

Row = dict[str, Any]


class Sample(NamedTuple):
    """What a statistic sees: some rows of one representation, and views of the same samples."""

    z: Float[np.ndarray, "n d"]
    view1: Float[np.ndarray, "n d"] | None = None
    view2: Float[np.ndarray, "n d"] | None = None


class Statistic(NamedTuple):
    """A line of the registry.

    Attributes:
        compute: maps a sample to one or more named values; {} where it does not apply.
        representations: those it is computed for.
        of_directions: whether it depends on z/‖z‖ only, so that one value holds for every
            representation; it is then given the raw sample.
    """

    compute: Callable[[Sample], dict[str, float]]
    representations: tuple[str, ...] = REPRESENTATIONS
    of_directions: bool = False


def _norms(sample: Sample) -> dict[str, float]:
    ratio = concentration.participation_ratio(sample.z)
    return {
        "norm_cv": concentration.norm_cv(sample.z),
        "norm_cv_gaussian": concentration.norm_cv_gaussian(ratio),
        "participation_ratio": ratio,
    }


def _spectrum(sample: Sample) -> dict[str, float]:
    return {"participation_ratio": concentration.participation_ratio(sample.z)}


def _anderson_darling(sample: Sample) -> dict[str, float]:
    statistic = normality.anderson_darling(sample.z).statistic
    tested = statistic[~np.isnan(statistic)]
    modified = normality.stephens_modified(tested, len(sample.z))
    return {
        "ad_mean": _mean(tested),
        "ad_pass": _mean(modified < normality.AD_CRITICAL_5_PERCENT),
        "constant_coordinates": len(statistic) - len(tested),
    }


def _dagostino_pearson(sample: Sample) -> dict[str, float]:
    pvalue = normality.dagostino_pearson(sample.z).pvalue
    tested = pvalue[~np.isnan(pvalue)]
    return {"dp_mean_p": _mean(tested), "dp_pass": _mean(tested > 0.05)}


def _alignment(sample: Sample) -> dict[str, float]:
    if sample.view1 is None or sample.view2 is None:
        return {}
    return {"alignment": uniformity.alignment(sample.view1, sample.view2)}


def _uniformity(sample: Sample) -> dict[str, float]:
    cosines = uniformity.negative_cosines(sample.z)
    return {
        "negative_cosine_mean": cosines.mean,
        "negative_cosine_std": cosines.std,
        "mean_resultant": uniformity.mean_resultant(sample.z),
        "zero_rows": uniformity.zero_rows(sample.z),
    }


STATISTICS = (
    Statistic(_norms, representations=("raw",)),
    Statistic(_spectrum, representations=("normalized",)),
    Statistic(_anderson_darling),
    Statistic(_dagostino_pearson),
    Statistic(_alignment, of_directions=True),
    Statistic(_uniformity, of_directions=True),
)

# What independent coordinates of an exact Gaussian score, for reading the others by.
GAUSSIAN = {
    "ad_mean": normality.AD_GAUSSIAN_MEAN,
    "ad_pass": 0.95,
    "dp_mean_p": 0.5,
    "dp_pass": 0.95,
}


def evaluate_arrays(
    z: Float[np.ndarray, "n d"],
    view1: Float[np.ndarray, "n d"] | None = None,
    view2: Float[np.ndarray, "n d"] | None = None,
    *,
    sample_sizes: Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: Sequence[str] = REPRESENTATIONS,
    name: str = "z",
    identity: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Every statistic of one embedding matrix, at each sample size, as tidy rows.

    The samples are prefixes of one random order of the rows, so they are nested and a file sorted
    by class misleads nobody. Rows of zeros have no direction; the normalised representation leaves
    them out, and `zero_rows` counts them. Constant coordinates are left out of the tests, and
    `constant_coordinates` counts them.

    Args:
        z: embeddings, one per row, at least 8 of them.
        view1: one view of the same samples, for `alignment`; both or neither.
        view2: another view of the same samples.
        sample_sizes: numbers of rows to evaluate at, each at least 8, and "all"; those beyond n are
            passed over.
        seed: of the random order.
        representations: "raw" (z as it is), "normalized" (z/‖z‖), or both.
        name: what errors call the array.
        identity: values for the columns that say where it comes from, such as source and seed.

    Returns:
        One dict per statistic, representation and sample size, with the keys of `COLUMNS`.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for NaN or Inf (their number and first position), shapes that do not fit, fewer
            than 8 rows (or 8 that are not zero, to normalise), an unknown representation, no
            sample size that fits.
    """
    unknown = [r for r in representations if r not in REPRESENTATIONS]
    if unknown or not representations:
        raise ValueError(
            f"unknown representation {', '.join(map(repr, unknown)) or '(none given)'}; "
            f"choose from {', '.join(REPRESENTATIONS)}."
        )
    full = _check_sample(Sample(z, view1, view2), name)
    n, dim = full.z.shape
    origin = dict.fromkeys(_IDENTITY) | {"source": name} | dict(identity or {})
    order = np.random.default_rng(seed).permutation(n)
    rows = []
    for size in _sizes_within(n, sample_sizes, name):
        raw = full if size == n else _take(full, np.sort(order[:size]))
        samples = {"raw": raw}
        if "normalized" in representations:
            samples["normalized"] = Sample(_normalized(raw.z, name))
        values: dict[str, dict[str, float]] = {r: {} for r in representations}
        for statistic in STATISTICS:
            wanted = [r for r in representations if r in statistic.representations]
            shared = statistic.compute(raw) if statistic.of_directions else None
            for r in wanted:
                values[r] |= statistic.compute(samples[r]) if shared is None else shared
        for representation, found in values.items():
            here = origin | {"representation": representation, "n": size, "dim": dim}
            rows += [here | {"statistic": k, "value": float(v)} for k, v in found.items()]
    return rows


def evaluate_paths(
    paths: Iterable[Path | str],
    *,
    sample_sizes: Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: Sequence[str] = REPRESENTATIONS,
    pair: Path | str | None = None,
) -> list[Row]:
    """Evaluates files, embedding folders and runs; see `evaluate_arrays` and `open_embeddings`.

    Args:
        paths: what to evaluate; a run folder stands for all its steps.
        sample_sizes: as for `evaluate_arrays`.
        seed: as for `evaluate_arrays`; the same for all, so that equal row numbers are compared.
        representations: as for `evaluate_arrays`.
        pair: a file with a second view of the samples in `paths`, which is then a single file; its
            alignment is that between the two.

    Returns:
        The rows of all, in the order given.

    Raises:
        FileNotFoundError: for a path where there is nothing to evaluate.
        ValueError: for the same embeddings given twice, a pair that fits no single file, and
            whatever `evaluate_arrays` or `open_embeddings` finds wrong.
    """
    seen: set[tuple[Any, ...]] = set()
    paths = list(paths)
    second = None if pair is None else _second_view(pair)
    if second is not None and (len(paths) != 1 or Path(paths[0]).is_dir()):
        raise ValueError(
            f"--pair {pair} is a second view of one file, but {len(paths)} paths were given "
            f"({', '.join(map(str, paths))}): evaluate one file at a time with it. Embedding "
            f"folders bring views of their own."
        )
    sets = []
    for path in paths:
        for found in open_embeddings(path):
            who = found.identity
            here = (str(Path(who["source"]).resolve()), who.get("member"), who.get("split"))
            if here in seen:
                raise ValueError(
                    f"{found.name} was given twice; its rows would count as another seed's. Name "
                    f"each file, step or run once."
                )
            seen.add(here)
            if second is not None:
                found = found._replace(view1=found.z, view2=second)
            sets.append(found)

    def evaluate_set(found: Embeddings) -> list[Row]:
        return evaluate_arrays(
            found.z,
            found.view1,
            found.view2,
            sample_sizes=sample_sizes,
            seed=seed,
            representations=representations,
            name=found.name,
            identity=found.identity,
        )

    if len(sets) == 1:
        return evaluate_set(sets[0])
    # Sorting and special functions release the interpreter lock, so one thread for each set keeps
    # the cores busy; BLAS starting threads of its own in each would keep them waiting.
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        return [row for rows in pool.map(evaluate_set, sets) for row in rows]


def summarise(rows: Iterable[Row]) -> list[Row]:
    """Mean and standard error over seeds, for every other combination of the rows' columns.

    Args:
        rows: as `evaluate_paths` returns them.

    Returns:
        One dict per group with the keys of `SUMMARY_COLUMNS`: the mean over the seeds, its standard
        error (with ddof = 1; None for a single seed), and how many there were. A seed whose value
        is NaN, having nothing to test, is not among them.
    """
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[c] for c in _GROUP), []).append(row["value"])
    return [dict(zip(_GROUP, key, strict=True)) | _moments(v) for key, v in groups.items()]


def write(
    rows: Sequence[Row], output_dir: Path | str, meta: Mapping[str, Any] | None = None
) -> list[Path]:
    """Writes evaluation.csv, evaluation_summary.csv and evaluation.json, each whole or not at all.

    All three are complete under temporary names before any takes its place. NaN is `nan` in CSV and
    null in JSON; what does not apply is empty in CSV and null in JSON.

    Args:
        rows: as `evaluate_paths` returns them.
        output_dir: the folder to write to; it is made if need be.
        meta: how they came about, stored under "meta" in evaluation.json.

    Returns:
        The three paths.

    Raises:
        OSError: where the folder cannot be written.
    """
    output_dir = Path(output_dir)
    summary = summarise(rows)
    document = {"meta": dict(meta or {}), "rows": list(rows), "summary": summary}
    texts = {
        "evaluation.csv": _csv(COLUMNS, rows),
        "evaluation_summary.csv": _csv(SUMMARY_COLUMNS, summary),
        "evaluation.json": json.dumps(_without_nan(document), indent=1, allow_nan=False) + "\n",
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    scratch = {name: output_dir / f".{name}.{os.getpid()}" for name in texts}
    try:
        for name, text in texts.items():
            with open(scratch[name], "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        for name, file in scratch.items():
            os.replace(file, output_dir / name)
    finally:
        for file in scratch.values():
            file.unlink(missing_ok=True)
    return [output_dir / name for name in texts]


def _check_sample(sample: Sample, name: str) -> Sample:
    z = check_embeddings(sample.z, name)
    if (sample.view1 is None) != (sample.view2 is None):
        raise ValueError(
            f"{name} has one view only; alignment is between two: give view1 and view2, or neither."
        )
    if sample.view1 is None:
        return Sample(z)
    view1 = check_embeddings(sample.view1, f"view1 of {name}")
    view2 = check_embeddings(sample.view2, f"view2 of {name}")
    if not (len(z) == len(view1) == len(view2)) or view1.shape != view2.shape:
        raise ValueError(
            f"{name} has shape {z.shape}, its views {view1.shape} and {view2.shape}: row i of each "
            f"must belong to the same sample, and both views must have as many coordinates."
        )
    return Sample(z, view1, view2)


def _sizes_within(n: int, sample_sizes: Sequence[int | str], name: str) -> list[int]:
    sizes = [n if size == "all" else size for size in sample_sizes]
    wrong = [s for s in sizes if not isinstance(s, int | np.integer) or s < MIN_ROWS]
    if wrong:
        raise ValueError(
            f"sample size {wrong[0]!r} cannot be used: give whole numbers of at least {MIN_ROWS} "
            f'rows, or "all".'
        )
    within = sorted({int(size) for size in sizes if size <= n})
    if not within:
        raise ValueError(
            f"{name} has {n} rows, fewer than every sample size asked for "
            f'({", ".join(map(str, sample_sizes))}): add a smaller one, or "all".'
        )
    return within


def _take(sample: Sample, rows: np.ndarray) -> Sample:
    return Sample(*(None if x is None else np.asarray(x[rows]) for x in sample))


def _normalized(z: Float[np.ndarray, "n d"], name: str) -> Float[np.ndarray, "m d"]:
    u = directions(z)
    if len(u) < MIN_ROWS:
        raise ValueError(
            f"{name} has {len(u)} rows that are not all zeros in a sample of {len(z)}; rows of "
            f"zeros have no direction, and at least {MIN_ROWS} others are needed to test the "
            f"normalised representation. Drop the rows of zeros, or evaluate raw only."
        )
    return u


def _second_view(path: Path | str) -> np.ndarray:
    found = list(open_embeddings(path))
    if len(found) != 1:
        raise ValueError(
            f"--pair {path} holds {len(found)} embedding arrays "
            f"({', '.join(f.name for f in found)}): choose one with path::key."
        )
    return found[0].z


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _moments(values: list[float]) -> dict[str, Any]:
    known = np.array([v for v in values if not math.isnan(v)])
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else None
    return {"mean": _mean(known), "standard_error": error, "count": len(known)}


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
