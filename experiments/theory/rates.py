"""Rates in dimension and batch where the limit is uniform."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.pages import (
    Absent,
    Drawn,
    markdown,
)
from experiments.theory.runs import COLOURS, mean_slope, no_run, open_run, slope_of_line, with_error
from infonce_jax import embeddings, evaluation, losses, theory
from infonce_jax.report import canvas
from infonce_jax.report.runs import Run
from infonce_jax.report.table import GAUSSIAN_AD

_ALPHA_OF_RATES = 5.0
_EXCESS = f"AD − {GAUSSIAN_AD}"


def draw_rates(runs: Path) -> Drawn:
    """Excess uniformity and Anderson-Darling against d and N, where the limit is uniform."""
    of = _rates_runs(runs)
    by_dim = [run for run in of if run.config["optimizer"]["name"] == "adam"]
    by_batch = [run for run in of if run.config["optimizer"]["name"] == "sgd"]
    dims = np.array([run.config["encoder"]["embedding_dim"] for run in by_dim])
    sizes = np.array([run.config["train"]["batch_size"] for run in by_batch])
    cases = ((by_dim, min), (by_dim, max), (by_batch, max), (by_batch, _middle))
    with ThreadPoolExecutor() as pool:
        untrained, trained, settled, halfway = (
            np.array(list(pool.map(partial(_judged, which=which), some))) for some, which in cases
        )
    # Rows of independent entries: 1/PR of their covariance is 1/d + 1/D + 1/(d D), with D = 2 d.
    spread = (1 + 1 / dims) / (2 * dims) / (1 + 2 / dims) ** 2
    start = theory.uniformity_excess(dims, _ALPHA_OF_RATES, 0.0, 1 / (1 / dims + spread))
    delta = np.array([theory.sphere.anderson_darling_excess(int(d)) for d in dims])
    flat = theory.sphere.anderson_darling_excess(32) * np.ones(len(sizes))
    distance = np.sqrt(np.maximum(trained[:, :, 1], 1e-9))
    figure, grid = canvas.panels(0.95, rows=4, legend_lines=1, gap_inch=0.55, share_x=False)
    rows = [["against", "quantity", "measured slope", "slope of the prediction", "limit"]]

    def panel(axes, x, y, line, name, axis, limit, colour=COLOURS[0]):
        fitted, error = mean_slope(x, y)
        of_line = round(slope_of_line(x, line), 2) + 0.0  # No -0.
        cells = (f"{fitted:.2f} ± {error:.2f}", f"{of_line:.2f}", limit)
        rows.append([axis, name, *cells])
        axes.plot(np.repeat(x, y.shape[1]), y.ravel(), "o", color=colour, markersize=2.5)
        axes.plot(x, line, color=canvas.INK, linewidth=0.9, dashes=(4, 2))
        axes.set(xscale="log", yscale="log")
        axes.set_title(
            f"{name}: slope {_signed(fitted)} ± {error:.2f}, line {_signed(of_line)}"
            f"{_off(fitted, error, of_line)}",
            loc="left",
            fontsize=7.5,
            pad=3,
        )
        axes.set_xlabel(axis, labelpad=1)
        canvas.log_ticks(axes.xaxis, [int(v) for v in x])
        axes.tick_params(labelbottom=True)

    panel(
        grid[0], dims, untrained[:, :, 0], start, "Φ − Φ(σ), untrained", "dimension d", "-1 (1/d)"
    )
    name = f"√({_EXCESS}/n)"
    panel(grid[1], dims, distance, np.sqrt(delta), name, "dimension d", "-1 (1/d)")
    guide = settled[:, :, 0].mean(axis=1)
    guide = np.exp(np.log(np.maximum(guide, 1e-9)).mean()) * np.exp(np.log(sizes).mean()) / sizes
    panel(grid[2], sizes, settled[:, :, 0], guide, "Φ − Φ(σ)", "batch N", "-1 (1/N)")
    n_rows = settled[:, :, 2].mean()
    excess = settled[:, :, 1] * n_rows
    panel(grid[3], sizes, excess, flat * n_rows, _EXCESS, "batch N", "0")
    ticks = ((0.1, 0.2, 0.3), (0.005, 0.01, 0.02, 0.05), (0.002, 0.005, 0.01, 0.02, 0.05))
    for axes, at in zip(grid, (*ticks, (0.5, 0.6, 0.7, 0.8, 0.9)), strict=True):
        canvas.log_ticks(axes.yaxis, list(at))
    root, root_error = mean_slope(sizes, np.sqrt(np.maximum(settled[:, :, 0], 1e-9)))
    rows.insert(
        4, ["batch N", "√(Φ − Φ(σ))", f"{root:.2f} ± {root_error:.2f}", "-0.50", "-1/2 (1/√N)"]
    )
    early, early_error = mean_slope(sizes, halfway[:, :, 0])
    cells = (f"{early:.2f} ± {early_error:.2f}", "-1.00", "-1 (1/N)")
    rows.insert(5, ["batch N", "Φ − Φ(σ), halfway", *cells])
    scaled, scaled_error = mean_slope(sizes, settled[:, :, 0] * settled[:, :, 3])
    cells = (f"{scaled:.2f} ± {scaled_error:.2f}", "-1.00", "-1 (1/N)")
    rows.insert(6, ["batch N", "(Φ − Φ(σ))·E‖z‖²", *cells])
    table = markdown(rows)
    rows = [
        ["d", "Φ − Φ(σ), untrained", "second order", "trained", f"{_EXCESS}, trained", "n·Δ(d)"]
    ]
    for index, dim in enumerate(dims):
        first, last = untrained[index, :, 0], trained[index, :, 0]
        normality = trained[index, :, 1] * trained[index, :, 2]
        cells = (with_error(first), f"{start[index]:.4f}", with_error(last))
        rows.append(
            [dim, *cells, with_error(normality, 3), f"{delta[index] * trained[index, 0, 2]:.3f}"]
        )
    return Drawn("rates", figure, table + "\n" + markdown(rows))


def draw_fluctuation(runs: Path) -> Drawn:
    """How far the loss of one batch lies from its limit, at the uniform representations of `rates`."""
    (run,) = [r for r in _rates_runs(runs) if r.path.name == "dim32"]
    dim, alpha = run.config["encoder"]["embedding_dim"], _ALPHA_OF_RATES
    held = embeddings.read(run.embeddings[max(run.embeddings)])
    sizes = np.array([32, 64, 128, 256, 512, 1024])
    bias, loss_spread, potential_spread, positive = ([] for _ in range(4))
    rng = np.random.default_rng(0)
    for member in run.member_names:
        u, v = (
            np.asarray(losses.safe_normalize(jnp.asarray(held.array(member, "test", view))))
            for view in ("view1", "view2")
        )
        positive.append(evaluation.cosines(u, v))
        found = []
        for size in sizes:
            # Disjoint batches are independent; a second shuffling uses the rows better.
            potential, loss = np.concatenate(
                [_batch_losses(u, v, alpha, size, rng) for _ in range(2)], axis=1
            )
            limit = float(theory.phi_sigma(dim, alpha))
            found.append((potential.mean() - limit, loss.std(ddof=1), potential.std(ddof=1)))
        for values, column in zip(
            (bias, loss_spread, potential_spread), np.array(found).T, strict=True
        ):
            values.append(column)
    cosine = np.concatenate(positive)
    predicted_bias = [
        theory.batch_uniformity_bias(dim, alpha, int(n), rng.choice(cosine, 400)) for n in sizes
    ]
    # The loss of a row given its positive's cosine, the sum over the negatives at its mean.
    rest = np.log(sizes - 1) + float(theory.phi_sigma(dim, alpha))
    of_rows = np.logaddexp(0, rest[:, None] - alpha * cosine)
    predicted_spread = of_rows.std(axis=1) / np.sqrt(sizes)
    figure, (axes,) = canvas.panels(1.9, legend_lines=3)
    rows = [["quantity", "measured slope", "slope of the line", "limit"]]
    values_at = [["N", "bias", "predicted", "sd of the loss", "predicted", "sd of the potential"]]
    columns = (bias, loss_spread, potential_spread)
    shown = [np.mean(column, axis=0) for column in columns]
    for index, size in enumerate(sizes):
        first = (f"{shown[0][index]:.4f}", f"{predicted_bias[index]:.4f}")
        second = (f"{shown[1][index]:.4f}", f"{predicted_spread[index]:.4f}")
        values_at.append([f"{size:,}", *first, *second, f"{shown[2][index]:.4f}"])
    anchored = np.mean(potential_spread, axis=0)[-1] * sizes[-1] / sizes
    for name, values, line, limit, colour, marker in (
        ("bias of the loss", bias, predicted_bias, "-1 (1/N)", COLOURS[0], "o"),
        ("sd of the loss", loss_spread, predicted_spread, "-1/2 (1/√N)", COLOURS[1], "s"),
        ("sd of the potential", potential_spread, anchored, "-1 (1/N)", COLOURS[2], "^"),
    ):
        y = np.array(values).T
        fitted, error = mean_slope(sizes, y)
        of_line = slope_of_line(sizes, line)
        rows.append([name, f"{fitted:.2f} ± {error:.2f}", f"{of_line:.2f}", limit])
        digits = max(2, -int(np.floor(np.log10(error))))
        slope = f"{_signed(fitted, digits)} ± {error:.{digits}f}, line {_signed(of_line)}"
        label = f"{name.replace(' of the', ',')}: {slope}{_off(fitted, error, of_line)}"
        axes.plot(sizes, y.mean(axis=1), marker, color=colour, markersize=3.5, label=label)
        axes.plot(sizes, line, color=colour, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="batch N", ylabel="nats")
    canvas.log_ticks(axes.xaxis, [int(n) for n in sizes])
    canvas.legend_above(axes, columns=1)
    return Drawn("fluctuation", figure, markdown(rows) + "\n" + markdown(values_at))


def _signed(value: float, digits: int = 2) -> str:
    """A number with a minus sign, as matplotlib writes those of the ticks."""
    return f"{value:.{digits}f}".replace("-", "−")


def _off(fitted: float, error: float, of_line: float) -> str:
    """Says that a measured slope misses the predicted one."""
    misses = abs(fitted - of_line) > 3 * error + 0.005  # the last digit that is shown
    return ", off" if misses else ""


def _rates_runs(runs: Path) -> list[Run]:
    """The runs of configs/theory/rates.py, by dimension and batch."""
    folders = (runs / "rates").glob("*/config.json")
    of = [open_run(folder.parent) for folder in folders]
    if not of:
        raise Absent(no_run(runs / "rates"))
    return sorted(
        of, key=lambda r: (r.config["encoder"]["embedding_dim"], r.config["train"]["batch_size"])
    )


def _middle(steps) -> int:
    return sorted(steps)[len(steps) // 2]


def _judged(run: Run, which: Callable) -> Float[np.ndarray, "members 4"]:
    """Per member: Φ - Φ(σ) less its bias, (mean A² of the directions - a Gaussian's)/n, n, and E‖z‖²."""
    held = embeddings.read(run.embeddings[which(run.embeddings)])
    dim = run.config["encoder"]["embedding_dim"]
    floor = theory.expected_batch_uniformity(dim, _ALPHA_OF_RATES, 4999)
    found = []
    for member in run.member_names:
        z = np.asarray(held.array(member, "test", "clean"))
        u = z / np.linalg.norm(z, axis=1, keepdims=True)
        excess = evaluation.uniformity_potential(u[:5000], _ALPHA_OF_RATES) - floor
        normality = evaluation.anderson_darling(u).statistic.mean() - GAUSSIAN_AD
        square = np.mean(np.sum(np.square(z, dtype=np.float64), axis=1))
        found.append((excess, normality / len(u), len(u), square))
    return np.array(found)


def _batch_losses(u, v, alpha, size, rng) -> Float[np.ndarray, "2 batches"]:
    """Potential and InfoNCE loss less log N of disjoint batches, in both directions."""
    found = []
    for rows in rng.permutation(len(u))[: len(u) // size * size].reshape(-1, size):
        scores = (alpha * u[rows]) @ v[rows].T
        np.exp(scores, out=scores)
        potential = (np.log(scores.mean(axis=0)).mean() + np.log(scores.mean(axis=1)).mean()) / 2
        found.append((potential, potential - np.log(np.diag(scores)).mean()))
    return np.array(found, np.float64).T
