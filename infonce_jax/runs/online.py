"""Metrics of held-out rows at logging steps, which say whether a long run still gets better."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from infonce_jax import data, losses, training
from infonce_jax.evaluation import anderson_darling, norm_cv
from infonce_jax.evaluation.probe import linear_probe, nearest_neighbours
from infonce_jax.runs.sets import OpenRun
from infonce_jax.training import TrainState

_NEIGHBOURS = 20


class Rows(NamedTuple):
    """Representations of one member.

    Attributes:
        z: of held-out rows.
        labels: their classes, or None.
        train_z: of training rows, or None where there are none to search or to fit on.
        train_labels: their classes, or None.
    """

    z: Float[np.ndarray, "n dim"]
    labels: Int[np.ndarray, " n"] | None
    train_z: Float[np.ndarray, "m dim"] | None
    train_labels: Int[np.ndarray, " m"] | None


def _neighbours(rows: Rows) -> float:
    k = min(_NEIGHBOURS, len(rows.train_z))
    return nearest_neighbours(rows.train_z, rows.train_labels, rows.z, rows.labels, k=k)


def _probe(rows: Rows) -> float:
    return linear_probe(rows.train_z, rows.train_labels, rows.z, rows.labels)


_rankme, _effective_rank = jax.jit(losses.rankme), jax.jit(losses.effective_rank)

METRICS: dict[str, Callable[[Rows], float]] = {
    "rankme": lambda rows: float(_rankme(rows.z)),
    "effective_rank": lambda rows: float(_effective_rank(rows.z)),
    "ad": lambda rows: float(np.mean(anderson_darling(rows.z).statistic)),
    "cv": lambda rows: norm_cv(rows.z),
    "knn": _neighbours,
    "probe": _probe,
}
_NEED_LABELS = ("knn", "probe")


class Online(NamedTuple):
    """Metrics of held-out rows.

    Attributes:
        values: by "held_out_<name>", one for each member.
        seconds: by name, and "encode" for the representations.
    """

    values: dict[str, Float[np.ndarray, " members"]]
    seconds: dict[str, float]


def make_online(run: OpenRun) -> Callable[[TrainState], Online] | None:
    """What computes the metrics of `log.held_out`, or None where none is asked for.

    They are computed from the first `log.held_out_rows` rows of the test set. Nearest neighbours and
    probe search, or are fitted on, as many rows of the training set.

    Raises:
        ValueError: for a metric that needs labels or training rows where there are none.
    """
    config = run.config
    names, count = tuple(config.log.held_out), config.log.held_out_rows
    if not names:
        return None
    spec = run.data.spec
    labelled = [name for name in names if name in _NEED_LABELS]
    if labelled and (spec.num_classes is None or config.data.fresh):
        raise ValueError(
            f"config.log.held_out has {labelled[0]!r}, which needs labels and a fixed training set, but "
            f"config.data.source = {config.data.source!r} "
            + ("draws new rows at every step." if config.data.fresh else "has no labels.")
        )

    def first(split: str) -> tuple[np.ndarray, np.ndarray | None]:
        rows = data.first_rows(getattr(run.data, split), count)
        labels = getattr(run.data, f"{split}_labels")
        return rows[: len(rows)], None if labels is None else labels[: len(rows)]

    test, test_labels = first("test")
    train, train_labels = first("train") if labelled else (None, None)

    def encode(state: TrainState, rows: np.ndarray) -> np.ndarray:
        return training.encode_blocks(run.program, state, rows, config.embed.batch_size)

    def compute(state: TrainState) -> Online:
        started = time.perf_counter()
        z = encode(state, test)
        train_z = [None] * len(z) if train is None else encode(state, train)
        seconds = {"encode": time.perf_counter() - started}
        found: dict[str, np.ndarray] = {}
        for name in names:
            started = time.perf_counter()
            found[f"held_out_{name}"] = np.array(
                [
                    METRICS[name](Rows(own, test_labels, own_train, train_labels))
                    for own, own_train in zip(z, train_z, strict=True)
                ]
            )
            seconds[name] = time.perf_counter() - started
        return Online(found, seconds)

    return compute


def check_held_out(names: Sequence[str], rows: int) -> None:
    """Checks `config.log.held_out` and `config.log.held_out_rows`.

    Raises:
        ValueError: naming the field and what it may be.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(
            f"config.log.held_out has {unknown[0]!r}; choose from {', '.join(METRICS)}."
        )
    if rows < 8:
        raise ValueError(f"config.log.held_out_rows is {rows}; it must be at least 8.")
