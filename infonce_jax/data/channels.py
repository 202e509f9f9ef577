"""Channels: the augmentations that make two views of a sample, `channel(key, x, strength) -> view`.

`strength` is a scalar that may be traced, so that runs at several strengths can be vmapped.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num, Shaped
from ml_collections import config_dict

from infonce_jax import draws
from infonce_jax.data.image_views import ViewSettings, scale_jitter, simclr_views
from infonce_jax.data.spec import DataSpec, to_float

Strength = Num[Array, ""] | float


def gaussian_noise(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Adds independent noise, y = x + s·ε with ε ~ N(0, I).

    `strength` s ≥ 0 is the noise's standard deviation in the units of x.
    """
    return x + strength * draws.normal(key, x.shape).astype(x.dtype)


def erasure(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Drops coordinates: each is set to zero with probability `strength` in [0, 1]."""
    return jnp.where(draws.bernoulli(key, strength, x.shape), 0, x)


def bit_flip(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Flips bits: each coordinate x in {0, 1} becomes 1 - x with probability `strength`."""
    return jnp.where(draws.bernoulli(key, strength, x.shape), 1 - x, x)


def identity(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Leaves the sample as it is: both views are equal, and η₂ = 1."""
    del key, strength
    return x


CHANNELS: dict[str, Callable] = {
    "bit_flip": bit_flip,
    "erasure": erasure,
    "gaussian_noise": gaussian_noise,
    "identity": identity,
}
CHANNEL_NAMES = (*sorted(CHANNELS), "simclr")


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

    def view(
        key: Key[Array, ""], rows: Shaped[Array | np.ndarray, "n ..."], hyper: Mapping[str, Array]
    ) -> Float[Array, "n ..."]:
        return channel(key, to_float(rows), hyper["channel.strength"])

    return view


def _simclr_view(config: config_dict.ConfigDict) -> Callable:
    def view(
        key: Key[Array, ""], rows: Shaped[Array | np.ndarray, "n ..."], hyper: Mapping[str, Array]
    ) -> Float[Array, "n ..."]:
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
