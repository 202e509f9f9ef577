"""One table of all finished runs of a sweep, and the list of those that failed."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infonce_jax.evaluation.coordinates import COORDINATE
from infonce_jax.files import flatten, replacing, write_json


def gather(
    folders: Mapping[str, Path],
    n: int,
    evaluations: Mapping[Path, dict[str, Any]],
) -> list[dict[str, Any]]:
    """One row for every run and member: its configuration, last metrics, and last evaluation.

    Columns are `run`, `member` and `seed`; `config.*`, every field of the configuration, with a
    member's own value where it is one of a list; `metric.*`, the last line of metrics.jsonl; and
    `raw.*` and `normalized.*`, the statistics of the last embedding set's test split at the largest
    evaluated sample size up to `n`, which is `n`. Nothing in it depends on the clock.

    Args:
        folders: finished runs by name.
        n: sample size.
        evaluations: what their evaluation.json holds, by folder.
    """
    rows = []
    for name, folder in folders.items():
        config = json.loads((folder / "config.json").read_text())
        found = evaluations[folder]["rows"]
        last = max(row["step"] for row in found)
        found = [row for row in found if row["step"] == last and row["split"] in ("test", None)]
        sizes = sorted({row["n"] for row in found})
        size = max((s for s in sizes if s <= n), default=sizes[0])
        metrics = _last_line(folder / "metrics.jsonl")
        own = {
            k: v for k, v in config.items() if k not in ("members", "name", "seeds", "code_folders")
        }
        fields = {
            key: json.dumps(value) if isinstance(value, list) else value
            for key, value in flatten(own).items()
        }
        for index, member in enumerate(config["members"]):
            row = {"run": name, "member": member["name"], "seed": member["seed"], "step": last}
            row |= {f"config.{key}": value for key, value in fields.items()}
            row |= {f"config.{key}": value for key, value in member["hyperparameters"].items()}
            row["n"] = size
            for key, value in metrics.items():
                if isinstance(value, list):
                    row[f"metric.{key}"] = value[index]
            for item in found:
                # Of single coordinates every run has others: they would be columns of their own.
                if item["statistic"].startswith(COORDINATE):
                    continue
                if item["member"] == member["name"] and item["n"] == size:
                    row[f"{item['representation']}.{item['statistic']}"] = item["value"]
            rows.append(row)
    return rows


def read_evaluations(folders: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """What the evaluation.json of each run holds, by folder."""
    return {folder: json.loads((folder / "evaluation.json").read_text()) for folder in folders}


def write_table(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Writes sweep.csv and, where pyarrow is installed, sweep.parquet."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(folder / "sweep.csv") as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return
    table = pyarrow.table({name: _column([row.get(name) for row in rows]) for name in columns})
    with replacing(folder / "sweep.parquet") as scratch:
        pyarrow.parquet.write_table(table, scratch)


def write_failures(workdir: Path, failures: Mapping[str, str], cleared: set[str]) -> dict[str, str]:
    """failed.json: why runs failed when they were last tried; absent where none did.

    Returns:
        What it holds now: what it held, without the cleared runs and those whose folders are gone.
    """
    file = workdir / "failed.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    gone = {*cleared, *(name for name in known if not (workdir / name).exists())}
    known = {name: why for name, why in known.items() if name not in gone} | dict(failures)
    if known:
        write_json(file, known)
    else:
        file.unlink(missing_ok=True)
    return known


def _column(values: Sequence[Any]) -> Sequence[Any]:
    """Values of one type: numbers as floats where they differ, anything else mixed as text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and not kinds & {list, dict}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def _last_line(file: Path) -> dict[str, Any]:
    lines = file.read_text().splitlines() if file.exists() else []
    return json.loads(lines[-1]) if lines else {}
