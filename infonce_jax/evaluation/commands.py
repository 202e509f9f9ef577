"""What the commands do once their arguments are parsed."""

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
from infonce_jax.evaluation import whitening
from infonce_jax.evaluation.arrays import MIN_ROWS, check_embeddings
from infonce_jax.evaluation.duplicates import duplicate_coordinates
from infonce_jax.evaluation.load import load_labels, open_embeddings
from infonce_jax.evaluation.registry import GAUSSIAN
from infonce_jax.evaluation.rows import summarise, write, write_texts
from infonce_jax.evaluation.sets import iterate_paths
from infonce_jax.evaluation.table import format_comparison, format_table
from infonce_jax.evaluation.verdict import FAILS, UNDECIDED, UNTESTED, Verdict, verdicts


def evaluate(arguments: argparse.Namespace, argv: list[str]) -> int:
    started_s = time.perf_counter()
    if arguments.output is None and arguments.report:
        raise ValueError("--report needs --output, the folder to write the page to.")
    if arguments.strict and "coordinates" in arguments.strict_on and "ad" not in arguments.tests:
        raise ValueError(
            "--strict judges coordinates by the Anderson-Darling test; add ad to --tests, or leave "
            "coordinates out of --strict_on."
        )
    if arguments.output is not None:
        _check_folder(arguments.output)
    labels = None if arguments.labels is None else load_labels(arguments.labels)
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
        print(f"{one.source}, {one.representation}: " + one.text.replace("\n", "\n  "))
    if arguments.report and not interrupted:
        from infonce_jax.report import write_embedding_report  # matplotlib, on request only

        written.append(write_embedding_report(arguments.paths, rows, meta, arguments.output))
    if written:
        print("\nwritten:", *written, sep="\n  ")
    if interrupted:
        done = "written" if written else "shown"
        print(f"interrupted: only the sets that were finished were {done}", file=sys.stderr)
        return 130
    return _strict_code(found, arguments.strict_on) if arguments.strict else 0


def _strict_code(found: Sequence[Verdict], parts: Sequence[str]) -> int:
    """1 where a part of a set fails, 3 where none fails but one is undecided or untested, else 0."""
    answers = {
        getattr(one, part).answer
        for one in found
        # Controls are there to compare with; their failures are not the embeddings'.
        if not one.source.endswith("]")
        for part in parts
        # Normalised rows have no norms to judge.
        if part != "norms" or one.representation == "raw"
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


def whiten(arguments: argparse.Namespace, argv: list[str]) -> int:
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


def score(arguments: argparse.Namespace, argv: list[str]) -> int:
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
