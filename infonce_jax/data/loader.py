"""The data of a configuration: what they look like, the arrays, or their shapes alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from ml_collections import config_dict

from infonce_jax import registry
from infonce_jax.data.array import describe_array, load_array
from infonce_jax.data.images import Images
from infonce_jax.data.own import describe_own, is_reader, load_own, make_own_law
from infonce_jax.data.spec import Dataset, DataSpec
from infonce_jax.data.stored import describe_stored, load_stored
from infonce_jax.data.synthetic import SOURCES, describe_synthetic, load_synthetic, make_law

CIFAR10_SIZES = (50_000, 10_000)
# Mean and standard deviation of the colour channels are computed from at most so many bytes.
_MOMENTS_BYTES = 2**28


class Source(NamedTuple):
    """Where data come from.

    Attributes:
        describe: `(config.data) -> DataSpec`, without reading the rows.
        load: `(config.data, spec) -> Dataset`.
        law: `(config.data) -> draw | None` with draw as in `Dataset`.
    """

    describe: Callable[[config_dict.ConfigDict], DataSpec]
    load: Callable[[config_dict.ConfigDict, DataSpec], Dataset]
    law: Callable[[config_dict.ConfigDict], Callable | None] = lambda d: None


def find_source(d: config_dict.ConfigDict) -> Source:
    """The source that the section `config.data` names.

    Examples:
        >>> from infonce_jax.config import default_config
        >>> find_source(default_config().data)._fields
        ('describe', 'load', 'law')

    Raises:
        ValueError: where there is none of this name, or its signature does not fit.
    """
    known = dict.fromkeys(sorted(SOURCES), Source(describe_synthetic, load_synthetic, make_law))
    known["cifar10"] = Source(_describe_cifar10, _load_cifar10)
    known["array"] = Source(describe_array, load_array)
    if d.source.partition(":")[0] in registry.DATASETS and ":" in d.source:
        return Source(describe_stored, load_stored)
    known |= {f"{kind}:...": None for kind in registry.DATASETS}
    found = registry.find("data.source", d.source, known)
    if isinstance(found, Source):
        return found
    is_reader(d)
    return Source(describe_own, load_own, make_own_law)


def describe(config: config_dict.ConfigDict) -> DataSpec:
    """What the configured data look like, without reading the rows.

    Examples:
        >>> from infonce_jax.config import default_config
        >>> describe(default_config()).sample_shape
        (512,)

    Raises:
        ValueError: for an unknown source, or sizes that cannot be.
        FileNotFoundError: where `data.path` does not exist.
    """
    d = config.data
    source = find_source(d)
    if d.fresh and source.law(d) is None:
        raise ValueError(
            f"config.data.fresh is set, but config.data.source = {d.source!r} has no law to draw rows "
            "from; set fresh=False."
        )
    if d.held_out_class != -1 and (d.source != "cifar10" or not 0 <= d.held_out_class < 10):
        raise ValueError(
            f"config.data.held_out_class is {d.held_out_class} with config.data.source = "
            f"{d.source!r}; it is one of CIFAR-10's classes, 0 to 9, or -1 for none."
        )
    return source.describe(d)


def load(config: config_dict.ConfigDict) -> Dataset:
    """Reads or draws the configured data. They depend on `config.data` alone, not on a run's seed.

    Examples:
        >>> from infonce_jax.config import default_config
        >>> config = default_config()
        >>> config.data.source, config.data.train_size, config.data.test_size = "mixture", 64, 16
        >>> load(config).train.shape
        (64, 512)

    Raises:
        ValueError: as `describe`, and for rows that are damaged or not finite.
        FileNotFoundError: where a file or a prepared dataset is missing.
    """
    spec = describe(config)
    data = find_source(config.data).load(config.data, spec)
    if spec.is_image:
        mean, std = _channel_moments(_sample(data.train))
        data = data._replace(mean=mean, std=std)
    return data


def abstract(config: config_dict.ConfigDict) -> Dataset:
    """The configured data as shapes alone, to compile a program without reading anything.

    Examples:
        >>> from infonce_jax.config import default_config
        >>> abstract(default_config()).train.dtype
        dtype('float32')
    """
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
        draw=find_source(config.data).law(config.data),
    )


def _describe_cifar10(d: config_dict.ConfigDict) -> DataSpec:
    train_size, test_size = CIFAR10_SIZES
    if d.held_out_class != -1:
        # All classes have the same number of images.
        train_size = train_size * 9 // 10
    return DataSpec((32, 32, 3), True, train_size, test_size, 10)


def _load_cifar10(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    # Imported here: `python -m infonce_jax.data.cifar10` warns if the module is imported already.
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


def _sample(rows: Shaped[np.ndarray | Images, "n ..."]) -> UInt8[np.ndarray, "m height width 3"]:
    """The images to compute the moments from: all, or evenly spaced ones of a large dataset."""
    if len(rows) * rows[:1].nbytes <= _MOMENTS_BYTES and isinstance(rows, np.ndarray):
        return rows
    count = max(1, min(len(rows), _MOMENTS_BYTES // rows[:1].nbytes))
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


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
