"""Command line: `python -m infonce_jax.evaluation evaluate PATH… --output DIR`."""

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import scipy

from infonce_jax import __version__
from infonce_jax.evaluation.evaluate import (
    GAUSSIAN,
    REPRESENTATIONS,
    SAMPLE_SIZES,
    evaluate_paths,
    summarise,
    write,
)
from infonce_jax.evaluation.table import format_table


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise ValueError(f"{message}. Run with --help for the usage.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, or 2 with one paragraph on stderr."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(argv)
        _evaluate(arguments, argv)
    except (ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


def _evaluate(arguments: argparse.Namespace, argv: list[str]) -> None:
    started_s = time.perf_counter()
    if arguments.output.exists() and not arguments.output.is_dir():
        raise NotADirectoryError(
            f"--output {arguments.output} is a file: name the folder to write the results to."
        )
    rows = evaluate_paths(
        arguments.paths,
        sample_sizes=arguments.sample_sizes,
        seed=arguments.seed,
        representations=arguments.representation,
        pair=arguments.pair,
    )
    meta = {
        "command": shlex.join(["python", "-m", "infonce_jax.evaluation", *argv]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "evaluation_s": round(time.perf_counter() - started_s, 3),
        "paths": [str(path) for path in arguments.paths],
        "pair": arguments.pair,
        "sample_sizes": list(arguments.sample_sizes),
        "seed": arguments.seed,
        "representations": list(arguments.representation),
        "exact_gaussian": GAUSSIAN,
        "versions": {
            "infonce_jax": __version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
    }
    written = write(rows, arguments.output, meta)
    print(format_table(summarise(rows)))
    print("\nwritten:", *written, sep="\n  ")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m infonce_jax.evaluation",
        description="Tests whether embeddings are Gaussian, concentrated and uniform.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    evaluate = commands.add_parser(
        "evaluate",
        help="every statistic at a grid of sample sizes, to CSV and JSON",
        description="Evaluates embeddings at a grid of sample sizes and writes evaluation.csv "
        "(one row per seed), evaluation_summary.csv and evaluation.json.",
    )
    evaluate.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help=".npy, .npz, .safetensors or .parquet file (path::key names one array of several), "
        "an embeddings/<step> folder, or a run folder",
    )
    evaluate.add_argument("--output", type=Path, required=True, metavar="DIR")
    evaluate.add_argument(
        "--sample_sizes",
        nargs="+",
        type=_size,
        default=SAMPLE_SIZES,
        metavar="N",
        help="numbers of rows, drawn at random and nested; 'all' for all of them; those beyond "
        f"the data are passed over (default: {' '.join(map(str, SAMPLE_SIZES))})",
    )
    evaluate.add_argument("--seed", type=int, default=0, help="of the random order of the rows")
    evaluate.add_argument(
        "--representation",
        nargs="+",
        choices=REPRESENTATIONS,
        default=REPRESENTATIONS,
        help="z as it is, z/|z|, or both (default: both)",
    )
    evaluate.add_argument(
        "--pair",
        metavar="VIEW2",
        help="a file with a second view of the same samples as PATH, for the alignment",
    )
    return parser


def _size(text: str) -> int | str:
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of rows nor 'all'")


if __name__ == "__main__":
    sys.exit(main())
