"""A run that is open in memory, and its embedding sets: at which steps, and how they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from ml_collections import config_dict

from infonce_jax import data, embeddings, registry, training
from infonce_jax.config import Member, config_hash, members
from infonce_jax.data import Dataset, DataSpec
from infonce_jax.runs import processes
from infonce_jax.runs.nonfinite import NonFiniteLoss
from infonce_jax.runs.provenance import code_version
from infonce_jax.training import Program, TrainState
from infonce_jax.training.checkpoint import Checkpoints


class OpenRun(NamedTuple):
    """A run with what its configuration stands for.

    Attributes:
        config: its configuration.
        workdir: its folder.
        data: its data, in memory.
        members: the runs trained side by side.
        program: its compiled functions.
    """

    config: config_dict.ConfigDict
    workdir: Path
    data: Dataset
    members: list[Member]
    program: Program


def open_run(config: config_dict.ConfigDict, workdir: Path) -> OpenRun:
    """Reads the run's data and makes its program."""
    with processes.together():
        dataset, runs = data.load(config), members(config)
        program = training.make_program(config, dataset, runs)
    return OpenRun(config, workdir, dataset, runs, program)


def open_checkpoints(
    config: config_dict.ConfigDict, workdir: Path, sets: Sequence[int]
) -> Checkpoints:
    """The run's checkpoints; those of the steps in `sets` are kept for good."""
    return Checkpoints(
        workdir / "checkpoints",
        keep_newest=config.checkpoint.keep_newest,
        keep_every_steps=config.checkpoint.keep_every_steps,
        keep_steps=sets,
    )


def embed_steps(config: config_dict.ConfigDict, spec: DataSpec) -> list[int]:
    """The steps at which an embedding set is written: the first, the last, and those asked for.

    Raises:
        ValueError: for a step beyond the end of training.
    """
    total = training.total_steps(config, spec)
    per_epoch = training.steps_per_epoch(config, spec)
    asked = [*config.embed.steps, *(round(epoch * per_epoch) for epoch in config.embed.epochs)]
    beyond = [step for step in asked if not 0 <= step <= total]
    if beyond:
        raise ValueError(
            f"config.embed asks for an embedding set at step {beyond[0]} (epoch "
            f"{beyond[0] / per_epoch:g}), but training ends at step {total} (epoch "
            f"{total / per_epoch:g}). Train longer or drop it."
        )
    return sorted({0, total, *asked})


def missing_sets(workdir: Path, sets: Sequence[int]) -> list[int]:
    """The steps in `sets` that have no embedding set yet."""
    present = {int(path.name) for path in embeddings.find_steps(workdir)}
    return [step for step in sets if step not in present]


def write_set(run: OpenRun, state: TrainState) -> None:
    """Embeds the test set, and the training set where asked for, and writes them as one set.

    Raises:
        NonFiniteLoss: where a representation is not finite; nothing is written then.
    """
    config, step = run.config, int(state.step)
    splits = {"test": (run.data.test, run.data.test_labels)}
    if config.embed.train_split:
        splits["train"] = (run.data.train, run.data.train_labels)
    most = config.embed.max_rows
    arrays, labels, of_rows = {}, {}, {}
    for split, (rows, split_labels) in splits.items():
        rows = data.first_rows(rows, most)
        if run.data.names is not None:
            of_rows.setdefault("rows", {})[split] = [
                run.data.names(split, index) for index in range(len(rows))
            ]
        if run.data.classes is not None:
            of_rows.setdefault("label_names", {})[split] = list(run.data.classes)
        if split_labels is not None:
            labels[split] = split_labels[: most or None]
        views = training.encode_view_blocks(
            *(run.program, state, rows, config.embed.batch_size),
            labels.get(split),
        )
        for view, stacked in views.items():
            for member, array in zip(run.members, stacked, strict=True):
                arrays[member.name, split, view] = array

    def write() -> None:
        _check_finite(arrays, step, run.workdir)
        embeddings.write(
            run.workdir / "embeddings",
            step,
            arrays=arrays,
            labels=labels,
            members=[member.record() for member in run.members],
            metadata={
                "run": config.name,
                "epoch": step / training.steps_per_epoch(config, run.data.spec),
                "dataset": registry.short_name(config.data.source),
                "output": config.embed.output,
                "config_hash": config_hash(config),
                "code_version": code_version(),
                **of_rows,
            },
        )

    # All processes encode; the first one, which has every representation, writes.
    processes.first(write)


def _check_finite(
    arrays: Mapping[tuple[str, str, str], Float[np.ndarray, "n dim"]], step: int, workdir: Path
) -> None:
    for name, array in arrays.items():
        count = array.size - np.count_nonzero(np.isfinite(array))
        if count:
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise NonFiniteLoss(
                f"The embeddings {'/'.join(name)} at step {step} hold {count} NaN or infinite values, "
                f"the first at row {row}, column {column}. The parameters have most likely diverged: "
                f"lower config.optimizer.learning_rate, and delete {workdir} or choose another "
                "--workdir."
            )
