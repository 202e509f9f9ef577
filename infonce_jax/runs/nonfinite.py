"""The error for a loss that is not finite: it names the step and the likely cause."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import config_dict

from infonce_jax.config import Member
from infonce_jax.training import TrainState
from infonce_jax.training.objectives import find_objective


class NonFiniteLoss(ValueError):
    """A loss or gradient was not finite."""


def explain(
    config: config_dict.ConfigDict, members: list[Member], workdir: Path, after: TrainState
) -> NonFiniteLoss:
    """The error for a state whose last step gave a loss or gradient that is not finite.

    Args:
        config: the run's.
        members: the runs trained side by side.
        workdir: the run's folder.
        after: the state after that step, with its metrics.
    """
    sums = jax.device_get(after.members.metric_sums)
    bad = {name: ~np.isfinite(np.atleast_1d(values)) for name, values in sums.items()}
    first = int(np.argmax(bad["loss"] | bad["grad_norm"]))
    member = members[first]
    what = "loss" if bad["loss"][first] else "gradient"
    suspect = _suspect(config, member, {name for name, flags in bad.items() if flags[first]})
    step = int(after.step) - 1
    return NonFiniteLoss(
        f"The {what} of {member.name} is not finite at step {step}. Most likely at fault: {suspect}. "
        f"The last good state is saved as {workdir / 'checkpoints' / str(step)}. Change the field, and "
        f"delete {workdir} or choose another --workdir."
    )


def _suspect(config: config_dict.ConfigDict, member: Member, bad: set[str]) -> str:
    """The field that most often causes this, with its value."""

    def field(name: str, reason: str) -> str:
        value = member.hyperparameters.get(name)
        if value is None:
            section, key = name.split(".")
            value = config[section][key]
        return (
            f"config.{name} = {value:g} ({reason})"
            if isinstance(value, float)
            else (f"config.{name} = {value!r} ({reason})")
        )

    temperature = member.hyperparameters["loss.temperature"]
    has_temperature = find_objective(config).has_temperature
    if has_temperature and temperature < 1e-3:
        return field("loss.temperature", "similarities divided by it overflow; 0.05 to 1 is usual")
    if "regulariser" in bad and "objective" not in bad:
        return field("loss.beta", "the regulariser is not finite while the objective is")
    if has_temperature and not config.loss.normalize:
        return field("loss.normalize", "raw inner products grow without bound")
    if config.train.compute_dtype == "bfloat16":
        return field("train.compute_dtype", "try float32")
    return field("optimizer.learning_rate", "try a tenth of it")
