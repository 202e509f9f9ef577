"""Datasets of encoded images: decoded into memory if they fit, streamed if they do not."""

import functools
import logging

import numpy as np
from ml_collections import config_dict

from infonce_jax.data import cache
from infonce_jax.data.folder import open_folder
from infonce_jax.data.images import Images, Opened, take
from infonce_jax.data.records import open_hf, open_tfds
from infonce_jax.data.spec import Dataset, DataSpec

# Broken images that a message names.
_MOST_NAMED = 5

logger = logging.getLogger(__name__)


def describe_stored(d: config_dict.ConfigDict) -> DataSpec:
    """The spec of the images that `data.source` names, as `tfds:name`, `folder:path` or `hf:name`.

    They are streamed if all of them, decoded, take more than `data.max_memory_gb`.

    Args:
        d: the section `config.data`.

    Raises:
        FileNotFoundError: where there is no such folder or dataset.
        ValueError: where the images differ in size and `data.image_size` is 0, or where there are too
            few to hold out `data.test_size`.
    """
    opened = open_stored(d)
    shape = (d.image_size, d.image_size) if d.image_size else opened.shape
    if shape is None:
        raise ValueError(
            f"config.data.source is {d.source!r}, whose images differ in size; set "
            "config.data.image_size to the side in pixels to which all are resized, for example 64."
        )
    count = opened.train.count + opened.test.count
    needed_gb = count * shape[0] * shape[1] * 3 / 1e9
    is_streamed = needed_gb > d.max_memory_gb
    note = (
        f"{'streamed' if is_streamed else 'in memory'}: {count:,} images of {shape[0]}x{shape[1]} take "
        f"{needed_gb:.3g} GB, {'more than' if is_streamed else 'within'} config.data.max_memory_gb = "
        f"{d.max_memory_gb:g}"
    )
    if opened.broken:
        shown = ", ".join(opened.broken[:_MOST_NAMED])
        more = ", ..." if len(opened.broken) > _MOST_NAMED else ""
        note += f"; {len(opened.broken)} images cannot be read and are left out: {shown}{more}"
    labels, classes = (opened.train.labels, opened.test.labels), None
    if all(of_split is not None for of_split in labels):
        # Labels that are plain numbers have no names to count.
        classes = len(opened.classes or ()) or int(max(of_split.max() for of_split in labels)) + 1
    sizes = (opened.train.count, opened.test.count)
    return DataSpec((*shape, 3), True, *sizes, classes, is_streamed, note)


def load_stored(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    """The images: in memory, from the cache if they were decoded before; or streamed, not decoded yet.

    Args:
        d: the section `config.data`.
        spec: from `describe_stored`.
    """
    opened = open_stored(d)
    if opened.broken:
        logger.warning("%s: %s.", d.source, spec.note)
    halves = {
        "train": Images(opened.train, spec.sample_shape, d.image_size, d.workers),
        "test": Images(opened.test, spec.sample_shape, d.image_size, d.workers),
    }
    if not spec.is_streamed:
        held_out = f"-{d.seed}-{spec.test_size}"
        entry = cache.folder_of(d.cache_dir or None)
        entry /= f"images-{opened.fingerprint}-{d.image_size}{held_out}"
        stored = cache.read(entry, tuple(halves), "images")
        if stored is None:
            stored = {name: images[:] for name, images in halves.items()}
            cache.write(entry, stored, "images")
        halves = stored
    is_labelled = spec.num_classes is not None
    return Dataset(
        spec,
        halves["train"],
        opened.train.labels if is_labelled else None,
        halves["test"],
        opened.test.labels,
        mean=np.float32(0),
        std=np.float32(1),
        names=lambda split, index: getattr(opened, split).name(index),
        classes=opened.classes if is_labelled else None,
    )


def open_stored(d: config_dict.ConfigDict) -> Opened:
    """The images that `data.source` names, divided into training and test images."""
    kind, _, name = d.source.partition(":")
    options = {
        "cache_dir": d.cache_dir or None,
        "splits": (d.train_split, d.test_split),
        "fields": (d.image_field, d.label_field),
    }
    if kind == "folder":
        opened = open_folder(name, d.cache_dir or None, d.workers)
    elif kind == "tfds":
        opened = open_tfds(name, data_dir=d.data_dir, **options)
    else:
        opened = open_hf(name, **options)
    if opened.test is not None:
        return opened
    n = opened.train.count
    if not 1 <= d.test_size < n:
        raise ValueError(
            f"config.data.test_size is {d.test_size}, but config.data.source = {d.source!r} has {n} "
            f"images and no test split; hold out at least 1 and at most {n - 1}, for example "
            f"--config.data.test_size={max(1, n // 10)}."
        )
    train, test = _held_out(n, d.test_size, d.seed)
    return opened._replace(train=take(opened.train, train), test=take(opened.train, test))


@functools.lru_cache(maxsize=4)
def _held_out(n: int, test_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    train, test = np.split(np.random.default_rng(seed).permutation(n), [n - test_size])
    return train, test
