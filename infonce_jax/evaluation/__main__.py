"""Command line: `python -m infonce_jax.evaluation evaluate|compare|whiten|score …`.

Exit codes: 0 done; 1 with --strict, where a verdict is "not gaussian"; 2 with one paragraph on
stderr, where something is wrong with the arguments or the data; 130 after Ctrl-C.
"""

import argparse
import csv
import io
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
from infonce_jax.evaluation import normality, whitening
from infonce_jax.evaluation.arrays import check_embeddings
from infonce_jax.evaluation.controls import CONTROLS
from infonce_jax.evaluation.duplicates import duplicate_coordinates
from infonce_jax.evaluation.evaluate import (
    DEFAULT_REPRESENTATIONS,
    GAUSSIAN,
    REPRESENTATIONS,
    SAMPLE_SIZES,
    iterate_paths,
    summarise,
    write,
    write_texts,
)
from infonce_jax.evaluation.load import load_labels, open_embeddings
from infonce_jax.evaluation.table import format_comparison, format_table
from infonce_jax.evaluation.verdict import NOT_GAUSSIAN, verdicts


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


def _evaluate(arguments: argparse.Namespace, argv: list[str]) -> int:
    started_s = time.perf_counter()
    if arguments.output is None and arguments.report:
        raise ValueError("--report needs --output, the folder to write the page to.")
    if arguments.strict and "ad" not in arguments.tests:
        raise ValueError("--strict follows the Anderson-Darling test; add ad to --tests.")
    if arguments.output is not None:
        _check_folder(arguments.output)
    labels = None if arguments.labels is None else load_labels(arguments.labels)
    settings = {
        "sample_sizes": list(arguments.sample_sizes),
        "seed": arguments.seed,
        "representations": list(arguments.representation),
        "tests": list(arguments.tests),
        "mean": arguments.known_mean,
        "std": arguments.known_std,
        "deep": arguments.deep,
        "controls": list(arguments.controls),
    }
    sets = iterate_paths(
        arguments.paths, pair=arguments.pair, labels=labels, inputs=arguments.inputs, **settings
    )
    rows, interrupted = _gather(sets, started_s)
    duplicates = _duplicates(arguments.paths, rows)
    meta = {
        "command": shlex.join(["python", "-m", "infonce_jax.evaluation", *argv]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "evaluation_s": round(time.perf_counter() - started_s, 3),
        "paths": [str(path) for path in arguments.paths],
        "pair": arguments.pair,
        "labels": arguments.labels,
        "inputs": arguments.inputs,
        **settings,
        "interrupted": interrupted,
        "duplicate_coordinates": duplicates,
        "pvalues": "calibrated at n, except those of the paper's criteria ad_pass, dp_mean_p and "
        "dp_pass, which are asymptotic",
        "exact_gaussian": GAUSSIAN,
        "versions": {
            "infonce_jax": __version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
    }
    summary = summarise(rows)
    written = [] if arguments.output is None else write(rows, arguments.output, meta)
    found = verdicts(summary)
    print(format_comparison(summary) if arguments.command == "compare" else format_table(summary))
    for name, groups in duplicates.items():
        print(f"\nduplicate coordinates of {name}: {_groups(groups)}")
    print()
    for one in found:
        print(f"{one.source}, {one.representation}: {one.text}")
    if arguments.report and not interrupted:
        from infonce_jax.report import write_embedding_report  # matplotlib, on request only

        written.append(write_embedding_report(arguments.paths, rows, meta, arguments.output))
    if written:
        print("\nwritten:", *written, sep="\n  ")
    if interrupted:
        done = "written" if written else "shown"
        print(f"interrupted: only the sets that were finished were {done}", file=sys.stderr)
        return 130
    return int(arguments.strict and any(one.answer == NOT_GAUSSIAN for one in found))


def _gather(sets, started_s: float) -> tuple[list[dict], bool]:
    rows: list[dict] = []
    names: list[str] = []
    done = 0
    try:
        for name, found in sets:
            if not found:
                names.append(name)
                continue
            rows += found
            done += 1
            if sys.stderr.isatty():
                passed_s = time.perf_counter() - started_s
                print(f"{done}/{len(names)} in {passed_s:.0f} s: {name}", file=sys.stderr)
    except KeyboardInterrupt:
        if not rows:
            raise
        return rows, True
    return rows, False


def _duplicates(paths: Sequence[str], rows: list[dict]) -> dict[str, list[tuple[int, ...]]]:
    """The groups of duplicate coordinates of every set whose rows count any: rows hold no names."""
    identity = ("source", "member", "split")
    having = {
        tuple(row[c] for c in identity)
        for row in rows
        if row["statistic"] == "duplicate_coordinates" and row["value"] > 0
    }
    if not having:
        return {}
    return {
        found.name: duplicate_coordinates(found.z)
        for path in paths
        for found in open_embeddings(path)
        if tuple(found.identity.get(c) for c in identity) in having
    }


def _groups(groups: list[tuple[int, ...]], most: int = 10) -> str:
    if not groups:
        return "none on all rows, only in a smaller sample"
    named = []
    for group in groups[:most]:
        more = f" and {len(group) - most} more" if len(group) > most else ""
        named.append(" = ".join(map(str, group[:most])) + more)
    if len(groups) > most:
        named.append(f"and {len(groups) - most} further groups")
    return "; ".join(named)


def _whiten(arguments: argparse.Namespace, argv: list[str]) -> int:
    source, x = _only(arguments.path)
    if arguments.output.is_dir():
        raise IsADirectoryError(f"--output {arguments.output} is a folder: name the file to write.")
    if arguments.output.suffix != ".npz":
        raise ValueError(f"--output {arguments.output} is to be a .npz file: give it that suffix.")
    judged = whitening.fit_and_judge(
        x,
        held_out=arguments.held_out,
        kind=arguments.kind,
        shrinkage=arguments.shrinkage,
        floor=arguments.floor,
        seed=arguments.seed,
    )
    model = judged.whitening
    information = None
    if arguments.pair is not None:
        information = whitening.mutual_information(x, _only(arguments.pair)[1], seed=arguments.seed)
    whitening.save(model, arguments.output)
    rank, d = len(model.variances), len(model.mean)
    print(f"{source}: {len(x)} rows, {d} coordinates, {rank} directions kept")
    print(f"fitted on {judged.fitted_rows} rows, judged on {judged.held_out_rows} others")
    print(f"shrinkage                         {model.shrinkage:.4f}")
    print(
        f"mean Mahalanobis^2 / rank         {judged.held_out:.4f} held out (1 if the model holds)"
    )
    print(f"                                  {judged.in_sample:.4f} in sample (no evidence)")
    print(f"mean log-likelihood               {judged.held_out_log_likelihood:.4f} nats, held out")
    print(f"entropy                           {whitening.entropy(model):.4f} nats")
    if information is not None:
        print(f"mutual information of the views   {information.nats:.4f} nats, held out")
        print(f"                                  {information.in_sample:.4f} nats, in sample")
    for i, j, correlation in model.near_duplicates[:20]:
        print(f"near duplicates: coordinates {i} and {j}, correlation {correlation:.4f}")
    if len(model.near_duplicates) > 20:
        print(f"and {len(model.near_duplicates) - 20} further pairs")
    print("\nwritten:", arguments.output, sep="\n  ")
    return 0


def _score(arguments: argparse.Namespace, argv: list[str]) -> int:
    _check_folder(arguments.output)
    model = whitening.load(arguments.whitening)
    sets = [(path, *_only(path)) for path in arguments.paths]
    against = None if arguments.against is None else _only(arguments.against)
    scores = {}
    for path, source, x in [*sets, *([(arguments.against, *against)] if against else [])]:
        distance = whitening.mahalanobis(model, x)
        k = len(model.variances)
        constant = k * np.log(2 * np.pi) + np.log(model.variances).sum()
        scores[source] = (
            Path(str(path).replace("::", "_")).stem,
            distance,
            -0.5 * (constant + distance),
        )
    texts: dict[str, str] = {}
    names: dict[str, int] = {}
    for stem, distance, likelihood in scores.values():
        names[stem] = names.get(stem, 0) + 1
        stem = stem if names[stem] == 1 else f"{stem}_{names[stem]}"
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["row", "mahalanobis2", "log_likelihood"])
        writer.writerows(
            zip(range(len(distance)), distance.tolist(), likelihood.tolist(), strict=True)
        )
        texts[f"scores_{stem}.csv"] = stream.getvalue()
    written = write_texts(texts, arguments.output)
    for source, (_, distance, likelihood) in scores.items():
        print(
            f"{source}: {len(distance)} rows, mean Mahalanobis^2 / rank "
            f"{distance.mean() / len(model.variances):.4f}, mean log-likelihood "
            f"{likelihood.mean():.4f} nats"
        )
    if against is not None:
        outside = scores[against[0]][1]
        for _, source, _ in sets:
            area = whitening.auroc(scores[source][1], outside)
            print(f"AUROC of {against[0]} against {source} by Mahalanobis distance: {area:.4f}")
    print("\nwritten:", *written, sep="\n  ")
    return 0


def _only(path: str) -> tuple[str, np.ndarray]:
    found = list(open_embeddings(path))
    if len(found) != 1:
        raise ValueError(
            f"{path} holds {len(found)} embedding arrays ({', '.join(f.name for f in found)}): "
            f"choose one with path::key, or name its file."
        )
    return found[0].name, check_embeddings(found[0].z, found[0].name, min_rows=1)


def _check_folder(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(
            f"--output {output} is a file: name the folder to write the results to."
        )


_PATH = (
    ".npy, .npz, .safetensors or .parquet file (path::key names one array of several), an "
    "embeddings/<step> folder, or a run folder"
)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m infonce_jax.evaluation",
        description="Tests whether embeddings are Gaussian, concentrated and uniform.",
        epilog="Exit codes: 0 done; 1 with --strict, where a verdict is that embeddings are not "
        "Gaussian; 2 something is wrong with arguments or data; 130 after Ctrl-C.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    evaluate = commands.add_parser(
        "evaluate",
        help="every statistic at a grid of sample sizes, to CSV and JSON",
        description="Evaluates embeddings at a grid of sample sizes and writes evaluation.csv "
        "(one row per seed), evaluation_summary.csv and evaluation.json. Ctrl-C keeps the sets that "
        "are finished.",
    )
    compare = commands.add_parser(
        "compare",
        help="the same, several sets side by side at the largest sample size all have",
        description="Evaluates as `evaluate` does and prints the sets side by side.",
    )
    for command in (evaluate, compare):
        _add_evaluation(command)
    whiten = commands.add_parser(
        "whiten",
        help="fit a Gaussian model on part of the rows, judge it on the others, save it",
        description="Fits mean and shrunk covariance on a random part of the rows, judges them on "
        "the others, names near-duplicate coordinates, and saves one .npz for `score`.",
    )
    whiten.add_argument("path", metavar="PATH", help=_PATH)
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
    whiten.set_defaults(run=_whiten)
    score = commands.add_parser(
        "score",
        help="log-likelihood and Mahalanobis distance of each row under a saved model",
        description="Writes scores_<name>.csv for each file: row, mahalanobis2, log_likelihood.",
    )
    score.add_argument("whitening", metavar="FILE.npz", help="as `whiten` wrote it")
    score.add_argument("paths", nargs="+", metavar="PATH", help=_PATH)
    score.add_argument("--output", type=Path, required=True, metavar="DIR")
    score.add_argument(
        "--against", metavar="OUT", help="embeddings to be told from PATH's: prints the AUROC"
    )
    score.set_defaults(run=_score)
    return parser


def _add_evaluation(command: argparse.ArgumentParser) -> None:
    command.add_argument("paths", nargs="+", metavar="PATH", help=_PATH)
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write (default: only print)"
    )
    command.add_argument(
        "--sample_sizes",
        nargs="+",
        type=_size,
        default=SAMPLE_SIZES,
        metavar="N",
        help="numbers of rows, drawn at random and nested; 'all' for all of them; those beyond "
        f"the data are passed over (default: {' '.join(map(str, SAMPLE_SIZES))})",
    )
    command.add_argument("--seed", type=int, default=0, help="of the random order of the rows")
    command.add_argument(
        "--representation",
        nargs="+",
        choices=list(REPRESENTATIONS),
        default=DEFAULT_REPRESENTATIONS,
        help="; ".join(f"{name}: {what}" for name, what in REPRESENTATIONS.items())
        + f" (default: {' '.join(DEFAULT_REPRESENTATIONS)})",
    )
    command.add_argument(
        "--tests",
        nargs="+",
        choices=list(normality.TESTS),
        default=list(normality.TESTS),
        help="univariate tests (default: all)",
    )
    command.add_argument(
        "--pair",
        metavar="VIEW2",
        help="a file with a second view of the same samples as PATH, for the alignment",
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
        "--strict",
        action="store_true",
        help="exit with 1 where a verdict is: not Gaussian (but 0 where it is: close to Gaussian, and "
        "found not to be)",
    )
    command.set_defaults(run=_evaluate)


def _size(text: str) -> int | str:
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of rows nor 'all'")


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
