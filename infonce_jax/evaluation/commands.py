"""What the commands do once their arguments are parsed."""

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from infonce_jax import __version__
from infonce_jax.evaluation import closer
from infonce_jax.evaluation.arrays import MIN_ROWS, as_floats
from infonce_jax.evaluation.coordinate_table import coordinate_table, to_csv
from infonce_jax.evaluation.duplicates import duplicate_coordinates
from infonce_jax.evaluation.load import (
    Embeddings,
    Reading,
    coordinate_names,
    load_column,
    load_labels,
    open_paths,
)
from infonce_jax.evaluation.pair import format_pair
from infonce_jax.evaluation.pair_files import compare_pair, write_pair
from infonce_jax.evaluation.paper_rows import paper_table
from infonce_jax.evaluation.registry import GAUSSIAN
from infonce_jax.evaluation.rows import summarise, write, write_texts
from infonce_jax.evaluation.sets import iterate_paths
from infonce_jax.evaluation.table import format_comparison, format_table
from infonce_jax.evaluation.verdict import NO_DIRECTIONS, Verdict, verdicts
from infonce_jax.evaluation.verdict_parts import FAILS, UNDECIDED, UNTESTED

_MOST_COMPARED = 12
# What results say they were made by.
COMMAND = "infonce-jax"


def evaluate(arguments: argparse.Namespace, argv: list[str]) -> int:
    started_s = time.perf_counter()
    _check_options(arguments)
    reading = reading_of(arguments)
    labels = _labels(arguments)
    pair = None if arguments.pair is None else compare_pair(arguments, reading)
    settings = {
        "sample_sizes": list(arguments.sample_sizes),
        "seed": arguments.seed,
        "representations": arguments.representation,
        "tests": list(arguments.tests),
        "mean": arguments.known_mean,
        "std": arguments.known_std,
        "deep": arguments.deep,
        "groups": _groups_asked(arguments),
        "repeats": arguments.repeats,
        "controls": list(arguments.controls),
    }
    sets = iterate_paths(
        arguments.paths,
        # Alignment needs a space that both share.
        pair=arguments.pair if pair is None or pair.found.shared is not None else None,
        labels=labels,
        inputs=arguments.inputs,
        reading=reading,
        **settings,
    )
    rows, interrupted = _gather(sets, started_s)
    duplicates = _duplicates(arguments.paths, rows, reading)
    meta = {
        "command": shlex.join([COMMAND, *argv]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "evaluation_s": round(time.perf_counter() - started_s, 3),
        "paths": [str(path) for path in arguments.paths],
        "pair": arguments.pair,
        "labels": arguments.labels,
        "inputs": arguments.inputs,
        "reading": reading._asdict(),
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
    if arguments.command == "compare" and not interrupted:
        meta["comparison"] = _comparison(arguments, reading)
    summary = summarise(rows)
    written = [] if arguments.output is None else write(rows, arguments.output, meta)
    paper = paper_table(summary) if arguments.paper else None
    if paper is not None and arguments.output is not None:
        texts = {
            f"paper.{kind}": text for kind, text in zip(("csv", "md", "tex"), paper, strict=True)
        }
        written += write_texts(texts, arguments.output)
    found = verdicts(summary)
    print(format_comparison(summary) if arguments.command == "compare" else format_table(summary))
    if paper is not None:
        print(f"\nraw / normalised, by the paper's criteria:\n\n{paper.markdown}")
    for name, groups in duplicates.items():
        print(f"\nduplicate coordinates of {name}: {_groups(groups)}")
    print()
    if meta.get("comparison", {}).get("order"):
        order = ", ".join(meta["comparison"]["order"])
        print(f"From the closest to a Gaussian, by their coordinates: {order}.\n")
    for sentence in meta.get("comparison", {}).get("sentences", []):
        print(f"{sentence}\n")
    if any(one["pairing"] == "assumed" for one in meta.get("comparison", {}).get("pairs", [])):
        print("If row i of both is not of the same sample, give --unpaired.\n")
    for one in found:
        print(f"{one.source}, {one.representation}: " + one.text.replace("\n", "\n  "))
        _print_names(one, reading)
    if pair is not None:
        print("\n" + format_pair(pair.found, pair.names))
        if arguments.output is not None:
            written += write_pair(pair, arguments.output)
    if not interrupted:
        written += _write_coordinates(arguments, reading)
        written += _draw(arguments, rows, meta, reading)
    if written:
        print("\nwritten:", *written, sep="\n  ")
    if interrupted:
        done = "written" if written else "shown"
        print(f"interrupted: only the sets that were finished were {done}", file=sys.stderr)
        return 130
    return strict_code(found, arguments.strict_on) if arguments.strict else 0


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.output is None and arguments.report:
        raise ValueError("--report needs --output, the folder to write the page to.")
    if arguments.strict and "coordinates" in arguments.strict_on and "ad" not in arguments.tests:
        raise ValueError(
            "--strict judges coordinates by the Anderson-Darling test; add ad to --tests, or leave "
            "coordinates out of --strict_on."
        )
    if arguments.output is not None:
        check_folder(arguments.output)
    if arguments.figures is not None:
        check_folder(arguments.figures, "--figures")
    if arguments.coordinates is not None:
        check_file(arguments.coordinates, ".csv", "--coordinates")


def _print_names(verdict: Verdict, reading: Reading) -> None:
    """What a table calls the worst coordinates."""
    worst = verdict.coordinates.worst
    names = coordinate_names(verdict.source, reading.leave_out) if worst else None
    if names is None or verdict.representation in ("principal", "projected"):
        return
    told = [f"{j} is {names[j]}" for j in (one.index for one in worst) if names[j] != str(j)]
    if told:
        print(f"  Columns: {', '.join(told)}.")


def _write_coordinates(arguments: argparse.Namespace, reading: Reading) -> list[Path]:
    """The table of single coordinates, of all sets one after the other."""
    file = arguments.coordinates
    if file is None:
        return []
    table = []
    for found in open_paths(arguments.paths, reading):
        table += coordinate_table(
            found.z,
            tests=arguments.tests,
            sample_sizes=arguments.sample_sizes,
            seed=arguments.seed,
            representations=arguments.representation,
            repeats=arguments.repeats,
            name=found.name,
            columns=coordinate_names(found.name, reading.leave_out),
        )
    return write_texts({file.name: to_csv(table)}, file.parent)


def _draw(
    arguments: argparse.Namespace, rows: list[dict], meta: dict[str, Any], reading: Reading
) -> list[Path]:
    """The page and the figures that are asked for; names what was written."""
    if not arguments.report and arguments.figures is None:
        return []
    from infonce_jax import report  # matplotlib, on request only

    written = []
    if arguments.report:
        page = report.write_embedding_report(
            arguments.paths, rows, meta, arguments.output, reading, arguments.figures
        )
        written.append(page)
    else:
        report.write_embedding_figures(arguments.paths, rows, arguments.figures, reading)
    return written if arguments.figures is None else [*written, arguments.figures]


def _comparison(arguments: argparse.Namespace, reading: Reading) -> dict[str, Any]:
    """Which of the sets are closer to a Gaussian, in sentences and numbers."""
    opened = list(open_paths(arguments.paths, reading))
    if not 2 <= len(opened) <= _MOST_COMPARED or any(len(one.z) < 16 for one in opened):
        return {}
    names = [one.name for one in opened]
    # The shortest ends of the paths that tell them apart.
    short = [name.rsplit("/", 1)[-1] for name in names]
    names = short if len(set(short)) == len(short) else names
    by_name = dict(zip(names, opened, strict=True))
    ids = _ids(arguments, opened)

    def paired(first: str, second: str) -> bool | None:
        a, b = by_name[first], by_name[second]
        if arguments.unpaired or len(a.z) != len(b.z) or a.total != b.total:
            return False
        if a.name in ids and b.name in ids:
            return np.array_equal(ids[a.name], ids[b.name])
        same = ("run", "member", "split")
        is_one_run = a.identity.get("run") is not None and all(
            a.identity[key] == b.identity.get(key) for key in same
        )
        return True if is_one_run else None

    sets = [(name, one.z) for name, one in by_name.items()]
    found = closer.ranked(sets, paired=paired, seed=arguments.seed)
    order = [found[0].names[0], *(one.names[1] for one in found)]
    return {
        "order": order if len(order) > 2 else [],
        "sentences": [one.sentence for one in found],
        "pairs": [
            one._asdict() | {"differences": [each._asdict() for each in one.differences]}
            for one in found
        ],
    }


def _ids(arguments: argparse.Namespace, opened: Sequence[Embeddings]) -> dict[str, np.ndarray]:
    """The ids of each set's rows, where a column of its file has them."""
    if arguments.id_column is None:
        return {}
    by_source = {str(path): path for path in arguments.paths}
    return {
        one.name: load_column(by_source[one.name], arguments.id_column)
        for one in opened
        if one.name in by_source
    }


def reading_of(arguments: argparse.Namespace) -> Reading:
    """How a command reads its paths."""
    columns = (arguments.id_column, arguments.label_column)
    return Reading(
        getattr(arguments, "concatenate", False),
        getattr(arguments, "sample", None),
        getattr(arguments, "seed", 0),
        tuple(column for column in columns if column is not None),
    )


def _labels(arguments: argparse.Namespace) -> np.ndarray | None:
    if arguments.label_column is None:
        return None if arguments.labels is None else load_labels(arguments.labels)
    if arguments.labels is not None:
        raise ValueError("--labels and --label_column both give the class of each row: choose one.")
    found = [load_column(path, arguments.label_column) for path in arguments.paths]
    return found[0] if len(found) == 1 else np.concatenate(found)


def strict_code(found: Sequence[Verdict], parts: Sequence[str]) -> int:
    """1 where a part of a set fails, 3 where none fails but one is undecided or untested, else 0."""
    answers = {
        getattr(one, part).answer
        for one in found
        # Controls are there to compare with; their failures are not the embeddings'.
        if not one.source.endswith("]")
        for part in parts
        # Normalised rows have no norms to judge, and principal axes no directions.
        if part != "norms" or one.representation == "raw"
        if part != "directions" or one.representation not in NO_DIRECTIONS
    }
    return 1 if FAILS in answers else 3 if answers & {UNDECIDED, UNTESTED} else 0


def _groups_asked(arguments: argparse.Namespace) -> tuple[int, int] | None:
    if arguments.protocol != "groups":
        return None
    if arguments.groups < 1 or arguments.group_size < MIN_ROWS:
        raise ValueError(
            f"--groups is {arguments.groups} and --group_size {arguments.group_size}: give at least 1 "
            f"group of at least {MIN_ROWS} rows."
        )
    return arguments.groups, arguments.group_size


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


def _duplicates(
    paths: Sequence[str], rows: list[dict], reading: Reading
) -> dict[str, list[tuple[int, ...]]]:
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
        found.name: duplicate_coordinates(as_floats(found.z))
        for found in open_paths(paths, reading)
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


def check_folder(output: Path, option: str = "--output") -> None:
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(
            f"{option} {output} is a file: name the folder to write the results to."
        )


def check_file(output: Path, suffix: str, option: str = "--output") -> None:
    if output.is_dir():
        raise IsADirectoryError(f"{option} {output} is a folder: name the file to write.")
    if output.suffix != suffix:
        raise ValueError(f"{option} {output} is to be a {suffix} file: give it that suffix.")
