"""The encoders of a finished run, on rows of your own."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from infonce_jax import registry, training
from infonce_jax.config import from_plain
from infonce_jax.runs.sets import open_run
from infonce_jax.training.checkpoint import Checkpoints


def encode(
    workdir: Path | str, rows: Num[np.ndarray, "n ..."], *, step: int | None = None
) -> dict[str, Float[np.ndarray, "n dim"]]:
    """Encodes rows of your own with the encoders that a run has trained.

    Args:
        workdir: the run's folder, with its checkpoints.
        rows: [n, ...] of the shape of the run's samples; uint8 images for a run on images.
        step: which checkpoint, the last by default; 0 is the untrained encoder.

    Returns:
        By member, an array [n, dim]: the output that the run evaluates, without a view.

    Raises:
        FileNotFoundError: where the folder holds no run, or no checkpoint of this step.
        ValueError: for rows of another shape.
    """
    workdir = Path(workdir)
    file = workdir / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{workdir} holds no config.json; give the folder of a run.")
    content = json.loads(file.read_text())
    registry.search_in(*content.get("code_folders", ()))
    run = open_run(from_plain(content), workdir)
    rows = np.asarray(rows)
    if rows.shape[1:] != run.data.spec.sample_shape:
        raise ValueError(
            f"rows have shape {rows.shape}; the run's samples are of shape {run.data.spec.sample_shape}."
        )
    if not len(rows):
        raise ValueError("rows is empty; give at least one.")
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = max(checkpoints.steps, default=None) if step is None else step
        if step not in checkpoints.steps:
            raise FileNotFoundError(
                f"{workdir} has no checkpoint of step {step} (there are: "
                f"{', '.join(map(str, checkpoints.steps)) or 'none'})."
            )
        state = checkpoints.restore(step, run.program.abstract_state)
    found = training.encode_blocks(run.program, state, rows, run.config.embed.batch_size)
    return {member.name: z for member, z in zip(run.members, found, strict=True)}
