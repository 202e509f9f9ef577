"""Table 1 by its own protocol, beside its controls."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.pages import Absent, Drawn, markdown
from experiments.paper.protocol import SIZES, Exhibit, Measured, measure_epochs, measure_run
from infonce_jax.report.paper import TABLE_1

COLUMNS = [
    *("", "CV", "AD, groups", "AD pass", "DP p, groups", "DP pass"),
    *(f"AD, n = {n:,}" for n in SIZES),
    f"DP pass, {SIZES[0]:,}",
]


class Part(NamedTuple):
    """One or two columns of the paper's table.

    Attributes:
        title: what they are of.
        folder: our run's, below the folder of all runs.
        name: the data's, as `report.paper` calls them.
        epochs: the epochs to show beside the first and the last.
        supervised: the folder of the same encoder trained on the labels, or None.
    """

    title: str
    folder: str
    name: str
    epochs: tuple[int, ...] = ()
    supervised: str | None = None


PARTS = (
    Part("Laplace", "table1_synthetic/laplace", "laplace"),
    Part("Gaussian mixture", "table1_synthetic/mixture", "mixture"),
    Part("Sparse binary", "table1_synthetic/binary", "binary", (50,)),
    Part("CIFAR-10, MLP", "cifar10_mlp/contrastive", "", (), "cifar10_mlp/supervised"),
)


def draw_table1(runs: Path) -> Drawn:
    """Table 1: the paper's row, and ours untrained, trained and controlled by the same protocol."""
    rows = [COLUMNS]
    found_any = False
    for part in PARTS:
        folder = runs / part.folder
        try:
            found = measure_run(folder, part.epochs)
        except Absent as reason:
            print(f"table1: {reason}", file=sys.stderr)
            continue
        found_any = True
        rows += _block(part, found)
        if part.supervised is not None:
            try:
                on_labels = measure_epochs(runs / part.supervised, [])
            except Absent as reason:
                print(f"table1: {reason}", file=sys.stderr)
                continue
            last = max(on_labels)
            rows.append([f"on the labels, epoch {last:g}", *cells(on_labels[last])])
    if not found_any:
        folder = runs / "table1_synthetic"
        raise Absent(f"{folder} holds no run; the command is at the top of configs/paper.")
    return Drawn("table1", None, markdown(rows))


def _block(part: Part, found: Exhibit) -> list[list[str]]:
    rows = []
    last = max(found.epochs)
    for entry, values in TABLE_1.items():
        if entry[:2] == (part.name, "infonce"):
            when = "" if entry.epoch is None else f", epoch {entry.epoch}"
            rows.append([f"**{part.title}**: the paper{when}", *paper_cells(values)])
    if not rows:
        rows.append([f"**{part.title}**", *[""] * (len(COLUMNS) - 1)])
    rows.append(["random projection of the inputs", *cells(found.projection)])
    rows.append(["untrained encoder", *cells(found.untrained)])
    for epoch in sorted(found.epochs):
        if epoch in part.epochs and epoch < last:
            rows.append([f"InfoNCE, epoch {epoch:g}", *cells(found.epochs[epoch])])
    rows.append([f"InfoNCE, epoch {last:g}", *cells(found.trained)])
    rows.append(["a Gaussian with its mean and covariance", *cells(found.gaussian)])
    return rows


def paper_cells(values: dict[str, float]) -> list[str]:
    shown = [f"{values['norm_cv']:g}", f"{values['ad_mean']:g}", share(values["ad_pass"])]
    shown += [f"{values['dp_mean_p']:g}", share(values["dp_pass"])]
    return [*shown, *["–"] * (len(COLUMNS) - 1 - len(shown))]


def cells(members: Sequence[Measured]) -> list[str]:
    """Means over seeds, in the order of the table's columns."""
    shown = [
        number([m.cv for m in members]),
        number([m.ad for m in members]),
        share(np.mean([m.ad_pass for m in members])),
        number([m.dp for m in members]),
        share(np.mean([m.dp_pass for m in members])),
    ]
    for n in SIZES:
        at = [m.ad_at[n] for m in members if n in m.ad_at]
        shown.append(number(at) if at else "–")
    shown.append(share(np.mean([m.dp_pass_at[SIZES[0]] for m in members])))
    return shown


def number(values: Sequence[float]) -> str:
    """The mean with three digits after the point, or three significant ones from 1 on."""
    mean = float(np.mean(values))
    return f"{mean:.3f}" if abs(mean) < 1 else f"{mean:.3g}"


def share(value: float) -> str:
    """A share of coordinates in percent, with a decimal where it is not whole."""
    return f"{100 * float(value):.3g}%"
