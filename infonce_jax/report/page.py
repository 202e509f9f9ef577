"""One self-contained page: verdict, tables, figures, and where they come from."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import infonce_jax
from infonce_jax import files
from infonce_jax.report import exhibits, html, paper, table, text
from infonce_jax.report.html import document as document
from infonce_jax.report.runs import Run, load_runs, unit_of_rows

_RATES = {
    "steps_per_s": "steps/s",
    "model_tflops_per_s": "model TFLOP/s",
    "model_flops_utilisation": "model-flops utilisation",
}
_GLOSSARY = (
    "CV: standard deviation of the norm ‖z‖ over its mean. AD: Anderson–Darling statistic A² of each "
    "coordinate, averaged over coordinates; DP: p-value of D’Agostino and Pearson’s test, averaged "
    "likewise. Pass: share of coordinates that are normal at the 5% level."
)


def write_report(
    run_dirs: Sequence[str | Path | Run],
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
        run_dirs: run folders with config.json and evaluation.json, or what `load_runs` makes of
            them; metrics.jsonl, embeddings/ and run.json add the curves, the figures, and the command
            and machine.
        output_dir: where to write; made if need be.
        title: heading of the page; otherwise made of the runs' titles.
        n: sample size at which to compare, as for `build_table`.

    Returns:
        The path of report.html.

    Raises:
        FileNotFoundError: where a folder lacks config.json or evaluation.json.
        ValueError: where a file contradicts another.
    """
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
        f'<p class="verdict">{escape(text.verdict(content))}</p>',
        f"<section><h2>{'Beside the paper' if text.has_paper(content) else 'The numbers'}</h2>",
        f'<div class="beside">{html.table_html(content)}</div>',
        f'<p class="notes">{escape(" ".join(text.notes(content)))}</p>',
        f'<p class="notes">{escape(_GLOSSARY)} The criterion and the names are those of '
        f'{escape(paper.CITATION)} (<a href="{paper.URL}">arXiv 2602.24012</a>).</p></section>',
    ]
    sizes = html.sizes_html(content)
    if sizes:
        parts += [
            "<section><h2>How it depends on the sample size</h2>",
            "<p>Average of A² and share of coordinates that pass, for the untrained encoder and the "
            f"trained one. {escape(text.size_verdict(content) or '')}</p>",
            f"{sizes}</section>",
        ]
    single = len(content.groups) == 1
    figures = [_exhibit(exhibit, with_titles=not single) for exhibit in drawn]
    parts.append(f'<div class="{"single" if single else "several"}">{"".join(figures)}</div>')
    parts += ["<h2>Where this comes from</h2>", *_provenance(runs), *_configs(runs)]
    return html.document(title, parts)


def _title(runs: Sequence[Run]) -> str:
    question = "Are the representations Gaussian?"
    names = list(dict.fromkeys(run.title for run in runs))
    if len(names) > 3:
        return question
    return f"{text.join_names(names)}: {question[0].lower()}{question[1:]}"


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
            f"# {text.join_names(titles)}\n{command}" if len(commands) > 1 else command
            for command, titles in commands.items()
        ]
        yield f"<pre>{escape(chr(10).join(lines))}</pre>"
    for machine, titles in machines.items():
        of = f" ({text.join_names(titles)})" if len(machines) > 1 else ""
        yield f"<h3>Machine{escape(of)}</h3>{html.facts(_fields(json.loads(machine)))}"
    unknown = [run.title for run in runs if not run.record]
    if unknown:
        yield (
            '<p class="missing">The command and the machine of '
            f"{escape(text.join_names(unknown))} are unknown: no run.json.</p>"
        )
    timed = [run for run in runs if run.record.get("stages")]
    if timed:
        stages = list(dict.fromkeys(stage for run in timed for stage in run.record["stages"]))
        rows = {
            run.title: [_seconds(run.record["stages"].get(stage)) for stage in stages]
            for run in timed
        }
        yield f"<h3>Wall time of each stage</h3>{html.grid(stages, rows)}"
    measured = [run for run in runs if run.rates]
    if measured:
        names = list(dict.fromkeys(name for run in measured for name in run.rates))
        rows = {
            run.title: [_rate(run.rates[n]) if n in run.rates else "–" for n in names]
            for run in measured
        }
        named = {**_RATES, "images_per_s": f"{unit_of_rows(measured)}/s"}
        heads = [named.get(name, name) for name in names]
        yield f"<h3>Training, median rates</h3>{html.grid(heads, rows)}"
    versions = {name: metadata.version(name) for name in ("numpy", "matplotlib")}
    versions = {"infonce_jax": infonce_jax.__version__} | versions
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f'<p class="notes">Page made with {escape(listed)}.</p>'


def _configs(runs: Sequence[Run]) -> Iterator[str]:
    left_out = ("members", "code_folders")
    flat = [_fields({k: v for k, v in run.config.items() if k not in left_out}) for run in runs]
    if len(runs) > 1:
        names = list(dict.fromkeys(name for config in flat for name in config))
        differing = [n for n in names if len({config.get(n, "–") for config in flat}) > 1]
        rows = {name: [config.get(name, "–") for config in flat] for name in differing}
        yield (
            "<details open><summary>Configuration: the fields in which the runs differ</summary>"
            f"{html.grid([run.title for run in runs], rows)}</details>"
        )
        shared = {n: flat[0][n] for n in names if n not in differing}
        yield (
            "<details><summary>Configuration: the fields they share</summary>"
            f"{html.facts(shared)}</details>"
        )
    else:
        yield f"<details><summary>Configuration</summary>{html.facts(flat[0])}</details>"


def _fields(sections: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in files.flatten(sections).items()}


def _text(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list) and entry:
        return ", ".join(map(_text, entry))
    return json.dumps(entry, ensure_ascii=False)


def _words(command: str | Sequence[str]) -> str:
    return command if isinstance(command, str) else " ".join(command)


def _rate(value: float) -> str:
    """Four digits, without an exponent."""
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, digits):,.{max(0, digits)}f}"


def _seconds(stage: Any) -> str:
    return f"{stage['wall_s']:.1f} s" if isinstance(stage, Mapping) and "wall_s" in stage else "–"


def _standalone(svg: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def _write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as scratch:
        scratch.write_text(content, encoding="utf-8")
    return path
