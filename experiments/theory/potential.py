"""The uniform potential Φ(σ), and what a batch reads of it."""

from pathlib import Path

import numpy as np

from experiments.pages import (
    Drawn,
)
from experiments.theory.runs import COLOURS
from infonce_jax import evaluation, theory
from infonce_jax.report import canvas


def draw_phi(_: Path) -> Drawn:
    """Φ(σ) against α, and the potential of 2,000 uniform directions."""
    figure, (axes,) = canvas.panels(1.8, legend_lines=2)
    alpha = np.geomspace(0.3, 100, 60)
    rng = np.random.default_rng(0)
    for dim, colour in zip((2, 8, 32, 128, 1024), COLOURS, strict=False):
        axes.plot(alpha, theory.phi_sigma(dim, alpha), color=colour, label=f"d = {dim:,}")
        u = rng.standard_normal((2000, dim))
        at = np.array([0.5, 2.0, 8.0, 32.0])
        values = [evaluation.uniformity_potential(u, a) for a in at]
        axes.plot(at, values, "o", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="inverse temperature α", ylabel="Φ(σ) (nats)")
    canvas.log_ticks(axes.xaxis, [1, 10, 100])
    axes.set_ylim(4e-5, 150)
    canvas.legend_above(axes, columns=3)
    return Drawn("phi", figure, "")


def draw_batch(_: Path) -> Drawn:
    """What a batch of N reads at uniformity, and the same from draws."""
    figure, (axes,) = canvas.panels(1.7, legend_lines=2)
    dim, alpha, rng = 32, 10.0, np.random.default_rng(0)
    sizes = np.unique(np.geomspace(2, 4096, 40).astype(int))
    for positive, colour in zip((None, 0.2, 0.5, 0.8), COLOURS, strict=False):
        line = [theory.expected_batch_uniformity(dim, alpha, int(n), positive) for n in sizes]
        label = "independent" if positive is None else f"positive at {positive:g}"
        axes.plot(sizes, line, color=colour, label=label)
        for n in (2, 8, 32, 128, 512, 2048):
            draws = max(100, 200_000 // n)
            cosine = 2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, (draws, n)) - 1
            if positive is not None:
                cosine[:, 0] = positive
            value = np.log(np.exp(alpha * cosine).mean(axis=1))
            axes.plot(n, value.mean(), "o", color=colour, markersize=3)
    limit = float(theory.phi_sigma(dim, alpha))
    axes.axhline(limit, color=canvas.INK, linewidth=0.8, dashes=(4, 2), label="Φ(σ)")
    axes.set(xscale="log", xlabel="batch N", ylabel="expected potential (nats)")
    canvas.log_ticks(axes.xaxis, [2, 10, 100, 1000])
    canvas.legend_above(axes, columns=3)
    return Drawn("batch", figure, "")
