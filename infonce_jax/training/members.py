"""The runs that train side by side: their hyperparameters as arrays, and how they are mapped over.

The members are the product of a few axes: the seeds, and each hyperparameter that is given as a
list. The axes are kept apart, so that what depends on some of them is computed once for all of the
others: batches and noise follow from the seed alone, views from the seed and the channel's strength.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Num, PyTree
from ml_collections import config_dict

from infonce_jax import theory
from infonce_jax.config import HYPERPARAMETERS, Member
from infonce_jax.data import law_parameters
from infonce_jax.encoders import RESNETS
from infonce_jax.training.distributed import make_mesh, place, used_devices
from infonce_jax.training.objectives import find_objective

# The hyperparameters that η₂ is computed from.
_MILDNESS_FIELDS = ("channel.strength", "channel.noise_std", "channel.erasure_prob")

Hyper = Mapping[str, Num[Array, "..."]]


class Layout(NamedTuple):
    """How members are laid out in arrays and over devices.

    Attributes:
        count: number of members.
        grid: the axes that the members are the product of, with their lengths, the slowest first. The
            last is "seed". Axes of length 1 are left out.
        spread: the axis of `grid` that is spread over the mesh's "members", or None for a single member.
        mesh: the devices, from `make_mesh`.
        in_turn: whether a step takes the members one after the other, and not all at once.
    """

    count: int
    grid: dict[str, int]
    spread: str | None
    mesh: Mesh
    in_turn: bool

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of what every device holds."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def per_member(self) -> NamedSharding:
        """The sharding of arrays whose first axis is the members, or the spread axis alone."""
        return NamedSharding(self.mesh, PartitionSpec("members"))

    @property
    def in_grid(self) -> NamedSharding:
        """The sharding of arrays whose first axes are those of `grid`."""
        axes = ("members" if name == self.spread else None for name in self.grid)
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def lay_out(
    config: config_dict.ConfigDict, members: Sequence[Member], mesh: Mesh | None = None
) -> Layout:
    """Finds the axes of the members, and spreads the one that divides best over the devices.

    Args:
        config: a validated configuration.
        members: from `config.members`.
        mesh: from `make_mesh`, which is the default.

    Raises:
        ValueError: where the members are not a product of axes, or do not fit the devices.
    """
    grid = member_grid(members)
    device_count = mesh.size if mesh else len(used_devices(config))
    spread = max(grid, key=lambda name: math.gcd(grid[name], device_count), default=None)
    mesh = mesh or make_mesh(config, grid.get(spread, 1))
    # The maps of several ResNets do not fit the cache of a CPU, whose convolutions take one kernel at a
    # time anyway: in turn they need a quarter less time, and the memory of one.
    names = (config.encoder.name, config.encoder_b.name)
    in_turn = jax.default_backend() == "cpu" and mesh.size == 1 and any(n in RESNETS for n in names)
    return Layout(len(members), grid, spread, mesh, in_turn)


def member_grid(members: Sequence[Member]) -> dict[str, int]:
    """The axes that the members are the product of, as in `Layout.grid`.

    Raises:
        ValueError: where the members are not such a product, in this order.
    """
    points = [m.varied | {"seed": m.seed} for m in members]
    axes = {name: list(dict.fromkeys(point[name] for point in points)) for name in points[0]}
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if product != points:
        raise ValueError(
            f"The {len(members)} members are not every combination of {axes}; pass what "
            "config.members returns."
        )
    return {name: len(values) for name, values in axes.items() if len(values) > 1}


def hyper_arrays(
    config: config_dict.ConfigDict, members: Sequence[Member], layout: Layout
) -> Hyper:
    """The members' seeds and hyperparameters, each an array along its axes of the grid, or a scalar.

    Where the theory knows η₂ of every member's channel, it is among them as "eta2", for objectives
    of two normalised views.
    """
    values = {n: [m.hyperparameters[n] for m in members] for n in HYPERPARAMETERS}
    hyper = {name: np.asarray(value, np.float32) for name, value in values.items()}
    hyper["seed"] = np.asarray([m.seed for m in members], np.uint32)
    if find_objective(config).views == 2 and config.loss.normalize and not config.encoder_b.name:
        eta2 = member_mildness(config, members)
        if eta2 is not None:
            hyper["eta2"] = eta2.astype(np.float32)
    shape = tuple(layout.grid.values())
    placed = {}
    for name, array in hyper.items():
        axes = [axis for axis in layout.grid if axis in _axes_of(name)]
        index = tuple(slice(None) if axis in axes else 0 for axis in layout.grid)
        spec = PartitionSpec(*("members" if axis == layout.spread else None for axis in axes))
        sharding = NamedSharding(layout.mesh, spec)
        placed[name] = place(array.reshape(shape)[index], sharding)
    return placed


def member_mildness(
    config: config_dict.ConfigDict, members: Sequence[Member]
) -> Float[np.ndarray, " members"] | None:
    """η₂ of each member's channel, or None where the theory does not know it for all of them.

    It is η₂ of the source's law. Rows that are seen over and over can be memorised, and alignment on
    them may then exceed the bound of the law that they were drawn from. An upper bound of η₂ stands for
    it where the theory has no exact value of what follows the channel, such as a factor for each row.
    """
    law = law_parameters(config)
    settings = [tuple(m.hyperparameters[name] for name in _MILDNESS_FIELDS) for m in members]
    known = {}
    for strength, noise_std, erasure_prob in set(settings):
        known[strength, noise_std, erasure_prob] = theory.mildness.synthetic(
            config.data.source,
            config.channel.name,
            strength,
            dim=config.data.dim,
            noise_std=noise_std,
            erasure_prob=erasure_prob,
            **law,
        )
    values = [known[setting] for setting in settings]
    return None if None in values else np.array(values)


def over_members(layout: Layout, function: Callable, state: PyTree, hyper: Hyper) -> PyTree:
    """`function(state, hyper)` of every member; the grid's axes lead in everything it returns."""
    for name in reversed(layout.grid):
        along = {field: 0 if name in _axes_of(field) else None for field in hyper}
        if layout.in_turn:
            function = functools.partial(_in_turn, function, along)
        else:
            axis_name = "members" if name == layout.spread else None
            function = jax.vmap(function, in_axes=(0, along), spmd_axis_name=axis_name)
    return function(state, hyper)


def _in_turn(function: Callable, along: Mapping[str, int | None], state: PyTree, hyper: Hyper):
    """`jax.vmap(function, in_axes=(0, along))(state, hyper)` by a loop."""
    varied = {field: value for field, value in hyper.items() if along[field] == 0}
    return jax.lax.map(lambda args: function(args[0], {**hyper, **args[1]}), (state, varied))


def to_grid(layout: Layout, tree: PyTree) -> PyTree:
    """Replaces the leading axis of members by the axes of the grid."""
    shape = tuple(layout.grid.values())
    tree = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), tree)
    return jax.lax.with_sharding_constraint(tree, layout.in_grid)


def to_list(layout: Layout, tree: PyTree) -> PyTree:
    """Replaces the axes of the grid by one leading axis of members."""
    depth = len(layout.grid)
    return jax.tree.map(lambda leaf: leaf.reshape(layout.count, *leaf.shape[depth:]), tree)


def _axes_of(field: str) -> tuple[str, ...]:
    """The axes of the grid along which a hyperparameter varies."""
    # A batch follows from the seed.
    return {"eta2": _MILDNESS_FIELDS, "batch": ("seed",)}.get(field, (field,))
