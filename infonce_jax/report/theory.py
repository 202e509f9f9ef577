"""The theory against simulation and against training: every figure and table of docs/theory.md.

    python -m infonce_jax.report.theory --runs runs/theory --output docs/theory

The closed forms are simulated here; the experiments are read from the run folders that
configs/theory/*.py wrote. What has no run folder is left out and named. Tables are printed, and set in
the page.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from infonce_jax import embeddings, evaluation, losses, theory
from infonce_jax.report import figures
from infonce_jax.report.pages import Absent, Drawn, draw_page, markdown
from infonce_jax.report.power_law import exponents
from infonce_jax.report.runs import Run, load_run

_COLOURS = figures._SETTINGS
_ALPHA_OF_RATES = 5.0


def draw_phi(_: Path) -> Drawn:
    """Φ(σ) against α, and the potential of 2,000 uniform directions."""
    figure, (axes,) = figures._figure(1.8, legend_lines=2)
    alpha = np.geomspace(0.3, 100, 60)
    rng = np.random.default_rng(0)
    for dim, colour in zip((2, 8, 32, 128, 1024), _COLOURS, strict=False):
        axes.plot(alpha, theory.phi_sigma(dim, alpha), color=colour, label=f"d = {dim:,}")
        u = rng.standard_normal((2000, dim))
        at = np.array([0.5, 2.0, 8.0, 32.0])
        values = [evaluation.uniformity_potential(u, a) for a in at]
        axes.plot(at, values, "o", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="inverse temperature α", ylabel="Φ(σ) in nats")
    axes.set_ylim(4e-5, 150)
    figures._legend_above(axes, columns=3)
    return Drawn("phi", figure, "")


def draw_batch(_: Path) -> Drawn:
    """What a batch of N reads at uniformity, and the same from draws."""
    figure, (axes,) = figures._figure(1.7, legend_lines=2)
    dim, alpha, rng = 32, 10.0, np.random.default_rng(0)
    sizes = np.unique(np.geomspace(2, 4096, 40).astype(int))
    for positive, colour in zip((None, 0.2, 0.5, 0.8), _COLOURS, strict=False):
        line = [theory.expected_batch_uniformity(dim, alpha, int(n), positive) for n in sizes]
        label = "independent" if positive is None else f"positive at {positive:g}"
        axes.plot(sizes, line, color=colour, label=label)
        for n in (2, 8, 32, 128, 512, 2048):
            draws = max(100, 200_000 // n)
            cosine = 2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, (draws, n)) - 1
            if positive is not None:
                cosine[:, 0] = positive
            value = np.log(np.exp(alpha * cosine).mean(axis=1))
            axes.plot(n, value.mean(), "o", color=colour, markersize=3)
    limit = float(theory.phi_sigma(dim, alpha))
    axes.axhline(limit, color=figures.INK, linewidth=0.8, dashes=(4, 2), label="Φ(σ)")
    axes.set(xscale="log", xlabel="batch N", ylabel="E batch potential")
    figures._legend_above(axes, columns=3)
    return Drawn("batch", figure, "")


def draw_sphere(_: Path) -> Drawn:
    """Distances of a coordinate of a uniform direction to the normal, against the dimension."""
    figure, (axes,) = figures._figure(1.7, legend_lines=2)
    dims = np.unique(np.geomspace(2, 10_000, 60).astype(int))
    distances = np.array([theory.sphere.distance_to_normal(int(d)) for d in dims])
    rng = np.random.default_rng(0)
    simulated = []
    for dim in (2, 4, 8, 16, 32, 64):
        x = np.sort(np.sqrt(dim) * (2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, 1_000_000) - 1))
        edges = np.linspace(-4.5, 4.5, 91)
        ranks = np.arange(1, x.size + 1) / x.size
        gap = np.abs(ranks - ndtr(x)).max()
        share = np.histogram(x, edges)[0] / x.size
        simulated.append((dim, 0.5 * np.abs(share - np.diff(ndtr(edges))).sum(), gap))
    for column, (name, colour, limit) in enumerate(
        (("total variation", _COLOURS[0], 0.350), ("Kolmogorov", _COLOURS[1], 0.1376))
    ):
        axes.plot(dims, distances[:, column], color=colour, label=name)
        axes.plot(
            dims, limit / dims, color=colour, linewidth=0.8, dashes=(2, 2), label=f"{limit:g}/d"
        )
        at = np.array(simulated)
        axes.plot(at[:, 0], at[:, 1 + column], "o", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="distance to N(0, 1)")
    figures._legend_above(axes, columns=2)
    rows = [["d", "total variation", "Kolmogorov", "n for AD", "n for DP"]]
    for dim in (8, 16, 32, 64, 128, 256, 512):
        distance = theory.sphere.distance_to_normal(dim)
        sizes = [theory.sphere.detectable_sample_size(dim, test) for test in _TESTS]
        rows.append(
            [dim, *(f"{v:.2e}" for v in distance), *(f"{_rounded(size):,}" for size in sizes)]
        )
    return Drawn("sphere", figure, markdown(rows))


_TESTS = {"anderson_darling": "Anderson–Darling", "dagostino_pearson": "D'Agostino–Pearson"}


def draw_power(_: Path) -> Drawn:
    """How often the tests reject uniform directions, predicted and simulated, against n·(6/d)²."""
    figure, (axes,) = figures._figure(1.7, legend_lines=2)
    rng = np.random.default_rng(0)
    levels = np.array([0.06, 0.08, *np.linspace(0.1, 0.9, 17), 0.93, 0.96, 0.98])
    dim = 16
    for (test, label), colour in zip(_TESTS.items(), _COLOURS, strict=False):
        sizes = [theory.sphere.detectable_sample_size(dim, test, p) for p in levels]
        axes.plot(sizes, levels, color=colour, label=label)
        for n in (250, 1000, 2000, 4000):
            x = 2 * rng.beta((dim - 1) / 2, (dim - 1) / 2, (n, 600)) - 1
            if test == "anderson_darling":
                rejected = evaluation.anderson_darling(x).statistic > 0.752
            else:
                rejected = evaluation.dagostino_pearson(x).pvalue < 0.05
            axes.plot(n, rejected.mean(), "o", color=colour, markersize=3)
    axes.axhline(0.05, color=figures.REFERENCE, linewidth=0.8, dashes=(1, 1.5), label="level")
    axes.set(xscale="log", xlabel="sample size n", ylabel="share rejected, d = 16", ylim=(0, 1.04))
    figures._legend_above(axes, columns=2)
    return Drawn("power", figure, "")


def draw_radius(_: Path) -> Drawn:
    """CV of the norm of Gaussian vectors against the participation ratio, for three spectra."""
    figure, (axes,) = figures._figure(1.7, legend_lines=2)
    rng = np.random.default_rng(0)
    spectra = {
        "isotropic": lambda d: np.ones(d),
        "λᵢ ∝ 1/i": lambda d: 1 / np.arange(1.0, d + 1),
        "λᵢ ∝ 0.9ⁱ": lambda d: 0.9 ** np.arange(d),
    }
    ratio = np.geomspace(1, 1000, 50)
    axes.plot(
        ratio,
        1 / np.sqrt(2 * ratio),
        color=figures.INK,
        linewidth=0.8,
        dashes=(4, 2),
        label="1/√(2·PR)",
    )
    for (label, make), colour in zip(spectra.items(), _COLOURS, strict=False):
        points = []
        for dim in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
            values = make(dim)
            points.append((values.sum() ** 2 / (values**2).sum(), theory.sphere.norm_cv(values)))
        axes.plot(*zip(*points, strict=True), color=colour, label=label)
        for dim in (1, 4, 16, 64, 256):
            values = make(dim)
            norm = np.linalg.norm(rng.standard_normal((20_000, dim)) * np.sqrt(values), axis=1)
            pr = values.sum() ** 2 / (values**2).sum()
            axes.plot(pr, norm.std() / norm.mean(), "o", color=colour, markersize=3)
    axes.set(xscale="log", yscale="log", xlabel="participation ratio", ylabel="CV of the norm")
    figures._log_ticks(axes.yaxis, [0.03, 0.1, 0.3])
    figures._legend_above(axes, columns=2)
    return Drawn("radius", figure, "")


def draw_kl(_: Path) -> Drawn:
    """KL(vMF ‖ σ) over (d/2)‖m‖² against ‖m‖, with other laws on the sphere."""
    figure, (axes,) = figures._figure(1.7, legend_lines=2)
    rng = np.random.default_rng(0)
    t = np.linspace(-1, 1, 4001)[1:-1]
    for dim, colour in zip((2, 8, 32, 128), _COLOURS, strict=False):
        kappa = dim * np.geomspace(0.02, 60, 120)
        length = np.asarray(theory.vmf.mean_resultant_length(dim, kappa), np.float64)
        kl = np.asarray(theory.vmf.kl_to_uniform(dim, kappa), np.float64)
        axes.plot(length, kl / (dim / 2 * length**2), color=colour, label=f"d = {dim}")
        # Laws of other shapes with a mean, by quadrature over the cosine with it.
        sigma = np.exp(theory.sphere.log_density(dim, t))
        sigma /= sigma.sum()
        for _ in range(25):
            tilt = rng.normal(0, dim / 2, 5) @ np.array([t**k for k in range(1, 6)])
            density = sigma * np.exp(tilt - tilt.max())
            density /= density.sum()
            mean = abs(density @ t)
            value = density @ np.log(np.maximum(density, 1e-300) / np.maximum(sigma, 1e-300))
            if 0.05 < mean < 0.98 and value / (dim / 2 * mean**2) < 6:
                axes.plot(mean, value / (dim / 2 * mean**2), ".", color=colour, markersize=3)
    axes.axhline(1, color=figures.INK, linewidth=0.8, dashes=(4, 2))
    axes.set(xlabel="mean resultant length ‖m‖", ylabel="KL / (½ d ‖m‖²)", xlim=(0, 1), ylim=(0, 6))
    figures._legend_above(axes, columns=4)
    return Drawn("kl", figure, "")


def draw_mildness(_: Path) -> Drawn:
    """η₂ against the channel's strength: exact, and estimated from 20,000 pairs of views."""
    figure, (axes,) = figures._figure(1.8, legend_lines=2)
    strengths = np.linspace(0.05, 2, 40)
    for (label, (exact, _, at)), colour in zip(_PAIRS.items(), _COLOURS, strict=False):
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
    figures._legend_above(axes, columns=2)
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


def draw_alignment(runs: Path) -> Drawn:
    """Alignment reached against the bound, at every strength of four channels, and on CIFAR-10."""
    names = ("gaussian", "laplace", "mixture", "binary")
    try:
        crops = _crops(runs)
    except Absent as reason:
        print(f"alignment, its panel of CIFAR-10: {reason}", file=sys.stderr)
        crops = []
    figure, grid = figures._figure(
        0.95, rows=len(names) + bool(crops), legend_lines=2, gap_inch=0.55, share_x=False
    )
    rows = [["source", "strength", "η₂", "‖m‖", "bound", "alignment", "share of the bound"]]
    from infonce_jax import data

    for axes, name in zip(grid, names, strict=False):
        run = _open(runs / "alignment" / name)
        law = data.law_parameters(_dotted(run.config))
        channel = run.config["channel"]["name"]
        points = []
        for strength, members in _by(run, "channel.strength").items():
            eta2 = theory.mildness.synthetic(
                run.config["data"]["source"],
                channel,
                strength,
                dim=run.config["data"]["dim"],
                **law,
            )
            cosines, resultants = zip(*(_cosines(run, m) for m in members), strict=True)
            # All seeds are judged on the same samples, which are what is averaged over.
            each = np.mean(cosines, axis=0)
            alignment, error = each.mean(), each.std() / np.sqrt(len(each))
            resultant = float(np.mean(resultants))
            bound = float(theory.alignment_bound(eta2, resultant))
            points.append((strength, bound, alignment, error))
            cells = (f"{strength:g}", f"{eta2:.4f}", f"{resultant:.3f}", f"{bound:.4f}")
            share = f"{100 * alignment / bound:.1f} %"
            rows.append([run.title, *cells, f"{alignment:.4f} ± {error:.4f}", share])
        at = np.array(sorted(points))
        axes.plot(at[:, 0], at[:, 1], "-", color=figures.INK, linewidth=1, label="bound")
        axes.errorbar(
            at[:, 0],
            at[:, 2],
            at[:, 3],
            fmt="o",
            color=_COLOURS[0],
            markersize=3.5,
            linewidth=0.9,
            label="trained",
        )
        axes.set(xscale="log", ylim=(0, 1.03))
        axes.set_title(run.title, loc="left", fontsize="medium", pad=3)
        figures._log_ticks(axes.xaxis, [float(s) for s in at[:, 0]])
        axes.tick_params(labelbottom=True)
    grid[len(names) - 1].set_xlabel("strength of the channel", labelpad=1)
    if crops:
        axes, at = grid[-1], [crop.area_min for crop in crops]
        axes.plot(at, [c.bound for c in crops], color=figures.INK, linewidth=1, dashes=(4, 2))
        aligned = [np.mean(c.cosines) for c in crops]
        errors = [np.std(c.cosines) / np.sqrt(len(c.cosines)) for c in crops]
        style = {"color": _COLOURS[0], "markersize": 3.5, "linewidth": 0.9}
        axes.errorbar(at, aligned, errors, fmt="o", **style)
        axes.set(xscale="log", ylim=(0, 1.03))
        title = "CIFAR-10, two-layer MLP (dashed: η₂ from below)"
        axes.set_title(title, loc="left", fontsize="medium", pad=3)
        figures._log_ticks(axes.xaxis, at)
        axes.set_xlabel("smallest crop, as a share of the image", labelpad=1)
    figures._legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("alignment", figure, markdown(rows))


class _Crop(NamedTuple):
    area_min: float
    eta2: theory.mildness.MildnessEstimate
    cosines: Float[np.ndarray, " n"]
    resultant: float
    bound: float


def _crops(runs: Path) -> list[_Crop]:
    """η₂ of SimCLR's views as the trained representations show it, and their alignment."""
    run = _open(runs / "cifar10")
    held = embeddings.read(run.embeddings[max(run.embeddings)])
    found = []
    for area_min, members in _by(run, "channel.crop_area_min").items():
        views = [np.asarray(held.array(members[0], "test", v)) for v in ("view1", "view2")]
        got = theory.mildness.estimate(*views)
        cosines, resultant = _cosines(run, members[0])
        bound = float(theory.alignment_bound(min(max(got.estimate, 0.0), 1.0), resultant))
        found.append(_Crop(area_min, got, cosines, resultant, bound))
    return found


def tabulate_cifar10(runs: Path) -> Drawn:
    """η₂ of SimCLR's views, from below, by the trained representations; and the alignment beside it."""
    rows = [
        ["smallest crop", "η₂ ≥ (estimate)", "lower bound", "alignment", "‖m‖", "bound at that η₂"]
    ]
    for crop in _crops(runs):
        estimate = f"{crop.eta2.estimate:.3f} ± {crop.eta2.standard_error:.3f}"
        cells = (f"{crop.cosines.mean():.3f}", f"{crop.resultant:.3f}", f"{crop.bound:.3f}")
        rows.append([f"{crop.area_min:g}", estimate, f"{crop.eta2.lower:.3f}", *cells])
    return Drawn("cifar10", None, markdown(rows))


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
    figure, grid = figures._figure(0.95, rows=4, legend_lines=1, gap_inch=0.55, share_x=False)
    rows = [["against", "quantity", "measured slope", "slope of the prediction", "limit"]]

    def panel(axes, x, y, line, name, axis, limit, colour=_COLOURS[0]):
        fitted, error = _slope(x, y)
        of_line = round(_slope_of_line(x, line), 2) + 0.0  # No -0.
        cells = (f"{fitted:.2f} ± {error:.2f}", f"{of_line:.2f}", limit)
        rows.append([axis, name, *cells])
        axes.plot(np.repeat(x, y.shape[1]), y.ravel(), "o", color=colour, markersize=2.5)
        axes.plot(x, line, color=figures.INK, linewidth=0.9, dashes=(4, 2))
        axes.set(xscale="log", yscale="log")
        axes.set_title(
            f"{name}: slope {fitted:.2f} ± {error:.2f}, predicted {of_line:.2f}",
            loc="left",
            fontsize=7.5,
            pad=3,
        )
        axes.set_xlabel(axis, labelpad=1)
        figures._log_ticks(axes.xaxis, [int(v) for v in x])
        axes.tick_params(labelbottom=True)

    panel(
        grid[0], dims, untrained[:, :, 0], start, "Φ − Φ(σ), untrained", "dimension d", "-1 (1/d)"
    )
    name = "√((AD − 0.384)/n)"
    panel(grid[1], dims, distance, np.sqrt(delta), name, "dimension d", "-1 (1/d)")
    guide = settled[:, :, 0].mean(axis=1)
    guide = np.exp(np.log(np.maximum(guide, 1e-9)).mean()) * np.exp(np.log(sizes).mean()) / sizes
    panel(grid[2], sizes, settled[:, :, 0], guide, "Φ − Φ(σ)", "batch N", "-1 (1/N)")
    n_rows = settled[:, :, 2].mean()
    excess = settled[:, :, 1] * n_rows
    panel(grid[3], sizes, excess, flat * n_rows, "AD − 0.384", "batch N", "0")
    ticks = ((0.1, 0.2, 0.3), (0.005, 0.01, 0.02, 0.05), (0.002, 0.005, 0.01, 0.02, 0.05))
    for axes, at in zip(grid, (*ticks, (0.5, 0.6, 0.7, 0.8, 0.9)), strict=True):
        figures._log_ticks(axes.yaxis, list(at))
    root, root_error = _slope(sizes, np.sqrt(np.maximum(settled[:, :, 0], 1e-9)))
    rows.insert(
        4, ["batch N", "√(Φ − Φ(σ))", f"{root:.2f} ± {root_error:.2f}", "-0.50", "-1/2 (1/√N)"]
    )
    early, early_error = _slope(sizes, halfway[:, :, 0])
    cells = (f"{early:.2f} ± {early_error:.2f}", "-1.00", "-1 (1/N)")
    rows.insert(5, ["batch N", "Φ − Φ(σ), halfway", *cells])
    scaled, scaled_error = _slope(sizes, settled[:, :, 0] * settled[:, :, 3])
    cells = (f"{scaled:.2f} ± {scaled_error:.2f}", "-1.00", "-1 (1/N)")
    rows.insert(6, ["batch N", "(Φ − Φ(σ))·E‖z‖²", *cells])
    table = markdown(rows)
    rows = [
        ["d", "Φ − Φ(σ), untrained", "second order", "trained", "AD − 0.384, trained", "n·Δ(d)"]
    ]
    for index, dim in enumerate(dims):
        first, last = untrained[index, :, 0], trained[index, :, 0]
        normality = trained[index, :, 1] * trained[index, :, 2]
        cells = (_with_error(first), f"{start[index]:.4f}", _with_error(last))
        rows.append(
            [dim, *cells, _with_error(normality, 3), f"{delta[index] * trained[index, 0, 2]:.3f}"]
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
        positive.append(np.einsum("nd,nd->n", u, v))
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
    figure, (axes,) = figures._figure(1.9, legend_lines=3)
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
        ("bias of the loss", bias, predicted_bias, "-1 (1/N)", _COLOURS[0], "o"),
        ("sd of the loss", loss_spread, predicted_spread, "-1/2 (1/√N)", _COLOURS[1], "s"),
        ("sd of the potential", potential_spread, anchored, "-1 (1/N)", _COLOURS[2], "^"),
    ):
        y = np.array(values).T
        fitted, error = _slope(sizes, y)
        of_line = _slope_of_line(sizes, line)
        rows.append([name, f"{fitted:.2f} ± {error:.2f}", f"{of_line:.2f}", limit])
        label = f"{name}: {fitted:.2f} ± {error:.2f}, line {of_line:.2f}"
        axes.plot(sizes, y.mean(axis=1), marker, color=colour, markersize=3.5, label=label)
        axes.plot(sizes, line, color=colour, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="batch N", ylabel="nats")
    figures._log_ticks(axes.xaxis, [int(n) for n in sizes])
    figures._legend_above(axes, columns=1)
    return Drawn("fluctuation", figure, markdown(rows) + "\n" + markdown(values_at))


def _rates_runs(runs: Path) -> list[Run]:
    """The runs of configs/theory/rates.py, by dimension and batch."""
    folders = (runs / "rates").glob("*/config.json")
    of = [_open(folder.parent) for folder in folders]
    if not of:
        raise Absent(_missing(runs / "rates"))
    return sorted(
        of, key=lambda r: (r.config["encoder"]["embedding_dim"], r.config["train"]["batch_size"])
    )


def _middle(steps) -> int:
    return sorted(steps)[len(steps) // 2]


def _judged(run: Run, which: Callable) -> Float[np.ndarray, "members 4"]:
    """Per member: Φ - Φ(σ) less its bias, (mean A² of the directions - 0.384)/n, n, and E‖z‖²."""
    held = embeddings.read(run.embeddings[which(run.embeddings)])
    dim = run.config["encoder"]["embedding_dim"]
    floor = theory.expected_batch_uniformity(dim, _ALPHA_OF_RATES, 4999)
    found = []
    for member in run.member_names:
        z = np.asarray(held.array(member, "test", "clean"))
        u = z / np.linalg.norm(z, axis=1, keepdims=True)
        excess = evaluation.uniformity_potential(u[:5000], _ALPHA_OF_RATES) - floor
        normality = evaluation.anderson_darling(u).statistic.mean() - 0.384
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


def _with_error(values: Float[np.ndarray, " k"], digits: int = 4) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"


def draw_beta(runs: Path) -> Drawn:
    """‖m‖, CV, entropy, AD and alignment against β/β₀ in three dimensions."""
    of = _beta_runs(runs)
    metrics = ("‖m‖", "norm CV", "entropy deficit", "AD average", "alignment")
    figure, grid = figures._figure(0.85, rows=len(metrics), legend_lines=2, gap_inch=0.26)
    rows = [["d", "β_loc/β₀", "β/β₀", "β", *metrics, "Φ − Φ(σ)"]]
    for run, colour in zip(of, _COLOURS, strict=False):
        dim, loss = run.config["encoder"]["embedding_dim"], run.config["loss"]
        held = embeddings.read(run.embeddings[max(run.embeddings)])
        alpha = 1 / loss["temperature"]
        floor = theory.expected_batch_uniformity(dim, alpha, 1999)
        limit = theory.vanishing_beta(dim, loss["temperature"], loss["eta2"])
        local = float(theory.local_beta(dim, loss["temperature"], loss["eta2"])) / limit
        table = {}
        for multiple, members in _by(run, "loss.beta").items():
            found = []
            for member in members:
                z = np.asarray(held.array(member, "test", "view1"), np.float64)[:2000]
                cosines, resultant = _cosines(run, member)
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
    figures._legend_above(grid[0], columns=3, raise_inch=0.17)
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
        for multiple, members in _by(run, "loss.beta").items():
            cost = multiple * limit * dim / 2 * np.log1p(shifts**2)
            least = [lengths[np.argmin(gained + cost)] for gained, lengths in found]
            reached = np.array([_cosines(run, member)[1] for member in members])
            cells = (*(f"{length:.2f}" for length in least), _with_error(reached, 3))
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
    of = [_open(folder.parent) for folder in (runs / "beta").glob("*/config.json")]
    if not of:
        raise Absent(_missing(runs / "beta"))
    return sorted(of, key=lambda run: run.config["encoder"]["embedding_dim"])


EXHIBITS: dict[str, Callable[[Path], Drawn]] = {
    "phi": draw_phi,
    "batch": draw_batch,
    "sphere": draw_sphere,
    "power": draw_power,
    "radius": draw_radius,
    "kl": draw_kl,
    "mildness": draw_mildness,
    "estimator": tabulate_estimator,
    "entropy": tabulate_entropy,
    "alignment": draw_alignment,
    "rates": draw_rates,
    "fluctuation": draw_fluctuation,
    "beta": draw_beta,
    "drift": tabulate_drift,
    "cifar10": tabulate_cifar10,
}


def _open(folder: Path) -> Run:
    if not (folder / "config.json").is_file():
        raise Absent(_missing(folder))
    return load_run(folder)


def _missing(folder: Path) -> str:
    return f"{folder} holds no run; the command is at the top of the file in configs/theory/."


def _by(run: Run, name: str) -> dict[float, list[str]]:
    """Members by the value of a hyperparameter, ascending."""
    groups: dict[float, list[str]] = {}
    for member in run.config["members"]:
        groups.setdefault(member["hyperparameters"][name], []).append(member["name"])
    return dict(sorted(groups.items()))


def _cosines(run: Run, member: str) -> tuple[Float[np.ndarray, " n"], float]:
    """Cosines of the positive pairs of the test set at the last step, and ‖m‖ of both views."""
    held = embeddings.read(run.embeddings[max(run.embeddings)])
    u, v = (
        losses.safe_normalize(jnp.asarray(held.array(member, "test", view)))
        for view in ("view1", "view2")
    )
    u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
    return np.einsum("nd,nd->n", u, v), float(np.linalg.norm((u + v).mean(axis=0) / 2))


def _slope(x: Float[np.ndarray, " k"], y: Float[np.ndarray, "k seeds"]) -> tuple[float, float]:
    """The mean exponent of a power law over seeds, and its standard error."""
    found = exponents(x, y)
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))


def _slope_of_line(x: Float[np.ndarray, " k"], line: Float[np.ndarray, " k"]) -> float:
    return float(exponents(x, np.asarray(line, float)[:, None])[0])


def _rounded(value: float) -> int:
    digits = 10 ** max(int(np.floor(np.log10(value))) - 1, 0)
    return int(round(value / digits) * digits)


def _dotted(config: dict):
    from ml_collections import config_dict

    return config_dict.ConfigDict(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    # Exhibits keep the cores busy with threads of their own; those of BLAS and LAPACK would only be in
    # their way, on matrices as small as most are here.
    with threadpool_limits(1):
        return draw_page(EXHIBITS, "theory", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
