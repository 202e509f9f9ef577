"""The panels of the report: plain arrays in, matplotlib figures out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import gammaln, ndtri

from infonce_jax.report.canvas import (
    INK,
    NEGATIVE,
    POSITIVE,
    REFERENCE,
    SERIES,
    TRAINED,
    decade_ticks,
    legend_above,
    log_ticks,
    panels,
    series_colours,
    smooth_density,
    text_colour,
    violin,
)
from infonce_jax.report.canvas import (
    style as style,
)
from infonce_jax.report.canvas import (
    to_svg as to_svg,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure


class Labelled(NamedTuple):
    """Arrays of one step with what to call and how to colour it.

    Attributes:
        label: "untrained", "epoch 50".
        colour: a hexadecimal colour.
        arrays: one array per member.
    """

    label: str
    colour: str
    arrays: tuple[np.ndarray, ...]


class Pairs(NamedTuple):
    """Cosines of positive and of negative pairs at one step."""

    label: str
    positive: Float[np.ndarray, " pairs"]
    negative: Float[np.ndarray, " pairs"]


class Curve(NamedTuple):
    """A quantity against the sample size, one row per member.

    Attributes:
        label: "untrained", "epoch 50".
        colour: a hexadecimal colour.
        n: sample sizes, ascending.
        values: [members, sizes], NaN where a member lacks one.
    """

    label: str
    colour: str
    n: Num[np.ndarray, " sizes"]
    values: Float[np.ndarray, "members sizes"]


class Logged(NamedTuple):
    """One logged metric for the panel of training curves.

    Attributes:
        label: the name of the axis, with its unit.
        values: [lines, members].
        bound: what the values cannot exceed, [lines, members]; dashed, its mean over each setting.
    """

    label: str
    values: Float[np.ndarray, "lines members"]
    bound: Float[np.ndarray, "lines members"] | None = None


def norms(
    steps: Sequence[Labelled], cvs: Sequence[float | None], dim: int
) -> "matplotlib.figure.Figure":
    """Histograms of ‖z‖ / mean ‖z‖, members pooled, against the law of an isotropic Gaussian.

    Args:
        steps: per step, one array of norms [n] per member.
        cvs: per step, the coefficient of variation to print beside its name.
        dim: dimension d of z; an isotropic Gaussian's norms follow the chi law with d degrees of
            freedom, of CV ≈ 1/√(2d).
    """
    figure, (axes,) = panels(1.6, legend_lines=len(steps) + 1)
    ratios = [np.concatenate([_ratio(norm) for norm in step.arrays]) for step in steps]
    pooled = np.concatenate(ratios)
    low, high = np.quantile(pooled, [0.001, 0.999])
    margin = 0.05 * (high - low) + 1e-3
    edges = np.linspace(low - margin, high + margin, 61)
    for step, ratio, cv in zip(steps, ratios, cvs, strict=True):
        density = np.histogram(ratio, edges, density=True)[0]
        label = step.label if cv is None else f"{step.label}: CV {cv:.3f}"
        axes.stairs(density, edges, fill=True, color=step.colour, alpha=0.22, linewidth=0)
        axes.stairs(density, edges, color=step.colour, linewidth=1.3, label=label)
    x = np.linspace(edges[0], edges[-1], 200)
    mean = np.exp(gammaln((dim + 1) / 2) - gammaln(dim / 2)) * np.sqrt(2)
    cv = np.sqrt(dim / mean**2 - 1)
    axes.plot(
        x,
        _chi_density(x, dim, mean),
        color=INK,
        linewidth=0.9,
        dashes=(4, 2),
        label=f"isotropic Gaussian: CV {cv:.3f}",
    )
    axes.set(xlabel="norm ‖z‖ / mean ‖z‖", ylabel="density", xlim=(edges[0], edges[-1]))
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks([])
    legend_above(axes)
    return figure


def coordinates(steps: Sequence[Labelled]) -> "matplotlib.figure.Figure":
    """Histograms of single standardised coordinates with the N(0, 1) density, one row per step.

    Args:
        steps: per step, one array [n, coordinates] of standardised values.
    """
    figure, grid = panels(0.95, rows=len(steps))
    x = np.linspace(-4, 4, 161)
    for axes, step in zip(grid, steps, strict=True):
        (z,) = step.arrays
        edges = np.linspace(-4, 4, int(np.clip(2 * np.cbrt(len(z)), 12, 48)) + 1)
        for column in z.T:
            density = np.histogram(column, edges, density=True)[0]
            axes.stairs(density, edges, color=step.colour, linewidth=0.7, alpha=0.7)
        axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=1.2)
        axes.set(xlim=(-4, 4), ylabel="density")
        axes.set_yticks([])
        _name(axes, step)
    top = max(axes.get_ylim()[1] for axes in grid)
    for axes in grid:
        axes.set_ylim(0, top)
    grid[0].text(
        0.99, 0.97, "N(0, 1)", color=INK, transform=grid[0].transAxes, ha="right", va="top"
    )
    grid[-1].set_xlabel("standardised coordinate")
    return figure


def quantiles(
    steps: Sequence[Labelled],
    band: tuple[np.ndarray, np.ndarray, np.ndarray],
    marked: tuple[Sequence[str], Float[np.ndarray, "n marked"]] | None = None,
) -> "matplotlib.figure.Figure":
    """Q-Q plots of single standardised coordinates against the normal, one column per step.

    Args:
        steps: per step, one array [n, coordinates] of standardised values.
        band: from `normal_band` at the same n.
        marked: names and standardised values of coordinates to draw in colours of their own.
    """
    names, values = marked or ([], np.empty((len(steps[0].arrays[0]), 0)))
    figure, grid = panels(1.6, columns=len(steps), legend_lines=len(names))
    at, lower, upper = band
    x = ndtri(at)
    reach = 1.02 * max(-x[0], 3.0)
    drawn = [*(step.arrays[0] for step in steps), *values.T]
    ends = [np.abs(np.quantile(one, [at[0], at[-1]])).max() for one in drawn if one.size]
    extent = float(max(reach, *ends))
    for axes, step in zip(grid, steps, strict=True):
        axes.fill_between(x, lower, upper, color=REFERENCE, alpha=0.3, linewidth=0)
        axes.plot([-reach, reach], [-reach, reach], color=INK, linewidth=0.7)
        for column in np.quantile(step.arrays[0], at, axis=0).T:
            axes.plot(x, column, color=step.colour, linewidth=0.7, alpha=0.75)
        for i, name in enumerate(names):
            quantile = np.quantile(values[:, i], at)
            axes.plot(x, quantile, color=SERIES[i + 1], linewidth=1.4, label=name)
        axes.set(xlim=(-reach, reach), ylim=(-extent, extent), xlabel="normal quantile")
        axes.set_xticks([-2, 0, 2])
        _name(axes, step)
    for axes in grid[1:]:
        axes.tick_params(labelleft=False)
    grid[0].set_ylabel("sample quantile")
    if names:
        legend_above(grid[0])
    return figure


def cosines(steps: Sequence[Pairs], dim: int) -> "matplotlib.figure.Figure":
    """Violins of the cosines of positive and of negative pairs, step by step.

    The grey violin is the exact law of u·v for independent directions, uniform on the sphere:
    density ∝ (1 - t²)^((d-3)/2).

    Args:
        steps: the cosines, step by step.
        dim: dimension d.
    """
    figure, (axes,) = panels(1.8, legend_lines=1)
    for position, step in enumerate(steps):
        for offset, sample, colour in (
            (-0.2, step.positive, POSITIVE),
            (0.2, step.negative, NEGATIVE),
        ):
            t, density = smooth_density(sample)
            violin(axes, position + offset, t, density, colour)
            axes.plot(
                [position + offset],
                [np.mean(sample)],
                "o",
                color="white",
                markersize=2.6,
                markeredgecolor=colour,
                markeredgewidth=0.8,
            )
    t = np.linspace(-1, 1, 401)[1:-1]
    logs = (dim - 3) / 2 * np.log1p(-(t**2))
    density = np.exp(logs - logs.max())
    kept = density > 1e-3
    violin(axes, len(steps) - 0.2, t[kept], density[kept], REFERENCE)
    axes.axhline(0, color="#BBBBBB", linewidth=0.5, zorder=0)
    axes.set_xticks([*range(len(steps)), len(steps) - 0.2])
    axes.set_xticklabels([*(step.label for step in steps), "uniform"])
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel="cosine", xlim=(-0.55, len(steps) + 0.15))
    low = min(float(s.negative.min()) for s in steps)
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.set_ylim(max(-1.03, low - 0.08), 1.03)
    axes.plot([], [], color=POSITIVE, linewidth=5, alpha=0.6, label="positive pairs")
    axes.plot([], [], color=NEGATIVE, linewidth=5, alpha=0.6, label="negative pairs")
    legend_above(axes, columns=2)
    return figure


def training(
    x: Float[np.ndarray, " lines"],
    x_label: str,
    metrics: Sequence[Logged],
    settings: Mapping[str, Sequence[int]],
) -> "matplotlib.figure.Figure":
    """Training curves: every member a thin line, the mean of each setting a bold one.

    Args:
        x: step or epoch of each line.
        x_label: what `x` is.
        metrics: the metrics, one row of the panel each.
        settings: label of each hyperparameter setting to its members' indices.
    """
    lines = -(-len(settings) // 2) if 1 < len(settings) <= len(SERIES) else 0
    figure, grid = panels(0.85, rows=len(metrics), legend_lines=lines + 1, gap_inch=0.26)
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), 300)).round().astype(int))
    colours = series_colours(len(settings))
    for axes, metric in zip(grid, metrics, strict=True):
        for (label, members), colour in zip(settings.items(), colours, strict=True):
            values = metric.values[:, list(members)]
            known = kept[np.isfinite(values[kept]).any(axis=1)]
            for column in values.T:
                axes.plot(x[known], column[known], color=colour, linewidth=0.5, alpha=0.55)
            mean = np.nanmean(values[known], axis=1)
            axes.plot(x[known], mean, color=colour, linewidth=1.5, label=label)
            if metric.bound is not None:
                limit = np.nanmean(metric.bound[:, list(members)][known], axis=1)
                axes.plot(x[known], limit, color=colour, linewidth=0.9, dashes=(4, 2))
        # Above the axes, where it leaves room for tick labels of any width.
        axes.set_title(metric.label, loc="left", fontsize="medium", pad=3)
        axes.margins(x=0.01)
        axes.locator_params(axis="y", nbins=5)
    grid[-1].locator_params(axis="x", nbins=5)
    grid[-1].set_xlabel(x_label)
    if lines:
        legend_above(grid[0], columns=2, raise_inch=0.17)
    return figure


def sample_sizes(
    curves: Sequence[Curve], gaussian: float, limit: float
) -> "matplotlib.figure.Figure":
    """Average Anderson-Darling statistic against the sample size, both logarithmic.

    Args:
        curves: one per step.
        gaussian: expectation for an exact Gaussian.
        limit: critical value at the 5% level.
    """
    figure, (axes,) = panels(1.7, legend_lines=2)
    for curve in curves:
        for row in curve.values:
            axes.plot(curve.n, row, color=curve.colour, linewidth=0.5, alpha=0.55)
        mean = np.nanmean(curve.values, axis=0)
        axes.plot(
            curve.n, mean, "o-", color=curve.colour, linewidth=1.5, markersize=3, label=curve.label
        )
    axes.axhline(
        limit, color=REFERENCE, linewidth=0.9, dashes=(1, 1.5), label=f"5% limit {limit:g}"
    )
    label = f"exact Gaussian {gaussian:g}"
    axes.axhline(gaussian, color=INK, linewidth=0.9, dashes=(4, 2), label=label)
    axes.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="AD average (A²)")
    low, high = (f(f(curve.values[curve.values > 0]) for curve in curves) for f in (min, max))
    axes.set_ylim(min(0.25, 0.8 * low), max(2.0, 1.3 * high))
    sizes = sorted({int(n) for curve in curves for n in curve.n})
    wide = [n for i, n in enumerate(sizes) if i == 0 or n > 1.7 * sizes[i - 1]]
    log_ticks(axes.xaxis, wide if len(wide) <= 6 else wide[::2])
    log_ticks(axes.yaxis, decade_ticks(*axes.get_ylim()))
    legend_above(axes, columns=2)
    return figure


class Followed(NamedTuple):
    """One quantity over steps, layers or sizes.

    Attributes:
        label: the name of the axis.
        lines: one [points] for each line.
        gaussian: what an exact Gaussian has.
        is_log: whether the axis is logarithmic.
    """

    label: str
    lines: Sequence[Float[np.ndarray, " points"]]
    gaussian: float
    is_log: bool = False


def trajectory(
    x: Float[np.ndarray, " points"],
    x_label: str,
    names: Sequence[str],
    followed: Sequence[Followed],
) -> "matplotlib.figure.Figure":
    """How several quantities change over steps, layers or sizes, one below the other.

    Args:
        x: step, layer or size.
        x_label: what `x` is.
        names: of the lines, empty where there is one.
        followed: the quantities.
    """
    lines = -(-len(names) // 2) if 1 < len(names) <= len(SERIES) else 0
    figure, grid = panels(0.85, rows=len(followed), legend_lines=lines + 1, gap_inch=0.26)
    colours = [TRAINED] if len(names) < 2 else series_colours(len(names))
    for axes, one in zip(grid, followed, strict=True):
        for line, colour, name in zip(one.lines, colours, names or [""], strict=True):
            axes.plot(x, line, "o-", color=colour, linewidth=1.3, markersize=3, label=name)
        axes.axhline(one.gaussian, color=INK, linewidth=0.9, dashes=(4, 2))
        axes.set_title(one.label, loc="left", fontsize="medium", pad=3)
        axes.margins(x=0.03, y=0.12)
        if one.is_log:
            axes.set_yscale("log")
            log_ticks(axes.yaxis, decade_ticks(*axes.get_ylim()))
        else:
            axes.locator_params(axis="y", nbins=4)
    grid[-1].locator_params(axis="x", nbins=6)
    if np.all(x == np.round(x)):
        grid[-1].xaxis.get_major_locator().set_params(integer=True)
    grid[-1].set_xlabel(x_label)
    if lines:
        legend_above(grid[0], columns=2, raise_inch=0.17)
    return figure


def pvalues(pvalue: Float[np.ndarray, " d"]) -> "matplotlib.figure.Figure":
    """Histogram of one p-value per coordinate, beside the uniform density.

    Args:
        pvalue: the p-values.
    """
    figure, (axes,) = panels(1.3)
    edges = np.linspace(0, 1, 21)
    density = np.histogram(pvalue, edges, density=True)[0]
    axes.stairs(density, edges, fill=True, color=TRAINED, alpha=0.35, linewidth=0)
    axes.stairs(density, edges, color=TRAINED, linewidth=1.2)
    axes.axhline(1, color=INK, linewidth=0.9, dashes=(4, 2))
    axes.set(xlabel="p-value", ylabel="density", xlim=(0, 1))
    axes.set_ylim(0, max(2.0, 1.05 * density.max()))
    return figure


def norm_laws(
    norms: Float[np.ndarray, " n"], gaussian: Float[np.ndarray, " m"]
) -> "matplotlib.figure.Figure":
    """Histogram of ‖z‖ / mean ‖z‖ beside that of a fitted Gaussian and the norm on a sphere.

    Args:
        norms: of the embeddings.
        gaussian: of draws of a Gaussian with their mean and covariance.
    """
    figure, (axes,) = panels(1.5, legend_lines=3)
    ratios = [_ratio(norms), _ratio(gaussian)]
    low, high = np.quantile(np.concatenate([*ratios, [1.0]]), [0.001, 0.999])
    margin = 0.05 * (high - low) + 1e-3
    edges = np.linspace(low - margin, high + margin, 61)
    density, expected = (np.histogram(ratio, edges, density=True)[0] for ratio in ratios)
    cv = [ratio.std() for ratio in ratios]
    label = f"embeddings: CV {cv[0]:.3f}"
    axes.stairs(density, edges, fill=True, color=TRAINED, alpha=0.3, linewidth=0)
    axes.stairs(density, edges, color=TRAINED, linewidth=1.2, label=label)
    label = f"Gaussian of the same covariance: CV {cv[1]:.3f}"
    axes.stairs(expected, edges, color=INK, linewidth=1.0, label=label)
    label = "sphere: CV 0"
    axes.axvline(1, color=NEGATIVE, linewidth=0.9, dashes=(4, 2), label=label)
    axes.set(xlabel="norm ‖z‖ / mean ‖z‖", ylabel="density", xlim=(edges[0], edges[-1]))
    axes.set_yticks([])
    legend_above(axes)
    return figure


def spectrum(eigenvalues: Float[np.ndarray, " k"], n: int, dim: int) -> "matplotlib.figure.Figure":
    """Eigenvalues of a covariance over their mean, largest first, on a logarithmic scale.

    Args:
        eigenvalues: largest first.
        n: number of rows they are of.
        dim: dimension, for the band (1 ± √(d/n))² over which those of an isotropic law spread.
    """
    figure, (axes,) = panels(1.4)
    values = eigenvalues / (eigenvalues.sum() / dim)
    values = values[values > 1e-12]
    ratio = np.sqrt(dim / n)
    low = (1 - ratio) ** 2 if ratio < 1 else 1e-3
    axes.axhspan(max(low, 1e-6), (1 + ratio) ** 2, color=REFERENCE, alpha=0.25, linewidth=0)
    axes.axhline(1, color=INK, linewidth=0.9, dashes=(4, 2))
    axes.plot(np.arange(1, len(values) + 1), values, color=TRAINED, linewidth=1.4)
    axes.set(xlabel="index", ylabel="eigenvalue / mean", yscale="log")
    axes.set_xlim(1, max(dim, 2))
    return figure


def normal_band(
    n: int, points: int = 120, draws: int = 500
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simultaneous 95% band for the quantiles of n normal values, standardised by themselves.

    Simulated: per quantile the mean and spread over the draws, widened by the one factor that keeps
    95% of the draws inside the band at all points together.

    Args:
        n: sample size.
        points: number of quantiles.
        draws: number of simulated samples.

    Returns:
        Probabilities, lower and upper bound, each [points].
    """
    at = np.linspace(0, 1, points + 2)[1:-1]
    tail = np.geomspace(0.5 / n, at[0], 12)[:-1] if 0.5 / n < at[0] else np.empty(0)
    at = np.concatenate([tail, at, 1 - tail[::-1]])
    samples = np.random.default_rng(0).standard_normal((draws, n))
    samples = (samples - samples.mean(1, keepdims=True)) / samples.std(1, ddof=1, keepdims=True)
    simulated = np.quantile(samples, at, axis=1).T
    mean, spread = simulated.mean(0), simulated.std(0)
    factor = np.quantile((np.abs(simulated - mean) / spread).max(axis=1), 0.95)
    return at, mean - factor * spread, mean + factor * spread


def _name(axes: "matplotlib.axes.Axes", step: Labelled) -> None:
    axes.text(
        0.03,
        0.97,
        step.label,
        color=text_colour(step.colour),
        transform=axes.transAxes,
        va="top",
        fontweight="bold",
    )


def _ratio(norm: np.ndarray) -> np.ndarray:
    mean = norm.mean()
    return norm / mean if mean > 0 else norm


def _chi_density(x: np.ndarray, dim: int, mean: float) -> np.ndarray:
    r = np.maximum(x * mean, 1e-12)
    return mean * np.exp(
        (dim - 1) * np.log(r) - r**2 / 2 - (dim / 2 - 1) * np.log(2) - gammaln(dim / 2)
    )
