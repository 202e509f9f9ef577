"""What a run carries from step to step."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt


class MemberState(NamedTuple):
    """One member's parameters, optimizer state and metrics.

    In a `TrainState` every leaf has a leading axis of members.

    Attributes:
        params: of the encoder, and of the classifier or the temperature where they are learned.
        batch_stats: running moments of BatchNorm.
        opt_state: the optimizer's.
        metric_sums: of each metric since the last logging step.
    """

    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    metric_sums: dict[str, Float[Array, "..."]]


class TrainState(NamedTuple):
    """The whole state of a run.

    Attributes:
        step: optimiser steps taken.
        metric_steps: steps summed in `metric_sums`.
        members: the state of all members.
    """

    step: Int[Array, ""]
    metric_steps: Int[Array, ""]
    members: MemberState


class Keys(NamedTuple):
    """A member's keys, by purpose."""

    init: Key[Array, ""]
    batch: Key[Array, ""]
    view: Key[Array, ""]
    embed: Key[Array, ""]


def member_keys(seed: UInt[Array, ""]) -> Keys:
    """The keys of the member with this seed."""
    return Keys(*jax.random.split(jax.random.key(seed), 4))
