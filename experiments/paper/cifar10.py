"""Figures 4, 9 and 10, and the rest of Table 1: encoders of CIFAR-10."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.pages import (
    Drawn,
    markdown,
)
from experiments.paper.runs import Dynamics, cifar10_curves
from infonce_jax import embeddings
from infonce_jax.evaluation import whitening
from infonce_jax.report import canvas
from infonce_jax.report.table import GAUSSIAN_AD, GAUSSIAN_PASS
from infonce_jax.report.text import percent

_CIFAR10_SIZES = (500, 2000, 10_000)


def draw_dynamics(runs: Path) -> Drawn:
    """Figure 4: CV, AD and DP over the epochs of a two-layer MLP on CIFAR-10, at three sample sizes."""
    curves = cifar10_curves(runs / "cifar10_mlp")
    figure, grid = canvas.panels(1.0, rows=5, legend_lines=2, gap_inch=0.3)
    panels = [("norm_cv", 2000, "CV", "")]
    panels += [("ad_mean", n, "AD", f"n = {n:,}") for n in _CIFAR10_SIZES]
    panels += [("dp_pass", 500, "DP pass", "n = 500")]
    for axes, (statistic, n, label, title) in zip(grid, panels, strict=True):
        axes.set_title(title, loc="left", fontsize="medium", pad=3)
        for curve in curves:
            epochs = list(curve.run.epochs.values())
            values = [curve.at(step, statistic, n) for step in curve.run.epochs]
            axes.plot(epochs, values, color=curve.colour, linewidth=1.2, label=curve.label)
        axes.set(ylabel=label, xlim=(-3, 103))
    paper = {"marker": "D", "markersize": 4, "linestyle": "none", "color": canvas.INK}
    grid[0].plot([0, 100], [0.20, 0.15], label="paper, epochs 0 and 100", clip_on=False, **paper)
    grid[1].plot([0, 100], [0.85, 0.57], clip_on=False, **paper)
    for axes in grid[1:4]:
        axes.set_yscale("log")
        canvas.reference(axes, GAUSSIAN_AD, f"Gaussian {GAUSSIAN_AD}")
        low, high = axes.get_ylim()
        ticks = [t for t in (0.4, 1, 2, 4, 10, 20, 50, 100) if low <= t <= high]
        canvas.log_ticks(axes.yaxis, ticks)
    canvas.reference(grid[4], GAUSSIAN_PASS, f"Gaussian {percent(GAUSSIAN_PASS)}")
    grid[4].set(ylim=(0, 1.03), xlabel="epoch")
    canvas.legend_above(grid[0], columns=2)

    return Drawn("dynamics", figure, markdown(_epochs(curves)))


def draw_resnet(runs: Path) -> Drawn:
    """Table 1, CIFAR-10: a ResNet at the epochs that were evaluated, by InfoNCE and on the labels."""
    return Drawn("resnet", None, markdown(_epochs(cifar10_curves(runs / "cifar10_resnet"))))


def _epochs(curves: Sequence[Dynamics]) -> list[list[object]]:
    """CV, AD and DP of every curve at some epochs, the first row being the head."""
    rows = [
        ["", "epoch", "CV", "of a Gaussian"]
        + [f"AD, n = {n:,}" for n in _CIFAR10_SIZES]
        + [f"DP pass, {n:,}" for n in _CIFAR10_SIZES]
    ]
    for curve in curves:
        last = max(curve.run.epochs.values())
        for step, epoch in curve.run.epochs.items():
            if epoch in (0, 1, 2, 5, 20, 50, last):
                ad = [f"{curve.at(step, 'ad_mean', n):.3g}" for n in _CIFAR10_SIZES]
                dp = [f"{curve.at(step, 'dp_pass', n):.0%}" for n in _CIFAR10_SIZES]
                cv = [f"{curve.at(step, c, 2000):.3f}" for c in ("norm_cv", "norm_cv_gaussian")]
                rows.append([curve.label, f"{epoch:g}", *cv, *ad, *dp])
    return rows


def draw_whitening(runs: Path) -> Drawn:
    """Figures 9 and 10: cosines of different images before and after whitening, on our CIFAR-10 runs."""
    curves = cifar10_curves(runs / "cifar10_mlp")
    sets = [("untrained", curves[0], 0), *((c.label, c, max(c.run.epochs)) for c in curves)]
    figure, (axes,) = canvas.panels(2.0, legend_lines=2)
    rows = [["", "before", "after", "after, of normalised embeddings", "1/√d"]]
    kinds = (
        ("before", canvas.REFERENCE),
        ("whitened", canvas.TRAINED),
        ("normalised, then whitened", canvas.OTHER),
    )
    for position, (label, curve, step) in enumerate(sets):
        member = next(s for s in curve.run.settings if s.key == curve.setting).members[0]
        z = np.asarray(
            embeddings.read(curve.run.embeddings[step]).array(member, "test", "clean"), np.float64
        )
        fitted, judged = np.split(z, 2)
        unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (fitted, judged)]
        versions = (
            judged,
            whitening.apply(whitening.fit(fitted), judged),
            whitening.apply(whitening.fit(unit[0]), unit[1]),
        )
        cells = []
        for offset, version, (_, colour) in zip((-0.38, 0, 0.38), versions, kinds, strict=True):
            u = version / np.linalg.norm(version, axis=1, keepdims=True)
            sample = np.einsum("nd,nd->n", u, np.roll(u, 1, axis=0))
            canvas.violin(axes, 1.4 * position + offset, *canvas.smooth_density(sample), colour)
            cells.append(f"{sample.mean():+.3f} ± {sample.std():.3f}")
        rows.append([label, *cells, f"{z.shape[1] ** -0.5:.3f}"])
    dim = z.shape[1]
    for sign in (-1, 1):
        axes.axhline(sign * dim**-0.5, **canvas.DASHED)
    axes.set(ylim=(-1.03, 1.03), ylabel="cosine of different images")
    labels = [label.replace(", ", "\n") for label, *_ in sets]
    axes.set_xticks([1.4 * i for i in range(len(sets))], labels=labels)
    for label, colour in kinds:
        axes.plot([], [], color=colour, linewidth=5, alpha=0.6, label=label)
    axes.plot([], [], **canvas.DASHED, label="±1/√d")
    canvas.legend_above(axes, columns=2)
    return Drawn("whitening", figure, markdown(rows))
