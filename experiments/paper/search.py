"""Which laws of the inputs reach the paper's numbers, where appendix E.1 does not state the law."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pages import Drawn, finished_folders, markdown
from experiments.paper.table1 import number, share
from infonce_jax import embeddings, evaluation
from infonce_jax.evaluation.groups import grouped, summary
from infonce_jax.files import write_json
from infonce_jax.report import canvas
from infonce_jax.report.paper import TABLE_1, Entry

# A setting reaches the paper's CV and AD where neither misses by more.
CLOSE = 0.15


class Reading(NamedTuple):
    """CV and AD average by groups of one embedding, and the shares of coordinates that pass."""

    cv: float
    ad: float
    ad_pass: float
    dp_pass: float

    def miss(self, reported: dict[str, float]) -> float:
        """The larger of the relative misses of CV and AD, 0.1 where a value is a tenth too high."""
        ratios = self.cv / reported["norm_cv"], self.ad / reported["ad_mean"]
        return float(np.exp(np.max(np.abs(np.log(ratios)))) - 1)


class Setting(NamedTuple):
    """One trained member of a search.

    Attributes:
        config: of its run.
        temperature: its own.
        start: readings of the start, by name.
        end: readings of the end, by name.
    """

    config: dict
    temperature: float
    start: dict[str, Reading]
    end: dict[str, Reading]


def read(z: Float[np.ndarray, "n d"]) -> dict[str, Reading]:
    """The readings of one array: norms from the origin, and from the mean."""
    z = np.asarray(z, np.float64)
    found = summary(grouped(z))
    rest = found["group_ad_mean"], found["group_ad_pass"], found["group_dp_pass"]
    centred = evaluation.norm_cv(z - z.mean(axis=0))
    return {"": Reading(evaluation.norm_cv(z), *rest), ", centred": Reading(centred, *rest)}


@functools.lru_cache
def settings(folder: Path) -> list[Setting]:
    """Every member of a search, with its readings of clean rows and of views at both ends."""
    found = []
    for run in finished_folders(folder):
        config = json.loads((run / "config.json").read_text())
        for temperature, *ends in readings_of(run):
            start, end = ({k: Reading(*v) for k, v in of.items()} for of in ends)
            found.append(Setting(config, temperature, start, end))
    return found


def readings_of(run: Path) -> list[tuple[float, dict, dict]]:
    """Temperature, start and end of every member; kept in the run's readings.json, as they take time."""
    kept = run / "readings.json"
    first, *between, last = map(embeddings.read, embeddings.find_steps(run))
    steps = [held.manifest["step"] for held in (first, *between, last)]
    if kept.is_file():
        content = json.loads(kept.read_text())
        if content["steps"] == steps:
            return content["members"]
    # Members differ in temperature alone, and start from the same parameters.
    start = _readings(first, last.members[0]["name"], "untrained")
    found = []
    for member in last.members:
        name, early = member["name"], {}
        for held in between[:1]:
            when = f"after epoch {held.manifest['epoch']:g}"
            early = {when + k: v for k, v in read(held.array(name, "test", "clean")).items()}
        temperature = member["hyperparameters"]["loss.temperature"]
        found.append((temperature, start | early, _readings(last, name, "trained")))
    write_json(kept, {"steps": steps, "members": found})
    return found


def _readings(held: embeddings.EmbeddingSet, name: str, when: str) -> dict[str, Reading]:
    result = {}
    for view, of in (("clean", ""), ("view1", ", views")):
        for how, reading in read(held.array(name, "test", view)).items():
            result[when + of + how] = reading
    return result


def closest(readings: dict[str, Reading], reported: dict[str, float]) -> tuple[float, str]:
    """The least miss, and the reading that has it."""
    return min((reading.miss(reported), name) for name, reading in readings.items())


def draw_binary(runs: Path) -> Drawn:
    """Sparse binary inputs: which settings start as the paper's, which end so, which do both."""
    found = settings(runs / "binary")
    before, after = (TABLE_1[Entry("binary", "infonce", epoch)] for epoch in (0, 100))
    misses = [(closest(s.start, before)[0], closest(s.end, after)[0]) for s in found]
    both = [max(pair) for pair in misses]
    best = found[int(np.argmin(both))]
    count = [["settings", "start reached", "end reached", "both", "least miss of the start",
              "of the end", "of both"]]  # fmt: skip
    close = np.array(misses) <= CLOSE
    count.append([len(found), *close.sum(axis=0), close.all(axis=1).sum()]
                 + [f"{100 * v:.0f}%" for v in (*np.min(misses, axis=0), min(both))])  # fmt: skip
    # Of each law the temperature that comes nearest.
    of_law: dict[str, tuple[float, Setting, tuple[float, float]]] = {}
    for setting, miss, pair in zip(found, both, misses, strict=True):
        law = describe(setting.config)
        if law not in of_law or miss < of_law[law][0]:
            of_law[law] = miss, setting, pair
    rows = [["inputs and setting", "τ", "CV, untrained", "AD", "AD pass", "CV, trained", "AD",
             "AD pass", "miss of the start", "of the end"]]  # fmt: skip
    for law, (_, setting, pair) in sorted(of_law.items(), key=lambda item: item[1][0]):
        one, other = setting.start["untrained"], setting.end["trained"]
        rows.append([law, f"{setting.temperature:g}", *_cells(one), *_cells(other)]
                    + [f"{100 * v:.0f}%" for v in pair])  # fmt: skip
    figure = _scatter(found, best)
    return Drawn("binary", figure, markdown(count) + "\n" + markdown(rows))


def _cells(reading: Reading) -> list[str]:
    return [number([reading.cv]), number([reading.ad]), share(round(reading.ad_pass, 2))]


def _scatter(found: Sequence[Setting], best: Setting):
    figure, (axes,) = canvas.panels(2.6, legend_lines=3)
    kinds = (("start", "untrained", canvas.UNTRAINED), ("end", "trained", canvas.TRAINED))
    for field, name, colour in kinds:
        points = [getattr(s, field)[name] for s in found]
        axes.plot([p.cv for p in points], [p.ad for p in points], "o", color=colour, markersize=2.5,
                  alpha=0.6, label=name)  # fmt: skip
    one, other = best.start["untrained"], best.end["trained"]
    arrow = {"arrowstyle": "->", "color": canvas.INK, "linewidth": 0.9}
    axes.annotate("", (other.cv, other.ad), (one.cv, one.ad), arrowprops=arrow)
    axes.plot([], [], "-", color=canvas.INK, linewidth=0.9, label="the closest setting")
    for epoch in (0, 50, 100):
        of = TABLE_1[Entry("binary", "infonce", epoch)]
        at = of["norm_cv"], of["ad_mean"]
        label = "the paper, by epoch" if epoch == 0 else None
        axes.plot(*at, "D", markersize=5, color=canvas.NEGATIVE, label=label)
        # Where there are no settings: A² cannot average less than a Gaussian's.
        aside = (-9, 2) if epoch == 0 else (0, -13)
        axes.annotate(epoch, at, aside, textcoords="offset points", ha="center", fontsize=7.5)
    axes.set(xscale="log", yscale="log", xlabel="CV", ylabel="AD, groups")
    axes.set_ylim(bottom=0.8 * axes.get_ylim()[0])
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        canvas.log_ticks(axis, canvas.decade_ticks(*limits))
    canvas.legend_above(axes, columns=2)
    return figure


def describe(config: dict) -> str:
    """The law of the bits, and what else differs from the search's usual setting."""
    d = config["data"]
    law = {
        "bernoulli": "independent bits",
        "fixed": "fixed number",
        "uniform": "uniform number",
        "exponential": "exponential number",
        "lognormal": f"lognormal number (sd of the log {d['binary_counts_log_std']:g})",
    }[d["binary_counts"]]
    parts = [f"{law}, {d['binary_active']:g} ones"]
    if d.get("binary_skew"):
        parts.append(f"frequencies ∝ 1/i^{d['binary_skew']:g}")
    if d["binary_prototypes"]:
        parts.append(f"{d['binary_prototypes']} patterns")
        parts.append(f"{100 * d['binary_flips']:g}% flipped")
    usual = {
        ("train", "batch_size"): (256, "batch {}"),
        ("channel", "name"): ("bit_add", "channel {}"),
        ("channel", "strength"): (0.001, "strength {}"),
        ("encoder", "initializer"): ("pytorch", "initial weights {}"),
        ("optimizer", "learning_rate"): (1e-3, "learning rate {}"),
    }
    for (section, field), (value, text) in usual.items():
        if config[section][field] != value:
            parts.append(text.format(config[section][field]))
    return ", ".join(parts)


def draw_mixture(runs: Path) -> Drawn:
    """The Gaussian mixture: CV and AD by the scale of the means, the batch and the temperature."""
    found = settings(runs / "mixture")
    temperatures = sorted({s.temperature for s in found})
    reported = TABLE_1[Entry("mixture", "infonce", None)]
    rows = [["means' sd", "batch", "untrained", *(f"τ = {t:g}" for t in temperatures), "nearest"]]

    def cell(reading: Reading) -> str:
        passes = share(round(reading.ad_pass, 2))
        return f"{number([reading.cv])}, {number([reading.ad])}, {passes}"

    paper = f"{reported['norm_cv']:g}, {reported['ad_mean']:g}, {share(reported['ad_pass'])}"
    rows.append(["**the paper**", "not stated", "–", paper, *[""] * len(temperatures)])
    groups: dict[tuple[float, int], list[Setting]] = {}
    for s in found:
        key = s.config["data"]["mixture_separation"], s.config["train"]["batch_size"]
        groups.setdefault(key, []).append(s)
    for (scale, batch), members in sorted(groups.items()):
        members = sorted(members, key=lambda s: s.temperature)
        near = min(s.end["trained"].miss(reported) for s in members)
        rows.append([f"{scale:g}", batch, cell(members[0].start["untrained"])]
                    + [cell(s.end["trained"]) for s in members] + [f"{100 * near:.0f}%"])  # fmt: skip
    return Drawn("mixture", None, markdown(rows))
