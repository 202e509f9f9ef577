"""Datasets of images in Hugging Face's `datasets`. The only file that knows this library."""

import functools
import hashlib
from pathlib import Path

import numpy as np

from infonce_jax.data.images import Records, choose_field


@functools.lru_cache(maxsize=2)
def open_records(name: str, image_field: str = "", label_field: str = "") -> Records:
    """Opens a dataset, from the hub, from the library's cache, or from a folder.

    Args:
        name: of a dataset, or the folder of one that `save_to_disk` has written.
        image_field: the column of the images, as for `choose_field`.
        label_field: the column of the labels, as for `choose_field`.

    Raises:
        ValueError: where `datasets` is not installed, or it has no such dataset or column.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"config.data.source is 'hf:{name}', which needs the library datasets: run "
            "`pip install datasets`."
        ) from None
    try:
        loaded = (
            datasets.load_from_disk(name) if Path(name).is_dir() else datasets.load_dataset(name)
        )
    # The library raises whatever its storage and its network do.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"config.data.source is 'hf:{name}', which the library datasets cannot load "
            f"({type(error).__name__}: {reason})."
        ) from error
    if isinstance(loaded, datasets.Dataset):
        loaded = {"train": loaded}
    features = next(iter(loaded.values())).features
    image = choose_field(f"'hf:{name}'", "image", image_field, features, datasets.Image)
    label = choose_field(f"'hf:{name}'", "label", label_field, features, datasets.ClassLabel)
    splits = {
        split: rows.cast_column(image, datasets.Image(decode=False))
        for split, rows in loaded.items()
    }

    # What is cached goes by these: other rows, or the same rows by other columns.
    stamps = [str(getattr(rows, "_fingerprint", len(rows))) for rows in loaded.values()]
    stamps += [image, str(label)]

    def reader(split):
        rows = splits[split].select_columns([image])

        def read(index: int) -> bytes:
            stored = rows[int(index)][image]
            return stored["bytes"] or Path(stored["path"]).read_bytes()

        return read

    def labels(split) -> np.ndarray:
        return np.array(splits[split][label])

    return Records(
        {split: len(rows) for split, rows in splits.items()},
        reader,
        None if label is None else labels,
        tuple(getattr(features.get(label), "names", None) or ()) or None,
        None,
        hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16],
    )
