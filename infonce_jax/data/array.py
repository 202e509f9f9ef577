"""Rows of your own: .npy or .npz files of vectors, images or pairs, with labels or without."""

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from ml_collections import config_dict

from infonce_jax.data.spec import Dataset, DataSpec

_UNREADABLE = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile)


def describe_array(d: config_dict.ConfigDict) -> DataSpec:
    """The spec of the file `data.path`, from its header and its labels; the rows are not read.

    Args:
        d: the section `config.data`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file cannot be read, or holds arrays that cannot be trained on.
    """
    shape, dtype = _header(d.path)
    if _has_pairs(d.path):
        return _describe_pairs(d)
    is_image = dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3
    is_vector = np.issubdtype(dtype, np.floating) and len(shape) == 2
    if not (is_image or is_vector):
        raise ValueError(
            f"{d.path} is {dtype}{list(shape)}; it must be floating-point rows [n, dim] or "
            "uint8 images [n, height, width, 3]."
        )
    n = shape[0]
    if d.test_path:
        return _with_test_file(d, shape, dtype, is_image)
    if not 1 <= d.test_size < n:
        raise ValueError(
            f"config.data.test_size is {d.test_size} but {d.path} has {n} rows; hold out at least 1 "
            f"and at most {n - 1}."
        )
    num_classes = _classes(d.path, n)
    return DataSpec(tuple(shape[1:]), is_image, n - d.test_size, d.test_size, num_classes)


def load_array(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    """Reads the file `data.path` and divides it by a shuffle from `data.seed`.

    Args:
        d: the section `config.data`.
        spec: from `describe_array`.

    Raises:
        ValueError: where the file cannot be read, or a row holds a value that is not finite.
    """
    if d.test_path:
        halves = (_whole(path, spec) for path in (d.path, d.test_path))
        places = {"train": range(spec.train_size), "test": range(spec.test_size)}
    else:
        rows, labels = _whole(d.path, spec)
        order = np.random.default_rng(d.seed).permutation(len(rows))
        parts = np.split(order, [spec.train_size])
        halves = ((rows[i], None if labels is None else labels[i]) for i in parts)
        places = dict(zip(("train", "test"), parts, strict=True))
    (train, train_labels), (test, test_labels) = halves
    moments = {"mean": np.float32(0), "std": np.float32(1)}
    return Dataset(
        *(spec, train, train_labels, test, test_labels),
        **moments,
        names=lambda split, index: f"row {places[split][index]}",
    )


def _has_pairs(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "y.npy" in archive.namelist()


def _describe_pairs(d: config_dict.ConfigDict) -> DataSpec:
    """The spec of a file whose arrays "x" and "y" hold the two halves of pairs."""
    paths = [d.path, d.test_path] if d.test_path else [d.path]
    found = []
    for path in paths:
        arrays = {name: _read(path, name) for name in ("x", "y")}
        if arrays["y"] is None or len(arrays["x"]) != len(arrays["y"]):
            raise ValueError(
                f"{path} holds {len(arrays['x'])} rows x and "
                f"{0 if arrays['y'] is None else len(arrays['y'])} rows y; row i of both must be a pair."
            )
        for name, array in arrays.items():
            if array.ndim < 2 or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"The array {name} of {path} is {array.dtype}{list(array.shape)}; it must hold "
                    "vectors [n, dim], uint8 images [n, height, width, 3], or ids of tokens [n, length]."
                )
        halves = tuple(
            (tuple(a.shape[1:]), a.dtype.kind in "iu" and not _is_image(a)) for a in arrays.values()
        )
        found.append((len(arrays["x"]), halves))
    if len({halves for _, halves in found}) > 1:
        raise ValueError(f"{d.path} and {d.test_path} hold pairs of different shapes or kinds.")
    n, halves = found[0]
    test = found[1][0] if d.test_path else d.test_size
    if not d.test_path and not 1 <= test < n:
        raise ValueError(
            f"config.data.test_size is {test} but {d.path} has {n} rows; hold out at least 1 and at "
            f"most {n - 1}."
        )
    numbers = sum(int(np.prod(shape)) for shape, _ in halves)
    classes = [_classes(path, length) for path, (length, _) in zip(paths, found, strict=True)]
    num_classes = None if None in classes else max(classes)
    train = n if d.test_path else n - test
    return DataSpec((numbers,), False, train, test, num_classes, halves=halves)


def _is_image(array: Shaped[np.ndarray, "n ..."]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3


def _flat(array: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n numbers"]:
    """Rows as float32 vectors; images in [0, 1]."""
    scale = np.float32(255 if _is_image(array) else 1)
    return np.asarray(array, np.float32).reshape(len(array), -1) / scale


def _with_test_file(
    d: config_dict.ConfigDict, shape: tuple[int, ...], dtype: np.dtype, is_image: bool
) -> DataSpec:
    test_shape, test_dtype = _header(d.test_path, "test_path")
    if test_shape[1:] != shape[1:] or test_dtype.kind != dtype.kind:
        raise ValueError(
            f"{d.test_path} is {test_dtype}{list(test_shape)} and {d.path} {dtype}{list(shape)}; both "
            "must hold rows of one shape and kind."
        )
    classes = [_classes(d.path, shape[0]), _classes(d.test_path, test_shape[0])]
    if (classes[0] is None) != (classes[1] is None):
        raise ValueError(
            f"Only one of {d.path} and {d.test_path} holds labels; save them in both, or in neither."
        )
    num_classes = None if None in classes else max(classes)
    return DataSpec(tuple(shape[1:]), is_image, shape[0], test_shape[0], num_classes)


def _classes(path: str, n: int) -> int | None:
    """The number of classes of a file, or None where it holds no labels."""
    labels = _read(path, "labels")
    if labels is None:
        return None
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError(
            f"The labels in {path} are {labels.dtype}{list(labels.shape)}; they must be {n} "
            "non-negative integers, one per row."
        )
    return int(labels.max()) + 1


def _whole(path: str, spec: DataSpec) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows and labels of a file, checked."""
    rows, labels = _read(path, "x"), _read(path, "labels")
    if spec.halves:
        rows = np.concatenate([_flat(rows), _flat(_read(path, "y"))], axis=1)
    if not spec.is_image:
        _check_finite(path, rows)
        rows = np.asarray(rows, np.float32)
    return np.asarray(rows), None if labels is None else labels.astype(np.int32)


def _header(path: str, field: str = "path") -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the rows, without reading them."""
    path = _existing(path, field)
    try:
        if not zipfile.is_zipfile(path):
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            return rows.shape, rows.dtype
        with zipfile.ZipFile(path) as archive:
            _check_holds_x(name.removesuffix(".npy") for name in archive.namelist())
            with archive.open("x.npy") as file:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, _, dtype = read(file)
                return shape, dtype
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _read(path: str, name: str) -> Shaped[np.ndarray, "n ..."] | None:
    """The rows "x" (memory-mapped where the file allows it) or the "labels", or None without labels."""
    path = _existing(path)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded if name == "x" else None
        with loaded:
            return loaded[name] if name == "x" or name in loaded.files else None
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _existing(name: str | Path, field: str = "path") -> Path:
    path = Path(name)
    if not str(name) or not path.is_file():
        raise FileNotFoundError(
            f"config.data.{field} is {str(name)!r}, which is not a file; with source 'array' it must "
            "name a .npy or .npz file of rows [n, dim] or uint8 images [n, height, width, 3]."
        )
    return path


def _check_holds_x(names) -> None:
    names = list(names)
    if "x" not in names:
        raise ValueError(f"it holds {', '.join(names) or 'nothing'}, but no array 'x'")


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read: {error}. Save the rows with np.save(path, rows), or rows and "
        "labels with np.savez(path, x=rows, labels=labels); pickled arrays are refused."
    )


def _check_finite(path: str, rows: Shaped[np.ndarray, "n dim"]) -> None:
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{path} holds {len(bad)} NaN or infinite values, the first at row {row}, column {column}; "
            "remove or replace them."
        )
