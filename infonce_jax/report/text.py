"""The table in words and as plain text: verdicts, notes, the terminal."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT
from infonce_jax.report.runs import (
    Value,
)
from infonce_jax.report.table import (
    DP_LIMIT,
    GAUSSIAN_AD,
    GAUSSIAN_PASS,
    STATISTICS,
    Column,
    Group,
    Table,
    accepted,
    ends,
    has_sizes,
    sizes,
)

_PAGE_WIDTH = 100


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
    if has_sizes(table):
        blocks += [
            "AD average (pass) against the sample size n; an exact Gaussian: "
            f"{GAUSSIAN_AD} ({100 * GAUSSIAN_PASS:.0f} %)",
            "",
        ]
        cells = {
            id(g): [
                [c.label, *(_text_size(c.by_size.get(n)) for n in sizes(table))] for c in ends(g)
            ]
            for g in table.groups
        }
        blocks += _columns_of_text(["n", *(f"{n:,}" for n in sizes(table))], table.groups, cells)
    return "\n".join(blocks + [line for note in notes(table) for line in _wrap(note)])


def notes(table: Table) -> Iterator[str]:
    """Sentences that a reader of the numbers must know."""
    groups, n = table.groups, table.n
    columns = [column for group in groups for column in group.columns]
    counts = sorted({value.count for c in columns for value in c.values.values()})
    seeds = " or ".join(map(str, counts))
    evaluated = " or ".join(f"{size:,}" for size in sorted({c.n for c in columns if c.n}))
    dims = " or ".join(str(d) for d in sorted({c.dim for c in columns if c.dim}))
    splits = " or ".join(sorted({group.split for group in groups}))
    spread = "mean" if counts == [1] else "mean ± standard error"
    yield (
        f"n = {evaluated} rows of the {splits} split in d = {dims} dimensions; {spread} over {seeds} "
        f"seed{'s' if counts != [1] else ''}."
    )
    short = [group.title for group in groups if any(c.n not in (n, None) for c in group.columns)]
    if short:
        yield (
            f"n = {n:,} was asked for and not evaluated for {join_names(short)}; the nearest evaluated "
            "size is shown."
        )
    yield (
        f"Accepted: AD average below {AD_CRITICAL_5_PERCENT} and DP average p above {DP_LIMIT}. "
        f"An exact Gaussian has AD average {GAUSSIAN_AD}, DP average p 0.5, and 95 % of its coordinates "
        "pass either test."
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


def format_spread(statistic: str, value: Value) -> str:
    if value.se is None or not math.isfinite(value.se):
        return ""
    return "±" + format_value(statistic, value.se, like=value.mean)


def format_paper(statistic: str, values: dict[str, float] | None) -> str:
    if not values or statistic not in values:
        return ""
    value = values[statistic]
    return f"{100 * value:g}" if statistic in ("ad_pass", "dp_pass") else f"{value:g}"


def yes_or_no(verdict: bool | None) -> str:
    return "–" if verdict is None else "yes" if verdict else "no"


def _text_column(column: Column) -> list[str]:
    lines = [column.label]
    for statistic in STATISTICS:
        value = column.values.get(statistic)
        ours = (
            format_value(statistic, value.mean) + format_spread(statistic, value) if value else "–"
        )
        lines += [ours, format_paper(statistic, column.paper) or "–"]
    return [*lines, yes_or_no(accepted(column.values)), yes_or_no(accepted(column.paper))]


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
