"""Pages of the documentation whose figures and tables a command makes."""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from infonce_jax.report import canvas
from infonce_jax.report.runs import Setting


class Drawn(NamedTuple):
    """A figure with what it shows in numbers.

    Attributes:
        name: of its file, without .svg.
        figure: a matplotlib figure, or None for a table alone.
        table: Markdown, or an empty string.
        csv: a table for a file of its own, or an empty string.
    """

    name: str
    figure: object
    table: str
    csv: str = ""


class Interval(NamedTuple):
    """A mean over seeds and the half-width of its 95% interval."""

    mean: float
    half_width: float

    def __format__(self, form: str) -> str:
        return f"{self.mean:{form}} ± {self.half_width:{form}}"


def interval(values: Sequence[float]) -> Interval:
    """The mean of independent values with Student's 95% interval; needs at least two."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * error))


def with_interval(values: Sequence[float], form: str) -> str:
    """The mean with its 95% interval, or the one value, in a number format."""
    return f"{interval(values) if len(values) > 1 else values[0]:{form}}"


def labelled(name: str, setting: Setting) -> str:
    """The name with the hyperparameters that tell the setting from the run's others."""
    return ", ".join(filter(None, [name, setting.label.replace("temperature", "τ")]))


class Absent(Exception):
    """Names the run folder that an exhibit needs."""


def draw_page(
    exhibits: Mapping[str, Callable[[Path], Drawn]],
    topic: str,
    description: str | None,
    argv: Sequence[str] | None = None,
) -> int:
    """A command line that draws the figures of docs/<topic>.md and sets its tables.

    Tables go between the lines `<!-- name -->` and `<!-- end -->` of the pages. What needs runs that are
    not there is named and left as it is.

    Args:
        exhibits: by name, functions of the folder that holds the runs.
        topic: of the page; its runs are in runs/<topic>, its figures in docs/<topic>.
        description: for --help.
        argv: the arguments, those of the process by default.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=Path, default=Path("runs", topic))
    parser.add_argument("--output", type=Path, default=Path("docs", topic))
    pages = [Path("docs", f"{topic}.md"), Path("RESULTS.md")]
    parser.add_argument("--page", type=Path, nargs="+", default=pages)
    parser.add_argument("--pdf", action="store_true", help="write the figures as PDF too")
    parser.add_argument("--only", nargs="*", choices=sorted(exhibits), help="draw these alone")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or exhibits:
        with canvas.style():
            try:
                drawn = exhibits[name](arguments.runs)
            except Absent as reason:
                print(f"{name}: {reason}", file=sys.stderr)
                continue
            if drawn.figure is not None:
                svg = canvas.to_svg(drawn.figure, name)
                (arguments.output / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")
                if arguments.pdf:
                    drawn.figure.savefig(arguments.output / f"{name}.pdf")
        if drawn.csv:
            (arguments.output / f"{name}.csv").write_text(drawn.csv, encoding="utf-8")
        if drawn.table:
            print(f"\n{name}\n{drawn.table}", flush=True)
            for page in arguments.page:
                set_table(page, name, drawn.table)
    return 0


def finished_folders(sweep: Path) -> list[Path]:
    """The evaluated runs of a sweep.

    Raises:
        Absent: where there are none.
    """
    folders = sorted(file.parent for file in sweep.glob("*/evaluation.json"))
    if not folders:
        raise Absent(f"{sweep} holds no runs; the command is at the top of its file in configs/.")
    return folders


def set_table(page: Path, name: str, table: str) -> None:
    """Puts a table between <!-- name --> and <!-- end -->, where the page has these lines."""
    if not page.is_file():
        return
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    page.write_text(
        pattern.sub(lambda m: m[1] + "\n" + table + "\n" + m[2], text), encoding="utf-8"
    )


def markdown(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns aligned for a terminal; the first row is its head."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = (
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    )
    return "\n".join(lines) + "\n"
