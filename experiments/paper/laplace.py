"""Figures 2, 3, 7 and 8: cosines and norms on Laplace inputs, against dimension and batch."""

from operator import attrgetter
from pathlib import Path

import numpy as np
from scipy import stats

from experiments.pages import Drawn, markdown
from experiments.paper.protocol import Measured, measure_epochs
from experiments.paper.runs import beside_untrained, clean, load_points, of_dim, pair_cosines
from experiments.paper.table1 import number, share
from infonce_jax.report import canvas
from infonce_jax.report.table import GAUSSIAN_AD

_CV, _AD, _AD_PASS, _DP, _DP_PASS = map(attrgetter, ("cv", "ad", "ad_pass", "dp", "dp_pass"))


def _ad_1000(measured: Measured) -> float:
    return measured.ad_at[1000]


def spread_of_cosines(runs: Path) -> dict[tuple[int, int], tuple[float, float]]:
    """(d, batch) to the standard deviation of negative pairs' cosines, untrained and trained."""
    found = {}
    for point in load_points(runs / "laplace"):
        steps = 0, max(point.run.epochs)
        found[point.dim, point.batch] = tuple(
            float(pair_cosines(point.run, step)[1].std()) for step in steps
        )
    return found


def draw_cosines(runs: Path) -> Drawn:
    """Figures 2, 7 and 8: how far cosines of negative pairs spread, against batch size and dimension."""
    points = load_points(runs / "laplace")
    dims, batches = (sorted({getattr(p, name) for p in points}) for name in ("dim", "batch"))
    figure, (axes,) = canvas.panels(2.4, legend_lines=2)
    rows = [["d", "batch", "positive pairs", "negative pairs", "1/√d"]]
    for dim, colour in zip(dims, canvas.series_colours(len(dims)), strict=True):
        spreads = []
        for label, run, step in beside_untrained(of_dim(points, dim)):
            positive, negative = pair_cosines(run, step)
            spreads.append(negative.std())
            cells = [f"{s.mean():+.3f} ± {s.std():.3f}" for s in (positive, negative)]
            rows.append([dim, label, *cells, f"{dim**-0.5:.3f}"])
        # Untrained encoders stand apart from the batches, which are in order.
        axes.plot(0, spreads[0], "o", color=colour, markersize=3.5)
        at = range(1, len(spreads))
        axes.plot(at, spreads[1:], "o-", color=colour, markersize=3.5, label=f"d = {dim}")
        axes.axhline(dim**-0.5, color=colour, linewidth=0.7, dashes=(4, 2))
    axes.plot([], [], label="1/√d", **canvas.DASHED)
    axes.set(xlabel="batch (none: untrained)", ylabel="sd of negative pairs' cosines", yscale="log")
    axes.set_xticks(range(len(batches) + 1), labels=["none", *map(str, batches)])
    low, high = axes.get_ylim()
    ticks = (0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3)
    canvas.log_ticks(axes.yaxis, [tick for tick in ticks if low <= tick <= high])
    canvas.legend_above(axes, columns=3)
    return Drawn("cosines", figure, markdown(rows))


def draw_norms(runs: Path) -> Drawn:
    """Figure 3, left: norms over their mean at the least and the largest dimension and batch."""
    points = load_points(runs / "laplace")
    dims = sorted({p.dim for p in points})
    # One axis for both, to show that the shell is thinner in more dimensions.
    figure, grid = canvas.panels(1.4, rows=2, legend_lines=3, gap_inch=0.42)
    for axes, dim in zip(grid, (dims[0], dims[-1]), strict=True):
        own = of_dim(points, dim)
        least, largest = own[0], own[-1]
        sets = (
            ("untrained", canvas.UNTRAINED, least.run, 0),
            (f"batch {least.batch}", canvas.BETWEEN, least.run, max(least.run.epochs)),
            (f"batch {largest.batch}", canvas.TRAINED, largest.run, max(largest.run.epochs)),
        )
        norms = [
            np.concatenate([np.linalg.norm(z, axis=1) for z in clean(run, step)])
            for *_, run, step in sets
        ]
        ratios = [norm / norm.mean() for norm in norms]
        edges = np.linspace(*np.quantile(np.concatenate(ratios), [0.0005, 0.9995]), 31)
        for (label, colour, *_), ratio in zip(sets, ratios, strict=True):
            density = np.histogram(ratio, edges, density=True)[0]
            axes.plot(
                (edges[1:] + edges[:-1]) / 2, density, color=colour, linewidth=1.2, label=label
            )
        x = np.linspace(edges[0], edges[-1], 300)
        mean = stats.chi.mean(dim)
        axes.plot(
            x, mean * stats.chi.pdf(mean * x, dim), **canvas.DASHED, label="isotropic Gaussian"
        )
        axes.set_title(f"d = {dim}", loc="left", fontsize="medium", pad=3)
        axes.set(ylabel="density")
        axes.tick_params(labelbottom=True)
    grid[-1].set_xlabel("‖z‖ / mean")
    canvas.legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("norms", figure, "")


def draw_normality(runs: Path) -> Drawn:
    """Figure 3, right: the norms' CV and the tests of normality against batch size and dimension."""
    points = load_points(runs / "laplace")
    dims, batches = (sorted({getattr(p, name) for p in points}) for name in ("dim", "batch"))
    figure, grid = canvas.panels(1.2, rows=2, legend_lines=2, gap_inch=0.3)
    rows = [["d", "batch", "CV", "1/√(2d)", "AD, groups", "AD pass", "DP p, groups", "DP pass",
             "AD, n = 1,000"]]  # fmt: skip
    for dim, colour in zip(dims, canvas.series_colours(len(dims)), strict=True):
        own = of_dim(points, dim)
        # The untrained encoder does not depend on the batch.
        ends = [measure_epochs(p.run.path, (), sizes=(1000,)) for p in own]
        sets = [("untrained", ends[0][0.0])]
        sets += [(p.batch, end[max(end)]) for p, end in zip(own, ends, strict=True)]
        for label, found in sets:
            shares = (share(np.mean([of(m) for m in found])) for of in (_AD_PASS, _DP_PASS))
            values = (number([of(m) for m in found]) for of in (_CV, _AD, _DP, _ad_1000))
            cv, ad, dp, ad_1000 = values
            ad_pass, dp_pass = shares
            rows.append(
                [dim, label, cv, f"{(2 * dim) ** -0.5:.3f}", ad, ad_pass, dp, dp_pass, ad_1000]
            )
        for axes, of in zip(grid, (_CV, _AD), strict=True):
            line = [np.mean([of(m) for m in found]) for _, found in sets]
            axes.plot(0, line[0], "o", color=colour, markersize=3.5)
            axes.plot(
                range(1, len(line)), line[1:], "o-", color=colour, markersize=3, label=f"d = {dim}"
            )
        grid[0].axhline((2 * dim) ** -0.5, color=colour, linewidth=0.6, dashes=(4, 2))
    grid[0].plot([], [], label="1/√(2d)", **canvas.DASHED)
    canvas.reference(grid[1], GAUSSIAN_AD, f"Gaussian {GAUSSIAN_AD}")
    grid[0].set(ylabel="CV")
    grid[1].set(ylabel="AD, groups", ylim=(0.355, 0.415), xlabel="batch (none: untrained)")
    grid[1].set_xticks(range(len(batches) + 1), labels=["none", *map(str, batches)])
    canvas.legend_above(grid[0], columns=3)
    return Drawn("normality", figure, markdown(rows))
