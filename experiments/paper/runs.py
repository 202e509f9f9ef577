"""Reads the run folders of configs/paper/ for the pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pages import (
    Absent,
    finished_folders,
    labelled,
)
from infonce_jax import embeddings
from infonce_jax.report import canvas
from infonce_jax.report.runs import Key, Run, load_run


class Point(NamedTuple):
    """One run of the sweep over dimension and batch size."""

    dim: int
    batch: int
    run: Run


def load_points(folder: Path) -> list[Point]:
    of = map(load_run, finished_folders(folder))
    return [
        Point(r.config["encoder"]["embedding_dim"], r.config["train"]["batch_size"], r) for r in of
    ]


def of_dim(points: Sequence[Point], dim: int) -> list[Point]:
    """The runs of one dimension, by batch size."""
    return sorted((p for p in points if p.dim == dim), key=lambda p: p.batch)


def beside_untrained(points: Sequence[Point]) -> list[tuple[str | int, Run, int]]:
    """Label, run and step: untrained, which does not depend on the batch, and each batch at its end."""
    trained = [(p.batch, p.run, max(p.run.epochs)) for p in points]
    return [("untrained", points[0].run, 0), *trained]


def test_key(run: Run, step: int, setting: str | None = None, n: int = 1000) -> Key:
    return Key(setting or run.settings[0].key, step, "test", "raw", n)


def clean(run: Run, step: int) -> list[Float[np.ndarray, "n d"]]:
    held = embeddings.read(run.embeddings[step])
    return [np.asarray(held.array(name, "test", "clean")) for name in run.member_names]


def pair_cosines(
    run: Run, step: int
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Cosines of positive pairs, and of pairs of different samples, of all seeds."""
    held = embeddings.read(run.embeddings[step])
    positive, negative = [], []
    for name in run.member_names:
        u, v = (
            np.asarray(held.array(name, "test", view), np.float64) for view in ("view1", "view2")
        )
        u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (u, v))
        positive.append(np.einsum("nd,nd->n", u, v))
        negative.append(np.einsum("nd,nd->n", u, np.roll(v, 1, axis=0)))
    return np.concatenate(positive), np.concatenate(negative)


def finished_run(folder: Path) -> Path:
    if not (folder / "evaluation.json").is_file():
        raise Absent(f"{folder} holds no run; the command is at the top of configs/paper/*.py.")
    return folder


class Dynamics(NamedTuple):
    """One curve of Figure 4: a run's setting under a name of its own."""

    label: str
    run: Run
    setting: str
    colour: str

    def at(self, step: int, statistic: str, n: int) -> float:
        key = Key(self.setting, step, "test", "raw", n)
        return self.run.values[key][statistic].mean


def cifar10_curves(folder: Path) -> list[Dynamics]:
    contrastive = load_run(finished_run(folder / "contrastive"))
    colours = (canvas.TRAINED, canvas.BETWEEN)[: len(contrastive.settings)]
    curves = [
        Dynamics(labelled("InfoNCE", setting), contrastive, setting.key, colour)
        for setting, colour in zip(contrastive.settings, colours, strict=True)
    ]
    if (folder / "supervised" / "evaluation.json").is_file():
        run = load_run(folder / "supervised")
        curves.append(Dynamics("supervised", run, run.settings[0].key, canvas.OTHER))
    return curves
