import json

import numpy as np
import pytest
from PIL import Image

from infonce_jax.data import tfds
from infonce_jax.pretrained import DamagedImage, open_rows, read_image
from tests.pretrained.pictures import write_captions, write_pictures


def test_images_of_every_mode_become_rgb(tmp_path):
    write_pictures(tmp_path / "p")
    for file in (tmp_path / "p").iterdir():
        image = read_image(file)
        assert image.mode == "RGB"
        if file.name != "sixteen.png":
            np.testing.assert_array_equal(image, Image.open(file).convert("RGB"))
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        np.asarray(read_image(tmp_path / "deep.png"))[..., 1], values // 257
    )
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "floats.tif")
    for name in ("floats.tif", "absent.png"):
        with pytest.raises(DamagedImage, match=name):
            read_image(tmp_path / name)


def test_folders_are_classes_and_file_names_are_styles(tmp_path):
    picture = Image.new("RGB", (8, 8))
    for name in ("n01/sketch_2.jpg", "n01/art_0.jpg", "n02/sketch_11.jpg", "n02/painting_5.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    (tmp_path / "n01" / "notes.txt").write_text("no image")
    (tmp_path / "n01" / "._sketch_2.jpg").write_text("of another system")
    rows = open_rows(tmp_path)["all"]
    assert list(rows.names)[:2] == ["n01/art_0.jpg", "n01/sketch_2.jpg"]
    np.testing.assert_array_equal(rows.labels, [0, 0, 1, 1])
    assert rows.label_names == ["n01", "n02"]
    styles = open_rows(tmp_path, split_by="style")
    assert {style: list(r.names) for style, r in styles.items()} == {
        "art": ["n01/art_0.jpg"],
        "painting": ["n02/painting_5.jpeg"],
        "sketch": ["n01/sketch_2.jpg", "n02/sketch_11.jpg"],
    }
    np.testing.assert_array_equal(styles["sketch"].labels, [0, 1])
    assert list(open_rows(tmp_path, split_by="folder")) == ["n01", "n02"]
    assert list(open_rows(tmp_path, max_rows=2)["all"].names) == [rows.names[0], rows.names[3]]
    picture.save(tmp_path / "n01" / "cat.png")
    with pytest.raises(ValueError, match=r"1 images are named otherwise, such as n01/cat\.png"):
        open_rows(tmp_path, split_by="style")
    picture.save(tmp_path / "beside.png")
    assert open_rows(tmp_path)["all"].labels is None
    with pytest.raises(ValueError, match="split_by folder"):
        open_rows(tmp_path, split_by="folder")


def test_captions_belong_to_their_images(tmp_path):
    folder = tmp_path / "pictures"
    names = write_pictures(folder)
    file = write_captions(tmp_path / "captions.json", folder, each=3)
    rows = open_rows(folder, captions=file)["all"]
    assert list(rows.names) == names and rows.towers == ("image", "text")
    alone = open_rows(file)["all"]
    assert alone.texts == rows.texts and alone.towers == ("text",)
    first = {}
    for entry in json.loads(file.read_text())["annotations"]:
        first.setdefault(entry["image_id"], entry["caption"])
    assert rows.texts == [first[name] for name in names]
    (folder / "2.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 are not in .*pictures, such as 2\.jpg"):
        open_rows(folder, captions=file)
    for content, message in [
        ("{", "JSONDecodeError"),
        ('{"images": []}', "annotations"),
        ('{"images": [], "annotations": []}', "no captions"),
        ('{"images": [], "annotations": [{"id": 1, "image_id": 4, "caption": "a"}]}', "image 4"),
        ("[1]", "TypeError"),
    ]:
        file.write_text(content)
        with pytest.raises(ValueError, match=f"form of COCO's captions.*{message}"):
            open_rows(file)


def test_texts_are_lines_and_bad_data_are_named(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("one\ntwo words\n\n\n")
    assert open_rows(file)["all"].texts == ["one", "two words"]
    file.write_text("one\n\nthree\n")
    with pytest.raises(ValueError, match="1 empty lines, the first of them line 2"):
        open_rows(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        open_rows(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        open_rows(file)
    (tmp_path / "t.csv").write_text("a")
    for path, options, message in [
        (tmp_path / "t.csv", {}, "suffix that is not known"),
        (tmp_path / "t.txt", {"captions": tmp_path / "c.json"}, "needs a folder of images"),
        (tmp_path / "t.txt", {"split_by": "colour"}, "'colour'"),
        (tmp_path / "t.txt", {"max_rows": -1}, "max_rows is -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_rows(path, **options)


def test_a_prepared_tfds_dataset_is_read_image_by_image(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    labels = np.array([1, 0, 1, 1, 0])
    tfds.write_images(
        tmp_path,
        "small",
        "1.0.0",
        {"test": (images, labels)},
        labels=["cat", "dog"],
        description="",
        homepage="",
    )
    folder = tmp_path / "small" / "1.0.0"
    rows = open_rows(folder)["test"]
    # TFDS shuffles when it writes; images and labels stay together.
    kept = {images[i].tobytes(): int(labels[i]) for i in range(5)}
    assert len(rows.names) == 5 and rows.label_names == ["cat", "dog"]
    for i, label in enumerate(rows.labels):
        assert kept[np.asarray(rows.image(i)).tobytes()] == label
    with pytest.raises(ValueError, match="asked for the split 'train'"):
        open_rows(folder, split="train")
