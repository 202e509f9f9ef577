"""Tables and figures of the study."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.pages import Absent, Drawn, markdown, with_interval
from experiments.study.runs import FAMILIES, Point, read_points, to_csv
from experiments.study.statistics import over_groups, paired, partial_spearman, spearman
from infonce_jax.report import canvas
from infonce_jax.report.table import GAUSSIAN_AD

NAMES = {
    "random projection": "random projection of the inputs",
    "untrained": "untrained",
    "infonce": "InfoNCE",
    "infonce_norm_entropy": "InfoNCE + norm-entropy",
    "infonce_sigreg": "InfoNCE + SIGReg",
    "infonce_koleo": "InfoNCE + KoLeo",
    "prediction_sigreg": "alignment + SIGReg",
    "prediction_visreg": "alignment + VISReg",
    "nt_xent": "NT-Xent",
    "vicreg": "VICReg",
    "w_mse": "W-MSE",
    "barlow_twins": "Barlow Twins",
    "spectral_contrastive": "spectral",
    "supervised": "supervised",
}
# Colour by what the objective asks for; the house's colours where they have a meaning.
_GROUPS = {
    "random projection": (canvas.INK, ("random projection",)),
    "untrained": (canvas.UNTRAINED, ("untrained",)),
    "InfoNCE, NT-Xent": (canvas.TRAINED, ("infonce", "nt_xent")),
    "+ norm-entropy": (canvas.BETWEEN, ("infonce_norm_entropy",)),
    "+ SIGReg, KoLeo": (canvas.POSITIVE, ("infonce_sigreg", "infonce_koleo")),
    "SIGReg, VISReg alone": (
        canvas.NEGATIVE,
        ("prediction_sigreg", "prediction_visreg"),
    ),
    "other losses": (
        canvas.REFERENCE,
        ("vicreg", "w_mse", "barlow_twins", "spectral_contrastive"),
    ),
    "supervised": (canvas.OTHER, ("supervised",)),
}
# Name, label, and how it is written.
_GAUSSIANITY = (
    ("ad_groups", "AD, groups", ".3f"),
    ("ad", "AD, n = 10,000", ".3g"),
    ("excess_uniformity", "excess uniformity", ".3f"),
    ("effective_rank", "effective rank", ".0f"),
    ("rankme", "RankMe", ".0f"),
    ("cv", "CV", ".3f"),
    ("cv_gaussian", "of a Gaussian", ".3f"),
    ("between_class_share", "between classes", ".3f"),
)
_USES = (
    ("probe", "probe", ".3f"),
    ("knn", "20 neighbours", ".3f"),
    ("ece", "ECE", ".3f"),
    ("nll", "NLL", ".3f"),
    ("logistic_1", "1 label: logistic", ".3f"),
    ("gaussian_1", "nearest mean", ".3f"),
    ("gaussian_unlabelled_1", "its Σ from all rows", ".3f"),
    ("logistic_5", "5 labels: logistic", ".3f"),
    ("gaussian_5", "Gaussian", ".3f"),
    ("gaussian_unlabelled_5", "its Σ from all rows", ".3f"),
    ("logistic_20", "20 labels: logistic", ".3f"),
    ("gaussian_20", "Gaussian", ".3f"),
    ("gaussian_unlabelled_20", "its Σ from all rows", ".3f"),
)
_IMAGES = (
    ("auroc_held-out class", "AUROC, unseen class", ".3f"),
    ("auroc_uniform noise", "noise", ".3f"),
    ("auroc_textures", "textures", ".3f"),
    ("auroc_digits", "digits", ".3f"),
    ("auroc_classes_held-out class", "by class: unseen class", ".3f"),
    ("auroc_classes_uniform noise", "noise", ".3f"),
    ("auroc_classes_textures", "textures", ".3f"),
    ("auroc_classes_digits", "digits", ".3f"),
    ("corrupted", "accuracy, corrupted", ".3f"),
    ("robustness", "share above chance kept", ".3f"),
)
OUTCOMES = (
    ("probe", "probe accuracy", +1),
    ("knn", "20 nearest neighbours", +1),
    ("ece", "calibration error of the probe", -1),
    ("nll", "NLL of the probe", -1),
    ("few_label_gain_5", "5 labels: Gaussian − logistic", +1),
    ("few_label_gain_20", "20 labels: Gaussian − logistic", +1),
    ("auroc_held-out class", "AUROC, unseen class", +1),
    ("auroc_uniform noise", "AUROC, noise", +1),
    ("auroc_textures", "AUROC, textures", +1),
    ("auroc_classes_held-out class", "AUROC by class, unseen class", +1),
    ("robustness", "share above chance kept under corruption", +1),
)
CONTROLS = ("random projection", "untrained")
_read = functools.cache(read_points)


def draw_accuracy(runs: Path) -> Drawn:
    """Every run a point: how Gaussian, and how well a probe reads its classes."""
    points = _read(runs)
    families = _families(points)
    figure, grid = canvas.panels(
        1.75, rows=len(families), legend_lines=5, gap_inch=0.34, share_x=False
    )
    for axes, family in zip(grid, families, strict=True):
        own = [p for p in points if p.family == family]
        _scatter(axes, own, "probe")
        axes.axvline(GAUSSIAN_AD, **canvas.DASHED)
        axes.set_title(f"{FAMILIES[family]}: probe accuracy", loc="left", fontsize=8.5, pad=3)
    grid[-1].set_xlabel("AD average at n = 10,000, dashed: Gaussian")
    canvas.legend_above(grid[0], columns=2, raise_inch=0.2)
    return Drawn("accuracy", figure, "")


def draw_uses(family: str, runs: Path) -> Drawn:
    """The other uses, on images: calibration, few labels, unknown images, corruptions."""
    points = [p for p in _read(runs) if p.family == family]
    if not points:
        raise Absent(
            f"{runs} has nothing of {FAMILIES[family]}; the commands are in configs/study/."
        )
    shown = (
        ("ece", "calibration error of the probe (ECE)"),
        ("few_label_gain_5", "accuracy with 5 labels a class: Gaussian − logistic"),
        ("auroc_held-out class", "AUROC, test images against an unseen class"),
        ("robustness", "share above chance kept under corruption"),
    )
    figure, grid = canvas.panels(1.2, rows=len(shown), legend_lines=5, gap_inch=0.24)
    for axes, (name, label) in zip(grid, shown, strict=True):
        _scatter(axes, points, name)
        axes.set_title(label, loc="left", fontsize=8, pad=3)
        if name == "few_label_gain_5":
            axes.axhline(0, **canvas.DASHED)
        if axes is not grid[-1]:
            axes.tick_params(labelbottom=False)
    grid[-1].set_xlabel(f"AD average at n = 10,000, {FAMILIES[family]}")
    canvas.legend_above(grid[0], columns=2, raise_inch=0.2)
    return Drawn(f"uses_{family}", figure, "")


def draw_encoders(runs: Path) -> Drawn:
    """Every encoder with all its measures, so that other figures can be drawn from them."""
    return Drawn("encoders", None, "", to_csv(_read(runs)))


def draw_gaussianity(runs: Path) -> Drawn:
    """How Gaussian every objective makes its representations."""
    return Drawn("gaussianity", None, _table(_read(runs), _GAUSSIANITY))


def draw_probes(runs: Path) -> Drawn:
    """Accuracies and calibration, with many labels and few."""
    return Drawn("probes", None, _table(_read(runs), _USES))


def draw_images(runs: Path) -> Drawn:
    """Unknown images and corrupted ones."""
    points = [p for p in _read(runs) if "robustness" in p.values]
    if not points:
        raise Absent(f"{runs} has no encoders of images; the commands are in configs/study/.")
    return Drawn("images", None, _table(points, _IMAGES))


def draw_correlations(runs: Path) -> Drawn:
    """Rank correlations of Gaussianity with each use, and at equal effective rank."""
    points = [p for p in _read(runs) if p.objective not in CONTROLS]
    rows = [["", "use", "settings", "with Gaussianity", "at equal effective rank", "with the rank"]]
    for family in _families(points):
        settings = _setting_means([p for p in points if p.family == family])
        for name, label, sign in OUTCOMES:
            found = [values for values in settings if np.isfinite(values.get(name, np.nan))]
            if not found:
                continue
            gaussianity = np.array([-values["ad"] for values in found])
            rank = np.array([values["effective_rank"] for values in found])
            use = sign * np.array([values[name] for values in found])
            rows.append(
                [
                    FAMILIES[family],
                    label if sign > 0 else f"{label}, negated",
                    len(found),
                    _bootstrapped(spearman, gaussianity, use),
                    _bootstrapped(partial_spearman, gaussianity, use, rank),
                    _bootstrapped(spearman, rank, use),
                ]
            )
    return Drawn("correlations", None, markdown(rows))


def _setting_means(points: Sequence[Point]) -> list[dict[str, float]]:
    """The measures of each setting, averaged over its seeds."""
    settings = {(p.objective, p.weight) for p in points}
    means = []
    for setting in sorted(settings):
        own = [p.values for p in points if (p.objective, p.weight) == setting]
        means.append({name: float(np.mean([v[name] for v in own])) for name in own[0]})
    return means


def draw_changes(runs: Path) -> Drawn:
    """What a regulariser changes in InfoNCE, seed by seed."""
    points = _read(runs)
    rows = [["", "added to InfoNCE", "AD", *(label for _, label, _ in OUTCOMES)]]
    for family in _families(points):
        own = [p for p in points if p.family == family]
        before = [p for p in own if p.objective == "infonce"]
        if not before:
            continue
        for objective in ("infonce_norm_entropy", "infonce_sigreg", "infonce_koleo"):
            weights = sorted({p.weight for p in own if p.objective == objective})
            for weight in weights:
                after = [p for p in own if (p.objective, p.weight) == (objective, weight)]
                ratio = _change(after, before, "ad", np.log)
                name = NAMES[objective].removeprefix("InfoNCE + ")
                cells = [FAMILIES[family], f"{name}, {weight:g}", _times(ratio)]
                for measure, *_ in OUTCOMES:
                    is_there = all(measure in p.values for p in (*after, *before))
                    change = _change(after, before, measure) if is_there else None
                    cells.append("–" if change is None else _signed(change))
                rows.append(cells)
    return Drawn("changes", None, markdown(rows))


EXHIBITS = {
    "accuracy": draw_accuracy,
    "uses_cifar10_mlp": functools.partial(draw_uses, "cifar10_mlp"),
    "uses_cifar10_resnet": functools.partial(draw_uses, "cifar10_resnet"),
    "encoders": draw_encoders,
    "gaussianity": draw_gaussianity,
    "probes": draw_probes,
    "images": draw_images,
    "correlations": draw_correlations,
    "changes": draw_changes,
}


def _families(points: Sequence[Point]) -> list[str]:
    return [family for family in FAMILIES if any(p.family == family for p in points)]


def _scatter(axes, points: Sequence[Point], name: str) -> None:
    for label, (colour, objectives) in _GROUPS.items():
        own = [p for p in points if p.objective in objectives]
        if not own:
            continue
        x = [p.values["ad"] for p in own]
        y = [p.values[name] for p in own]
        axes.plot(x, y, "o", markersize=3.6, alpha=0.75, color=colour, label=label, mew=0)
    axes.set_xscale("log")
    canvas.log_ticks(axes.xaxis, canvas.decade_ticks(*axes.get_xlim()))


def _table(points: Sequence[Point], columns: Sequence[tuple[str, str, str]]) -> str:
    rows = [["", "objective", *(label for _, label, _ in columns)]]
    for family in _families(points):
        for objective, name in NAMES.items():
            own = [p for p in points if (p.family, p.objective) == (family, objective)]
            weights = sorted({p.weight for p in own})
            for weight in weights:
                setting = [p for p in own if p.weight == weight]
                label = f"{name}, {weight:g}" if weight else name
                cells = [FAMILIES[family], label]
                for measure, _, form in columns:
                    values = [p.values[measure] for p in setting if measure in p.values]
                    finite = [value for value in values if np.isfinite(value)]
                    cells.append(with_interval(finite, form) if finite else "–")
                rows.append(cells)
    return markdown(rows)


def _bootstrapped(statistic: Callable[..., float], *columns: np.ndarray) -> str:
    value, low, high = over_groups(statistic, columns, range(len(columns[0])))
    if not np.isfinite(low):
        return "–"
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _change(after, before, name: str, of: Callable = float):
    def by_seed(points):
        return {p.seed: float(of(p.values[name])) for p in points}

    return paired(by_seed(after), by_seed(before))


def _times(change) -> str:
    low, high = change.mean - change.half_width, change.mean + change.half_width
    return f"×{np.exp(change.mean):.2f} ({np.exp(low):.2f} to {np.exp(high):.2f})"


def _signed(change) -> str:
    return f"{change.mean:+.3f} ± {change.half_width:.3f}"
