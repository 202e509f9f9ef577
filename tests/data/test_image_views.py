"""SimCLR views against references in NumPy, PIL and colorsys, and the laws of what they draw."""

import colorsys
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from PIL import Image

from infonce_jax.data.image_views import (
    IDENTITY,
    ViewSettings,
    scale_jitter,
    simclr_view,
    simclr_views,
)

SIZE = 32
CROP = IDENTITY._replace(crop_area_min=0.2)
# The same operations draw the same numbers in each of these.
STILL = IDENTITY._replace(jitter_prob=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
BRIGHTNESS = STILL._replace(brightness=0.4)
CONTRAST = STILL._replace(contrast=0.4)
SATURATION = STILL._replace(saturation=0.4)
HUE = STILL._replace(hue=0.1)
JITTER = IDENTITY._replace(jitter_prob=1.0)


compiled = jax.jit(simclr_views)


def views(settings, images, seed=0):
    """Views with traced settings, by blocks of one size: a compiled program serves many tests."""
    block = 512
    keys = jax.random.split(jax.random.key(seed), len(images))
    rows = np.arange(-(-len(images) // block) * block).reshape(-1, block) % len(images)
    found = [compiled(keys[i], jnp.asarray(images[i]), settings) for i in rows]
    return np.concatenate(found)[: len(images)]


def static_views(settings, images, seed=0):
    run = jax.jit(lambda key, images: simclr_views(key, images, settings))
    return np.asarray(run(jax.random.key(seed), jnp.asarray(images)))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.random((16, SIZE, SIZE, 3), dtype=np.float32)


def coordinates(batch, height=SIZE, width=SIZE):
    """Images whose first channel is the row and whose second is the column, over 128."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / 128
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1)
    return np.broadcast_to(image, (batch, height, width, 3))


def boxes(settings, batch, height=SIZE, width=SIZE, seed=0):
    """Top, left, height and width of the crops, read off from views of coordinate images."""
    found = views(settings, coordinates(batch, height, width), seed)[..., :2] * 128
    first, last = found.min((1, 2)), found.max((1, 2))
    return np.concatenate([first, last - first + 1], axis=1).round().astype(int)


def gray(x):
    return (x @ np.array([0.2989, 0.587, 0.114]))[..., None]


def brightness(x, factor):
    return np.clip(factor * x, 0, 1)


def contrast(x, factor):
    return np.clip(factor * x + (1 - factor) * gray(x).mean(), 0, 1)


def saturation(x, factor):
    return np.clip(factor * x + (1 - factor) * gray(x), 0, 1)


def hue(x, shift):
    def pixel(rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + shift) % 1, s, v)

    return np.array([pixel(rgb) for rgb in x.reshape(-1, 3)]).reshape(x.shape)


@pytest.mark.parametrize("shape", [(7, 10), (33, 21)])
@pytest.mark.parametrize("traced", [False, True])
def test_settings_that_are_off_return_the_image(shape, traced):
    image = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    off = [IDENTITY, JITTER._replace(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)]
    for settings in off:
        if traced:
            view = jax.jit(simclr_view)(jax.random.key(0), image, settings)
        else:
            view = simclr_view(jax.random.key(0), jnp.asarray(image), settings)
        np.testing.assert_array_equal(view, image)


def test_uint8_spans_the_unit_interval():
    image = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3) % 256
    view = simclr_view(jax.random.key(0), jnp.asarray(image.astype(np.uint8)), IDENTITY)
    assert view.dtype == jnp.float32
    np.testing.assert_allclose(view, image / 255, rtol=1e-6)
    assert view.min() == 0
    assert view.max() == 1


def test_crops_are_cut_out_and_stretched_bilinearly(images):
    found = views(CROP, images, seed=3)
    for image, view, (top, left, height, width) in zip(
        images, found, boxes(CROP, len(images), seed=3), strict=True
    ):
        for channel in range(3):
            crop = Image.fromarray(image[top : top + height, left : left + width, channel])
            expected = crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(view[..., channel], expected, atol=2e-6)


def torchvision_boxes(rng, count, height, width, area_min, area_max):
    """RandomResizedCrop.get_params, written from its documentation."""
    found = []
    for _ in range(count):
        for _ in range(10):
            area = height * width * rng.uniform(area_min, area_max)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                found.append((rng.integers(height - h + 1), rng.integers(width - w + 1), h, w))
                break
        else:
            h, w = min(height, round(width / (3 / 4))), min(width, round(height * (4 / 3)))
            found.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(found)


@pytest.mark.parametrize(
    ("height", "width", "area_min", "area_max"),
    [(32, 32, 0.2, 1.0), (32, 32, 0.95, 1.0), (24, 40, 0.5, 0.9), (48, 16, 0.9, 1.0)],
)
def test_crop_law_is_torchvision_s(height, width, area_min, area_max):
    count = 2000
    settings = IDENTITY._replace(crop_area_min=area_min, crop_area_max=area_max)
    found = boxes(settings, count, height, width)
    rng = np.random.default_rng(0)
    expected = torchvision_boxes(rng, count, height, width, area_min, area_max)
    for statistic in (
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 2] / box[:, 3],
        lambda box: box[:, 0] - (height - box[:, 2]) / 2,
    ):
        assert (
            scipy.stats.ks_2samp(statistic(found), statistic(expected), method="asymp").pvalue
            > 1e-3
        )
    whole = found[:, 2] * found[:, 3] == height * width
    expected_whole = expected[:, 2] * expected[:, 3] == height * width
    assert abs(whole.mean() - expected_whole.mean()) < 0.05


def test_flips_are_exact_and_as_frequent_as_asked(images):
    np.testing.assert_array_equal(
        views(IDENTITY._replace(flip_prob=1.0), images), images[:, :, ::-1]
    )
    many = np.broadcast_to(images[:1], (2000, *images[:1].shape[1:]))
    found = views(IDENTITY._replace(flip_prob=0.3), many)
    flipped = (found == images[0][:, ::-1]).all((1, 2, 3))
    assert (flipped | (found == images[0]).all((1, 2, 3))).all()
    assert scipy.stats.binomtest(int(flipped.sum()), 2000, 0.3).pvalue > 1e-3


def strengths(found_of, seed, batch):
    """Factors of brightness, contrast and saturation, and the hue shift, of each image of a batch.

    They are read off from pixels where nothing is clipped. Whatever else is on, the same key draws
    the same strengths.
    """
    probe = np.full((batch, SIZE, SIZE, 3), 0.5, np.float32)
    probe[:, 0, 0] = [0.1, 0.1, 0.1]
    probe[:, 0, 1] = [0.4, 0.5, 0.6]
    bright = found_of(BRIGHTNESS, probe, seed)[:, 0, 0, 0] / 0.1
    contrasted = found_of(CONTRAST, probe, seed)
    contrasted = (contrasted[:, 0, 1, 2] - contrasted[:, 0, 1, 0]) / 0.2
    saturated = found_of(SATURATION, probe, seed)
    saturated = (saturated[:, 0, 1, 2] - saturated[:, 0, 1, 0]) / 0.2
    turned = found_of(HUE, probe, seed)[:, 0, 1]
    start = colorsys.rgb_to_hsv(0.4, 0.5, 0.6)[0]
    turned = np.array([colorsys.rgb_to_hsv(*rgb)[0] - start for rgb in turned])
    return bright, contrasted, saturated, turned


@pytest.mark.parametrize(
    ("settings", "index", "reference"),
    [
        (BRIGHTNESS, 0, brightness),
        (CONTRAST, 1, contrast),
        (SATURATION, 2, saturation),
        (HUE, 3, hue),
    ],
)
def test_colour_operations_agree_with_references(images, settings, index, reference):
    images = images.copy()
    images[:, 3] = images[:, 3].mean(-1, keepdims=True)
    images[:, 4, :, 1] = images[:, 4, :, 2]
    images[:, 5] = [1, 0, 0]
    drawn = strengths(views, 0, len(images))[index]
    assert np.ptp(drawn) > 0.05
    for image, view, strength in zip(images, views(settings, images), drawn, strict=True):
        np.testing.assert_allclose(view, reference(image, strength), atol=1e-5)


def test_strengths_are_uniform():
    *factors, shifts = strengths(views, 1, 1000)
    for factor in factors:
        assert scipy.stats.kstest(factor, "uniform", (0.6, 0.8)).pvalue > 1e-3
    assert scipy.stats.kstest(shifts, "uniform", (-0.1, 0.2)).pvalue > 1e-3
    wide = STILL._replace(brightness=1.5)
    probe = np.full((1000, 2, 2, 3), 0.1, np.float32)
    assert scipy.stats.kstest(views(wide, probe)[:, 0, 0, 0], "uniform", (0, 0.25)).pvalue > 1e-3


def test_jitter_applies_the_four_operations_in_every_order():
    batch = 240
    images = np.random.default_rng(1).random((batch, 3, 3, 3), dtype=np.float32)
    drawn = np.stack(strengths(views, 2, batch), axis=1)
    found = views(JITTER, images, seed=2)
    operations = (brightness, contrast, saturation, hue)
    orders = []
    for image, view, values in zip(images, found, drawn, strict=True):
        errors = {}
        for order in itertools.permutations(range(4)):
            expected = image
            for index in order:
                expected = operations[index](expected, values[index])
            errors[order] = np.abs(view - expected).max()
        best = min(errors, key=errors.get)
        assert errors[best] < 1e-4
        orders.append(best)
    counts = [orders.count(order) for order in itertools.permutations(range(4))]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_jitter_and_grayscale_are_as_frequent_as_asked(images):
    many = np.broadcast_to(images[:1], (2000, *images[:1].shape[1:]))
    for settings, probability in (
        (JITTER._replace(jitter_prob=0.8), 0.8),
        (IDENTITY._replace(grayscale_prob=0.2), 0.2),
    ):
        changed = (views(settings, many) != images[0]).any((1, 2, 3))
        assert scipy.stats.binomtest(int(changed.sum()), 2000, probability).pvalue > 1e-3


def test_grayscale_repeats_the_luma(images):
    found = views(IDENTITY._replace(grayscale_prob=1.0), images)
    np.testing.assert_allclose(found, np.repeat(gray(images), 3, axis=-1), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (60, 24)])
def test_blur_agrees_with_scipy(height, width):
    images = np.random.default_rng(0).random((8, height, width, 3), dtype=np.float32)
    images[..., 0] = 0
    images[:, height // 2, width // 2, 0] = 1
    found = views(IDENTITY._replace(blur_prob=1.0, blur_sigma_min=0.3), images)
    centre = found[:, height // 2, width // 2 - 1 : width // 2 + 1, 0]
    sigmas = np.sqrt(0.5 / np.log(centre[:, 1] / centre[:, 0]))
    assert ((sigmas > 0.3) & (sigmas < 2)).all()
    assert np.ptp(sigmas) > 0.3
    radius = max(1, height // 20)
    for image, view, sigma in zip(images, found, sigmas, strict=True):
        for axis in (0, 1):
            weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
            weights /= weights.sum()
            image = scipy.ndimage.correlate1d(image, weights, axis=axis, mode="mirror")
        np.testing.assert_allclose(view, image, atol=1e-4)


def test_values_stay_in_the_unit_interval():
    extremes = np.random.default_rng(0).integers(0, 2, (256, SIZE, SIZE, 3)) * 255
    settings = scale_jitter(ViewSettings(blur_prob=0.5), 2.0)
    found = views(settings, extremes.astype(np.uint8))
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert np.isfinite(found).all()


def test_a_key_decides_the_view(images):
    first, again, other = (views(ViewSettings(), images, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.abs(first - other).max((1, 2, 3)) > 0.1).all()
    same = views(ViewSettings(), np.broadcast_to(images[:1], images.shape))
    assert len(np.unique(same.reshape(len(same), -1), axis=0)) == len(same)


def test_a_batch_equals_a_loop(images):
    settings = ViewSettings(blur_prob=0.5)
    keys = jax.random.split(jax.random.key(0), len(images))
    one = jax.jit(simclr_view)
    expected = [one(key, image, settings) for key, image in zip(keys, images, strict=True)]
    np.testing.assert_allclose(views(settings, images), np.stack(expected), atol=2e-6)
    np.testing.assert_allclose(static_views(settings, images), np.stack(expected), atol=2e-6)


def test_traced_settings_equal_python_numbers_and_can_be_vmapped(images):
    grid = [ViewSettings(hue=0.0, flip_prob=0.0), scale_jitter(CROP._replace(blur_prob=1.0), 0.5)]
    stacked = jax.tree.map(lambda *values: jnp.array(values), *grid)
    run = jax.jit(jax.vmap(simclr_views, in_axes=(None, None, 0)))
    found = run(jax.random.key(0), jnp.asarray(images), stacked)
    for row, settings in zip(found, grid, strict=True):
        np.testing.assert_allclose(row, static_views(settings, images), atol=2e-6)


def test_jitter_strength_scales_the_four():
    scaled = scale_jitter(ViewSettings(), 0.5)
    assert scaled[:4] == ViewSettings()[:4]
    assert scaled[4:8] == (0.2, 0.2, 0.2, 0.05)
    assert scaled[8:] == ViewSettings()[8:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_area_min": 0.0}, r"crop_area_min is 0.0, but must lie in \(0, 1.0\]"),
        ({"crop_area_max": 1.5}, r"crop_area_max is 1.5"),
        ({"crop_area_min": 0.8, "crop_area_max": 0.5}, "0.8, which exceeds crop_area_max, 0.5"),
        ({"flip_prob": -0.1}, r"flip_prob is -0.1, but must lie in \[0, 1.0\]"),
        ({"hue": 0.6}, r"hue is 0.6, but must lie in \[0, 0.5\]"),
        ({"brightness": math.nan}, "brightness is nan"),
        ({"blur_sigma_min": 3.0}, "exceeds blur_sigma_max, 2.0"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        simclr_view(jax.random.key(0), jnp.zeros((8, 8, 3)), ViewSettings(**settings))


def test_wrong_images_and_keys_are_refused(unchecked_types):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"\[height, width, 3\], but this one has \[8, 8, 1\]"):
        simclr_view(key, jnp.zeros((8, 8, 1)), IDENTITY)
    with pytest.raises(ValueError, match="but this one is int32"):
        simclr_view(key, jnp.zeros((8, 8, 3), jnp.int32), IDENTITY)
    with pytest.raises(ValueError, match=r"\[batch, height, width, 3\]"):
        simclr_views(key, jnp.zeros((8, 8, 3)), IDENTITY)
    with pytest.raises(ValueError, match=r"shape \[3\] for 2 images"):
        simclr_views(jax.random.split(key, 3), jnp.zeros((2, 8, 8, 3)), IDENTITY)
