"""Command line: `infonce-jax evaluate|compare|whiten|score|apply …`.

Exit codes: 0 done; with --strict, 1 where a part of a verdict fails, and 3 where none fails but one is
undecided (too few rows to tell) or untested; 2 with one paragraph on stderr, where something is wrong
with the arguments or the data; 130 after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from infonce_jax.evaluation import commands, model_commands, normality, whitening
from infonce_jax.evaluation.controls import CONTROLS
from infonce_jax.evaluation.evaluate import SAMPLE_SIZES
from infonce_jax.evaluation.groups import GROUP_SIZE, GROUPS
from infonce_jax.evaluation.load import PATHS
from infonce_jax.evaluation.names import test_keys
from infonce_jax.evaluation.representations import DEFAULT_REPRESENTATIONS, REPRESENTATIONS
from infonce_jax.evaluation.verdict import PARTS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise ValueError(f"{message}. Run with --help for the usage.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; see the module."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(argv)
        return arguments.run(arguments, argv)
    except (ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="infonce-jax",
        description="Tests whether embeddings are Gaussian, concentrated and uniform.",
        epilog="Exit codes: 0 done; with --strict, 1 where a part of a verdict fails, and 3 where "
        "none fails but one is undecided (too few rows to tell) or untested; 2 something is wrong with "
        "arguments or data; 130 after Ctrl-C.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    evaluate = subparsers.add_parser(
        "evaluate",
        help="every statistic at a grid of sample sizes, to CSV and JSON",
        description="Evaluates embeddings at a grid of sample sizes and writes evaluation.csv "
        "(one row per seed), evaluation_summary.csv and evaluation.json. Ctrl-C keeps the sets that "
        "are finished.",
    )
    compare = subparsers.add_parser(
        "compare",
        help="the same, several sets side by side at the largest sample size all have",
        description="Evaluates as `evaluate` does and prints the sets side by side.",
    )
    for command in (evaluate, compare):
        _add_evaluation(command)
    compare.add_argument(
        "--unpaired",
        action="store_true",
        help="the sets are of different samples (default: sets of equally many rows are taken to be of "
        "the same samples, unless --id_column says otherwise)",
    )
    whiten = subparsers.add_parser(
        "whiten",
        help="fit a Gaussian model on part of the rows, judge it on the others, save it",
        description="Fits mean and shrunk covariance on a random part of the rows, judges them on "
        "the others, names near-duplicate coordinates, and saves one .npz for `score`.",
    )
    whiten.add_argument(
        "paths", nargs="+", metavar="PATH", help=f"{PATHS}; several are shards of one set"
    )
    whiten.add_argument("--output", type=Path, required=True, metavar="FILE.npz")
    whiten.add_argument("--kind", choices=whitening.KINDS, default="pca")
    whiten.add_argument(
        "--shrinkage",
        type=_shrinkage,
        default="ledoit_wolf",
        help="ledoit_wolf (default), or a number from 0 to 1",
    )
    whiten.add_argument(
        "--floor", type=float, default=1e-7, help="smallest variance kept, relative to the largest"
    )
    whiten.add_argument("--held_out", type=float, default=0.5, help="share of rows to judge on")
    whiten.add_argument("--seed", type=int, default=0, help="of the split")
    whiten.add_argument(
        "--pair", metavar="VIEW2", help="a second view of the rows, for their mutual information"
    )
    _add_columns(whiten)
    whiten.set_defaults(run=model_commands.whiten)
    score = subparsers.add_parser(
        "score",
        help="log-likelihood and Mahalanobis distance of each row under a saved model",
        description="Writes scores_<name>.csv for each PATH: row, mahalanobis2, log_likelihood, and "
        "where they apply id and fitted. Averages leave out rows that the model was fitted on.",
    )
    _add_model(score)
    score.add_argument("--output", type=Path, required=True, metavar="DIR")
    score.add_argument(
        "--against", metavar="OUT", help="embeddings to be told from PATH's: prints the AUROC"
    )
    score.add_argument(
        "--fitted",
        choices=["leave_out", "include"],
        default="leave_out",
        help="rows that the model was fitted on: leave_out of the averages and the AUROC (default), or "
        "include; the CSV has all rows and says which these are",
    )
    score.add_argument(
        "--report",
        action="store_true",
        help="also write whitened.html: laws of the likelihoods, most and least typical rows, whitened "
        "cosines (matplotlib)",
    )
    score.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="of the page's thumbnails (default: where infonce_jax.pretrained read them)",
    )
    score.set_defaults(run=model_commands.score)
    apply = subparsers.add_parser(
        "apply",
        help="whitened rows under a saved model, as a .npy file",
        description="Writes the whitened rows of all PATHs, one after the other, as one .npy file of "
        "float32. Evaluate those of rows that the model was not fitted on.",
    )
    _add_model(apply)
    apply.add_argument("--output", type=Path, required=True, metavar="FILE.npy")
    apply.set_defaults(run=model_commands.apply)
    return parser


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("whitening", metavar="FILE.npz", help="as `whiten` wrote it")
    command.add_argument("paths", nargs="+", metavar="PATH", help=PATHS)
    _add_columns(command)


def _add_columns(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--id_column",
        metavar="NAME",
        help="a column that names the rows; no coordinate (`score` puts it into its CSV)",
    )
    command.add_argument(
        "--label_column", metavar="NAME", help="the class of each row; no coordinate"
    )


def _add_evaluation(command: argparse.ArgumentParser) -> None:
    command.add_argument("paths", nargs="+", metavar="PATH", help=PATHS)
    command.add_argument(
        "--concatenate", action="store_true", help="all PATHs are shards of one set"
    )
    command.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="draw N rows of each set at random and read no others (default: all)",
    )
    _add_columns(command)
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write (default: only print)"
    )
    command.add_argument(
        "--coordinates",
        type=Path,
        metavar="FILE.csv",
        help="write one line per coordinate: index (from 0), moments, each test's statistic and p-value "
        "and whether it is rejected at a false discovery rate of 5%%, and its shape",
    )
    command.add_argument(
        "--sample_sizes",
        nargs="+",
        type=_size,
        default=SAMPLE_SIZES,
        metavar="N",
        help="numbers of rows, drawn at random and nested; 'all' for all of them; sizes beyond "
        f"the data are skipped (default: {' '.join(map(str, SAMPLE_SIZES))})",
    )
    command.add_argument("--seed", type=int, default=0, help="of the random order of the rows")
    command.add_argument(
        "--representation",
        nargs="+",
        choices=list(REPRESENTATIONS),
        default=None,
        help="; ".join(f"{name}: {what}" for name, what in REPRESENTATIONS.items())
        + f" (default: {' '.join(DEFAULT_REPRESENTATIONS)}, or raw alone where all rows have the same "
        "norm)",
    )
    command.add_argument(
        "--tests",
        nargs="+",
        type=_test,
        metavar="TEST",
        default=list(normality.TESTS),
        help="univariate tests: "
        + "; ".join(f"{key}: {title}" for key, title in normality.TESTS.items())
        + " (default: all)",
    )
    command.add_argument(
        "--pair",
        metavar="VIEW2",
        help="a file with a second view, or another modality, of the same samples as PATH: adds their "
        "alignment, gap, retrieval, joint likelihood and mutual information (pair.json, pair_rows.csv)",
    )
    command.add_argument(
        "--labels",
        metavar="FILE",
        help="the class of each row: .npy, or text with one label a line",
    )
    for name in ("mean", "std"):
        command.add_argument(
            f"--known_{name}",
            type=float,
            metavar=name.upper(),
            help=f"the {name} of every raw coordinate, where it is known: adds the tests whose null "
            "this changes (ad, cvm, lilliefors, ep), with mean and std known; give both",
        )
    command.add_argument(
        "--deep",
        action="store_true",
        help="at the largest sample size add intervals, the global test, multivariate and "
        "spherical tests, by simulation",
    )
    command.add_argument(
        "--controls",
        nargs="+",
        choices=list(CONTROLS),
        default=[],
        help="; ".join(f"{name}: {what}" for name, what in CONTROLS.items()),
    )
    command.add_argument(
        "--inputs",
        metavar="FILE",
        help="the encoder's inputs for the rows of PATH: adds a random linear projection of them as "
        "a control",
    )
    command.add_argument(
        "--report", action="store_true", help="also write report.html with figures (matplotlib)"
    )
    command.add_argument(
        "--paper",
        action="store_true",
        help="print the results in the form of the paper's tables, raw / normalised at a stated n; with "
        "--output also write paper.csv (wide), paper.md and paper.tex",
    )
    command.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="write each figure of the page as SVG, PDF and PNG to this folder (matplotlib)",
    )
    command.add_argument(
        "--protocol",
        choices=["grid", "groups"],
        default="grid",
        help="grid: all tests at each sample size (default); groups: besides, AD and DP of every "
        "coordinate in many small groups, averaged over the groups, as the paper has it",
    )
    command.add_argument("--groups", type=int, default=GROUPS, help="their number (default: 20)")
    command.add_argument(
        "--group_size", type=int, default=GROUP_SIZE, help="the rows of each (default: 250)"
    )
    command.add_argument(
        "--repeats",
        choices=["once", "keep"],
        default="once",
        help="where more than 1%% of the rows repeat others, test each once (default), or all",
    )
    command.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 where a part of a verdict fails, with 3 where none fails but one is "
        "undecided or untested; 'close, but rejected' does not count as a failure, nor do controls",
    )
    command.add_argument(
        "--strict_on",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="the parts that --strict follows (default: all)",
    )
    command.set_defaults(run=commands.evaluate)


def _size(text: str) -> int | str:
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of rows nor 'all'")


def _test(text: str) -> str:
    try:
        return test_keys(text, normality.TESTS)[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def _shrinkage(text: str) -> float | str:
    if text == "ledoit_wolf":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither ledoit_wolf nor a number from 0 to 1"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
