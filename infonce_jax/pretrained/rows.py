"""What is to be encoded: images of a folder, lines of a text, captions, or a prepared TFDS dataset."""

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer
from PIL import Image

from infonce_jax.data import tfds
from infonce_jax.pretrained.images import SUFFIXES, read_image

SPLIT_BY = ("none", "folder", "style")
_STYLE = re.compile(r"([A-Za-z]+)_\d+$")
_NOT_IN_NAMES = re.compile(r"[^\w.,=+-]+")


class Rows(NamedTuple):
    """The rows of one split, in a fixed order.

    Attributes:
        names: of each row: the image's file, relative to the folder, or the text itself.
        image: reads the image of row i, or None where the rows have none.
        texts: the text of each row, or None where the rows have none.
        labels: the class of each row, or None.
        label_names: of the classes, by label.
    """

    names: Sequence[str]
    image: Callable[[int], Image.Image] | None = None
    texts: Sequence[str] | None = None
    labels: Integer[np.ndarray, " n"] | None = None
    label_names: Sequence[str] = ()

    @property
    def towers(self) -> tuple[str, ...]:
        """What of the model is needed: "image", "text", or both."""
        return ("image",) * (self.image is not None) + ("text",) * (self.texts is not None)


def open_rows(
    path: Path | str,
    *,
    captions: Path | str | None = None,
    split_by: str = "none",
    split: str = "test",
    max_rows: int = 0,
) -> dict[str, Rows]:
    """Lists the rows of DATA by split, without reading any image.

    - A folder: all images below it, ordered by path. Where each lies in a subfolder, the first one is
      its class.
    - A folder that TFDS has prepared: the images of `split`, and their labels where there are some.
    - A `.txt` file: one text a line.
    - A `.json` file in the form of COCO's captions: the first caption of every image, ordered by the
      image's file name.

    Args:
        path: as above.
        captions: a `.json` file in the form of COCO's captions: row i is then an image of the folder
            `path` with the first of its captions.
        split_by: one split for all ("none"), for each class ("folder"), or for each style ("style"):
            the letters in front of the number in the file names of ImageNet-R, such as sketch_12.jpg.
        split: of a TFDS dataset.
        max_rows: of each split, evenly spaced; 0 for all.

    Raises:
        FileNotFoundError: where there is no such file or folder.
        ValueError: where nothing is found, or captions and images do not belong together.
    """
    path = Path(path)
    if split_by not in SPLIT_BY:
        raise ValueError(f"--split_by is {split_by!r}: choose from {', '.join(SPLIT_BY)}.")
    if max_rows < 0:
        raise ValueError(f"--max_rows is {max_rows}: give a number of rows, or 0 for all.")
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: name a folder of images, a .txt file, a .json file of captions, "
            f"or a folder that tensorflow_datasets has prepared."
        )
    if captions is not None and (not path.is_dir() or tfds.is_prepared(path)):
        raise ValueError(f"--captions needs a folder of images, and {path} is none.")
    if path.is_dir() and tfds.is_prepared(path):
        found = {split: _tfds_rows(path, split)}
    elif path.is_dir():
        rows = _image_rows(path) if captions is None else _captioned_rows(path, Path(captions))
        found = _split(rows, split_by, path)
    elif path.suffix.lower() == ".json":
        pairs = _read_captions(path)
        found = {"all": Rows([t for _, t in pairs], texts=[t for _, t in pairs])}
    elif path.suffix.lower() == ".txt":
        found = {"all": _text_rows(path)}
    else:
        raise ValueError(
            f"{path} has a suffix that is not known: texts are read from .txt (one a line) and .json "
            f"(COCO's captions), images from a folder."
        )
    if split_by != "none" and len(found) == 1 and next(iter(found.values())).image is None:
        raise ValueError(f"--split_by {split_by} is for images in folders, and {path} has texts.")
    return {name: _spaced(rows, max_rows) for name, rows in found.items()}


def _image_rows(folder: Path) -> Rows:
    files = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise ValueError(
            f"{folder} holds no images: looked for {', '.join(SUFFIXES)} in it and below it."
        )
    labels, label_names = None, []
    if all("/" in file for file in files):
        folders = [file.split("/")[0] for file in files]
        label_names = sorted(set(folders))
        index = {name: i for i, name in enumerate(label_names)}
        labels = np.array([index[name] for name in folders], np.int32)
    return Rows(files, lambda i: read_image(folder / files[i]), None, labels, label_names)


def _captioned_rows(folder: Path, captions: Path) -> Rows:
    pairs = _read_captions(captions)
    missing = [file for file, _ in pairs if not (folder / file).is_file()]
    if missing:
        raise ValueError(
            f"{captions} names {len(pairs)} images with captions, of which {len(missing)} are not in "
            f"{folder}, such as {missing[0]}. Name the folder that the captions belong to, or a file "
            f"with the captions of these images alone."
        )
    files, texts = [file for file, _ in pairs], [text for _, text in pairs]
    return Rows(files, lambda i: read_image(folder / files[i]), texts)


def _read_captions(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: name a .json file of captions.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {entry["id"]: entry["file_name"] for entry in content["images"]}
        first: dict[Any, str] = {}
        for entry in sorted(content["annotations"], key=lambda entry: entry["id"]):
            first.setdefault(entry["image_id"], " ".join(entry["caption"].split()))
        unknown = [image for image in first if image not in files]
        if unknown:
            raise ValueError(f"image {unknown[0]} has a caption and no file name")
        pairs = sorted((files[image], text) for image, text in first.items())
        if not pairs:
            raise ValueError("it has no captions")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not in the form of COCO's captions ({type(error).__name__}: {error}). It needs "
            f'"images" with "id" and "file_name", and "annotations" with "id", "image_id" and '
            f'"caption".'
        ) from None
    return pairs


def _text_rows(path: Path) -> Rows:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error}).") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{path} is empty: give one text a line.")
    empty = [i for i, line in enumerate(lines, 1) if not line.strip()]
    if empty:
        raise ValueError(
            f"{path} has {len(empty)} empty lines, the first of them line {empty[0]}: remove them, so "
            f"that row i is line i."
        )
    return Rows(lines, texts=lines)


def _tfds_rows(folder: Path, split: str) -> Rows:
    stored = tfds.open_records(folder)
    if split not in stored.counts:
        raise ValueError(
            f"{folder} has the splits {', '.join(stored.counts)}: asked for the split {split!r}."
        )
    names = [f"{split}:{i}" for i in range(stored.counts[split])]
    read = stored.reader(split)
    labels = None if stored.labels is None else stored.labels(split)

    def image(i):
        return read_image(io.BytesIO(read(i)), names[i])

    return Rows(names, image, None, labels, list(stored.classes or ()))


def _split(rows: Rows, split_by: str, folder: Path) -> dict[str, Rows]:
    if split_by == "none":
        return {"all": rows}
    if split_by == "folder":
        if rows.labels is None:
            raise ValueError(
                f"--split_by folder needs every image in a subfolder, and {folder} has some beside "
                f"them, or captions: leave it out."
            )
        keys = [rows.label_names[label] for label in rows.labels]
    else:
        styles = [_STYLE.match(Path(name).stem) for name in rows.names]
        odd = [name for name, style in zip(rows.names, styles, strict=True) if style is None]
        if odd:
            raise ValueError(
                f"--split_by style takes the style from file names such as sketch_12.jpg, as "
                f"ImageNet-R has them, but {len(odd)} images are named otherwise, such as {odd[0]}."
            )
        keys = [style[1].lower() for style in styles if style]
    keys = [_NOT_IN_NAMES.sub("_", key) for key in keys]
    order: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        order.setdefault(key, []).append(i)
    return {key: _take(rows, np.array(order[key])) for key in sorted(order)}


def _spaced(rows: Rows, max_rows: int) -> Rows:
    n = len(rows.names)
    if max_rows == 0 or n <= max_rows:
        return rows
    return _take(rows, np.linspace(0, n - 1, max_rows).round().astype(int))


def _take(rows: Rows, index: Integer[np.ndarray, " m"]) -> Rows:
    image, texts, labels = rows.image, rows.texts, rows.labels
    return rows._replace(
        names=[rows.names[i] for i in index],
        image=None if image is None else lambda i: image(int(index[i])),
        texts=None if texts is None else [texts[i] for i in index],
        labels=None if labels is None else labels[index],
    )
