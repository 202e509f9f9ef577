"""Appendix D and Theorem 2 of the paper, and η₂ of its channels, against simulations."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.pages import Drawn, markdown
from experiments.theory.runs import COLOURS
from infonce_jax import theory
from infonce_jax.report import canvas

_ALPHA, _PARTICLES = 10.0, 600


def draw_stationary(_: Path) -> Drawn:
    """Minima of Φ - q‖m‖²: ‖m‖ against q, within the von Mises-Fisher laws and of free particles."""
    dims, multiples = (4, 16), (0.5, 0.9, 1.2, 1.6, 2.5)
    figure, (axes,) = canvas.panels(2.2, legend_lines=3)
    rows = [["d", "q / critical", "q", "κ of the minimum", "‖m‖ of the minimum", "particles' ‖m‖",
             "Φ − q‖m‖², minimum", "particles", "uniform"]]  # fmt: skip
    for dim, colour in zip(dims, COLOURS, strict=False):
        critical = theory.stationary.critical_weight(dim, _ALPHA)
        fine = np.linspace(0.4, 2.6, 23)
        line = [
            _resultant(dim, theory.stationary.minimising_kappa(dim, _ALPHA, m * critical))
            for m in fine
        ]
        axes.plot(
            fine, line, color=colour, linewidth=1.2, label=f"d = {dim}, von Mises–Fisher laws"
        )
        dots = []
        for multiple in multiples:
            weight = multiple * critical
            kappa = theory.stationary.minimising_kappa(dim, _ALPHA, weight)
            resultant, value = _descend(dim, weight)
            dots.append(resultant)
            least, uniform = (
                float(theory.stationary.surrogate(dim, _ALPHA, weight, min(k, 1e6)))
                for k in (kappa, 0.0)
            )
            rows.append([dim, f"{multiple:g}", f"{weight:.2f}", f"{kappa:.3g}"]
                        + [f"{_resultant(dim, kappa):.3f}", f"{resultant:.3f}"]
                        + [f"{v:.3f}" for v in (least, value, uniform)])  # fmt: skip
        label = f"d = {dim}, {_PARTICLES} free particles"
        axes.plot(multiples, dots, "o", color=colour, markersize=4, label=label)
    axes.axvline(1, **canvas.DASHED)
    axes.set(
        xlabel="q over its critical value (dashed: 1)",
        ylabel="‖m‖ of the minimum",
        ylim=(-0.03, 1.03),
    )
    canvas.legend_above(axes, columns=1)
    return Drawn("stationary", figure, markdown(rows))


def _resultant(dim: int, kappa: float) -> float:
    return 1.0 if np.isinf(kappa) else float(theory.vmf.mean_resultant_length(dim, kappa))


def _descend(dim: int, weight: float, steps: int = 400) -> tuple[float, float]:
    """‖m‖ and Φ - q‖m‖² that gradient descent of free particles on the sphere ends at.

    Both sums leave out a particle's pair with itself, so that they estimate those of a law without bias.
    """

    def objective(free: Float[Array, "n d"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        u = free / jnp.linalg.norm(free, axis=1, keepdims=True)
        scores = u @ u.T
        off = ~jnp.eye(len(u), dtype=bool)
        inner = jax.nn.logsumexp(jnp.where(off, _ALPHA * scores, -jnp.inf), axis=1)
        square = jnp.sum(jnp.where(off, scores, 0)) / (len(u) * (len(u) - 1))
        return jnp.mean(inner) - jnp.log(len(u) - 1) - weight * square, square

    @jax.jit
    def descend(free: Float[Array, "n d"]) -> Float[Array, "n d"]:
        def step(index, free):
            gradient = jax.grad(lambda x: objective(x)[0])(free)
            # The step does not depend on the number of particles.
            return free - 0.2 * len(free) / (weight + _ALPHA) * gradient

        return jax.lax.fori_loop(0, steps, step, free)

    start = jax.random.normal(jax.random.key(0), (_PARTICLES, dim))
    # A slight tilt, so that descent leaves uniform where that is no minimum.
    start = (start / jnp.linalg.norm(start, axis=1, keepdims=True)).at[:, 0].add(0.1)
    value, square = objective(descend(start))
    return float(np.sqrt(max(float(square), 0.0))), float(value)


def tabulate_coordinates(_: Path) -> Drawn:
    """Theorem 2: the exact total variation of k coordinates from normal, beside its bound."""
    counts = (1, 2, 4, 8, 16)
    rows = [["d", *(f"k = {k}: exact, bound" for k in counts)]]
    for dim in (32, 64, 128, 256, 512):
        pairs = (
            (
                theory.sphere.coordinates_total_variation(dim, k),
                theory.sphere.diaconis_freedman_bound(dim, k),
            )
            for k in counts
        )
        rows.append([dim, *(f"{exact:.4f}, {bound:.3f}" for exact, bound in pairs)])
    return Drawn("coordinates", None, markdown(rows))


def tabulate_channels(_: Path, n: int = 100_000) -> Drawn:
    """η₂ of the paper's channels beside what the best known features of simulated pairs reach."""
    rng = np.random.default_rng(0)
    rows = [["pair", "η₂", "features of", "simulated", "share"]]

    def add(pair: str, eta2: float | None, features: str, reached: float) -> None:
        shown = (
            ("not known", "–") if eta2 is None else (f"{eta2:.4f}", f"{100 * reached / eta2:.1f}%")
        )
        rows.append([pair, shown[0], features, f"{reached:.4f}", shown[1]])

    def jittered(x: np.ndarray) -> np.ndarray:
        x = x + 0.2 * rng.standard_normal(x.shape)
        return np.where(rng.random(x.shape) < 0.1, 0.0, x)

    for kept in (0.2, 0.5, 0.6, 0.8):
        x = rng.laplace(size=n)
        noisy = np.sqrt(1 - kept**2)

        def mixed(x=x, kept=kept, noisy=noisy) -> np.ndarray:
            return kept * x + noisy * rng.standard_normal(n)

        add(f"Laplace(0, 1), mixed with A = {kept:g}", theory.mildness.laplace_mixing(kept),
            "splines", _splines(mixed(), mixed()))  # fmt: skip
        eta2 = theory.mildness.synthetic(
            "laplace", "mixing", kept, dim=1, scale=1.0, noise_std=0.2, erasure_prob=0.1
        )
        add(f"the same, then jitter and erasure, A = {kept:g}", eta2, "splines",
            _splines(jittered(mixed()), jittered(mixed())))  # fmt: skip
    for probability in (0.01, 0.1):
        x = rng.random(50 * n) < probability
        one, other = (x | (rng.random(x.shape) < 0.001) for _ in range(2))
        add(f"bit with P(1) = {probability:g}, ones added with 0.001",
            theory.mildness.bernoulli_addition(probability, 0.001), "the bit",
            float(np.corrcoef(one, other)[0, 1]))  # fmt: skip
    for scale in (0.05, 0.1, 0.2):
        means = scale * rng.standard_normal((25, 1024))
        eta2 = theory.mildness.mixture_component(means)
        pair = f"25 components in 1,024 coordinates, means' sd {scale:g}"
        add(pair, eta2, "the posterior", _posterior(means, rng))
    return Drawn("channels", None, markdown(rows))


def _splines(one: np.ndarray, other: np.ndarray) -> float:
    return theory.mildness.estimate(one[:, None], other[:, None]).estimate


def _posterior(means: np.ndarray, rng: np.random.Generator, n: int = 10_000) -> float:
    """The largest canonical correlation of the components' posteriors in two draws of one component."""
    labels = rng.integers(0, len(means), n)

    def posterior() -> np.ndarray:
        # Only the projections on the means matter.
        gram = means @ means.T
        noise = rng.standard_normal((n, means.shape[1])) @ means.T
        logits = gram[labels] + noise - np.diag(gram) / 2
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True))[:, 1:]

    one, other = (p - p.mean(axis=0) for p in (posterior(), posterior()))
    bases = [np.linalg.qr(p)[0] for p in (one, other)]
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)[0])


STATIONARY: dict[str, Callable[[Path], Drawn]] = {
    "coordinates": tabulate_coordinates,
    "channels": tabulate_channels,
    "stationary": draw_stationary,
}
