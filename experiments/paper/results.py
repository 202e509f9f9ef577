"""The table of RESULTS.md: every exhibit beside the paper's, with its controls."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.pages import Absent, Drawn, markdown
from experiments.paper.cifar10 import PAPER_AD, PAPER_CV, curves
from experiments.paper.laplace import spread_of_cosines
from experiments.paper.protocol import Measured, measure_epochs, measure_run
from experiments.paper.pushforward import PAPER as PAPER_PEARSON
from experiments.paper.pushforward import correlate
from experiments.paper.runs import load_points, of_dim
from experiments.paper.table1 import number, share
from infonce_jax.report.paper import TABLE_1, Entry

_HEAD = ["exhibit", "the paper", "ours, same protocol", "untrained", "random projection",
         "ours, AD at n = 1,000", "at n = 10,000", "in a sentence"]  # fmt: skip
_NONE = "–"


def tabulate_results(runs: Path) -> Drawn:
    """The paper's value, ours by its protocol, its controls, and ours at two sample sizes."""
    rows = [_HEAD]
    missing = []
    for exhibit in (_synthetic, _binary, _cifar10, _cosines, _norms, _pushforward):
        try:
            rows += exhibit(runs)
        except Absent as reason:
            missing.append(str(reason))
    if len(rows) == 1:
        raise Absent(missing[0])
    return Drawn("results", None, markdown(rows))


def _shown(members: Sequence[Measured]) -> str:
    """CV, AD average and share that passes AD, by groups."""
    passes = share(np.mean([m.ad_pass for m in members]))
    return f"{number([m.cv for m in members])}, {number([m.ad for m in members])}, {passes}"


def _reported(entry: Entry) -> str:
    values = TABLE_1[entry]
    return f"{values['norm_cv']:g}, {values['ad_mean']:g}, {share(values['ad_pass'])}"


def _sizes(members: Sequence[Measured]) -> list[str]:
    return [number([m.ad_at[n] for m in members]) for n in (1000, 10_000)]


def _synthetic(runs: Path) -> list[list[str]]:
    rows = []
    for title, name, sentence in (
        ("Table 1, Laplace", "laplace", "Reproduced; the untrained encoder gives the same."),
        (
            "Table 1, mixture",
            "mixture",
            "Reproduced with means that lie close together, where the untrained encoder passes too.",
        ),
    ):
        found = measure_run(runs / "table1_synthetic" / name)
        paper = _reported(Entry(name, "infonce", None))
        ours = [_shown(of) for of in (found.trained, found.untrained, found.projection)]
        rows.append([title, paper, *ours, *_sizes(found.trained), sentence])
    return rows


def _binary(runs: Path) -> list[list[str]]:
    found = measure_run(runs / "table1_synthetic" / "binary", (50,))
    start, end = (_reported(Entry("binary", "infonce", epoch)) for epoch in (0, 100))
    projection = _shown(found.projection)
    return [
        ["Table 1, binary, start", start, _shown(found.untrained), "(is the start)", projection,
         *_sizes(found.untrained), "Reproduced with clustered rows of very unequal numbers of ones."],
        ["Table 1, binary, end", end, _shown(found.trained), _shown(found.untrained), projection,
         *_sizes(found.trained), "Reproduced with the same rows: here training makes them normal."],
    ]  # fmt: skip


def _cifar10(runs: Path) -> list[list[str]]:
    found = curves(runs / "cifar10_mlp")
    epochs = found["contrastive"]
    last = max(epochs)
    projection = _shown(measure_run(runs / "cifar10_mlp" / "contrastive").projection)
    paper = [f"{cv:g}, {ad:g}" for cv, ad in zip(PAPER_CV, PAPER_AD, strict=True)]
    untrained = _shown(epochs[0])
    rows = [
        ["Figure 4, MLP, epoch 0", paper[0], untrained, "(is the start)", projection,
         *_sizes(epochs[0]), "Depends on how the pixels are scaled, which is not stated."],
        [f"Figure 4, MLP, epoch {last:g} (paper: 100)", paper[1], _shown(epochs[last]), untrained,
         projection, *_sizes(epochs[last]), "A rise in the first epoch, then a decline."],
    ]  # fmt: skip
    if "supervised" in found:
        of = found["supervised"]
        end = max(of)
        rows.append(
            [f"same MLP on the labels, epoch {end:g}", _NONE, _shown(of[end]), untrained, projection,
             *_sizes(of[end]), "The control that the paper lacks."]
        )  # fmt: skip
    return rows


def _cosines(runs: Path) -> list[list[str]]:
    spreads = spread_of_cosines(runs)
    ends = [f"{spreads[key][1]:.3f}" for key in (min(spreads), max(spreads))]
    untrained = [f"{spreads[key][0]:.3f}" for key in (min(spreads), max(spreads))]
    return [
        ["Figures 2, 7, 8: sd of negatives' cosines, smallest to largest d and batch", "falls",
         " to ".join(ends), " to ".join(untrained), _NONE, _NONE, _NONE,
         "Matches; most of it is the dimension, which needs no training."]
    ]  # fmt: skip


def _norms(runs: Path) -> list[list[str]]:
    points = load_points(runs / "laplace")
    dims = sorted({p.dim for p in points})
    first, last = of_dim(points, dims[0])[0], of_dim(points, dims[-1])[-1]
    ends = [measure_epochs(p.run.path, (), sizes=(1000,)) for p in (first, last)]

    def pair(of: Callable[[Measured], float], which: Callable) -> str:
        return " to ".join(number([of(m) for m in end[which(end)]]) for end in ends)

    ours, untrained = (
        f"CV {pair(lambda m: m.cv, which)}, AD {pair(lambda m: m.ad, which)}"
        for which in (max, min)
    )
    return [
        ["Figure 3: CV and AD, smallest to largest d and batch", "CV falls, AD accepted", ours,
         untrained, _NONE, pair(lambda m: m.ad_at[1000], max), _NONE,
         "Matches; so does the untrained encoder."]
    ]  # fmt: skip


def _pushforward(runs: Path) -> list[list[str]]:
    found = correlate(runs / "pushforward")

    def values(rows: str, encoder: str) -> str:
        of = [np.mean(v) for v in found.of[rows, encoder].values()]
        return f"{min(of):.2f} to {max(of):.2f}"

    return [
        ["Figure 11: Pearson correlation at A = 0.2, 0.5, 0.8",
         f"{PAPER_PEARSON[0]:g} to {PAPER_PEARSON[1]:g}",
         f"views {values('views', 'trained')}; clean rows {values('clean', 'trained')}",
         f"views {values('views', 'untrained')}; clean rows {values('clean', 'untrained')}",
         _NONE, _NONE, _NONE,
         "Reproduced on views: what both likelihoods share is the random factor of each row."]
    ]  # fmt: skip
