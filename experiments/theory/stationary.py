"""Appendix D and Theorem 2 of the paper, and η₂ of its channels, against simulations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.pages import Drawn, markdown
from experiments.theory.runs import COLOURS
from infonce_jax import theory
from infonce_jax.report import canvas

_ALPHA, _NODES = 10.0, 240


def draw_stationary(_: Path) -> Drawn:
    """Minima of Φ - q‖m‖²: ‖m‖ against q, of von Mises-Fisher laws and of any law about an axis."""
    dims, multiples = (4, 16, 64), (0.5, 0.9, 1.2, 1.6, 2.5)
    figure, (axes,) = canvas.panels(2.2, legend_lines=4)
    rows = [["d", "q / critical", "‖m‖, von Mises–Fisher", "‖m‖, any law", "distance between the two",
             "Φ − q‖m‖², von Mises–Fisher", "any law", "uniform"]]  # fmt: skip
    for dim, colour in zip(dims, COLOURS, strict=False):
        critical = theory.stationary.critical_weight(dim, _ALPHA)
        fine = np.linspace(0.4, 2.6, 23)
        kappas = [theory.stationary.minimising_kappa(dim, _ALPHA, m * critical) for m in fine]
        axes.plot(fine, [_resultant(dim, kappa) for kappa in kappas], color=colour, linewidth=1.2,
                  label=f"d = {dim}, von Mises–Fisher")  # fmt: skip
        dots = []
        for multiple in multiples:
            weight = multiple * critical
            kappa = theory.stationary.minimising_kappa(dim, _ALPHA, weight)
            law, resultant, value = _least(dim, weight)
            dots.append(resultant)
            distance = (
                0.5 * np.abs(law - _von_mises_fisher(dim, _concentration(dim, resultant))).sum()
            )
            least, uniform = (
                float(theory.stationary.surrogate(dim, _ALPHA, weight, min(k, 1e5)))
                for k in (kappa, 0.0)
            )
            rows.append([dim, f"{multiple:g}", f"{_resultant(dim, kappa):.3f}", f"{resultant:.3f}"]
                        + [f"{v:.3f}" for v in (distance, least, value, uniform)])  # fmt: skip
        axes.plot(multiples, dots, "o", color=colour, markersize=4)
    axes.plot([], [], "o", color=canvas.INK, markersize=4, label="any law about an axis")
    axes.axvline(1, **canvas.DASHED)
    axes.set(xlabel="q over its critical value (dashed: 1)", ylabel="‖m‖ of the minimum")
    axes.set_ylim(-0.03, 1.03)
    canvas.legend_above(axes, columns=1)
    return Drawn("stationary", figure, markdown(rows))


def _resultant(dim: int, kappa: float) -> float:
    return 1.0 if np.isinf(kappa) else float(theory.vmf.mean_resultant_length(dim, kappa))


def _concentration(dim: int, resultant: float) -> float:
    return float(theory.vmf.concentration(dim, min(resultant, 1 - 1e-5)))


def _angles() -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Nodes and weights over the angle with the axis, most of them where a cone has its mass."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    share = (nodes + 1) / 2
    return np.pi * share**2, np.pi * share * weights


def _von_mises_fisher(dim: int, kappa: float) -> Float[np.ndarray, " k"]:
    """Its mass at the nodes; uniform for κ = 0."""
    angle, weights = _angles()
    mass = np.log(weights) + (dim - 2) * np.log(np.sin(angle)) + kappa * (np.cos(angle) - 1)
    mass = np.exp(mass - mass.max())
    return mass / mass.sum()


def _least(
    dim: int, weight: float, steps: int = 4000
) -> tuple[Float[np.ndarray, " k"], float, float]:
    """The law about an axis that has the least Φ - q‖m‖², its ‖m‖, and the value.

    Such a law is a mass p at every angle θ with the axis. Of two of its directions E exp(α u·v) given
    their angles is exp(α cos θ cos θ' + F(α sin θ sin θ')) with F = Φ_σ in d - 1 dimensions. Mirror
    descent from uniform with a slight tilt, and from a narrow cone; the lower end counts.
    """
    angle, _ = _angles()
    cosine, sine = np.cos(angle), np.sin(angle)
    spread = np.asarray(theory.phi_sigma(dim - 1, np.maximum(_ALPHA * np.outer(sine, sine), 1e-9)))
    kernel = np.exp(_ALPHA * (np.outer(cosine, cosine) - 1) + spread)

    def value(mass: np.ndarray) -> float:
        return float(mass @ np.log(kernel @ mass) + _ALPHA - weight * (mass @ cosine) ** 2)

    found = []
    for kappa in (0.05 * dim, 20.0 * dim):
        mass = _von_mises_fisher(dim, kappa)
        for _ in range(steps):
            inner = kernel @ mass
            gradient = (
                np.log(inner) + kernel @ (mass / inner) - 2 * weight * (mass @ cosine) * cosine
            )
            mass = mass * np.exp(-0.5 / (1 + weight / 10) * (gradient - gradient @ mass))
            mass = np.maximum(mass / mass.sum(), 1e-300)
        found.append((value(mass), mass))
    least, mass = min(found, key=lambda pair: pair[0])
    return mass, abs(float(mass @ cosine)), least


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
