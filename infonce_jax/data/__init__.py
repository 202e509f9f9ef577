"""Data: a source of samples, and the channel that makes two views of each.

`describe` says what a configuration's data look like without reading them, `load` reads them, and
`make_view` gives the channel as a function of (key, rows, hyperparameters).
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num
from ml_collections import config_dict

from infonce_jax.data.batches import batch_index
from infonce_jax.data.channels import CHANNELS
from infonce_jax.data.synthetic import SOURCES, mixture_means

CIFAR10_SIZES = (50_000, 10_000)
SOURCE_NAMES = (*sorted(SOURCES), "cifar10", "array")
CHANNEL_NAMES = (*sorted(CHANNELS), "simclr")


class DataSpec(NamedTuple):
    """What the data look like.

    Attributes:
        sample_shape: shape of one sample, [dim] or [height, width, channels].
        is_image: uint8 images, scaled to [0, 1] before the channel.
        train_size: rows of the training set; one epoch.
        test_size: rows of the test set.
        num_classes: number of labels, or None where the data have none.
    """

    sample_shape: tuple[int, ...]
    is_image: bool
    train_size: int
    test_size: int
    num_classes: int | None


class Dataset(NamedTuple):
    """Data in memory.

    Attributes:
        spec: what they look like.
        train: training rows, or an empty array where every batch is drawn anew by `draw`.
        train_labels: their labels, or None.
        test: test rows.
        test_labels: their labels, or None.
        mean: per image channel, over the training set in [0, 1]; 0 for vectors.
        std: likewise; 1 for vectors.
        draw: `(key, n) -> (rows, labels | None)`, for sources that have a law.
    """

    spec: DataSpec
    train: Num[np.ndarray, "train ..."]
    train_labels: Int[np.ndarray, "train"] | None
    test: Num[np.ndarray, "test ..."]
    test_labels: Int[np.ndarray, "test"] | None
    mean: Float[np.ndarray, "..."]
    std: Float[np.ndarray, "..."]
    draw: Callable | None = None


class _DataKeys(NamedTuple):
    """Keys of the data, by purpose."""

    law: Key[Array, ""]
    train: Key[Array, ""]
    test: Key[Array, ""]


def describe(config: config_dict.ConfigDict) -> DataSpec:
    """What the configured data look like, without reading them.

    Raises:
        ValueError: for an unknown source, or sizes that cannot be.
        FileNotFoundError: where `data.path` does not exist.
    """
    d = config.data
    if d.source not in SOURCE_NAMES:
        raise ValueError(
            f"config.data.source is {d.source!r}; it must be one of {', '.join(SOURCE_NAMES)}."
        )
    if d.held_out_class != -1 and (d.source != "cifar10" or not 0 <= d.held_out_class < 10):
        raise ValueError(
            f"config.data.held_out_class is {d.held_out_class} with config.data.source = "
            f"{d.source!r}; it is one of CIFAR-10's classes, 0 to 9, or -1 for none."
        )
    if d.source == "cifar10":
        train_size, test_size = CIFAR10_SIZES
        if d.held_out_class != -1:
            # Every class has as many images.
            train_size = train_size * 9 // 10
        return DataSpec((32, 32, 3), True, train_size, test_size, 10)
    if d.source == "array":
        return _describe_array(d)
    for name in ("dim", "train_size", "test_size"):
        if d[name] < 1:
            raise ValueError(f"config.data.{name} is {d[name]}; it must be at least 1.")
    if d.source == "binary" and not 0 < d.binary_active <= d.dim:
        raise ValueError(
            f"config.data.binary_active is {d.binary_active}; it is the expected number of ones among "
            f"config.data.dim = {d.dim} coordinates, so above 0 and at most {d.dim}."
        )
    if d.source == "mixture" and d.mixture_components < 1:
        raise ValueError(
            f"config.data.mixture_components is {d.mixture_components}; it must be at least 1."
        )
    num_classes = d.mixture_components if d.source == "mixture" else None
    return DataSpec((d.dim,), False, d.train_size, d.test_size, num_classes)


def load(config: config_dict.ConfigDict) -> Dataset:
    """Reads or draws the configured data. They depend on `config.data` alone, not on a run's seed."""
    spec = describe(config)
    d = config.data
    if d.source == "cifar10":
        # Imported here, and only here, because reading CIFAR-10 needs tensorflow_datasets.
        from infonce_jax.data.cifar10 import load_cifar10

        images = load_cifar10(d.data_dir or None, cache_dir=d.cache_dir or None)
        seen = slice(None)
        if d.held_out_class != -1:
            seen = images.train_labels != d.held_out_class
        arrays = (
            images.train_images[seen],
            images.train_labels[seen],
            images.test_images,
            images.test_labels,
        )
    elif d.source == "array":
        arrays = _load_array(d, spec)
    else:
        return _load_synthetic(config, spec)
    mean, std = np.float32(0), np.float32(1)
    if spec.is_image:
        mean, std = _channel_moments(arrays[0])
    return Dataset(spec, *arrays, mean=mean, std=std)


def abstract(config: config_dict.ConfigDict) -> Dataset:
    """The configured data as shapes alone, to compile a program without reading anything."""
    spec = describe(config)
    dtype = jnp.uint8 if spec.is_image else jnp.float32

    def rows(n):
        return jax.ShapeDtypeStruct((n, *spec.sample_shape), dtype)

    def labels(n):
        return None if spec.num_classes is None else jax.ShapeDtypeStruct((n,), jnp.int32)

    draw = None
    if config.data.source in SOURCES:
        draw = _law(config)
    return Dataset(
        spec,
        rows(spec.train_size),
        labels(spec.train_size),
        rows(spec.test_size),
        labels(spec.test_size),
        np.float32(0),
        np.float32(1),
        draw,
    )


def make_view(config: config_dict.ConfigDict, spec: DataSpec) -> Callable:
    """The channel, as `view(key, rows [n, ...], hyperparameters) -> rows [n, ...]` in float32.

    Raises:
        ValueError: for an unknown channel, or one that does not fit the data.
    """
    name = config.channel.name
    if name not in CHANNEL_NAMES:
        raise ValueError(
            f"config.channel.name is {name!r}; it must be one of {', '.join(CHANNEL_NAMES)}."
        )
    if name == "simclr":
        if not spec.is_image:
            raise ValueError(
                "config.channel.name is 'simclr', which needs uint8 images, but "
                f"config.data.source = {config.data.source!r} has samples of shape "
                f"{spec.sample_shape}; choose one of {', '.join(sorted(CHANNELS))}."
            )
        return _simclr_view(config)
    if name == "bit_flip" and config.data.source != "binary":
        raise ValueError(
            "config.channel.name is 'bit_flip', which needs coordinates in {0, 1}, but "
            f"config.data.source is {config.data.source!r}; use source binary, or another channel."
        )
    channel = CHANNELS[name]

    def view(key: Key[Array, ""], rows: Num[Array, "n ..."], hyper: Mapping[str, Array]) -> Array:
        return channel(key, to_float(rows), hyper["channel.strength"])

    return view


def to_float(rows: Num[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Samples as float32; uint8 images scaled to [0, 1]."""
    return rows.astype(jnp.float32) / 255 if rows.dtype == jnp.uint8 else rows.astype(jnp.float32)


def make_batch(config: config_dict.ConfigDict, data: Dataset) -> Callable:
    """Batches as `batch(arrays, key, step) -> (rows, labels | None)`, arrays being (train, labels)."""
    size = config.train.batch_size
    n = data.spec.train_size
    if size > n:
        raise ValueError(
            f"config.train.batch_size is {size} but the training set has {n} rows; use a batch of at "
            f"most {n}" + (", or a larger config.data.train_size." if data.draw else ".")
        )

    def drawn(arrays, key, step):
        del arrays
        return data.draw(jax.random.fold_in(key, step), size)

    def gathered(arrays, key, step):
        rows, labels = arrays
        index = batch_index(key, step, size, n)
        return rows[index], None if labels is None else labels[index]

    return drawn if config.data.fresh else gathered


def _law(config: config_dict.ConfigDict) -> Callable:
    """The synthetic source as `(key, n) -> (rows, labels | None)`."""
    d = config.data
    settings = {
        "binary": {"active": d.binary_active},
        "mixture": {
            "components": d.mixture_components,
            "separation": d.mixture_separation,
            "law_key": _data_keys(d).law,
        },
    }.get(d.source, {})

    def draw(key, n):
        return SOURCES[d.source](key, n, d.dim, **settings)

    return draw


def law_parameters(config: config_dict.ConfigDict) -> dict[str, float | np.ndarray]:
    """What a synthetic source's law depends on beside its name and dimension.

    Returns:
        "probability" of a one for the binary source, the component "means" [components, dim] for the
        mixture, nothing for the others.
    """
    d = config.data
    if d.source == "binary":
        return {"probability": d.binary_active / d.dim}
    if d.source == "mixture":
        means = mixture_means(_data_keys(d).law, d.mixture_components, d.dim, d.mixture_separation)
        return {"means": np.asarray(means)}
    return {}


def _data_keys(d: config_dict.ConfigDict) -> _DataKeys:
    return _DataKeys(*jax.random.split(jax.random.key(d.seed), 3))


def _load_synthetic(config: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    draw = _law(config)
    keys = _data_keys(config.data)

    def sample(key, n):
        rows, labels = jax.jit(draw, static_argnums=1)(key, n)
        return np.asarray(rows), None if labels is None else np.asarray(labels)

    train = sample(keys.train, 0 if config.data.fresh else spec.train_size)
    test = sample(keys.test, spec.test_size)
    return Dataset(spec, *train, *test, mean=np.float32(0), std=np.float32(1), draw=draw)


def _simclr_view(config: config_dict.ConfigDict) -> Callable:
    from infonce_jax.data.image_views import ViewSettings, scale_jitter, simclr_views

    def view(key: Key[Array, ""], rows: Num[Array, "n ..."], hyper: Mapping[str, Array]) -> Array:
        def setting(name, off):
            # A setting that is off for every member leaves the program altogether.
            return off if config.channel[name] == off else hyper[f"channel.{name}"]

        settings = ViewSettings(
            crop_area_min=setting("crop_area_min", 1.0),
            flip_prob=0.5 if config.channel.flip else 0.0,
            grayscale_prob=setting("grayscale_prob", 0.0),
            blur_prob=setting("blur_prob", 0.0),
        )
        jitter = setting("jitter", 0.0)
        if isinstance(jitter, float):
            settings = settings._replace(jitter_prob=0.0)
        else:
            settings = scale_jitter(settings, jitter)
        return simclr_views(key, rows, settings)

    return view


def _channel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # From the histogram of the 256 values: exact, and without a float copy of the images.
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])
    values = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(weights @ values**2 - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32)


def _open_array(d: config_dict.ConfigDict) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows (memory-mapped where the file allows it) and labels of data.path."""
    path = Path(d.path)
    if not d.path or not path.is_file():
        raise FileNotFoundError(
            f"config.data.path is {d.path!r}, which is not a file; with source 'array' it must name a "
            ".npy or .npz file of rows [n, dim] or uint8 images [n, height, width, 3]."
        )
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        if "x" not in loaded.files:
            raise ValueError(f"it holds {', '.join(loaded.files) or 'nothing'}, but no array 'x'")
        labels = loaded["labels"] if "labels" in loaded.files else None
        return loaded["x"], labels
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read: {error}. Save the rows with np.save(path, rows), or rows and "
            "labels with np.savez(path, x=rows, labels=labels); pickled arrays are refused."
        ) from None


def _describe_array(d: config_dict.ConfigDict) -> DataSpec:
    rows, labels = _open_array(d)
    is_image = rows.dtype == np.uint8 and rows.ndim == 4 and rows.shape[-1] == 3
    is_vector = np.issubdtype(rows.dtype, np.floating) and rows.ndim == 2
    if not (is_image or is_vector):
        raise ValueError(
            f"{d.path} is {rows.dtype}{list(rows.shape)}; it must be floating-point rows [n, dim] or "
            "uint8 images [n, height, width, 3]."
        )
    n = len(rows)
    if not 1 <= d.test_size < n:
        raise ValueError(
            f"config.data.test_size is {d.test_size} but {d.path} has {n} rows; hold out at least 1 "
            f"and at most {n - 1}."
        )
    if is_vector:
        _check_finite(d.path, rows)
    num_classes = None
    if labels is not None:
        if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
            raise ValueError(
                f"The labels in {d.path} are {labels.dtype}{list(labels.shape)}; they must be {n} "
                "non-negative integers, one per row."
            )
        num_classes = int(labels.max()) + 1
    return DataSpec(rows.shape[1:], is_image, n - d.test_size, d.test_size, num_classes)


def _load_array(d: config_dict.ConfigDict, spec: DataSpec) -> tuple:
    rows, labels = _open_array(d)
    order = np.random.default_rng(d.seed).permutation(len(rows))
    train, test = np.split(order, [spec.train_size])
    dtype = rows.dtype if spec.is_image else np.float32

    def pick(array, index):
        return None if array is None else np.asarray(array[index])

    labels = None if labels is None else labels.astype(np.int32)
    return (
        pick(rows, train).astype(dtype, copy=False),
        pick(labels, train),
        pick(rows, test).astype(dtype, copy=False),
        pick(labels, test),
    )


def _check_finite(path: str, rows: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{path} holds {len(bad)} NaN or infinite values, the first at row {row}, column {column}; "
            "remove or replace them."
        )
