"""What `whiten`, `score` and `apply` do once their arguments are parsed."""

import argparse
import contextlib
import csv
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import split, whitening
from infonce_jax.evaluation.commands import COMMAND, check_file, check_folder, reading_of
from infonce_jax.evaluation.load import load_column, open_rows
from infonce_jax.evaluation.shrinkage import MOST_PAIRS, NEAR_DUPLICATE
from infonce_jax.files import replacing


def whiten(arguments: argparse.Namespace, argv: list[str]) -> int:
    check_file(arguments.output, ".npz")
    source, x = open_rows(arguments.paths, reading_of(arguments))
    judged = whitening.fit_and_judge(
        x,
        held_out=arguments.held_out,
        kind=arguments.kind,
        shrinkage=arguments.shrinkage,
        floor=arguments.floor,
        seed=arguments.seed,
        progress=_progress("fitted", len(x)),
    )
    model = judged.whitening
    information = None
    if arguments.pair is not None:
        pair = open_rows([arguments.pair])[1].whole()
        information = whitening.mutual_information(x.whole(), pair, seed=arguments.seed)
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
    _print_near_duplicates(model.near_duplicates)
    print("\nwritten:", arguments.output, sep="\n  ")
    return 0


def _print_near_duplicates(pairs: tuple[tuple[int, int, float], ...]) -> None:
    beyond = f"|correlation| > {NEAR_DUPLICATE:g}"
    if not pairs:
        print(f"near duplicates                   none with {beyond}")
        return
    count = f"{len(pairs):,}{' or more' if len(pairs) >= MOST_PAIRS else ''}"
    print(
        f"near duplicates                   {count} {'pair' if len(pairs) == 1 else 'pairs'} of "
        f"coordinates (counted from 0) with {beyond}"
    )
    for i, j, correlation in pairs[:20]:
        print(f"  {i} and {j}: correlation {correlation:.4f}")
    if len(pairs) > 20:
        print(f"  and {len(pairs) - 20:,} further pairs, less correlated")


class _Scored(NamedTuple):
    source: str
    file: str
    ids: np.ndarray | None
    distance: Float[np.ndarray, " n"]
    likelihood: Float[np.ndarray, " n"]
    known: split.Known
    counted: Float[np.ndarray, " m"]


def score(arguments: argparse.Namespace, argv: list[str]) -> int:
    check_folder(arguments.output)
    model = whitening.load(arguments.whitening)
    paths = [*arguments.paths, *([arguments.against] if arguments.against else [])]
    rows = [open_rows([path], reading_of(arguments)) for path in paths]
    scored: list[_Scored] = []
    for path, (source, x) in zip(paths, rows, strict=True):
        distance = whitening.mahalanobis(model, x, _progress(f"scored {source}", len(x)))
        known = split.known(model.split, x)
        ids = None if arguments.id_column is None else load_column(path, arguments.id_column)
        leave_out = arguments.fitted == "leave_out" and known.fitted is not None
        counted = distance[~known.fitted] if leave_out else distance
        likelihood = whitening.log_likelihood_of(model, distance)
        name = _file_name(path, [one.file for one in scored])
        scored.append(_Scored(source, name, ids, distance, likelihood, known, counted))
    written, scored_all = _write_scores(scored, arguments.output), list(scored)
    for one in scored:
        _tell(one, model, arguments.fitted)
    if arguments.against is not None:
        outside = scored.pop()
        for one in scored:
            if not len(one.counted) or not len(outside.counted):
                raise ValueError(
                    f"the model was fitted on every row of {one.source} or {outside.source}: give rows "
                    f"that it has not seen, or --fitted include."
                )
            area = whitening.auroc(one.counted, outside.counted)
            print(
                f"AUROC of {outside.source} against {one.source} by Mahalanobis distance: {area:.4f}"
            )
    if arguments.report:
        written.append(_draw(arguments, argv, model, rows, scored_all))
    print("\nwritten:", *written, sep="\n  ")
    return 0


def _draw(arguments, argv: list[str], model: whitening.Whitening, rows, scored) -> Path:
    """The page of what was scored, without the rows that the model was fitted on unless asked for."""
    from infonce_jax.report import whitened  # matplotlib, on request only

    paths = [*arguments.paths, *([arguments.against] if arguments.against else [])]
    sets = []
    for path, one, (_, x) in zip(paths, scored, rows, strict=True):
        leave_out = arguments.fitted == "leave_out" and one.known.fitted is not None
        kept = np.flatnonzero(~one.known.fitted if leave_out else np.ones(len(x), bool))
        if not len(kept):
            raise ValueError(
                f"the model was fitted on every row of {one.source}, so there is nothing to draw: "
                f"give rows that it has not seen, or --fitted include."
            )
        names, folder = whitened.names_of(path, len(x))
        sets.append(
            whitened.Scored(
                one.source,
                x.whole()[kept],
                one.likelihood[kept],
                one.distance[kept],
                None if names is None else [names[i] for i in kept],
                folder if arguments.images is None else arguments.images,
                0.0 if leave_out else one.known.share,
            )
        )
    return whitened.write_whitened_report(
        model,
        sets,
        arguments.output,
        command=shlex.join([COMMAND, *argv]),
        against=arguments.against is not None,
    )


def apply(arguments: argparse.Namespace, argv: list[str]) -> int:
    check_file(arguments.output, ".npy")
    model = whitening.load(arguments.whitening)
    source, x = open_rows(arguments.paths, reading_of(arguments))
    known = split.known(model.split, x)
    width = len(model.mean) if model.kind == "zca" else len(model.variances)
    progress = _progress("written", len(x))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(arguments.output) as scratch, open(scratch, "wb") as out:
        # Not as a memory-mapped array, whose pages would count as memory until they are on the disk.
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(x), width)}
        np.lib.format.write_array_header_1_0(out, header)
        for rows, block in whitening.whitened_blocks(model, x):
            out.write(np.ascontiguousarray(block, "<f4"))
            progress(rows.stop)
    print(f"{source}: {len(x)} rows, {width} coordinates, {model.kind}")
    if known.share:
        print(
            f"warning: the model was fitted on {_share(known.share)} of these rows, which whitening "
            f"makes look more isotropic than others: evaluate rows that it has not seen."
        )
    print("\nwritten:", arguments.output, sep="\n  ")
    return 0


def _tell(one: _Scored, model: whitening.Whitening, fitted: str) -> None:
    share, n = one.known.share, len(one.distance)
    if share and one.known.fitted is None:
        print(
            f"warning: the model was fitted on about {_share(share)} of the rows of {one.source}, and "
            f"which cannot be told: the averages include them. Score other rows."
        )
    elif share and fitted == "include":
        print(
            f"warning: the averages include the {_share(share)} of the rows of {one.source} that the "
            f"model was fitted on: no evidence for it."
        )
    elif share:
        print(
            f"{one.source}: the model was fitted on {_share(share)} of the rows; the averages are over "
            f"the others (--fitted include for all)"
        )
    if not len(one.counted):
        print(f"{one.source}: {n} rows, all fitted on: nothing to average")
        return
    likelihood = whitening.log_likelihood_of(model, one.counted)
    print(
        f"{one.source}: {len(one.counted)} rows, mean Mahalanobis^2 / rank "
        f"{one.counted.mean() / len(model.variances):.4f}, mean log-likelihood "
        f"{likelihood.mean():.4f} nats"
    )


def _share(share: float) -> str:
    return "all" if share == 1.0 else f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _write_scores(scored: list[_Scored], output: Path) -> list[Path]:
    """One CSV for each set, all whole before the first takes the place of an older one."""
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / one.file for one in scored]
    with contextlib.ExitStack() as stack:
        for path, one in zip(paths, scored, strict=True):
            scratch = stack.enter_context(replacing(path))
            with open(scratch, "w", encoding="utf-8", newline="") as stream:
                _write_rows(csv.writer(stream, lineterminator="\n"), one)
                stream.flush()
                os.fsync(stream.fileno())
    return paths


def _write_rows(writer, one: _Scored) -> None:
    columns = {"row": np.arange(len(one.distance))}
    if one.ids is not None:
        columns["id"] = one.ids
    columns |= {"mahalanobis2": one.distance, "log_likelihood": one.likelihood}
    if one.known.share and one.known.fitted is not None:
        columns["fitted"] = one.known.fitted.astype(int)
    writer.writerow(columns)
    for start in range(0, len(one.distance), 2**16):
        block = (values[start : start + 2**16].tolist() for values in columns.values())
        writer.writerows(zip(*block, strict=True))


def _file_name(path: str, taken: list[str]) -> str:
    stem = Path(str(path).replace("::", "_").replace("*", "_").replace("?", "_")).stem
    name, count = f"scores_{stem}.csv", 1
    while name in taken:
        count += 1
        name = f"scores_{stem}_{count}.csv"
    return name


def _progress(what: str, n: int) -> Callable[[int], None]:
    """Prints how many rows are done to a terminal, at most once a second."""
    started_s = last_s = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if sys.stderr.isatty() and now_s - last_s > 1.0:
            last_s = now_s
            left_s = (now_s - started_s) * (n - done) / done
            print(
                f"\r{what}: {done:,} of {n:,} rows, {left_s:.0f} s left ", end="", file=sys.stderr
            )
            if done == n:
                print(file=sys.stderr)

    return tell
