"""Reads the run folders of configs/theory/ for the pages, with what several of them compute."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.pages import (
    Absent,
)
from experiments.power_law import exponents
from infonce_jax import embeddings, evaluation
from infonce_jax.report import canvas
from infonce_jax.report.runs import Run, load_run

COLOURS = canvas.SERIES


def open_run(folder: Path) -> Run:
    if not (folder / "config.json").is_file():
        raise Absent(no_run(folder))
    return load_run(folder)


def no_run(folder: Path) -> str:
    return f"{folder} holds no run; the command is at the top of the file in configs/theory/."


def by_value(run: Run, name: str) -> dict[float, list[str]]:
    """Members by the value of a hyperparameter, ascending."""
    groups: dict[float, list[str]] = {}
    for member in run.config["members"]:
        groups.setdefault(member["hyperparameters"][name], []).append(member["name"])
    return dict(sorted(groups.items()))


def pair_cosines(run: Run, member: str) -> tuple[Float[np.ndarray, " n"], float]:
    """Cosines of the positive pairs of the test set at the last step, and ‖m‖ of both views."""
    held = embeddings.read(run.embeddings[max(run.embeddings)])
    one, other = (np.asarray(held.array(member, "test", view)) for view in ("view1", "view2"))
    resultant = evaluation.mean_resultant(np.concatenate([one, other]))
    return evaluation.cosines(one, other), resultant


def mean_slope(x: Float[np.ndarray, " k"], y: Float[np.ndarray, "k seeds"]) -> tuple[float, float]:
    """The mean exponent of a power law over seeds, and its standard error."""
    found = exponents(x, y)
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))


def slope_of_line(x: Float[np.ndarray, " k"], line: Float[np.ndarray, " k"]) -> float:
    return float(exponents(x, np.asarray(line, float)[:, None])[0])


def with_error(values: Float[np.ndarray, " k"], digits: int = 4) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"
