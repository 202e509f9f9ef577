"""Channels: the augmentations that make two views of a sample, `channel(key, x, strength) -> view`.

`strength` is a scalar that may be traced, so that runs at several strengths can be vmapped. After any
channel come three more steps, each with a strength of its own: `noise_std`, `erasure_prob` and
`row_scale_std`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, Shaped
from ml_collections import config_dict

from infonce_jax import draws, registry
from infonce_jax.data.image_views import ViewSettings, resized, scale_jitter, simclr_views
from infonce_jax.data.spec import DataSpec, to_float
from infonce_jax.data.synthetic import law_parameters

Strength = Num[Array, ""] | float


def gaussian_noise(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Adds independent noise, y = x + s·ε with ε ~ N(0, I).

    `strength` s ≥ 0 is the noise's standard deviation in the units of x.
    """
    return x + strength * draws.normal(key, x.shape).astype(x.dtype)


def mixing(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Mixes with independent noise, y = A x + √(1-A²) ε with ε ~ N(0, I).

    `strength` A in [0, 1] is what is kept of x; 1 changes nothing. The variance of a coordinate of unit
    variance stays 1.
    """
    noise = draws.normal(key, x.shape).astype(x.dtype)
    return strength * x + jnp.sqrt((1 - strength) * (1 + strength)) * noise


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


def bit_add(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Adds ones: each zero of a binary row becomes a one with probability `strength`; ones stay."""
    return jnp.where(draws.bernoulli(key, strength, x.shape), 1, x)


def row_scale(
    key: Key[Array, ""], x: Float[Array, "n ..."], strength: Strength
) -> Float[Array, "n ..."]:
    """Scales each row by its own factor exp(s·ε) with ε ~ N(0, 1), where s ≥ 0 is `strength`."""
    factor = jnp.exp(strength * draws.normal(key, x.shape[:1])).astype(x.dtype)
    return x * factor.reshape(-1, *[1] * (x.ndim - 1))


def same_component(
    key: Key[Array, ""], labels: Int[Array, " n"], means: Float[Array, "components dim"]
) -> Float[Array, "n dim"]:
    """Draws each view anew from the component of the mixture that its row comes from.

    Two views of a row share its label and nothing else.
    """
    return means[labels] + draws.normal(key, (labels.shape[0], means.shape[1]))


def identity(
    key: Key[Array, ""], x: Float[Array, "*shape"], strength: Strength
) -> Float[Array, "*shape"]:
    """Leaves the sample as it is: both views are equal, and η₂ = 1."""
    del key, strength
    return x


CHANNELS: dict[str, Callable] = {
    "bit_add": bit_add,
    "bit_flip": bit_flip,
    "erasure": erasure,
    "gaussian_noise": gaussian_noise,
    "identity": identity,
    "mixing": mixing,
}

# The steps after a channel, in their order, by the field of `config.channel` with their strength.
_STEPS: dict[str, Callable] = {
    "noise_std": gaussian_noise,
    "erasure_prob": erasure,
    "row_scale_std": row_scale,
}


def find_channel(c: config_dict.ConfigDict) -> Callable:
    """The channel that the section `config.channel` names.

    One of the user's own is `channel(key, x, strength, **kwargs) -> view` with kwargs from
    `config.channel.kwargs`; it is given `labels` where it has such a parameter.

    Examples:
        >>> from infonce_jax.config import default_config
        >>> callable(find_channel(default_config().channel))
        True

    Raises:
        ValueError: where there is none of this name, or its signature does not fit.
    """
    known = {**CHANNELS, "same_component": same_component, "simclr": simclr_views}
    found = registry.find("channel.name", c.name, dict(sorted(known.items())))
    if c.name not in known:
        _own_arguments(c, found)
    return found


def view_shape(config: config_dict.ConfigDict, spec: DataSpec) -> tuple[int, ...]:
    """The shape of one view. The encoder gets samples of this shape, also without a channel.

    Raises:
        ValueError: where `channel.view_size` is set and the channel cannot resize.
    """
    size = config.channel.view_size
    if not size:
        return spec.sample_shape
    if config.channel.name != "simclr":
        raise ValueError(
            f"config.channel.view_size is {size}, but config.channel.name is {config.channel.name!r}; "
            "only simclr resizes images. Set it to 0, and config.data.image_size instead."
        )
    return (size, size, 3)


def clean(
    config: config_dict.ConfigDict, rows: Num[Array | np.ndarray, "n ..."]
) -> Float[Array | np.ndarray, "n ..."]:
    """Samples without a channel, as the encoder gets them: float32, and resized like views."""
    x = to_float(rows)
    return resized(jnp.asarray(x), config.channel.view_size) if config.channel.view_size else x


def make_view(config: config_dict.ConfigDict, spec: DataSpec) -> Callable:
    """The channel, as `view(key, rows [n, ...], labels [n] | None, hyperparameters) -> rows [n, ...]`.

    Views are float32. Only the channel "same_component" reads the labels.

    Examples:
        >>> from infonce_jax import data
        >>> from infonce_jax.config import default_config
        >>> config = default_config()
        >>> view = make_view(config, data.describe(config))
        >>> hyper = {"channel.strength": jnp.float32(0.5)}
        >>> view(jax.random.key(0), jnp.ones((2, 512)), None, hyper).shape
        (2, 512)

    Raises:
        ValueError: for an unknown channel, or one that does not fit the data.
    """
    name, source = config.channel.name, config.data.source
    found = find_channel(config.channel)
    if name in ("bit_add", "bit_flip") and source != "binary":
        raise ValueError(
            f"config.channel.name is {name!r}, which needs coordinates in {{0, 1}}, but "
            f"config.data.source is {source!r}; use source binary, or another channel."
        )
    if name == "simclr":
        if not spec.is_image:
            raise ValueError(
                "config.channel.name is 'simclr', which needs uint8 images, but "
                f"config.data.source = {source!r} has samples of shape "
                f"{spec.sample_shape}; choose one of {', '.join(sorted(CHANNELS))}."
            )
        channel = _simclr_view(config)
    elif name == "same_component":
        if source != "mixture":
            raise ValueError(
                "config.channel.name is 'same_component', which needs the components of a mixture, but "
                f"config.data.source is {source!r}; use source mixture, or another channel."
            )
        channel = _same_component_view(config)
    elif name in CHANNELS:
        channel = _view_of(found)
    else:
        channel = _own_view(config, found, spec)
    if any(is_integer for _, is_integer in spec.halves):
        noisy = [field for field in _STEPS if config.channel[field] != 0]
        if noisy or (name != "identity" and name in CHANNELS):
            raise ValueError(
                f"config.channel.{noisy[0] if noisy else 'name'} is "
                f"{config.channel[noisy[0] if noisy else 'name']!r}, but the pairs hold whole numbers, "
                "which noise would change into others; use the channel identity, or one of your own."
            )
    # A step that is off for every member leaves the program altogether.
    steps = {field: step for field, step in _STEPS.items() if config.channel[field] != 0}
    return _followed_by(channel, steps) if steps else channel


def _view_of(channel: Callable) -> Callable:
    def view(
        key: Key[Array, ""],
        rows: Shaped[Array | np.ndarray, "n ..."],
        labels: Int[Array, " n"] | None,
        hyper: Mapping[str, Array],
    ) -> Float[Array, "n ..."]:
        del labels
        return channel(key, to_float(rows), hyper["channel.strength"])

    return view


def _own_arguments(c: config_dict.ConfigDict, channel: Callable) -> tuple[str, ...]:
    return registry.fit(
        *("channel.name", c.name, channel, ("key", "x", "strength")),
        offered=("labels",),
        kwargs=c.kwargs.to_dict(),
    )


def _own_view(config: config_dict.ConfigDict, channel: Callable, spec: DataSpec) -> Callable:
    takes_labels, kwargs = _own_arguments(config.channel, channel), config.channel.kwargs.to_dict()
    if takes_labels and spec.num_classes is None:
        raise ValueError(
            f"config.channel.name is {config.channel.name!r}, which takes labels, but "
            f"config.data.source = {config.data.source!r} has none."
        )

    def view(
        key: Key[Array, ""],
        rows: Shaped[Array | np.ndarray, "n ..."],
        labels: Int[Array, " n"] | None,
        hyper: Mapping[str, Array],
    ) -> Float[Array, "n ..."]:
        given = {"labels": labels} if takes_labels else {}
        x = to_float(rows)
        found = channel(key, x, hyper["channel.strength"], **given, **kwargs)
        if jnp.shape(found) != x.shape:
            raise ValueError(
                f"config.channel.name is {config.channel.name!r}, which returns a view of shape "
                f"{list(jnp.shape(found))} for rows of shape {list(x.shape)}; it must keep the shape."
            )
        return found.astype(jnp.float32)

    return view


def _same_component_view(config: config_dict.ConfigDict) -> Callable:
    means = jnp.asarray(law_parameters(config)["means"])

    def view(
        key: Key[Array, ""],
        rows: Shaped[Array | np.ndarray, "n ..."],
        labels: Int[Array, " n"] | None,
        hyper: Mapping[str, Array],
    ) -> Float[Array, "n ..."]:
        del rows, hyper
        if labels is None:
            raise ValueError(
                "labels is None, but the channel 'same_component' draws each view from the component "
                "that the label names; pass the labels of the rows."
            )
        return same_component(key, labels, means)

    return view


def _followed_by(channel: Callable, steps: Mapping[str, Callable]) -> Callable:
    def view(
        key: Key[Array, ""],
        rows: Shaped[Array | np.ndarray, "n ..."],
        labels: Int[Array, " n"] | None,
        hyper: Mapping[str, Array],
    ) -> Float[Array, "n ..."]:
        key, *step_keys = jax.random.split(key, 1 + len(steps))
        x = channel(key, rows, labels, hyper)
        for step_key, (field, step) in zip(step_keys, steps.items(), strict=True):
            x = step(step_key, x, hyper[f"channel.{field}"])
        return x

    return view


def _simclr_view(config: config_dict.ConfigDict) -> Callable:
    def view(
        key: Key[Array, ""],
        rows: Shaped[Array | np.ndarray, "n ..."],
        labels: Int[Array, " n"] | None,
        hyper: Mapping[str, Array],
    ) -> Float[Array, "n ..."]:
        del labels

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
        return simclr_views(key, rows, settings, config.channel.view_size)

    return view
