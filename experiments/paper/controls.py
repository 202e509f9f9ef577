"""Table 1 beside its controls."""

import math
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.pages import (
    Absent,
    Drawn,
    labelled,
    markdown,
    with_interval,
)
from experiments.paper.runs import test_key
from infonce_jax import data, embeddings
from infonce_jax.config import from_plain
from infonce_jax.evaluation import evaluate_arrays
from infonce_jax.evaluation.controls import gaussian_like, random_projection
from infonce_jax.report import paper
from infonce_jax.report.runs import Run, Setting, load_run

_CONTROL_SIZES = (500, 1000, 10_000)


# Table 1: what it is of, the run, and the run of the same encoder on the labels, where there are any.
_TABLE_1 = (
    ("Laplace", "table1_synthetic/laplace", None),
    ("Gaussian mixture", "table1_synthetic/mixture", "../beyond/objectives/supervised"),
    ("sparse binary", "table1_synthetic/binary", None),
    ("CIFAR-10, MLP", "cifar10_mlp/contrastive", "cifar10_mlp/supervised"),
    ("CIFAR-10, ResNet", "cifar10_resnet/contrastive", "cifar10_resnet/supervised"),
)


def draw_controls(runs: Path) -> Drawn:
    """Table 1 and its controls at three sample sizes: the part due to training, and to InfoNCE."""
    rows = [["", "CV", *(f"AD, n = {n:,}" for n in _CONTROL_SIZES), "DP pass, n = 1,000"]]

    def add(label: str, found: list[dict[tuple[int, str], float]]) -> None:
        """One row; `found` holds the statistics of every seed by sample size and name."""
        cells = [with_interval([f[1000, "norm_cv"] for f in found], 3)]
        for n in _CONTROL_SIZES:
            ad = [f[n, "ad_mean"] for f in found]
            # Three significant digits.
            cells.append(with_interval(ad, max(0, 2 - math.floor(math.log10(np.mean(ad))))))
        cells += [with_interval([100 * f[1000, "dp_pass"] for f in found], 0) + "%"]
        rows.append([label, *cells])

    folders = [runs / path for _, path, _ in _TABLE_1]
    if not any((folder / "evaluation.json").is_file() for folder in folders):
        raise Absent(
            f"{folders[0].parent} holds no run; the command is at the top of "
            "configs/paper/table1_synthetic.py."
        )
    for (title, _, supervised), folder in zip(_TABLE_1, folders, strict=True):
        if not (folder / "evaluation.json").is_file():
            print(f"controls: no run in {folder}; its rows are left out.", file=sys.stderr)
            continue
        run = load_run(folder)
        last = max(run.epochs)
        reported = paper.reported(run.paper, run.objective, run.epochs[last], final=True)
        if reported is not None:
            cv, ad, dp_pass = (reported[name] for name in ("norm_cv", "ad_mean", "dp_pass"))
            rows.append([f"**{title}**: the paper", f"{cv:g}", "–", f"{ad:g} (n not stated)", "–",
                         f"{100 * dp_pass:g}%"])  # fmt: skip
        else:
            rows.append([f"**{title}**", *["" for _ in rows[0][1:]]])
        inputs = data.load(from_plain(run.config)).test
        inputs = np.asarray(data.to_float(inputs), np.float64).reshape(len(inputs), -1)
        seeds = range(len(run.settings[0].members))
        projected = [random_projection(inputs, run.dims[test_key(run, 0)], seed=s) for s in seeds]
        add("random projection of the inputs", list(map(_normality_of, projected)))
        add("untrained", _normality_of_members(run, run.settings[0], 0))
        for setting in run.settings:
            add(labelled("InfoNCE", setting), _normality_of_members(run, setting, last))
            held = embeddings.read(run.embeddings[last])
            gaussian = [
                gaussian_like(held.array(member, "test", "clean"), seed=s)
                for s, member in enumerate(setting.members)
            ]
            label = labelled("a Gaussian with its mean and covariance", setting)
            add(label, list(map(_normality_of, gaussian)))
        if supervised is not None and (runs / supervised / "evaluation.json").is_file():
            on_labels = load_run(runs / supervised)
            found = _normality_of_members(on_labels, on_labels.settings[0], max(on_labels.epochs))
            add("supervised", found)
    return Drawn("controls", None, markdown(rows))


def _normality_of(z: Float[np.ndarray, "n d"]) -> dict[tuple[int, str], float]:
    found = evaluate_arrays(
        z, sample_sizes=_CONTROL_SIZES, representations=("raw",), tests=("ad", "dp")
    )
    return {(row["n"], row["statistic"]): row["value"] for row in found}


def _normality_of_members(
    run: Run, setting: Setting, step: int
) -> list[dict[tuple[int, str], float]]:
    """The same of every seed of a run, which its evaluation has found already."""
    by_size = {n: run.members[test_key(run, step, setting.key, n)] for n in _CONTROL_SIZES}
    return [
        {(n, name): values[member] for n, of in by_size.items() for name, values in of.items()}
        for member in setting.members
    ]
