"""The theory against simulation and against training: every figure and table of docs/theory.md.

    python -m infonce_jax.report.theory --runs runs/theory --output docs/theory

The closed forms are simulated here; the experiments are read from the run folders that
configs/theory/*.py wrote. What has no run folder is left out and named. Tables are printed, and set in
the page.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from infonce_jax import embeddings, evaluation, losses, theory
from infonce_jax.report import figures
from infonce_jax.report.pages import Absent, Drawn, draw_page, markdown
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
    axes.set_ylim(1e-4, 150)
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
    levels = np.array([0.06, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97])
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
    axes.set(xscale="log", xlabel="sample size n", ylabel="share rejected, d = 16", ylim=(0, 1))
    figures._legend_above(axes, columns=2)
    return Drawn("power", figure, "")


def draw_radius(_: Path) -> Drawn:
    """CV of the norm of Gaussian vectors against the participation ratio, for three spectra."""
    figure, (axes,) = figures._figure(1.7, legend_lines=2)
    rng = np.random.default_rng(0)
    spectra = {
        "isotropic": lambda d: np.ones(d),
        "λ_i ∝ 1/i": lambda d: 1 / np.arange(1.0, d + 1),
        "λ_i ∝ 0.9^i": lambda d: 0.9 ** np.arange(d),
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
    rows = [["source", "strength", "η₂", "estimate", "worst error", "bound below η₂"]]
    for label, (exact, _, strengths) in _PAIRS.items():
        for strength in strengths:
            truth = exact(strength)
            got = [
                theory.mildness.estimate(*_draw_pairs(label, strength, 1 + seed))
                for seed in range(repeats)
            ]
            estimates = np.array([g.estimate for g in got])
            below = sum(g.lower < truth for g in got)
            worst = np.abs(estimates - truth).max()
            spread = f"{estimates.mean():.4f} ± {estimates.std():.4f}"
            cells = (f"{strength:g}", f"{truth:.4f}", spread, f"{worst:.4f}")
            rows.append([_LABELS[label], *cells, f"{below} of {repeats}"])
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
    rows = [["law", "d", "n", "true H", *names]]
    for law, (draw, truth) in laws.items():
        for dim in (2, 8, 32, 128):
            for n in (256, 1024):
                draws = [draw((n, dim)).astype(np.float32) for _ in range(4)]
                bias = []
                for name in names:
                    values = np.array([float(jitted[name](z)) for z in draws]) - truth(dim)
                    bias.append(f"{values.mean():+.2f} ± {values.std(ddof=1) / 2:.2f}")
                rows.append([law, dim, f"{n:,}", f"{truth(dim):.2f}", *bias])
    return Drawn("entropy", None, markdown(rows))


def draw_alignment(runs: Path) -> Drawn:
    """Alignment reached against the bound, at every strength of four channels."""
    names = ("gaussian", "laplace", "mixture", "binary")
    figure, grid = figures._figure(
        0.95, rows=len(names), legend_lines=2, gap_inch=0.4, share_x=False
    )
    rows = [["source", "strength", "η₂", "‖m‖", "bound", "alignment", "share of the bound"]]
    from infonce_jax import data

    for axes, name in zip(grid, names, strict=True):
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
            fmt="o-",
            color=_COLOURS[0],
            markersize=3,
            linewidth=0.9,
            label="trained",
        )
        axes.set(xscale="log", ylim=(0, 1.03))
        axes.set_title(run.title, loc="left", fontsize="medium", pad=3)
        figures._log_ticks(axes.xaxis, [float(s) for s in at[:, 0]])
        axes.tick_params(labelbottom=True)
    grid[-1].set_xlabel("strength of the channel")
    figures._legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("alignment", figure, markdown(rows))


def tabulate_cifar10(runs: Path) -> Drawn:
    """η₂ of SimCLR's views, from below, by the trained representations; and the alignment beside it."""
    run = _open(runs / "cifar10")
    rows = [
        ["smallest crop", "η₂ ≥ (estimate)", "lower bound", "alignment", "‖m‖", "bound at that η₂"]
    ]
    last = max(run.embeddings)
    held = embeddings.read(run.embeddings[last])
    for crop, members in _by(run, "channel.crop_area_min").items():
        views = [np.asarray(held.array(members[0], "test", v)) for v in ("view1", "view2")]
        got = theory.mildness.estimate(*views)
        cosines, resultant = _cosines(run, members[0])
        bound = float(theory.alignment_bound(min(got.estimate, 1.0), resultant))
        estimate = f"{got.estimate:.3f} ± {got.standard_error:.3f}"
        cells = (f"{cosines.mean():.3f}", f"{resultant:.3f}", f"{bound:.3f}")
        rows.append([f"{crop:g}", estimate, f"{got.lower:.3f}", *cells])
    return Drawn("cifar10", None, markdown(rows))


def draw_rates(runs: Path) -> Drawn:
    """Excess uniformity and excess AD against d and against N, with fitted and predicted slopes."""
    folders = sorted((runs / "rates").glob("*/config.json"))
    if not folders:
        raise Absent(_missing(runs / "rates"))
    of = [_open(folder.parent) for folder in folders]
    sweeps = {
        "dimension d": ([r for r in of if r.config["train"]["batch_size"] == 256], -1.0),
        "batch N": ([r for r in of if r.config["encoder"]["embedding_dim"] == 32], -0.5),
    }
    figure, grid = figures._figure(1.05, rows=4, legend_lines=2, gap_inch=0.55, share_x=False)
    rows = [["against", "quantity", "measured slope", "predicted"]]
    panel = iter(grid)
    for axis, (chosen, slope) in sweeps.items():
        values = {"Φ − Φ(σ)": [], "AD − 0.384": []}
        x = []
        for run in chosen:
            held = embeddings.read(run.embeddings[max(run.embeddings)])
            dim = run.config["encoder"]["embedding_dim"]
            x.append(dim if axis == "dimension d" else run.config["train"]["batch_size"])
            floor = theory.expected_batch_uniformity(dim, _ALPHA_OF_RATES, 3999)
            excess, normality = [], []
            for member in run.member_names:
                z = np.asarray(held.array(member, "test", "clean"))
                excess.append(evaluation.uniformity_potential(z[:4000], _ALPHA_OF_RATES) - floor)
                normality.append(evaluation.anderson_darling(z).statistic.mean() - 0.384)
            values["Φ − Φ(σ)"].append(excess)
            values["AD − 0.384"].append(normality)
        order = np.argsort(x)
        x = np.array(x, float)[order]
        for name in ("Φ − Φ(σ)", "AD − 0.384"):
            axes = next(panel)
            y = np.array(values[name])[order]
            fitted, error = _slope(x, y)
            axes.plot(np.repeat(x, y.shape[1]), y.ravel(), ".", color=_COLOURS[0], markersize=3)
            mean = y.mean(axis=1)
            axes.plot(x, mean, "-", color=_COLOURS[0], linewidth=1.2, label="measured")
            anchor = np.exp(np.log(np.maximum(mean, 1e-9)).mean())
            guide = anchor * (x / np.exp(np.log(x).mean())) ** slope
            axes.plot(x, guide, color=figures.INK, linewidth=0.8, dashes=(4, 2), label="predicted")
            rate = "1/d" if slope == -1 else "1/√N"
            axes.set(xscale="log", yscale="log")
            title = f"{name}: slope {fitted:.2f} ± {error:.2f}, predicted {slope:g}"
            axes.set_title(title, loc="left", fontsize=7.5, pad=3)
            axes.set_xlabel(axis, labelpad=1)
            figures._log_ticks(axes.xaxis, [int(v) for v in x])
            axes.tick_params(labelbottom=True)
            rows.append([axis, name, f"{fitted:.2f} ± {error:.2f}", f"{slope:g} ({rate})"])
    figures._legend_above(grid[0], columns=2, raise_inch=0.17)
    return Drawn("rates", figure, markdown(rows))


def draw_beta(runs: Path) -> Drawn:
    """‖m‖, CV, entropy, AD and alignment against β/β₀ in three dimensions."""
    folders = sorted((runs / "beta").glob("*/config.json"))
    if not folders:
        raise Absent(_missing(runs / "beta"))
    of = sorted(
        (_open(folder.parent) for folder in folders),
        key=lambda run: run.config["encoder"]["embedding_dim"],
    )
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
        for index, (axes, name) in enumerate(zip(grid, metrics, strict=True)):
            y = np.array([table[k][:, index] for k in sorted(table)])
            axes.plot(x, y, color=colour, linewidth=0.4, alpha=0.6)
            axes.plot(x, y.mean(axis=1), "o-", color=colour, markersize=3, label=f"d = {dim}")
            axes.set_title(name, loc="left", fontsize="medium", pad=3)
            axes.set_xticks(x, labels=[f"{k:g}" for k in sorted(table)])
    grid[-1].set_xlabel("β/β₀")
    figures._legend_above(grid[0], columns=3, raise_inch=0.17)
    return Drawn("beta", figure, markdown(rows))


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
    "beta": draw_beta,
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
    """Log-log slope through the means over seeds, and its standard error by refitting each seed."""
    logs = np.log(x) - np.log(x).mean()
    each = logs @ np.log(np.maximum(y, 1e-9)) / (logs @ logs)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def _rounded(value: float) -> int:
    digits = 10 ** max(int(np.floor(np.log10(value))) - 1, 0)
    return int(round(value / digits) * digits)


def _dotted(config: dict):
    from ml_collections import config_dict

    return config_dict.ConfigDict(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return draw_page(EXHIBITS, "theory", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
