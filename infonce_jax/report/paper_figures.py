"""The paper's figures from our own runs.

    python -m infonce_jax.report.paper_figures --runs runs/paper --output docs/paper

Reads the run folders that configs/paper/*.py wrote. What has no run folder is left out and named.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax import embeddings
from infonce_jax.report import figures
from infonce_jax.report.pages import Absent, Drawn, draw_page, markdown
from infonce_jax.report.runs import Key, Run, load_run

_NEGATIVES = 2000


class _Point(NamedTuple):
    """One run of the sweep over dimension and batch size."""

    dim: int
    batch: int
    run: Run


def draw_cosines(runs: Path) -> Drawn:
    """Figures 2, 7 and 8: cosines of positive and negative pairs against batch size, per dimension."""
    points = _points(runs / "laplace")
    dims = sorted({p.dim for p in points})
    figure, grid = figures._figure(1.0, rows=len(dims), legend_lines=3, gap_inch=0.42)
    rows = [["d", "batch", "positive pairs", "negative pairs", "1/√d"]]
    for axes, dim in zip(grid, dims, strict=True):
        own = sorted((p for p in points if p.dim == dim), key=lambda p: p.batch)
        for position, point in enumerate(own):
            positive, negative = _cosines(point.run)
            for offset, sample, colour in (
                (-0.2, positive, figures.POSITIVE),
                (0.2, negative, figures.NEGATIVE),
            ):
                figures._violin(axes, position + offset, *figures._smooth_density(sample), colour)
            spread = [f"{s.mean():+.3f} ± {s.std():.3f}" for s in (positive, negative)]
            rows.append([dim, point.batch, *spread, f"{dim**-0.5:.3f}"])
        for sign in (-1, 1):
            axes.axhline(sign * dim**-0.5, color=figures.INK, linewidth=0.6, dashes=(4, 2))
        axes.set_title(f"d = {dim}", loc="left", fontsize="medium", pad=3)
        axes.set(ylim=(-0.8, 1.03), xlim=(-0.55, len(own) - 0.45))
        axes.set_xticks(range(len(own)), labels=[str(p.batch) for p in own])
        axes.tick_params(labelbottom=True)
    grid[-1].set_xlabel("batch")
    for label, colour in (("positive", figures.POSITIVE), ("negative", figures.NEGATIVE)):
        grid[0].plot([], [], color=colour, linewidth=5, alpha=0.6, label=f"{label} pairs")
    dashes = {"color": figures.INK, "linewidth": 0.6, "dashes": (4, 2)}
    grid[0].plot([], [], label="±1/√d", **dashes)
    figures._legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("cosines", figure, markdown(rows))


def draw_norms(runs: Path) -> Drawn:
    """Figure 3, left: norms at the smallest dimension, over their mean, for every batch size."""
    points = _points(runs / "laplace")
    dim = min(p.dim for p in points)
    own = sorted((p for p in points if p.dim == dim), key=lambda p: p.batch)
    figure, (axes,) = figures._figure(1.6, legend_lines=2)
    for point, colour in zip(own, figures._setting_colours(len(own)), strict=True):
        norm = np.concatenate([np.linalg.norm(z, axis=1) for z in _clean(point.run)])
        density, edges = np.histogram(norm / norm.mean(), 60, (0.4, 1.8), density=True)
        axes.stairs(density, edges, color=colour)
        axes.plot([], [], color=colour, label=f"batch {point.batch}")
    axes.set(xlabel=f"‖z‖ / mean at d = {dim}", ylabel="density")
    figures._legend_above(axes, columns=3)
    return Drawn("norms", figure, "")


def draw_normality(runs: Path) -> Drawn:
    """Figure 3, right: the norms' CV and the tests of normality against batch size and dimension."""
    points = _points(runs / "laplace")
    dims, batches = (sorted({getattr(p, name) for p in points}) for name in ("dim", "batch"))
    figure, grid = figures._figure(1.2, rows=3, legend_lines=2, gap_inch=0.25)
    rows = [["d", "batch", "CV", "1/√(2d)", "AD average", "AD pass", "DP average p", "DP pass"]]
    for dim, colour in zip(dims, figures._setting_colours(len(dims)), strict=True):
        own = sorted((p for p in points if p.dim == dim), key=lambda p: p.batch)
        names = ("norm_cv", "ad_mean", "ad_pass", "dp_mean_p", "dp_pass")
        values = {name: [_last(p.run, name) for p in own] for name in names}
        for axes, name in zip(grid, ("norm_cv", "ad_mean", "dp_pass"), strict=True):
            label = f"d = {dim}"
            axes.plot(range(len(own)), values[name], "o-", color=colour, markersize=3, label=label)
        grid[0].axhline((2 * dim) ** -0.5, color=colour, linewidth=0.6, dashes=(4, 2))
        for i, point in enumerate(own):
            cv, ad, ad_pass, dp, dp_pass = (values[name][i] for name in names)
            cells = f"{cv:.3f}", f"{(2 * dim) ** -0.5:.3f}", f"{ad:.3f}", f"{ad_pass:.0%}"
            rows.append([dim, point.batch, *cells, f"{dp:.3f}", f"{dp_pass:.0%}"])
    dashes = {"color": figures.INK, "linewidth": 0.6, "dashes": (4, 2)}
    grid[1].axhline(0.752, **dashes)
    grid[2].axhline(0.95, **dashes)
    grid[0].set(ylabel="CV")
    grid[1].set(ylabel="AD average")
    grid[2].set(ylabel="DP pass", xlabel="batch", ylim=(0, 1.03))
    grid[2].set_xticks(range(len(batches)), labels=[str(b) for b in batches])
    figures._legend_above(grid[0], columns=3)
    return Drawn("normality", figure, markdown(rows))


EXHIBITS = {"cosines": draw_cosines, "norms": draw_norms, "normality": draw_normality}


def _points(folder: Path) -> list[_Point]:
    folders = sorted(file.parent for file in folder.glob("*/evaluation.json"))
    if not folders:
        raise Absent(f"{folder} holds no runs; the command is at the top of configs/paper/*.py.")
    of = [load_run(run) for run in folders]
    return [
        _Point(r.config["encoder"]["embedding_dim"], r.config["train"]["batch_size"], r) for r in of
    ]


def _held(run: Run):
    return embeddings.read(run.embeddings[max(run.embeddings)])


def _clean(run: Run) -> list[Float[np.ndarray, "n d"]]:
    held = _held(run)
    return [np.asarray(held.array(name, "test", "clean")) for name in run.member_names]


def _cosines(run: Run) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Cosines of the first seed's positive pairs, and of pairs of different samples."""
    held = _held(run)
    u, v = (
        np.asarray(held.array(run.member_names[0], "test", view), np.float64)[:_NEGATIVES]
        for view in ("view1", "view2")
    )
    u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (u, v))
    return np.einsum("nd,nd->n", u, v), np.einsum("nd,nd->n", u, np.roll(v, 1, axis=0))


def _last(run: Run, statistic: str) -> float:
    """The mean over seeds at the last step, on raw embeddings at the report's sample size."""
    key = Key("{}", max(run.epochs), "test", "raw", run.config["report"]["sample_size"])
    return run.values[key][statistic].mean


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "paper", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
