"""Reads the run folders of configs/paper/ for the pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pages import finished_folders
from infonce_jax import embeddings, evaluation
from infonce_jax.report.runs import Run, load_run


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
        one, other = (np.asarray(held.array(name, "test", view)) for view in ("view1", "view2"))
        positive.append(evaluation.cosines(one, other))
        negative.append(evaluation.cosines(one, np.roll(other, 1, axis=0)))
    return np.concatenate(positive), np.concatenate(negative)
