"""A family of runs from one config file: how to write one, carry it out, and gather what came of it.

A config file may define `sweep()` beside `get_config()`. It returns the fields in which its runs
differ, written out under names of their own

    def sweep():
        return {"narrow": {"encoder.embedding_dim": 32}, "wide": {"encoder.embedding_dim": 512}}

or made by `grid`, `zipped`, `product` and `chain`, which name a run by its fields:

    def sweep():
        return grid({"encoder.embedding_dim": (32, 512), "loss.temperature": (0.1, 0.5)})

Values of `seeds` and of the scalars in `config.HYPERPARAMETERS` stay lists within a run: its members
are trained side by side in one program. Other fields make a run each, for they change shapes.
"""

import contextlib
import copy
import csv
import fcntl
import hashlib
import importlib.util
import inspect
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import config_dict
from tqdm import tqdm

from infonce_jax import evaluation
from infonce_jax import run as run_lib
from infonce_jax.config import HYPERPARAMETERS, flatten, members, validate
from infonce_jax.files import is_disk_full, replacing
from infonce_jax.metrics import say

Fields = Mapping[str, Any]
Variants = Mapping[str, Fields]

_NAME = re.compile(r"[\w.,=+-]+")
_UNFIT = re.compile(r"[^\w.+-]+")
_LONGEST_NAME = 120
# How often a process looks whether a run that another one is working on has come free.
_POLL_S = 1.0


class SweepFailed(ValueError):
    """Some runs of a sweep failed; the others are finished and gathered."""


# --- writing one ----------------------------------------------------------------------------------


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of every field.

    Axes over `seeds` and over the scalars that may be lists become lists within each run.

    Example:
        >>> grid({"encoder.embedding_dim": (8, 32), "loss.temperature": (0.1, 0.5)})
        [{'encoder.embedding_dim': 8, 'loss.temperature': (0.1, 0.5)}, \
{'encoder.embedding_dim': 32, 'loss.temperature': (0.1, 0.5)}]

    Raises:
        ValueError: for an axis without values.
    """
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise ValueError(f"The axis {name!r} is {values!r}; give a list of values.")
    within = {name: tuple(axes[name]) for name in axes if _is_of_members(name)}
    apart = [name for name in axes if name not in within]
    return [
        dict(zip(apart, values, strict=True)) | within
        for values in itertools.product(*(axes[name] for name in apart))
    ]


def zipped(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The first values of all fields together, then the second ones, and so on.

    Raises:
        ValueError: where the axes differ in length.
    """
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"zipped() was given axes of unequal length: {lengths}.")
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def product(*sweeps: Iterable[Fields]) -> list[dict[str, Any]]:
    """Every point of each sweep with every point of the others; later ones win where both set a field.

    A sweep is what `grid`, `zipped`, `product` or `chain` returns, or a list of fields.
    """
    return [
        {name: value for fields in points for name, value in fields.items()}
        for points in itertools.product(*map(list, sweeps))
    ]


def chain(*sweeps: Iterable[Fields]) -> list[dict[str, Any]]:
    """The points of one sweep after those of another; a point that comes twice is kept once."""
    points = []
    for point in itertools.chain(*sweeps):
        if dict(point) not in points:
            points.append(dict(point))
    return points


def name_of(fields: Fields) -> str:
    """A name for a run, fit for a folder, from the fields that make it.

    It depends on these alone, so that a run keeps its name, and what it has computed, when the sweep
    grows. Lists over members are not part of it.
    """
    last_parts = [name.rsplit(".", 1)[-1] for name in fields]
    parts = []
    for name, value in fields.items():
        if _is_of_members(name) and isinstance(value, Sequence):
            continue
        last = name.rsplit(".", 1)[-1]
        short = name if last == "name" or last_parts.count(last) > 1 else last
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{short}={_UNFIT.sub('_', shown)}")
    whole = ",".join(parts) or "all"
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[:_LONGEST_NAME]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def load_variants(
    config_file: Path | str, config: config_dict.ConfigDict | None = None
) -> Variants | None:
    """What the file's `sweep()` returns, by name, or None where it defines none.

    A `sweep(config)` is given the configuration, as the command line has changed it: its grid may
    depend on `config.scale`.

    Raises:
        ValueError: where a name is not fit for a folder, or two runs have the same.
    """
    # Flags may append ":argument" to the file for its get_config.
    path, _, _ = str(config_file).partition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sweep"):
        return None
    takes_config = bool(inspect.signature(module.sweep).parameters)
    points = module.sweep(config) if takes_config else module.sweep()
    return named(points, f"sweep() of {path}")


def named(points: Variants | Iterable[Fields], where: str = "sweep()") -> Variants:
    """The points of a sweep by name.

    Raises:
        TypeError: where they are not mappings from fields to values.
        ValueError: where a name is not fit for a folder, two runs have the same, or there are none.
    """
    if not isinstance(points, Iterable):
        raise TypeError(
            f"{where} returns {points!r}; return a list of mappings from fields to values, as grid() "
            "makes it, or a mapping from names of runs to such mappings."
        )
    has_names = isinstance(points, Mapping)
    variants = {}
    for name, fields in points.items() if has_names else ((None, point) for point in points):
        if not isinstance(fields, Mapping) or not all(isinstance(key, str) for key in fields):
            raise TypeError(
                f"{where} returns {fields!r} for {f'the run {name!r}' if has_names else 'a run'}; give "
                "a mapping from fields to values, such as {'train.batch_size': 64}."
            )
        name = name if has_names else name_of(fields)
        if name in variants:
            raise ValueError(
                f"{where} makes two runs of the name {name!r}; return a mapping from names of "
                "your own to fields."
            )
        variants[name] = fields
    if not variants:
        raise ValueError(f"{where} makes no runs.")
    for name in variants:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{where} names a variant {name!r}; use letters, digits and any of . , = + - _ alone."
            )
    return variants


def variant_config(
    config: config_dict.ConfigDict,
    name: str,
    fields: Fields,
    overrides: Mapping[str, Any],
) -> config_dict.ConfigDict:
    """The configuration of one variant.

    Args:
        config: the file's `get_config()`, with the command line's overrides.
        name: the variant's; it becomes `config.name`.
        fields: the variant's own fields.
        overrides: what the command line set. It is applied last, so that `--config.train.steps=10`
            shortens every variant.

    Raises:
        ValueError: where a field does not exist (the message suggests the nearest) or takes no such
            value, or the command line sets it to something else than the run is named by.
    """
    named_by = name_of(fields) == name
    for field, value in overrides.items():
        if named_by and field in fields and not _is_of_members(field) and value != fields[field]:
            raise ValueError(
                f"--config.{field}={value} contradicts the run {name!r} of the sweep, which is named "
                "by that field. Change the values in the file's sweep(), or take --nosweep to run its "
                "get_config() alone."
            )
    # A copy by the constructor would share the fields that may be lists.
    variant = copy.deepcopy(config)
    for field, value in {"name": name, **fields}.items():
        with _about(f"sweep() sets {field} of the run {name!r} to {value!r}"):
            variant.update_from_flattened_dict({field: value})
    variant.update_from_flattened_dict(dict(overrides))
    return variant


def share(variants: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """Every `count`-th run from the `index`-th on: what one of `count` jobs is to do.

    Raises:
        ValueError: where the index is not below the count.
    """
    if not 0 <= index < count:
        raise ValueError(
            f"--sweep_index is {index} and --sweep_count {count}; the index counts from 0 and is less "
            "than the count."
        )
    return dict(itertools.islice(variants.items(), index, None, count))


def array_share(environment: Mapping[str, str], count: int | None = None) -> tuple[int, int]:
    """Index and count of the share that a task of a Slurm array job is to do.

    The tasks of an array without gaps divide the sweep among themselves, whatever number the first
    one has. Where `count` is another number than that of the tasks, as where shares are submitted
    again, a task's number is the index of its share.

    Args:
        environment: of the task; it holds SLURM_ARRAY_TASK_ID.
        count: into how many shares the sweep is divided, where that was said.

    Raises:
        ValueError: where the array does not tell the count, or the number is not below it.
    """
    values = [environment.get(f"SLURM_ARRAY_TASK_{key}") for key in ("ID", "MIN", "MAX", "COUNT")]
    if all(value and value.isdigit() for value in values):
        task, first, last, size = map(int, values)
        if last - first + 1 == size and count in (None, size):
            return task - first, size
    shown = values[0]
    if count is None or not shown.isdigit():
        raise ValueError(
            f"SLURM_ARRAY_TASK_ID is {shown} in an array of unknown size or with gaps (_MIN, _MAX and "
            f"_COUNT are {', '.join(map(str, values[1:]))}), which does not tell into how many shares "
            "the sweep is divided. Give --sweep_count too; the task's number is then the index of its "
            "share, from 0."
        )
    if int(shown) >= count:
        raise ValueError(
            f"SLURM_ARRAY_TASK_ID is {shown} and --sweep_count {count}; the task's number is the index "
            "of its share, which counts from 0 and is less than the count."
        )
    return int(shown), count


def dry_run(
    variants: Mapping[str, config_dict.ConfigDict], workdir: Path, only: Iterable[str] | None = None
) -> Iterator[str]:
    """What a sweep would do: how many runs and members, the first run, and what the others change.

    Every run's training program is compiled, for its memory; so they come one by one.

    Args:
        variants: a configuration for each subfolder of `workdir`.
        workdir: the sweep's folder.
        only: names of the runs to do, of all by default.

    Raises:
        ValueError: for an impossible configuration, before anything is compiled.
    """
    for name, variant in variants.items():
        with _about(f"The run {name!r} of the sweep"):
            validate(variant)
    todo = {name: variants[name] for name in (variants if only is None else only)}
    count = sum(len(members(variant)) for variant in todo.values())
    of_all = "" if len(todo) == len(variants) else f" of {len(variants)}"
    yield f"{len(todo)}{of_all} runs, {count} members in all"
    first = None
    for name, variant in todo.items():
        with _about(f"The run {name!r} of the sweep"):
            text = run_lib.dry_run(variant, workdir / name, beside=first)
        yield text
        first = first or variant


# --- carrying it out ------------------------------------------------------------------------------


def run_sweep(
    config: config_dict.ConfigDict,
    variants: Mapping[str, config_dict.ConfigDict],
    workdir: Path,
    *,
    stages: Sequence[str],
    only: Iterable[str] | None = None,
    submit: Callable[[], Sequence[str]] | None = None,
    command: str = "",
) -> None:
    """Carries out the runs of a sweep, and gathers them into one table and one report.

    Finished runs are left as they are. A run that fails is noted, the others go on, and the next
    call tries it again. Any number of processes may work on one folder: each run is locked by the
    one that does it, and a killed one's lock is gone with it.

    Args:
        config: what the variants have in common; its `report` section holds for the whole.
        variants: a configuration for each subfolder of `workdir`.
        workdir: the sweep's folder.
        stages: as for `run`.
        only: names of the runs to do, of all by default.
        submit: has jobs elsewhere do the runs, instead of this process, and names those that failed.
        command: what the user typed, for the report.

    Raises:
        SweepFailed: after everything else is done, where runs or jobs failed.
        Interrupted: after SIGINT or SIGTERM, with a checkpoint of the run in flight.
        ValueError: for an impossible configuration, before anything is started.
    """
    _check_is_of(workdir, variants)
    folders = {name: workdir / name for name in variants}
    todo = list(variants if only is None else only)
    # All are looked at before the first is started: an hour in is too late to hear of a misspelling.
    for name, variant in variants.items():
        with _about(f"The run {name!r} of the sweep"):
            validate(variant)
            run_lib.claim(variant, folders[name])
    own = [stage for stage in stages if stage != "report"]

    def attempt(name: str) -> bool:
        return run_lib.run_unfinished(variants[name], folders[name], stages=own, command=command)

    failures, failed_jobs, tried = {}, [], set(todo) if own else set()
    if own and submit:
        # The jobs write it anew; a reason from an earlier call would be taken for one of theirs.
        with _lock(workdir):
            _write_failures(workdir, {}, cleared=tried)
        failed_jobs, tried = submit(), set()
    elif own:
        failures = _do_all(todo, attempt)
    with _lock(workdir):
        finished = {
            name: folders[name]
            for name, variant in variants.items()
            if run_lib.is_finished(variant, folders[name], ("evaluate",))
        }
        known = _write_failures(workdir, failures, cleared={*finished, *tried})
        if own and submit:
            failures = {name: known[name] for name in todo if name in known}
        if "evaluate" in stages and finished:
            found = {name: _evaluation_of(folder) for name, folder in finished.items()}
            every_row = list(itertools.chain.from_iterable(found.values()))
            evaluation.write(every_row, workdir, {"runs": list(finished)})
            write_table(gather(finished, config.report.sample_size, found), workdir)
        if "report" in stages and finished:
            run_lib.write_joint_report(list(finished.values()), workdir, config.report)
    missing = [name for name in variants if name not in finished]
    if failures or failed_jobs:
        said = []
        if failures:
            shown = _few([f"{name}: {why.rstrip('.')}" for name, why in failures.items()], "; ")
            said.append(f"{len(failures)} of {len(todo)} runs failed ({shown}).")
        if failed_jobs:
            said.append(f"Failed jobs: {_few(failed_jobs)}.")
        said.append(f"{len(finished)} of {len(variants)} runs are finished and gathered.")
        if failures:
            said.append(
                "Where a field is at fault, change it and delete the run's folder "
                f"({_few([str(folders[name]) for name in failures])})."
            )
        said.append("The same command tries the rest again.")
        raise SweepFailed(" ".join(said))
    if missing and "evaluate" in stages:
        print(f"{len(missing)} of {len(variants)} runs are still to do.", file=sys.stderr)


def _check_is_of(workdir: Path, variants: Iterable[str]) -> None:
    """Refuses the folder of a single run, or of a sweep that has no run in common with this one."""
    there = [file.parent.name for file in sorted(workdir.glob("*/config.json"))]
    if (workdir / "config.json").exists():
        held = "a single run"
    elif there and not set(there) & set(variants):
        held = f"another sweep ({_few(there)})"
    else:
        return
    raise ValueError(
        f"{workdir} holds {held}, and this configuration is a sweep of {', '.join(variants)[:200]}. "
        "Give the config file that the folder was made with, --config=..., or another --workdir."
    )


def _do_all(names: Sequence[str], attempt: Callable[[str], bool]) -> dict[str, str]:
    """Calls `attempt` for every name; comes back to those that another process is working on.

    Returns:
        The reasons of those that failed.
    """
    waiting, failures = list(names), {}
    started, worked, done = time.perf_counter(), 0, 0
    # Without smoothing the time left comes from the mean over all runs; the bar of a run is drawn
    # below this one.
    bar = tqdm(total=len(names), desc="runs", unit="run", smoothing=0, disable=None, leave=True)
    with bar:
        while waiting:
            busy = []
            for name in waiting:
                try:
                    is_new = attempt(name)
                    outcome = "done"
                except run_lib.Busy:
                    busy.append(name)
                    continue
                except OSError as error:
                    # On a full disk every further run would fail as this one did.
                    if is_disk_full(error):
                        raise
                    is_new, failures[name] = True, _reason(error)
                except (ValueError, TypeError, KeyError, RuntimeError) as error:
                    is_new, failures[name] = True, _reason(error)
                done += 1
                worked += is_new
                if not (is_new or bar.disable):
                    # What was there already took no time, and says nothing about the rest.
                    bar.initial += 1
                bar.update()
                if name in failures:
                    outcome = f"failed: {failures[name]}"
                if name in failures or (worked and bar.disable):
                    left_s = (time.perf_counter() - started) / worked * (len(names) - done)
                    say(f"[{done}/{len(names)}] {name}  {outcome}  {_clock(left_s)} left")
            if len(busy) == len(waiting):
                time.sleep(_POLL_S)
            waiting = busy
    return failures


def _reason(error: BaseException) -> str:
    # str(KeyError) is its argument's representation.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


@contextlib.contextmanager
def _about(what: str) -> Iterator[None]:
    """Says in front of what a configuration is refused for what was refused."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{what}: {_reason(error)}") from error


def _few(items: Sequence[str], separator: str = ", ") -> str:
    return separator.join([*items[:5], *(["..."] if len(items) > 5 else [])])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


# --- gathering ------------------------------------------------------------------------------------


def gather(
    folders: Mapping[str, Path],
    n: int,
    evaluations: Mapping[str, list[dict[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """One row for every run and member: its configuration, last metrics, and last evaluation.

    Columns are `run`, `member` and `seed`; `config.*`, every field of the configuration, with a
    member's own value where it is one of a list; `metric.*`, the last line of metrics.jsonl; and
    `raw.*` and `normalized.*`, the statistics of the last embedding set's test split at the largest
    evaluated sample size up to `n`, which is `n`. Nothing in it depends on the clock.

    Args:
        folders: finished runs by name.
        n: sample size.
        evaluations: the rows of their evaluation.json by name, where they have been read already.
    """
    rows = []
    for name, folder in folders.items():
        config = json.loads((folder / "config.json").read_text())
        found = evaluations[name] if evaluations else _evaluation_of(folder)
        last = max(row["step"] for row in found)
        found = [row for row in found if row["step"] == last and row["split"] in ("test", None)]
        sizes = sorted({row["n"] for row in found})
        size = max((s for s in sizes if s <= n), default=sizes[0])
        metrics = _last_line(folder / "metrics.jsonl")
        own = {k: v for k, v in config.items() if k not in ("members", "name", "seeds")}
        fields = {
            key: json.dumps(value) if isinstance(value, list) else value
            for key, value in flatten(own).items()
        }
        for index, member in enumerate(config["members"]):
            row = {"run": name, "member": member["name"], "seed": member["seed"], "step": last}
            row |= {f"config.{key}": value for key, value in fields.items()}
            row |= {f"config.{key}": value for key, value in member["hyperparameters"].items()}
            row["n"] = size
            for key, value in metrics.items():
                if isinstance(value, list):
                    row[f"metric.{key}"] = value[index]
            for item in found:
                if item["member"] == member["name"] and item["n"] == size:
                    row[f"{item['representation']}.{item['statistic']}"] = item["value"]
            rows.append(row)
    return rows


def _evaluation_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "evaluation.json").read_text())["rows"]


def write_table(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Writes sweep.csv and, where pyarrow is installed, sweep.parquet."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(folder / "sweep.csv") as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return
    table = pyarrow.table({name: _column([row.get(name) for row in rows]) for name in columns})
    with replacing(folder / "sweep.parquet") as scratch:
        pyarrow.parquet.write_table(table, scratch)


def _column(values: Sequence[Any]) -> Sequence[Any]:
    """Values of one type: numbers as floats where they differ, anything else mixed as text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and not kinds & {list, dict}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def _last_line(file: Path) -> dict[str, Any]:
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1]) if lines else {}


def _write_failures(
    workdir: Path, failures: Mapping[str, str], cleared: set[str]
) -> dict[str, str]:
    """failed.json: why runs failed when they were last tried; absent where none did.

    Returns:
        What it holds now: what it held, without the cleared runs and those whose folders are gone.
    """
    file = workdir / "failed.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    gone = {*cleared, *(name for name in known if not (workdir / name).exists())}
    known = {name: why for name, why in known.items() if name not in gone} | dict(failures)
    if known:
        with replacing(file) as scratch:
            scratch.write_text(json.dumps(known, indent=1) + "\n")
    else:
        file.unlink(missing_ok=True)
    return known


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    """Lets one process at a time gather."""
    with open(workdir / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_of_members(name: str) -> bool:
    return name == "seeds" or name in HYPERPARAMETERS
