"""Norms, directions and normality against dimension and batch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.beyond.runs import values_of
from experiments.pages import (
    Drawn,
    finished_folders,
    interval,
    markdown,
)
from experiments.power_law import exponents
from infonce_jax.report import canvas
from infonce_jax.report.runs import load_run
from infonce_jax.report.table import GAUSSIAN_AD


class _Point(NamedTuple):
    dim: int
    batch: int
    before: dict[str, Float[np.ndarray, " seeds"]]
    after: dict[str, Float[np.ndarray, " seeds"]]


def draw_scaling(runs: Path) -> Drawn:
    """Norms, directions and normality against dimension and batch, with fitted rates."""
    points = []
    for run in map(load_run, finished_folders(runs / "scaling")):
        c = run.config
        before, after = (
            values_of(run, run.settings[0].key, step, 10_000) for step in (0, max(run.epochs))
        )
        points.append(
            _Point(c["encoder"]["embedding_dim"], c["train"]["batch_size"], before, after)
        )
    batch = max({p.batch for p in points}, key=lambda b: sum(p.batch == b for p in points))
    by_dim = sorted((p for p in points if p.batch == batch), key=lambda p: p.dim)
    dim = max({p.dim for p in points}, key=lambda d: sum(p.dim == d for p in points))
    by_batch = sorted((p for p in points if p.dim == dim), key=lambda p: p.batch)

    quantities = (
        ("norm CV", lambda v: v["norm_cv"], "norm CV"),
        ("negative cosines' sd", lambda v: v["negative_cosine_std"], "cosines' sd"),
        (
            f"AD average − {GAUSSIAN_AD}, n = 10,000",
            lambda v: v["ad_mean"] - GAUSSIAN_AD,
            f"AD − {GAUSSIAN_AD}",
        ),
    )
    figure, grid = canvas.panels(
        1.0, rows=3, columns=2, legend_lines=1, gap_inch=0.42, share_x=False
    )
    rows = [
        ["quantity", "against", "slope, trained", "in the lower half", "in the upper half",
         "slope, untrained", "reference"]
    ]  # fmt: skip
    references = {"norm CV": -0.5, "negative cosines' sd": -0.5}
    for row, (name, of, short) in enumerate(quantities):
        for column, (own, axis, label) in enumerate(
            (
                (by_dim, "dim", f"dimension d (batch {batch})"),
                (by_batch, "batch", f"batch (d = {dim})"),
            )
        ):
            axes = grid[2 * row + column]
            at = np.array([getattr(p, axis) for p in own], float)
            slopes = []
            for when, colour in (("before", canvas.UNTRAINED), ("after", canvas.TRAINED)):
                values = np.array([of(getattr(p, when)) for p in own])
                # Sampling can take the mean of A² below that of a Gaussian.
                shown = np.where(values.mean(axis=1) > 0, values.mean(axis=1), np.nan)
                text = "trained" if when == "after" else "untrained"
                error = [interval(of_seeds).half_width for of_seeds in values]
                # An arm that reached 0 would leave the logarithmic axis.
                error = np.minimum(error, 0.9 * shown)
                axes.errorbar(at, shown, error, fmt="o-", markersize=3, color=colour, label=text)
                slopes.append(_slope(at, values))
            middle = len(at) // 2
            halves = [
                f"{_slope(at[part], values[part])} ({at[part][0]:,.0f}–{at[part][-1]:,.0f})"
                for part in (slice(middle + 1), slice(middle, None))
            ]
            if axis == "dim" and name in references:
                scale = 1 / np.sqrt(2) if name == "norm CV" else 1
                axes.plot(
                    at, scale * at**-0.5, **canvas.DASHED,
                    label="Gaussian",
                )  # fmt: skip
            axes.set(xscale="log", yscale="log")
            if not column:
                axes.set_ylabel(short)
            low, high = axes.get_ylim()
            ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
            if high < 5 * low:
                ticks = (0.07, 0.08, 0.1, 0.15, 0.2, 0.25)
            canvas.log_ticks(axes.yaxis, [t for t in ticks if low <= t <= high])
            canvas.log_ticks(axes.xaxis, at[::2])
            if row == len(quantities) - 1:
                axes.set_xlabel(label)
            else:
                axes.tick_params(labelbottom=False)
            reference = f"{references[name]:+.1f}" if axis == "dim" and name in references else "–"
            before, after = slopes
            rows.append([name, axis.replace("dim", "d"), after, *halves, before, reference])
    canvas.legend_above(grid[0], columns=3)
    lines = [
        [
            "d",
            "batch",
            "CV",
            "of a Gaussian",
            "1/√(2d)",
            "AD untrained",
            "AD trained",
            "negative cosines' sd",
            "1/√d",
        ]
    ]
    for p in (*by_dim, *by_batch):
        cells = [f"{p.after[name].mean():.3f}" for name in ("norm_cv", "norm_cv_gaussian")]
        cells.append(f"{(2 * p.dim) ** -0.5:.3f}")
        cells += [f"{interval(v['ad_mean']):.2f}" for v in (p.before, p.after)]
        cells += [f"{p.after['negative_cosine_std'].mean():.3f}", f"{p.dim**-0.5:.3f}"]
        lines.append([p.dim, f"{p.batch:,}", *cells])
    return Drawn("scaling", figure, markdown(rows) + "\n" + markdown(lines))


def _slope(at: Float[np.ndarray, " k"], values: Float[np.ndarray, "k seeds"]) -> str:
    """The exponent of a power law with its 95% interval over seeds; – where none can be fitted."""
    found = exponents(at, values)
    return f"{interval(found):+.2f}".replace("± +", "± ") if np.isfinite(found).all() else "–"
