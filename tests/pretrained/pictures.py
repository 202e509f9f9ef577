"""Pictures of many sizes and modes, and captions for them."""

import json

import numpy as np
from PIL import Image


def _picture(rng, size, mode):
    channels = len(mode)
    values = rng.integers(0, 256, (6, 7, channels), dtype=np.uint8)
    values = values[..., 0] if channels == 1 else values
    return Image.fromarray(values).convert(mode).resize(size)


def write_pictures(folder):
    """Eleven of them; returns their names."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(4):
        _picture(rng, (30 + 17 * i, 90 - 13 * i), "RGB").save(folder / f"{i}.jpg")
    _picture(rng, (50, 40), "RGBA").save(folder / "alpha.png")
    _picture(rng, (33, 60), "L").save(folder / "grey.jpg")
    _picture(rng, (40, 40), "RGB").convert("CMYK").save(folder / "cmyk.jpg")
    _picture(rng, (64, 48), "RGB").quantize(16).save(folder / "palette.gif")
    Image.fromarray(rng.integers(0, 65536, (40, 50), dtype=np.uint16)).save(folder / "sixteen.png")
    Image.fromarray(rng.integers(0, 2, (40, 50)).astype(bool)).save(folder / "bits.png")
    return sorted(file.name for file in folder.iterdir())


def write_captions(file, folder, each=1):
    """Captions of all pictures, `each` for one, in COCO's form."""
    names = sorted(path.name for path in folder.iterdir())
    words = ["cat", "dog", "red car", "photo of the cat", "dog a b"]
    content = {
        "images": [{"id": name, "file_name": name} for name in reversed(names)],
        "annotations": [
            {"id": i, "image_id": name, "caption": f"a {words[i % len(words)]}\n"}
            for i, name in enumerate(names * each)
        ],
    }
    for entry in content["annotations"]:
        entry["caption"] = entry["caption"].strip()
    file.write_text(json.dumps(content))
    return file
