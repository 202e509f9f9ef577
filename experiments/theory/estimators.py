"""The estimators of mildness and of entropy against exact values."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.pages import (
    Drawn,
    markdown,
)
from experiments.theory.runs import (
    COLOURS,
)
from infonce_jax import losses, theory
from infonce_jax.report import canvas


def draw_mildness(_: Path) -> Drawn:
    """η₂ against the channel's strength: exact, and estimated from 20,000 pairs of views."""
    figure, (axes,) = canvas.panels(1.8, legend_lines=2)
    strengths = np.linspace(0.05, 2, 40)
    for (label, (exact, _, at)), colour in zip(_PAIRS.items(), COLOURS, strict=False):
        of = strengths if label != "bits" else np.linspace(0.01, 0.45, 40)
        scale = 1 if label != "bits" else 2 / 0.5
        axes.plot(of * scale, [exact(s) for s in of], color=colour, label=_LABELS[label])
        for strength in at:
            got = theory.mildness.estimate(*_draw_pairs(label, strength, 0))
            low = got.estimate - got.lower
            axes.errorbar(
                strength * scale,
                got.estimate,
                [[low], [0]],
                fmt="o",
                color=colour,
                markersize=3,
                linewidth=0.8,
            )
    axes.set(xlabel="noise s, or 4 × flip probability", ylabel="mildness η₂", ylim=(0, 1.02))
    canvas.legend_above(axes, columns=2)
    return Drawn("mildness", figure, "")


def tabulate_estimator(_: Path, repeats: int = 100) -> Drawn:
    """The estimator's error and its lower bound's coverage over repetitions."""
    rows = [
        ["source", "strength", "η₂", "estimate", "worst error", "within 0.02", "bound below η₂"]
    ]
    for label, (exact, _, strengths) in _PAIRS.items():
        for strength in strengths:
            truth = exact(strength)
            with ThreadPoolExecutor() as pool:
                got = list(pool.map(partial(_estimated, label, strength), range(1, repeats + 1)))
            estimates = np.array([g.estimate for g in got])
            below = sum(g.lower < truth for g in got)
            errors = np.abs(estimates - truth)
            spread = f"{estimates.mean():.4f} ± {estimates.std():.4f}"
            cells = (f"{strength:g}", f"{truth:.4f}", spread, f"{errors.max():.4f}")
            shares = (f"{sum(errors <= 0.02)} of {repeats}", f"{below} of {repeats}")
            rows.append([_LABELS[label], *cells, *shares])
    return Drawn("estimator", None, markdown(rows))


_LABELS = {
    "gaussian": "Gaussian + noise",
    "laplace": "Laplace + noise",
    "mixture": "mixture + noise",
    "bits": "bits, flipped",
}


_MIXTURE = np.array([[0.0], [3.0]])


_PAIRS: dict[str, tuple[Callable, Callable, tuple[float, ...]]] = {
    "gaussian": (
        theory.mildness.gaussian_noise,
        lambda rng, n: rng.standard_normal((n, 1)),
        (0.3, 0.7, 1.5),
    ),
    "laplace": (
        theory.mildness.laplace_noise,
        lambda rng, n: rng.laplace(size=(n, 1)) / np.sqrt(2),
        (0.3, 0.7, 1.5),
    ),
    "mixture": (
        lambda s: theory.mildness.mixture_noise(_MIXTURE, s),
        lambda rng, n: _MIXTURE[rng.integers(0, 2, n)] + rng.standard_normal((n, 1)),
        (0.3, 0.7, 1.5),
    ),
    "bits": (
        lambda p: theory.mildness.bernoulli_flip(0.3, p),
        lambda rng, n: rng.random((n, 1)) < 0.3,
        (0.05, 0.15, 0.3),
    ),
}


def _estimated(label: str, strength: float, seed: int) -> theory.mildness.MildnessEstimate:
    return theory.mildness.estimate(*_draw_pairs(label, strength, seed))


def _draw_pairs(label: str, strength: float, seed: int, n: int = 20_000):
    rng = np.random.default_rng(seed)
    x0 = _PAIRS[label][1](rng, n)
    if label == "bits":
        return [(x0 ^ (rng.random(x0.shape) < strength)).astype(float) for _ in range(2)]
    return [x0 + strength * rng.standard_normal(x0.shape) for _ in range(2)]


def tabulate_entropy(_: Path) -> Drawn:
    """Bias of the entropy estimates at laws of known entropy, in nats."""
    names = list(losses.ENTROPY_ESTIMATORS)
    jitted = {name: jax.jit(f) for name, f in losses.ENTROPY_ESTIMATORS.items()}
    rng = np.random.default_rng(0)
    gaussian = 0.5 * np.log(2 * np.pi * np.e)
    laws = {
        "Gaussian": (lambda shape: rng.standard_normal(shape), lambda d: d * gaussian),
        "Gaussian, λ_i ∝ 1/i": (
            lambda shape: rng.standard_normal(shape) / np.sqrt(np.arange(1, shape[1] + 1)),
            lambda d: d * gaussian - 0.5 * np.log(np.arange(1, d + 1)).sum(),
        ),
        "Laplace": (
            lambda shape: rng.laplace(size=shape) / np.sqrt(2),
            lambda d: d * (1 + 0.5 * np.log(2)),
        ),
        "uniform cube": (lambda shape: rng.random(shape), lambda d: 0.0),
    }
    shapes = [(n, dim) for dim in (2, 8, 32, 128) for n in (256, 1024)]
    draws = {
        (law, shape): [draw(shape).astype(np.float32) for _ in range(4)]
        for law, (draw, _) in laws.items()
        for shape in shapes
    }

    def estimates(name_and_shape):
        name, shape = name_and_shape
        return {law: np.array([float(jitted[name](z)) for z in draws[law, shape]]) for law in laws}

    cases = list(itertools.product(names, shapes))
    with ThreadPoolExecutor() as pool:
        found = dict(zip(cases, pool.map(estimates, cases), strict=True))
    rows = [["law", "d", "n", "true H", *names]]
    for law, (_, truth) in laws.items():
        for n, dim in shapes:
            biases = (found[name, (n, dim)][law] - truth(dim) for name in names)
            cells = (f"{b.mean():+.2f} ± {b.std(ddof=1) / 2:.2f}" for b in biases)
            rows.append([law, dim, f"{n:,}", f"{truth(dim):.2f}", *cells])
    return Drawn("entropy", None, markdown(rows))
