"""A run on disk: train, embed, evaluate and report. Each stage reads the files of the one before.

<workdir>/config.json          what was asked for, resolved
          run.json             machine, command, seconds per stage
          metrics.jsonl        one line per logging step
          checkpoints/         Orbax
          embeddings/<step>/   the contract with the evaluation
          evaluation.csv|json  tidy rows
          report.html, figures/
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import config_dict

from infonce_jax import data, embeddings, evaluation, report, training
from infonce_jax.config import members, plain
from infonce_jax.files import flatten
from infonce_jax.runs import processes
from infonce_jax.runs.folder import check, claim, is_finished, lock, record
from infonce_jax.runs.loop import Interrupted, train
from infonce_jax.runs.provenance import code_version
from infonce_jax.runs.sets import (
    embed_steps,
    missing_sets,
    open_checkpoints,
    open_run,
    write_set,
)
from infonce_jax.runs.writers import say

STAGES = ("train", "embed", "evaluate", "report")

# Columns of runs and settings that a terminal can show side by side.
_MOST_SHOWN = 12


def run(
    config: config_dict.ConfigDict,
    workdir: Path | str,
    *,
    stages: Sequence[str] = STAGES,
    command: str = "",
) -> None:
    """Carries out stages of a run, going on from what its folder holds.

    Args:
        config: the configuration; it is validated here.
        workdir: the run's folder. It may be new, or hold an earlier part of the same run.
        stages: some of "train", "embed", "evaluate", "report", in this order; all by default.
        command: what the user typed, for the report.

    Raises:
        ValueError: for an impossible configuration, or a folder that belongs to another one.
        FileNotFoundError: where an earlier stage is missing.
        NonFiniteLoss: where the loss or a gradient stopped being finite.
        Interrupted: after SIGINT or SIGTERM, with a checkpoint written.
    """
    workdir = Path(workdir)
    processes.check_alike(lambda: facts(config, workdir, stages))
    with processes.together():
        check(config)
    claim(config, workdir)
    with lock(workdir):
        _run_stages(config, workdir, stages, command)


def facts(config: config_dict.ConfigDict, workdir: Path, stages: Sequence[str]) -> dict[str, Any]:
    """What must be the same on all processes of a run."""
    return {
        "config": plain(config),
        "workdir": str(workdir),
        "stages": ", ".join(stages),
        "the version of infonce_jax": code_version(),
        "the version of jax": jax.__version__,
    }


def run_unfinished(
    config: config_dict.ConfigDict, workdir: Path, *, stages: Sequence[str], command: str = ""
) -> bool:
    """`run` of a folder that has been claimed, unless these stages are done already.

    Returns:
        Whether there was anything to do.

    Raises:
        Busy: where another process is working on the folder.
    """
    with lock(workdir):
        if processes.first(lambda: is_finished(config, workdir, stages)):
            return False
        _run_stages(config, workdir, stages, command)
    return True


def embed(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes the embedding sets that are missing, from the checkpoints of their steps.

    Raises:
        FileNotFoundError: where a set is missing and its checkpoint too.
    """
    sets = embed_steps(config, data.describe(config))
    missing = processes.first(lambda: missing_sets(workdir, sets))
    if not missing:
        return
    with open_checkpoints(config, workdir, sets) as checkpoints:
        with processes.together():
            absent = [step for step in missing if step not in checkpoints.steps]
            if absent:
                raise FileNotFoundError(
                    f"{workdir} has no checkpoint of step {absent[0]} to embed from (there are: "
                    f"{', '.join(map(str, checkpoints.steps)) or 'none'}). Run --stage=train first."
                )
        run = open_run(config, workdir)
        for step in missing:
            write_set(run, checkpoints.restore(step, run.program.abstract_state))
            say(f"{workdir}: embedding set of step {step} written")


def evaluate(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Evaluates every embedding set of the run; writes evaluation.csv and evaluation.json."""
    if not embeddings.find_steps(workdir):
        raise FileNotFoundError(
            f"{workdir} has no embeddings to evaluate. Run --stage=embed first."
        )
    settings = {
        "sample_sizes": (*config.evaluate.sample_sizes, "all"),
        "seed": config.evaluate.seed,
        # The paper's two; the evaluation's own command has all seven.
        "tests": ("ad", "dp"),
        "groups": _groups(config),
    }
    names = config.evaluate.statistics
    statistics = evaluation.own_statistics(names, config.evaluate.kwargs.to_dict())
    rows = evaluation.evaluate_paths([workdir], **settings, statistics=statistics)
    evaluation.write(rows, workdir, {"run": config.name, **settings, "statistics": names})


def _groups(config: config_dict.ConfigDict) -> tuple[int, int] | None:
    """The groups of the paper's protocol, where the test set has rows for them."""
    groups = tuple(config.evaluate.groups)
    rows = min(data.describe(config).test_size, config.embed.max_rows or math.inf)
    return groups if groups and math.prod(groups) <= rows else None


def write_report(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes report.html and prints the table."""
    write_joint_report([workdir], workdir, config.report)


def write_joint_report(
    folders: Sequence[Path],
    output: Path,
    settings: config_dict.ConfigDict,
    evaluations: Mapping[Path, dict[str, Any]] | None = None,
) -> None:
    """Writes one report.html on several runs into `output`, and prints their table.

    Args:
        folders: the runs.
        output: where the page goes.
        settings: the section `config.report`.
        evaluations: what evaluation.json holds, by folder, where it has been read already.
    """
    # A single run is headed by its own title, if that was stated for its data.
    title = settings.title if len(folders) > 1 else ""
    runs = report.load_runs(folders, evaluations)
    page = report.write_report(runs, output, title=title or None)
    table = report.build_table(runs, n=settings.sample_size)
    if len(table.groups) <= _MOST_SHOWN:
        print(report.format_terminal(table))
    else:
        print(f"{len(table.groups)} settings, too many for a terminal; the page has their table.")
    print(f"\n{page}")


def dry_run(
    config: config_dict.ConfigDict,
    workdir: Path,
    beside: config_dict.ConfigDict | None = None,
) -> str:
    """What a run would do: its resolved configuration, parameters, memory and steps.

    Compiles the training program for the devices at hand, but reads no data and writes nothing.

    Args:
        config: the run's.
        workdir: its folder.
        beside: show only the fields in which the run differs from this one.
    """
    check(config)
    spec = data.describe(config)
    runs = members(config)
    sets = embed_steps(config, spec)
    program = training.make_program(config, data.abstract(config), runs)
    state = program.abstract_state
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.members.params))
    memory = program.lower().compile().memory_analysis()
    mib = 2**20
    total = training.total_steps(config, spec)
    shown = flatten(plain(config))
    if beside is not None:
        theirs = flatten(plain(beside))
        shown = {k: v for k, v in shown.items() if k not in theirs or theirs[k] != v}
    lines = [
        f"# {workdir}",
        *(f"config.{name} = {value!r}" for name, value in shown.items()),
        f"members: {len(runs)} ({', '.join(m.name for m in runs)})",
        f"parameters: {parameters // len(runs):,} per member",
        f"training set: {spec.train_size:,} x {'x'.join(map(str, spec.sample_shape))}",
        *([f"data: {spec.note}"] if spec.note else []),
        f"steps: {total:,} ({total / training.steps_per_epoch(config, spec):g} epochs of "
        f"{training.steps_per_epoch(config, spec):,} steps)",
        f"embedding sets at steps: {', '.join(map(str, sets))}",
        f"devices: {len(jax.devices())} x {jax.devices()[0].device_kind}"
        + (f" of {jax.process_count()} processes" if processes.is_joined() else ""),
        f"memory: {memory.argument_size_in_bytes / mib:,.1f} MiB of data and state, "
        f"{memory.temp_size_in_bytes / mib:,.1f} MiB of temporaries while training",
    ]
    return "\n".join(lines)


def _run_stages(
    config: config_dict.ConfigDict, workdir: Path, stages: Sequence[str], command: str
) -> None:
    def of_first(function: Callable) -> Callable:
        return lambda *arguments: processes.first(lambda: function(*arguments))

    functions: dict[str, Callable] = {
        "train": train,
        "embed": embed,
        "evaluate": of_first(evaluate),
        "report": of_first(write_report),
    }
    for stage in stages:
        started = time.perf_counter()
        try:
            functions[stage](config, workdir)
        except Interrupted:
            if processes.is_first():
                wall_s = time.perf_counter() - started
                record(config, workdir, stage, wall_s, command, is_done=False)
            raise
        wall_s = time.perf_counter() - started
        of_first(record)(config, workdir, stage, wall_s, command)
