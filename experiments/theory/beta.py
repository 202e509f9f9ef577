"""What the regulariser does, against its weight."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.pages import (
    Absent,
    Drawn,
    markdown,
)
from experiments.theory.runs import COLOURS, by_value, no_run, open_run, pair_cosines, with_error
from infonce_jax import embeddings, evaluation, losses, theory
from infonce_jax.report import canvas
from infonce_jax.report.runs import Run


def draw_beta(runs: Path) -> Drawn:
    """‖m‖, CV, entropy, AD and alignment against β/β₀ in three dimensions."""
    of = _beta_runs(runs)
    metrics = ("‖m‖", "norm CV", "entropy deficit", "AD average", "alignment")
    figure, grid = canvas.panels(0.85, rows=len(metrics), legend_lines=2, gap_inch=0.26)
    rows = [["d", "β_loc/β₀", "β/β₀", "β", *metrics, "Φ − Φ(σ)"]]
    for run, colour in zip(of, COLOURS, strict=False):
        dim, loss = run.config["encoder"]["embedding_dim"], run.config["loss"]
        held = embeddings.read(run.embeddings[max(run.embeddings)])
        alpha = 1 / loss["temperature"]
        floor = theory.expected_batch_uniformity(dim, alpha, 1999)
        limit = theory.vanishing_beta(dim, loss["temperature"], loss["eta2"])
        local = float(theory.local_beta(dim, loss["temperature"], loss["eta2"])) / limit
        table = {}
        for multiple, members in by_value(run, "loss.beta").items():
            found = []
            for member in members:
                z = np.asarray(held.array(member, "test", "view1"), np.float64)[:2000]
                cosines, resultant = pair_cosines(run, member)
                # At unit mean variance, less the isotropic Gaussian's, which is the largest.
                scale = np.sqrt(np.mean(np.var(z, axis=0)))
                entropy = float(losses.gaussian_entropy((z / scale).astype(np.float32)))
                found.append(
                    [
                        resultant,
                        evaluation.norm_cv(z),
                        entropy - dim * 0.5 * np.log(2 * np.pi * np.e),
                        evaluation.anderson_darling(z).statistic.mean(),
                        cosines.mean(),
                        evaluation.uniformity_potential(z, alpha) - floor,
                    ]
                )
            found = np.array(found)
            table[multiple] = found
            mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
            cells = (f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True))
            rows.append([dim, f"{local:.2f}", f"{multiple:g}", f"{multiple * limit:.3g}", *cells])
        x = np.arange(len(table))
        marker = dict(zip((8, 32, 128), "os^", strict=True)).get(dim, "o")
        for index, (axes, name) in enumerate(zip(grid, metrics, strict=True)):
            y = np.array([table[k][:, index] for k in sorted(table)])
            axes.plot(x, y, color=colour, linewidth=0.4, alpha=0.6)
            axes.plot(
                x, y.mean(axis=1), f"{marker}-", color=colour, markersize=3.5, label=f"d = {dim}"
            )
            axes.set_title(name, loc="left", fontsize="medium", pad=3)
            axes.set_xticks(x, labels=[f"{k:g}" for k in sorted(table)])
    grid[-1].set_xlabel("β/β₀")
    canvas.legend_above(grid[0], columns=3, raise_inch=0.17)
    return Drawn("beta", figure, markdown(rows))


def tabulate_drift(runs: Path) -> Drawn:
    """‖m‖ that minimises the regularised loss of a batch, beside what training reached.

    A linear encoder of Gaussian data can only move an isotropic Gaussian off the origin, by b√d say, at
    the cost of β (d/2) log(1 + b²). What a batch of N gains by that is simulated, with the same draws at
    every b.
    """
    rows = [["d", "β/β₀", "‖m‖ for N = 256", "for N = 2,048", "trained, N = 256"]]
    stable = [["d", "β/β₀ for N = 256", "for N = 2,048", "for N → ∞: β_loc/β₀"]]
    shifts = np.concatenate([np.arange(0, 1, 0.04), np.geomspace(1, 12, 15)])
    for run in _beta_runs(runs):
        dim, loss = run.config["encoder"]["embedding_dim"], run.config["loss"]
        strength = run.config["channel"]["strength"]
        at = jnp.asarray(shifts * np.sqrt(dim), jnp.float32)
        simulate = jax.jit(partial(_loss_of_drift, dim, 1 / loss["temperature"], strength))
        found = []
        for size, repeats in ((256, 48), (2048, 4)):
            views = jax.random.normal(jax.random.key(0), (repeats, 3, size, dim))
            values = np.array([simulate(draw, at) for draw in views], np.float64)
            found.append((values[:, 0].mean(axis=0), values[:, 1].mean(axis=0)))
        limit = theory.vanishing_beta(dim, loss["temperature"], loss["eta2"])
        local = float(theory.local_beta(dim, loss["temperature"], loss["eta2"]))
        small = 3
        slopes = [
            (gained[0] - gained[small]) / (dim / 2 * np.log1p(shifts[small] ** 2))
            for gained, _ in found
        ]
        stable.append([dim, *(f"{max(0.0, at) / limit:.2f}" for at in (*slopes, local))])
        for multiple, members in by_value(run, "loss.beta").items():
            cost = multiple * limit * dim / 2 * np.log1p(shifts**2)
            least = [lengths[np.argmin(gained + cost)] for gained, lengths in found]
            reached = np.array([pair_cosines(run, member)[1] for member in members])
            cells = (*(f"{length:.2f}" for length in least), with_error(reached, 3))
            rows.append([dim, f"{multiple:g}", *cells])
    return Drawn("drift", None, markdown(stable) + "\n" + markdown(rows))


def _loss_of_drift(dim, alpha, strength, draws, shifts):
    """InfoNCE of one batch, and ‖m‖, where all its representations are moved along one axis."""
    x, *noise = draws
    views = [(x + strength * e) / jnp.sqrt(1 + strength**2) for e in noise]

    def at(shift):
        u, v = (losses.safe_normalize(view.at[:, 0].add(shift)) for view in views)
        mean = jnp.where(shift > 0, jnp.mean(u[:, 0] + v[:, 0]) / 2, 0.0)
        return losses.infonce(u, v, temperature=1 / alpha, normalize=False), mean

    return jax.lax.map(at, shifts)


def _beta_runs(runs: Path) -> list[Run]:
    of = [open_run(folder.parent) for folder in (runs / "beta").glob("*/config.json")]
    if not of:
        raise Absent(no_run(runs / "beta"))
    return sorted(of, key=lambda run: run.config["encoder"]["embedding_dim"])
