"""Laws on the sphere: coordinates and norms, the tests that see them, the divergence from uniform."""

from pathlib import Path

import numpy as np
from scipy.special import ndtr

from experiments.pages import (
    Drawn,
    markdown,
)
from experiments.theory.runs import COLOURS
from infonce_jax import evaluation, theory
from infonce_jax.report import canvas


def draw_sphere(_: Path) -> Drawn:
    """Distances of a coordinate of a uniform direction to the normal, against the dimension."""
    figure, (axes,) = canvas.panels(1.7, legend_lines=2)
    dims = np.unique(np.geomspace(2, 10_000, 60).astype(int))
    distances = np.array([theory.sphere.distance_to_normal(int(d)) for d in dims])
    rng = np.random.default_rng(0)
    simulated = []
    for dim in (2, 4, 8, 16, 32, 64):
        x = np.sort(np.sqrt(dim) * (2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, 1_000_000) - 1))
        edges = np.linspace(-4.5, 4.5, 91)
        ranks = np.arange(1, x.size + 1) / x.size
        gap = np.abs(ranks - ndtr(x)).max()
        share = np.histogram(x, edges)[0] / x.size
        simulated.append((dim, 0.5 * np.abs(share - np.diff(ndtr(edges))).sum(), gap))
    for column, (name, colour, limit) in enumerate(
        (("total variation", COLOURS[0], 0.350), ("Kolmogorov", COLOURS[1], 0.1376))
    ):
        axes.plot(dims, distances[:, column], color=colour, label=name)
        axes.plot(
            dims, limit / dims, color=colour, linewidth=0.8, dashes=(2, 2), label=f"{limit:g}/d"
        )
        at = np.array(simulated)
        axes.plot(at[:, 0], at[:, 1 + column], "o", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="distance to N(0, 1)")
    canvas.log_ticks(axes.xaxis, [2, 10, 100, 1000, 10_000])
    canvas.legend_above(axes, columns=2)
    rows = [["d", "total variation", "Kolmogorov", "n for AD", "n for DP"]]
    for dim in (8, 16, 32, 64, 128, 256, 512):
        distance = theory.sphere.distance_to_normal(dim)
        sizes = [theory.sphere.detectable_sample_size(dim, test) for test in _TESTS]
        rows.append(
            [dim, *(f"{v:.2e}" for v in distance), *(f"{_rounded(size):,}" for size in sizes)]
        )
    return Drawn("sphere", figure, markdown(rows))


_TESTS = {"anderson_darling": "Anderson–Darling", "dagostino_pearson": "D'Agostino–Pearson"}


def draw_power(_: Path) -> Drawn:
    """How often the tests reject uniform directions, predicted and simulated, against n·(6/d)²."""
    figure, (axes,) = canvas.panels(1.7, legend_lines=2)
    rng = np.random.default_rng(0)
    levels = np.array([0.06, 0.08, *np.linspace(0.1, 0.9, 17), 0.93, 0.96, 0.98])
    dim = 16
    for (test, label), colour in zip(_TESTS.items(), COLOURS, strict=False):
        sizes = [theory.sphere.detectable_sample_size(dim, test, p) for p in levels]
        axes.plot(sizes, levels, color=colour, label=label)
        for n in (250, 1000, 2000, 4000):
            x = 2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, (n, 600)) - 1
            if test == "anderson_darling":
                rejected = (
                    evaluation.anderson_darling(x).statistic > evaluation.AD_CRITICAL_5_PERCENT
                )
            else:
                rejected = evaluation.dagostino_pearson(x).pvalue < 0.05
            axes.plot(n, rejected.mean(), "o", color=colour, markersize=3)
    axes.plot([], [], "o", color=canvas.INK, markersize=3, label="simulated")
    axes.axhline(0.05, color=canvas.REFERENCE, linewidth=0.8, dashes=(1, 1.5), label="level 5%")
    axes.set(xscale="log", xlabel="sample size n", ylabel="share rejected, d = 16", ylim=(0, 1.04))
    canvas.log_ticks(axes.xaxis, [100, 300, 1000, 3000])
    canvas.legend_above(axes, columns=2)
    return Drawn("power", figure, "")


def draw_radius(_: Path) -> Drawn:
    """CV of the norm of Gaussian vectors against the participation ratio, for three spectra."""
    figure, (axes,) = canvas.panels(1.7, legend_lines=2)
    rng = np.random.default_rng(0)
    spectra = {
        "isotropic": lambda d: np.ones(d),
        "λᵢ ∝ 1/i": lambda d: 1 / np.arange(1.0, d + 1),
        "λᵢ ∝ 0.9ⁱ": lambda d: 0.9 ** np.arange(d),
    }
    ratio = np.geomspace(1, 1000, 50)
    axes.plot(
        ratio,
        1 / np.sqrt(2 * ratio),
        color=canvas.INK,
        linewidth=0.8,
        dashes=(4, 2),
        label="1/√(2·PR)",
    )
    for (label, make), colour in zip(spectra.items(), COLOURS, strict=False):
        points = []
        for dim in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
            values = make(dim)
            points.append((values.sum() ** 2 / (values**2).sum(), theory.sphere.norm_cv(values)))
        axes.plot(*zip(*points, strict=True), color=colour, label=label)
        for dim in (1, 4, 16, 64, 256):
            values = make(dim)
            norm = np.linalg.norm(rng.standard_normal((20_000, dim)) * np.sqrt(values), axis=1)
            pr = values.sum() ** 2 / (values**2).sum()
            axes.plot(pr, norm.std() / norm.mean(), "o", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="participation ratio", ylabel="CV of the norm")
    canvas.log_ticks(axes.xaxis, [1, 10, 100, 1000])
    canvas.log_ticks(axes.yaxis, [0.03, 0.1, 0.3])
    canvas.legend_above(axes, columns=2)
    return Drawn("radius", figure, "")


def draw_kl(_: Path) -> Drawn:
    """KL(vMF ‖ σ) over (d/2)‖m‖² against ‖m‖, with other laws on the sphere."""
    figure, (axes,) = canvas.panels(1.7, legend_lines=3)
    rng = np.random.default_rng(0)
    t = np.linspace(-1, 1, 4001)[1:-1]
    for dim, colour in zip((2, 8, 32, 128), COLOURS, strict=False):
        kappa = dim * np.geomspace(0.02, 60, 120)
        length = np.asarray(theory.vmf.mean_resultant_length(dim, kappa), np.float64)
        kl = np.asarray(theory.vmf.kl_to_uniform(dim, kappa), np.float64)
        axes.plot(length, kl / (dim / 2 * length**2), color=colour, label=f"d = {dim}")
        # Laws of other shapes with a mean, by quadrature over the cosine with it.
        sigma = np.exp(theory.sphere.log_density(dim, t))
        sigma /= sigma.sum()
        for _ in range(25):
            tilt = rng.normal(0, dim / 2, 5) @ np.array([t**k for k in range(1, 6)])
            density = sigma * np.exp(tilt - tilt.max())
            density /= density.sum()
            mean = abs(density @ t)
            value = density @ np.log(np.maximum(density, 1e-300) / np.maximum(sigma, 1e-300))
            if 0.05 < mean < 0.98 and value / (dim / 2 * mean**2) < 6:
                axes.plot(mean, value / (dim / 2 * mean**2), ".", color=colour, markersize=3)
    axes.axhline(1, color=canvas.INK, linewidth=0.8, dashes=(4, 2), label="‖m‖ → 0")
    axes.plot([], [], color=canvas.INK, label="vMF")
    axes.plot([], [], ".", color=canvas.INK, markersize=3, label="other laws")
    axes.set(xlabel="mean resultant length ‖m‖", ylabel="KL / (½ d ‖m‖²)", xlim=(0, 1), ylim=(0, 6))
    canvas.legend_above(axes, columns=3)
    return Drawn("kl", figure, "")


def _rounded(value: float) -> int:
    digits = 10 ** max(int(np.floor(np.log10(value))) - 1, 0)
    return int(round(value / digits) * digits)
