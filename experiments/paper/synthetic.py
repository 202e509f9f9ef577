"""Figure 11, and the search for settings that make sparse binary inputs Gaussian."""

import json
from pathlib import Path

import numpy as np

from experiments.pages import (
    Drawn,
    finished_folders,
    markdown,
)
from experiments.paper.runs import (
    finished_run,
)
from infonce_jax import data, embeddings
from infonce_jax.config import from_plain
from infonce_jax.evaluation import whitening
from infonce_jax.report import canvas
from infonce_jax.report.runs import Key, load_run


def draw_pushforward(runs: Path, rows_per_set: int = 10) -> Drawn:
    """Figure 11: log-likelihoods of sets of Laplace rows, and of their representations."""
    run = load_run(finished_run(runs / "pushforward"))
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
    figure, (scatter, curve) = canvas.panels(1.5, rows=2, gap_inch=1.05, share_x=False)
    scatter.plot(*shown, "o", markersize=2.5, color=canvas.TRAINED, alpha=0.6)
    scatter.set(
        xlabel="log-likelihood of a set of inputs (nats per row)", ylabel="of their representations",
    )  # fmt: skip
    scatter.locator_params(nbins=5)
    colours = {0: canvas.UNTRAINED, max(run.embeddings): canvas.TRAINED}
    for step, colour in colours.items():
        values = np.array([found[step, s] for s in strengths])
        error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
        label = "trained" if step else "untrained"
        curve.errorbar(
            strengths, values.mean(axis=1), error, fmt="o-", markersize=3, color=colour, label=label
        )
    curve.axhline(whole, **canvas.DASHED, label="all coordinates")
    curve.set(xscale="log", xlabel="noise of the views", ylabel="correlation", ylim=(0, 1))
    canvas.log_ticks(curve.xaxis, strengths)
    canvas.legend_above(curve, columns=2)
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
