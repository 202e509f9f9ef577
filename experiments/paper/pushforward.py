"""Figure 11: log-likelihoods of Laplace rows, and of their representations under a Gaussian."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from experiments.pages import Absent, Drawn, markdown
from infonce_jax import data
from infonce_jax import runs as runs_lib
from infonce_jax.config import from_plain, members
from infonce_jax.evaluation import whitening
from infonce_jax.report import canvas

# Appendix D of the paper: at every A.
PAPER = (0.86, 0.87)


class Pearson(NamedTuple):
    """Correlations over rows, by share A, a value per seed.

    Attributes:
        of: (rows, encoder) to A to the values; rows are "clean" or "views", the encoder "untrained" or
            "trained".
        shown: the two log-likelihoods of the judged views of one seed, in nats per coordinate.
        dims: of the inputs and of the representations.
    """

    of: dict[tuple[str, str], dict[float, list[float]]]
    shown: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]
    dims: tuple[int, int]


@functools.lru_cache
def correlate(folder: Path) -> Pearson:
    """Correlates the two log-likelihoods of the rows that the Gaussian was not fitted on.

    Args:
        folder: of configs/paper/fig11_pushforward.py.
    """
    run = folder / "pushforward"
    if not (run / "checkpoints").is_dir():
        raise Absent(f"{folder} holds no run; the command is at the top of its file in configs/.")
    config = from_plain(json.loads((run / "config.json").read_text()))
    x = np.asarray(data.load(config).test, np.float32)
    view = jax.jit(data.make_view(config, data.describe(config)))
    rows = {("clean", None): x}
    for member in members(config):
        kept = member.hyperparameters["channel.strength"]
        if ("views", kept) not in rows:
            key = jax.random.key(1)
            rows["views", kept] = np.asarray(view(key, x, None, member.hyperparameters))
    half = len(x) // 2
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    shown = None
    for encoder, step in (("untrained", 0), ("trained", None)):
        # All rows in one call, which compiles once.
        encoded = runs_lib.encode(run, np.concatenate(list(rows.values())), step=step)
        for member in members(config):
            kept = member.hyperparameters["channel.strength"]
            parts = dict(zip(rows, np.split(encoded[member.name], len(rows)), strict=True))
            for (kind, own), z in parts.items():
                if own not in (None, kept):
                    continue
                one, other = _laplace(rows[kind, own], config), _gaussian(z, half)
                pair = one[half:] / x.shape[1], other[half:] / z.shape[1]
                value = float(np.corrcoef(*pair)[0, 1])
                found.setdefault((kind, encoder), {}).setdefault(kept, []).append(value)
                if (kind, encoder) == ("views", "trained") and (shown is None or kept == 0.5):
                    shown = pair
    return Pearson(found, shown, (x.shape[1], z.shape[1]))


def _laplace(x: Float[np.ndarray, "n d"], config) -> Float[np.ndarray, " n"]:
    scale = config.data.laplace_scale
    return -np.abs(x).sum(axis=1, dtype=np.float64) / scale - x.shape[1] * np.log(2 * scale)


def _gaussian(z: Float[np.ndarray, "n d"], half: int) -> Float[np.ndarray, " n"]:
    z = np.asarray(z, np.float64)
    # Thousands of rows need no shrinkage.
    model = whitening.fit(z[:half], shrinkage=0.0, folds=0)
    return whitening.log_likelihood(model, z)


def expected(inputs: int, dim: int, row_scale_std: float = 0.0) -> float:
    """The correlation for a projection onto `dim` of `inputs` Laplace coordinates, to first order.

    P projects, r = dim/inputs, and each row has a factor exp(N(0, s²)). Per unit of their means
    Σ|x| has variance 1/inputs + s², xᵀPx has (2 + 3 r)/dim + 4 s², and their covariance is
    2/inputs + 2 s².
    """
    shared = 2 / inputs + 2 * row_scale_std**2
    one = 1 / inputs + row_scale_std**2
    other = (2 + 3 * dim / inputs) / dim + 4 * row_scale_std**2
    return shared / np.sqrt(one * other)


def draw_pushforward(runs: Path) -> Drawn:
    """Figure 11: the two log-likelihoods of views, and their correlation at every A."""
    from matplotlib.ticker import MultipleLocator

    found = correlate(runs / "pushforward")
    strengths = sorted(found.of["views", "trained"])
    figure, (scatter, bars) = canvas.panels(1.6, rows=2, gap_inch=0.95, share_x=False)
    scatter.plot(*found.shown, "o", markersize=1.5, color=canvas.TRAINED, alpha=0.35)
    scatter.set(
        xlabel="log-likelihood of a view (nats per coordinate)", ylabel="of its representation"
    )
    for axis in (scatter.xaxis, scatter.yaxis):
        axis.set_major_locator(MultipleLocator(0.2))
        axis.set_major_formatter("{x:.1f}")
    kinds = (
        ("views", "trained", canvas.TRAINED, "views"),
        ("views", "untrained", canvas.UNTRAINED, "views, untrained"),
        ("clean", "trained", canvas.BETWEEN, "clean rows"),
        ("clean", "untrained", canvas.REFERENCE, "clean, untrained"),
    )
    for offset, (rows, encoder, colour, label) in enumerate(kinds):
        means = [np.mean(found.of[rows, encoder][a]) for a in strengths]
        at = np.arange(len(strengths)) + 0.2 * (offset - 1.5)
        bars.bar(at, means, 0.18, color=colour, label=label)
    bars.axhline(np.mean(PAPER), color=canvas.INK, linewidth=1, dashes=(4, 2), label="the paper")
    bars.set(ylabel="Pearson correlation", ylim=(0, 1), xlabel="share A that views keep")
    bars.set_xticks(range(len(strengths)), labels=[f"{a:g}" for a in strengths])
    canvas.legend_above(bars, columns=2)
    table = [["A", "the paper", *(f"{rows}, {encoder}" for rows, encoder, *_ in kinds)]]
    for a in strengths:
        table.append([f"{a:g}", f"{PAPER[0]:g} to {PAPER[1]:g}"]
                     + [f"{np.mean(found.of[r, e][a]):.3f}" for r, e, *_ in kinds])  # fmt: skip
    of_views, of_rows = (f"{expected(*found.dims, s):.3f}" for s in (0.1, 0.0))
    table.append(["a random projection, to first order", "", of_views, of_views, of_rows, of_rows])
    return Drawn("pushforward", figure, markdown(table))
