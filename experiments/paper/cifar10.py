"""Figures 4, 9 and 10: encoders of CIFAR-10."""

import functools
import json
from pathlib import Path

import numpy as np

from experiments.pages import Absent, Drawn, markdown
from experiments.paper.protocol import Measured, measure, measure_epochs
from experiments.paper.table1 import COLUMNS, cells, number, paper_cells, share
from infonce_jax import data, embeddings, evaluation
from infonce_jax.config import from_plain
from infonce_jax.evaluation import whitening
from infonce_jax.report import canvas
from infonce_jax.report.paper import TABLE_1, Entry
from infonce_jax.report.table import GAUSSIAN_AD

# Figure 4 at epochs 0 and 100: CV and AD.
PAPER_CV, PAPER_AD = (0.20, 0.15), (0.85, 0.57)
_NAMES = {"contrastive": "InfoNCE", "supervised": "on the labels"}
_COLOURS = {"contrastive": canvas.TRAINED, "supervised": canvas.OTHER}


@functools.lru_cache
def curves(folder: Path) -> dict[str, dict[float, list[Measured]]]:
    """What there is of Figure 4: run to epoch to the measured seeds."""
    found = {name: measure_epochs(folder / name) for name in _NAMES if (folder / name).is_dir()}
    if "contrastive" not in found:
        raise Absent(f"{folder} holds no run; the command is at the top of its file in configs/.")
    return found


def draw_dynamics(runs: Path) -> Drawn:
    """Figure 4: CV, AD and DP over the epochs of a two-layer MLP on CIFAR-10."""
    panels = (
        ("CV", lambda m: m.cv),
        ("AD, groups", lambda m: m.ad),
        ("DP pass, groups (%)", lambda m: 100 * m.dp_pass),
    )
    found = curves(runs / "cifar10_mlp")
    figure, grid = canvas.panels(1.2, rows=len(panels), legend_lines=2, gap_inch=0.3)
    for axes, (label, of) in zip(grid, panels, strict=True):
        for name, epochs in found.items():
            at = sorted(epochs)
            values = np.array([[of(m) for m in epochs[e]] for e in at])
            style = {"color": _COLOURS[name], "linewidth": 1.2}
            axes.plot(at, values.mean(axis=1), label=_NAMES[name], **style)
            axes.fill_between(at, values.min(axis=1), values.max(axis=1), color=_COLOURS[name],
                              alpha=0.2, linewidth=0)  # fmt: skip
        axes.set(ylabel=label, xlim=(-0.15, 130))
        # Most happens in the first epochs.
        axes.set_xscale("symlog", linthresh=1)
        canvas.log_ticks(axes.xaxis, (0, 1, 2, 5, 10, 20, 50, 100))
    paper = {"marker": "D", "markersize": 4, "linestyle": "none", "color": canvas.INK}
    grid[0].plot([0, 100], PAPER_CV, label="paper, epochs 0 and 100", clip_on=False, **paper)
    grid[1].plot([0, 100], PAPER_AD, clip_on=False, **paper)
    canvas.reference(grid[1], GAUSSIAN_AD, f"Gaussian {GAUSSIAN_AD}")
    grid[2].set(ylim=(0, 103), xlabel="epoch")
    canvas.legend_above(grid[0], columns=2)
    rows = [
        ["", "epoch", "CV", "AD, groups", "AD pass", "DP pass", "AD, n = 1,000", "AD, n = 10,000"]
    ]
    for name, epochs in found.items():
        shown = {0, 1, 2, 5, 10, 20, 50, max(epochs)}
        for epoch in sorted(shown & set(epochs)):
            m = epochs[epoch]
            rows.append(
                [_NAMES[name], f"{epoch:g}", number([x.cv for x in m]), number([x.ad for x in m])]
                + [share(np.mean([x.ad_pass for x in m])), share(np.mean([x.dp_pass for x in m]))]
                + [number([x.ad_at[n] for x in m]) for n in (1000, 10_000)]
            )
    return Drawn("dynamics", figure, markdown(rows))


def tabulate_start(runs: Path, widths: tuple[int, ...] = (128, 512, 2048)) -> Drawn:
    """CV and AD of untrained MLPs, by how the pixels are scaled and how wide the hidden layer is."""
    folder = runs / "cifar10_mlp" / "contrastive"
    if not (folder / "config.json").is_file():
        raise Absent(f"{folder} holds no run; the command is at the top of its file in configs/.")
    dataset = data.load(from_plain(json.loads((folder / "config.json").read_text())))
    pixels = np.asarray(dataset.test[:5000], np.float32).reshape(5000, -1, 3) / 255
    mean, std = pixels.mean(axis=(0, 1)), pixels.std(axis=(0, 1))
    scalings = {"0 to 1": pixels, "-1 to 1": 2 * pixels - 1, "standardised": (pixels - mean) / std}
    rng = np.random.default_rng(0)

    def dense(x, outputs):
        bound = x.shape[1] ** -0.5
        weights = rng.uniform(-bound, bound, (x.shape[1], outputs)).astype(np.float32)
        return x @ weights + rng.uniform(-bound, bound, outputs).astype(np.float32)

    rows = [["pixels", "hidden units", "CV", "AD, groups", "AD, n = 1,000"]]
    rows.append(
        ["**the paper**, epoch 0", "not stated", f"{PAPER_CV[0]:g}", f"{PAPER_AD[0]:g}", "–"]
    )
    for name, x in scalings.items():
        for width in widths:
            found = measure(dense(np.maximum(dense(x.reshape(5000, -1), width), 0), 128), (1000,))
            shown = (found.cv, found.ad, found.ad_at[1000])
            rows.append([name, f"{width:,}", *(number([value]) for value in shown)])
    return Drawn("start", None, markdown(rows))


def tabulate_resnet(runs: Path) -> Drawn:
    """Table 1, CIFAR-10: a reduced ResNet at every temperature and on the labels, over its epochs."""
    folder = runs / "cifar10_resnet"
    found = {}
    # Also those that still train.
    for file in folder.glob("*/config.json"):
        config = json.loads(file.read_text())
        is_supervised = config["objective"] == "supervised"
        key = is_supervised, config["loss"]["temperature"]
        name = "on the labels" if is_supervised else f"InfoNCE, τ = {key[1]:g}"
        found[key] = name, measure_epochs(file.parent)
    if not found:
        raise Absent(f"{folder} holds no run; the command is at the top of its file in configs/.")
    rows = [["", "epoch", *COLUMNS[1:]]]
    for objective, name in (("infonce", "InfoNCE, τ = 0.1"), ("supervised", "on the labels")):
        reported = TABLE_1[Entry("cifar10", objective, None)]
        rows.append([f"**the paper**, ResNet-18, {name}", "100", *paper_cells(reported)])
    _, of_first = found[min(found)]
    rows.append(["untrained", "0", *cells(of_first[0])])
    for _, (name, epochs) in sorted(found.items()):
        rows += [[name, f"{e:g}", *cells(epochs[e])] for e in sorted(epochs) if e > 0]
    return Drawn("resnet", None, markdown(rows))


def draw_whitening(runs: Path) -> Drawn:
    """Figures 9 and 10: cosines of different images before and after whitening, on our CIFAR-10 runs."""
    folder = runs / "cifar10_mlp"
    found = {name: embeddings.find_steps(folder / name) for name in _NAMES}
    if not found["contrastive"]:
        raise Absent(f"{folder} holds no run; the command is at the top of its file in configs/.")
    sets = [("untrained", found["contrastive"][0])]
    sets += [(_NAMES[name], steps[-1]) for name, steps in found.items() if steps]
    figure, (axes,) = canvas.panels(2.0, legend_lines=2)
    rows = [["", "before", "after", "after, of normalised embeddings", "1/√d"]]
    kinds = (
        ("before", canvas.REFERENCE),
        ("whitened", canvas.TRAINED),
        ("normalised, then whitened", canvas.OTHER),
    )
    for position, (label, path) in enumerate(sets):
        held = embeddings.read(path)
        z = np.asarray(held.array(held.members[0]["name"], "test", "clean"), np.float64)
        fitted, judged = np.split(z, 2)
        unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (fitted, judged)]
        versions = (
            judged,
            whitening.apply(whitening.fit(fitted), judged),
            whitening.apply(whitening.fit(unit[0]), unit[1]),
        )
        cells = []
        for offset, version, (_, colour) in zip((-0.38, 0, 0.38), versions, kinds, strict=True):
            sample = evaluation.cosines(version, np.roll(version, 1, axis=0))
            canvas.violin(axes, 1.4 * position + offset, *canvas.smooth_density(sample), colour)
            cells.append(f"{sample.mean():+.3f} ± {sample.std():.3f}")
        rows.append([label, *cells, f"{z.shape[1] ** -0.5:.3f}"])
    for sign in (-1, 1):
        axes.axhline(sign * z.shape[1] ** -0.5, **canvas.DASHED)
    axes.set(ylim=(-1.03, 1.03), ylabel="cosine of different images")
    axes.set_xticks([1.4 * i for i in range(len(sets))], labels=[label for label, _ in sets])
    for label, colour in kinds:
        axes.plot([], [], color=colour, linewidth=5, alpha=0.6, label=label)
    axes.plot([], [], **canvas.DASHED, label="±1/√d")
    canvas.legend_above(axes, columns=2)
    return Drawn("whitening", figure, markdown(rows))
