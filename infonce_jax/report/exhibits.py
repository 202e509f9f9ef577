"""Draws the figures of runs: reads the arrays, chooses what to draw, and writes the captions."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax import embeddings, evaluation
from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT
from infonce_jax.report import canvas, figures, table
from infonce_jax.report.runs import Key, Run

_COORDINATES = 10
_PAIR_ROWS = 2000
_MOST_PANELS = 12
_METRICS = {
    "loss": "loss (nats)",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "accuracy": "accuracy",
    "norm_cv": "norm CV",
}


class Panel(NamedTuple):
    """One drawn group.

    Attributes:
        name: fit for a file: "norms-laplace".
        title: the group's title.
        svg: an <svg> element.
    """

    name: str
    title: str
    svg: str


class Exhibit(NamedTuple):
    """One figure of the report: the same panel for every group.

    Attributes:
        key: "norms".
        title: its heading.
        caption: what is drawn and what to look for.
        panels: the drawn groups.
        missing: sentences on what could not be drawn.
    """

    key: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    missing: tuple[str, ...]


class Missing(Exception):
    """Says in one sentence why a panel cannot be drawn."""


def draw(content: table.Table, runs: Sequence[Run]) -> list[Exhibit]:
    """All figures of the report, in order."""
    groups = content.groups[:_MOST_PANELS]
    left_out = len(content.groups) - len(groups)

    of_groups = [
        (
            "norms",
            "Norms",
            "The narrower the peak, the thinner the shell on which the representations lie. Dashed: an "
            "isotropic Gaussian of the same dimension. All seeds pooled.",
            _draw_norms,
        ),
        (
            "coordinates",
            "Coordinates",
            f"{_COORDINATES} coordinates, evenly spaced, of the first seed, each standardised: they "
            "should follow the black N(0, 1) density.",
            _draw_coordinates,
        ),
        (
            "quantiles",
            "Q–Q plots",
            "The same coordinates at the table's sample size: lines inside the grey simultaneous "
            "95% band agree with a normal distribution, bent ends mean heavy or light tails.",
            _draw_quantiles,
        ),
        (
            "cosines",
            "Cosines of positive and negative pairs",
            "High positive pairs mean alignment. Negative pairs as close to 0 as those of independent "
            "uniform directions, in grey, mean uniformity. Dots: means. First seed.",
            _draw_cosines,
        ),
        (
            "sizes",
            "Anderson–Darling against the sample size",
            "The dashed line is an exact Gaussian at every n. Below the dotted line a coordinate passes "
            "at the 5% level. A line that climbs is a departure that more rows show more clearly. Thin: "
            "seeds; bold: their mean.",
            _draw_sizes,
        ),
    ]
    exhibits = [
        _exhibit(key, title, caption, [(g.title, partial(function, g, content)) for g in groups])
        for key, title, caption, function in of_groups
    ]
    if left_out:
        note = f"{left_out} further settings are in the table and not drawn."
        exhibits = [e._replace(missing=(*e.missing, note)) for e in exhibits]
    training = _exhibit(
        "training",
        "Training",
        "Thin: seeds; bold: their mean. Distrust averages where seeds diverge. Alignment is the mean "
        "similarity of positive pairs. Uniformity is the potential Φ: the lower, the more uniform "
        "the directions. The two trade off: where alignment rises, Φ may rise with it. Dashed: the "
        "highest alignment that the channel allows, η₂ + (1−η₂)‖m‖², where the theory knows it.",
        [(run.title, partial(_draw_training, run)) for run in runs],
    )
    return [*exhibits, training]


def _exhibit(
    key: str, title: str, caption: str, drawings: Sequence[tuple[str, Callable]]
) -> Exhibit:
    drawn, missing = {}, []
    with canvas.style():
        for index, (of, drawing) in enumerate(drawings, start=1):
            try:
                drawn[f"{key}-{index}-{_slug(of)}", of] = drawing()
            except Missing as reason:
                missing.append(f"{of}: {reason}")
        # Runs differ in length, so that training curves share their vertical axes alone.
        canvas.share_limits(list(drawn.values()), x=key != "training")
        panels = [
            Panel(name, of, canvas.to_svg(figure, name)) for (name, of), figure in drawn.items()
        ]
    return Exhibit(key, title, caption, tuple(panels), tuple(missing))


def _draw_training(run: Run):
    if not run.metrics:
        raise Missing("no metrics.jsonl, so there are no training curves.")
    logged = [
        figures.Logged(label, run.metrics[name], run.metrics.get(f"{name}_bound"))
        for name, label in _METRICS.items()
        if name in run.metrics
    ]
    if not logged:
        raise Missing(f"metrics.jsonl logs none of {', '.join(_METRICS)}.")
    epochs = run.logged["epoch"]
    axis = "step" if np.isnan(epochs).any() else "epoch"
    settings = {
        setting.label: [run.member_names.index(name) for name in setting.members]
        for setting in run.settings
    }
    return figures.training(run.logged[axis], axis, logged, settings)


def _draw_norms(group: table.Group, content: table.Table):
    shown = table.ends(group)
    steps = _read(group, shown, all_members=True, what="norms")
    dim = steps[0].arrays[0].shape[1]
    steps = [
        step._replace(arrays=tuple(np.linalg.norm(z, axis=1) for z in step.arrays))
        for step in steps
    ]
    cvs = [c.values["norm_cv"].mean if "norm_cv" in c.values else None for c in shown]
    return figures.norms(steps, cvs, dim)


def _draw_coordinates(group: table.Group, content: table.Table):
    steps = _read(group, table.ends(group), all_members=False, what="coordinates")
    return figures.coordinates([_standardised(step, len(step.arrays[0])) for step in steps])


def _draw_quantiles(group: table.Group, content: table.Table):
    steps = _read(group, table.ends(group), all_members=False, what="coordinates")
    n = min([content.n, *(len(step.arrays[0]) for step in steps)])
    return figures.quantiles([_standardised(s, n) for s in steps], figures.normal_band(n))


def _draw_cosines(group: table.Group, content: table.Table):
    steps = []
    for column in group.columns:
        held = _open(group, column)
        if not {"view1", "view2"} <= set(held.views(group.split)):
            raise Missing("the two views were not embedded, so there are no cosines.")
        one, other = (
            np.asarray(held.array(group.setting.members[0], group.split, view)[:_PAIR_ROWS])
            for view in ("view1", "view2")
        )
        # Row i of one view against row i + shift of the other: different samples, no n × n array.
        shifts = [shift for shift in (0, 1, 2, 3, 5, 8) if shift < len(one)]
        pairs = [_cosines(one, np.roll(other, shift, axis=0)) for shift in shifts]
        if len(pairs[0]) < 2:
            raise Missing(
                "fewer than two pairs of views have a direction, so there are no cosines."
            )
        steps.append(figures.Pairs(column.label, pairs[0], np.concatenate(pairs[1:])))
    return figures.cosines(steps, one.shape[1])


def _draw_sizes(group: table.Group, content: table.Table):
    shown = table.ends(group)
    curves = []
    for column, colour in zip(shown, canvas.step_colours(len(shown)), strict=True):
        sizes = [n for n, values in column.by_size.items() if "ad_mean" in values]
        if len(sizes) < 2:
            raise Missing("the tests were run at a single sample size.")
        curves.append(
            figures.Curve(
                column.label, colour, np.array(sizes), _per_member(group, column, sizes, content)
            )
        )
    return figures.sample_sizes(curves, table.GAUSSIAN_AD, AD_CRITICAL_5_PERCENT)


def _per_member(
    group: table.Group, column: table.Column, sizes: Sequence[int], content: table.Table
) -> Float[np.ndarray, "members sizes"]:
    setting, where = group.setting, (column.step, group.split, content.representation)
    rows = [group.run.members.get(Key(setting.key, *where, n), {}) for n in sizes]
    return np.array(
        [[row.get("ad_mean", {}).get(name, np.nan) for row in rows] for name in setting.members]
    )


def _open(group: table.Group, column: table.Column) -> embeddings.EmbeddingSet:
    if column.step not in group.run.embeddings:
        raise Missing(f"there are no embeddings of step {column.step:,} on disk.")
    return embeddings.read(group.run.embeddings[column.step])


def _read(
    group: table.Group, columns: Sequence[table.Column], *, all_members: bool, what: str
) -> list[figures.Labelled]:
    members = group.setting.members if all_members else group.setting.members[:1]
    colours = canvas.step_colours(len(columns))
    steps = []
    for column, colour in zip(columns, colours, strict=True):
        held = _open(group, column)
        if "clean" not in held.views(group.split):
            raise Missing(
                f"the {group.split} split was not embedded clean, so there are no {what}."
            )
        arrays = [held.array(member, group.split, "clean") for member in members]
        steps.append(figures.Labelled(column.label, colour, tuple(arrays)))
    return steps


def _standardised(step: figures.Labelled, n: int) -> figures.Labelled:
    (z,) = step.arrays
    z = np.asarray(z[:n], np.float64)
    spread = z.std(axis=0, ddof=1)
    varying = np.flatnonzero(spread > 0)
    if not len(varying):
        raise Missing(f"every coordinate is constant ({step.label}).")
    count = min(_COORDINATES, len(varying))
    chosen = varying[np.linspace(0, len(varying) - 1, count).round().astype(int)]
    return step._replace(arrays=((z[:, chosen] - z[:, chosen].mean(axis=0)) / spread[chosen],))


def _cosines(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "n d"]):
    """The cosines of the pairs of which both rows have a direction."""
    found = evaluation.cosines(one, other)
    return found[~np.isnan(found)]


def _slug(title: str) -> str:
    kept = (c.lower() if c.isascii() and c.isalnum() else "-" for c in title)
    return "-".join(filter(None, "".join(kept).split("-"))) or "run"
