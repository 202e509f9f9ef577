"""What Table 1 reports of an embedding: by groups, as its authors did, and of single samples."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.pages import Absent
from infonce_jax import data, embeddings, evaluation
from infonce_jax.config import from_plain
from infonce_jax.evaluation.controls import random_projection
from infonce_jax.evaluation.groups import grouped, summary

SIZES = (1000, 10_000)


class Measured(NamedTuple):
    """One embedding.

    Attributes:
        cv: the norms' coefficient of variation.
        ad: the Anderson-Darling statistic, averaged over groups of 250 and over coordinates.
        ad_pass: share of coordinates whose average over groups is accepted.
        dp: the p-value of D'Agostino and Pearson, averaged likewise.
        dp_pass: share of coordinates whose average over groups is accepted.
        ad_at: sample size to the average over coordinates of the statistic of one sample.
        dp_pass_at: sample size to the share of coordinates that one sample accepts.
    """

    cv: float
    ad: float
    ad_pass: float
    dp: float
    dp_pass: float
    ad_at: dict[int, float]
    dp_pass_at: dict[int, float]


def measure(z: Float[np.ndarray, "n d"], sizes: Sequence[int] = SIZES) -> Measured:
    """By 20 groups of 250, and at those of `sizes` that there are rows for."""
    z = np.asarray(z, np.float64)
    by_groups = summary(grouped(z))
    order = np.random.default_rng(0).permutation(len(z))
    ad_at, dp_pass_at = {}, {}
    for n in sizes:
        if n <= len(z):
            found = evaluation.univariate(z[order[:n]], ["ad", "dp"], method="asymptotic")
            ad_at[n] = float(np.nanmean(found["ad"].statistic))
            dp_pass_at[n] = float(np.nanmean(found["dp"].pvalue > 0.05))
    keys = ("group_ad_mean", "group_ad_pass", "group_dp_mean_p", "group_dp_pass")
    return Measured(evaluation.norm_cv(z), *(by_groups[k] for k in keys), ad_at, dp_pass_at)


class Exhibit(NamedTuple):
    """A run beside its controls, each a list over seeds.

    Attributes:
        folder: of the run.
        epochs: evaluated epoch to the measured members; 0 is untrained.
        projection: random projections of the inputs to as many dimensions.
        gaussian: Gaussians with the mean and covariance of the trained representations.
    """

    folder: Path
    epochs: dict[float, list[Measured]]
    projection: list[Measured]
    gaussian: list[Measured]

    @property
    def untrained(self) -> list[Measured]:
        return self.epochs[0]

    @property
    def trained(self) -> list[Measured]:
        return self.epochs[max(self.epochs)]


def measure_epochs(
    folder: Path, only: Sequence[float] | None = None, sizes: Sequence[int] = SIZES
) -> dict[float, list[Measured]]:
    """The members of a run at every epoch that it has embeddings of, also of a run that goes on."""
    found = {}
    steps = embeddings.find_steps(folder)
    if not steps:
        raise Absent(f"{folder} holds no run; the command is at the top of its file in configs/.")
    for path in steps:
        held = embeddings.read(path)
        epoch = held.manifest["epoch"]
        is_end = path in (steps[0], steps[-1])
        if only is None or is_end or any(abs(epoch - e) < 1e-6 for e in only):
            names = [member["name"] for member in held.members]
            found[epoch] = [measure(held.array(name, "test", "clean"), sizes) for name in names]
    return found


@functools.lru_cache
def measure_run(folder: Path, only: tuple[float, ...] = ()) -> Exhibit:
    """A run of one setting at its ends and at the epochs in `only`, beside its controls."""
    epochs = measure_epochs(folder, only)
    held = embeddings.read(embeddings.find_steps(folder)[-1])
    names = [member["name"] for member in held.members]
    last = [held.array(name, "test", "clean") for name in names]
    projection = project_inputs(folder, last[0].shape[1], len(names))
    gaussian = [measure(evaluation.controls.gaussian_like(z, seed=s)) for s, z in enumerate(last)]
    return Exhibit(folder, epochs, projection, gaussian)


def project_inputs(folder: Path, dim: int, count: int) -> list[Measured]:
    """Random projections of the test inputs of a run."""
    inputs = inputs_of(folder)
    return [measure(random_projection(inputs, dim, seed=s)) for s in range(count)]


def inputs_of(folder: Path) -> Float[np.ndarray, "n inputs"]:
    """The rows that a run is tested on, images flattened."""
    config = from_plain(json.loads((folder / "config.json").read_text()))
    rows = data.load(config).test
    return np.asarray(data.to_float(rows), np.float64).reshape(len(rows), -1)
