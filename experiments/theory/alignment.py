"""The alignment that training reaches against its bound."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pages import (
    Absent,
    Drawn,
    markdown,
)
from experiments.theory.runs import COLOURS, by_value, open_run, pair_cosines
from infonce_jax import data, embeddings, theory
from infonce_jax.report import canvas


def draw_alignment(runs: Path) -> Drawn:
    """Alignment reached against the bound, at every strength of four channels, and on CIFAR-10."""
    names = ("gaussian", "laplace", "mixture", "binary")
    try:
        crops = _crops(runs)
    except Absent as reason:
        print(f"alignment, its panel of CIFAR-10: {reason}", file=sys.stderr)
        crops = []
    figure, grid = canvas.panels(
        0.95, rows=len(names) + bool(crops), legend_lines=2, gap_inch=0.55, share_x=False
    )
    rows = [["source", "strength", "η₂", "‖m‖", "bound", "alignment", "share of the bound"]]

    for axes, name in zip(grid, names, strict=False):
        run = open_run(runs / "alignment" / name)
        law = data.law_parameters(_dotted(run.config))
        channel = run.config["channel"]["name"]
        points = []
        for strength, members in by_value(run, "channel.strength").items():
            eta2 = theory.mildness.synthetic(
                run.config["data"]["source"],
                channel,
                strength,
                dim=run.config["data"]["dim"],
                **law,
            )
            cosines, resultants = zip(*(pair_cosines(run, m) for m in members), strict=True)
            # All seeds are judged on the same samples, which are what is averaged over.
            each = np.mean(cosines, axis=0)
            alignment, error = each.mean(), each.std() / np.sqrt(len(each))
            resultant = float(np.mean(resultants))
            bound = float(theory.alignment_bound(eta2, resultant))
            points.append((strength, bound, alignment, error))
            cells = (f"{strength:g}", f"{eta2:.4f}", f"{resultant:.3f}", f"{bound:.4f}")
            share = f"{100 * alignment / bound:.1f}%"
            rows.append([run.title, *cells, f"{alignment:.4f} ± {error:.4f}", share])
        at = np.array(sorted(points))
        axes.plot(at[:, 0], at[:, 1], "-", color=canvas.INK, linewidth=1, label="bound")
        axes.errorbar(
            at[:, 0],
            at[:, 2],
            at[:, 3],
            fmt="o",
            color=COLOURS[0],
            markersize=3.5,
            linewidth=0.9,
            label="trained",
        )
        axes.set(xscale="log", ylim=(0, 1.03))
        axes.set_title(run.title, loc="left", fontsize="medium", pad=3)
        canvas.log_ticks(axes.xaxis, [float(s) for s in at[:, 0]])
        axes.tick_params(labelbottom=True)
    for axes in grid:
        axes.set_ylabel("alignment")
    grid[len(names) - 1].set_xlabel("strength of the channel", labelpad=1)
    if crops:
        axes, at = grid[-1], [crop.area_min for crop in crops]
        axes.plot(at, [c.bound for c in crops], color=canvas.INK, linewidth=1, dashes=(4, 2))
        aligned = [np.mean(c.cosines) for c in crops]
        errors = [np.std(c.cosines) / np.sqrt(len(c.cosines)) for c in crops]
        style = {"color": COLOURS[0], "markersize": 3.5, "linewidth": 0.9}
        axes.errorbar(at, aligned, errors, fmt="o", **style)
        axes.set(xscale="log", ylim=(0, 1.03))
        title = "CIFAR-10, two-layer MLP (dashed: η₂ from below)"
        axes.set_title(title, loc="left", fontsize="medium", pad=3)
        canvas.log_ticks(axes.xaxis, at)
        axes.set_xlabel("smallest crop, as a share of the image", labelpad=1)
    canvas.legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("alignment", figure, markdown(rows))


class _Crop(NamedTuple):
    area_min: float
    eta2: theory.mildness.MildnessEstimate
    cosines: Float[np.ndarray, " n"]
    resultant: float
    bound: float


def _crops(runs: Path) -> list[_Crop]:
    """η₂ of SimCLR's views as the trained representations show it, and their alignment."""
    run = open_run(runs / "cifar10")
    held = embeddings.read(run.embeddings[max(run.embeddings)])
    found = []
    for area_min, members in by_value(run, "channel.crop_area_min").items():
        views = [np.asarray(held.array(members[0], "test", v)) for v in ("view1", "view2")]
        got = theory.mildness.estimate(*views)
        cosines, resultant = pair_cosines(run, members[0])
        bound = float(theory.alignment_bound(min(max(got.estimate, 0.0), 1.0), resultant))
        found.append(_Crop(area_min, got, cosines, resultant, bound))
    return found


def tabulate_cifar10(runs: Path) -> Drawn:
    """η₂ of SimCLR's views, from below, by the trained representations; and the alignment beside it."""
    rows = [
        ["smallest crop", "η₂ ≥ (estimate)", "lower bound", "alignment", "‖m‖", "bound at that η₂"]
    ]
    for crop in _crops(runs):
        estimate = f"{crop.eta2.estimate:.3f} ± {crop.eta2.standard_error:.3f}"
        cells = (f"{crop.cosines.mean():.3f}", f"{crop.resultant:.3f}", f"{crop.bound:.3f}")
        rows.append([f"{crop.area_min:g}", estimate, f"{crop.eta2.lower:.3f}", *cells])
    return Drawn("cifar10", None, markdown(rows))


def _dotted(config: dict):
    from ml_collections import config_dict

    return config_dict.ConfigDict(config)
