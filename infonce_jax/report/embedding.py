"""The page of an evaluation of embedding files without a run: verdicts, table, figures."""

import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import normality, shape
from infonce_jax.evaluation.arrays import as_floats
from infonce_jax.evaluation.controls import gaussian_like
from infonce_jax.evaluation.coordinates import COORDINATE, named
from infonce_jax.evaluation.load import EVERYTHING, Reading, open_paths
from infonce_jax.evaluation.registry import GAUSSIAN
from infonce_jax.evaluation.rows import summarise
from infonce_jax.evaluation.verdict import QUOTE_RAW, verdicts
from infonce_jax.evaluation.verdict_parts import CLOSE, FAILS, HOLDS
from infonce_jax.report import canvas, figures, page

if TYPE_CHECKING:
    import matplotlib.figure

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
_RANK = "direction_effective_rank"
_ANSWERS = {
    "coordinates": ("no deviation found", "close, but rejected", "not Gaussian"),
    "directions": ("no deviation found", "close, but rejected", "not uniform"),
    "norms": ("a Gaussian's or less", "slightly too spread", "too spread"),
}
_OTHER_ANSWERS = {"undecided": "too few rows to tell", "untested": "–"}
_CAPTIONS = {
    "trajectory": (
        "Over the sets",
        "Raw embeddings at the sample size that all sets have. Dashed: what a sample of an exact "
        "isotropic Gaussian has.",
    ),
    "quantiles": (
        "Q–Q plots",
        "Up to ten coordinates, standardised, on at most 5,000 rows: those with the largest A² named "
        "(counted from 0), the others evenly spaced. Lines inside the grey simultaneous 95% band agree "
        "with a normal distribution.",
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
    figures_dir: str | Path | None = None,
) -> Path:
    """Writes report.html, one self-contained page, for evaluated embedding files.

    Sets stand in the order given, with the same axes, up to 12. Where their names differ in one number
    (layers, sizes), or they are the steps of a run, they stand in its order and a figure follows them.

    Args:
        paths: what was evaluated, as for `infonce_jax.evaluation.evaluate_paths`.
        rows: what came of it.
        meta: how; its "command", "comparison" and "versions" are shown.
        output_dir: where to write; made if need be.
        reading: how the paths are read.
        figures_dir: a folder to export the figures to, as `write_embedding_figures` does.

    Returns:
        The path of report.html.

    Raises:
        FileNotFoundError: where a path is gone.
    """
    summary = summarise(rows)
    sections = [_comparison(meta), _verdicts(summary), _table(summary)]
    with figures.style():
        every = _drawn(paths, summary, reading)
        is_one = all(len(found) == 1 for found in every.values())
        exhibits = []
        for key, found in every.items():
            title, caption = _CAPTIONS[key]
            drawn = "".join(
                '<figure class="panel">'
                + (f"<h3>{escape(name)}</h3>" if name and not is_one else "")
                + figures.to_svg(figure, f"{key}-{i + 1}").replace(
                    "<svg", f'<svg role="img" aria-label="{key}: {escape(name)}"', 1
                )
                + "</figure>"
                for i, (name, figure) in enumerate(found)
            )
            exhibits.append(
                f'<section><h2>{title}</h2><p class="caption">{escape(caption)}</p>'
                f'<div class="panels">{drawn}</div></section>'
            )
        # The figures of one set stand beside each other.
        sections.append(
            f'<div class="{"single" if is_one else "several"}">{"".join(exhibits)}</div>'
        )
        if figures_dir is not None:
            _export(every, Path(figures_dir))
    sets = len({_key(row)[:3] for row in summary if not row["source"].endswith("]")})
    if sets > _MOST_SETS:
        sections.append(
            f'<p class="notes">Figures are drawn for the first {_MOST_SETS} of {sets} sets.</p>'
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


def write_embedding_figures(
    paths: Sequence[str | Path],
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path,
    reading: Reading = EVERYTHING,
) -> list[Path]:
    """Writes every figure of the page as SVG, PDF and PNG.

    Args:
        paths: as for `write_embedding_report`, and so are the others.
        rows: what came of them.
        folder: where to write; made if need be.
        reading: how the paths are read.

    Returns:
        The files: <figure>.svg, or <figure>-<set>.svg where there is one for each set, and so on.
    """
    with figures.style():
        return _export(_drawn(paths, summarise(rows), reading), Path(folder))


def _export(
    every: Mapping[str, Sequence[tuple[str, "matplotlib.figure.Figure"]]], folder: Path
) -> list[Path]:
    written = []
    for key, found in every.items():
        for name, figure in found:
            # Without the suffix of the set's file.
            name = re.sub(r"\.(npy|npz|safetensors|parquet|arrow|csv|tsv|h5)\b", "", name)
            stem = re.sub(r"[^\w.=+-]+", "_", f"{key}-{name}" if name else key)
            written += canvas.export(figure, folder, stem)
    return written


def _drawn(
    paths: Sequence[str | Path], summary: Sequence[Mapping[str, Any]], reading: Reading
) -> dict[str, list[tuple[str, "matplotlib.figure.Figure"]]]:
    """The figures by kind, each with the name of its set."""
    found = list(islice(open_paths(paths, reading), _MOST_SETS))
    place = _places([one.identity for one in found])
    if place is not None:
        found = [found[i] for i in np.argsort(place[1], kind="stable")]
    names = _short([one.name for one in found])
    drawn: dict[str, list[tuple[str, Any]]] = {}
    followed = _followed(summary)
    if followed is not None:
        drawn["trajectory"] = [("", followed)]
    for one, name in zip(found, names, strict=True):
        for key, figure in _draw(as_floats(one.z), summary, one.identity).items():
            drawn.setdefault(key, []).append((name, figure))
    for key, of_sets in drawn.items():
        if key != "trajectory":
            canvas.share_limits([figure for _, figure in of_sets])
    return {key: drawn[key] for key in _CAPTIONS if key in drawn}


def _short(names: Sequence[str]) -> list[str]:
    """The ends of paths that tell them apart."""
    parts = [name.split("/") for name in names]
    for count in range(1, max(map(len, parts), default=1) + 1):
        ends = ["/".join(part[-count:]) for part in parts]
        if len(set(ends)) == len(ends):
            return ends
    return list(names)


def _shortened(sources: Sequence[str]) -> dict[str, str]:
    unique = list(dict.fromkeys(sources))
    return dict(zip(unique, _short(unique), strict=True))


def _places(identities: Sequence[Mapping[str, Any]]) -> tuple[str, np.ndarray] | None:
    """What the sets are ordered by, and where each stands; None where no number tells them apart."""
    for column in ("epoch", "step"):
        values = [one.get(column) for one in identities]
        if values and None not in values and len(set(values)) > 1:
            return column, np.array(values, dtype=float)
    pieces = [re.split(r"(\d+(?:\.\d+)?)", Path(str(one["source"])).stem) for one in identities]
    if len({len(piece) for piece in pieces}) != 1:
        return None
    differ = [i for i in range(len(pieces[0])) if len({piece[i] for piece in pieces}) > 1]
    if len(differ) != 1 or differ[0] % 2 == 0:
        return None
    before = re.sub(r"[^A-Za-z]+", " ", pieces[0][differ[0] - 1]).split()
    label = before[-1] if before else "number in the name"
    return label, np.array([float(piece[differ[0]]) for piece in pieces])


def _followed(summary: Sequence[Mapping[str, Any]]) -> "matplotlib.figure.Figure | None":
    """The statistics of the raw rows over steps, layers or sizes, where there are three or more."""
    raw = [
        row
        for row in summary
        if row["representation"] == "raw"
        and not row["source"].endswith("]")
        and not row["statistic"].startswith("group_")
    ]
    sources = {row["source"]: row for row in raw}
    place = _places(list(sources.values()))
    if place is None or len(set(place[1])) < 3:
        return None
    at = dict(zip(sources, place[1], strict=True))
    x = np.unique(place[1])
    shared = set.intersection(*({r["n"] for r in raw if r["source"] == s} for s in sources))
    if not shared:
        return None
    n = max(shared)
    values: dict[tuple[str, str], dict[float, float]] = {}
    for row in raw:
        if row["n"] == n:
            line = ", ".join(
                v for v in (row["split"], row["hyperparameters"]) if v not in (None, "{}")
            )
            value = row["mean"] / (row["dim"] if row["statistic"] == _RANK else 1)
            values.setdefault((line, row["statistic"]), {})[at[row["source"]]] = value
    lines = list(dict.fromkeys(line for line, _ in values))[: len(canvas.SERIES)]

    def follow(statistic: str) -> list[Float[np.ndarray, " points"]]:
        found = [values.get((line, statistic), {}) for line in lines]
        return [np.array([one.get(point, np.nan) for point in x]) for one in found]

    ratio = [
        cv / expected
        for cv, expected in zip(follow("norm_cv"), follow("norm_cv_expected"), strict=True)
    ]
    followed = [
        figures.Followed("AD average (A²)", follow("ad_mean"), normality.AD_GAUSSIAN_MEAN, True),
        figures.Followed("norm CV / a Gaussian's of the same covariance", ratio, 1.0),
        figures.Followed("effective rank of the directions / d", follow(_RANK), 1.0),
        figures.Followed("length of the mean direction", follow("mean_resultant"), n**-0.5),
    ]
    followed = [one for one in followed if np.isfinite(one.lines).any()]
    names = [line or "all" for line in lines] if len(lines) > 1 else []
    return figures.trajectory(x, f"{place[0]} (n = {n:,})", names, followed)


def _comparison(meta: Mapping[str, Any]) -> str:
    comparison = meta.get("comparison") or {}
    sentences = [escape(sentence) for sentence in comparison.get("sentences", [])]
    if len(sentences) < 2:
        return "".join(f'<p class="verdict">{sentence}</p>' for sentence in sentences)
    order = ", ".join(map(escape, comparison["order"]))
    lines = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return (
        f'<p class="verdict">From the closest to a Gaussian, by their coordinates: {order}.</p>'
        f"<details><summary>each with the next</summary><ul>{lines}</ul></details>"
    )


def _verdicts(summary: Sequence[Mapping[str, Any]]) -> str:
    found = verdicts(summary)
    told = [
        (
            f"<strong>{escape(one.source)}, {escape(one.representation)}:</strong> "
            f"{escape(one.sentence)}",
            "".join(f"<li>{escape(line)}</li>" for line in one.text.split("\n")[1:]),
        )
        for one in found
    ]
    if len(found) <= 2:
        return "".join(f'<p class="verdict">{first}</p><ul>{rest}</ul>' for first, rest in told)
    short = _shortened([one.source for one in found])
    lines = "".join(
        f'<tr class="ours"><th scope="row">{escape(short[one.source])}, '
        f"{escape(one.representation)}</th>"
        + "".join(f"<td>{_answer(part, getattr(one, part).answer)}</td>" for part in _ANSWERS)
        + "</tr>"
        for one in found
    )
    quote = (
        f'<p class="caption">{QUOTE_RAW}</p>'
        if any(one.representation == "normalized" for one in found)
        else ""
    )
    details = "".join(
        f'<details class="printed"><summary>{escape(name)}</summary>'
        + "".join(
            f"<p>{first}</p><ul>{rest}</ul>"
            for one, (first, rest) in zip(found, told, strict=True)
            if one.source == source
        )
        + "</details>"
        for source, name in short.items()
    )
    return (
        f"<section><h2>Verdicts</h2>{quote}"
        '<div class="scroll" tabindex="0"><table class="words"><thead><tr>'
        '<th></th><th scope="col">coordinates</th><th scope="col">directions</th>'
        f'<th scope="col">norms</th></tr></thead><tbody>{lines}</tbody></table></div></section>{details}'
    )


def _answer(part: str, answer: str) -> str:
    held = dict(zip((HOLDS, CLOSE, FAILS), _ANSWERS[part], strict=True))
    return escape((held | _OTHER_ANSWERS)[answer])


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
    short = _shortened([key[0] for key in groups])
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in columns.values())
    body = [("exact Gaussian", GAUSSIAN)]
    body += [(_name((short[key[0]], *key[1:])), values) for key, values in groups.items()]
    lines = "".join(
        f'<tr class="ours"><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_cell(k, form, values.get(k))}</td>" for k, (_, form) in columns.items())
        + "</tr>"
        for name, values in body
    )
    return (
        '<section><h2>At the largest sample size</h2><div class="scroll" tabindex="0"><table><thead>'
        f"<tr><th></th>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
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


def _worst(summary: Sequence[Mapping[str, Any]], identity: Mapping[str, Any]) -> list[int]:
    """The raw coordinates that the verdict names, by falling A²."""
    values = {
        row["statistic"]: row["mean"]
        for row in summary
        if row["representation"] == "raw"
        and row["statistic"].startswith(COORDINATE)
        and all(row[c] == identity.get(c) for c in ("source", "hyperparameters", "split"))
    }
    return [one.index for one in named(values, 1)]


def _draw(
    z: Float[np.ndarray, "n d"],
    summary: Sequence[Mapping[str, Any]],
    identity: Mapping[str, Any],
) -> dict[str, "matplotlib.figure.Figure"]:
    order = np.random.default_rng(0).permutation(len(z))[:_ROWS]
    sample = np.asarray(z[np.sort(order)], dtype=np.float64)
    spread = sample.std(axis=0, ddof=1)
    varying = np.flatnonzero(spread > 0)
    drawn = {}
    if len(varying):
        tested = normality.anderson_darling(sample[:, varying])
        worst = _worst(summary, identity) or [int(varying[np.argmax(tested.statistic)])]
        others = varying[~np.isin(varying, worst)]
        count = min(_COORDINATES - len(worst), len(others))
        chosen = others[np.linspace(0, len(others) - 1, count).round().astype(int)]
        marked = np.array(worst)

        def standardised(columns: np.ndarray) -> np.ndarray:
            return (sample[:, columns] - sample[:, columns].mean(axis=0)) / spread[columns]

        label = figures.Labelled("", figures.TRAINED, (standardised(chosen),))
        statistic = dict(zip(varying.tolist(), tested.statistic.tolist(), strict=True))
        names = [f"coordinate {j}: A² = {statistic[j]:.3g}" for j in worst]
        drawn["quantiles"] = figures.quantiles(
            [label], figures.normal_band(len(sample)), (names, standardised(marked))
        )
        drawn["pvalues"] = figures.pvalues(tested.pvalue)
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
    return drawn
