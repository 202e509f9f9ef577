"""Results in the form of the paper's Tables 1 and 2: a wide CSV, Markdown, LaTeX.

Table 1 has one set in each column and its statistics on raw embeddings; Table 2 has raw and normalised
embeddings in one cell, "0.44 / 0.44". Here each set has one row for each protocol, at a stated n.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from infonce_jax.evaluation.normality import AD_GAUSSIAN_MEAN
from infonce_jax.evaluation.rows import Row

ONE, GROUPED = "one test at n", "groups"
_STATISTICS = ("ad_mean", "ad_pass", "dp_mean_p", "dp_pass")
_REPRESENTATIONS = ("raw", "normalized")
COLUMNS = (
    "source", "run", "step", "epoch", "split", "hyperparameters", "protocol", "n", "groups",
    "group_size", "dim", "seeds", "norm_cv",
    *(f"{representation}_{name}" for representation in _REPRESENTATIONS for name in _STATISTICS),
)  # fmt: skip
# What an exact Gaussian with independent coordinates scores under either protocol.
_GAUSSIAN = {ONE: (AD_GAUSSIAN_MEAN, 0.95, 0.5, 0.95), GROUPED: (AD_GAUSSIAN_MEAN, 1.0, 0.5, 1.0)}
_HEAD = ("", "n", "d", "norm CV", "AD average", "AD pass %", "DP average p", "DP pass %")


class PaperTable(NamedTuple):
    """The same results in three forms.

    Attributes:
        csv: one line for each set, protocol and n, everything in columns of its own.
        markdown: one row for each set and protocol, at the largest n.
        latex: the same as a tabular with booktabs' rules.
    """

    csv: str
    markdown: str
    latex: str


def paper_table(summary: Iterable[Mapping[str, Any]]) -> PaperTable:
    """Tables in the paper's form.

    The criteria are the paper's: A² < 0.752, asymptotic DP p > 0.05. A cell is "raw / normalised"; it
    has one value where all rows have the same norm, so that both are the same, or where only raw rows
    were tested.

    Args:
        summary: as `infonce_jax.evaluation.summarise` returns it.
    """
    wide = wide_rows(summary)
    largest: dict[tuple[Any, ...], Row] = {}
    for row in wide:
        key = (*(row[c] for c in COLUMNS[:7]), row["dim"])
        if key not in largest or row["n"] > largest[key]["n"]:
            largest[key] = row
    lines = []
    for protocol in dict.fromkeys(row["protocol"] for row in largest.values()):
        cells = [
            _cell(name, (value,))
            for name, value in zip(_STATISTICS, _GAUSSIAN[protocol], strict=True)
        ]
        lines.append(["exact Gaussian", "", "", "1/√(2d)", *cells])
        for row in largest.values():
            if row["protocol"] == protocol:
                lines.append(_line(row))
    return PaperTable(_csv(wide), _markdown(lines), _latex(lines))


def wide_rows(summary: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row for each set, protocol and n, with the keys of `COLUMNS`; None where there is nothing."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in summary:
        if row["representation"] not in _REPRESENTATIONS:
            continue
        grouped = row["statistic"].startswith("group_")
        name = row["statistic"].removeprefix("group_")
        key = (*(row[c] for c in COLUMNS[:6]), GROUPED if grouped else ONE, row["n"])
        one = found.setdefault(
            key,
            dict.fromkeys(COLUMNS) | dict(zip(COLUMNS, key, strict=False)) | {"dim": row["dim"]},
        )
        if name in _STATISTICS:
            one[f"{row['representation']}_{name}"] = row["mean"]
            one["seeds"] = max(one["seeds"] or 0, row["count"])
        elif grouped and name in ("count", "size"):
            one["groups" if name == "count" else "group_size"] = int(row["mean"])
        elif name == "norm_cv":
            one["norm_cv"] = row["mean"]
    cv = {key[:6]: row["norm_cv"] for key, row in found.items() if row["norm_cv"] is not None}
    for key, row in found.items():
        if row["norm_cv"] is None:
            row["norm_cv"] = cv.get(key[:6])
    return [row for row in found.values() if row["seeds"]]


def _line(row: Row) -> list[str]:
    name = row["source"].rsplit("/", 1)[-1] if row["run"] is None else row["run"]
    of = [row["split"], None if row["epoch"] is None else f"epoch {row['epoch']:g}"]
    of.append(row["hyperparameters"] if row["hyperparameters"] != "{}" else None)
    title = ", ".join([name, *(part for part in of if part)])
    n = f"{row['n']:,}"
    if row["protocol"] == GROUPED:
        n = f"{row['groups']} × {row['group_size']}"
    values = ((row[f"raw_{name}"], row[f"normalized_{name}"]) for name in _STATISTICS)
    cells = [_cell(name, pair) for name, pair in zip(_STATISTICS, values, strict=True)]
    cv = "–" if row["norm_cv"] is None else f"{row['norm_cv']:.3g}"
    return [title, n, str(row["dim"]), cv, *cells]


def _cell(name: str, values: Sequence[float | None]) -> str:
    """ "0.44 / 0.44", or one value where there is one representation."""
    known = [v for v in values if v is not None]
    if not known or any(math.isnan(v) for v in known):
        return "–"
    if name.endswith("_pass"):
        return " / ".join(f"{100 * v:.1f}" for v in known)
    return " / ".join(f"{v:.2f}" if 0.1 <= v < 100 else f"{v:.2g}" for v in known)


def _csv(rows: Iterable[Row]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rows = [_HEAD, ["---"] * len(_HEAD), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def _latex(lines: Sequence[Sequence[str]]) -> str:
    def row(cells: Iterable[str]) -> str:
        return " & ".join(map(_escaped, cells)) + r" \\"

    body = [
        r"\begin{tabular}{l" + "r" * (len(_HEAD) - 1) + "}",
        r"\toprule",
        row(_HEAD),
        r"\midrule",
        *map(row, lines),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(body) + "\n"


def _escaped(text: str) -> str:
    for character in ("\\", "&", "%", "$", "#", "_", "{", "}"):
        with_slash = r"\textbackslash{}" if character == "\\" else f"\\{character}"
        text = text.replace(character, with_slash)
    text = text.replace("\\textbackslash\\{\\}", r"\textbackslash{}")
    for character, command in (("√(2d)", r"$\sqrt{2d}$"), ("×", r"$\times$"), ("–", "--")):
        text = text.replace(character, command)
    return text
