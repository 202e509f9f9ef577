"""Every embedding set of some paths with its controls, and their evaluation one after the other."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from infonce_jax.evaluation import controls, normality
from infonce_jax.evaluation.arrays import as_floats
from infonce_jax.evaluation.evaluate import SAMPLE_SIZES, evaluate_arrays
from infonce_jax.evaluation.load import (
    EVERYTHING,
    Embeddings,
    Reading,
    is_run,
    open_embeddings,
    open_paths,
    untrained,
)
from infonce_jax.evaluation.names import several
from infonce_jax.evaluation.registry import Statistic
from infonce_jax.evaluation.rows import Row
from infonce_jax.evaluation.stacked import sample_rows


def evaluate_paths(
    paths: Path | str | Iterable[Path | str],
    *,
    sample_sizes: int | str | Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: str | Sequence[str] | None = None,
    pair: Path | str | None = None,
    tests: str | Sequence[str] = tuple(normality.TESTS),
    labels: Sequence | np.ndarray | None = None,
    mean: normality.Parameter | None = None,
    std: normality.Parameter | None = None,
    deep: bool = False,
    groups: tuple[int, int] | None = None,
    repeats: Literal["once", "keep"] = "once",
    statistics: Sequence[Statistic] = (),
    controls: str | Sequence[str] = (),
    inputs: Path | str | None = None,
    reading: Reading = EVERYTHING,
) -> list[Row]:
    """Evaluates files, embedding folders and runs; see `evaluate_arrays` and `open_embeddings`.

    Examples:
        >>> import os, tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "embeddings.npy")
        >>> np.save(file, np.random.default_rng(0).standard_normal((500, 8)))
        >>> rows = evaluation.evaluate_paths([file], sample_sizes=("all",), representations=("raw",))
        >>> rows[0]["n"], rows[0]["dim"]
        (500, 8)

    Args:
        paths: what to evaluate, one or several; a run folder stands for all its steps.
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
        groups: as for `evaluate_arrays`.
        repeats: as for `evaluate_arrays`.
        statistics: likewise.
        controls: "gaussian", "permuted", "untrained" (see `infonce_jax.evaluation.controls`); each
            set's own, evaluated behind it with the control's name in its source. The last is the
            run's set of step 0, and none for that set itself.
        inputs: a file with the encoder's inputs for the rows of a single file; a random linear map
            of them to the same dimension is evaluated as the control "projection".
        reading: how the paths are read: as one set, which columns are left out, how many rows are drawn.
            Pair, labels and inputs are sampled alike, and a row `sampled_from` has the number of all.

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
        groups=groups,
        repeats=repeats,
        statistics=statistics,
        controls=controls,
        inputs=inputs,
        reading=reading,
    )
    return [row for _, rows in found for row in rows]


def iterate_paths(
    paths: Path | str | Iterable[Path | str],
    *,
    seed: int = 0,
    pair: Path | str | None = None,
    labels: Sequence | np.ndarray | None = None,
    controls: str | Sequence[str] = (),
    inputs: Path | str | None = None,
    reading: Reading = EVERYTHING,
    **options: Any,
) -> Iterator[tuple[str, list[Row]]]:
    """`evaluate_paths`, one set after the other: yields a set's name, first with no rows, then its rows.

    All sets are opened and checked before the first is evaluated.
    """
    sets = _open_sets(several(paths), pair, labels, several(controls), inputs, seed, reading)
    for name, _ in sets:
        yield name, []

    wants_labels = any(s.takes_labels for s in options.get("statistics", ()))

    def evaluate_set(index: int) -> list[Row]:
        name, make = sets[index]
        found = make()
        own = found.labels if wants_labels else None
        rows = evaluate_arrays(
            found.z,
            found.view1,
            found.view2,
            labels=_labels_of(found, own if labels is None else labels, reading),
            seed=seed,
            name=name,
            identity=found.identity,
            **options,
        )
        return [*rows, *_sampled_from(found.total, rows)]

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


def _labels_of(
    found: Embeddings, labels: Sequence | np.ndarray | None, reading: Reading
) -> Sequence | np.ndarray | None:
    if labels is None or found.total is None:
        return labels
    if len(labels) != found.total:
        raise ValueError(
            f"there are {len(labels)} labels and {found.total} rows in {found.name}: give one for each."
        )
    return np.asarray(labels)[sample_rows(found.total, reading.sample, reading.seed)]


def _sampled_from(total: int | None, rows: Sequence[Row]) -> list[Row]:
    """A row for each sample that says of how many rows it was drawn."""
    if total is None:
        return []
    places = {(row["representation"], row["n"]): row for row in rows}
    return [row | {"statistic": "sampled_from", "value": float(total)} for row in places.values()]


def _open_sets(
    paths: Sequence[Path | str],
    pair: Path | str | None,
    labels: Sequence | np.ndarray | None,
    wanted: Sequence[str],
    inputs: Path | str | None,
    seed: int,
    reading: Reading,
) -> list[tuple[str, Callable[[], Embeddings]]]:
    """Name and maker of every set, controls behind their own; the makers keep few arrays in memory."""
    unknown = [control for control in wanted if control not in controls.CONTROLS]
    if unknown:
        raise ValueError(
            f"unknown control {unknown[0]!r}; choose from {', '.join(controls.CONTROLS)}."
        )
    second = None if pair is None else _only_array("--pair", pair, reading)
    is_one = len(paths) == 1 or reading.concatenate
    if second is not None and (not is_one or any(is_run(path) for path in paths)):
        raise ValueError(
            f"--pair {pair} is a second view of one file, but {len(paths)} paths were given "
            f"({', '.join(map(str, paths))}): evaluate one file at a time with it. Embedding "
            f"folders bring views of their own."
        )
    seen: set[tuple[Any, ...]] = set()
    sets: list[tuple[str, Callable[[], Embeddings]]] = []
    for found in open_paths(paths, reading):
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
                make = partial(_MAKERS[control], as_floats(found.z), seed=seed)
                sets.append(_control(found, control, make))
            elif who.get("step") != 0:
                before = untrained(found)
                sets.append(_control(found, control, lambda before=before: before.z))
        if inputs is not None:
            array = _inputs(inputs, reading)
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


def _inputs(path: Path | str, reading: Reading) -> np.ndarray:
    """The encoder's inputs, one row each: images are flattened, whole numbers become float32."""
    if Path(path).suffix.lower() == ".npy" and Path(path).is_file():
        x = np.load(path, mmap_mode="r", allow_pickle=False)
        if x.dtype.kind in "iubf" and x.ndim >= 2 and len(x):
            rows = sample_rows(len(x), reading.sample, reading.seed)
            x = (x if rows is None else x[rows]).reshape(-1, int(np.prod(x.shape[1:])))
            return x if x.dtype.kind == "f" else x.astype(np.float32)
    return as_floats(_only_array("--inputs", path, reading))


def _only_array(option: str, path: Path | str, reading: Reading) -> np.ndarray:
    found = list(open_embeddings(path, reading._replace(concatenate=False, leave_out=())))
    if len(found) != 1:
        raise ValueError(
            f"{option} {path} holds {len(found)} embedding arrays "
            f"({', '.join(f.name for f in found)}): choose one with path::key."
        )
    return found[0].z
