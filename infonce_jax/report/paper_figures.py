"""The paper's figures from our own runs.

    python -m infonce_jax.report.paper_figures --runs runs/paper --output docs/paper

Reads the run folders that configs/paper/*.py wrote, and for one control of Table 1 that of
configs/beyond/objectives.py beside them. What has no run folder is left out and named.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from infonce_jax import data, embeddings
from infonce_jax.config import from_plain
from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT, evaluate_arrays, whitening
from infonce_jax.evaluation.controls import gaussian_like, random_projection
from infonce_jax.report import figures, paper
from infonce_jax.report.pages import (
    Absent,
    Drawn,
    draw_page,
    finished_folders,
    interval,
    labelled,
    markdown,
)
from infonce_jax.report.runs import Key, Run, Setting, load_run
from infonce_jax.report.table import GAUSSIAN_AD, GAUSSIAN_PASS

_CONTROL_SIZES = (500, 1000, 10_000)
_CIFAR10_SIZES = (500, 2000, 10_000)


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
        sets = _beside_untrained(_of_dim(points, dim))
        for position, (label, run, step) in enumerate(sets):
            positive, negative = _cosines(run, step)
            for offset, sample, colour in (
                (-0.2, positive, figures.POSITIVE),
                (0.2, negative, figures.NEGATIVE),
            ):
                figures._violin(axes, position + offset, *figures._smooth_density(sample), colour)
            spread = [f"{s.mean():+.3f} ± {s.std():.3f}" for s in (positive, negative)]
            rows.append([dim, label, *spread, f"{dim**-0.5:.3f}"])
        for sign in (-1, 1):
            axes.axhline(sign * dim**-0.5, **figures.DASHED)
        axes.set_title(f"d = {dim}", loc="left", fontsize="medium", pad=3)
        axes.set(ylim=(-0.8, 1.03), xlim=(-0.55, len(sets) - 0.45), ylabel="cosine")
        axes.set_xticks(range(len(sets)), labels=[str(label) for label, *_ in sets])
        axes.tick_params(labelbottom=True)
    grid[-1].set_xlabel("batch")
    for label, colour in (("positive", figures.POSITIVE), ("negative", figures.NEGATIVE)):
        grid[0].plot([], [], color=colour, linewidth=5, alpha=0.6, label=f"{label} pairs")
    grid[0].plot([], [], label="±1/√d", **figures.DASHED)
    figures._legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("cosines", figure, markdown(rows))


def draw_norms(runs: Path) -> Drawn:
    """Figure 3, left: norms over their mean at the least and the largest dimension and batch."""
    points = _points(runs / "laplace")
    dims = sorted({p.dim for p in points})
    figure, grid = figures._figure(1.4, rows=2, legend_lines=3, gap_inch=0.5, share_x=False)
    for axes, dim in zip(grid, (dims[0], dims[-1]), strict=True):
        own = _of_dim(points, dim)
        least, largest = own[0], own[-1]
        sets = (
            ("untrained", figures.UNTRAINED, least.run, 0),
            (f"batch {least.batch}", figures.BETWEEN, least.run, max(least.run.epochs)),
            (f"batch {largest.batch}", figures.TRAINED, largest.run, max(largest.run.epochs)),
        )
        norms = [
            np.concatenate([np.linalg.norm(z, axis=1) for z in _clean(run, step)])
            for *_, run, step in sets
        ]
        ratios = [norm / norm.mean() for norm in norms]
        edges = np.linspace(*np.quantile(np.concatenate(ratios), [0.0005, 0.9995]), 61)
        for (label, colour, *_), ratio in zip(sets, ratios, strict=True):
            density = np.histogram(ratio, edges, density=True)[0]
            axes.stairs(density, edges, color=colour)
            axes.plot([], [], color=colour, label=label)
        x = np.linspace(edges[0], edges[-1], 300)
        mean = stats.chi.mean(dim)
        axes.plot(
            x, mean * stats.chi.pdf(mean * x, dim), **figures.DASHED, label="isotropic Gaussian"
        )
        axes.set_title(f"d = {dim}", loc="left", fontsize="medium", pad=3)
        axes.set(ylabel="density", xlabel="‖z‖ / mean" if dim == dims[-1] else "")
    figures._legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("norms", figure, "")


def draw_normality(runs: Path) -> Drawn:
    """Figure 3, right: the norms' CV and the tests of normality against batch size and dimension."""
    points = _points(runs / "laplace")
    dims, batches = (sorted({getattr(p, name) for p in points}) for name in ("dim", "batch"))
    figure, grid = figures._figure(1.2, rows=3, legend_lines=2, gap_inch=0.25)
    panels = ("norm_cv", "ad_mean", "dp_pass")
    rows = [
        ["d", "batch", "CV", "of a Gaussian", "AD average", "AD pass", "DP average p", "DP pass"]
    ]
    for dim, colour in zip(dims, figures._setting_colours(len(dims)), strict=True):
        sets = _beside_untrained(_of_dim(points, dim))
        found = []
        for label, run, step in sets:
            n = run.config["report"]["sample_size"]
            values = run.members[_test_key(run, step, n=n)]
            values = {name: list(of.values()) for name, of in values.items()}
            found.append({name: np.mean(of) for name, of in values.items()})
            cells = [
                _spread(values[name], 3) for name in ("norm_cv", "norm_cv_gaussian", "ad_mean")
            ]
            cells.append(f"{found[-1]['ad_pass']:.0%}")
            cells.append(_spread(values["dp_mean_p"], 3))
            rows.append([dim, label, *cells, f"{found[-1]['dp_pass']:.0%}"])
        for axes, name in zip(grid, panels, strict=True):
            line = [of[name] for of in found]
            axes.plot(range(len(line)), line, "o-", color=colour, markersize=3, label=f"d = {dim}")
        grid[0].axhline((2 * dim) ** -0.5, color=colour, linewidth=0.6, dashes=(4, 2))
    grid[0].plot([], [], label="1/√(2d)", **figures.DASHED)
    grid[1].axhline(AD_CRITICAL_5_PERCENT, **figures.DASHED)
    grid[2].axhline(GAUSSIAN_PASS, **figures.DASHED)
    grid[0].set(ylabel="CV")
    grid[1].set(ylabel="AD average")
    grid[2].set(ylabel="DP pass", xlabel="batch", ylim=(0, 1.03))
    grid[2].set_xticks(range(len(batches) + 1), labels=["untrained", *map(str, batches)])
    figures._legend_above(grid[0], columns=3)
    return Drawn("normality", figure, markdown(rows))


# Table 1: what it is of, the run, and the run of the same encoder on the labels, where there are any.
_TABLE_1 = (
    ("Laplace", "table1_synthetic/laplace", None),
    ("Gaussian mixture", "table1_synthetic/mixture", "../beyond/objectives/supervised"),
    ("sparse binary", "table1_synthetic/binary", None),
    ("CIFAR-10, MLP", "cifar10_mlp/contrastive", "cifar10_mlp/supervised"),
    ("CIFAR-10, ResNet", "cifar10_resnet/contrastive", "cifar10_resnet/supervised"),
)


def draw_controls(runs: Path) -> Drawn:
    """Table 1 and its controls, at three sample sizes: what of it training does, and InfoNCE."""
    rows = [["", "CV", *(f"AD, n = {n:,}" for n in _CONTROL_SIZES), "DP pass, n = 1,000"]]

    def add(label: str, found: list[dict[tuple[int, str], float]]) -> None:
        """One row; `found` holds the statistics of every seed by sample size and name."""
        cells = [_spread([f[1000, "norm_cv"] for f in found], 3)]
        for n in _CONTROL_SIZES:
            ad = [f[n, "ad_mean"] for f in found]
            # Three digits of 0.388 as of 147.
            cells.append(_spread(ad, max(0, 2 - math.floor(math.log10(np.mean(ad))))))
        cells += [_spread([100 * f[1000, "dp_pass"] for f in found], 0) + " %"]
        rows.append([label, *cells])

    folders = [runs / path for _, path, _ in _TABLE_1]
    if not any((folder / "evaluation.json").is_file() for folder in folders):
        raise Absent(
            f"{folders[0].parent} holds no run; the command is at the top of "
            "configs/paper/table1_synthetic.py."
        )
    for (title, _, supervised), folder in zip(_TABLE_1, folders, strict=True):
        if not (folder / "evaluation.json").is_file():
            print(f"controls: no run in {folder}; its rows are left out.", file=sys.stderr)
            continue
        run = load_run(folder)
        last = max(run.epochs)
        reported = paper.reported(run.paper, run.objective, run.epochs[last], final=True)
        if reported is not None:
            cv, ad, dp_pass = (reported[name] for name in ("norm_cv", "ad_mean", "dp_pass"))
            rows.append([f"**{title}**: the paper", f"{cv:g}", "–", f"{ad:g} (n not stated)", "–",
                         f"{100 * dp_pass:g} %"])  # fmt: skip
        else:
            rows.append([f"**{title}**", *["" for _ in rows[0][1:]]])
        inputs = data.load(from_plain(run.config)).test
        inputs = np.asarray(data.to_float(inputs), np.float64).reshape(len(inputs), -1)
        seeds = range(len(run.settings[0].members))
        projected = [random_projection(inputs, run.dims[_test_key(run, 0)], seed=s) for s in seeds]
        add("random projection of the inputs", list(map(_normality_of, projected)))
        add("untrained", _normality_of_members(run, run.settings[0], 0))
        for setting in run.settings:
            add(labelled("InfoNCE", setting), _normality_of_members(run, setting, last))
            held = embeddings.read(run.embeddings[last])
            gaussian = [
                gaussian_like(held.array(member, "test", "clean"), seed=s)
                for s, member in enumerate(setting.members)
            ]
            label = labelled("a Gaussian with its mean and covariance", setting)
            add(label, list(map(_normality_of, gaussian)))
        if supervised is not None and (runs / supervised / "evaluation.json").is_file():
            on_labels = load_run(runs / supervised)
            found = _normality_of_members(on_labels, on_labels.settings[0], max(on_labels.epochs))
            add("supervised", found)
    return Drawn("controls", None, markdown(rows))


def _normality_of(z: Float[np.ndarray, "n d"]) -> dict[tuple[int, str], float]:
    found = evaluate_arrays(
        z, sample_sizes=_CONTROL_SIZES, representations=("raw",), tests=("ad", "dp")
    )
    return {(row["n"], row["statistic"]): row["value"] for row in found}


def _normality_of_members(
    run: Run, setting: Setting, step: int
) -> list[dict[tuple[int, str], float]]:
    """The same of every seed of a run, which its evaluation has found already."""
    by_size = {n: run.members[_test_key(run, step, setting.key, n)] for n in _CONTROL_SIZES}
    return [
        {(n, name): values[member] for n, of in by_size.items() for name, values in of.items()}
        for member in setting.members
    ]


def _test_key(run: Run, step: int, setting: str | None = None, n: int = 1000) -> Key:
    return Key(setting or run.settings[0].key, step, "test", "raw", n)


def _spread(values: Sequence[float], decimals: int) -> str:
    """The mean with its 95 % interval, or the one value."""
    shown = interval(values) if len(values) > 1 else values[0]
    return f"{shown:.{decimals}f}"


class _Dynamics(NamedTuple):
    """One curve of Figure 4: a run's setting under a name of its own."""

    label: str
    run: Run
    setting: str
    colour: str

    def at(self, step: int, statistic: str, n: int) -> float:
        key = Key(self.setting, step, "test", "raw", n)
        return self.run.values[key][statistic].mean


def draw_dynamics(runs: Path) -> Drawn:
    """Figure 4: CV, AD and DP over the epochs of a two-layer MLP on CIFAR-10, at three sample sizes."""
    curves = _cifar10_curves(runs / "cifar10_mlp")
    figure, grid = figures._figure(1.0, rows=5, legend_lines=2, gap_inch=0.3)
    panels = [("norm_cv", 2000, "CV", "")]
    panels += [("ad_mean", n, "AD", f"n = {n:,}") for n in _CIFAR10_SIZES]
    panels += [("dp_pass", 500, "DP pass", "n = 500")]
    for axes, (statistic, n, label, title) in zip(grid, panels, strict=True):
        axes.set_title(title, loc="left", fontsize="medium", pad=3)
        for curve in curves:
            epochs = list(curve.run.epochs.values())
            values = [curve.at(step, statistic, n) for step in curve.run.epochs]
            axes.plot(epochs, values, color=curve.colour, linewidth=1.2, label=curve.label)
        axes.set(ylabel=label, xlim=(-1, 101))
    paper = {"marker": "D", "markersize": 4, "linestyle": "none", "color": figures.INK}
    grid[0].plot([0, 100], [0.20, 0.15], label="paper, epochs 0 and 100", clip_on=False, **paper)
    grid[1].plot([0, 100], [0.85, 0.57], clip_on=False, **paper)
    for axes in grid[1:4]:
        axes.axhline(GAUSSIAN_AD, **figures.DASHED)
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        ticks = [t for t in (0.4, 1, 2, 4, 10, 20, 50, 100) if low <= t <= high]
        figures._log_ticks(axes.yaxis, ticks)
    grid[4].axhline(GAUSSIAN_PASS, **figures.DASHED)
    grid[4].set(ylim=(0, 1.03), xlabel="epoch")
    figures._legend_above(grid[0], columns=2)

    return Drawn("dynamics", figure, markdown(_epochs(curves)))


def draw_resnet(runs: Path) -> Drawn:
    """Table 1, CIFAR-10: a ResNet at the epochs that were evaluated, by InfoNCE and on the labels."""
    return Drawn("resnet", None, markdown(_epochs(_cifar10_curves(runs / "cifar10_resnet"))))


def _epochs(curves: Sequence[_Dynamics]) -> list[list[object]]:
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
    curves = _cifar10_curves(runs / "cifar10_mlp")
    sets = [("untrained", curves[0], 0), *((c.label, c, max(c.run.epochs)) for c in curves)]
    figure, (axes,) = figures._figure(2.0, legend_lines=2)
    rows = [["", "before", "after", "after, of normalised embeddings", "1/√d"]]
    kinds = (
        ("before", figures.REFERENCE),
        ("whitened", figures.TRAINED),
        ("normalised, then whitened", figures.OTHER),
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
            figures._violin(axes, 1.4 * position + offset, *figures._smooth_density(sample), colour)
            cells.append(f"{sample.mean():+.3f} ± {sample.std():.3f}")
        rows.append([label, *cells, f"{z.shape[1] ** -0.5:.3f}"])
    dim = z.shape[1]
    for sign in (-1, 1):
        axes.axhline(sign * dim**-0.5, **figures.DASHED)
    axes.set(ylim=(-1.03, 1.03), ylabel="cosine of different images")
    labels = [label.replace(", ", "\n") for label, *_ in sets]
    axes.set_xticks([1.4 * i for i in range(len(sets))], labels=labels)
    for label, colour in kinds:
        axes.plot([], [], color=colour, linewidth=5, alpha=0.6, label=label)
    axes.plot([], [], **figures.DASHED, label="±1/√d")
    figures._legend_above(axes, columns=2)
    return Drawn("whitening", figure, markdown(rows))


def draw_pushforward(runs: Path, rows_per_set: int = 10) -> Drawn:
    """Figure 11: log-likelihoods of sets of Laplace rows, and of their representations."""
    run = load_run(_finished(runs / "pushforward"))
    x = np.asarray(data.load(from_plain(run.config)).test, np.float64)
    half = len(x) // 2
    laplace = -np.sqrt(2) * np.abs(x).sum(axis=1) - 0.5 * np.log(2) * x.shape[1]

    def sets(log_likelihood):
        return log_likelihood[half:].reshape(-1, rows_per_set).mean(axis=1)

    def gaussian(z):
        z = np.asarray(z, np.float64)
        # Thousands of rows need no shrinkage.
        model = whitening.fit(z[:half], shrinkage=0.0, folds=0)
        return whitening.log_likelihood(model, z)

    def correlation(z):
        return np.corrcoef(sets(laplace), sets(gaussian(z)))[0, 1]

    found = {}
    for step in (0, max(run.embeddings)):
        held = embeddings.read(run.embeddings[step])
        for member in held.members:
            z = held.array(member["name"], "test", "clean")
            strength = member["hyperparameters"]["channel.strength"]
            found.setdefault((step, strength), []).append(correlation(z))
            if step and strength == 0.5 and member["seed"] == 0:
                shown = sets(laplace), sets(gaussian(z))
    whole = correlation(x)
    strengths = sorted({strength for _, strength in found})
    rows = [["noise", "untrained", "trained", "Gaussian of the inputs themselves"]]
    figure, (scatter, curve) = figures._figure(
        1.5, rows=2, legend_lines=0, gap_inch=0.75, share_x=False
    )
    scatter.plot(*shown, "o", markersize=2.5, color=figures.TRAINED, alpha=0.6)
    scatter.set(
        xlabel="log-likelihood of a set of inputs, nats per row", ylabel="of representations",
    )  # fmt: skip
    scatter.locator_params(nbins=5)
    colours = {0: figures.UNTRAINED, max(run.embeddings): figures.TRAINED}
    for step, colour in colours.items():
        values = np.array([found[step, s] for s in strengths])
        error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
        label = "trained" if step else "untrained"
        curve.errorbar(
            strengths, values.mean(axis=1), error, fmt="o-", markersize=3, color=colour, label=label
        )
    curve.axhline(whole, **figures.DASHED, label="all coordinates")
    curve.set(xscale="log", xlabel="noise of the views", ylabel="correlation", ylim=(0, 1))
    figures._log_ticks(curve.xaxis, strengths)
    curve.legend(loc="lower left", frameon=False)
    for strength in strengths:
        cells = []
        for step in colours:
            values = np.array(found[step, strength])
            error = values.std(ddof=1) / np.sqrt(len(values))
            cells.append(f"{values.mean():.3f} ± {error:.3f}")
        rows.append([f"{strength:g}", *cells, f"{whole:.3f}"])
    return Drawn("pushforward", figure, markdown(rows))


def draw_binary(runs: Path) -> Drawn:
    """The search for settings under which sparse binary inputs become Gaussian."""
    rows = [
        ["encoder", "ones", "CV untrained", "AD untrained", "least CV trained",
         "least AD trained", "its CV", "its DP pass", "its channel", "its temperature"]
    ]  # fmt: skip
    groups: dict[tuple, list] = {}
    for run in map(load_run, finished_folders(runs / "binary")):
        c = run.config
        group = c["encoder"]["name"], c["data"]["binary_active"]
        for setting in run.settings:
            values = [
                {
                    name: value.mean
                    for name, value in run.values[
                        Key(setting.key, step, "test", "raw", 1000)
                    ].items()
                }
                for step in (0, max(run.epochs))
            ]
            groups.setdefault(group, []).append((c["channel"]["name"], setting.key, *values))
    for (encoder, active), members in sorted(groups.items()):
        channel, setting, _, best = min(members, key=lambda m: m[3]["ad_mean"])
        varied = json.loads(setting)
        before = [np.mean([m[2][name] for m in members]) for name in ("norm_cv", "ad_mean")]
        rows.append(
            [
                encoder, f"{active:g}", f"{before[0]:.3f}", f"{before[1]:.2f}",
                f"{min(m[3]['norm_cv'] for m in members):.3f}",
                f"{best['ad_mean']:.2f}", f"{best['norm_cv']:.3f}", f"{best['dp_pass']:.0%}",
                f"{channel.replace('_', ' ')} {varied['channel.strength']:g}",
                f"{varied['loss.temperature']:g}",
            ]
        )  # fmt: skip
    return Drawn("binary", None, markdown(rows))


EXHIBITS = {
    "controls": draw_controls,
    "cosines": draw_cosines,
    "norms": draw_norms,
    "normality": draw_normality,
    "resnet": draw_resnet,
    "dynamics": draw_dynamics,
    "whitening": draw_whitening,
    "pushforward": draw_pushforward,
    "binary": draw_binary,
}


def _finished(folder: Path) -> Path:
    if not (folder / "evaluation.json").is_file():
        raise Absent(f"{folder} holds no run; the command is at the top of configs/paper/*.py.")
    return folder


def _points(folder: Path) -> list[_Point]:
    of = map(load_run, finished_folders(folder))
    return [
        _Point(r.config["encoder"]["embedding_dim"], r.config["train"]["batch_size"], r) for r in of
    ]


def _cifar10_curves(folder: Path) -> list[_Dynamics]:
    contrastive = load_run(_finished(folder / "contrastive"))
    colours = (figures.TRAINED, figures.BETWEEN)[: len(contrastive.settings)]
    curves = [
        _Dynamics(labelled("InfoNCE", setting), contrastive, setting.key, colour)
        for setting, colour in zip(contrastive.settings, colours, strict=True)
    ]
    if (folder / "supervised" / "evaluation.json").is_file():
        run = load_run(folder / "supervised")
        curves.append(_Dynamics("supervised", run, run.settings[0].key, figures.OTHER))
    return curves


def _of_dim(points: Sequence[_Point], dim: int) -> list[_Point]:
    """The runs of one dimension, by batch size."""
    return sorted((p for p in points if p.dim == dim), key=lambda p: p.batch)


def _beside_untrained(points: Sequence[_Point]) -> list[tuple[str | int, Run, int]]:
    """Label, run and step: untrained, which does not depend on the batch, and each batch at its end."""
    trained = [(p.batch, p.run, max(p.run.epochs)) for p in points]
    return [("untrained", points[0].run, 0), *trained]


def _clean(run: Run, step: int) -> list[Float[np.ndarray, "n d"]]:
    held = embeddings.read(run.embeddings[step])
    return [np.asarray(held.array(name, "test", "clean")) for name in run.member_names]


def _cosines(
    run: Run, step: int
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Cosines of positive pairs, and of pairs of different samples, of all seeds."""
    held = embeddings.read(run.embeddings[step])
    positive, negative = [], []
    for name in run.member_names:
        u, v = (
            np.asarray(held.array(name, "test", view), np.float64) for view in ("view1", "view2")
        )
        u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (u, v))
        positive.append(np.einsum("nd,nd->n", u, v))
        negative.append(np.einsum("nd,nd->n", u, np.roll(v, 1, axis=0)))
    return np.concatenate(positive), np.concatenate(negative)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "paper", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
