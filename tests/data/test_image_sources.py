"""Image datasets in folders and in records of TFDS: what is read, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from infonce_jax import data
from infonce_jax.config import default_config
from infonce_jax.data import images
from infonce_jax.data.array import load_array
from tests.data import image_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = image_files.write_folder(tmp_path_factory.mktemp("images"))
    whole = (root / "train" / "class0" / "0000.jpg").read_bytes()
    (root / "train" / "class0" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "class1" / "text.png").write_text("no image")
    return root


def config_of(source, tmp_path, **settings):
    c = default_config()
    c.channel.name = "simclr"
    c.data.source, c.data.cache_dir = source, str(tmp_path / "cache")
    c.data.update(settings)
    return c


def both(config):
    """The dataset in memory and streamed."""
    config.data.max_memory_gb = 4.0
    held = data.load(config)
    config.data.max_memory_gb = 0.0
    return held, data.load(config)


def assert_same(held, streamed):
    assert not held.spec.is_streamed and streamed.spec.is_streamed
    for split in ("train", "test"):
        decoded = getattr(streamed, split)
        assert decoded.shape == getattr(held, split).shape
        np.testing.assert_array_equal(decoded[:], getattr(held, split))
    np.testing.assert_array_equal(streamed.mean, held.mean)
    np.testing.assert_array_equal(streamed.std, held.std)


def test_a_folder_is_the_same_in_memory_and_streamed(folder, tmp_path, monkeypatch):
    config = config_of(f"folder:{folder}", tmp_path, image_size=16)
    held, streamed = both(config)
    assert_same(held, streamed)
    assert held.spec == data.DataSpec((16, 16, 3), True, 60, 24, 3, False, held.spec.note)
    np.testing.assert_array_equal(np.bincount(held.train_labels), [20, 20, 20])
    # The dry run says which way was taken, and what is wrong.
    assert "in memory: 84 images of 16x16 take 6.45e-05 GB, within" in held.spec.note
    assert "streamed: 84 images" in streamed.spec.note and "max_memory_gb = 0" in streamed.spec.note
    assert "2 images cannot be read and are left out" in held.spec.note
    assert "cut.jpg (" in held.spec.note
    assert "text.png (it is not an image of a known format)" in held.spec.note
    # A second start decodes nothing.
    config.data.max_memory_gb = 4.0
    monkeypatch.setattr(images, "decode", None)
    np.testing.assert_array_equal(data.load(config).train, held.train)


def test_images_are_cut_to_their_centre_and_resized(folder):
    path = folder / "train" / "class1" / "0001.png"
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    side = min(pixels.size)
    left, top = ((length - side) // 2 for length in pixels.size)
    centre = pixels.crop((left, top, left + side, top + side))
    expected = np.asarray(centre.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images.decode(path.read_bytes(), 16), expected)


def test_a_flat_folder_has_no_labels_and_holds_out_test_rows(folder, tmp_path):
    flat = folder / "train" / "class2"
    config = config_of(f"folder:{flat}", tmp_path, image_size=8, test_size=5)
    held, streamed = both(config)
    assert_same(held, streamed)
    assert held.spec.num_classes is None and held.train_labels is None
    assert (held.spec.train_size, held.spec.test_size) == (15, 5)
    config.data.test_size = 20
    with pytest.raises(ValueError, match=r"test_size is 20.*20 images and no test split"):
        data.describe(config)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: "folder:/no/such", FileNotFoundError, "/no/such is not a folder"),
        (lambda root: f"folder:{root / 'empty'}", FileNotFoundError, r"holds no images.*\.jpg"),
        (
            lambda root: f"folder:{root / 'mixed'}",
            ValueError,
            "differ in size; set config.data.image",
        ),
        (
            lambda root: f"folder:{root / 'loose'}",
            ValueError,
            "both in subfolders.*and beside them",
        ),
        (
            lambda root: f"folder:{root / 'extra'}",
            ValueError,
            "has the class 'c', which .* has not",
        ),
        (lambda root: f"folder:{root / 'broken'}", ValueError, "None of 1 images can be read"),
        (lambda root: "folder", ValueError, r"must be one of .*tfds:\.\.\., folder:\.\.\., hf:"),
        (lambda root: "tfds:nothing", FileNotFoundError, "holds no prepared dataset.*prepared in"),
        (lambda root: "hf:some/name", ValueError, "needs the library datasets: run `pip install"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, make, error, message):
    def save(path, size=(9, 9)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)

    (tmp_path / "empty").mkdir()
    save(tmp_path / "mixed" / "a.png")
    save(tmp_path / "mixed" / "b.png", (8, 9))
    save(tmp_path / "loose" / "a" / "a.png")
    save(tmp_path / "loose" / "b.png")
    save(tmp_path / "extra" / "train" / "a" / "a.png")
    save(tmp_path / "extra" / "val" / "c" / "a.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"")
    config = config_of(make(tmp_path), tmp_path, data_dir=str(tmp_path), test_size=1)
    with pytest.raises(error, match=message):
        data.describe(config)


def test_a_dataset_of_hugging_face_is_read_by_its_columns(tmp_path):
    library = pytest.importorskip("datasets")
    values = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 12, 3), np.uint8)
    columns = {
        "left": [Image.fromarray(pixels) for pixels in values[0]],
        "right": [Image.fromarray(pixels) for pixels in values[1]],
        "label": [0, 1, 2, 0, 1, 2],
        "parity": [0, 1, 0, 1, 0, 1],
        "name": list("abcdef"),
    }
    features = {"left": library.Image(), "right": library.Image(), "name": library.Value("string")}
    features |= {"label": library.ClassLabel(names=["x", "y", "z"])}
    features |= {"parity": library.Value("int64")}
    rows = library.Dataset.from_dict(columns, features=library.Features(features))
    rows.save_to_disk(tmp_path / "stored")
    found = {}
    for image, label in (("left", ""), ("right", "parity")):
        settings = {"image_field": image, "label_field": label, "test_size": 2}
        config = config_of(f"hf:{tmp_path / 'stored'}", tmp_path, image_size=9, **settings)
        held, streamed = both(config)
        assert_same(held, streamed)
        found[image] = held
    # What is cached of one column is not taken for another's.
    assert not np.array_equal(found["left"].train, found["right"].train)
    assert (found["left"].spec.num_classes, found["right"].spec.num_classes) == (3, 2)
    for settings, message in (
        ({}, r"several images \(left, right\); set config.data.image_field"),
        ({"image_field": "left", "label_field": "name"}, "labels are not whole numbers"),
        ({"image_field": "top"}, "image_field is 'top', but .* has the fields left, right"),
    ):
        config = config_of(f"hf:{tmp_path / 'stored'}", tmp_path, test_size=2, **settings)
        with pytest.raises(ValueError, match=message):
            data.describe(config)


def test_the_fields_of_image_and_label_are_found_or_asked_for():
    fields = {"id": 0, "left": b"", "right": b"", "fine": "a"}
    assert images.choose_field("it", "image", "right", fields, bytes) == "right"
    assert images.choose_field("it", "image", "", {**fields, "image": b""}, bytes) == "image"
    assert images.choose_field("it", "label", "", fields, str) == "fine"
    assert images.choose_field("it", "label", "", {"left": b""}, str) is None
    for wanted, kind, message in (
        ("", bytes, r"it has several images \(left, right\); set config.data.image_field"),
        ("", list, r"it has no image among its fields \(id, left, right, fine\)"),
        ("top", bytes, "image_field is 'top', but it has the fields id, left, right, fine"),
    ):
        with pytest.raises(ValueError, match=message):
            images.choose_field("it", "image", wanted, fields, kind)


def test_a_file_that_breaks_later_is_named(folder, tmp_path):
    config = config_of(f"folder:{folder}", tmp_path, image_size=16, max_memory_gb=0.0)
    streamed = data.load(config)
    path = folder / "test" / "class0" / "0000.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    try:
        with pytest.raises(
            ValueError, match=r"class0/0000\.jpg cannot be decoded.*Repair or remove"
        ):
            streamed.test[:]
    finally:
        path.write_bytes(whole)


def test_prepared_records_are_read_without_tensorflow(tmp_path):
    files = image_files.write_folder(tmp_path / "files", train=30, test=9, suffixes=("jpg",))
    train = sorted((files / "train").rglob("*.jpg"))
    test = sorted((files / "test").rglob("*.jpg"))
    root = tmp_path / "tfds"
    paths = {"train": train, "test": test, "unlabelled": train[:6]}
    image_files.write_tfds(root, "stl_like", paths)
    config = config_of("tfds:stl_like", tmp_path, data_dir=str(root), image_size=12)
    held, streamed = both(config)
    assert_same(held, streamed)
    assert (held.spec.train_size, held.spec.test_size, held.spec.num_classes) == (30, 9, 3)
    expected = {images.decode(p.read_bytes(), 12).tobytes(): int(p.parent.name[-1]) for p in train}
    found = {
        image.tobytes(): label for image, label in zip(held.train, held.train_labels, strict=True)
    }
    assert found == expected
    config.data.train_split = "unlabelled"
    unlabelled = data.load(config)
    assert unlabelled.spec.train_size == 6 and unlabelled.train_labels is None
    assert len(unlabelled.test_labels) == 9
    for field, value, message in (
        ("train_split", "valid", "train_split is 'valid'.*splits train, test, unlabelled"),
        ("label_field", "fine", "label_field is 'fine', but .* has the fields"),
        ("label_field", "id", "labels are not whole numbers. Set config.data.label_field"),
        ("image_size", 0, "differ in size"),
        ("source", "tfds:other", r"prepared in .*: stl_like"),
    ):
        other = config_of("tfds:stl_like", tmp_path, data_dir=str(root), image_size=12)
        other.data[field] = value
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            data.describe(other)
    # Damaged after it was opened, where the labels come from the cache.
    config = config_of("tfds:stl_like", tmp_path, data_dir=str(root), image_size=12)
    config.data.max_memory_gb = 0.0
    streamed = data.load(config)
    for file in root.rglob("*.array_record*"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"stl_like/1\.2\.0 cannot be read .*prepare the dataset"):
        streamed.train[:]


def test_an_array_keeps_a_test_file_of_its_own(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), rng.normal(size=(4, 3))
    np.savez(tmp_path / "a.npz", x=x, labels=np.arange(10) % 3)
    np.savez(tmp_path / "b.npz", x=y, labels=np.arange(4))
    np.save(tmp_path / "c.npy", y)
    c = default_config()
    c.data.source, c.data.path = "array", str(tmp_path / "a.npz")
    c.data.test_path = str(tmp_path / "b.npz")
    spec = data.describe(c)
    assert (spec.train_size, spec.test_size, spec.num_classes) == (10, 4, 4)
    found = load_array(c.data, spec)
    np.testing.assert_allclose(found.train, x, rtol=1e-6)
    np.testing.assert_allclose(found.test, y, rtol=1e-6)
    np.testing.assert_array_equal(found.test_labels, np.arange(4))
    for name, message in (("c.npy", "Only one of"), ("d.npy", "test_path is .*d.npy'")):
        c.data.test_path = str(tmp_path / name)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            data.describe(c)
