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
        rows: [n, ...] of the shape of the run's samples. For a run on images uint8, or floats from 0
            to 1.
        step: which checkpoint, the last by default; 0 is the untrained encoder.

    Returns:
        By member, an array [n, dim]: the output that the run evaluates, without a view.

    Raises:
        FileNotFoundError: where the folder holds no run, or no checkpoint of this step.
        ValueError: for rows of another shape, for images of another scale, and without rows.
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
        remedy = " Resize the images to that." if run.data.spec.is_image else ""
        raise ValueError(
            f"rows have shape {rows.shape}; the run's samples are of shape "
            f"{run.data.spec.sample_shape}.{remedy}"
        )
    if not len(rows):
        raise ValueError("rows is empty; give at least one.")
    if run.data.spec.is_image:
        _check_scale(rows)
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


def _check_scale(images: Num[np.ndarray, "n height width channels"]) -> None:
    """Refuses images that would be taken for others: only bytes are divided by 255."""
    if images.dtype == np.uint8:
        return
    if images.dtype.kind != "f":
        raise ValueError(
            f"rows are images of type {images.dtype}; give rows.astype(np.uint8), or floats from 0 to 1."
        )
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"rows are images of floats from {low:g} to {high:g}; floats must lie between 0 and 1. "
            "Give uint8 images, or divide floats up to 255 by 255. The run standardises them itself."
        )
