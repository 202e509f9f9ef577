"""Labelled images in the `array_record` format of TensorFlow Datasets (TFDS), without TensorFlow.

The only file that knows TFDS. It is imported inside the functions, since that takes seconds and most
runs read a cache.
"""

import functools
import hashlib
import io
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Integer, UInt8
from PIL import Image

from infonce_jax.data.images import Records, choose_field

_READ_CHUNK = 1000

Images = UInt8[np.ndarray, "n height width channels"]


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a dataset that TFDS has prepared."""
    return (folder / "dataset_info.json").is_file() and (folder / "features.json").is_file()


def read_images(
    folder: Path, split: str, shape: tuple[int, int, int], num_classes: int, *, remedy: str
) -> tuple[Images, Int32[np.ndarray, " n"]]:
    """Decodes one split of a prepared dataset with the features "image" and "label".

    Args:
        folder: of the prepared dataset, with its dataset_info.json.
        split: for example "train".
        shape: of every image, [height, width, channels].
        num_classes: labels are in [0, num_classes).
        remedy: what the user can do where the dataset cannot be read; it ends the message.

    Returns:
        Images and labels, in the order in which TFDS stores them.

    Raises:
        ValueError: where the dataset has another format, is damaged, or has other shapes or labels.
    """
    _check_format(
        folder,
        f"As array_record, in another directory, {remedy}, and set config.data.data_dir to that "
        "directory.",
    )
    import tensorflow_datasets as tfds

    try:
        # Decoding with PIL here keeps the pixels the same whether OpenCV is installed or not.
        source = tfds.builder_from_directory(folder).as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        return _decode(source, shape, num_classes)
    # TFDS and its readers raise whatever their storage does: there is no narrower class to catch.
    except Exception as error:
        raise ValueError(
            f"The {split} split of the dataset in {folder} cannot be read ({type(error).__name__}: "
            f"{error}). Its files are damaged or incomplete: remove the folder and {remedy}."
        ) from error


@functools.lru_cache(maxsize=2)
def open_records(folder: Path, image_field: str = "", label_field: str = "") -> Records:
    """Opens a prepared dataset of images for random access.

    Args:
        folder: of the prepared dataset, with its dataset_info.json.
        image_field: the feature that holds the image, as for `choose_field`.
        label_field: the feature that holds the label, as for `choose_field`.

    Raises:
        ValueError: where the dataset has another format, no such feature, or cannot be read.
    """
    _check_format(
        folder, "Prepare it again, with file_format='array_record', in another data directory."
    )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    # TFDS raises whatever its storage does: there is no narrower class to catch.
    except Exception as error:
        raise _unreadable(folder, error) from error
    features, where = dict(builder.info.features.items()), f"the dataset in {folder}"
    image = choose_field(where, "image", image_field, features, tfds.features.Image)
    label = choose_field(where, "label", label_field, features, tfds.features.ClassLabel)
    # Its readers are made on first use, and do not promise to be safe in several threads.
    lock = threading.Lock()

    @functools.cache
    def source(split):
        decoders = {image: tfds.decode.SkipDecoding()}
        return builder.as_data_source(split=split, decoders=decoders)

    def reader(split):
        def read(index: int) -> bytes:
            try:
                with lock:
                    encoded = source(split)[int(index)][image]
                if encoded is None:
                    raise ValueError(f"record {index} is empty")
                return encoded
            # As above.
            except Exception as error:
                raise _unreadable(folder, error) from error

        return read

    def labels(split):
        try:
            return _labels(source(split), label)
        except Exception as error:
            raise _unreadable(folder, error) from error

    shape = features[image].shape[:2]
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stamps = [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns} {image} {label}" for p in files]
    return Records(
        {name: split.num_examples for name, split in builder.info.splits.items()},
        reader,
        None if label is None else labels,
        tuple(getattr(features.get(label), "names", None) or ()) or None,
        None if None in shape else tuple(shape),
        hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16],
    )


def write_images(
    data_dir: Path,
    name: str,
    version: str,
    splits: Mapping[str, tuple[Images, Integer[np.ndarray, " n"]]],
    *,
    labels: Sequence[str],
    description: str,
    homepage: str,
) -> None:
    """Writes a dataset that any program with TFDS can read, as `data_dir/name/version`.

    Images are stored as PNG, hence without loss.

    Args:
        data_dir: the TFDS data directory.
        name: of the dataset.
        version: of the dataset, such as "3.0.2".
        splits: images and labels by split.
        labels: names of the classes.
        description: for dataset_info.json.
        homepage: for dataset_info.json.
    """
    import tensorflow_datasets as tfds

    shape = next(iter(splits.values()))[0].shape[1:]

    def info(self):
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=labels),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=description,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=homepage,
        )

    def examples(self, split):
        for index, (pixels, label) in enumerate(zip(*splits[split], strict=True)):
            row = {"id": f"{split}_{index:05d}", "image": _png(pixels), "label": int(label)}
            yield index, row

    # A class of one's own, because TFDS's registered one needs TensorFlow; its name is the dataset's.
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        _info = info
        _generate_examples = examples

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in splits}

    Builder.name = name
    with tempfile.TemporaryDirectory() as scratch:
        builder = Builder(data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare(download_dir=scratch)


def _check_format(folder: Path, remedy: str) -> None:
    try:
        stored_format = json.loads((folder / "dataset_info.json").read_text()).get("fileFormat")
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(folder, error) from error
    if stored_format != "array_record":
        raise ValueError(
            f"The dataset in {folder} is stored as {stored_format}, which TFDS cannot read without "
            f"TensorFlow. {remedy}"
        )


def _labels(source: Sequence, label: str) -> np.ndarray:
    """The labels of all rows, read in chunks; images are not decoded."""
    labels = []
    for start in range(0, len(source), _READ_CHUNK):
        rows = range(start, min(start + _READ_CHUNK, len(source)))
        labels += [row[label] for row in source.__getitems__(list(rows))]
    return np.array(labels)


def _unreadable(folder: Path, error: Exception) -> ValueError:
    return ValueError(
        f"The dataset in {folder} cannot be read ({type(error).__name__}: {error}). Its files are "
        "damaged or incomplete: remove the folder and prepare the dataset again."
    )


def _decode(
    source: Sequence, shape: tuple[int, int, int], num_classes: int
) -> tuple[Images, Int32[np.ndarray, " n"]]:
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), _READ_CHUNK):
        rows = range(start, min(start + _READ_CHUNK, len(source)))
        for row, example in zip(rows, source.__getitems__(list(rows)), strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(example["image"])))
            if pixels.shape != shape:
                raise ValueError(f"image {row} has shape {pixels.shape}, not {shape}")
            images[row] = pixels
            labels[row] = example["label"]
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"labels range from {labels.min()} to {labels.max()}, not from 0 to {num_classes - 1}"
        )
    return images, labels


def _png(pixels: UInt8[np.ndarray, "height width channels"]) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    file.seek(0)
    return file
