"""The tidy rows of an evaluation: their columns, their summary over seeds, and their files."""

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infonce_jax.evaluation.coordinates import COORDINATE
from infonce_jax.evaluation.verdict import as_documents, verdicts
from infonce_jax.files import replacing

IDENTITY = ("source", "run", "step", "epoch", "member", "seed", "hyperparameters", "split")
COLUMNS = (*IDENTITY, "representation", "n", "dim", "statistic", "value")
_GROUP = tuple(c for c in COLUMNS if c not in ("member", "seed", "value"))
SUMMARY_COLUMNS = (*_GROUP, "mean", "standard_error", "count")

Row = dict[str, Any]


def summarise(rows: Iterable[Row]) -> list[Row]:
    """Mean and standard error over seeds, for every other combination of the rows' columns.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2, 500, 8))
        >>> rows = []
        >>> for seed in (0, 1):
        ...     options = {"tests": "dp", "representations": "raw", "identity": {"seed": seed}}
        ...     rows += evaluation.evaluate_arrays(z[seed], sample_sizes="all", **options)
        >>> summary = evaluation.summarise(rows)
        >>> len(rows), len(summary)
        (74, 37)

    Args:
        rows: as `evaluate_paths` returns them.

    Returns:
        One dict per group with the keys of `SUMMARY_COLUMNS`: the mean over the seeds, its standard
        error (with ddof = 1; None for a single seed), and how many there were. A seed whose value
        is NaN, having nothing to test, is not among them. Single coordinates are left out where there
        are several seeds, since each seed has coordinates of its own.
    """
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[c] for c in _GROUP), []).append(row["value"])
    several = {_set_of(key) for key, v in groups.items() if len(v) > 1}
    return [
        dict(zip(_GROUP, key, strict=True)) | _moments(v)
        for key, v in groups.items()
        if not (key[-1].startswith(COORDINATE) and _set_of(key) in several)
    ]


def write(
    rows: Sequence[Row], output_dir: Path | str, meta: Mapping[str, Any] | None = None
) -> list[Path]:
    """Writes evaluation.csv, evaluation_summary.csv and evaluation.json, each whole or not at all.

    All three are complete under temporary names before any takes its place. NaN is `nan` in CSV and
    null in JSON; what does not apply is empty in CSV and null in JSON.

    Examples:
        >>> import tempfile
        >>> z = np.random.default_rng(0).standard_normal((500, 4))
        >>> rows = evaluation.evaluate_arrays(z, sample_sizes=("all",), representations=("raw",))
        >>> [file.name for file in evaluation.write(rows, tempfile.mkdtemp())]
        ['evaluation.csv', 'evaluation_summary.csv', 'evaluation.json']

    Args:
        rows: as `evaluate_paths` returns them.
        output_dir: the folder to write to; it is made if need be.
        meta: how they came about, stored under "meta" in evaluation.json.

    Returns:
        The three paths.

    Raises:
        OSError: where the folder cannot be written.
    """
    output_dir = Path(output_dir)
    summary = summarise(rows)
    document = {
        "meta": dict(meta or {}),
        "verdicts": as_documents(verdicts(summary)),
        "rows": list(rows),
        "summary": summary,
    }
    texts = {
        "evaluation.csv": _csv(COLUMNS, rows),
        "evaluation_summary.csv": _csv(SUMMARY_COLUMNS, summary),
        "evaluation.json": json.dumps(_without_nan(document), indent=1, allow_nan=False) + "\n",
    }
    return write_texts(texts, output_dir)


def write_texts(texts: Mapping[str, str], output_dir: Path) -> list[Path]:
    """Writes files by name, all of them whole before the first takes the place of an older one.

    Returns:
        Their paths.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    paths = [output_dir / name for name in texts]
    with contextlib.ExitStack() as stack:
        # All are replaced when the block ends, or none if writing one of them fails.
        for path, text in zip(paths, texts.values(), strict=True):
            scratch = stack.enter_context(replacing(path))
            with open(scratch, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
    return paths


def _set_of(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return key[: _GROUP.index("representation")]


def _moments(values: list[float]) -> dict[str, Any]:
    known = np.array([v for v in values if not math.isnan(v)])
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else None
    return {
        "mean": float(known.mean()) if len(known) else math.nan,
        "standard_error": error,
        "count": len(known),
    }


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
