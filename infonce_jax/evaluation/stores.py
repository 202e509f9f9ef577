"""Embeddings in HDF5 files and Zarr stores, read a few rows at a time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infonce_jax.evaluation.errors import check_key, damaged, missing
from infonce_jax.evaluation.stacked import Part, Stacked


def read_hdf5(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, Stacked]:
    """The matrices of an HDF5 file by the names of their datasets."""
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
            file.visititems(
                lambda name, item: (
                    found.update({name: (item.shape, item.dtype)})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    except OSError as error:
        raise ValueError(damaged(path, error)) from None

    def read(name: str, start: int, stop: int) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file[name][start:stop]

    return _stacked(path, key, leave_out, found, read)


def read_zarr(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, Stacked]:
    """The matrices of a Zarr store (version 2 or 3) by the names of their arrays."""
    opened = {name: _open_zarr(path, name) for name in zarr_arrays(path)}
    found = {name: (tuple(array.shape), array.dtype.numpy_dtype) for name, array in opened.items()}
    return _stacked(
        path, key, leave_out, found, lambda name, a, b: opened[name][a:b].read().result()
    )


def read_column(path: Path, name: str) -> np.ndarray:
    """One array of an HDF5 file or Zarr store, such as ids or labels."""
    if is_zarr(path):
        check_key(path, name, zarr_arrays(path))
        values = _open_zarr(path, name).read().result()
    else:
        h5py = _h5py(path)
        with h5py.File(path, "r") as file:
            if not isinstance(file.get(name), h5py.Dataset):
                check_key(path, name, [])
            values = file[name][...]
    if values.dtype.kind in "OS":
        values = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values.ravel()])
    return values


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((path / name).is_file() for name in (".zarray", ".zgroup", "zarr.json"))


def zarr_arrays(path: Path) -> list[str]:
    """The names of the arrays below a Zarr group; "" is the store itself."""
    found = []
    for file in sorted([*path.rglob(".zarray"), *path.rglob("zarr.json")]):
        if file.name == "zarr.json" and json.loads(file.read_text()).get("node_type") != "array":
            continue
        found.append("/".join(file.parent.relative_to(path).parts))
    return found


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing(path, error.name)) from None
    return h5py


def _open_zarr(path: Path, name: str) -> Any:
    try:
        import tensorstore
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing(path, error.name)) from None
    folder = path / name
    driver = "zarr3" if (folder / "zarr.json").is_file() else "zarr"
    store = {"driver": "file", "path": f"{folder.resolve()}/"}
    try:
        return tensorstore.open({"driver": driver, "kvstore": store}, read=True).result()
    except ValueError as error:
        raise ValueError(damaged(folder, error)) from None


def _is_matrix(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    return len(shape) == 2 and (dtype.kind == "f" or dtype.name == "bfloat16")


def _stacked(
    path: Path,
    key: str | None,
    leave_out: Sequence[str],
    found: dict[str, tuple[tuple[int, ...], np.dtype]],
    read: Any,
) -> dict[str, Stacked]:
    check_key(path, key, found)
    for name in leave_out:
        check_key(path, name, found)
    wanted = {
        name: (shape, dtype)
        for name, (shape, dtype) in found.items()
        if name == key or (key is None and name not in leave_out and _is_matrix(shape, dtype))
    }
    if not wanted:
        held = ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in found.items())
        raise ValueError(
            f"{path} holds no 2-d array of floats (found: {held or 'nothing'}). Save the embeddings as "
            f"one [n, d] float array, or name an array of whole numbers by path::key."
        )
    return {
        name: Stacked(
            [Part(f"{path}::{name}", shape, dtype, lambda a, b, name=name: read(name, a, b))],
            f"{path}::{name}" if name else str(path),
        )
        for name, (shape, dtype) in wanted.items()
    }
