"""How a member is trained: everything about training that is fixed before a program is compiled."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, Num
from ml_collections import config_dict

from infonce_jax.config import Member
from infonce_jax.data import (
    Dataset,
    DataSpec,
    clean,
    find_channel,
    find_source,
    make_batch,
    make_view,
)
from infonce_jax.training.members import Hyper
from infonce_jax.training.model import Model, make_encoder, make_model
from infonce_jax.training.objectives import Objective, find_objective
from infonce_jax.training.optimizers import find_optimizer, make_optimizer, unit_schedule
from infonce_jax.training.regularisers import find_regulariser


class Method(NamedTuple):
    """The static parts of training, which all members share.

    Attributes:
        model: what is trained.
        batch: `(arrays, key, step) -> (rows, labels | None)`.
        view: `(key, rows, labels | None, hyper) -> rows`, one view of each row.
        clean: `(rows) -> rows`, samples as the encoder is given them without a channel.
        optimizer: `(hyper) -> optax.GradientTransformation`.
        schedule: `(step) -> factor` of the learning rate.
        beta_schedule: `(step) -> factor` of the regulariser's weight.
        objective: what is minimised.
        loss: the section `config.loss`.
        is_regularised: whether any member's weight of the regulariser is above 0.
        num_classes: number of labels, or None.
        is_streamed: whether a step is given its batch, instead of the whole training set.
    """

    model: Model
    batch: Callable
    view: Callable
    clean: Callable
    optimizer: Callable[[Hyper], optax.GradientTransformation]
    schedule: Callable
    beta_schedule: Callable
    objective: Objective
    loss: config_dict.ConfigDict
    is_regularised: bool
    num_classes: int | None
    is_streamed: bool = False


def make_method(
    config: config_dict.ConfigDict, data: Dataset, members: Sequence[Member], mesh: Mesh
) -> Method:
    """The configured method for these data.

    Raises:
        ValueError: for combinations that cannot be trained. All are found here, before anything is
            compiled.
    """
    objective = find_objective(config)
    if objective.needs_labels and data.spec.num_classes is None:
        raise ValueError(
            f"config.objective is {config.objective!r}, which needs labels, but config.data.source = "
            f"{config.data.source!r} has none; use mixture, cifar10 or an array with labels."
        )
    steps = total_steps(config, data.spec)
    schedule = unit_schedule(config.optimizer.schedule, steps, config.optimizer.warmup_steps)
    return Method(
        model=make_model(config, data, mesh),
        batch=make_batch(config, data),
        view=make_view(config, data.spec),
        clean=functools.partial(clean, config),
        optimizer=functools.partial(_optimizer, config, schedule),
        schedule=schedule,
        beta_schedule=unit_schedule(config.loss.beta_schedule, steps),
        objective=objective,
        loss=config.loss,
        is_regularised=any(m.hyperparameters["loss.beta"] > 0 for m in members),
        num_classes=data.spec.num_classes,
        is_streamed=data.spec.is_streamed,
    )


def check_parts(config: config_dict.ConfigDict) -> None:
    """Checks that there are the parts that a configuration names, and that they can be called.

    Examples:
        >>> from infonce_jax.config import default_config
        >>> check_parts(default_config())  # raises nothing

    Raises:
        ValueError: naming the field, its value, and what it may be.
    """
    find_objective(config)
    find_regulariser(config.loss)
    find_optimizer(config.optimizer.name, config.optimizer.kwargs.to_dict())
    make_encoder(config)
    find_source(config.data)
    find_channel(config.channel)


def steps_per_epoch(config: config_dict.ConfigDict, spec: DataSpec) -> int:
    """Optimiser steps of one epoch; rows that do not fill a batch are left out of it.

    Examples:
        >>> from infonce_jax import data
        >>> from infonce_jax.config import default_config
        >>> config = default_config()
        >>> config.data.train_size, config.train.batch_size = 1000, 64
        >>> steps_per_epoch(config, data.describe(config))
        15
    """
    return max(spec.train_size // config.train.batch_size, 1)


def total_steps(config: config_dict.ConfigDict, spec: DataSpec) -> int:
    """Optimiser steps of the whole run.

    Examples:
        >>> from infonce_jax import data
        >>> from infonce_jax.config import default_config
        >>> config = default_config()
        >>> config.data.train_size, config.train.batch_size, config.train.epochs = 1000, 100, 2.0
        >>> total_steps(config, data.describe(config))
        20
    """
    return config.train.steps or max(1, round(config.train.epochs * steps_per_epoch(config, spec)))


def draw_views(
    method: Method,
    key: Key[Array, ""],
    rows: Num[Array, "n ..."],
    labels: Int[Array, " n"] | None,
    hyper: Hyper,
) -> Float[Array, "n ..."]:
    """One view of each row; the labels are for channels that need them."""
    # Without the barrier XLA draws the views anew for each of their uses: once for the forward and
    # once for the backward product.
    return jax.lax.optimization_barrier(method.view(key, rows, labels, hyper))


def draw_two_views(
    method: Method,
    key: Key[Array, ""],
    rows: Num[Array, "n ..."],
    labels: Int[Array, " n"] | None,
    hyper: Hyper,
) -> Float[Array, "two_n ..."]:
    """Two views of each row, the first views of all rows and then the second ones."""
    # Both in one call, which is compiled once.
    twice = None if labels is None else jnp.concatenate([labels, labels])
    return draw_views(method, key, jnp.concatenate([rows, rows]), twice, hyper)


def _optimizer(
    config: config_dict.ConfigDict, schedule: Callable, hyper: Hyper
) -> optax.GradientTransformation:
    o = config.optimizer
    return make_optimizer(
        o.name,
        learning_rate=hyper["optimizer.learning_rate"],
        schedule=schedule,
        weight_decay=hyper["optimizer.weight_decay"],
        clip_norm=o.clip_norm,
        average_decay=config.train.average_decay,
        kwargs=o.kwargs.to_dict(),
    )
