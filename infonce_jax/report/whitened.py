"""The page of a whitening: likelihoods, typical rows, whitened cosines, one set against another."""

import base64
import io
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from infonce_jax.evaluation import circle, whitening
from infonce_jax.report import canvas, html, page

_SHOWN = 12
_PAIRS = 1000
_STEPS = 360
_SEARCHED = 5000


class Scored(NamedTuple):
    """The rows of one set that are judged.

    Attributes:
        name: of the set.
        rows: embeddings.
        likelihood: log-likelihood of each row, in nats.
        distance: squared Mahalanobis distance of each row.
        names: what each row is, a file's name or a text, or None.
        folder: of the images that `names` are files of, or None for texts.
        seen: share of the rows that the model was fitted on.
    """

    name: str
    rows: Float[np.ndarray, "n d"]
    likelihood: Float[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    names: Sequence[str] | None = None
    folder: Path | None = None
    seen: float = 0.0


def write_whitened_report(
    model: whitening.Whitening,
    sets: Sequence[Scored],
    output_dir: Path,
    *,
    command: str,
    against: bool = False,
) -> Path:
    """Writes whitened.html, one self-contained page.

    Args:
        model: the whitening.
        sets: what was scored; better without the rows that the model was fitted on.
        output_dir: where to write.
        command: what made it.
        against: whether the last set is to be told from the others.

    Returns:
        The path of whitened.html.
    """
    sets = _named_shortly(sets)
    k = len(model.variances)
    title = "How likely are these embeddings?"
    of_which = (
        "Some are rows that the model was fitted on"
        if any(one.seen for one in sets)
        else ("Of rows that the model has not seen")
    )
    parts = [f"<h1>{title}</h1>", _verdict(model, sets, against), _table(model, sets)]
    with canvas.style():
        drawn = (
            (
                "Log-likelihoods and whitened norms",
                f"{of_which}; the lines are the laws of a Gaussian of {k} "
                f"dimensions. The norm of a normal vector is {math.sqrt(k):.1f} there, with standard "
                f"deviation {float(stats.chi.std(k)):.3f} (1/√2 for large d). Rows at the left of the "
                f"first and at the right of the second are the untypical ones.",
                [_likelihoods(model, sets), _norms(model, sets)],
            ),
            (
                "Cosines of unmatched rows, before and after whitening",
                "Whitening takes the mean and the correlations out, so that unmatched rows become "
                "nearly orthogonal; the line is the law of independent directions.",
                [_cosines(model, one) for one in sets],
            ),
        )
        turned = _circle(model, sets[0])
        if turned is not None:
            drawn = (*drawn, turned[:3])
        for heading, caption, figures in drawn:
            svgs = "".join(
                f'<figure class="panel">{canvas.to_svg(figure, f"{heading[:4]}-{i}")}</figure>'
                for i, figure in enumerate(figures)
            )
            parts.append(
                f'<section><h2>{heading}</h2><p class="caption">{escape(caption)}</p>'
                f'<div class="panels">{svgs}</div></section>'
            )
    if turned is not None:
        parts.append(turned[3])
    parts += [_typical(one) for one in sets if one.names is not None]
    parts.append(f"<h2>Where this comes from</h2><pre>{escape(command)}</pre>")
    return page._write(Path(output_dir) / "whitened.html", html.document(title, parts))


def names_of(path: Path | str, rows: int) -> tuple[list[str] | None, Path | None]:
    """What the rows of an array are, from the manifest of its embedding set, and their images' folder.

    Args:
        path: an embeddings/<step> folder of one array, or an array in it.
        rows: of the array; a manifest with another number is not used.
    """
    path = Path(path)
    for folder in (path, path.parent, path.parent.parent):
        file = folder / "manifest.json"
        if not file.is_file():
            continue
        manifest = json.loads(file.read_text())
        entries = [e for e in manifest["arrays"] if path in (folder, folder / e["file"])]
        if len(entries) != 1:
            break
        split, member = entries[0]["split"], entries[0]["member"]
        is_text = member.startswith("text")
        texts = manifest.get("texts", {}).get(split)
        names = texts if is_text and texts else manifest.get("rows", {}).get(split)
        if names is None or len(names) != rows:
            break
        where = None if is_text else Path(manifest.get("plan", {}).get("data", {}).get("data", ""))
        return names, where
    return None, None


def _named_shortly(sets: Sequence[Scored]) -> list[Scored]:
    """Without the folders and file names that all sets share."""
    names = [Path(one.name).parts for one in sets]
    if len(set(names)) < 2:
        return list(sets)
    shortest = min(map(len, names))
    start = next(i for i in range(shortest + 1) if len({name[: i + 1] for name in names}) > 1)
    end = next(
        i for i in range(shortest + 1) if len({name[len(name) - i - 1 :] for name in names}) > 1
    )
    short = ["/".join(name[start : len(name) - end]) for name in names]
    if len(set(short)) < len(sets) or not all(short):
        return list(sets)
    return [one._replace(name=name) for one, name in zip(sets, short, strict=True)]


def _verdict(model: whitening.Whitening, sets: Sequence[Scored], against: bool) -> str:
    k = len(model.variances)
    lines = []
    for one in sets:
        ratio = float(one.distance.mean()) / k
        spread = float(np.sqrt(one.distance).std() / stats.chi.std(k))
        which = "that the model has not seen (1 if it holds)"
        if one.seen:
            which = f"of which the model was fitted on {one.seen:.0%}, which flatters it"
        lines.append(
            f"{one.name}: mean Mahalanobis² / rank {ratio:.3f} on {len(one.rows):,} rows {which}, and "
            f"whitened norms spread {spread:.2f} times as far as a Gaussian's."
        )
    if against:
        for one in sets[:-1]:
            area = whitening.auroc(one.distance, sets[-1].distance)
            lines.append(
                f"A row of {sets[-1].name} is farther out than one of {one.name} with probability "
                f"{area:.3f} (AUROC; 0.5 tells nothing)."
            )
    return "".join(f'<p class="verdict">{escape(line)}</p>' for line in lines)


def _table(model: whitening.Whitening, sets: Sequence[Scored]) -> str:
    rows = {
        one.name: [
            f"{len(one.rows):,}",
            f"{one.likelihood.mean():.2f}",
            f"{one.likelihood.std():.2f}",
            *(f"{q:.2f}" for q in np.quantile(one.likelihood, (0.01, 0.5, 0.99))),
        ]
        for one in sets
    }
    k = len(model.variances)
    ideal = -0.5 * (np.array([k, *stats.chi2.ppf((0.99, 0.5, 0.01), k)]) + _constant(model))
    rows["a Gaussian like the model"] = [
        "–",
        f"{ideal[0]:.2f}",
        f"{math.sqrt(k / 2):.2f}",
        *(f"{q:.2f}" for q in ideal[1:]),
    ]
    heads = ["rows", "mean log p (nats)", "standard deviation", "1%", "median", "99%"]
    return html.grid(heads, rows)


def _constant(model: whitening.Whitening) -> float:
    return len(model.variances) * math.log(2 * math.pi) + float(np.log(model.variances).sum())


def _colour(index: int) -> str:
    return (canvas.TRAINED, canvas.UNTRAINED, canvas.BETWEEN)[index % 3]


def _histogram(axes, values: Sequence[np.ndarray], names: Sequence[str], low, high) -> None:
    edges = np.linspace(low, high, 61)
    for i, (value, name) in enumerate(zip(values, names, strict=True)):
        # What lies outside is counted in the last bins.
        density = np.histogram(np.clip(value, low, high), edges, density=True)[0]
        axes.stairs(density, edges, fill=True, color=_colour(i), alpha=0.25, linewidth=0)
        axes.stairs(density, edges, color=_colour(i), linewidth=1.2, label=name)
    axes.set(ylabel="density", xlim=(low, high))
    axes.set_yticks([])


def _likelihoods(model: whitening.Whitening, sets: Sequence[Scored]):
    figure, (axes,) = canvas.panels(1.5, legend_lines=len(sets) + 1)
    k, constant = len(model.variances), _constant(model)
    everything = np.concatenate([one.likelihood for one in sets])
    low, high = np.quantile(everything, (0.002, 0.998))
    middle, wide = -0.5 * (constant + k), 4 * math.sqrt(k / 2)
    low, high = min(low, middle - wide), max(high, middle + wide)
    _histogram(axes, [o.likelihood for o in sets], [_short(o.name) for o in sets], low, high)
    x = np.linspace(low, high, 400)
    axes.plot(
        x,
        2 * stats.chi2.pdf(-2 * x - constant, k),
        color=canvas.INK,
        linewidth=1.0,
        label="Gaussian",
    )
    axes.set_xlabel("log p (nats)")
    canvas.legend_above(axes)
    return figure


def _norms(model: whitening.Whitening, sets: Sequence[Scored]):
    figure, (axes,) = canvas.panels(1.5, legend_lines=len(sets) + 1)
    k = len(model.variances)
    norms = [np.sqrt(one.distance) for one in sets]
    low, high = np.quantile(np.concatenate(norms), (0.002, 0.998))
    low, high = min(low, math.sqrt(k) - 3), max(high, math.sqrt(k) + 3)
    _histogram(axes, norms, [_short(one.name) for one in sets], max(low, 0), high)
    x = np.linspace(max(low, 0), high, 400)
    axes.plot(x, stats.chi.pdf(x, k), color=canvas.INK, linewidth=1.0, label="Gaussian")
    axes.set_xlabel("norm of the whitened row")
    canvas.legend_above(axes)
    return figure


def _cosines(model: whitening.Whitening, one: Scored):
    figure, (axes,) = canvas.panels(1.5, legend_lines=3)
    drawn = np.sort(np.random.default_rng(0).permutation(len(one.rows))[:_PAIRS])
    before = np.asarray(one.rows[drawn], np.float64)
    after = whitening.apply(model, before)
    values = []
    for z in (before, after):
        u = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)
        values.append((u @ u.T)[np.triu_indices(len(u), 1)])
    _histogram(axes, values, ["as they are", "whitened"], -1, 1)
    d = after.shape[1]
    x = np.linspace(-0.999, 0.999, 800)
    axes.plot(
        x,
        stats.beta.pdf((x + 1) / 2, (d - 1) / 2, (d - 1) / 2) / 2,
        color=canvas.INK,
        label="independent",
    )
    axes.set_xlabel(f"cosine, {_short(one.name)}")
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    canvas.legend_above(axes)
    return figure


def _circle(model: whitening.Whitening, one: Scored) -> tuple[str, str, list, str] | None:
    """A full circle in whitened space through two rows: its likelihoods, and the rows it passes.

    None where no two rows span a plane.
    """
    middle = np.argsort(np.abs(one.likelihood - np.median(one.likelihood)))[:2]
    first, second = np.asarray(one.rows[np.sort(middle)], np.float64)
    try:
        points = circle.full_circle(model, first, second, steps=_STEPS)
    except ValueError:
        return None
    angles = np.arange(_STEPS) * 360 / _STEPS
    white = whitening.apply(model, np.stack([first, second]))
    cosine = (white[0] @ white[1]) / np.prod(np.linalg.norm(white, axis=1))
    between = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    share = np.linspace(0, 1, 50)[:, None]
    straight = (1 - share) * first + share * second
    figure, (axes,) = canvas.panels(1.5, legend_lines=2)
    axes.plot(
        angles,
        whitening.log_likelihood(model, points),
        color=canvas.TRAINED,
        label="circle in whitened space",
    )
    axes.plot(
        share[:, 0] * between,
        whitening.log_likelihood(model, straight),
        color=canvas.UNTRAINED,
        label="straight line from row to row",
    )
    ends = [one.likelihood[i] for i in np.sort(middle)]
    axes.plot([0, between], ends, "o", color=canvas.INK, markersize=4)
    axes.set(xlabel="angle (degrees)", ylabel="log p (nats)")
    axes.set_xticks([0, 90, 180, 270, 360])
    axes.locator_params(axis="y", nbins=4, integer=True)
    canvas.legend_above(axes)
    caption = (
        f"Through two rows of {one.name} of median likelihood (dots, {between:.0f}° apart). Points on "
        "the circle stay as likely as the two; a straight line passes nearer to the mean, where log p "
        "is higher. The embeddings: infonce_jax.evaluation.circle.full_circle."
    )
    if one.names is None:
        return "Once around a circle", caption, [figure], ""
    searched = np.sort(np.random.default_rng(0).permutation(len(one.rows))[:_SEARCHED])
    searched = np.union1d(searched, middle)
    every = whitening.apply(model, np.asarray(one.rows[searched], np.float64))
    every /= np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-300)
    stops = np.arange(_SHOWN) * (_STEPS // _SHOWN)
    nearest = searched[np.argmax(whitening.apply(model, points[stops]) @ every.T, axis=1)]
    notes = [f"{angles[stop]:.0f}°" for stop in stops]
    gallery = (
        f"<section><h3>The rows nearest to it, every {360 // _SHOWN}°</h3>"
        f"{_gallery(one, nearest, notes)}</section>"
    )
    return "Once around a circle", caption, [figure], gallery


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"…{name[-27:]}"


def _typical(one: Scored) -> str:
    order = np.argsort(one.likelihood)
    shown = min(_SHOWN, len(order) // 2)
    return (
        f"<section><h2>{escape(one.name)}: most and least typical</h2><h3>Most typical</h3>"
        f"{_gallery(one, order[::-1][:shown])}<h3>Least typical</h3>"
        f"{_gallery(one, order[:shown])}</section>"
    )


def _gallery(one: Scored, rows: np.ndarray, notes: Sequence[str] | None = None) -> str:
    """Pictures or texts of rows, each with a note: by default its log-likelihood."""
    cells = []
    for i, row in enumerate(rows):
        name = one.names[row]
        score = f"{one.likelihood[row]:.1f} nats" if notes is None else notes[i]
        picture = None if one.folder is None else _thumbnail(one.folder / name)
        if picture is None:
            cells.append(f'<li>{escape(name)} <span class="notes">{score}</span></li>')
        else:
            cells.append(
                f'<figure style="width:6.5rem"><img src="{picture}" alt="{escape(name)}" '
                f'style="width:100%;image-rendering:pixelated"><figcaption class="notes">'
                f"{escape(Path(name).stem)}<br>{score}</figcaption></figure>"
            )
    if cells and cells[0].startswith("<li>"):
        return f"<ul>{''.join(cells)}</ul>"
    return f'<div style="display:flex;flex-wrap:wrap;gap:.75rem">{"".join(cells)}</div>'


def _thumbnail(file: Path) -> str | None:
    """A small JPEG inside the page; None where the image is gone."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            small = image.convert("RGB")
    except OSError:
        return None
    small.thumbnail((160, 160))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
