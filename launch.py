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
import os
import shlex
import signal
import sys
import time
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
    from infonce_jax import run as run_lib
    from infonce_jax import sweep as sweep_lib

    config = _CONFIG.value
    file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or Path("runs") / file.stem)
    variants = sweep_lib.load_variants(file) if _SWEEP.value is not False else None
    if _SWEEP.value and variants is None:
        raise ValueError(f"--sweep is set but {file} defines no sweep().")
    if variants is not None:
        variants = {
            name: sweep_lib.variant_config(config, name, fields, overrides)
            for name, fields in variants.items()
        }
    if _DRY_RUN.value:
        runs = variants and {workdir / name: variant for name, variant in variants.items()}
        for folder, run_config in (runs or {workdir: config}).items():
            print(run_lib.dry_run(run_config, folder), end="\n\n")
        return
    stages = [_STAGE.value] if _STAGE.value else list(STAGES)
    command = shlex.join(["python", *sys.argv])
    started = time.perf_counter()
    if variants is None:
        run_lib.run(config, workdir, stages=stages, command=command)
    else:
        run_lib.run_sweep(config, variants, workdir, stages=stages, command=command)
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


def _run_or_explain(argv: list[str]) -> None:
    """Turns what a user can mend into one paragraph and an exit code; anything else is a bug."""
    from infonce_jax.run import Interrupted

    try:
        main(argv)
    except Interrupted as stop:
        print(f"\n{stop} The same command again continues it.", file=sys.stderr)
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (ValueError, TypeError, KeyError, OSError) as error:
        if _TRACEBACK.value:
            raise
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
    # The libraries' notes on their own doings would drown the program's.
    logging.set_verbosity(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    app.run(_run_or_explain, flags_parser=_parse)
