"""Trains, embeds, evaluates and reports what a config file asks for.

    python launch.py                                                     # the paper's Table 1, synthetic
    python launch.py --config=configs/cifar10_mlp.py --workdir=runs/mlp  # one run
    python launch.py --config=configs/cifar10_mlp.py --workdir=runs/mlp --config.train.epochs=5
    python launch.py --config=configs/cifar10_mlp.py --dry_run           # what it would do
    python launch.py --workdir=runs/table1_synthetic --stage=report      # one stage again, from disk
    srun python launch.py --config=configs/cifar10_resnet18.py           # one run on several hosts

The same command again continues a run that was stopped. This is the only file that reads flags.
"""

import ast
import contextlib
import functools
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

# Found from any folder.
DEFAULT_CONFIG = str(Path(__file__).resolve().parent / "configs/paper/table1_synthetic.py")
STAGES = ("train", "embed", "evaluate", "report")

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    DEFAULT_CONFIG,
    "What to run; --config.section.field=value changes a field.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run. [default: runs/ and the name of the config file]"
)
_STAGE = flags.DEFINE_enum("stage", None, STAGES, "Run this stage alone, from what is on disk.")
_SWEEP = flags.DEFINE_bool(
    "sweep", None, "Run every variant of the config's sweep(). [default: if it defines one]"
)
_SWEEP_INDEX = flags.DEFINE_integer(
    "sweep_index",
    None,
    "Which share of the sweep to do, from 0. [default: Slurm's array index, where there is one]",
)
_SWEEP_COUNT = flags.DEFINE_integer("sweep_count", None, "Into how many shares it is divided.")
_SUBMITIT = flags.DEFINE_enum(
    "submitit", None, ("local", "slurm"), "Submit the shares as jobs, and follow them."
)
_SUBMITIT_OPTIONS = flags.DEFINE_string(
    "submitit_options", "{}", "submitit's parameters of a job, as JSON: '{\"timeout_min\": 60}'."
)
_JOIN = flags.DEFINE_bool(
    "join",
    None,
    "Train with all processes that Slurm, Open MPI, Cloud TPU or GKE have started. [default: join for "
    "a single run; the processes of a sweep each do other runs]",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, where the cluster does not tell; joins."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes join.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
_JOIN_TIMEOUT_S = flags.DEFINE_float(
    "join_timeout_s", 300.0, "Seconds to wait for the other processes.", lower_bound=1.0
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Print the resolved config, parameters, memory and steps, and stop."
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error was raised.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise ValueError(
            f"Unexpected argument {argv[1]!r}; settings are given as --config.field=value."
        )
    # Heavy imports wait until the flags are known to be right, so that --help and a misspelt flag
    # answer at once.
    from infonce_jax import registry
    from infonce_jax.runs import processes, shares, stages, sweep, variants

    config = _CONFIG.value
    file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
    registry.search_in(file.parent, Path.cwd())
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or Path("runs") / file.stem)
    found = variants.load_variants(file, config) if _SWEEP.value is not False else None
    if _SWEEP.value and found is None:
        raise ValueError(f"--sweep is set but {file} defines no sweep().")
    dividing = [flag for flag in (_SUBMITIT, _SWEEP_INDEX, _SWEEP_COUNT) if flag.value is not None]
    if found is None and dividing:
        why = "--nosweep is set" if _SWEEP.value is False else f"{file} defines no sweep()"
        raise ValueError(
            f"--{dividing[0].name} divides a sweep, but {why}, so there is a single run. Leave the flag "
            "out, or give a config file with a sweep()."
        )
    _join_processes(is_sweep=found is not None)
    asked = [_STAGE.value] if _STAGE.value else list(STAGES)
    command = shlex.join(["python", *sys.argv])
    started = time.perf_counter()
    if found is None and _DRY_RUN.value:
        text = stages.dry_run(config, workdir)
        if processes.is_first():
            print(text)
        return
    if found is None:
        stages.run(config, workdir, stages=asked, command=command)
    else:
        only = submit = None
        if _SUBMITIT.value:
            submit = _submission(workdir)
        else:
            index, count = _share_of_sweep()
            only = shares.share(found, index, count)
            if not only:
                print(
                    f"Share {index} of {count} has no run to do: the sweep has {len(found)} "
                    f"run{'s' * (len(found) > 1)}. Seeds and lists of values are members of one run.",
                    file=sys.stderr,
                )
        if _DRY_RUN.value:
            for text in sweep.dry_run(config, found, workdir, only, overrides):
                if processes.is_first():
                    print(text, end="\n\n", flush=True)
            return
        _keep_compiled_programs(workdir)
        sweep.run_sweep(
            config,
            found,
            workdir,
            stages=asked,
            overrides=overrides,
            only=only,
            submit=submit,
            command=command,
        )
    if processes.is_first():
        print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


def _join_processes(is_sweep: bool) -> None:
    """Joins the other processes of the run, where there are some and the flags do not say otherwise."""
    from infonce_jax.runs.processes import join

    told = [_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value]
    if any(value is not None for value in told):
        if None in told:
            raise ValueError(
                "--coordinator, --num_processes and --process_id go together; give all, or none where "
                "Slurm, Open MPI, Cloud TPU or GKE start the processes."
            )
        if _JOIN.value is False:
            raise ValueError("--nojoin contradicts --coordinator; give one of the two.")
        address, count, index = told
        if not address.rpartition(":")[2].isdigit() or address.startswith(":"):
            raise ValueError(f"--coordinator is {address!r}; give host:port of process 0.")
        if not 0 <= index < count:
            raise ValueError(
                f"--process_id is {index} and --num_processes {count}; the id counts from 0 and is less "
                "than the number."
            )
    joins = _COORDINATOR.value is not None or (not is_sweep if _JOIN.value is None else _JOIN.value)
    if joins and _SUBMITIT.value:
        raise ValueError(
            "--submitit starts jobs that do not join; leave out --join and --coordinator."
        )
    if joins:
        join(*told, timeout_s=_JOIN_TIMEOUT_S.value)


def _keep_compiled_programs(workdir: Path) -> None:
    """Lets the processes and restarts of a sweep share what one of them has compiled."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(workdir.resolve() / ".compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _submission(workdir: Path) -> Callable[[], list[str]]:
    """What submits the shares as jobs, follows them, and names those that failed."""
    from infonce_jax.runs.submit import submit_shares, without_flags

    if _SWEEP_INDEX.value is not None:
        # Every job has a --sweep_index, so one that got --submitit too stops here.
        raise ValueError(
            "--submitit submits all shares, and --sweep_index takes one: give one of the two, and give "
            "--submitit on the command line, for its jobs read a --flagfile as well."
        )
    if (_SWEEP_COUNT.value or 0) < 1:
        raise ValueError(
            "--submitit needs --sweep_count, the number of jobs, which is at least 1; it is "
            f"{_SWEEP_COUNT.value}."
        )
    try:
        options = json.loads(_SUBMITIT_OPTIONS.value)
    except ValueError as error:
        raise ValueError(f"--submitit_options is not JSON ({error}).") from None
    ours = {flag.name for flag in (_SUBMITIT, _SUBMITIT_OPTIONS, _SWEEP_COUNT)}
    return functools.partial(
        submit_shares,
        [sys.executable, sys.argv[0], *without_flags(sys.argv[1:], ours)],
        _SWEEP_COUNT.value,
        cluster=_SUBMITIT.value,
        options=options,
        folder=workdir / "jobs",
    )


def _share_of_sweep() -> tuple[int, int]:
    """Index and count of the share to do, from the flags or from the Slurm array job around."""
    from infonce_jax.runs.shares import array_share

    index, count = _SWEEP_INDEX.value, _SWEEP_COUNT.value
    if index is None and "SLURM_ARRAY_TASK_ID" in os.environ:
        return array_share(os.environ, count)
    if (index is None) != (count is None):
        raise ValueError("--sweep_index and --sweep_count go together; give both, or neither.")
    return (0, 1) if index is None else (index, count)


def _run_or_explain(argv: list[str]) -> None:
    """Prints errors that a user can fix as one paragraph, with an exit code; others are bugs."""
    from infonce_jax.files import is_disk_full
    from infonce_jax.runs import processes
    from infonce_jax.runs.loop import Interrupted

    try:
        main(argv)
        processes.leave(0)
    except Interrupted as stop:
        if processes.is_first():
            print(f"\n{stop} The same command again continues it.", file=sys.stderr)
        processes.leave(128 + stop.signum)
    except KeyboardInterrupt:
        processes.leave(128 + signal.SIGINT)
    except Exception as error:
        # Libraries report a full disk with errors of different classes.
        is_full = is_disk_full(error)
        if processes.is_lost(error) and not is_full:
            processes.stop_lost(error)
        if isinstance(error, processes.Elsewhere):
            # The process that it is of has printed it, and the first one does so for the logs.
            if processes.is_first():
                _explain(error)
            processes.leave(2)
        known = is_full or isinstance(error, ValueError | TypeError | KeyError | OSError)
        if _TRACEBACK.value or not known:
            raise
        if is_full:
            error = OSError(
                f"The disk is full ({error}). Make room, and the same command goes on from where it "
                "stopped; what is finished is kept."
            )
        _explain(error)
        processes.leave(2)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        _explain(error, "the command line cannot be used: ")
        sys.exit(2)


def _explain(error: Exception, introduction: str = "") -> None:
    message = str(error)
    # str(KeyError) is its argument's representation; the configuration passes such strings on.
    with contextlib.suppress(ValueError, SyntaxError):
        message = str(ast.literal_eval(message))
    print(f"error: {introduction}{' '.join(message.split())}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    # Silence the libraries' notes, which would hide the program's own output.
    logging.set_verbosity(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    app.run(_run_or_explain, flags_parser=_parse)
