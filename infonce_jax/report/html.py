"""Pieces of a page as HTML: the document with its style, and tables."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from infonce_jax.report import canvas, text
from infonce_jax.report.runs import (
    Value,
)
from infonce_jax.report.table import (
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

_STYLE = """
:root { color-scheme: light dark; --text: 46rem; --paper: #fff; --ink: #1c1c1c; --soft: #5f6368;
  --line: #d9dbde; --faint: #eeeff0; --accent: #0072B2; --code: #f5f6f7; --shade: #0003; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #e4e6e8; --soft: #a3a8ad; --line: #3a3e42; --faint: #26292c;
    --accent: #6cb8ec; --code: #202326; --shade: #fff3; --figure-ink: #e4e6e8; --figure-axis: #8b9095;
    --figure-paper: #16181b; --trained: #4fa6dd; --untrained-text: #E69F00; --between-text: #56B4E9; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 71rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em;
  text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .35rem; }
h3 { font-size: .9rem; font-weight: 600; margin: 1.1rem 0 .25rem; }
.panel h3 { margin-top: 0; }
p { margin: .35rem 0; max-width: var(--text); }
li { max-width: var(--text); }
.verdict { font-size: 1.15rem; line-height: 1.45; margin-bottom: .5rem; }
.notes, .caption, .missing, footer { color: var(--soft); font-size: .875rem; }
.notes { margin-top: .6rem; }
/* The shade at the right shows as long as there is more to scroll to. */
.scroll { overflow-x: auto; margin: .75rem 0; background:
  linear-gradient(to left, var(--paper) 50%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to left, var(--shade), transparent) right / .8rem 100% no-repeat scroll; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
th { font-weight: 400; color: var(--soft); }
thead th { border-bottom: 1px solid var(--line); }
thead tr:first-child th { border-bottom: 0; color: var(--ink); font-weight: 600; text-align: left; }
thead tr:first-child > * { border-top: 2px solid var(--ink); }
tbody tr:last-child > * { border-bottom: 2px solid var(--ink); }
tbody th, thead th:first-child { text-align: left; position: sticky; left: 0; z-index: 1;
  background: var(--paper); }
.first { padding-left: 1.5rem; }
.words td, .words thead th { text-align: left; }
td small { display: inline-block; color: var(--soft); margin-left: .35rem; }
.ours th { color: var(--ink); }
.beside .ours > * { padding-top: .5rem; }
.beside .paper > * { padding-top: 0; padding-bottom: .5rem; color: var(--soft); }
.beside .paper th { padding-left: 1.4rem; }
.beside tbody tr.paper:not(:last-child) > * { border-bottom: 1px solid var(--faint); }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 1.25rem 1.5rem; margin: .9rem 0 0; }
figure { margin: 0; }
.panel { max-width: 26rem; }
.panel svg { display: block; width: 100%; height: auto; overflow: visible; }
.single { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr));
  gap: 0 3rem; }
details { margin: .5rem 0; font-size: .875rem; }
summary { cursor: pointer; color: var(--accent); padding: .2rem 0; }
.facts th, .facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts th { white-space: nowrap; }
.facts th:first-child { padding-left: 0; }
.facts thead th { font-weight: 600; color: var(--ink); }
.facts thead tr > *, .facts tbody tr > * { border: 0; }
.facts td { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .8rem; }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; background: var(--code);
  padding: .7rem .9rem; border-radius: 4px; font: .8rem/1.45 ui-monospace, Menlo, Consolas, monospace; }
a { color: var(--accent); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media (max-width: 40rem) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.4rem; }
  .verdict { font-size: 1.05rem; }
  th, td { padding-left: .45rem; padding-right: .45rem; }
}
@page { size: A4; margin: 14mm; }
@media print {
  html { font-size: 11px; }
  body { padding: 0; max-width: none; }
  .scroll { overflow: visible; background: none; }
  th, td { padding-left: .4rem; padding-right: .4rem; }
  thead th { white-space: normal; }
  .first { padding-left: 1rem; }
  tbody th, thead th:first-child { position: static; }
  .panels { grid-template-columns: repeat(3, 1fr); gap: .8rem 1rem; }
  .single { grid-template-columns: repeat(2, 1fr); gap: 0 2rem; }
  .single .panels { grid-template-columns: 1fr; }
  section, .panel, tr, pre { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .printed::details-content { content-visibility: visible; block-size: auto; }
  .printed summary, .printed ul { display: none; }
}
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page: the style, nothing from the network, and `parts` in its body.

    Args:
        title: of the window.
        parts: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is fetched, whatever a title or a config may hold.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + _SVG.sub(lambda svg: _themed(svg[0]), "\n".join(parts))
        + "\n</body>\n</html>\n"
    )


# What a figure is drawn in, and the variable by which a dark page replaces it.
_SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)
_THEME = {
    canvas.INK: "--figure-ink",
    canvas.AXIS: "--figure-axis",
    canvas.PAPER: "--figure-paper",
    canvas.TRAINED: "--trained",
    canvas.text_colour(canvas.UNTRAINED): "--untrained-text",
    canvas.text_colour(canvas.BETWEEN): "--between-text",
    "#000000": "--figure-ink",
}


def _themed(svg: str) -> str:
    """The figure with colours that follow the page's; without a theme they are as drawn."""
    for colour, variable in _THEME.items():
        svg = svg.replace(f": {colour.lower()}", f": var({variable}, {colour.lower()})")
    return svg


def facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="facts"><tbody>{rows}</tbody></table></div>'
    )


def grid(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in values)
        + "</tr>"
        for name, values in rows.items()
    )
    return (
        '<div class="scroll" tabindex="0"><table class="facts"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def table_html(table: Table) -> str:
    """The table, beside the paper's where it has one, as an HTML <table>."""
    with_paper = text.has_paper(table)
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
        if with_paper:
            rows.append(f'<tr class="paper"><th scope="row">paper</th>{theirs}</tr>')
    ours, theirs = (
        "".join(
            f"<td{_edge(table, column)}>{text.yes_or_no(accepted(values))}</td>"
            for column, values in zip(columns, of, strict=True)
        )
        for of in ([column.values for column in columns], [column.paper for column in columns])
    )
    rows.append(f'<tr class="ours"><th scope="row">accepted</th>{ours}</tr>')
    if with_paper:
        rows.append(f'<tr class="paper"><th scope="row">paper</th>{theirs}</tr>')
    for statistic in own_statistics(table):
        ours = "".join(
            _html_value(statistic, c.values.get(statistic), _edge(table, c)) for c in columns
        )
        rows.append(f'<tr class="ours"><th scope="row">{escape(statistic)}</th>{ours}</tr>')
    return _html_table(table.groups, [g.columns for g in table.groups], "", rows)


def sizes_html(table: Table) -> str | None:
    """AD average and pass rate against n, as an HTML <table>; None where there is a single n."""
    if not has_sizes(table):
        return None
    shown = [ends(group) for group in table.groups]
    rows = []
    for n in sizes(table):
        cells = "".join(
            _html_size(column.by_size.get(n), ' class="first"' if i == 0 else "")
            for columns in shown
            for i, column in enumerate(columns)
        )
        rows.append(
            f'<tr class="ours"><th scope="row">{n:,}</th>{cells}'
            f'<td class="first">{GAUSSIAN_AD}<small>{text.percent(GAUSSIAN_PASS)}</small></td></tr>'
        )
    return _html_table(table.groups, shown, "n", rows, extra=("Exact Gaussian", "in expectation"))


def _edge(table: Table, column: Column) -> str:
    first = any(column is group.columns[0] for group in table.groups)
    return ' class="first"' if first else ""


def _html_value(statistic: str, value: Value | None, attributes: str) -> str:
    if value is None:
        return f"<td{attributes}>–</td>"
    percent = "%" if statistic in ("ad_pass", "dp_pass") else ""
    spread = text.format_spread(statistic, value).replace("±", "± ")
    return (
        f"<td{attributes}>{text.format_value(statistic, value.mean)}{percent}"
        + (f"<small>{spread}</small>" if spread else "")
        + "</td>"
    )


def _html_paper(statistic: str, values: dict[str, float] | None) -> str:
    shown = text.format_paper(statistic, values)
    return f"{shown}{'%' if statistic in ('ad_pass', 'dp_pass') else ''}" if shown else "–"


def _html_size(values: dict[str, Value] | None, attributes: str) -> str:
    if not values or "ad_mean" not in values:
        return f"<td{attributes}>–</td>"
    share = values.get("ad_pass")
    passed = f"<small>{text.percent(share.mean)}</small>" if share else ""
    return f"<td{attributes}>{text.format_value('ad_mean', values['ad_mean'].mean)}{passed}</td>"


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
