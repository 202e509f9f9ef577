"""Runs all variants of a sweep and gathers their results."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import config_dict
from tqdm import tqdm

from infonce_jax import evaluation
from infonce_jax.config import members
from infonce_jax.files import is_disk_full
from infonce_jax.runs import processes
from infonce_jax.runs import stages as stages_lib
from infonce_jax.runs.folder import Busy, check, claim, is_finished, lock
from infonce_jax.runs.gather import gather, read_evaluations, write_failures, write_table
from infonce_jax.runs.messages import about, clock, few, reason
from infonce_jax.runs.stages import run_unfinished, write_joint_report
from infonce_jax.runs.variants import Sweep, variant_configs
from infonce_jax.runs.writers import say

# How often a process checks whether a run that another process holds is free.
_POLL_S = 1.0


class SweepFailed(ValueError):
    """Some runs of a sweep failed; the others are finished and gathered.

    Attributes:
        rows: the table of those that are finished.
    """

    rows: Sequence[dict[str, Any]] = ()


def run_sweep(
    config: config_dict.ConfigDict,
    sweep: Sweep,
    workdir: Path | str,
    *,
    stages: Sequence[str] = stages_lib.STAGES,
    overrides: Mapping[str, Any] | None = None,
    only: Iterable[str] | None = None,
    submit: Callable[[], Sequence[str]] | None = None,
    command: str = "",
) -> list[dict[str, Any]]:
    """Carries out the runs of a sweep, and gathers them into one table and one report.

    Examples:
        >>> import tempfile
        >>> from infonce_jax.config import default_config
        >>> config = default_config()
        >>> config.data.dim, config.data.train_size, config.data.test_size = 16, 64, 64
        >>> config.encoder.embedding_dim, config.evaluate.sample_sizes = 4, (32,)
        >>> config.train.batch_size, config.train.epochs, config.train.steps = 16, 0.0, 4
        >>> rows = run_sweep(
        ...     config,
        ...     {"loss.temperature": (0.1, 0.5), "seeds": range(2)},
        ...     tempfile.mkdtemp(),
        ...     stages=("train", "embed", "evaluate"),
        ... )
        >>> [(row["config.loss.temperature"], row["seed"]) for row in rows]
        [(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]
        >>> sorted(rows[0]["metric.loss"] > 0 for row in rows if "raw.ad_mean" in row)
        [True, True, True, True]

    Finished runs are left as they are. A run that fails is noted, the others go on, and the next
    call tries it again. Any number of processes may work on one folder, each for itself: a run is
    locked by the one that does it, and a killed one's lock is gone with it. Processes that have joined
    (`processes.join`) do every run together.

    Args:
        config: what the runs have in common; its `report` section holds for the whole.
        sweep: in what they differ: fields with lists of values, of which every combination is trained;
            or a list of points, each fields with a value, as `grid`, `zipped`, `product` and `chain`
            make them; or a mapping from names of your own to points.
        workdir: the sweep's folder. Every run is a subfolder, named by its fields.
        stages: as for `run`.
        overrides: fields that are set last in every run, as the command line's.
        only: names of the runs to do, of all by default.
        submit: has jobs elsewhere do the runs, instead of this process, and names those that failed.
        command: what the user typed, for the report.

    Returns:
        A row for every member of the finished runs, as in sweep.csv: `run`, `member`, `seed`, `step`
        and `n`; `config.*`; `metric.*`, the last of training; `raw.*` and `normalized.*`, the
        evaluation. `pandas.DataFrame(rows)` is a table. Empty where only other stages were asked for
        than evaluate and report.

    Raises:
        SweepFailed: after everything else is done, where runs or jobs failed; `error.rows` are those of
            the others.
        Interrupted: after SIGINT or SIGTERM, with a checkpoint of the run in flight.
        ValueError: for an impossible configuration, before anything is started.
    """
    workdir = Path(workdir)
    variants = variant_configs(config, sweep, overrides)
    folders = {name: workdir / name for name in variants}
    todo = list(variants if only is None else only)
    _check_and_claim(variants, folders, workdir, stages)
    own = [stage for stage in stages if stage != "report"]

    def attempt(name: str) -> bool:
        return run_unfinished(variants[name], folders[name], stages=own, command=command)

    failures, failed_jobs, tried = {}, [], set(todo) if own else set()
    if own and submit:
        # The jobs write it anew; a reason from an earlier call would be taken for one of theirs.
        with lock(workdir, wait=True):
            write_failures(workdir, {}, cleared=tried)
        failed_jobs, tried = submit(), set()
    elif own:
        failures = _do_all(todo, attempt)

    def conclude() -> list[dict[str, Any]]:
        finished = {
            name: folders[name]
            for name, variant in variants.items()
            if is_finished(variant, folders[name], ("evaluate",))
        }
        known = write_failures(workdir, failures, cleared={*finished, *tried})
        rows = _gather_finished(finished, config, workdir, stages)
        failed = failures
        if own and submit:
            failed = {name: known[name] for name in todo if name in known}
        _report_outcome(folders, todo, finished, failed, failed_jobs, rows)
        if len(finished) < len(variants) and "evaluate" in stages:
            print(
                f"{len(variants) - len(finished)} of {len(variants)} runs are still to do.",
                file=sys.stderr,
            )
        return rows

    with lock(workdir, wait=True):
        return processes.first(conclude)


def dry_run(
    config: config_dict.ConfigDict,
    sweep: Sweep,
    workdir: Path,
    only: Iterable[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """What a sweep would do: how many runs and members, the first run, and what the others change.

    Every run's training program is compiled, for its memory; so they come one by one.

    Args:
        config: as for `run_sweep`, and so are the others.
        sweep: in what the runs differ.
        workdir: the sweep's folder.
        only: names of the runs to do, of all by default.
        overrides: fields that are set last in every run.

    Raises:
        ValueError: for an impossible configuration, before anything is compiled.
    """
    variants = variant_configs(config, sweep, overrides)
    for name, variant in variants.items():
        with _about_run(name):
            check(variant)
    todo = {name: variants[name] for name in (variants if only is None else only)}
    count = sum(len(members(variant)) for variant in todo.values())
    of_all = "" if len(todo) == len(variants) else f" of {len(variants)}"
    yield f"{len(todo)}{of_all} runs, {count} members in all"
    first = None
    for name, variant in todo.items():
        with _about_run(name):
            text = stages_lib.dry_run(variant, workdir / name, beside=first)
        yield text
        first = first or variant


def _about_run(name: str) -> contextlib.AbstractContextManager[None]:
    return about(f"The run {name!r} of the sweep")


def _check_and_claim(
    variants: Mapping[str, config_dict.ConfigDict],
    folders: Mapping[str, Path],
    workdir: Path,
    stages: Sequence[str],
) -> None:
    """Checks all runs before the first is started: a misspelling fails at once, not an hour later."""

    def facts():
        return {name: stages_lib.facts(variants[name], folders[name], stages) for name in variants}

    processes.check_alike(facts)
    processes.first(lambda: _check_is_of(workdir, variants))
    with processes.together():
        for name, variant in variants.items():
            with _about_run(name):
                check(variant)
    for name, variant in variants.items():
        with _about_run(name):
            claim(variant, folders[name])


def _gather_finished(
    finished: Mapping[str, Path],
    config: config_dict.ConfigDict,
    workdir: Path,
    stages: Sequence[str],
) -> list[dict[str, Any]]:
    """Writes the table and the report of the runs that are finished; returns the table's rows."""
    if not finished or not {"evaluate", "report"} & set(stages):
        return []
    found = read_evaluations(finished.values())
    if "evaluate" in stages:
        every_row = [row for document in found.values() for row in document["rows"]]
        evaluation.write(every_row, workdir, {"runs": list(finished)})
    rows = gather(finished, config.report.sample_size, found)
    if "evaluate" in stages:
        write_table(rows, workdir)
    if "report" in stages:
        write_joint_report(list(finished.values()), workdir, config.report, found)
    return rows


def _report_outcome(
    folders: Mapping[str, Path],
    todo: Sequence[str],
    finished: Mapping[str, Path],
    failures: Mapping[str, str],
    failed_jobs: Sequence[str],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Raises SweepFailed where runs or jobs failed."""
    if not failures and not failed_jobs:
        return
    said = []
    if failures:
        shown = few([f"{name}: {why.rstrip('.')}" for name, why in failures.items()], "; ")
        said.append(f"{len(failures)} of {len(todo)} runs failed ({shown}).")
    if failed_jobs:
        said.append(f"Failed jobs: {few(failed_jobs)}.")
    said.append(f"{len(finished)} of {len(folders)} runs are finished and gathered.")
    if failures:
        said.append(
            "Where a field is at fault, change it and delete the run's folder "
            f"({few([str(folders[name]) for name in failures])})."
        )
    said.append("The same command tries the rest again.")
    failed = SweepFailed(" ".join(said))
    failed.rows = rows
    raise failed


def _check_is_of(workdir: Path, variants: Iterable[str]) -> None:
    """Refuses the folder of a single run, or of a sweep that has no run in common with this one."""
    there = [file.parent.name for file in sorted(workdir.glob("*/config.json"))]
    if (workdir / "config.json").exists():
        held = "a single run"
    elif there and not set(there) & set(variants):
        held = f"another sweep ({few(there)})"
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
    with tqdm(
        total=len(names),
        desc="runs",
        unit="run",
        smoothing=0,
        # None: where there is no terminal.
        disable=None if processes.is_first() else True,
    ) as bar:
        while waiting:
            busy = []
            for name in waiting:
                try:
                    is_new = attempt(name)
                    outcome = "done"
                except Busy:
                    busy.append(name)
                    continue
                except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
                    # On a full disk, or without the other processes, every further run would fail too.
                    if is_disk_full(error) or processes.is_lost(error):
                        raise
                    is_new, failures[name] = True, reason(error)
                done += 1
                worked += is_new
                if not (is_new or bar.disable):
                    # Runs that were finished before took no time, so they do not predict the rest.
                    bar.initial += 1
                bar.update()
                if name in failures:
                    outcome = f"failed: {failures[name]}"
                if name in failures or (worked and bar.disable):
                    left_s = (time.perf_counter() - started) / worked * (len(names) - done)
                    say(f"[{done}/{len(names)}] {name}  {outcome}  {clock(left_s)} left")
            if len(busy) == len(waiting):
                time.sleep(_POLL_S)
            waiting = busy
    return failures
