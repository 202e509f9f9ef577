import json
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest

from infonce_jax import embeddings
from infonce_jax.evaluation.__main__ import main as evaluate
from infonce_jax.pretrained import Encoder, extract, open_rows
from infonce_jax.pretrained.__main__ import main
from tests.pretrained.pictures import write_captions, write_pictures


def statistics(images):
    """Stands for a model: what it gives depends on the batch in the last digits, as a model's does."""
    rows = [np.asarray(image.resize((4, 4)), np.float32).ravel() / 255 for image in images]
    return np.stack(rows) @ np.linspace(-1, 1, 48 * 6).reshape(48, 6).astype(np.float32)


def lengths(texts):
    return np.array([[len(t), t.count("a"), 1.0] for t in texts])


# The module, which the function of the same name hides on the package.
loop = sys.modules["infonce_jax.pretrained.extract"]

ENCODER = Encoder(statistics, lengths, {"model": "stand-in"})


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def slowly(texts):
    time.sleep(0.004)
    return lengths(texts)


def extract_slowly(texts, output):
    loop._BLOCK_SECONDS = 0.02
    encoder = Encoder(None, slowly, {"model": "stand-in"})
    extract(encoder, open_rows(texts), output, batch_size=16, random_projection=2)


def test_killed_at_any_time_and_started_again_it_writes_the_same_bytes(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"a text {i} {'a' * (i % 17)}\n" for i in range(4000)))
    extract_slowly(texts, tmp_path / "whole")
    fork = multiprocessing.get_context("fork")
    for kill in range(3):
        process = fork.Process(target=extract_slowly, args=(texts, tmp_path / "killed"))
        process.start()
        partial, at_least = tmp_path / "killed" / "1.partial", 500 * (kill + 1)
        while process.is_alive():
            state = partial / "state.json"
            if state.is_file() and _items(state) >= at_least:
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert partial.is_dir() and not (tmp_path / "killed" / "1").exists()
        # As after a kill between an array and its state: rows behind the last block.
        with open(partial / "all.text.f32", "ab") as stream:
            stream.write(b"\x07" * 13)
    extract_slowly(texts, tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    rows = texts.read_text().splitlines()
    z = embeddings.read(tmp_path / "whole" / "1").array("text", "all")
    np.testing.assert_array_equal(z, lengths(rows))


def _items(state):
    return json.loads(state.read_text())["splits"]["all"]["items"]


def test_damaged_images_are_refused_or_named_counted_and_left_out(tmp_path):
    folder = tmp_path / "pictures"
    names = write_pictures(folder)
    captions = write_captions(tmp_path / "captions.json", folder)
    whole = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "grey.jpg").write_bytes(b"")
    (folder / "alpha.png").write_text("no image")
    data = open_rows(folder, captions=captions)
    with pytest.raises(ValueError, match=r"1\.jpg cannot be decoded.*truncated.*on_damaged=skip"):
        extract(ENCODER, data, tmp_path / "out")
    assert not (tmp_path / "out" / "1").exists() and not (tmp_path / "out" / "1.partial").exists()
    for size in (3, 100):
        extract(ENCODER, data, tmp_path / f"{size}", batch_size=size, on_damaged="skip")
        stored = embeddings.read(tmp_path / f"{size}" / "1")
        kept = [n for n in names if n not in ("1.jpg", "grey.jpg", "alpha.png")]
        assert stored.manifest["rows"]["all"] == kept
        skipped = {entry["name"] for entry in stored.manifest["skipped"]["all"]}
        assert skipped == {"1.jpg", "grey.jpg", "alpha.png"}
        images = [data["all"].image(i) for i, name in enumerate(names) if name in kept]
        texts = [t for t, name in zip(data["all"].texts, names, strict=True) if name in kept]
        np.testing.assert_allclose(stored.array("image", "all"), statistics(images), atol=1e-5)
        np.testing.assert_array_equal(stored.array("text", "all"), lengths(texts))
    for name in kept:
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match="no row of split all could be read"):
        extract(ENCODER, open_rows(folder), tmp_path / "none", on_damaged="skip")
    assert not (tmp_path / "none" / "1").exists()


def test_the_set_is_a_contract_that_the_evaluation_reads(tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    rng = np.random.default_rng(0)
    texts.write_text("".join("a" * k + "b" * j + "\n" for k, j in rng.integers(1, 90, (400, 2))))
    untrained = Encoder(None, lambda t: lengths(t)[:, ::-1], {"model": "stand-in"})
    extract(untrained, open_rows(texts), tmp_path / "out", step=0)
    extract(ENCODER, open_rows(texts), tmp_path / "out", random_projection=5)
    stored = embeddings.read(tmp_path / "out" / "1")
    assert stored.array("text_projected", "all").shape == (400, 5)
    assert np.linalg.matrix_rank(stored.array("text_projected", "all")) == 3
    argv = ["evaluate", str(tmp_path / "out" / "1"), "--sample_sizes", "all"]
    assert evaluate(argv) == 0
    assert "random_projection" in capsys.readouterr().out
    # Done is done; other arguments are another set.
    before = contents(tmp_path / "out")
    extract(ENCODER, open_rows(texts), tmp_path / "out", random_projection=5)
    assert contents(tmp_path / "out") == before
    with pytest.raises(ValueError, match=r"of another random_projection .5 there, 6 now"):
        extract(ENCODER, open_rows(texts), tmp_path / "out", random_projection=6)
    # Two at once would mix their rows.
    (tmp_path / "busy" / "1.partial").mkdir(parents=True)
    with (
        loop._lock(tmp_path / "busy" / "1.partial"),
        pytest.raises(ValueError, match="being written by another process"),
    ):
        extract(ENCODER, open_rows(texts), tmp_path / "busy")
    extract(ENCODER, open_rows(texts), tmp_path / "out", normalize=True, overwrite=True)
    norms = np.linalg.norm(embeddings.read(tmp_path / "out" / "1").array("text", "all"), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)


def test_nothing_is_written_where_something_is_wrong(tmp_path, unchecked_types):
    texts = tmp_path / "texts.txt"
    texts.write_text("a\nbb\nccc\n")
    data = open_rows(texts)
    growing = iter(range(1, 9))
    for change, message, options in [
        ({"text": None}, "the data are texts, and stand-in encodes images alone", {}),
        ({"text": lambda t: np.full((len(t), 2), np.nan)}, "embedding of a is not finite", {}),
        ({"text": lambda t: np.ones((len(t), next(growing)))}, "1 coordinates?|coordinates", {}),
        ({"text": lambda t: np.ones((1, 2))}, r"\(1, 2\) for 2 rows", {}),
        ({}, "batch_size is 0", {"batch_size": 0}),
        ({}, "on_damaged is 'keep'", {"on_damaged": "keep"}),
        ({}, "random_projection is -1", {"random_projection": -1}),
    ]:
        with pytest.raises(ValueError, match=message):
            options = {"batch_size": 2} | options
            extract(ENCODER._replace(**change), data, tmp_path / "out", **options)
        assert not list((tmp_path / "out").glob("*")), message


def test_the_command_says_what_is_wrong_in_one_paragraph(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("a\n")
    for argv, message in [
        (["m", tmp_path / "absent", "--output", tmp_path / "o"], "does not exist"),
        (["m", tmp_path / "empty", "--output", tmp_path / "o"], "holds no images"),
        (["m", tmp_path / "file.txt"], "--output"),
        (["m", tmp_path / "file.txt", "--output", tmp_path / "file.txt"], "is a file"),
        (["m", tmp_path / "file.txt", "--output", tmp_path / "o", "--pool"], "expected one"),
    ]:
        assert main([*map(str, argv)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_without_torch_the_error_names_the_extra(tmp_path, monkeypatch, capsys):
    (tmp_path / "texts.txt").write_text("a\n")
    monkeypatch.setitem(sys.modules, "infonce_jax.pretrained.models", None)
    monkeypatch.delattr("infonce_jax.pretrained.models", raising=False)
    assert main(["m", str(tmp_path / "texts.txt"), "--output", str(tmp_path / "o")]) == 2
    assert "infonce_jax[pretrained]" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
