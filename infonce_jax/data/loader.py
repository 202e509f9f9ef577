"""From a configuration to its data: what they look like, the arrays, or their shapes alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import config_dict

from infonce_jax.data.array import describe_array, load_array
from infonce_jax.data.spec import Dataset, DataSpec
from infonce_jax.data.synthetic import SOURCES, describe_synthetic, load_synthetic, make_law

CIFAR10_SIZES = (50_000, 10_000)
SOURCE_NAMES = (*sorted(SOURCES), "cifar10", "array")


def describe(config: config_dict.ConfigDict) -> DataSpec:
    """What the configured data look like, without reading the rows.

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
            # All classes have the same number of images.
            train_size = train_size * 9 // 10
        return DataSpec((32, 32, 3), True, train_size, test_size, 10)
    if d.source == "array":
        return describe_array(d)
    return describe_synthetic(d)


def load(config: config_dict.ConfigDict) -> Dataset:
    """Reads or draws the configured data. They depend on `config.data` alone, not on a run's seed.

    Raises:
        ValueError: as `describe`, and for rows that are damaged or not finite.
        FileNotFoundError: where a file or a prepared dataset is missing.
    """
    spec = describe(config)
    if config.data.source == "cifar10":
        data = _load_cifar10(config.data, spec)
    elif config.data.source == "array":
        data = load_array(config.data, spec)
    else:
        return load_synthetic(config.data, spec)
    if spec.is_image:
        mean, std = _channel_moments(data.train)
        data = data._replace(mean=mean, std=std)
    return data


def abstract(config: config_dict.ConfigDict) -> Dataset:
    """The configured data as shapes alone, to compile a program without reading anything."""
    spec = describe(config)
    dtype = jnp.uint8 if spec.is_image else jnp.float32

    def split(n):
        rows = jax.ShapeDtypeStruct((n, *spec.sample_shape), dtype)
        labels = None if spec.num_classes is None else jax.ShapeDtypeStruct((n,), jnp.int32)
        return rows, labels

    return Dataset(
        spec,
        *split(spec.train_size),
        *split(spec.test_size),
        mean=np.float32(0),
        std=np.float32(1),
        draw=make_law(config.data) if config.data.source in SOURCES else None,
    )


def _load_cifar10(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    # Not above: `python -m infonce_jax.data.cifar10` would then run a module that is imported already.
    from infonce_jax.data import cifar10

    images = cifar10.load_cifar10(d.data_dir or None, cache_dir=d.cache_dir or None)
    seen = slice(None)
    if d.held_out_class != -1:
        seen = images.train_labels != d.held_out_class
    return Dataset(
        spec,
        images.train_images[seen],
        images.train_labels[seen],
        images.test_images,
        images.test_labels,
        mean=np.float32(0),
        std=np.float32(1),
    )


def _channel_moments(
    images: UInt8[np.ndarray, "n height width 3"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    # From the histogram of the 256 values: exact, and without a float copy of the images.
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])
    values = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(weights @ values**2 - mean**2)
    return mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32)
