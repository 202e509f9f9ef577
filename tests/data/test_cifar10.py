"""CIFAR-10: preparation without TensorFlow, decoding, the cache, and every error message."""

import functools
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest

from infonce_jax.data import cifar10

RECORDS = {f"data_batch_{i}.bin": 4 for i in range(1, 6)} | {"test_batch.bin": 7}


def make_archive(path, *, leave_out=None, label=None, extra_bytes=0, seed=0):
    """Writes a tiny archive in the published binary format; returns its images and labels."""
    rng = np.random.default_rng(seed)
    content = {}
    with tarfile.open(path, "w:gz") as tar:
        for name, count in RECORDS.items():
            planes = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
            labels = rng.integers(0, 10, count, dtype=np.uint8)
            if label is not None:
                labels[0] = label
            content[name] = (planes.transpose(0, 2, 3, 1), labels)
            data = b"".join(
                bytes([y]) + x.tobytes() for x, y in zip(planes, labels, strict=True)
            ) + bytes(extra_bytes)
            if name != leave_out:
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    train = [content[name] for name in RECORDS if name.startswith("data")]
    return cifar10.Cifar10(
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]).astype(np.int32),
        content["test_batch.bin"][0],
        content["test_batch.bin"][1].astype(np.int32),
    )


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same_examples(found, expected):
    """Compares as sets of (image, label), because TFDS shuffles examples when it prepares them."""
    for split in ("train", "test"):
        pairs = [
            sorted(
                (image.tobytes(), int(label))
                for image, label in zip(
                    getattr(dataset, f"{split}_images"),
                    getattr(dataset, f"{split}_labels"),
                    strict=True,
                )
            )
            for dataset in (found, expected)
        ]
        assert pairs[0] == pairs[1]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data directory prepared from a tiny archive, and the archive's content."""
    folder = tmp_path_factory.mktemp("cifar10")
    content = make_archive(folder / "cifar-10-binary.tar.gz")
    cifar10.prepare_cifar10(folder / "data", archive=folder / "cifar-10-binary.tar.gz", sha256=None)
    return folder / "data", content


@pytest.fixture
def copied(prepared, tmp_path):
    """A data directory that a test may damage."""
    shutil.copytree(prepared[0], tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves ``tmp_path/site`` on the loopback interface; yields its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "site").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_prepared_data_reads_back_without_loss(prepared, tmp_path):
    data_dir, content = prepared
    dataset = cifar10.load_cifar10(data_dir, cache_dir=tmp_path)
    assert dataset.train_images.shape == (20, 32, 32, 3)
    assert dataset.test_images.shape == (7, 32, 32, 3)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int32
    assert_same_examples(dataset, content)


def test_prepared_data_is_a_tfds_dataset_and_the_order_is_kept(prepared, tmp_path):
    import tensorflow_datasets as tfds

    data_dir, _ = prepared
    builder = tfds.builder("cifar10", data_dir=data_dir)
    assert str(builder.info.version) == "3.0.2"
    assert builder.info.features["label"].names == list(cifar10.LABELS)
    examples = list(builder.as_data_source(split="train"))
    assert {example["id"] for example in examples} == {b"train_%05d" % i for i in range(20)}
    dataset = cifar10.load_cifar10(data_dir, cache_dir=tmp_path)
    np.testing.assert_array_equal(dataset.train_images, [example["image"] for example in examples])
    np.testing.assert_array_equal(dataset.train_labels, [example["label"] for example in examples])


def test_tensorflow_is_not_imported(prepared, tmp_path):
    code = (
        "import sys; from infonce_jax.data import cifar10; "
        "assert 'tensorflow_datasets' not in sys.modules; "
        f"cifar10.load_cifar10({str(prepared[0])!r}, cache_dir={str(tmp_path)!r}); "
        "assert 'tensorflow_datasets' in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_second_load_reads_the_cache(prepared, tmp_path, monkeypatch):
    data_dir, _ = prepared
    first = cifar10.load_cifar10(data_dir, cache_dir=tmp_path)

    def fail(folder):
        raise AssertionError("decoded a second time")

    monkeypatch.setattr(cifar10, "_decode", fail)
    assert_equal(cifar10.load_cifar10(data_dir, cache_dir=tmp_path), first)


def test_default_directories_come_from_the_environment(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[0]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert_same_examples(cifar10.load_cifar10(None), prepared[1])
    assert len(list((tmp_path / "infonce_jax").iterdir())) == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "checksums.json"])
def test_damaged_cache_is_rebuilt(prepared, tmp_path, caplog, damage, name):
    data_dir, _ = prepared
    first = cifar10.load_cifar10(data_dir, cache_dir=tmp_path)
    (entry,) = tmp_path.iterdir()
    damage(entry / name)
    caplog.clear()
    assert_equal(cifar10.load_cifar10(data_dir, cache_dir=tmp_path), first)
    assert "damaged" in caplog.text
    caplog.clear()
    assert_equal(cifar10.load_cifar10(data_dir, cache_dir=tmp_path), first)
    assert not caplog.text
    assert list(tmp_path.iterdir()) == [entry]


def test_cache_answers_for_a_copy_but_not_for_other_data(prepared, copied, tmp_path):
    cache = tmp_path / "cache"
    first = cifar10.load_cifar10(prepared[0], cache_dir=cache)
    assert_equal(cifar10.load_cifar10(copied, cache_dir=cache), first)
    assert len(list(cache.iterdir())) == 1
    other = make_archive(tmp_path / "other.tar.gz", seed=1)
    cifar10.prepare_cifar10(tmp_path / "other", archive=tmp_path / "other.tar.gz", sha256=None)
    assert_same_examples(cifar10.load_cifar10(tmp_path / "other", cache_dir=cache), other)
    assert len(list(cache.iterdir())) == 2


def test_unwritable_cache_warns_and_still_loads(prepared, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    dataset = cifar10.load_cifar10(prepared[0], cache_dir=tmp_path / "file" / "cache")
    assert_same_examples(dataset, prepared[1])
    assert "could not be cached" in caplog.text


def test_load_downloads_and_prepares_what_is_missing(server, tmp_path):
    archive = tmp_path / "site" / "cifar-10-binary.tar.gz"
    content = make_archive(archive)
    dataset = cifar10.load_cifar10(
        tmp_path / "data",
        cache_dir=tmp_path / "cache",
        url=f"{server}/cifar-10-binary.tar.gz",
        sha256=sha256(archive),
    )
    assert_same_examples(dataset, content)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar10"]


def test_download_of_something_else_is_refused(server, tmp_path):
    make_archive(tmp_path / "site" / "cifar-10-binary.tar.gz")
    with pytest.raises(ValueError, match=r"downloaded from .* is not the binary CIFAR-10 archive"):
        cifar10.load_cifar10(
            tmp_path / "data",
            cache_dir=tmp_path / "cache",
            url=f"{server}/cifar-10-binary.tar.gz",
        )
    assert not list((tmp_path / "data").iterdir())


def test_failed_download_names_the_setting_and_the_preparation(server, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        cifar10.load_cifar10(tmp_path / "data", cache_dir=tmp_path, url=f"{server}/absent")
    message = str(caught.value)
    assert "config.data.data_dir" in message
    assert repr(str(tmp_path / "data")) in message
    assert "404" in message
    assert "python -m infonce_jax.data.cifar10 --data_dir=DIR" in message
    assert "--archive=PATH/cifar-10-binary.tar.gz" in message
    assert "\n" not in message
    assert not (tmp_path / "data").exists()


def test_truncated_dataset_is_reported(copied, tmp_path):
    (records,) = copied.glob("cifar10/3.0.2/cifar10-train.array_record*")
    truncate(records)
    with pytest.raises(ValueError, match=r"train split .* cannot be read .* prepare it again"):
        cifar10.load_cifar10(copied, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_dataset_in_another_format_is_reported(copied, tmp_path):
    info = copied / "cifar10" / "3.0.2" / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="stored as tfrecord, which TFDS cannot read without"):
        cifar10.load_cifar10(copied, cache_dir=tmp_path / "cache")


def test_folder_without_a_dataset_is_left_alone(tmp_path):
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no prepared TFDS dataset"):
        cifar10.prepare_cifar10(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": "data_batch_3.bin"}, "lacks data_batch_3.bin"),
        ({"label": 10}, "hold the label 10"),
        ({"extra_bytes": 5}, "no multiple of the 3073 bytes"),
    ],
)
def test_malformed_archives_are_reported(tmp_path, options, message):
    make_archive(tmp_path / "a.tar.gz", **options)
    with pytest.raises(ValueError, match=message):
        cifar10.prepare_cifar10(tmp_path, archive=tmp_path / "a.tar.gz", sha256=None)
    assert not (tmp_path / "cifar10").exists()


@pytest.mark.parametrize("damage", [truncate, empty, lambda path: path.write_text("<html>")])
def test_unreadable_archives_are_reported(tmp_path, damage):
    archive = tmp_path / "a.tar.gz"
    make_archive(archive)
    damage(archive)
    with pytest.raises(ValueError, match="cannot be read"):
        cifar10.prepare_cifar10(tmp_path, archive=archive, sha256=None)


def test_command_line_prepares_once(tmp_path, capsys):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    content = make_archive(archive)
    arguments = [
        f"--data_dir={tmp_path}",
        f"--archive={archive}",
        f"--sha256={sha256(archive)}",
    ]
    assert cifar10.main(arguments) == 0
    assert f"config.data.data_dir to {tmp_path}" in capsys.readouterr().out
    archive.unlink()
    assert cifar10.main(arguments) == 0
    dataset = cifar10.load_cifar10(tmp_path, cache_dir=tmp_path / "cache")
    assert_same_examples(dataset, content)


def test_command_line_errors_are_one_line_and_exit_code_2(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "infonce_jax.data.cifar10", *arguments],
            capture_output=True,
            text=True,
        )

    absent = run(f"--data_dir={tmp_path}", f"--archive={tmp_path / 'absent.tar.gz'}")
    assert absent.returncode == 2
    assert absent.stderr.startswith("error: The archive")
    assert "does not exist" in absent.stderr
    assert absent.stderr.count("\n") == 1
    misspelt = run("--data-directory=x")
    assert misspelt.returncode == 2
    assert "Traceback" not in misspelt.stderr
