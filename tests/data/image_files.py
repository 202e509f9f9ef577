"""Small image datasets as files, made by tests."""

import numpy as np
from PIL import Image


def pictures(count, sizes, seed=0):
    """Smooth random images of mixed sizes, for each a class in {0, 1, 2}."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        height, width = rng.integers(*sizes, 2)
        coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
        yield index % 3, Image.fromarray(coarse).resize((int(width), int(height)))


def write_folder(root, *, train=60, test=24, sizes=(20, 60), suffixes=("jpg", "png", "webp")):
    """A folder with train/ and test/, a subfolder for each class, files of several formats."""
    for split, count in (("train", train), ("test", test)):
        for index, (label, image) in enumerate(pictures(count, sizes, seed=count)):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{index:04d}.{suffixes[index % len(suffixes)]}")
    return root


def write_tfds(root, name, paths, *, labels=("a", "b", "c"), unlabelled=False):
    """A prepared TFDS dataset from JPEG paths, as TFDS's own builders make it."""
    import tensorflow_datasets as tfds

    def info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "id": tfds.features.Text(),
        }
        features["coarse_label"] = tfds.features.ClassLabel(num_classes=2)
        features["label"] = tfds.features.ClassLabel(names=labels)
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def examples(self, split):
        for index, path in enumerate(paths[split]):
            label = -1 if split == "unlabelled" else int(path.parent.name[-1])
            row = {"id": path.name, "image": str(path), "label": label, "coarse_label": 0}
            yield index, row

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        _info = info
        _generate_examples = examples

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in paths}

    Builder.name = name
    builder = Builder(data_dir=root, file_format="array_record")
    builder.download_and_prepare(download_dir=root / "downloads")
    return root
