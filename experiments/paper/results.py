"""The table of RESULTS.md: every exhibit in a line, from the tables of docs/paper.md."""

import re
from collections.abc import Sequence
from pathlib import Path

from experiments.pages import Absent, Drawn, markdown
from experiments.paper.cifar10 import PAPER_AD, PAPER_CV

_HEAD = ["exhibit", "the paper", "ours, same protocol", "untrained", "random projection",
         "ours, AD at n = 1,000", "at n = 10,000", "in a sentence"]  # fmt: skip
_NONE = "–"
Rows = list[list[str]]


def tabulate_results(_: Path, page: Path = Path("docs", "paper.md")) -> Drawn:
    """The paper's value, ours by its protocol, the controls by the same, and ours at two sample sizes.

    Taken from the tables that the other exhibits have set in the page, so that no number stands twice.
    """
    rows = [_HEAD]
    if page.is_file():
        tables = read_tables(page.read_text(encoding="utf-8"))
        for exhibit in (_table_1, _resnet, _dynamics, _cosines, _norms, _pushforward):
            rows += exhibit(tables)
    if len(rows) == 1:
        raise Absent(f"{page} has no table yet; draw the other exhibits first.")
    return Drawn("results", None, markdown(rows))


def read_tables(text: str) -> dict[str, Rows]:
    """The tables of a page by the name of their mark, without heads; several of one name in a row."""
    found = {}
    for name, body in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- end -->", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        is_rule = [set("".join(row)) <= {"-"} for row in cells]
        heads = {i - 1 for i, rule in enumerate(is_rule) if rule}
        found[name] = [r for i, r in enumerate(cells) if i not in heads and not is_rule[i]]
    return found


_SENTENCES = {
    "Laplace": "Reproduced; the untrained encoder gives the same.",
    "Gaussian mixture": "Reproduced with close means, where the untrained encoder passes too.",
    "Sparse binary": "Close, start and end, with clustered rows; here training decides.",
    "CIFAR-10, MLP": "The control that the paper lacks.",
}


def _table_1(tables: dict[str, Rows]) -> Rows:
    """One row for each column of the paper's table, from blocks that begin with the paper's rows."""
    blocks: dict[str, dict[str, list[str]]] = {}
    block: dict[str, list[str]] = {}
    for label, *cells in tables.get("table1", []):
        title = re.match(r"\*\*(.+?)\*\*", label)
        if title:
            block = blocks.setdefault(title[1], {})
        block[label.removeprefix(title[0] if title else "").removeprefix(": ")] = cells
    rows = []
    for title, of in blocks.items():
        trained = [label for label in of if label.startswith("InfoNCE")]
        if title not in _SENTENCES or not trained:
            continue
        untrained, projection = of["untrained encoder"], of["random projection of the inputs"]
        ends = {"": ("the paper", of[trained[-1]])}
        if title == "Sparse binary":
            ends = {", start": ("the paper, epoch 0", untrained),
                    ", end": ("the paper, epoch 100", of[trained[-1]])}  # fmt: skip
        if title.startswith("CIFAR"):
            # Figure 4 has the rest.
            labels = next((label for label in of if label.startswith("on the labels")), None)
            ends = {f", {labels}": ("", of[labels])} if labels else {}
        for end, (paper, ours) in ends.items():
            reported = _three(of[paper]) if paper else _NONE
            shown = map(_three, (ours, untrained, projection))
            rows.append([f"Table 1, {title}{end}", reported, *shown, *ours[5:7], _SENTENCES[title]])
    return rows


_OF_RESNET = {
    "InfoNCE, τ = 0.1": "Approaches a Gaussian from far off, and still does when it is stopped.",
    "on the labels": "Stays far from a Gaussian, as the paper's does.",
}


def _resnet(tables: dict[str, Rows]) -> Rows:
    """The reduced ResNet at its last epoch, beside the paper's ResNet-18."""
    found = {row[0]: row[1:] for row in tables.get("resnet", [])}
    rows = []
    for name, sentence in _OF_RESNET.items():
        if name in found:
            epoch, *ours = found[name]
            paper, untrained = (
                found[f"**the paper**, ResNet-18, {name}"][1:],
                found["untrained"][1:],
            )
            what = f"Table 1, CIFAR-10, reduced ResNet, {name}, epoch {epoch}"
            shown = map(_three, (paper, ours, untrained))
            rows.append([what, *shown, _projection(tables), *ours[5:7], sentence])
    return rows


def _projection(tables: dict[str, Rows]) -> str:
    """Random projections of CIFAR-10's images."""
    label, found = "", _NONE
    for row in tables.get("table1", []):
        label = row[0] if row[0].startswith("**") else label
        if label.startswith("**CIFAR-10") and row[0].startswith("random"):
            found = _three(row[1:])
    return found


def _three(cells: Sequence[str]) -> str:
    """CV, AD average and share that passes AD."""
    return ", ".join(cells[:3])


def _dynamics(tables: dict[str, Rows]) -> Rows:
    of = [row for row in tables.get("dynamics", []) if row[0] == "InfoNCE"]
    projection = _projection(tables)
    rows = []
    for row, end, sentence in (
        (of[:1], 0, "Depends on how the pixels are scaled, which is not stated."),
        (
            of[-1:],
            1,
            "CV and AD leap in the first epoch, then fall, and end about where they began.",
        ),
    ):
        for _, epoch, *cells in row:
            paper = f"{PAPER_CV[end]:g}, {PAPER_AD[end]:g} (epoch {100 * end})"
            rows.append([f"Figure 4, MLP, epoch {epoch}", paper, _three(cells), _three(of[0][2:]),
                         projection, cells[4], cells[5], sentence])  # fmt: skip
    return rows


def _ends(rows: Rows) -> tuple[list[str], list[str], list[str], list[str]]:
    """Of a table by d and batch: least d untrained and at its least batch, and the other ends."""
    dims = sorted({int(row[0]) for row in rows})
    least = [row for row in rows if int(row[0]) == dims[0]]
    most = [row for row in rows if int(row[0]) == dims[-1]]
    return least[0], least[1], most[0], most[-1]


def _cosines(tables: dict[str, Rows]) -> Rows:
    if not tables.get("cosines"):
        return []
    untrained, first, other, last = (row[3].split("± ")[-1] for row in _ends(tables["cosines"]))
    return [
        ["Figures 2, 7, 8: sd of negatives' cosines, least to largest d and batch", "falls",
         f"{first} to {last}", f"{untrained} to {other}", _NONE, _NONE, _NONE,
         "Matches; most of it is the dimension, which needs no training."]
    ]  # fmt: skip


def _norms(tables: dict[str, Rows]) -> Rows:
    if not tables.get("normality"):
        return []
    untrained, first, other, last = _ends(tables["normality"])
    return [
        ["Figure 3: CV and AD, least to largest d and batch", "CV falls, AD accepted",
         f"CV {first[2]} to {last[2]}, AD {first[4]} to {last[4]}",
         f"CV {untrained[2]} to {other[2]}, AD {untrained[4]} to {other[4]}",
         _NONE, f"{first[8]} to {last[8]}", _NONE, "Matches; so does the untrained encoder."]
    ]  # fmt: skip


def _pushforward(tables: dict[str, Rows]) -> Rows:
    rows = tables.get("pushforward")
    if not rows:
        return []
    *at, expected = rows

    def span(column: int) -> str:
        return f"{min(r[column] for r in at)} to {max(r[column] for r in at)}"

    return [
        ["Figure 11: Pearson correlation", at[0][1], f"views {span(2)}; clean rows {span(4)}",
         f"views {span(3)}; clean rows {span(5)}", f"{expected[2]}; {expected[4]}", _NONE, _NONE,
         "Reproduced on views: both likelihoods share the random factor of each row."]
    ]  # fmt: skip
