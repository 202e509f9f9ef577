"""The table in words and as plain text: verdicts, notes, the terminal."""

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT
from infonce_jax.report.runs import Value, epochs_missing, stated_for_other_data
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
    own_statistics,
    sizes,
)

_PAGE_WIDTH = 100


def verdict(table: Table) -> str:
    """The table in words: which settings are accepted as Gaussian, and whether training is the reason.

    Every sentence is about the sample size at which the table compares; `size_verdict` has the others.
    """
    trained = [(g.title, g.columns[0], g.columns[-1]) for g in table.groups if g.columns[-1].step]
    if not trained:
        return "Nothing has been trained yet: only untrained encoders were evaluated."
    after = {title: accepted(last.values) for title, _, last in trained}
    before = {title: accepted(first.values) for title, first, _ in trained if first.step == 0}
    inside, outside = ([t for t in after if after[t] is answer] for answer in (True, False))
    if not inside and not outside:
        return "No coordinate of the trained representations could be tested for normality."
    at = " or ".join(f"{n:,}" for n in sorted({last.n for *_, last in trained if last.n}))
    total = len(trained)
    if inside:
        first = f"{_names(inside, total)} {_are(inside)} in the range accepted as Gaussian"
        rest = f"; {_names(outside, total)} {_are(outside)} not" if outside else ""
    else:
        first = f"{_names(outside, total)} {_are(outside)} outside the range accepted as Gaussian"
        rest = ""
    sentences = [f"After training, at n = {at}, {first}{rest}."]
    already, not_yet = ([t for t in before if before[t] is answer] for answer in (True, False))
    if not before:
        sentences.append("No untrained control was evaluated.")
    elif total == 1:
        known = [*already, *not_yet]
        place = "in it" if already else "outside it"
        sentences += [f"The untrained encoder is {place}{_too(already, inside)}."] if known else []
    elif already:
        rest = f"; {_names(not_yet, total)} {_are(not_yet)} not" if not_yet else ""
        sentences.append(f"Untrained, {_names(already, total)} {_are(already)} in it{rest}.")
    elif not_yet:
        sentences.append("Untrained, none is in it.")
    gained = [t for t in inside if t in not_yet]
    if gained and total > 1:
        sentences.append(f"So training made the difference for {_names(gained, total)}.")
    elif inside and already and not gained:
        sentences.append("So training is not the reason.")
    sentences += filter(None, [_farther(trained), _trials(table)])
    return " ".join(sentences)


def _too(already: Sequence[str], inside: Sequence[str]) -> str:
    return ", too" if bool(already) == bool(inside) else ""


def _are(titles: Sequence[str]) -> str:
    return "are" if len(titles) > 1 else "is"


def _farther(trained: Sequence[tuple[str, Column, Column]]) -> str | None:
    """Names the settings whose AD training increased by more than the noise of the seeds."""
    farther = {}
    for title, first, last in trained:
        before, after = (column.values.get("ad_mean") for column in (first, last))
        if first.step or before is None or after is None:
            continue
        if before.se is None or after.se is None:
            noise = 0.1 * before.mean  # one seed shows no spread
        else:
            noise = 2 * math.hypot(before.se, after.se)
        if after.mean - before.mean > noise:
            ends = (format_value("ad_mean", value.mean) for value in (before, after))
            farther[title] = " to ".join(ends)
    if not farther:
        return None
    if len(farther) > 4:
        return f"Training made AD worse for {_names(list(farther), len(trained))}."
    each = join_names([f"{title} (from {change})" for title, change in farther.items()])
    return f"Training made AD worse for {each}."


def _trials(table: Table) -> str | None:
    """Names the runs that trained fewer epochs than the whole experiment."""
    runs = {group.run.path: group.run for group in table.groups}
    short = {run.title: missing for run in runs.values() if (missing := epochs_missing(run))}
    if not short:
        return None
    each = [f"{title} ({last:.3g} of {full:g} epochs)" for title, (last, full) in short.items()]
    return f"This is a trial, not the whole experiment: {join_names(each)}."


def size_verdict(table: Table) -> str | None:
    """At which sample sizes each column is accepted, untrained ones too; None for a single size."""
    by_pattern: dict[str, dict[str, list[str]]] = {}
    for group in table.groups:
        for column in ends(group):
            answers = {n: accepted(values) for n, values in column.by_size.items()}
            answers = {n: answer for n, answer in answers.items() if answer is not None}
            if len(answers) > 1:
                titles = by_pattern.setdefault(_pattern(answers), {})
                titles.setdefault(group.title, []).append(column.label)
    sentences = []
    for pattern, titles in by_pattern.items():
        if len(table.groups) == 1:
            (labels,) = titles.values()
            who = join_names(labels)
        elif len(titles) <= 4:
            who = join_names([f"{t} ({join_names(labels)})" for t, labels in titles.items()])
        else:
            count = {label: 0 for labels in titles.values() for label in labels}
            for label in itertools.chain(*titles.values()):
                count[label] += 1
            total = len(table.groups)
            who = join_names([f"{label} {times} of {total}" for label, times in count.items()])
        sentences.append(f"{pattern}: {who}.")
    return " ".join(sentences) or None


def _pattern(answers: Mapping[int, bool]) -> str:
    """Where a column is accepted, in words."""
    inside = [n for n in sorted(answers) if answers[n]]
    if len(inside) == len(answers):
        return "Accepted at every n"
    if not inside:
        return "Accepted at no n"
    if inside == sorted(answers)[: len(inside)]:
        return f"Accepted up to n = {inside[-1]:,} only"
    return f"Accepted at n = {join_names([f'{n:,}' for n in inside])} only"


def format_terminal(table: Table) -> str:
    """The table as plain text, aligned; wider than 100 characters only where one group is.

    Args:
        table: from `build_table`.

    Returns:
        Several lines, without a final line break.
    """
    blocks = [*_wrap(verdict(table)), ""]
    own = own_statistics(table)
    paper = ["  paper"] if has_paper(table) else []
    cells = {
        id(g): [_text_column(column, own, bool(paper)) for column in g.columns]
        for g in table.groups
    }
    labels = ["", *(line for label in STATISTICS.values() for line in (label, *paper))]
    labels += ["accepted", *paper, *own]
    blocks += _columns_of_text(labels, table.groups, cells)
    if has_sizes(table):
        blocks += [
            "AD average (share that passes) against the sample size n; an exact Gaussian: "
            f"{GAUSSIAN_AD} ({percent(GAUSSIAN_PASS)})",
            "",
        ]
        cells = {
            id(g): [
                [c.label, *(_text_size(c.by_size.get(n)) for n in sizes(table))] for c in ends(g)
            ]
            for g in table.groups
        }
        blocks += _columns_of_text(["n", *(f"{n:,}" for n in sizes(table))], table.groups, cells)
        blocks += [*_wrap(size_verdict(table) or ""), ""]
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
        yield f"{join_names(short)}: not evaluated at n = {n:,}; the nearest evaluated size is shown."
    yield (
        f"Accepted: AD average below {AD_CRITICAL_5_PERCENT} and DP average p above {DP_LIMIT}. "
        f"An exact Gaussian has AD average {GAUSSIAN_AD}, DP average p 0.5, and 95% of its coordinates "
        "pass either test."
    )
    by_groups = [line for group in groups if (line := _by_groups(group))]
    if by_groups:
        yield (
            "The paper's protocol, which averages each test over groups of rows: "
            f"{'; '.join(by_groups)}. An exact Gaussian has AD average {GAUSSIAN_AD} and passes in 100% "
            "of its coordinates, and so does much that is not Gaussian."
        )
    elif any(c.paper for c in columns):
        yield (
            "The paper does not state the n of its tests, on which AD and DP depend. Its rows of 100% "
            "fit averages over 20 groups of 250 rows: config.evaluate.groups=(20, 250)."
        )
    stated = {stated_for_other_data(group.run.config) for group in groups} - {None}
    if stated:
        yield (
            f"The configuration's title and the paper's numbers are for {join_names(sorted(stated))}, "
            "not for these data, and are not shown."
        )
    if not any(c.step == 0 for c in columns):
        yield "There is no untrained control: step 0 was not evaluated."
    reached = [line for group in groups if (line := _alignment_reached(group))]
    if reached:
        yield (
            "Alignment of the last logged training batches, of the most that the channel allows, "
            f"η₂ + (1-η₂)‖m‖²: {'; '.join(reached)}. Rows that are seen often can be memorised and "
            "exceed it."
        )


def _by_groups(group: Group) -> str | None:
    """ "Laplace, 20 groups of 250: AD average 0.388 untrained, 0.385 at the end, 100% pass", or None."""
    columns = [column for column in ends(group) if column.grouped]
    if not columns:
        return None
    last = {name: value.mean for name, value in columns[-1].grouped.items()}
    values = ", ".join(f"{c.grouped['group_ad_mean'].mean:.3f} {c.label}" for c in columns)
    return (
        f"{group.title}, {last['group_count']:.0f} groups of {last['group_size']:.0f}: AD average "
        f"{values} ({percent(last['group_ad_pass'])} of coordinates pass); DP average p "
        f"{last['group_dp_mean_p']:.2f} ({percent(last['group_dp_pass'])})"
    )


def _alignment_reached(group: Group) -> str | None:
    """ "Laplace 0.812 of 0.882 (92%)", or None where the bound is not known."""
    metrics, run = group.run.metrics, group.run
    if not {"alignment", "alignment_bound"} <= set(metrics):
        return None
    of = [run.member_names.index(name) for name in group.setting.members]
    value, bound = (float(metrics[m][-1, of].mean()) for m in ("alignment", "alignment_bound"))
    return f"{group.title} {value:.3f} of {bound:.3f} ({percent(value / bound)})"


def _names(titles: Sequence[str], total: int) -> str:
    """Up to four titles by name; otherwise how many there are."""
    if len(titles) <= 4:
        return join_names(titles)
    return f"all {total} settings" if len(titles) == total else f"{len(titles)} of {total} settings"


def join_names(names: Sequence[str], shown: int = 8) -> str:
    """ "a, b and c", each once; of many the first ones, and how many more there are."""
    names = list(dict.fromkeys(names))
    if len(names) > shown:
        names = [*names[: shown - 1], f"{len(names) - shown + 1} others"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def percent(share: float, digits: int = 0) -> str:
    """A share as a percentage, the sign attached so that no line breaks before it."""
    return f"{100 * share:.{digits}f}%"


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


def has_paper(table: Table) -> bool:
    """Whether the paper has a number for any column."""
    return any(column.paper for group in table.groups for column in group.columns)


def yes_or_no(verdict: bool | None) -> str:
    return "–" if verdict is None else "yes" if verdict else "no"


def _text_column(column: Column, own: Sequence[str], with_paper: bool) -> list[str]:
    lines = [column.label]
    for statistic in STATISTICS:
        value = column.values.get(statistic)
        ours = (
            format_value(statistic, value.mean) + format_spread(statistic, value) if value else "–"
        )
        lines.append(ours)
        if with_paper:
            lines.append(format_paper(statistic, column.paper) or "–")
    lines.append(yes_or_no(accepted(column.values)))
    if with_paper:
        lines.append(yes_or_no(accepted(column.paper)))
    values = {name: column.values.get(name) for name in own}
    return lines + [
        format_value(name, value.mean) + format_spread(name, value) if value else "–"
        for name, value in values.items()
    ]


def _text_size(values: dict[str, Value] | None) -> str:
    if not values or "ad_mean" not in values:
        return "–"
    passed = f" ({percent(values['ad_pass'].mean)})" if "ad_pass" in values else ""
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
