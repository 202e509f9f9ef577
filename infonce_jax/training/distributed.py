"""The devices of all processes as a mesh, and arrays spread over it."""

import math

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Num, PyTree, Shaped
from ml_collections import config_dict


def used_devices(config: config_dict.ConfigDict) -> list[jax.Device]:
    """The devices of a run, those of the first process first: `train.devices` of each, or all.

    Raises:
        ValueError: where a process has not that many, or they have different numbers of devices.
    """
    of_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        of_process.setdefault(device.process_index, []).append(device)
    counts = {index: len(devices) for index, devices in of_process.items()}
    fewest = min(counts.values())
    count = config.train.devices or fewest
    if config.train.devices and not 1 <= count <= fewest:
        who = "this machine" if len(counts) == 1 else f"process {min(counts, key=counts.get)}"
        raise ValueError(
            f"config.train.devices is {count} but {who} has {fewest} {jax.devices()[0].platform} "
            "device(s); use at most that many, or 0 for all."
        )
    if not config.train.devices and len(set(counts.values())) > 1:
        shown = ", ".join(f"process {index} has {found}" for index, found in counts.items())
        raise ValueError(
            f"The processes have different numbers of devices ({shown}). Give each the same, or set "
            f"config.train.devices to {fewest}."
        )
    return [device for devices in of_process.values() for device in devices[:count]]


def make_mesh(config: config_dict.ConfigDict, member_count: int = 1) -> Mesh:
    """The devices of all processes as a mesh with the axes "members" and "batch".

    Members do not communicate, so they are spread first: over the greatest common divisor of
    `member_count` and the number of devices. The devices that are left share every batch. Devices of
    one process stay next to each other, so that a batch crosses as few hosts as it can.

    Args:
        config: a validated configuration; `train.devices` is how many devices of each process to use, 0
            for all.
        member_count: length of the members' axis that is spread.

    Raises:
        ValueError: where there are not that many devices, or the batch does not divide among them.
    """
    devices = used_devices(config)
    across_members = math.gcd(member_count, len(devices))
    across_batch = len(devices) // across_members
    if config.train.batch_size % across_batch:
        shared = f"{across_batch} devices"
        if across_members > 1:
            shared += f" (of {len(devices)}; {across_members} groups train other members)"
        raise ValueError(
            f"config.train.batch_size is {config.train.batch_size}, which does not divide among "
            f"{shared}; use a multiple of {across_batch}, a number of members that {len(devices)} "
            "divides, or set config.train.devices."
        )
    grid = np.array(devices).reshape(across_members, across_batch)
    return Mesh(grid, ("members", "batch"), axis_types=(AxisType.Auto,) * 2)


def place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Host arrays as global arrays; the only place where these are made.

    Every process calls it with arrays of the global shape, and copies to its devices the parts that
    they hold; nothing is sent between processes. The other parts are not looked at, so a process needs
    to have filled in its own rows alone.

    Args:
        tree: arrays, the same on every process as far as its devices need them.
        sharding: of every leaf.
    """

    def one(array):
        if sharding.is_fully_addressable:
            return jax.device_put(array, sharding)
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(one, tree)


def place_rows(mesh: Mesh, rows: Shaped[np.ndarray, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """The rows of a batch as a global array, each process copying its share (`batch_sharding`)."""
    return place(rows, batch_sharding(mesh, len(rows)))


def batch_sharding(mesh: Mesh, size: int) -> NamedSharding:
    """How `size` rows are spread: over the mesh's axis "batch" where they divide evenly."""
    spread = None if size % mesh.shape["batch"] else "batch"
    return NamedSharding(mesh, PartitionSpec(spread))


def local_rows(mesh: Mesh, size: int) -> list[slice]:
    """Which of `size` rows the devices of this process hold, each range once, in ascending order."""
    held = batch_sharding(mesh, size).addressable_devices_indices_map((size,)).values()
    return [slice(*ends) for ends in sorted({index.indices(size)[:2] for (index,) in held})]


def whole_batch(mesh: Mesh, batch: PyTree) -> PyTree:
    """Keeps rows that every device can look up for itself from being looked up in parts.

    Otherwise the devices would exchange indices and rows at every step, which takes longer.
    """
    if mesh.shape["batch"] == 1:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec()))


def shard_batch(mesh: Mesh, rows: Num[Array, "batch ..."]) -> Num[Array, "batch ..."]:
    """Spreads the rows of a batch over the mesh's axis "batch", where they divide evenly."""
    if mesh.shape["batch"] == 1 or rows.shape[0] % mesh.shape["batch"]:
        return rows
    spec = PartitionSpec("batch", *[None] * (rows.ndim - 1))
    return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, spec))
