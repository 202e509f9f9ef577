"""Normality under every objective."""

from pathlib import Path

from experiments.beyond.runs import values_of
from experiments.pages import (
    Drawn,
    Interval,
    finished_folders,
    interval,
    labelled,
    markdown,
)
from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT
from infonce_jax.report import canvas
from infonce_jax.report.runs import Run, load_run
from infonce_jax.report.table import GAUSSIAN_AD

OBJECTIVE_NAMES = {
    "infonce": "InfoNCE",
    "nt_xent": "NT-Xent",
    "dcl": "DCL",
    "siglip": "SigLIP",
    "sup_con": "SupCon",
    "barlow_twins": "Barlow Twins",
    "vicreg": "VICReg",
    "supervised": "cross-entropy",
}


def draw_objectives(runs: Path) -> Drawn:
    """CV, AD and DP of the mixture's representations under every objective."""
    folders = {folder.name: folder for folder in finished_folders(runs / "objectives")}
    found = []
    for name, label in OBJECTIVE_NAMES.items():
        if name not in folders:
            continue
        run = load_run(folders[name])
        if not found:
            setting = run.settings[0].key
            found.append(
                ("untrained", *(statistics_at(run, setting, 0, n) for n in (1000, 10_000)))
            )
        for setting in run.settings:
            last = (statistics_at(run, setting.key, max(run.epochs), n) for n in (1000, 10_000))
            found.append((labelled(label, setting), *last))
    rows = [
        ["objective", "CV", "of a Gaussian", "AD, n = 1,000", "AD, n = 10,000", "DP pass, 1,000",
         "alignment", "negative cosines' sd", "rank"]
    ]  # fmt: skip
    for label, small, large in found:
        dp = small["dp_pass"]
        rows.append(
            [
                label, f"{small['norm_cv']:.3f}", f"{small['norm_cv_gaussian'].mean:.3f}",
                f"{small['ad_mean']:.2f}",
                f"{large['ad_mean']:.2f}", f"{dp.mean:.0%} ± {dp.half_width:.0%}",
                f"{large['alignment']:.3f}", f"{large['negative_cosine_std']:.3f}",
                f"{large['participation_ratio'].mean:.0f}",
            ]
        )  # fmt: skip
    figure, (axes,) = canvas.panels(0.16 * len(found) + 0.1, legend_lines=2)
    for row, (label, _, large) in enumerate(found):
        colour = canvas.UNTRAINED if label == "untrained" else canvas.TRAINED
        value = large["ad_mean"]
        error = [[value.half_width], [value.half_width]]
        axes.errorbar(value.mean, row, xerr=error, fmt="o", markersize=3.5, color=colour)
    axes.axvline(GAUSSIAN_AD, **canvas.DASHED, label=f"Gaussian {GAUSSIAN_AD}")
    axes.axvline(
        AD_CRITICAL_5_PERCENT,
        color=canvas.REFERENCE,
        linewidth=0.8,
        label=f"5% limit {AD_CRITICAL_5_PERCENT}",
    )
    axes.set_xscale("log")
    canvas.log_ticks(axes.xaxis, (0.4, 1, 3, 10, 30, 100, 300))
    axes.set(xlabel="AD average, n = 10,000")
    axes.set_yticks(range(len(found)), labels=[label for label, *_ in found])
    axes.invert_yaxis()
    # Names of objectives need more room than ticks do.
    figure.subplots_adjust(left=0.48)
    canvas.legend_above(axes)
    return Drawn("objectives", figure, markdown(rows))


def statistics_at(run: Run, setting: str, step: int, n: int) -> dict[str, Interval]:
    return {name: interval(v) for name, v in values_of(run, setting, step, n).items() if len(v) > 1}
