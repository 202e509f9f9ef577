"""Two modalities from files, and their comparison to files: what `evaluate --pair` adds."""

import argparse
import csv
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from infonce_jax.evaluation.load import Reading, open_embeddings
from infonce_jax.evaluation.pair import RECALLS, Pair, compare
from infonce_jax.evaluation.rows import write_texts


class NamedPair(NamedTuple):
    """A comparison with the names of the two files."""

    found: Pair
    names: tuple[str, str]


def compare_pair(arguments: argparse.Namespace, reading: Reading) -> NamedPair:
    """Compares the one PATH with --pair.

    Raises:
        ValueError: for several paths or arrays, different numbers of rows, and as `compare` does.
    """
    arrays = [
        found
        for path in (*arguments.paths, arguments.pair)
        for found in open_embeddings(path, reading)
    ]
    if len(arrays) != 2:
        raise ValueError(
            f"--pair compares one array with another, and {', '.join(a.name for a in arrays)} are "
            f"{len(arrays)}: evaluate one file at a time with it, and choose one array of several with "
            f"path::key. Embedding folders bring views of their own."
        )
    first, second = arrays
    if len(first.z) != len(second.z):
        raise ValueError(
            f"{first.name} has {len(first.z)} rows and {second.name} {len(second.z)}: row i of both "
            f"must be of the same sample."
        )
    found = compare(first.z, second.z, seed=arguments.seed)
    return NamedPair(found, (first.name, second.name))


def write_pair(pair: NamedPair, output: Path) -> list[Path]:
    """Writes pair.json, all numbers, and pair_rows.csv, one line for each row of the two files."""
    columns = pair.found.rows
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["row", *columns])
    lines = zip(*(values.tolist() for values in columns.values()), strict=True)
    writer.writerows([i, *line] for i, line in enumerate(lines))
    document = {"names": pair.names} | _plain(pair.found._replace(rows={}))
    document |= {"recalls": RECALLS}
    document.pop("rows")
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return write_texts({"pair.json": text, "pair_rows.csv": stream.getvalue()}, output)


def _plain(value: Any) -> Any:
    """NamedTuples as dicts, NaN and infinities as null."""
    if hasattr(value, "_asdict"):
        return {k: _plain(v) for k, v in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
