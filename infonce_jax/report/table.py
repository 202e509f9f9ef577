"""The table beside the paper's, and its dependence on the sample size: as data, as text, as HTML."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from infonce_jax.report import paper
from infonce_jax.report.runs import (
    Key,
    Run,
    Setting,
    Value,
    load_runs,
    pick_split,
    pick_steps,
    step_label,
)

STATISTICS: dict[str, str] = {
    "norm_cv": "CV",
    "ad_mean": "AD average",
    "ad_pass": "AD pass %",
    "dp_mean_p": "DP average p",
    "dp_pass": "DP pass %",
}
AD_LIMIT = (
    0.752  # A² below which a coordinate is normal at the 5 % level, mean and variance estimated
)
DP_LIMIT = 0.05
GAUSSIAN_AD = 0.384  # E[A²] of normal data under the same estimates, at any n
GAUSSIAN_PASS = 0.95
_PAGE_WIDTH = 100


class Column(NamedTuple):
    """One evaluated step of one setting.

    Attributes:
        step: optimiser steps taken.
        epoch: the same in epochs, or None where unknown.
        label: "untrained", "epoch 50".
        n: rows the tests were given; None where this step was not evaluated.
        dim: dimension of the embeddings.
        values: statistic to our value at `n`.
        by_size: every evaluated n to {statistic: value}, ascending.
        paper: statistic to the paper's value, or None where it reports none.
    """

    step: int
    epoch: float | None
    label: str
    n: int | None
    dim: int | None
    values: dict[str, Value]
    by_size: dict[int, dict[str, Value]]
    paper: dict[str, float] | None


class Group(NamedTuple):
    """One hyperparameter setting of one run: the untrained control first, the end last."""

    title: str
    run: Run
    setting: Setting
    split: str
    columns: tuple[Column, ...]


class Table(NamedTuple):
    """What the report says in numbers.

    Attributes:
        n: sample size asked for; a column's own `n` is what it has.
        representation: "raw" or "normalized".
        groups: one per run and hyperparameter setting.
        notes: sentences a reader of the numbers must know.
    """

    n: int
    representation: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def build_table(
    run_dirs: Sequence[str | Path], n: int | None = None, representation: str = "raw"
) -> Table:
    """The evaluations of several runs beside the paper's Table 1.

    Every hyperparameter setting of every run is a group of columns: step 0 (the untrained control),
    the epochs that the paper reports, and the last step.

    Args:
        run_dirs: run folders with config.json and evaluation.json.
        n: sample size at which to compare; by default the first run's report.sample_size, or 1,000
            where its configuration has none. Where a run was not evaluated at it, the nearest size
            below is taken (the smallest, where none is below) and a note says so.
        representation: "raw" or "normalized".

    Returns:
        The table.

    Raises:
        FileNotFoundError: where a folder has no config.json or evaluation.json.
        ValueError: where nothing was evaluated in that representation.
    """
    return tabulate(load_runs(run_dirs), n, representation)


def tabulate(runs: Sequence[Run], n: int | None = None, representation: str = "raw") -> Table:
    """`build_table` on runs already read."""
    n = n or (runs[0].config.get("report") or {}).get("sample_size") or 1000
    groups = tuple(
        _group(run, setting, n, representation, alone=len(runs) == 1)
        for run in runs
        for setting in run.settings
    )
    return Table(n, representation, groups, tuple(_notes(groups, n)))


def accepted(values: dict[str, Value] | dict[str, float] | None) -> bool | None:
    """Whether the averages lie in the range the paper accepts: AD average < 0.752, DP p > 0.05.

    Args:
        values: statistic to value, ours or the paper's.

    Returns:
        The verdict, or None where either statistic is missing.
    """
    if not values or "ad_mean" not in values or "dp_mean_p" not in values:
        return None
    ad, dp = (
        v.mean if isinstance(v, Value) else v for v in (values["ad_mean"], values["dp_mean_p"])
    )
    return ad < AD_LIMIT and dp > DP_LIMIT


def verdict(table: Table) -> str:
    """The table in words: who is in the accepted range, and whether training is what brought them."""
    trained = [(g.title, g.columns[0], g.columns[-1]) for g in table.groups if g.columns[-1].step]
    if not trained:
        return "Nothing has been trained yet: only untrained encoders were evaluated."
    total = len(trained)
    before = {title: accepted(first.values) for title, first, _ in trained if first.step == 0}
    after = {title: accepted(last.values) for title, _, last in trained}
    inside = [title for title in after if after[title]]
    outside = [title for title in after if after[title] is False]
    already = [title for title in inside if before.get(title)]
    gained = [title for title in inside if before.get(title) is False]
    lost = [title for title in outside if before.get(title)]
    if not inside and not outside:
        return "No coordinate of the trained representations could be tested for normality."
    at = " or ".join(f"{n:,}" for n in sorted({last.n for *_, last in trained if last.n}))
    if inside:
        lie = "lie" if len(inside) > 1 else "lies"
        parts = [f"After training, {_names(inside, total)} {lie} in the range accepted as Gaussian"]
        parts[0] += f" at n = {at}"
        if outside:
            parts[0] += f", {_names(outside, total)} {_do(outside)} not"
    else:
        parts = [
            f"After training, {_names(outside, total)} {'lie' if len(outside) > 1 else 'lies'}"
        ]
        parts[0] += f" outside the range accepted as Gaussian at n = {at}"
    if not before:
        parts.append("no untrained control was evaluated")
    if already:
        parts.append(f"{_names(already, total)} already did before any training")
        if gained:
            owe = "owe" if len(gained) > 1 else "owes"
            parts[-1] += f", so only {_names(gained, total)} {owe} it to training"
        else:
            parts[-1] += ", so training is not what did it"
    elif gained and total == 1:
        parts.append("the untrained encoder did not")
    elif gained:
        parts.append(f"untrained, {_names(gained, total)} did not")
    if lost:
        parts.append(f"{_names(lost, total)} did before training")
    return "; ".join(parts) + "."


def size_verdict(table: Table) -> str | None:
    """How the verdict changes at the largest sample size, or None where there is only one size."""
    last = [(g.title, g.columns[-1]) for g in table.groups if g.columns[-1].step > 0]
    last = [(title, column) for title, column in last if column.n is not None]
    if not last:
        return None
    n = max(max(column.by_size) for _, column in last)
    if n <= max(column.n for _, column in last):
        return None
    at = [(t, c) for t, c in last if n in c.by_size]
    kept = [t for t, c in at if accepted(c.values) and accepted(c.by_size[n])]
    lost = [t for t, c in at if accepted(c.values) and accepted(c.by_size[n]) is False]
    if lost and kept:
        return (
            f"Given n = {n:,} rows, {_names(kept, len(at))} still {_do(kept)} and "
            f"{_names(lost, len(at))} no longer {_do(lost)}."
        )
    if lost:
        return f"Given n = {n:,} rows, {_names(lost, len(at))} no longer {_do(lost)}."
    same = all(accepted(c.values) == accepted(c.by_size[n]) for _, c in at)
    return f"Given n = {n:,} rows, the same holds." if same else None


def format_terminal(table: Table) -> str:
    """The table as plain text, aligned; wider than 100 characters only where one group is.

    Args:
        table: from `build_table`.

    Returns:
        Several lines, without a final line break.
    """
    blocks = [*_wrap(verdict(table)), ""]
    cells = {id(g): [_text_column(column) for column in g.columns] for g in table.groups}
    labels = ["", *(line for label in STATISTICS.values() for line in (label, "  paper"))]
    labels += ["accepted", "  paper"]
    blocks += _columns_of_text(labels, table.groups, cells)
    if _has_sizes(table):
        sizes, label = _sizes(table), "n"
        blocks += [
            "AD average (pass) against the sample size n; an exact Gaussian: "
            f"{GAUSSIAN_AD} ({100 * GAUSSIAN_PASS:.0f} %)",
            "",
        ]
        cells = {
            id(g): [[c.label, *(_text_size(c.by_size.get(n)) for n in sizes)] for c in ends(g)]
            for g in table.groups
        }
        blocks += _columns_of_text([label, *(f"{n:,}" for n in sizes)], table.groups, cells)
    return "\n".join(blocks + [line for note in table.notes for line in _wrap(note)])


def table_html(table: Table) -> str:
    """The table beside the paper's, as an HTML <table>."""
    columns = [column for group in table.groups for column in group.columns]
    rows = []
    for statistic, label in STATISTICS.items():
        ours = "".join(
            _html_value(statistic, c.values.get(statistic), _edge(table, c)) for c in columns
        )
        theirs = "".join(
            f"<td{_edge(table, c)}>{_html_paper(statistic, c.paper)}</td>" for c in columns
        )
        name = label.replace(" %", "")
        rows.append(f'<tr class="ours"><th scope="row">{name}</th>{ours}</tr>')
        rows.append(f'<tr class="paper"><th scope="row">paper</th>{theirs}</tr>')
    ours, theirs = (
        "".join(
            f"<td{_edge(table, column)}>{_yes(accepted(values))}</td>"
            for column, values in zip(columns, of, strict=True)
        )
        for of in ([column.values for column in columns], [column.paper for column in columns])
    )
    rows.append(f'<tr class="ours"><th scope="row">accepted</th>{ours}</tr>')
    rows.append(f'<tr class="paper"><th scope="row">paper</th>{theirs}</tr>')
    return _html_table(table.groups, [g.columns for g in table.groups], "", rows)


def sizes_html(table: Table) -> str | None:
    """AD average and pass rate against n, as an HTML <table>; None where there is a single n."""
    if not _has_sizes(table):
        return None
    shown = [ends(group) for group in table.groups]
    rows = []
    for n in _sizes(table):
        cells = "".join(
            _html_size(column.by_size.get(n), ' class="first"' if i == 0 else "")
            for columns in shown
            for i, column in enumerate(columns)
        )
        rows.append(
            f'<tr class="ours"><th scope="row">{n:,}</th>{cells}'
            f'<td class="first">{GAUSSIAN_AD}<small>{100 * GAUSSIAN_PASS:.0f} %</small></td></tr>'
        )
    return _html_table(table.groups, shown, "n", rows, extra=("Exact Gaussian", "in expectation"))


def _group(run: Run, setting: Setting, n: int, representation: str, *, alone: bool) -> Group:
    key, split = setting.key, pick_split(run)
    steps = pick_steps(run)
    columns = []
    for step in steps:
        sizes = sorted(k.n for k in run.values if k[:4] == (key, step, split, representation))
        below = [size for size in sizes if size <= n]
        chosen = (below[-1] if below else sizes[0]) if sizes else None
        by_size = {s: run.values[Key(key, step, split, representation, s)] for s in sizes}
        columns.append(
            Column(
                step=step,
                epoch=run.epochs[step],
                label=step_label(step, run.epochs[step]),
                n=chosen,
                dim=run.dims.get(Key(key, step, split, representation, chosen)),
                values=by_size.get(chosen, {}),
                by_size=by_size,
                paper=paper.reported(
                    run.paper, run.objective, run.epochs[step], final=step == steps[-1] and step > 0
                )
                if representation == "raw"  # the paper's Table 1 is on unnormalised representations
                else None,
            )
        )
    if all(column.n is None for column in columns):
        held = sorted({k.representation for k in run.values if k.setting == key})
        raise ValueError(
            f"{run.path}/evaluation.json has no summary of {representation!r} representations for "
            f"{setting.label or 'its members'}; it has: "
            f"{', '.join(held) or 'none'}. Rerun --stage=evaluate."
        )
    title = f"{run.title} ({setting.label})" if setting.label else run.title
    if alone and setting.label:
        title = setting.label
    return Group(title, run, setting, split, tuple(columns))


def _notes(groups: Sequence[Group], n: int) -> Iterator[str]:
    columns = [column for group in groups for column in group.columns]
    counts = sorted({value.count for c in columns for value in c.values.values()})
    seeds = " or ".join(map(str, counts))
    sizes = " or ".join(f"{size:,}" for size in sorted({c.n for c in columns if c.n}))
    dims = " or ".join(str(d) for d in sorted({c.dim for c in columns if c.dim}))
    splits = " or ".join(sorted({group.split for group in groups}))
    spread = "mean" if counts == [1] else "mean ± standard error"
    yield (
        f"n = {sizes} rows of the {splits} split in d = {dims} dimensions; {spread} over {seeds} "
        f"seed{'s' if counts != [1] else ''}."
    )
    short = [group.title for group in groups if any(c.n not in (n, None) for c in group.columns)]
    if short:
        yield (
            f"n = {n:,} was asked for and not evaluated for {join_names(short)}; the nearest evaluated "
            "size is shown."
        )
    yield (
        f"Accepted: AD average below {AD_LIMIT} and DP average p above {DP_LIMIT}. An exact Gaussian "
        f"has AD average {GAUSSIAN_AD}, DP average p 0.5, and 95 % of its coordinates pass either test."
    )
    if any(c.paper for c in columns):
        yield "The paper does not state its n, on which AD and DP depend."
    if not any(c.step == 0 for c in columns):
        yield "There is no untrained control: step 0 was not evaluated."
    reached = [line for group in groups if (line := _alignment_reached(group))]
    if reached:
        yield (
            "Alignment of the last logged training batches, of the most that the channel allows, "
            f"η₂ + (1-η₂)‖m‖²: {'; '.join(reached)}. Rows seen over and over can be learnt by heart and "
            "exceed it."
        )


def _alignment_reached(group: Group) -> str | None:
    """ "Laplace 0.812 of 0.882 (92 %)", or None where the bound is not known."""
    metrics, run = group.run.metrics, group.run
    if not {"alignment", "alignment_bound"} <= set(metrics):
        return None
    of = [run.member_names.index(name) for name in group.setting.members]
    value, bound = (float(metrics[m][-1, of].mean()) for m in ("alignment", "alignment_bound"))
    return f"{group.title} {value:.3f} of {bound:.3f} ({100 * value / bound:.0f} %)"


def _names(titles: Sequence[str], total: int) -> str:
    """All of them by name while that reads well, else how many of them there are."""
    if len(titles) <= 4:
        return join_names(titles)
    return f"all {total} settings" if len(titles) == total else f"{len(titles)} of {total} settings"


def join_names(names: Sequence[str], shown: int = 8) -> str:
    """ "a, b and c", each once; of many the first ones, and how many more there are."""
    names = list(dict.fromkeys(names))
    if len(names) > shown:
        names = [*names[: shown - 1], f"{len(names) - shown + 1} others"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _do(titles: Sequence[str]) -> str:
    return "do" if len(titles) > 1 else "does"


def ends(group: Group) -> tuple[Column, ...]:
    """The first and the last column: untrained against trained."""
    return group.columns if len(group.columns) == 1 else (group.columns[0], group.columns[-1])


def _sizes(table: Table) -> list[int]:
    return sorted({n for group in table.groups for column in group.columns for n in column.by_size})


def _has_sizes(table: Table) -> bool:
    return len(_sizes(table)) > 1


def format_value(statistic: str, value: float, like: float | None = None) -> str:
    """A number with the digits its statistic deserves; pass rates in percent, without the sign.

    Args:
        statistic: one of `STATISTICS`.
        value: the number.
        like: the number whose digits to follow, for a standard error.

    Returns:
        The text.
    """
    if not math.isfinite(value):
        return "–"
    if statistic in ("ad_pass", "dp_pass"):
        return f"{100 * value:.1f}"
    size = abs(value if like is None else like)
    if statistic == "ad_mean" and size >= 1:
        return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:.0f}"
    return f"{value:.3f}"


def _spread(statistic: str, value: Value) -> str:
    if value.se is None or not math.isfinite(value.se):
        return ""
    return "±" + format_value(statistic, value.se, like=value.mean)


def _text_paper(statistic: str, values: dict[str, float] | None) -> str:
    if not values or statistic not in values:
        return ""
    value = values[statistic]
    return f"{100 * value:g}" if statistic in ("ad_pass", "dp_pass") else f"{value:g}"


def _yes(verdict: bool | None) -> str:
    return "–" if verdict is None else "yes" if verdict else "no"


def _text_column(column: Column) -> list[str]:
    lines = [column.label]
    for statistic in STATISTICS:
        value = column.values.get(statistic)
        ours = format_value(statistic, value.mean) + _spread(statistic, value) if value else "–"
        lines += [ours, _text_paper(statistic, column.paper) or "–"]
    return [*lines, _yes(accepted(column.values)), _yes(accepted(column.paper))]


def _text_size(values: dict[str, Value] | None) -> str:
    if not values or "ad_mean" not in values:
        return "–"
    passed = f" ({100 * values['ad_pass'].mean:.0f} %)" if "ad_pass" in values else ""
    return format_value("ad_mean", values["ad_mean"].mean) + passed


def _columns_of_text(
    labels: list[str], groups: Sequence[Group], cells: dict[int, list[list[str]]]
) -> list[str]:
    """Groups side by side as long as they fit the page, the rest below under the same labels."""
    label_width = max(map(len, labels))
    blocks: list[list[str]] = []
    for group in groups:
        columns = cells[id(group)]
        widths = [max(map(len, column)) for column in columns]
        width = max(sum(widths) + len(widths) - 1, len(group.title))
        widths[-1] += width - (sum(widths) + len(widths) - 1)
        lines = [group.title.ljust(width), "-" * width]
        lines += [
            " ".join(text.rjust(w) for text, w in zip(row, widths, strict=True))
            for row in zip(*columns, strict=True)
        ]
        if not blocks or len(blocks[-1][0]) + 2 + width > _PAGE_WIDTH:
            blocks.append([text.ljust(label_width) for text in ["", "", *labels]])
        blocks[-1] = [f"{left}  {right}" for left, right in zip(blocks[-1], lines, strict=True)]
    return [line.rstrip() for block in blocks for line in [*block, ""]]


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _PAGE_WIDTH)


def _edge(table: Table, column: Column) -> str:
    first = any(column is group.columns[0] for group in table.groups)
    return ' class="first"' if first else ""


def _html_value(statistic: str, value: Value | None, attributes: str) -> str:
    if value is None:
        return f"<td{attributes}>–</td>"
    percent = " %" if statistic in ("ad_pass", "dp_pass") else ""
    spread = _spread(statistic, value).replace("±", "± ")
    return (
        f"<td{attributes}>{format_value(statistic, value.mean)}{percent}"
        + (f"<small>{spread}</small>" if spread else "")
        + "</td>"
    )


def _html_paper(statistic: str, values: dict[str, float] | None) -> str:
    text = _text_paper(statistic, values)
    return f"{text}{' %' if statistic in ('ad_pass', 'dp_pass') else ''}" if text else "–"


def _html_size(values: dict[str, Value] | None, attributes: str) -> str:
    if not values or "ad_mean" not in values:
        return f"<td{attributes}>–</td>"
    passed = f"<small>{100 * values['ad_pass'].mean:.0f} %</small>" if "ad_pass" in values else ""
    return f"<td{attributes}>{format_value('ad_mean', values['ad_mean'].mean)}{passed}</td>"


def _html_table(
    groups: Sequence[Group],
    columns: Sequence[Sequence[Column]],
    corner: str,
    rows: list[str],
    extra: tuple[str, str] | None = None,
) -> str:
    def head(text: Any, attributes: str) -> str:
        return f"<th {attributes}>{escape(str(text))}</th>"

    titles = "".join(
        head(group.title, f'class="first" scope="colgroup" colspan="{len(shown)}"')
        for group, shown in zip(groups, columns, strict=True)
    )
    labels = "".join(
        head(column.label, 'scope="col"' + (' class="first"' if i == 0 else ""))
        for shown in columns
        for i, column in enumerate(shown)
    )
    if extra:
        titles += head(extra[0], 'class="first" scope="col"')
        labels += head(extra[1], 'class="first" scope="col"')
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th></th>{titles}</tr>'
        f'<tr><th scope="col">{corner}</th>{labels}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
