"""Encoded images (JPEG, PNG, WebP): decoded to a common size, and checked without being decoded.

`Split` is what every source of images gives: how many there are, and the bytes of each. `Images` looks
like an array of decoded images, and decodes those that it is indexed with.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from PIL import Image, UnidentifiedImageError

# What a whole file of each format ends with, and how many bytes may follow.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_SLACK = 4096
# Images that a thread decodes before it takes the next ones.
_GRAIN = 16


class Split(NamedTuple):
    """Encoded images.

    Attributes:
        count: how many there are.
        read: `(index) -> bytes`, from any thread.
        name: `(index) -> str`, what errors call an image.
        labels: their classes, or None.
    """

    count: int
    read: Callable[[int], bytes]
    name: Callable[[int], str]
    labels: Int32[np.ndarray, " n"] | None


class Opened(NamedTuple):
    """A dataset of encoded images.

    Attributes:
        train: the training images.
        test: the test images, or None where the dataset has no such split.
        classes: names of the classes, or None.
        shape: height and width that all images have, or None where they differ or it is not known.
        fingerprint: changes when the dataset changes; the caches are named by it.
        broken: names of the images that cannot be read and are left out, with the reasons.
    """

    train: Split
    test: Split | None
    classes: tuple[str, ...] | None
    shape: tuple[int, int] | None
    fingerprint: str
    broken: tuple[str, ...] = ()


class Records(NamedTuple):
    """A prepared dataset of several splits, of records with an encoded image each.

    Attributes:
        counts: records by split.
        reader: `(split) -> read` with read as in `Split`.
        labels: `(split) -> [n]`, or None where records have no label.
        classes: names of the classes, or None.
        shape: height and width that all images have, or None where that is not stated.
        fingerprint: changes when the dataset changes.
    """

    counts: dict[str, int]
    reader: Callable[[str], Callable[[int], bytes]]
    labels: Callable[[str], Int[np.ndarray, " n"]] | None
    classes: tuple[str, ...] | None
    shape: tuple[int, int] | None
    fingerprint: str


def choose_field(
    where: str, what: str, wanted: str, there: Mapping[str, Any], kind: type
) -> str | None:
    """The field of a dataset's records that holds the image or the label.

    Examples:
        >>> choose_field("the dataset", "label", "", {"id": 1, "fine": "a", "label": "b"}, str)
        'label'

    Args:
        where: the dataset, for errors.
        what: "image" or "label".
        wanted: `config.data.image_field` or `.label_field`. "" is for the field that is called "image"
            or "label", or else for the only image or the first label.
        there: all fields by name.
        kind: the class of the values in `there` that are images or labels.

    Returns:
        Its name, or None where there is no label.

    Raises:
        ValueError: where there is no such field, no image, or several of them.
    """
    if wanted and wanted not in there:
        raise ValueError(
            f"config.data.{what}_field is {wanted!r}, but {where} has the fields {', '.join(there)}."
        )
    found = [name for name, field in there.items() if isinstance(field, kind)]
    chosen = wanted or (what if what in found else next(iter(found), None))
    if what == "image" and chosen is None:
        raise ValueError(f"{where} has no image among its fields ({', '.join(there)}).")
    if what == "image" and chosen not in (wanted, what) and len(found) > 1:
        raise ValueError(
            f"{where} has several images ({', '.join(found)}); set config.data.image_field to one of "
            "them."
        )
    return chosen


def take(split: Split, index: Int[np.ndarray, " n"]) -> Split:
    """Some of the images of a split."""
    labels = None if split.labels is None else split.labels[index]
    read, name = lambda i: split.read(int(index[i])), lambda i: split.name(int(index[i]))
    return Split(len(index), read, name, labels)


def decode(encoded: bytes, size: int = 0) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes an image to RGB, cut to its central square and resized to `size` pixels a side.

    Resizing is bilinear with antialiasing. A JPEG of more than twice the size is first decoded at a
    half, a quarter or an eighth of its own size, which is faster.

    Args:
        encoded: the file's bytes.
        size: side in pixels; 0 leaves the image's own.

    Raises:
        OSError: where it cannot be decoded. Other errors of Pillow are turned into this one.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if size:
                image.draft("RGB", (size, size))
            pixels = image.convert("RGB")
        if size and pixels.size != (size, size):
            width, height = pixels.size
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            if width != height:
                pixels = pixels.crop((left, top, left + side, top + side))
            pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
    # Damaged files raise whatever the decoder stumbles over.
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    return np.asarray(pixels)


def check(encoded: bytes) -> tuple[int, int]:
    """Height and width of an image, from its header; that its end is there is checked too.

    Raises:
        OSError: where it is no image, or not a whole one.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            kind, (width, height) = image.format, image.size
    except Exception as error:
        if isinstance(error, UnidentifiedImageError):
            raise OSError(
                "it is not an image of a known format" if encoded else "it is empty"
            ) from error
        raise OSError(f"{type(error).__name__}: {error}") from error
    end = _ENDS.get(kind)
    if end is None or end not in encoded[-_SLACK:]:
        decode(encoded)
    return height, width


def in_threads(function: Callable[[int], Any], count: int, workers: int = 0) -> Iterator[Any]:
    """`function(i)` for i in 0, …, count - 1, in order, computed in threads."""
    with ThreadPoolExecutor(threads(workers)) as pool:
        chunks = (range(i, min(i + _GRAIN, count)) for i in range(0, count, _GRAIN))
        for results in pool.map(lambda chunk: [function(i) for i in chunk], chunks):
            yield from results


def threads(workers: int) -> int:
    """The number of threads for `config.data.workers`, where 0 is for one per core."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Images:
    """Images of one size that are decoded when they are indexed.

    It has the shape, type and length of an array of all images, so that it can be embedded like one.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, split: Split, shape: tuple[int, int, int], size: int, workers: int = 0):
        """Wraps encoded images.

        Args:
            split: the images.
            shape: of every image, decoded.
            size: the side that they are resized to, or 0.
            workers: threads that decode; 0 for one per core.
        """
        self.split, self.size, self.shape = split, size, (split.count, *shape)
        self.workers = threads(workers)

    def __len__(self) -> int:
        return self.split.count

    @property
    def nbytes(self) -> int:
        """Bytes of all images, decoded."""
        return int(np.prod(self.shape, dtype=np.int64))

    def first(self, count: int) -> "Images":
        """The first images, not decoded yet."""
        return Images(take(self.split, np.arange(count)), self.shape[1:], self.size, self.workers)

    def __getitem__(
        self, key: slice | Int[np.ndarray, " n"] | Bool[np.ndarray, " n"] | Sequence[int]
    ) -> UInt8[np.ndarray, "n height width 3"]:
        """Decodes the images of a slice or of an array of indices."""
        index = np.arange(len(self))[key]
        decoded = np.empty((len(index), *self.shape[1:]), np.uint8)
        with ThreadPoolExecutor(self.workers) as pool:
            self.decode_into(decoded, index, pool)
        return decoded

    def decode_into(
        self,
        target: UInt8[np.ndarray, "n height width 3"],
        index: Int[np.ndarray, " n"],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Decodes the images of `index` into an array, in the threads of `pool`.

        Raises:
            ValueError: where an image cannot be decoded; the message names it.
        """

        def part(start: int) -> None:
            for position in range(start, min(start + _GRAIN, len(index))):
                target[position] = self._one(int(index[position]))

        # Reading the results raises what a thread raised.
        list(pool.map(part, range(0, len(index), _GRAIN)))

    def _one(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        try:
            pixels = decode(self.split.read(index), self.size)
        except OSError as error:
            raise ValueError(
                f"{self.split.name(index)} cannot be decoded ({error}). Repair or remove it."
            ) from error
        if pixels.shape != self.shape[1:]:
            raise ValueError(
                f"{self.split.name(index)} has {'x'.join(map(str, pixels.shape[:2]))} pixels and others "
                f"{'x'.join(map(str, self.shape[1:3]))}; set config.data.image_size, to which all are "
                "then resized."
            )
        return pixels
