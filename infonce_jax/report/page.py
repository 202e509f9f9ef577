"""One self-contained page: verdict, tables, figures, and where they come from."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import infonce_jax
from infonce_jax.report import paper, table
from infonce_jax.report.runs import Run, load_runs

_STYLE = """
:root { color-scheme: light; --ink: #1c1c1c; --soft: #5f6368; --line: #d9dbde; --accent: #0072B2; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 71rem; color: var(--ink);
  background: #fff; font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em;
  text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .35rem; }
h3 { font-size: .9rem; font-weight: 600; margin: 1.1rem 0 .25rem; }
.panel h3 { margin-top: 0; }
p { margin: .35rem 0; max-width: 46rem; }
.verdict { font-size: 1.15rem; line-height: 1.45; max-width: 50rem; margin-bottom: .5rem; }
.notes, .caption, .missing, footer { color: var(--soft); font-size: .875rem; }
.notes { margin-top: .6rem; }
/* The shade at the right shows as long as there is more to scroll to. */
.scroll { overflow-x: auto; margin: .75rem 0; background:
  linear-gradient(to left, #fff 50%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to left, #0003, transparent) right / .8rem 100% no-repeat scroll; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
th { font-weight: 400; color: var(--soft); }
thead th { border-bottom: 1px solid var(--line); }
thead tr:first-child th { border-bottom: 0; color: var(--ink); font-weight: 600; text-align: left; }
thead tr:first-child > * { border-top: 2px solid var(--ink); }
tbody tr:last-child > * { border-bottom: 2px solid var(--ink); }
tbody th, thead th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.first { padding-left: 1.5rem; }
td small { display: inline-block; color: var(--soft); margin-left: .35rem; }
.ours th { color: var(--ink); }
.beside .ours > * { padding-top: .5rem; }
.beside .paper > * { padding-top: 0; padding-bottom: .5rem; color: var(--soft); }
.beside .paper th { padding-left: 1.4rem; }
.beside tbody tr.paper:not(:last-child) > * { border-bottom: 1px solid #eeeff0; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
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
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f6f7;
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
  .first { padding-left: 1rem; }
  tbody th, thead th:first-child { position: static; }
  .panels { grid-template-columns: repeat(3, 1fr); gap: .8rem 1rem; }
  .single { grid-template-columns: repeat(2, 1fr); gap: 0 2rem; }
  .single .panels { grid-template-columns: 1fr; }
  section, .panel, tr, pre { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
_RATES = {
    "steps_per_s": "steps/s",
    "images_per_s": "images/s",
    "model_tflops_per_s": "model TFLOP/s",
    "model_flops_utilisation": "model-flops utilisation",
}

_GLOSSARY = (
    "CV: standard deviation of the norm ‖z‖ over its mean. AD: Anderson–Darling statistic A² of each "
    "coordinate, averaged over coordinates; DP: p-value of D’Agostino and Pearson’s test, averaged "
    "likewise. Pass: share of coordinates that are normal at the 5 % level."
)


def write_report(
    run_dirs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    title: str | None = None,
    n: int | None = None,
) -> Path:
    """Write report.html and figures/ from what one or several runs left on disk.

    The page holds everything it shows (styles, figures) and asks the network for nothing. Both it
    and each figure are written under a temporary name and renamed, so no reader sees half of one. The
    same folders give the same bytes.

    Args:
        run_dirs: run folders with config.json and evaluation.json; metrics.jsonl, embeddings/ and
            run.json add the curves, the figures, and the command and machine.
        output_dir: where to write; made if need be.
        title: heading of the page; otherwise made of the runs' titles.
        n: sample size at which to compare, as for `build_table`.

    Returns:
        The path of report.html.

    Raises:
        FileNotFoundError: where a folder lacks config.json or evaluation.json.
        ValueError: where a file contradicts another.
    """
    from infonce_jax.report import exhibits

    runs = load_runs(run_dirs)
    content = table.tabulate(runs, n)
    drawn = exhibits.draw(content, runs)
    output_dir = Path(output_dir)
    for exhibit in drawn:
        for panel in exhibit.panels:
            _write(output_dir / "figures" / f"{panel.name}.svg", _standalone(panel.svg))
    return _write(output_dir / "report.html", _page(content, runs, drawn, title))


def _page(content: table.Table, runs: Sequence[Run], drawn: Sequence, title: str | None) -> str:
    title = title or _title(runs)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(table.verdict(content))}</p>',
        "<section><h2>Beside the paper</h2>",
        f'<div class="beside">{table.table_html(content)}</div>',
        f'<p class="notes">{escape(" ".join(content.notes))}</p>',
        f'<p class="notes">{escape(_GLOSSARY)} Paper: '
        f'{escape(paper.CITATION)} (<a href="{paper.URL}">arXiv 2602.24012</a>).</p></section>',
    ]
    sizes = table.sizes_html(content)
    if sizes:
        parts += [
            "<section><h2>How it depends on the sample size</h2>",
            "<p>Average of A² and share of coordinates that pass, for the untrained encoder and the "
            "trained one. "
            f"{escape(table.size_verdict(content) or '')}</p>",
            f"{sizes}</section>",
        ]
    single = len(content.groups) == 1
    figures = [_exhibit(exhibit, with_titles=not single) for exhibit in drawn]
    parts.append(f'<div class="{"single" if single else "several"}">{"".join(figures)}</div>')
    parts += ["<h2>Where this comes from</h2>", *_provenance(runs), *_configs(runs)]
    return document(title, parts)


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
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _title(runs: Sequence[Run]) -> str:
    question = "Are the representations Gaussian?"
    names = list(dict.fromkeys(run.title for run in runs))
    if len(names) > 3:
        return question
    return f"{table.join_names(names)}: {question[0].lower()}{question[1:]}"


def _exhibit(exhibit: Any, *, with_titles: bool) -> str:
    panels = "".join(
        '<figure class="panel">'
        + (f"<h3>{escape(panel.title)}</h3>" if with_titles else "")
        + panel.svg.replace(
            "<svg",
            f'<svg role="img" aria-label="{escape(exhibit.title)}: {escape(panel.title)}"',
            1,
        )
        + "</figure>"
        for panel in exhibit.panels
    )
    caption = f'<p class="caption">{escape(exhibit.caption)}</p>' if panels else ""
    missing = "".join(f'<p class="missing">{escape(line)}</p>' for line in exhibit.missing)
    return (
        f"<section><h2>{escape(exhibit.title)}</h2>{caption}"
        + (f'<div class="panels">{panels}</div>' if panels else "")
        + f"{missing}</section>"
    )


def _provenance(runs: Sequence[Run]) -> Iterator[str]:
    commands: dict[str, list[str]] = {}
    machines: dict[str, list[str]] = {}
    for run in runs:
        if run.record.get("command"):
            commands.setdefault(_words(run.record["command"]), []).append(run.title)
        if run.record.get("machine"):
            machines.setdefault(json.dumps(run.record["machine"]), []).append(run.title)
    if commands:
        lines = [
            f"# {table.join_names(titles)}\n{command}" if len(commands) > 1 else command
            for command, titles in commands.items()
        ]
        yield f"<pre>{escape(chr(10).join(lines))}</pre>"
    for machine, titles in machines.items():
        of = f" ({table.join_names(titles)})" if len(machines) > 1 else ""
        yield f"<h3>Machine{escape(of)}</h3>{_facts(_flat(json.loads(machine)))}"
    unknown = [run.title for run in runs if not run.record]
    if unknown:
        yield (
            '<p class="missing">The command and the machine of '
            f"{escape(table.join_names(unknown))} are unknown: no run.json.</p>"
        )
    timed = [run for run in runs if run.record.get("stages")]
    if timed:
        stages = list(dict.fromkeys(stage for run in timed for stage in run.record["stages"]))
        rows = {
            run.title: [_seconds(run.record["stages"].get(stage)) for stage in stages]
            for run in timed
        }
        yield f"<h3>Wall time of each stage</h3>{_grid(stages, rows)}"
    measured = [run for run in runs if run.rates]
    if measured:
        names = list(dict.fromkeys(name for run in measured for name in run.rates))
        rows = {
            run.title: [f"{run.rates[n]:,.4g}" if n in run.rates else "–" for n in names]
            for run in measured
        }
        heads = [_RATES.get(name, name) for name in names]
        yield f"<h3>Training, median rates</h3>{_grid(heads, rows)}"
    versions = {name: metadata.version(name) for name in ("numpy", "matplotlib")}
    versions = {"infonce_jax": infonce_jax.__version__} | versions
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f'<p class="notes">Page made with {escape(listed)}.</p>'


def _configs(runs: Sequence[Run]) -> Iterator[str]:
    flat = [_flat({k: v for k, v in run.config.items() if k != "members"}) for run in runs]
    if len(runs) > 1:
        names = list(dict.fromkeys(name for config in flat for name in config))
        differing = [n for n in names if len({config.get(n, "–") for config in flat}) > 1]
        rows = {name: [config.get(name, "–") for config in flat] for name in differing}
        yield (
            "<details open><summary>Configuration: the fields in which the runs differ</summary>"
            f"{_grid([run.title for run in runs], rows)}</details>"
        )
        shared = {n: flat[0][n] for n in names if n not in differing}
        yield (
            "<details><summary>Configuration: the fields they share</summary>"
            f"{_facts(shared)}</details>"
        )
    else:
        yield f"<details><summary>Configuration</summary>{_facts(flat[0])}</details>"


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            flat.update(_flat(entry, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = _text(entry)
    return flat


def _text(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list) and entry:
        return ", ".join(map(_text, entry))
    return json.dumps(entry, ensure_ascii=False)


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<div class="scroll"><table class="facts"><tbody>{rows}</tbody></table></div>'


def _grid(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in values)
        + "</tr>"
        for name, values in rows.items()
    )
    return (
        '<div class="scroll"><table class="facts"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _words(command: str | Sequence[str]) -> str:
    return command if isinstance(command, str) else " ".join(command)


def _seconds(stage: Any) -> str:
    return f"{stage['wall_s']:.1f} s" if isinstance(stage, Mapping) and "wall_s" in stage else "–"


def _standalone(svg: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(scratch, 0o644)  # mkstemp's file is its owner's alone
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
    return path
