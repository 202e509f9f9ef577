"""Trains, embeds, evaluates and reports what a config file asks for.

    python launch.py                                                     # the paper's Table 1, synthetic
    python launch.py --config=configs/cifar10_mlp.py --workdir=runs/mlp  # one run
    python launch.py --config=configs/cifar10_mlp.py --workdir=runs/mlp --config.train.epochs=5
    python launch.py --config=configs/cifar10_mlp.py --dry_run           # what it would do
    python launch.py --workdir=runs/table1_synthetic --stage=report      # one stage again, from disk

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

DEFAULT_CONFIG = "configs/paper/table1_synthetic.py"
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
    from infonce_jax.runs import shares, stages, sweep, variants

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
    asked = [_STAGE.value] if _STAGE.value else list(STAGES)
    command = shlex.join(["python", *sys.argv])
    started = time.perf_counter()
    if found is None and _DRY_RUN.value:
        print(stages.dry_run(config, workdir))
        return
    if found is None:
        stages.run(config, workdir, stages=asked, command=command)
    else:
        configs = {
            name: variants.variant_config(config, name, fields, overrides)
            for name, fields in found.items()
        }
        only = submit = None
        if _SUBMITIT.value:
            submit = _submission(workdir)
        else:
            only = shares.share(configs, *_share_of_sweep())
        if _DRY_RUN.value:
            for text in sweep.dry_run(configs, workdir, only):
                print(text, end="\n\n", flush=True)
            return
        _keep_compiled_programs(workdir)
        sweep.run_sweep(
            config, configs, workdir, stages=asked, only=only, submit=submit, command=command
        )
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


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
    from infonce_jax.runs.loop import Interrupted

    try:
        main(argv)
    except Interrupted as stop:
        print(f"\n{stop} The same command again continues it.", file=sys.stderr)
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        # Libraries report a full disk with errors of different classes.
        is_full = is_disk_full(error)
        known = is_full or isinstance(error, ValueError | TypeError | KeyError | OSError)
        if _TRACEBACK.value or not known:
            raise
        if is_full:
            error = OSError(
                f"The disk is full ({error}). Make room, and the same command goes on from where it "
                "stopped; what is finished is kept."
            )
        _explain(error)
        sys.exit(2)


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
