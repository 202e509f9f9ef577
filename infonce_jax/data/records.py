"""Image datasets of records: those that TFDS has prepared, and those that `datasets` reads."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from infonce_jax.data import cache, hf, tfds
from infonce_jax.data.images import Opened, Records, Split

_TEST_SPLITS = ("test", "validation", "val")


def open_tfds(
    name: str,
    *,
    data_dir: str = "",
    cache_dir: str | None = None,
    splits: tuple[str, str] = ("train", ""),
    fields: tuple[str, str] = ("", ""),
) -> Opened:
    """Opens a prepared TFDS dataset of images, without TensorFlow.

    Args:
        name: such as "cifar100" or "imagenet2012:5.1.0", as TFDS names its folders.
        data_dir: TFDS's data directory, "" for its default.
        cache_dir: where the labels are cached, as for CIFAR-10.
        splits: to train on and to test on; "" for the second is "test", "validation", "val", or none.
        fields: the features that hold image and label, as for `choose_field`.

    Raises:
        FileNotFoundError: where the dataset is not prepared.
        ValueError: where it has no such split or feature, or cannot be read.
    """
    records = tfds.open_records(find_prepared(name, data_dir), *fields)
    return _opened(f"tfds:{name}", records, splits, cache_dir)


def open_hf(
    name: str,
    *,
    cache_dir: str | None = None,
    splits: tuple[str, str] = ("train", ""),
    fields: tuple[str, str] = ("", ""),
) -> Opened:
    """Opens a dataset of images with Hugging Face's `datasets`; arguments as `open_tfds`.

    Args:
        name: of a dataset on the hub, or the folder of one that `save_to_disk` has written.
        cache_dir: where the labels are cached.
        splits: as for `open_tfds`.
        fields: as for `open_tfds`.

    Raises:
        ValueError: where `datasets` is not installed, or it has no such dataset, split or feature.
    """
    return _opened(f"hf:{name}", hf.open_records(name, *fields), splits, cache_dir)


def find_prepared(name: str, data_dir: str = "") -> Path:
    """The folder of a prepared TFDS dataset; of several versions the highest.

    Raises:
        FileNotFoundError: where there is none; the message names those that there are.
    """
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    base, _, version = name.partition(":")
    folder = root / base
    candidates = [folder / version] if version else [folder, *folder.glob("*"), *folder.glob("*/*")]
    prepared = sorted(filter(tfds.is_prepared, candidates), key=_version)
    if not prepared:
        there = sorted(
            {str(p.parent.parent.relative_to(root)) for p in root.rglob("features.json")}
        )
        raise FileNotFoundError(
            f"config.data.source is 'tfds:{name}', but {folder} holds no prepared dataset (prepared in "
            f"{root}: {', '.join(there[:10]) or 'none'}). Prepare it with tensorflow_datasets, with "
            "file_format='array_record', or set config.data.data_dir to the data directory that has it."
        )
    return prepared[-1]


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in folder.name.split("."))


def _opened(
    source: str, records: Records, splits: tuple[str, str], cache_dir: str | None
) -> Opened:
    train, test = _chosen(source, tuple(records.counts), splits)
    names = (train, test) if test else (train,)
    labels = dict.fromkeys(names)
    if records.labels is not None:
        for name in names:
            labels[name] = _labels(source, records, name, cache_dir)
    opened = [_split(source, records, name, labels[name]) for name in names]
    return Opened(
        opened[0],
        opened[1] if test else None,
        records.classes,
        records.shape,
        f"{records.fingerprint}-{'-'.join(names)}",
    )


def _chosen(source: str, there: Sequence[str], splits: tuple[str, str]) -> tuple[str, str]:
    train, test = splits
    test = test or next((name for name in _TEST_SPLITS if name in there), "")
    for field, name in (("train_split", train), ("test_split", test)):
        if name and name not in there:
            raise ValueError(
                f"config.data.{field} is {name!r}, but config.data.source = {source!r} has the splits "
                f"{', '.join(there)}."
            )
    return train, "" if test == train else test


def _labels(
    source: str, records: Records, split: str, cache_dir: str | None
) -> Int32[np.ndarray, " n"] | None:
    """The labels of a split, or None if it has none. They are cached when they are first read."""
    entry = cache.folder_of(cache_dir) / f"labels-{records.fingerprint}-{split}"
    stored = cache.read(entry, ("labels",), "labels")
    if stored is None:
        found = np.asarray(records.labels(split))
        if found.dtype.kind not in "iu":
            raise ValueError(
                f"config.data.source is {source!r}, whose labels are not whole numbers. Set "
                "config.data.label_field to a field of whole numbers."
            )
        stored = {"labels": found.astype(np.int32)}
        cache.write(entry, stored, "labels")
    # A negative label means that there is none: the unlabelled images of STL-10 have -1.
    return None if np.any(stored["labels"] < 0) else stored["labels"]


def _split(source: str, records: Records, name: str, labels: np.ndarray | None) -> Split:
    def called(index: int) -> str:
        return f"Image {index} of the split {name!r} of {source}"

    return Split(records.counts[name], records.reader(name), called, labels)
