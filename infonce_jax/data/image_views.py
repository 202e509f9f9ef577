"""SimCLR's image augmentation as a pure function of a key, an image and its strengths.

Every strength is a scalar that may be traced, so one compiled program serves a whole grid of
strengths under ``jax.vmap``. A strength that is a Python number and turns its operation off removes
the operation from the compiled program, and does not change what the others draw.

The definitions are torchvision's, on float images in [0, 1]; see :func:`simclr_view`.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Key, Num

_RATIO_MIN, _RATIO_MAX = 3 / 4, 4 / 3
_CROP_TRIES = 10
# Uniform numbers that a view takes for its crop, flip, jitter, grayscale and blur.
_DRAWS = (2 * _CROP_TRIES + 2, 1, 9, 1, 2)
_CONTRAST, _SATURATION, _HUE = 1, 2, 3  # and brightness 0: the jitter's operations

Scalar = float | Float[Array, ""]


class ViewSettings(NamedTuple):
    """Strengths of the augmentation; the defaults are SimCLR's for CIFAR-10.

    Attributes:
        crop_area_min: Smallest share of the image's area that a crop covers; 1 turns crops off.
        crop_area_max: Largest share of the image's area that a crop covers.
        flip_prob: Probability of a horizontal flip.
        jitter_prob: Probability of the colour jitter.
        brightness: b, for a brightness factor uniform on [max(0, 1 − b), 1 + b].
        contrast: The same for the contrast.
        saturation: The same for the saturation.
        hue: h, at most 0.5, for a shift of the hue uniform on [−h, h] turns of the colour circle.
        grayscale_prob: Probability of dropping the colour.
        blur_prob: Probability of a Gaussian blur.
        blur_sigma_min: Smallest standard deviation of the blur, in pixels.
        blur_sigma_max: Largest standard deviation of the blur, in pixels.
    """

    crop_area_min: Scalar = 0.2
    crop_area_max: Scalar = 1.0
    flip_prob: Scalar = 0.5
    jitter_prob: Scalar = 0.8
    brightness: Scalar = 0.4
    contrast: Scalar = 0.4
    saturation: Scalar = 0.4
    hue: Scalar = 0.1
    grayscale_prob: Scalar = 0.2
    blur_prob: Scalar = 0.0
    blur_sigma_min: Scalar = 0.1
    blur_sigma_max: Scalar = 2.0


IDENTITY = ViewSettings(
    crop_area_min=1.0, flip_prob=0.0, jitter_prob=0.0, grayscale_prob=0.0, blur_prob=0.0
)


def scale_jitter(settings: ViewSettings, strength: Scalar) -> ViewSettings:
    """Multiplies brightness, contrast, saturation and hue by ``strength``, as SimCLR's s does.

    SimCLR's colour strength s on CIFAR-10 is 0.5 and corresponds to ``strength = 1`` here, on
    ImageNet it is 1.0 and corresponds to ``strength = 2``.
    """
    return settings._replace(
        brightness=settings.brightness * strength,
        contrast=settings.contrast * strength,
        saturation=settings.saturation * strength,
        hue=settings.hue * strength,
    )


def simclr_view(
    key: Key[Array, ""],
    image: Num[ArrayLike, "height width 3"],
    settings: ViewSettings,
    size: int = 0,
) -> Float[Array, "out_height out_width 3"]:
    """Draws one view of an image from SimCLR's augmentation channel.

    In this order, each with random numbers of its own:

    1.  *Random resized crop* to the image's own size. Torchvision's law: the crop's area is uniform
        on [``crop_area_min``, ``crop_area_max``]·height·width, the logarithm of its aspect ratio
        uniform on [log 3/4, log 4/3], sides are rounded to pixels, up to ten draws until both sides
        fit, then the largest central crop; the corner is uniform over the places that fit. Pixels
        are interpolated bilinearly inside the crop, with edges repeated. A crop that is larger than the
        output, as it may be with ``size``, is antialiased like torchvision's ``antialias=True``.
    2.  *Horizontal flip* with probability ``flip_prob``.
    3.  *Colour jitter* with probability ``jitter_prob``: in random order
        brightness x ← f x, contrast x ← f x + (1 − f) mean(gray(x)),
        saturation x ← f x + (1 − f) gray(x), each clipped to [0, 1], and a shift of the HSV hue;
        gray(x) = 0.2989 R + 0.587 G + 0.114 B.
    4.  *Grayscale* with probability ``grayscale_prob``: x ← gray(x) in all three channels.
    5.  *Gaussian blur* with probability ``blur_prob``: standard deviation uniform on
        [``blur_sigma_min``, ``blur_sigma_max``] pixels, window 2 r + 1 with r a twentieth of the
        height (at least 1; SimCLR's tenth of the height in all), edges reflected.

    With every operation off the image comes back exactly. The result is the same whether a setting
    is a Python number or a traced one; but only a Python number leaves its operation out of the
    compiled program, so close over constant settings rather than passing them to ``jax.jit``.

    Args:
        key: The key of this view.
        image: uint8, which is multiplied by 1/255, or floating point in [0, 1].
        settings: Strengths, Python numbers or scalar arrays.
        size: Side in pixels to which the crop is resized; 0 for the image's own height and width.

    Returns:
        The view, float32 in [0, 1].

    Raises:
        ValueError: If the image is neither uint8 nor floating point or has not three channels, or
            if a setting given as a Python number is outside its range.

    References:
        Chen et al., `A Simple Framework for Contrastive Learning of Visual Representations
        <https://arxiv.org/abs/2002.05709>`_, 2020, Appendix A.
    """
    _check_settings(settings)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"An image must have the shape [height, width, 3], but this one has "
            f"{list(image.shape)}. For a batch use simclr_views."
        )
    if image.dtype == jnp.uint8:
        # The compiler turns a division by 255 into this product; written out, the result is the
        # same whether or not it is compiled.
        pixels = image.astype(jnp.float32) * (1 / 255)
    elif jnp.issubdtype(image.dtype, jnp.floating):
        pixels = image.astype(jnp.float32)
    else:
        raise ValueError(
            f"An image must be uint8 in [0, 255] or floating point in [0, 1], but this one is "
            f"{image.dtype}; convert it first."
        )
    # One draw for all purposes: a key for each would double the time to compile.
    draws = jax.random.uniform(key, (sum(_DRAWS),))
    crop_draws, flip_draw, jitter_draws, grayscale_draw, blur_draws = jnp.split(
        draws, list(itertools.accumulate(_DRAWS[:-1]))
    )
    # Channels between rows and columns: both interpolations are then one matrix product each, and
    # the colours contiguous planes.
    pixels = pixels.transpose(0, 2, 1)
    if size or not _is_off(settings.crop_area_min, off=1.0):
        pixels = _crop(crop_draws, pixels, settings, size)
    if not _is_off(settings.flip_prob):
        pixels = jnp.where(flip_draw < settings.flip_prob, pixels[:, :, ::-1], pixels)
    strengths = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    if not (_is_off(settings.jitter_prob) or all(_is_off(value) for value in strengths)):
        pixels = _jitter(jitter_draws, pixels, settings)
    if not _is_off(settings.grayscale_prob):
        pixels = jnp.where(grayscale_draw < settings.grayscale_prob, _gray(pixels), pixels)
    if not _is_off(settings.blur_prob):
        pixels = _blur(blur_draws, pixels, settings)
    return pixels.transpose(0, 2, 1)


def simclr_views(
    key: Key[Array, ""] | Key[Array, " batch"],
    images: Num[ArrayLike, "batch height width 3"],
    settings: ViewSettings,
    size: int = 0,
) -> Float[Array, "batch out_height out_width 3"]:
    """Draws one view of each image of a batch: :func:`simclr_view`, vmapped.

    Args:
        key: One key per image, or a single key, which is split into them.
        images: uint8, or floating point in [0, 1].
        settings: Strengths, shared by the batch.
        size: As for :func:`simclr_view`.

    Returns:
        The views, float32 in [0, 1]; row i is ``simclr_view(keys[i], images[i], settings)``.

    Raises:
        ValueError: As :func:`simclr_view` does, or if the numbers of keys and images differ.
    """
    if images.ndim != 4:
        raise ValueError(
            f"A batch of images must have the shape [batch, height, width, 3], but this one has "
            f"{list(images.shape)}."
        )
    keys = jax.random.split(key, images.shape[0]) if key.ndim == 0 else key
    if keys.shape != images.shape[:1]:
        raise ValueError(
            f"simclr_views needs one key, or one per image, but got keys of the shape "
            f"{list(keys.shape)} for {images.shape[0]} images."
        )

    def view(key, image):
        return simclr_view(key, image, settings, size)

    return jax.vmap(view)(keys, images)


def resized(images: Float[Array, "batch height width 3"], size: int) -> Float[Array, "batch s s 3"]:
    """Whole images resized to `size` pixels a side, as a crop that keeps everything is."""
    height, width = images.shape[1:3]
    rows = _antialiased(jnp.float32(0), jnp.float32(height), height, size)
    columns = _antialiased(jnp.float32(0), jnp.float32(width), width, size)
    pixels = jax.vmap(_apply, in_axes=(None, None, 0))(rows, columns, images.transpose(0, 1, 3, 2))
    return pixels.transpose(0, 1, 3, 2)


def _is_off(value: Scalar, off: float = 0.0) -> bool:
    """Whether an operation's strength is known, while tracing, to turn it off."""
    return isinstance(value, (int, float)) and value == off


def _between(low: Scalar | Array, high: Scalar | Array, draw: Array) -> Array:
    """Maps a draw from U[0, 1) to U[low, high)."""
    return low + draw * (high - low)


def _check_settings(settings: ViewSettings) -> None:
    upper = dict.fromkeys(ViewSettings._fields, 1.0) | {
        "brightness": math.inf,
        "contrast": math.inf,
        "saturation": math.inf,
        "hue": 0.5,
        "blur_sigma_min": math.inf,
        "blur_sigma_max": math.inf,
    }
    positive = ("crop_area_min", "crop_area_max", "blur_sigma_min", "blur_sigma_max")
    known = {
        name: value for name, value in settings._asdict().items() if isinstance(value, (int, float))
    }
    for name, value in known.items():
        above = value > 0 if name in positive else value >= 0
        if not (above and value <= upper[name]):
            raise ValueError(
                f"The view setting {name} is {value}, but must lie in "
                f"{'(' if name in positive else '['}0, {upper[name]}]."
            )
    for low, high in (("crop_area_min", "crop_area_max"), ("blur_sigma_min", "blur_sigma_max")):
        if low in known and high in known and known[low] > known[high]:
            raise ValueError(
                f"The view setting {low} is {known[low]}, which exceeds {high}, {known[high]}."
            )


def _crop_box(
    draws: Array, height: int, width: int, settings: ViewSettings
) -> tuple[Array, Array, Array, Array]:
    """Draws a crop's top, left, height and width, in whole pixels (as float32)."""
    area_draws, ratio_draws, corner_draws = jnp.split(draws, [_CROP_TRIES, 2 * _CROP_TRIES])
    area = (height * width) * _between(settings.crop_area_min, settings.crop_area_max, area_draws)
    ratio = jnp.exp(_between(math.log(_RATIO_MIN), math.log(_RATIO_MAX), ratio_draws))
    widths, heights = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits & (jnp.cumsum(fits) == 1)
    central_height = min(height, round(width / _RATIO_MIN))
    central_width = min(width, round(height * _RATIO_MAX))
    found = jnp.any(fits)
    crop_height = jnp.where(found, jnp.sum(jnp.where(first, heights, 0)), central_height)
    crop_width = jnp.where(found, jnp.sum(jnp.where(first, widths, 0)), central_width)
    # Rounding lets an area of 1 lose a row of an oblong image; "no crop" has to mean none.
    whole = jnp.asarray(settings.crop_area_min) >= 1
    crop_height = jnp.where(whole, height, crop_height)
    crop_width = jnp.where(whole, width, crop_width)
    spare = jnp.stack([height - crop_height, width - crop_width])
    corner = jnp.floor(corner_draws * (spare + 1))
    centre = spare // 2
    top, left = jnp.where(found, jnp.minimum(corner, spare), centre)
    return top, left, crop_height, crop_width


def _crop(draws: Array, pixels: Array, settings: ViewSettings, size: int) -> Array:
    height, _, width = pixels.shape
    top, left, crop_height, crop_width = _crop_box(draws, height, width, settings)
    if size:
        rows = _antialiased(top, crop_height, height, size)
        return _apply(rows, _antialiased(left, crop_width, width, size), pixels)
    rows = _interpolation(top, crop_height, height)
    columns = _interpolation(left, crop_width, width)
    return _apply(rows, columns, pixels)


def _interpolation(start: Array, length: Array, size: int) -> Array:
    """The matrix [size, size] that stretches pixels start … start + length − 1 over all of them."""
    pixel = jnp.arange(size, dtype=jnp.float32)
    # (pixel + ½)·length/size − ½, written so that length = size gives the pixel itself, exactly.
    position = pixel + (pixel + 0.5) * ((length - size) / size)
    position = start + jnp.clip(position, 0, length - 1)
    return jnp.maximum(0, 1 - jnp.abs(position[:, None] - pixel))


def _antialiased(start: Array, length: Array, size: int, out: int) -> Array:
    """The matrix [out, size] that resizes pixels start … start + length − 1 to `out` of them.

    A triangle of weights around each output pixel, as wide as the output pixel where that is wider
    than an input pixel, cut off at the crop's edges and normalised: Pillow's and torchvision's.
    """
    pixel = jnp.arange(size, dtype=jnp.float32)
    scale = length / out
    centre = start + (jnp.arange(out, dtype=jnp.float32) + 0.5) * scale - 0.5
    weights = 1 - jnp.abs(centre[:, None] - pixel) / jnp.maximum(scale, 1)
    is_inside = (pixel >= start) & (pixel <= start + length - 1)
    weights = jnp.where(is_inside, jnp.maximum(weights, 0), 0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _apply(rows: Array, columns: Array, pixels: Array) -> Array:
    # Full precision: where products are rounded to fewer bits, an identity would not stay one.
    pixels = jnp.einsum("oh,hcw->ocw", rows, pixels, precision="highest")
    return jnp.einsum("ocw,pw->ocp", pixels, columns, precision="highest")


def _gray(pixels: Array) -> Array:
    red, green, blue = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]


def _jitter(draws: Array, pixels: Array, settings: ViewSettings) -> Array:
    apply_draw, strength_draws, order_draws = draws[0], draws[1:5], draws[5:]
    applied = apply_draw < settings.jitter_prob
    order = jnp.argsort(order_draws)
    spread = jnp.stack([settings.brightness, settings.contrast, settings.saturation])
    factors = _between(jnp.maximum(0, 1 - spread), 1 + spread, strength_draws[:3])
    factors = jnp.where(applied, factors, 1)

    # The hue costs the most, so it is computed once: the blends that precede it in this image's
    # order, the hue, the blends that follow it. A slot that is not active has the factor 1. A loop
    # rather than its unrolling keeps XLA from computing earlier blends anew within later ones.
    hue_slot = jnp.argmax(order == _HUE)

    def blend(slot: Array, pixels: Array, active: Array) -> Array:
        operation = order[slot]
        gray = _gray(pixels)
        reference = jnp.where(operation == _SATURATION, gray, 0)
        reference = jnp.where(operation == _CONTRAST, jnp.mean(gray), reference)
        factor = jnp.where(active, jnp.sum(jnp.where(operation == jnp.arange(3), factors, 0)), 1)
        return jnp.clip(factor * pixels + (1 - factor) * reference, 0, 1)

    pixels = jax.lax.fori_loop(0, 3, lambda i, x: blend(i, x, i < hue_slot), pixels)
    if not _is_off(settings.hue):
        shift = jnp.where(applied, _between(-settings.hue, settings.hue, strength_draws[3]), 0)
        pixels = _shift_hue(pixels, shift)
    return jax.lax.fori_loop(1, 4, lambda i, x: blend(i, x, i > hue_slot), pixels)


def _shift_hue(pixels: Array, shift: Array) -> Array:
    """Turns the HSV hue by ``shift`` turns, leaving saturation and value as they are."""
    red, green, blue = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    value = jnp.maximum(red, jnp.maximum(green, blue))
    chroma = value - jnp.minimum(red, jnp.minimum(green, blue))
    scale = 1 / jnp.where(chroma == 0, 1, chroma)
    sector = jnp.where(
        value == red,
        (green - blue) * scale,
        jnp.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    sector = sector + 6 * shift
    planes = []
    for offset in (5, 3, 1):
        # A remainder by floor: jnp.mod keeps XLA from vectorising the loop (17 ms against 2.5 ms
        # for 512 images of 32×32 on two CPU cores).
        phase = (sector + offset) - 6 * jnp.floor((sector + offset) * (1 / 6))
        planes.append(value - chroma * jnp.clip(jnp.minimum(phase, 4 - phase), 0, 1))
    return jnp.where(shift == 0, pixels, jnp.stack(planes, axis=1))


def _blur(draws: Array, pixels: Array, settings: ViewSettings) -> Array:
    apply_draw, sigma_draw = draws
    applied = apply_draw < settings.blur_prob
    sigma = _between(settings.blur_sigma_min, settings.blur_sigma_max, sigma_draw)
    height, _, width = pixels.shape
    radius = max(1, height // 20)
    # A traced standard deviation of 0 means no blur, not 0/0.
    offsets = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-3)) ** 2)
    weights = weights / jnp.sum(weights)
    rows = jnp.einsum("k,koh->oh", weights, _shifts(height, radius), precision="highest")
    columns = jnp.einsum("k,kpw->pw", weights, _shifts(width, radius), precision="highest")
    return jnp.where(applied, _apply(rows, columns, pixels), pixels)


def _shifts(size: int, radius: int) -> Float[np.ndarray, "window size size"]:
    """One matrix per offset −radius … radius that shifts a row by it, its edges reflected."""
    source = np.arange(size) + np.arange(-radius, radius + 1)[:, None]
    source = np.abs(source)
    source = np.minimum(source, 2 * (size - 1) - source)
    return (source[:, :, None] == np.arange(size)).astype(np.float32)
