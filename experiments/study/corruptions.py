"""Four corruptions of CIFAR-10-C at its five strengths, made by code: noise, blur, contrast, pixels.

Each takes uint8 images [n, height, width, 3] and a strength from 1 to 5, and gives such images. The
constants are those of CIFAR-10-C: Hendrycks & Dietterich, [Benchmarking neural network robustness to
common corruptions and perturbations](https://arxiv.org/abs/1903.12261), 2019. Results are truncated to
whole numbers, as there.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

Images = UInt8[np.ndarray, "n height width 3"]


def gaussian_noise(images: Images, strength: int, seed: int = 0) -> Images:
    """Adds independent Gaussian noise of standard deviation 0.04 to 0.10, of pixels in [0, 1]."""
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[strength - 1]
    noise = np.random.default_rng([seed, strength]).normal(scale=scale, size=images.shape)
    return _whole(images / 255 + noise)


def gaussian_blur(images: Images, strength: int) -> Images:
    """Blurs by a Gaussian of 0.4 to 1 pixels, cut off at four standard deviations, edges repeated."""
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[strength - 1]
    return _whole(gaussian_filter(images / 255, sigma, axes=(1, 2), mode="nearest", truncate=4.0))


def contrast(images: Images, strength: int) -> Images:
    """Draws pixels towards the mean of their colour, keeping 0.75 to 0.15 of the distance."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[strength - 1]
    pixels = images / 255
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    return _whole((pixels - mean) * kept + mean)


def pixelate(images: Images, strength: int) -> Images:
    """Shrinks the sides to 0.95 to 0.65 of their length and enlarges them again, by areas."""
    kept = (0.95, 0.9, 0.85, 0.75, 0.65)[strength - 1]
    height, width = images.shape[1:3]
    small = int(width * kept), int(height * kept)

    def one(image):
        shrunk = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        return np.asarray(shrunk.resize((width, height), Image.Resampling.BOX))

    return np.stack([one(image) for image in images])


CORRUPTIONS = {
    "noise": gaussian_noise,
    "blur": gaussian_blur,
    "contrast": contrast,
    "pixelation": pixelate,
}
STRENGTHS = (1, 2, 3, 4, 5)


def _whole(pixels: np.ndarray) -> Images:
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)
