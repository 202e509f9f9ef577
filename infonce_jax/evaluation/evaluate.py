"""From embeddings to tidy rows: every statistic, at a grid of sample sizes, for every seed.

To add a statistic, write a function `Sample -> {name: value}` and add one line to `STATISTICS`.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from infonce_jax.evaluation import (
    aggregate,
    controls,
    multivariate,
    normality,
    shape,
    sphere,
    uniformity,
)
from infonce_jax.evaluation.arrays import (
    MIN_ROWS,
    check_embeddings,
    directions,
    gram,
    row_blocks,
    row_norms,
)
from infonce_jax.evaluation.duplicates import duplicate_coordinates
from infonce_jax.evaluation.load import Embeddings, open_embeddings, untrained

SAMPLE_SIZES = (250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, "all")
REPRESENTATIONS = {
    "raw": "z as it is",
    "normalized": "z/|z|",
    "spherical": "z/|z|, each coordinate mapped so that the exact law of a uniform direction's "
    "coordinate becomes the normal one",
    "principal": "z along its principal axes, the largest variance first",
    "projected": "z along as many random directions as it has coordinates",
}
DEFAULT_REPRESENTATIONS = ("raw", "normalized")
_IDENTITY = ("source", "run", "step", "epoch", "member", "seed", "hyperparameters", "split")
COLUMNS = (*_IDENTITY, "representation", "n", "dim", "statistic", "value")
_GROUP = tuple(c for c in COLUMNS if c not in ("member", "seed", "value"))
SUMMARY_COLUMNS = (*_GROUP, "mean", "standard_error", "count")

Row = dict[str, Any]


class Sample(NamedTuple):
    """What a statistic sees: some rows of one representation, and what belongs to the same samples.

    Attributes:
        z: the embeddings.
        view1: one view of the same samples, or None.
        view2: another, or None.
        labels: the class of each, or None.
        tests: the univariate tests asked for.
        known: mean and standard deviation of each coordinate of the embeddings, or None.
    """

    z: Float[np.ndarray, "n d"]
    view1: Float[np.ndarray, "n d"] | None = None
    view2: Float[np.ndarray, "n d"] | None = None
    labels: np.ndarray | None = None
    tests: tuple[str, ...] = tuple(normality.TESTS)
    known: tuple[np.ndarray, np.ndarray] | None = None


class Statistic(NamedTuple):
    """A line of the registry.

    Attributes:
        compute: maps a sample to one or more named values; {} where it does not apply.
        representations: those it is computed for.
        of_raw: whether it is given the raw sample, and its value told with every representation:
            what depends on z/‖z‖ only, or on the sample whatever its representation.
        deep: whether it is computed at the largest sample size only, and on request.
    """

    compute: Callable[[Sample], dict[str, float]]
    representations: tuple[str, ...] = DEFAULT_REPRESENTATIONS
    of_raw: bool = False
    deep: bool = False


def _coordinates(sample: Sample) -> dict[str, float]:
    """The univariate tests and the effect sizes, from the same pass over the sorted coordinates."""
    n = len(sample.z)
    names = tuple(dict.fromkeys((*sample.tests, *shape.STATISTICS)))
    statistics = normality.statistics(sample.z, names)
    found: dict[str, float] = {}
    for test, (statistic, pvalue) in normality.results(statistics, sample.tests, n).items():
        known = ~np.isnan(statistic)
        statistic, pvalue = statistic[known], pvalue[known]
        found[f"{test}_mean"] = _mean(statistic)
        if test == "ad":
            modified = normality.stephens_modified(statistic, n)
            found["ad_pass"] = _mean(modified < normality.AD_CRITICAL_5_PERCENT)
        if test == "dp":
            asymptotic = np.exp(-0.5 * statistic)
            found["dp_mean_p"] = _mean(asymptotic)
            found["dp_pass"] = _mean(asymptotic > 0.05)
        found |= _over_coordinates(test, pvalue)
    found["constant_coordinates"] = int(np.sum(np.isnan(statistics["skewness"])))
    return found | shape.effect_sizes(sample.z, statistics)


def _over_coordinates(name: str, pvalue: Float[np.ndarray, " d"]) -> dict[str, float]:
    return {
        f"{name}_calibrated_mean_p": _mean(pvalue),
        f"{name}_calibrated_pass": _mean(pvalue > 0.05),
        f"{name}_bh_rejected": _mean(aggregate.benjamini_hochberg(pvalue) <= 0.05),
        f"{name}_by_rejected": _mean(aggregate.benjamini_yekutieli(pvalue) <= 0.05),
    }


def _known(sample: Sample) -> dict[str, float]:
    """The tests of which the known mean and standard deviation are part of the null."""
    if sample.known is None:
        return {}
    tests = [test for test in sample.tests if test not in normality.INVARIANT_TESTS]
    statistics = normality.statistics(sample.z, tests, sample.known)
    found: dict[str, float] = {}
    for test, (statistic, pvalue) in normality.results(
        statistics, tests, len(sample.z), estimated=False
    ).items():
        found[f"{test}_known_mean"] = _mean(statistic)
        found |= _over_coordinates(f"{test}_known", pvalue)
    return found


def _duplicates(sample: Sample) -> dict[str, float]:
    groups = duplicate_coordinates(sample.z)
    return {"duplicate_coordinates": sum(len(group) - 1 for group in groups)}


def _coordinates_of_directions(sample: Sample) -> dict[str, float]:
    # All norms are 1 there.
    return {k: v for k, v in _coordinates(sample).items() if not k.startswith("norm_cv")}


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


def _classes(sample: Sample) -> dict[str, float]:
    if sample.labels is None:
        return {}
    return shape.class_conditional(sample.z, sample.labels)


def _intervals(sample: Sample) -> dict[str, float]:
    if len(sample.z) < 2 * MIN_ROWS:
        return {}
    # Fewer draws where each is dear.
    draws = 100 if sample.z.shape[1] <= 512 else 25
    found = shape.intervals(sample.z, draws=draws, rows=1000)
    ends = {f"{name}_low": interval.low for name, interval in found.items()}
    return ends | {f"{name}_high": interval.high for name, interval in found.items()}


def _global(sample: Sample) -> dict[str, float]:
    found = aggregate.global_test(sample.z, draws=99)
    return {
        "global_mean_p": found.mean_pvalue,
        "global_smallest_p": found.smallest_pvalue,
        "global_pass": found.pass_rate,
        "global_pass_gaussian": found.pass_rate_gaussian,
        "global_pass_gaussian_std": found.pass_rate_std,
        "global_rows": found.n,
    }


def _multivariate(sample: Sample) -> dict[str, float]:
    n, d = sample.z.shape
    rows = min(n, max(1000, 4 * d))
    if d > DEEP_DIMENSIONS:
        return {"multivariate_left_out_dimensions": DEEP_DIMENSIONS}
    if rows <= 2 * d:
        return {"multivariate_left_out_rows": 2 * d + 1}
    try:
        if np.isnan(normality.moments(sample.z)[0]).any():
            raise ValueError("constant coordinates")
        found = multivariate.multivariate(sample.z, draws=99, rows=rows)
    except ValueError:  # a covariance without full rank has no whitened sample to test
        return {"multivariate_left_out_rank": len(_principal_axes(sample.z)[1])}
    values = {f"{test}_statistic": result.statistic for test, result in found.items()}
    values |= {f"{test}_p": result.pvalue for test, result in found.items()}
    return values | {"multivariate_rows": rows}


def _sphere(sample: Sample) -> dict[str, float]:
    if sample.z.shape[1] < 2 or np.sum(row_norms(sample.z) > 0) < 2 * MIN_ROWS:
        return {}
    found = sphere.sphere(sample.z, draws=99, rows=1000)
    found["cosine_law"] = sphere.cosine_law(sample.z)
    values = {f"{test}_statistic": result.statistic for test, result in found.items()}
    values |= {f"{test}_p": result.pvalue for test, result in found.items()}
    values |= {
        f"{test}_uniform": result.uniform
        for test, result in found.items()
        if not math.isnan(result.uniform)
    }
    return values | {"sphere_rows": min(1000, len(sample.z))}


STATISTICS = (
    Statistic(_coordinates, representations=("raw", "principal", "projected")),
    Statistic(_coordinates_of_directions, representations=("normalized", "spherical")),
    Statistic(_known, representations=("raw",)),
    Statistic(_duplicates, of_raw=True),
    Statistic(_alignment, of_raw=True),
    Statistic(_uniformity, of_raw=True),
    Statistic(_classes, representations=("raw",)),
    Statistic(_intervals, representations=("raw",), deep=True),
    Statistic(_global, deep=True),
    Statistic(_multivariate, representations=("raw", "principal"), deep=True),
    Statistic(_sphere, of_raw=True, deep=True),
)
# Beyond this dimension the pairwise multivariate tests are left out: each of their draws would take
# seconds.
DEEP_DIMENSIONS = 512

# What independent coordinates of an exact Gaussian score, for reading the others by.
GAUSSIAN = {
    "ad_mean": normality.AD_GAUSSIAN_MEAN,
    "ad_pass": 0.95,
    "dp_mean_p": 0.5,
    "dp_pass": 0.95,
}
for _test in normality.TESTS:
    _kinds = (_test,) if _test in normality.INVARIANT_TESTS else (_test, f"{_test}_known")
    GAUSSIAN |= {f"{_kind}_calibrated_mean_p": 0.5 for _kind in _kinds}
    GAUSSIAN |= {f"{_kind}_calibrated_pass": 0.95 for _kind in _kinds}


def evaluate_arrays(
    z: Float[np.ndarray, "n d"],
    view1: Float[np.ndarray, "n d"] | None = None,
    view2: Float[np.ndarray, "n d"] | None = None,
    *,
    sample_sizes: Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: Sequence[str] = DEFAULT_REPRESENTATIONS,
    tests: Sequence[str] = tuple(normality.TESTS),
    labels: Sequence | np.ndarray | None = None,
    mean: normality.Parameter | None = None,
    std: normality.Parameter | None = None,
    deep: bool = False,
    name: str = "z",
    identity: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Every statistic of one embedding matrix, at each sample size, as tidy rows.

    `ad_pass`, `dp_mean_p` and `dp_pass` are the paper's criteria with their asymptotic p-values; what
    has "calibrated" in its name rests on the law at that very n, and so do the shares of coordinates
    rejected at a false discovery rate of 5 % (`…_bh_rejected`, `…_by_rejected`).

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
        representations: keys of `REPRESENTATIONS`. The coordinates of a Gaussian sample along its own
            principal axes have the law of any other normal sample's, so that the p-values hold
            there too; `dim` is then the number of axes with variance.
        tests: the univariate tests, keys of `TESTS`.
        labels: the class of each row, for the figures within and between classes.
        mean: the mean of the raw coordinates, for each or for all, where it is known; then `std` is
            needed too. Adds the rows `<test>_known_…` of the raw representation, for the tests that
            this changes the null of: "ad", "cvm", "lilliefors", "ep". All other rows stay as they
            are, the mean and variance estimated.
        std: the standard deviation likewise.
        deep: whether to add, at the largest sample size, intervals for the effect sizes, the global
            test, and the multivariate and spherical tests, with 99 draws each and on the numbers of
            rows they state. Multivariate tests are left out beyond 512 dimensions, with no more than
            2 d rows, and where the covariance has not full rank; a row then says so, and stands for
            them: `multivariate_left_out_dimensions` (its value: the most dimensions),
            `multivariate_left_out_rows` (the fewest rows) or `multivariate_left_out_rank` (the
            number of principal axes with variance).
        name: what errors call the array.
        identity: values for the columns that say where it comes from, such as source and seed.

    Returns:
        One dict per statistic, representation and sample size, with the keys of `COLUMNS`.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for NaN or Inf (their number and first position), shapes that do not fit, fewer
            than 8 rows (or 8 that are not zero, to normalise), an unknown representation, no
            sample size that fits; one of mean and std without the other, or with no test or
            representation that they matter to.
    """
    unknown = [r for r in representations if r not in REPRESENTATIONS]
    if unknown or not representations:
        raise ValueError(
            f"unknown representation {', '.join(map(repr, unknown)) or '(none given)'}; "
            f"choose from {', '.join(REPRESENTATIONS)}."
        )
    if not tests:
        raise ValueError(f"no test is asked for; choose from {', '.join(normality.TESTS)}.")
    full = _check_sample(Sample(z, view1, view2, labels, tuple(tests)), name)
    n = len(full.z)
    full = full._replace(known=_check_known(mean, std, full, representations))
    origin = dict.fromkeys(_IDENTITY) | {"source": name} | dict(identity or {})
    order = np.random.default_rng(seed).permutation(n)
    rows = []
    sizes = _sizes_within(n, sample_sizes, name)
    for size in sizes:
        raw = full if size == n else _take(full, np.sort(order[:size]))
        samples = {"raw": raw}
        for r in representations:
            if r != "raw":
                samples[r] = Sample(_MAPS[r](raw.z, name, seed), tests=raw.tests)
        values: dict[str, dict[str, float]] = {r: {} for r in representations}
        for statistic in STATISTICS:
            if statistic.deep and not (deep and size == sizes[-1]):
                continue
            wanted = [r for r in representations if r in statistic.representations]
            if not wanted:
                continue
            shared = statistic.compute(raw) if statistic.of_raw else None
            for r in wanted:
                values[r] |= statistic.compute(samples[r]) if shared is None else shared
        for representation, found in values.items():
            dim = samples[representation].z.shape[1]
            here = origin | {"representation": representation, "n": size, "dim": dim}
            rows += [here | {"statistic": k, "value": float(v)} for k, v in found.items()]
    return rows


def evaluate_paths(
    paths: Iterable[Path | str],
    *,
    sample_sizes: Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: Sequence[str] = DEFAULT_REPRESENTATIONS,
    pair: Path | str | None = None,
    tests: Sequence[str] = tuple(normality.TESTS),
    labels: Sequence | np.ndarray | None = None,
    mean: normality.Parameter | None = None,
    std: normality.Parameter | None = None,
    deep: bool = False,
    controls: Sequence[str] = (),
    inputs: Path | str | None = None,
) -> list[Row]:
    """Evaluates files, embedding folders and runs; see `evaluate_arrays` and `open_embeddings`.

    Args:
        paths: what to evaluate; a run folder stands for all its steps.
        sample_sizes: as for `evaluate_arrays`.
        seed: as for `evaluate_arrays`; the same for all, so that equal row numbers are compared.
        representations: as for `evaluate_arrays`.
        pair: a file with a second view of the samples in `paths`, which is then a single file; its
            alignment is that between the two.
        tests: as for `evaluate_arrays`.
        labels: the class of each row of a single file.
        mean: as for `evaluate_arrays`; the same for all.
        std: likewise.
        deep: as for `evaluate_arrays`.
        controls: "gaussian", "permuted", "untrained" (see `infonce_jax.evaluation.controls`); each
            set's own, evaluated behind it with the control's name in its source. The last is the
            run's set of step 0, and none for that set itself.
        inputs: a file with the encoder's inputs for the rows of a single file; a random linear map
            of them to the same dimension is evaluated as the control "projection".

    Returns:
        The rows of all, in the order given.

    Raises:
        FileNotFoundError: for a path where there is nothing to evaluate; for the control "untrained"
            of a file, or of a run without a set of step 0.
        ValueError: for the same embeddings given twice, a pair, labels or inputs that fit no single
            file, an unknown control, and whatever `evaluate_arrays` or `open_embeddings` finds wrong.
    """
    found = iterate_paths(
        paths,
        sample_sizes=sample_sizes,
        seed=seed,
        representations=representations,
        pair=pair,
        tests=tests,
        labels=labels,
        mean=mean,
        std=std,
        deep=deep,
        controls=controls,
        inputs=inputs,
    )
    return [row for _, rows in found for row in rows]


def iterate_paths(
    paths: Iterable[Path | str],
    *,
    seed: int = 0,
    pair: Path | str | None = None,
    labels: Sequence | np.ndarray | None = None,
    controls: Sequence[str] = (),
    inputs: Path | str | None = None,
    **options: Any,
) -> Iterator[tuple[str, list[Row]]]:
    """`evaluate_paths`, one set after the other: yields a set's name, first with no rows, then its rows.

    All sets are opened, and what is wrong with them said, before the first is evaluated.
    """
    sets = _open_sets(list(paths), pair, labels, controls, inputs, seed)
    for name, _ in sets:
        yield name, []

    def evaluate_set(index: int) -> list[Row]:
        name, make = sets[index]
        found = make()
        return evaluate_arrays(
            found.z,
            found.view1,
            found.view2,
            labels=labels,
            seed=seed,
            name=name,
            identity=found.identity,
            **options,
        )

    if len(sets) == 1:
        yield sets[0][0], evaluate_set(0)
        return
    # Sorting and special functions release the interpreter lock, so one thread for each set keeps
    # the cores busy; BLAS starting threads of its own in each would keep them waiting.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with threadpool_limits(1):
            for (name, _), rows in zip(sets, pool.map(evaluate_set, range(len(sets))), strict=True):
                yield name, rows
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _open_sets(
    paths: Sequence[Path | str],
    pair: Path | str | None,
    labels: Sequence | np.ndarray | None,
    wanted: Sequence[str],
    inputs: Path | str | None,
    seed: int,
) -> list[tuple[str, Callable[[], Embeddings]]]:
    """Name and maker of every set, controls behind their own; the makers keep few arrays in memory."""
    unknown = [control for control in wanted if control not in controls.CONTROLS]
    if unknown:
        raise ValueError(
            f"unknown control {unknown[0]!r}; choose from {', '.join(controls.CONTROLS)}."
        )
    second = None if pair is None else _only_array("--pair", pair)
    if second is not None and (len(paths) != 1 or Path(paths[0]).is_dir()):
        raise ValueError(
            f"--pair {pair} is a second view of one file, but {len(paths)} paths were given "
            f"({', '.join(map(str, paths))}): evaluate one file at a time with it. Embedding "
            f"folders bring views of their own."
        )
    seen: set[tuple[Any, ...]] = set()
    sets: list[tuple[str, Callable[[], Embeddings]]] = []
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
            sets.append((found.name, partial(_same, found)))
            for control in wanted:
                if control in _MAKERS:
                    make = partial(_MAKERS[control], found.z, seed=seed)
                    sets.append(_control(found, control, make))
                elif who.get("step") != 0:
                    before = untrained(found)
                    sets.append(_control(found, control, lambda before=before: before.z))
            if inputs is not None:
                array = _only_array("--inputs", inputs)
                if len(array) != len(found.z):
                    raise ValueError(
                        f"--inputs {inputs} has {len(array)} rows and {found.name} "
                        f"{len(found.z)}: row i of both must be of the same sample."
                    )
                project = partial(controls.random_projection, array, found.z.shape[1], seed=seed)
                sets.append(_control(found, "projection", project))
    if (labels is not None or inputs is not None) and len(seen) != 1:
        raise ValueError(
            f"labels and inputs belong to the rows of one file, but {len(seen)} embedding sets were "
            f"given: evaluate one at a time with them."
        )
    return sets


_MAKERS = {"gaussian": controls.gaussian_like, "permuted": controls.permuted}


def _same(found: Embeddings) -> Embeddings:
    return found


def _control(
    found: Embeddings, control: str, make: Callable[[], np.ndarray]
) -> tuple[str, Callable[[], Embeddings]]:
    identity = found.identity | {"source": f"{found.identity['source']} [{control}]"}
    return f"{found.name} [{control}]", lambda: Embeddings(identity, make())


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
    return write_texts(texts, output_dir)


def write_texts(texts: Mapping[str, str], output_dir: Path) -> list[Path]:
    """Writes files by name, all of them whole before the first takes the place of an older one.

    Returns:
        Their paths.
    """
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
    labels = None if sample.labels is None else shape.check_labels(sample.labels, len(z))
    sample = sample._replace(z=z, labels=labels)
    if (sample.view1 is None) != (sample.view2 is None):
        raise ValueError(
            f"{name} has one view only; alignment is between two: give view1 and view2, or neither."
        )
    if sample.view1 is None:
        return sample
    view1 = check_embeddings(sample.view1, f"view1 of {name}")
    view2 = check_embeddings(sample.view2, f"view2 of {name}")
    if not (len(z) == len(view1) == len(view2)) or view1.shape != view2.shape:
        raise ValueError(
            f"{name} has shape {z.shape}, its views {view1.shape} and {view2.shape}: row i of each "
            f"must belong to the same sample, and both views must have as many coordinates."
        )
    return sample._replace(view1=view1, view2=view2)


def _check_known(
    mean: normality.Parameter | None,
    std: normality.Parameter | None,
    sample: Sample,
    representations: Sequence[str],
) -> tuple[np.ndarray, np.ndarray] | None:
    tests = [test for test in sample.tests if test not in normality.INVARIANT_TESTS]
    known = normality.check_known(mean, std, sample.z.shape[1], tests or sample.tests)
    if known is not None and "raw" not in representations:
        raise ValueError(
            f"mean and std are those of the raw coordinates, but the representations asked for are "
            f"{', '.join(representations)}: add raw, or leave mean and std out."
        )
    return known


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
    taken = (None if x is None else np.asarray(x[rows]) for x in sample[:4])
    return Sample(*taken, sample.tests, sample.known)


def _normalized(z: Float[np.ndarray, "n d"], name: str) -> Float[np.ndarray, "m d"]:
    u = directions(z)
    if len(u) < MIN_ROWS:
        raise ValueError(
            f"{name} has {len(u)} rows that are not all zeros in a sample of {len(z)}; rows of "
            f"zeros have no direction, and at least {MIN_ROWS} others are needed to test the "
            f"normalised representation. Drop the rows of zeros, or evaluate raw only."
        )
    return u


def _along(z: Float[np.ndarray, "n d"], axes: Float[np.ndarray, "d k"]) -> np.ndarray:
    out = np.empty((len(z), axes.shape[1]))
    for rows, block in row_blocks(z):
        out[rows] = block @ axes
    return out


def _principal(z: Float[np.ndarray, "n d"], name: str) -> Float[np.ndarray, "n k"]:
    mean, variances, axes = _principal_axes(z)
    if not len(variances):
        raise ValueError(
            f"all rows of {name} are equal: they have no principal axes to test along."
        )
    # Of fewer rows than coordinates, `gram` has the axes in the space of the rows.
    return axes * np.sqrt(variances) if len(z) <= z.shape[1] else _along(z, axes) - mean @ axes


def _principal_axes(z: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, and n times the variances along the axes that have more than rounding, and these."""
    n, d = z.shape
    mean, square = np.zeros((2, d))
    for _, block in row_blocks(z):
        mean += block.sum(axis=0)
        square += np.einsum("ij,ij->j", block, block)
    mean /= n
    variances, axes = eigh(gram(z, mean))
    variances, axes = variances[::-1], axes[:, ::-1]
    # Rounding of the sums, which are float64, and of sums over d that made the entries.
    rounding = max(n, d) * np.finfo(np.float64).eps * variances[0]
    rounding += d * float(np.finfo(z.dtype).eps) ** 2 * square.max()
    # Centring takes one direction from n rows.
    kept = min(n - 1, d, int(np.sum(variances > max(rounding, 0.0))))
    return mean, variances[:kept], axes[:, :kept]


def _projected(z: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n d"]:
    d = z.shape[1]
    axes = np.random.default_rng([seed, d]).standard_normal((d, d))
    return _along(z, axes / np.linalg.norm(axes, axis=0))


_MAPS: dict[str, Callable[[np.ndarray, str, int], np.ndarray]] = {
    "normalized": lambda z, name, seed: _normalized(z, name),
    "spherical": lambda z, name, seed: normality.normal_scores(_normalized(z, name)),
    "principal": lambda z, name, seed: _principal(z, name),
    "projected": lambda z, name, seed: _projected(z, seed),
}


def _only_array(option: str, path: Path | str) -> np.ndarray:
    found = list(open_embeddings(path))
    if len(found) != 1:
        raise ValueError(
            f"{option} {path} holds {len(found)} embedding arrays "
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
