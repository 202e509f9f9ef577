"""Folders of images: a folder for each class, or no classes; JPEG, PNG and WebP files of any size."""

import functools
import hashlib
import os
from pathlib import Path

import numpy as np

from infonce_jax.data import cache, images
from infonce_jax.data.images import Opened, Split

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_NAMES = ("test", "val", "validation")


def open_folder(root: str, cache_dir: str | None = None, workers: int = 0) -> Opened:
    """Lists the images of a folder and checks that each is whole, without decoding them.

    The folder holds train/ and test/ (or val/, validation/), or it holds images of which some are to be
    held out. Subfolders are classes; images without a subfolder have no class.

    Args:
        root: the folder.
        cache_dir: where the result of the check is cached, as for CIFAR-10.
        workers: threads that read; 0 for one per core.

    Raises:
        FileNotFoundError: where there is no such folder, or no image in it.
        PermissionError: for a folder that may not be read.
        ValueError: where images lie both in class folders and beside them, or the test set has a class
            that the training set lacks.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"config.data.source is 'folder:{root}', but {folder} is not a folder."
        )
    train = folder / "train" if (folder / "train").is_dir() else folder
    tests = [folder / name for name in TEST_NAMES if (folder / name).is_dir()]
    found = {"train": _list(train)}
    if train != folder and tests:
        found["test"] = _list(tests[0])
    total = hashlib.sha256()
    for split, paths in found.items():
        if not paths:
            raise FileNotFoundError(
                f"{train if split == 'train' else tests[0]} holds no images; their names end in "
                f"{', '.join(SUFFIXES)}, and they may lie in a subfolder for each class."
            )
        for path in paths:
            status = path.stat()
            line = f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n"
            total.update(line.encode())
    everything = tuple(path for paths in found.values() for path in paths)
    fingerprint = total.hexdigest()[:16]
    whole, shapes, broken = _checked(everything, fingerprint, cache_dir, workers)
    kept = {split: [p for p in paths if p in whole] for split, paths in found.items()}
    roots = {"train": train, "test": tests[0] if tests else None}
    classes = {split: _classes(roots[split], paths) for split, paths in kept.items()}
    names = classes["train"]
    unknown = sorted(set(classes.get("test") or ()) - set(names or ()))
    if unknown:
        raise ValueError(
            f"{roots['test']} has the class {unknown[0]!r}, which {train} has not; both need the same "
            "subfolders."
        )
    splits = {split: _split(roots[split], paths, names) for split, paths in kept.items()}
    shape = tuple(map(int, shapes[0])) if len(shapes) == 1 else None
    return Opened(splits["train"], splits.get("test"), names, shape, fingerprint, broken)


def _list(folder: Path) -> list[Path]:
    def refuse(error):
        raise PermissionError(
            f"{error.filename} cannot be read ({error.strerror}). Change its permissions, or move it "
            f"out of {folder}."
        ) from error

    found = []
    # Not Path.rglob, which passes over folders that it may not read.
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                found.append(path)
    return sorted(found)


def _classes(folder: Path, paths: list[Path]) -> tuple[str, ...] | None:
    tops = {path.relative_to(folder).parts[0] for path in paths if path.parent != folder}
    loose = next((path for path in paths if path.parent == folder), None)
    if tops and loose:
        raise ValueError(
            f"{folder} holds images both in subfolders ({', '.join(sorted(tops)[:3])}) and beside them "
            f"({loose.name}); put each into the folder of its class, or all into one folder."
        )
    return tuple(sorted(tops)) or None


def _split(folder: Path, paths: list[Path], classes: tuple[str, ...] | None) -> Split:
    labels = None
    if classes is not None:
        number = {name: index for index, name in enumerate(classes)}
        tops = [path.relative_to(folder).parts[0] for path in paths]
        if all(top in number for top in tops):
            labels = np.array([number[top] for top in tops], np.int32)
    return Split(len(paths), lambda i: paths[i].read_bytes(), lambda i: str(paths[i]), labels)


@functools.lru_cache(maxsize=4)
def _checked(
    paths: tuple[Path, ...], fingerprint: str, cache_dir: str | None, workers: int
) -> tuple[frozenset[Path], np.ndarray, tuple[str, ...]]:
    """The images that are whole, the shapes that occur, and what is wrong with the other images."""
    entry = cache.folder_of(cache_dir) / f"folder-{fingerprint}"
    stored = cache.read(entry, ("shapes", "reasons"), "list of images")
    if stored is None:

        def check(index: int) -> tuple[tuple[int, int], str]:
            try:
                return images.check(paths[index].read_bytes()), ""
            except OSError as error:
                return (0, 0), str(error)

        results = list(images.in_threads(check, len(paths), workers))
        stored = {
            "shapes": np.array([shape for shape, _ in results], np.int32),
            "reasons": np.array([reason[:200] for _, reason in results]),
        }
        cache.write(entry, stored, "list of images")
    reasons, shapes = stored["reasons"], stored["shapes"]
    good = reasons == ""
    whole = frozenset(path for path, is_good in zip(paths, good, strict=True) if is_good)
    broken = tuple(
        f"{path} ({reason})" for path, reason in zip(paths, reasons, strict=True) if reason
    )
    if not whole:
        raise ValueError(f"None of {len(paths)} images can be read; the first: {broken[0]}.")
    return whole, np.unique(shapes[good], axis=0), broken
