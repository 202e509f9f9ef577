"""The devices as a mesh, and a batch spread over it."""

import math

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Num
from ml_collections import config_dict


def make_mesh(config: config_dict.ConfigDict, member_count: int = 1) -> Mesh:
    """The local devices as a mesh with the axes "members" and "batch".

    Members do not communicate, so they are spread first: over the greatest common divisor of
    `member_count` and the number of devices. The devices that are left share every batch.

    Args:
        config: a validated configuration; `train.devices` is how many devices to use, 0 for all.
        member_count: length of the members' axis that is spread.

    Raises:
        ValueError: where there are not that many devices, or the batch does not divide among them.
    """
    devices = jax.local_devices()
    count = config.train.devices or len(devices)
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"config.train.devices is {count} but this machine has {len(devices)} "
            f"{devices[0].platform} device(s); use at most that many, or 0 for all."
        )
    across_members = math.gcd(member_count, count)
    across_batch = count // across_members
    if config.train.batch_size % across_batch:
        raise ValueError(
            f"config.train.batch_size is {config.train.batch_size}, which does not divide among "
            f"{across_batch} devices; use a multiple of {across_batch}, or set config.train.devices."
        )
    grid = np.array(devices[:count]).reshape(across_members, across_batch)
    return Mesh(grid, ("members", "batch"), axis_types=(AxisType.Auto,) * 2)


def shard_batch(mesh: Mesh, rows: Num[Array, "batch ..."]) -> Num[Array, "batch ..."]:
    """Spreads the rows of a batch over the mesh's axis "batch", where they divide evenly."""
    if mesh.shape["batch"] == 1 or rows.shape[0] % mesh.shape["batch"]:
        return rows
    spec = PartitionSpec("batch", *[None] * (rows.ndim - 1))
    return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, spec))
