"""Reads image files of any size and mode as RGB, and names those that are damaged."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class DamagedImage(ValueError):
    """An image that cannot be decoded as a whole."""


def read_image(file: Path | io.BufferedIOBase, name: str | None = None) -> Image.Image:
    """Decodes one image to 8-bit RGB.

    Alpha is dropped, CMYK, grey and palettes are converted, 16-bit values are divided by 257, and of an
    animation the first picture is taken. That is `Image.open(file).convert("RGB")`, as most extraction
    scripts have it, but for 16-bit images, which that would clip. The orientation that a camera noted
    is not applied, as these scripts do not.

    Args:
        file: a path, or an open binary file.
        name: what the error calls it; the path by default.

    Raises:
        DamagedImage: where the file is cut off, empty, no image, or too large to be one.
    """
    name = str(file) if name is None else name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file)
            image.load()
            if image.mode.startswith("I"):
                values = np.asarray(image, np.int64)
                return Image.fromarray((np.clip(values, 0, 65535) // 257).astype(np.uint8)).convert(
                    "RGB"
                )
            if image.mode == "F":
                raise ValueError("it holds floats, whose range is not known")
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise DamagedImage(f"{name} is not an image, or its header is damaged.") from None
    except FileNotFoundError:
        raise DamagedImage(f"{name} does not exist.") from None
    # Pillow's decoders raise these for data that are cut off or make no sense.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedImage(f"{name} cannot be decoded ({error}).") from None
