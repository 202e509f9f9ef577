"""What a dataset looks like, and a dataset in memory."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, Shaped

from infonce_jax.data.images import Images


class DataSpec(NamedTuple):
    """What the data look like.

    Attributes:
        sample_shape: shape of one sample, [dim] or [height, width, channels].
        is_image: whether samples are uint8 images, which are scaled to [0, 1] before the channel.
        train_size: rows of the training set; one epoch.
        test_size: rows of the test set.
        num_classes: number of labels, or None where the data have none.
        is_streamed: whether training rows are read and decoded batch by batch, because they do not fit
            in memory.
        halves: for pairs, the shape of each half and whether it holds whole numbers (tokens). A row is
            both halves, flattened, one after the other.
        note: for the user: whether the images are streamed and why, and which are left out.
    """

    sample_shape: tuple[int, ...]
    is_image: bool
    train_size: int
    test_size: int
    num_classes: int | None
    is_streamed: bool = False
    note: str = ""
    halves: tuple[tuple[tuple[int, ...], bool], ...] = ()


class Dataset(NamedTuple):
    """Data in memory.

    Attributes:
        spec: what they look like.
        train: training rows. Empty if every batch is drawn anew by `draw`; `Images`, which are decoded
            when they are indexed, if they are streamed.
        train_labels: their labels, or None.
        test: test rows.
        test_labels: their labels, or None.
        mean: mean of each image channel over the training set, in [0, 1]; 0 for vectors.
        std: standard deviation of each image channel over the training set; 1 for vectors.
        draw: `(key, n) -> (rows, labels | None)`, for sources that have a law; None for the others.
        names: `(split, index) -> str`, where a row comes from: a file, or a number in its file. None
            where rows have no place of their own.
        classes: names of the classes, by label; None where they have none.
    """

    spec: DataSpec
    train: Shaped[np.ndarray | Images, "train ..."]
    train_labels: Int[np.ndarray, " train"] | None
    test: Shaped[np.ndarray | Images, "test ..."]
    test_labels: Int[np.ndarray, " test"] | None
    mean: Float[np.ndarray | np.float32, "..."]
    std: Float[np.ndarray | np.float32, "..."]
    draw: Callable | None = None
    names: Callable[[str, int], str] | None = None
    classes: tuple[str, ...] | None = None


def first_rows(
    rows: Shaped[np.ndarray | Images, "n ..."], count: int
) -> Shaped[np.ndarray | Images, "m ..."]:
    """The first `count` rows of a split, or all for 0. Streamed images are not decoded yet.

    Examples:
        >>> first_rows(np.arange(10), 3)
        array([0, 1, 2])
    """
    if not count or count >= len(rows):
        return rows
    return rows.first(count) if isinstance(rows, Images) else rows[:count]


def to_float(rows: Num[Array | np.ndarray, "n ..."]) -> Float[Array | np.ndarray, "n ..."]:
    """Samples as float32; uint8 images scaled to [0, 1].

    Examples:
        >>> float(to_float(np.array([255], np.uint8))[0])
        1.0
    """
    return rows.astype(jnp.float32) / 255 if rows.dtype == jnp.uint8 else rows.astype(jnp.float32)
