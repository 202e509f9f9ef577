"""Embedding sets on disk: the contract between training and evaluation.

A set is one folder, written once and never changed:

    embeddings/<step>/manifest.json              where it comes from, and what it holds
                      <split>_labels.npy         [n] integers, where the data have labels
                      <member>/<split>_<view>.npy   [n, dim] floats; view is clean, view1 or view2

A member is one of the runs trained side by side: a seed with its hyperparameters. The evaluation
needs nothing else, so any program that writes such a folder can be evaluated.
"""

import functools
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infonce_jax.files import replacing_folder

FORMAT = 1
VIEWS = ("clean", "view1", "view2")
_MANIFEST = "manifest.json"
_NAME = re.compile(r"[\w.,=+-]+")


class EmbeddingSet(NamedTuple):
    """An embedding set that has been checked against its manifest.

    Attributes:
        path: its folder.
        manifest: what the writer said of it.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        return self.manifest["step"]

    @property
    def members(self) -> list[dict[str, Any]]:
        """One `{"name", "seed", "hyperparameters"}` per run trained side by side."""
        return self.manifest["members"]

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(entry["split"] for entry in self.manifest["arrays"]))

    def views(self, split: str) -> list[str]:
        entries = self.manifest["arrays"]
        return list(dict.fromkeys(e["view"] for e in entries if e["split"] == split))

    def array(self, member: str, split: str, view: str = "clean") -> np.ndarray:
        """One member's representations [n, dim], memory-mapped, their checksum verified."""
        for entry in self.manifest["arrays"]:
            if (entry["member"], entry["split"], entry["view"]) == (member, split, view):
                return self._load(entry)
        held = ", ".join(entry["file"] for entry in self.manifest["arrays"])
        raise KeyError(f"{self.path} holds no {member}/{split}_{view}.npy. It holds: {held}.")

    def labels(self, split: str) -> np.ndarray | None:
        """The split's labels [n], or None where the data have none."""
        for entry in self.manifest["labels"]:
            if entry["split"] == split:
                return self._load(entry)
        return None

    def _load(self, entry: dict[str, Any]) -> np.ndarray:
        file = self.path / entry["file"]
        if _sha256(file) != entry["sha256"]:
            raise ValueError(
                f"{file} is not the array that {self.path / _MANIFEST} describes: its checksum "
                "differs. Write the set again with --stage=embed, or restore the file."
            )
        return np.load(file, mmap_mode="r", allow_pickle=False)


def write(
    root: Path,
    step: int,
    *,
    arrays: Mapping[tuple[str, str, str], np.ndarray],
    labels: Mapping[str, np.ndarray],
    members: Iterable[Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> Path:
    """Writes one set to `root/<step>`, whole or not at all.

    The set is built under a temporary name and renamed, so that a reader never sees half of it. A
    set of the same step is replaced.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> z = np.zeros((4, 2), np.float32)
        >>> members = [{"name": "seed0", "seed": 0}]
        >>> arrays = {("seed0", "test", "clean"): z}
        >>> write(root, 0, arrays=arrays, labels={}, members=members, metadata={}).name
        '0'

    Args:
        root: the run's embeddings folder.
        step: optimiser steps taken so far; 0 is the untrained encoder.
        arrays: representations [n, dim] by (member, split, view).
        labels: integer labels [n] by split.
        members: `{"name", "seed", "hyperparameters"}` of every member in `arrays`.
        metadata: what else the manifest should say.

    Returns:
        The set's folder.

    Raises:
        ValueError: for an unknown view, a name unfit for a file, or rows that do not match.
    """
    final = Path(root) / str(step)
    entries, label_entries = [], []
    with replacing_folder(final) as scratch:
        for (member, split, view), array in arrays.items():
            if view not in VIEWS or not _NAME.fullmatch(member) or not _NAME.fullmatch(split):
                raise ValueError(
                    f"({member!r}, {split!r}, {view!r}) does not name an array: view must be one of "
                    f"{', '.join(VIEWS)}, and the names must be fit for a file."
                )
            if array.ndim != 2 or (split in labels and len(labels[split]) != len(array)):
                raise ValueError(
                    f"{member}/{split}_{view} has shape {array.shape}; it must be [n, dim]"
                    + (f" with n = {len(labels[split])} labels." if split in labels else ".")
                )
            (scratch / member).mkdir(exist_ok=True)
            entry = _save(scratch, f"{member}/{split}_{view}.npy", array)
            entries.append({"member": member, "split": split, "view": view} | entry)
        for split, array in labels.items():
            label_entries.append({"split": split} | _save(scratch, f"{split}_labels.npy", array))
        manifest = {
            "format": FORMAT,
            **metadata,
            "step": step,
            "members": [dict(member) for member in members],
            "arrays": entries,
            "labels": label_entries,
        }
        (scratch / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return final


def read(path: Path | str) -> EmbeddingSet:
    """Opens one set and checks every file's header and length against the manifest.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> z = np.zeros((4, 2), np.float32)
        >>> members = [{"name": "seed0", "seed": 0}]
        >>> arrays = {("seed0", "test", "clean"): z}
        >>> _ = write(root, 0, arrays=arrays, labels={}, members=members, metadata={})
        >>> read(root / "0").array("seed0", "test", "clean").shape
        (4, 2)

    Raises:
        FileNotFoundError: where there is no manifest.
        ValueError: where the manifest cannot be read, or disagrees with the arrays.
    """
    path = Path(path)
    file = path / _MANIFEST
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} is not an embedding set: it has no {_MANIFEST}. Pass embeddings/<step> of a "
            "run, or a .npy, .npz, .safetensors or .parquet file."
        )
    try:
        manifest = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(
            f"{file} is not valid JSON ({error}). Write the set again with --stage=embed."
        ) from None
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{file} has format {manifest.get('format')!r}; this version reads format {FORMAT}. "
            "Write the set again with --stage=embed."
        )
    missing = [key for key in ("step", "members", "arrays", "labels") if key not in manifest]
    if missing:
        raise ValueError(
            f"{file} lacks {', '.join(missing)}. Write the set again with --stage=embed."
        )
    for entry in [*manifest["arrays"], *manifest["labels"]]:
        _check(path, entry)
    return EmbeddingSet(path, manifest)


def find_steps(path: Path | str) -> list[Path]:
    """The embedding sets of a run folder (or of its embeddings folder), by ascending step.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> z = np.zeros((4, 2), np.float32)
        >>> members = [{"name": "seed0", "seed": 0}]
        >>> arrays = {("seed0", "test", "clean"): z}
        >>> _ = write(root, 20, arrays=arrays, labels={}, members=members, metadata={})
        >>> [folder.name for folder in find_steps(root)]
        ['20']
    """
    path = Path(path)
    root = path / "embeddings" if (path / "embeddings").is_dir() else path
    if not root.is_dir():
        return []
    sets = [p for p in root.iterdir() if p.name.isdecimal() and (p / _MANIFEST).is_file()]
    return sorted(sets, key=lambda p: int(p.name))


def remove_leftovers(root: Path) -> None:
    """Removes what a killed writer left behind in a run's embeddings folder.

    Examples:
        >>> import tempfile
        >>> remove_leftovers(Path(tempfile.mkdtemp()))
    """
    if root.is_dir():
        for leftover in root.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _save(folder: Path, file: str, array: np.ndarray) -> dict[str, Any]:
    np.save(folder / file, array, allow_pickle=False)
    return {
        "file": file,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": _sha256(folder / file),
    }


def _check(path: Path, entry: dict[str, Any]) -> None:
    file = path / entry["file"]
    remedy = "Write the set again with --stage=embed, or restore the file."
    if not file.is_file():
        raise ValueError(f"{path / _MANIFEST} names {entry['file']}, which is missing. {remedy}")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file} is truncated or not a .npy file ({error}). {remedy}") from None
    if list(array.shape) != entry["shape"] or str(array.dtype) != entry["dtype"]:
        raise ValueError(
            f"{path / _MANIFEST} says that {entry['file']} is {entry['dtype']}{entry['shape']}, "
            f"but the file is {array.dtype}{list(array.shape)}. {remedy}"
        )


def _sha256(file: Path) -> str:
    status = file.stat()
    return _sha256_of(file.resolve(), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _sha256_of(file: Path, mtime_ns: int, size: int) -> str:
    """Hashes a file once for each version of it: evaluation and report read the same arrays."""
    del mtime_ns, size
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
