"""The page of an evaluation of embedding files without a run: verdicts, table, figures."""

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import normality, shape
from infonce_jax.evaluation.arrays import as_floats
from infonce_jax.evaluation.controls import gaussian_like
from infonce_jax.evaluation.load import EVERYTHING, Reading, open_paths
from infonce_jax.evaluation.registry import GAUSSIAN
from infonce_jax.evaluation.rows import summarise
from infonce_jax.evaluation.verdict import verdicts
from infonce_jax.report import figures, page

_MOST_SETS = 12
_ROWS = 5000
_COORDINATES = 10
_COLUMNS = {
    "n": ("n", "{:,.0f}"),
    "norm_cv": ("norm CV", "{:.4f}"),
    "norm_cv_gaussian": ("1/√(2PR)", "{:.4f}"),
    "participation_ratio": ("PR", "{:.1f}"),
    "ad_mean": ("AD average", "{:.3f}"),
    "ad_pass": ("AD pass (paper)", "{:.1%}"),
    "ad_calibrated_pass": ("AD pass (calibrated)", "{:.1%}"),
    "dp_pass": ("DP pass (paper)", "{:.1%}"),
    "dp_calibrated_pass": ("DP pass (calibrated)", "{:.1%}"),
    "ep_calibrated_pass": ("EP pass (calibrated)", "{:.1%}"),
    "delta": ("Δ̂ · 1000", "{:.4f}"),
    "w2": ("W₂", "{:.4f}"),
    "excess_kurtosis": ("excess kurtosis", "{:.3f}"),
    "skewness_rms": ("skewness (rms)", "{:.3f}"),
}
_CAPTIONS = {
    "quantiles": (
        "Q–Q plots",
        "Ten coordinates, evenly spaced, standardised, on at most 5,000 rows: lines inside the grey "
        "simultaneous 95 % band agree with a normal distribution.",
    ),
    "pvalues": (
        "p-values of the coordinates",
        "Calibrated Anderson–Darling p-values on the same rows. Those of a Gaussian are uniform, the "
        "dashed line; a heap at the left is a departure, one at the right would be a fault.",
    ),
    "sizes": (
        "Anderson–Darling against the sample size",
        "A flat line at the dashed one is Gaussian at every n; a line that climbs is a departure that "
        "more data will find.",
    ),
    "norms": (
        "Norms",
        "Beside the norms, those of a Gaussian with the same mean and covariance; directions "
        "uniform on a sphere would all have the norm 1.",
    ),
    "spectrum": (
        "Spectrum",
        "Eigenvalues of the covariance over their mean. The dashed line is isotropic; a sample of it "
        "spreads over the grey band (Marchenko & Pastur).",
    ),
}


def write_embedding_report(
    paths: Sequence[str | Path],
    rows: Sequence[Mapping[str, Any]],
    meta: Mapping[str, Any],
    output_dir: str | Path,
    reading: Reading = EVERYTHING,
) -> Path:
    """Writes report.html, one self-contained page, for evaluated embedding files.

    Args:
        paths: what was evaluated, as for `infonce_jax.evaluation.evaluate_paths`.
        rows: what came of it.
        meta: how; its "command" and "versions" are shown.
        output_dir: where to write; made if need be.
        reading: how the paths are read.

    Returns:
        The path of report.html.

    Raises:
        FileNotFoundError: where a path is gone.
    """
    summary = summarise(rows)
    sections = [_verdicts(summary), _table(summary)]
    found = list(islice(open_paths(paths, reading), _MOST_SETS))
    panels: dict[str, list[str]] = {key: [] for key in _CAPTIONS}
    for index, one in enumerate(found):
        for key, svg in _draw(one.name, as_floats(one.z), summary, one.identity, index).items():
            panels[key].append(
                f'<figure class="panel"><h3>{escape(one.name)}</h3>'
                + svg.replace("<svg", f'<svg role="img" aria-label="{key}: {escape(one.name)}"', 1)
                + "</figure>"
            )
    for key, (title, caption) in _CAPTIONS.items():
        if panels[key]:
            sections.append(
                f'<section><h2>{title}</h2><p class="caption">{escape(caption)}</p>'
                f'<div class="panels">{"".join(panels[key])}</div></section>'
            )
    command = meta.get("command")
    command = command if isinstance(command, str) else shlex.join(command or [])
    versions = ", ".join(f"{k} {v}" for k, v in (meta.get("versions") or {}).items())
    sections.append(
        f"<h2>Where this comes from</h2><pre>{escape(command)}</pre>"
        f'<p class="notes">{escape(versions)}. p-values: {escape(str(meta.get("pvalues", "")))}.</p>'
    )
    title = "Are these embeddings Gaussian?"
    return page._write(
        Path(output_dir) / "report.html", page.document(title, [f"<h1>{title}</h1>", *sections])
    )


def _verdicts(summary: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        f'<p class="verdict"><strong>{escape(one.source)}, {escape(one.representation)}:</strong> '
        f"{escape(one.sentence)}</p><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in one.text.split("\n")[1:])
        + "</ul>"
        for one in verdicts(summary)
    )


def _table(summary: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[tuple, dict[str, float]] = {}
    largest: dict[tuple, int] = {}
    for row in summary:
        key = _key(row)
        largest[key] = max(largest.get(key, 0), row["n"])
    for row in summary:
        if row["n"] == largest[_key(row)]:
            groups.setdefault(_key(row), {"n": row["n"]})[row["statistic"]] = row["mean"]
    columns = {k: v for k, v in _COLUMNS.items() if any(k in g for g in groups.values())}
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in columns.values())
    body = [("exact Gaussian", GAUSSIAN)]
    body += [(_name(key), values) for key, values in groups.items()]
    lines = "".join(
        f'<tr class="ours"><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_cell(k, form, values.get(k))}</td>" for k, (_, form) in columns.items())
        + "</tr>"
        for name, values in body
    )
    return (
        '<section><h2>At the largest sample size</h2><div class="scroll"><table><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        '<p class="notes">Pass: share of coordinates with p > 0.05; “paper” is its criterion with the '
        "asymptotic p-value, “calibrated” the law at this n. Δ̂ · 1000: how much the average of A² "
        "grows with every 1,000 rows. W₂: distance to the normal in standard deviations.</p></section>"
    )


def _key(row: Mapping[str, Any]) -> tuple:
    return tuple(row[c] for c in ("source", "hyperparameters", "split", "representation"))


def _name(key: tuple) -> str:
    source, hyperparameters, split, representation = key
    parts = [source, hyperparameters if hyperparameters != "{}" else None, split, representation]
    return ", ".join(part for part in parts if part)


def _cell(statistic: str, form: str, value: float | None) -> str:
    if value is None or np.isnan(value):
        return "–"
    return form.format(1000 * value if statistic == "delta" else value)


def _draw(
    name: str,
    z: Float[np.ndarray, "n d"],
    summary: Sequence[Mapping[str, Any]],
    identity: Mapping[str, Any],
    index: int,
) -> dict[str, str]:
    order = np.random.default_rng(0).permutation(len(z))[:_ROWS]
    sample = np.asarray(z[np.sort(order)], dtype=np.float64)
    spread = sample.std(axis=0, ddof=1)
    varying = np.flatnonzero(spread > 0)
    drawn = {}
    with figures.style():
        if len(varying):
            count = min(_COORDINATES, len(varying))
            chosen = varying[np.linspace(0, len(varying) - 1, count).round().astype(int)]
            standard = (sample[:, chosen] - sample[:, chosen].mean(axis=0)) / spread[chosen]
            label = figures.Labelled("", figures.TRAINED, (standard,))
            drawn["quantiles"] = figures.quantiles([label], figures.normal_band(len(sample)))
            pvalue = normality.anderson_darling(sample[:, varying]).pvalue
            drawn["pvalues"] = figures.pvalues(pvalue)
            drawn["norms"] = figures.norm_laws(
                np.linalg.norm(sample, axis=1),
                np.linalg.norm(gaussian_like(sample), axis=1),
            )
            drawn["spectrum"] = figures.spectrum(shape.spectrum(sample), len(sample), z.shape[1])
        curve = {
            row["n"]: row["mean"]
            for row in summary
            if row["statistic"] == "ad_mean"
            and row["representation"] == "raw"
            and all(row[c] == identity.get(c) for c in ("source", "hyperparameters", "split"))
        }
        if len(curve) > 1:
            n = np.array(sorted(curve))
            values = np.array([[curve[int(k)] for k in n]])
            drawn["sizes"] = figures.sample_sizes(
                [figures.Curve("raw", figures.TRAINED, n, values)],
                round(normality.AD_GAUSSIAN_MEAN, 3),
                normality.AD_CRITICAL_5_PERCENT,
            )
        return {key: figures.to_svg(f, f"{key}-{index + 1}") for key, f in drawn.items()}
