"""Experiments beyond the paper's, from our own runs: other objectives, scaling, and
what Gaussianity is good for.

    python -m infonce_jax.report.beyond --runs runs/beyond --output docs/beyond

Reads the run folders that configs/beyond/*.py wrote. What has no run folder is left out and named.
Intervals are 95 % ones over seeds, from Student's t.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from infonce_jax import data
from infonce_jax.config import from_plain
from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT, anderson_darling, norm_cv, whitening
from infonce_jax.evaluation.controls import random_projection
from infonce_jax.evaluation.probe import linear_probe, nearest_neighbours
from infonce_jax.report import figures
from infonce_jax.report.pages import (
    Drawn,
    Interval,
    draw_page,
    finished_folders,
    interval,
    labelled,
    markdown,
)
from infonce_jax.report.power_law import exponents
from infonce_jax.report.runs import Key, Run, load_run
from infonce_jax.report.table import GAUSSIAN_AD
from infonce_jax.runs import encode

OBJECTIVE_NAMES = {
    "infonce": "InfoNCE",
    "nt_xent": "NT-Xent",
    "dcl": "DCL",
    "siglip": "SigLIP",
    "sup_con": "SupCon",
    "barlow_twins": "Barlow Twins",
    "vicreg": "VICReg",
    "supervised": "cross-entropy",
}


def draw_objectives(runs: Path) -> Drawn:
    """CV, AD and DP of the mixture's representations under every objective."""
    folders = {folder.name: folder for folder in finished_folders(runs / "objectives")}
    found = []
    for name, label in OBJECTIVE_NAMES.items():
        if name not in folders:
            continue
        run = load_run(folders[name])
        if not found:
            setting = run.settings[0].key
            found.append(("untrained", *(_at(run, setting, 0, n) for n in (1000, 10_000))))
        for setting in run.settings:
            last = (_at(run, setting.key, max(run.epochs), n) for n in (1000, 10_000))
            found.append((labelled(label, setting), *last))
    rows = [
        ["objective", "CV", "of a Gaussian", "AD, n = 1,000", "AD, n = 10,000", "DP pass, 1,000",
         "alignment", "negative cosines' sd", "rank"]
    ]  # fmt: skip
    for label, small, large in found:
        dp = small["dp_pass"]
        rows.append(
            [
                label, f"{small['norm_cv']:.3f}", f"{small['norm_cv_gaussian'].mean:.3f}",
                f"{small['ad_mean']:.2f}",
                f"{large['ad_mean']:.2f}", f"{dp.mean:.0%} ± {dp.half_width:.0%}",
                f"{large['alignment']:.3f}", f"{large['negative_cosine_std']:.3f}",
                f"{large['participation_ratio'].mean:.0f}",
            ]
        )  # fmt: skip
    figure, (axes,) = figures._figure(0.16 * len(found) + 0.1, legend_lines=1)
    for row, (label, _, large) in enumerate(found):
        colour = figures.UNTRAINED if label == "untrained" else figures.TRAINED
        value = large["ad_mean"]
        error = [[value.half_width], [value.half_width]]
        axes.errorbar(value.mean, row, xerr=error, fmt="o", markersize=3.5, color=colour)
    axes.axvline(GAUSSIAN_AD, **figures.DASHED, label="Gaussian")
    axes.axvline(AD_CRITICAL_5_PERCENT, color=figures.REFERENCE, linewidth=0.8, label="0.752")
    axes.set_xscale("log")
    figures._log_ticks(axes.xaxis, (0.4, 1, 3, 10, 30, 100, 300))
    axes.set(xlabel="AD average, n = 10,000")
    axes.set_yticks(range(len(found)), labels=[label for label, *_ in found])
    axes.invert_yaxis()
    # Names of objectives need more room than ticks do.
    figure.subplots_adjust(left=0.42)
    figures._legend_above(axes, columns=2)
    return Drawn("objectives", figure, markdown(rows))


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
            _values(run, run.settings[0].key, step, 10_000) for step in (0, max(run.epochs))
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
        ("AD average − 0.384, n = 10,000", lambda v: v["ad_mean"] - GAUSSIAN_AD, "AD − 0.384"),
    )
    figure, grid = figures._figure(
        1.0, rows=3, columns=2, legend_lines=1, gap_inch=0.42, share_x=False
    )
    rows = [
        ["quantity", "against", "slope, trained", "in the lower half", "in the upper half",
         "slope, untrained", "reference"]
    ]  # fmt: skip
    references = {"norm CV": -0.5, "negative cosines' sd": -0.5}
    for row, (name, of, short) in enumerate(quantities):
        for column, (own, axis, label) in enumerate(
            ((by_dim, "dim", f"d, batch {batch}"), (by_batch, "batch", f"batch, d = {dim}"))
        ):
            axes = grid[2 * row + column]
            at = np.array([getattr(p, axis) for p in own], float)
            slopes = []
            for when, colour in (("before", figures.UNTRAINED), ("after", figures.TRAINED)):
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
                    at, scale * at**-0.5, **figures.DASHED,
                    label="Gaussian",
                )  # fmt: skip
            axes.set(xscale="log", yscale="log")
            if not column:
                axes.set_ylabel(short)
            low, high = axes.get_ylim()
            ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
            if high < 5 * low:
                ticks = (0.07, 0.08, 0.1, 0.15, 0.2, 0.25)
            figures._log_ticks(axes.yaxis, [t for t in ticks if low <= t <= high])
            figures._log_ticks(axes.xaxis, at[::2])
            if row == len(quantities) - 1:
                axes.set_xlabel(label)
            else:
                axes.tick_params(labelbottom=False)
            reference = f"{references[name]:+.1f}" if axis == "dim" and name in references else "–"
            before, after = slopes
            rows.append([name, axis.replace("dim", "d"), after, *halves, before, reference])
    figures._legend_above(grid[0], columns=3)
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


def draw_downstream(runs: Path, outliers: int = 2000) -> Drawn:
    """Linear probe, nearest neighbours and Mahalanobis AUROC, with and without the regulariser."""
    folders = {folder.name: folder for folder in finished_folders(runs / "downstream")}
    any_run = load_run(next(iter(folders.values())))
    config = from_plain(any_run.config)
    images, held_out = data.load(config), config.data.held_out_class
    foreign = {
        "held-out class": images.test[images.test_labels == held_out],
        "uniform noise": np.random.default_rng(0).integers(0, 256, (outliers, 32, 32, 3), np.uint8),
        "textures": textures(outliers),
    }
    seen = images.test_labels != held_out
    sets = {"train": images.train, "test": images.test[seen], **foreign}
    labels = images.train_labels, images.test_labels[seen]
    ends = np.cumsum([len(x) for x in sets.values()])[:-1]

    heads = ["linear probe", "20 nearest neighbours", *(f"AUROC, {name}" for name in foreign)]
    rows = [["encoder", *heads, "CV", "AD, n = 10,000"]]

    def scores(z):
        model = whitening.fit(z["train"])
        inside = whitening.mahalanobis(model, z["test"])
        everything = np.concatenate([z["test"], z["held-out class"]])
        return [
            *(
                100 * f(z["train"], labels[0], z["test"], labels[1])
                for f in (linear_probe, nearest_neighbours)
            ),
            *(whitening.auroc(inside, whitening.mahalanobis(model, z[name])) for name in foreign),
            norm_cv(everything),
            anderson_darling(everything).statistic.mean(),
        ]

    def add(label, of_seeds):
        found = np.transpose([scores(z) for z in of_seeds])
        formats = [".1f", ".1f", *[".3f"] * len(foreign), ".3f", ".3g"]
        shown = [
            f"{interval(v):{f}}" if len(v) > 1 else f"{v[0]:{f}}"
            for v, f in zip(found, formats, strict=True)
        ]
        rows.append([label, *(f"{cell} %" for cell in shown[:2]), *shown[2:]])

    pixels = {name: x.reshape(len(x), -1) / np.float32(255) for name, x in sets.items()}
    # One map for all sets: the same seed gives the same entries.
    seeds = range(len(any_run.settings[0].members))
    add(
        "random projection of the pixels",
        [{n: random_projection(x, 128, seed=i) for n, x in pixels.items()} for i in seeds],
    )
    for name in ("contrastive", "supervised"):
        if name not in folders:
            continue
        run = load_run(folders[name])
        for step in (0, max(run.epochs)) if name == "contrastive" else (max(run.epochs),):
            # In one call: each restores the run and compiles its encoder.
            found = encode(folders[name], np.concatenate(list(sets.values())), step=step)
            for setting in run.settings:
                label = f"InfoNCE, {setting.label.replace('beta', 'β / β₀ =')}"
                if name == "supervised":
                    label = "supervised"
                if step == 0:
                    label = "untrained"
                of_seeds = (np.split(found[member], ends) for member in setting.members)
                add(label, [dict(zip(sets, parts, strict=True)) for parts in of_seeds])
                if step == 0:
                    break
    return Drawn("downstream", None, markdown(rows))


def textures(count: int, seed: int = 0) -> UInt8[np.ndarray, "count 32 32 3"]:
    """Images without objects: sums of eight gratings of random direction, wavelength and colour.

    Args:
        count: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32].reshape(2, 1, 1, 32, 32)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, count, 8, 1, 1))
    frequency = 2 * np.pi / np.exp(rng.uniform(np.log(3), np.log(32), (count, 8, 1, 1)))
    waves = np.cos(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    mixed = np.einsum("nkyx,nkc->nyxc", waves, rng.standard_normal((count, 8, 3)))
    mixed += rng.standard_normal((count, 1, 1, 3))
    return np.round(255 / (1 + np.exp(-mixed))).astype(np.uint8)


EXHIBITS = {
    "objectives": draw_objectives,
    "scaling": draw_scaling,
    "downstream": draw_downstream,
}


def _slope(at: Float[np.ndarray, " k"], values: Float[np.ndarray, "k seeds"]) -> str:
    """The exponent of a power law with its 95 % interval over seeds; – where none can be fitted."""
    found = exponents(at, values)
    return f"{interval(found):+.2f}".replace("± +", "± ") if np.isfinite(found).all() else "–"


def _values(run: Run, setting: str, step: int, n: int) -> dict[str, Float[np.ndarray, " seeds"]]:
    found = run.members[Key(setting, step, "test", "raw", n)]
    return {name: np.array(list(by_member.values())) for name, by_member in found.items()}


def _at(run: Run, setting: str, step: int, n: int) -> dict[str, Interval]:
    return {name: interval(v) for name, v in _values(run, setting, step, n).items() if len(v) > 1}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "beyond", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
