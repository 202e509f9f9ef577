"""A run on disk: train, embed, evaluate and report, each stage from what the one before left.

<workdir>/config.json          what was asked for, resolved
          run.json             machine, command, seconds per stage
          metrics.jsonl        one line per logging step
          checkpoints/         Orbax
          embeddings/<step>/   the contract with the evaluation
          evaluation.csv|json  tidy rows
          report.html, figures/
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict
from threadpoolctl import threadpool_limits

import infonce_jax
from infonce_jax import data as data_lib
from infonce_jax import embeddings, evaluation, report, throughput
from infonce_jax import train as train_lib
from infonce_jax.checkpoint import Checkpoints
from infonce_jax.config import (
    Member,
    config_hash,
    difference,
    flatten,
    from_plain,
    identity,
    members,
    plain,
    validate,
)
from infonce_jax.files import replacing
from infonce_jax.metrics import MetricsFile, TensorBoard, Terminal, WandB, say

# How long the compiled loop runs before the host looks at signals and the progress bar. The loop's
# end is an argument, so this changes neither the program nor its result.
_CHUNK_S = 1.0

# Columns of runs and settings that a terminal can show side by side.
_MOST_SHOWN = 12


class Interrupted(Exception):
    """A signal stopped the run after it had been saved."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"{signal.Signals(signum).name} received: saved at step {step}.")
        self.signum = signum


class NonFiniteLoss(ValueError):
    """A loss or gradient was not finite."""


class Busy(ValueError):
    """Another process is working on the folder."""


def run(
    config: config_dict.ConfigDict, workdir: Path, *, stages: Sequence[str], command: str = ""
) -> None:
    """Carries out stages of a run, going on from what its folder holds.

    Args:
        config: the configuration; it is validated here.
        workdir: the run's folder. It may be new, or hold an earlier part of the same run.
        stages: some of "train", "embed", "evaluate", "report", in this order.
        command: what the user typed, for the report.

    Raises:
        ValueError: for an impossible configuration, or a folder that belongs to another one.
        FileNotFoundError: where an earlier stage is missing.
        NonFiniteLoss: where the loss or a gradient stopped being finite.
        Interrupted: after SIGINT or SIGTERM, with a checkpoint written.
    """
    validate(config)
    claim(config, workdir)
    with _lock(workdir):
        _run_stages(config, workdir, stages, command)


def run_unfinished(
    config: config_dict.ConfigDict, workdir: Path, *, stages: Sequence[str], command: str = ""
) -> bool:
    """`run` of a folder that has been claimed, unless these stages are done already.

    Returns:
        Whether there was anything to do.

    Raises:
        Busy: where another process is working on the folder.
    """
    with _lock(workdir):
        if is_finished(config, workdir, stages):
            return False
        _run_stages(config, workdir, stages, command)
    return True


def is_finished(config: config_dict.ConfigDict, workdir: Path, stages: Sequence[str]) -> bool:
    """Whether stages were carried out for this configuration, and their result is there."""
    if "evaluate" in stages and not (workdir / "evaluation.json").exists():
        return False
    done = _read_record(workdir)["stages"]
    return all(
        done.get(stage, {}).get("fingerprint") == _fingerprint(config, stage) for stage in stages
    )


def claim(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes config.json, or checks that the one there asks for the same training.

    Raises:
        ValueError: where the folder belongs to another configuration; nothing is changed then.
    """
    spec = data_lib.describe(config)
    runs = members(config)
    file = workdir / "config.json"
    if file.exists():
        try:
            # A field that the file lacks is younger than the run, which had its default.
            theirs = plain(from_plain(json.loads(file.read_text())))
        except ValueError:
            raise ValueError(
                f"{file} is not valid JSON. Delete {workdir} or choose another --workdir."
            ) from None
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} is not a configuration that this version knows ({error}). Continue the run "
                f"with the version that began it (run.json names it), or choose another --workdir."
            ) from None
        changed = difference(identity(plain(config)), identity(theirs))
        if changed:
            shown = "; ".join(changed[:5]) + ("; ..." if len(changed) > 5 else "")
            raise ValueError(
                f"{workdir} holds a run of another configuration ({shown}). Choose another --workdir, "
                "or delete that folder to start over."
            )
    elif workdir.is_dir() and any(not f.name.startswith(".") for f in workdir.iterdir()):
        raise ValueError(
            f"{workdir} is not empty and holds no config.json, so it is not a run. Choose another "
            "--workdir."
        )
    resolved = {
        **plain(config),
        "config_hash": config_hash(config),
        "total_steps": train_lib.total_steps(config, spec),
        "steps_per_epoch": train_lib.steps_per_epoch(config, spec),
        "members": [{"name": m.name, "seed": m.seed, "hyperparameters": m.varied} for m in runs],
    }
    workdir.mkdir(parents=True, exist_ok=True)
    _write_json(file, resolved)


def embed_steps(config: config_dict.ConfigDict, spec: data_lib.DataSpec) -> list[int]:
    """The steps at which an embedding set is written: the first, the last, and those asked for."""
    total = train_lib.total_steps(config, spec)
    per_epoch = train_lib.steps_per_epoch(config, spec)
    asked = [*config.embed.steps, *(round(epoch * per_epoch) for epoch in config.embed.epochs)]
    beyond = [step for step in asked if not 0 <= step <= total]
    if beyond:
        raise ValueError(
            f"config.embed asks for an embedding set at step {beyond[0]} (epoch "
            f"{beyond[0] / per_epoch:g}), but training ends at step {total} (epoch "
            f"{total / per_epoch:g}). Train longer or drop it."
        )
    return sorted({0, total, *asked})


def train(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Trains up to the last step, from the newest checkpoint if there is one.

    Embedding sets are written on the way. Resuming gives the same bits as never having stopped,
    wherever it stopped, on the same devices.
    """
    spec = data_lib.describe(config)
    total = train_lib.total_steps(config, spec)
    sets = embed_steps(config, spec)
    with _open_checkpoints(config, workdir, sets) as checkpoints:
        if total in checkpoints.steps:
            say(f"{workdir}: trained already ({total} steps).")
            return
        data = data_lib.load(config)
        runs = members(config)
        program = train_lib.make_program(config, data, runs)
        if checkpoints.steps:
            state = checkpoints.restore(checkpoints.steps[-1], program.abstract_state)
            say(f"{workdir}: resuming at step {int(state.step)} of {total}.")
        else:
            state = program.init()
        embeddings.remove_leftovers(workdir / "embeddings")
        _train_loop(config, workdir, data, runs, program, state, checkpoints, sets)


def _train_loop(config, workdir, data, runs, program, state, checkpoints, sets) -> None:
    total = train_lib.total_steps(config, data.spec)
    per_epoch = train_lib.steps_per_epoch(config, data.spec)
    step = int(state.step)
    every = {"log": config.log.every_steps, "checkpoint": config.checkpoint.every_steps}
    step_flops = throughput.model_flops(config, data.spec, len(runs))
    writers = _open_writers(config, workdir, runs)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(contextlib.closing(MetricsFile(workdir, step)))
        terminal = stack.enter_context(contextlib.closing(Terminal(config.name, total, step)))
        # LAPACK on the small matrices of the entropy estimate: threads of its own, beside those of the
        # compiled program, make it up to 60 times slower.
        stack.enter_context(threadpool_limits(1))
        for writer in writers:
            stack.enter_context(contextlib.closing(writer))
        received = stack.enter_context(_signals())

        def write_set(step, state):
            _embed_step(config, workdir, data, runs, program, state)
            terminal.say(f"{config.name}  step {step}/{total}  embedding set written")

        # A set is written before the checkpoint of its step, so a kill between the two costs time
        # but leaves no gap.
        if step == 0:
            write_set(0, state)
            checkpoints.save(0, state)
        chunk_steps, is_first = 1, True
        since_log_s, since_log_step = time.perf_counter(), step
        while step < total:
            stop = min(
                total,
                step + chunk_steps,
                *(n for n in sets if n > step),
                *(step + n - step % n for n in every.values()),
            )
            started = time.perf_counter()
            last_good, (state, failed) = state, program.advance(state, stop)
            if int(failed) >= 0:
                _save_last_good(config, workdir, runs, program, last_good, state, checkpoints)
            now = time.perf_counter()
            if is_first:
                # It compiled, which tells nothing about the rate.
                since_log_s, since_log_step, is_first = now, stop, False
            else:
                fitting = int((stop - step) / (now - started) * _CHUNK_S)
                chunk_steps = max(1, min(fitting, 2 * chunk_steps))
            step = stop
            terminal.advance(step)
            if step % every["log"] == 0 or step == total:
                measured = (step - since_log_step) / max(now - since_log_s, 1e-9)
                metrics, state = _take_metrics(state)
                line = {"step": step, "epoch": step / per_epoch}
                line |= {name: values.tolist() for name, values in metrics.items()}
                timing = {"step": step} | throughput.rates(measured, config, step_flops)
                file.write(line, timing)
                for writer in writers:
                    writer.write(step, metrics)
                terminal.show(step, metrics, measured)
                since_log_s, since_log_step = now, step
            if step in sets:
                write_set(step, state)
            if step % every["checkpoint"] == 0 or step in sets or received:
                checkpoints.save(step, state)
            if received:
                checkpoints.wait()
                raise Interrupted(received[0], step)
        checkpoints.wait()


def embed(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes the embedding sets that are missing, from the checkpoints of their steps.

    Raises:
        FileNotFoundError: where a set is missing and its checkpoint too.
    """
    spec = data_lib.describe(config)
    sets = embed_steps(config, spec)
    missing = _missing_sets(workdir, sets)
    if not missing:
        return
    with _open_checkpoints(config, workdir, sets) as checkpoints:
        absent = [step for step in missing if step not in checkpoints.steps]
        if absent:
            raise FileNotFoundError(
                f"{workdir} has no checkpoint of step {absent[0]} to embed from (there are: "
                f"{', '.join(map(str, checkpoints.steps)) or 'none'}). Run --stage=train first."
            )
        data = data_lib.load(config)
        runs = members(config)
        program = train_lib.make_program(config, data, runs)
        for step in missing:
            state = checkpoints.restore(step, program.abstract_state)
            _embed_step(config, workdir, data, runs, program, state)
            say(f"{workdir}: embedding set of step {step} written")


def represent(
    workdir: Path | str, rows: np.ndarray, *, step: int | None = None
) -> dict[str, np.ndarray]:
    """Representations of rows of your own by the encoders that a run has trained.

    Args:
        workdir: the run's folder, with its checkpoints.
        rows: [n, ...] of the shape of the run's samples; uint8 images for a run on images.
        step: which checkpoint, the last by default; 0 is the untrained encoder.

    Returns:
        By member, an array [n, dim]: the output that the run evaluates, without a view.

    Raises:
        FileNotFoundError: where the folder holds no run, or no checkpoint of this step.
        ValueError: for rows of another shape.
    """
    workdir = Path(workdir)
    file = workdir / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{workdir} holds no config.json; give the folder of a run.")
    config = from_plain(json.loads(file.read_text()))
    data, runs = data_lib.load(config), members(config)
    rows = np.asarray(rows)
    if rows.shape[1:] != data.spec.sample_shape:
        raise ValueError(
            f"rows have shape {rows.shape}; the run's samples are of shape {data.spec.sample_shape}."
        )
    if not len(rows):
        raise ValueError("rows is empty; give at least one.")
    program = train_lib.make_program(config, data, runs)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = max(checkpoints.steps, default=None) if step is None else step
        if step not in checkpoints.steps:
            raise FileNotFoundError(
                f"{workdir} has no checkpoint of step {step} (there are: "
                f"{', '.join(map(str, checkpoints.steps)) or 'none'})."
            )
        state = checkpoints.restore(step, program.abstract_state)
    found = train_lib.encode(program, state, rows, config.embed.batch_size)
    return {member.name: z for member, z in zip(runs, found, strict=True)}


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
    }
    rows = evaluation.evaluate_paths([workdir], **settings)
    evaluation.write(rows, workdir, {"run": config.name, **settings})


def write_report(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes report.html and prints the table."""
    write_joint_report([workdir], workdir, config.report)


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
    validate(config)
    spec = data_lib.describe(config)
    runs = members(config)
    sets = embed_steps(config, spec)
    program = train_lib.make_program(config, data_lib.abstract(config), runs)
    state = program.abstract_state
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.members.params))
    memory = program.lower().compile().memory_analysis()
    mib = 2**20
    total = train_lib.total_steps(config, spec)
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
        f"steps: {total:,} ({total / train_lib.steps_per_epoch(config, spec):g} epochs of "
        f"{train_lib.steps_per_epoch(config, spec):,} steps)",
        f"embedding sets at steps: {', '.join(map(str, sets))}",
        f"devices: {len(jax.local_devices())} x {jax.local_devices()[0].device_kind}",
        f"memory: {memory.argument_size_in_bytes / mib:,.1f} MiB of data and state, "
        f"{memory.temp_size_in_bytes / mib:,.1f} MiB of temporaries while training",
    ]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What a reader needs to know to judge a run's timings."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "devices": [device.device_kind for device in jax.local_devices()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "infonce_jax": code_version(),
    }


def code_version() -> str:
    """The package's version, with the commit where it runs from a checkout."""
    folder = Path(__file__).parent
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return infonce_jax.__version__
    commit = git.stdout.strip()
    return f"{infonce_jax.__version__}+{commit}" if commit else infonce_jax.__version__


def write_joint_report(
    folders: Sequence[Path], output: Path, settings: config_dict.ConfigDict
) -> None:
    """Writes one report.html on several runs into `output`, and prints their table."""
    # A single run is headed by its own title, if that was stated for its data.
    title = settings.title if len(folders) > 1 else ""
    page = report.write_report(folders, output, title=title or None)
    table = report.build_table(folders, n=settings.sample_size)
    if len(table.groups) <= _MOST_SHOWN:
        print(report.format_terminal(table))
    else:
        print(f"{len(table.groups)} settings, too many for a terminal; the page has their table.")
    print(f"\n{page}")


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    """Keeps a second process out of the folder. The system drops the lock of a killed one."""
    with open(workdir / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"{workdir} is being worked on by another process. Wait for it, or choose another "
                "--workdir."
            ) from None
        yield


def _open_checkpoints(config, workdir: Path, sets: Sequence[int]) -> Checkpoints:
    return Checkpoints(
        workdir / "checkpoints",
        keep_newest=config.checkpoint.keep_newest,
        keep_every_steps=config.checkpoint.keep_every_steps,
        keep_steps=sets,
    )


def _missing_sets(workdir: Path, sets: Sequence[int]) -> list[int]:
    present = {int(path.name) for path in embeddings.find_steps(workdir)}
    return [step for step in sets if step not in present]


def _embed_step(config, workdir: Path, data, runs: Sequence[Member], program, state) -> None:
    rows = {"test": (data.test, data.test_labels)}
    if config.embed.train_split:
        rows["train"] = (data.train, data.train_labels)
    arrays, labels = {}, {}
    for split, (split_rows, split_labels) in rows.items():
        kept = slice(config.embed.max_rows or None)
        views = train_lib.embed(program, state, split_rows[kept], config.embed.batch_size)
        for view, stacked in views.items():
            for member, array in zip(runs, stacked, strict=True):
                arrays[member.name, split, view] = array
        if split_labels is not None:
            labels[split] = split_labels[kept]
    step = int(state.step)
    _check_finite(arrays, step, workdir)
    embeddings.write(
        workdir / "embeddings",
        step,
        arrays=arrays,
        labels=labels,
        members=[{"name": m.name, "seed": m.seed, "hyperparameters": m.varied} for m in runs],
        metadata={
            "run": config.name,
            "epoch": step / train_lib.steps_per_epoch(config, data.spec),
            "dataset": config.data.source,
            "output": config.embed.output,
            "config_hash": config_hash(config),
            "code_version": code_version(),
        },
    )


def _check_finite(arrays: dict[tuple[str, str, str], np.ndarray], step: int, workdir: Path) -> None:
    for name, array in arrays.items():
        count = array.size - np.count_nonzero(np.isfinite(array))
        if count:
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise NonFiniteLoss(
                f"The embeddings {'/'.join(name)} at step {step} hold {count} NaN or infinite values, "
                f"the first at row {row}, column {column}. The parameters have most likely diverged: "
                f"lower config.optimizer.learning_rate, and delete {workdir} or choose another "
                "--workdir."
            )


def _take_metrics(state: train_lib.TrainState):
    """Means since the last logging step, and the state with the sums set back to zero."""
    count = int(state.metric_steps)
    sums = jax.device_get(state.members.metric_sums)
    zeros = jax.tree.map(lambda leaf: leaf * 0, state.members.metric_sums)
    cleared = state._replace(
        metric_steps=state.metric_steps * 0, members=state.members._replace(metric_sums=zeros)
    )
    return {name: np.atleast_1d(total / count) for name, total in sums.items()}, cleared


def _save_last_good(config, workdir, runs, program, before, after, checkpoints) -> None:
    """Saves the state before the step that failed, and raises.

    The compiled loop keeps only its newest state; the last good one is found by running the same
    steps again and stopping short, which gives the same numbers.
    """
    step = int(after.step) - 1
    good, _ = program.advance(before, step)
    checkpoints.save(step, good)
    checkpoints.wait()
    sums = jax.device_get(after.members.metric_sums)
    bad = {name: ~np.isfinite(np.atleast_1d(values)) for name, values in sums.items()}
    first = int(np.argmax(bad["loss"] | bad["grad_norm"]))
    member = runs[first]
    what = "loss" if bad["loss"][first] else "gradient"
    suspect = _suspect(config, member, {name for name, flags in bad.items() if flags[first]})
    raise NonFiniteLoss(
        f"The {what} of {member.name} is not finite at step {step}. Most likely at fault: {suspect}. "
        f"The last good state is saved as {workdir / 'checkpoints' / str(step)}. Change the field, and "
        f"delete {workdir} or choose another --workdir."
    )


def _suspect(config, member: Member, bad: set[str]) -> str:
    """The field that most often causes this, with its value."""

    def field(name: str, reason: str) -> str:
        value = member.hyperparameters.get(name)
        if value is None:
            section, key = name.split(".")
            value = config[section][key]
        return (
            f"config.{name} = {value:g} ({reason})"
            if isinstance(value, float)
            else (f"config.{name} = {value!r} ({reason})")
        )

    temperature = member.hyperparameters["loss.temperature"]
    has_temperature = config.objective not in ("supervised", "barlow_twins", "vicreg")
    if has_temperature and temperature < 1e-3:
        return field("loss.temperature", "similarities divided by it overflow; 0.05 to 1 is usual")
    if "regulariser" in bad and "objective" not in bad:
        return field("loss.beta", "the regulariser is not finite while the objective is")
    if has_temperature and not config.loss.normalize:
        return field("loss.normalize", "raw inner products grow without bound")
    if config.train.compute_dtype == "bfloat16":
        return field("train.compute_dtype", "try float32")
    return field("optimizer.learning_rate", "try a tenth of it")


def _open_writers(config, workdir: Path, runs: Sequence[Member]) -> list:
    names = [member.name for member in runs]
    writers = []
    if config.log.tensorboard:
        writers.append(TensorBoard(workdir, names))
    if config.log.wandb:
        writers.append(
            WandB(
                workdir,
                names,
                project=config.log.wandb_project,
                name=config.name,
                run_id=f"{config.name}-{config_hash(config)}",
                config=plain(config),
            )
        )
    return writers


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects the first SIGINT or SIGTERM instead of dying of it; a second one is not held back."""
    received: list[int] = []
    previous = {}

    def remember(signum, frame):
        del frame
        received.append(signum)
        for number, handler in previous.items():
            signal.signal(number, handler)
        print(
            f"{signal.Signals(signum).name} received: saving. Once more to stop at once.",
            file=sys.stderr,
            flush=True,
        )

    try:
        # Only the main thread may set handlers; elsewhere (a notebook, a test) the caller's stay.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                previous[number] = signal.signal(number, remember)
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run_stages(config, workdir: Path, stages: Sequence[str], command: str) -> None:
    functions: dict[str, Callable] = {
        "train": train,
        "embed": embed,
        "evaluate": evaluate,
        "report": write_report,
    }
    for stage in stages:
        started = time.perf_counter()
        functions[stage](config, workdir)
        _record(config, workdir, stage, time.perf_counter() - started, command)


def _record(config, workdir: Path, stage: str, wall_s: float, command: str) -> None:
    """Adds a stage's seconds and what it was done for, the machine and the command to run.json."""
    content = _read_record(workdir)
    content["machine"] = machine()
    content["command"] = command or shlex.join(sys.argv)
    content["stages"][stage] = {
        "wall_s": round(wall_s, 2),
        "fingerprint": _fingerprint(config, stage),
    }
    _write_json(workdir / "run.json", content)


def _read_record(workdir: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        content = json.loads((workdir / "run.json").read_text())
    return {**content, "stages": content.get("stages", {})}


def _fingerprint(config: config_dict.ConfigDict, stage: str) -> str:
    """What decides the result of a stage, as a short hash."""
    if stage in ("train", "embed"):
        return config_hash(config)
    settings = json.dumps(plain(config)[stage], sort_keys=True)
    return hashlib.sha256(f"{config_hash(config)} {settings}".encode()).hexdigest()[:16]


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n")
