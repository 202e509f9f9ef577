"""Runs on images that are streamed: the same bits as in memory, also after kill -9."""

import functools
import json
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from infonce_jax import data, embeddings, runs, training
from infonce_jax.config import members
from infonce_jax.data.batches import batch_index, make_host_index
from infonce_jax.data.image_views import IDENTITY, resized, simclr_views
from infonce_jax.data.images import decode
from tests.data import image_files

CONFIG = """\
from infonce_jax.config import default_config


def get_config():
    c = default_config()
    c.name, c.seeds = "images", (0,)
    c.data.source, c.data.cache_dir, c.data.image_size = "folder:{folder}", "{cache}", 20
    c.channel.name, c.channel.view_size = "simclr", 12
    c.channel.jitter = c.channel.grayscale_prob = 0.0  # compiles faster
    c.encoder.name, c.encoder.width, c.encoder.embedding_dim = "mlp", 16, 8
    c.train.batch_size, c.train.steps, c.log.every_steps, c.checkpoint.every_steps = 32, 60, 5, 10
    c.embed.max_rows, c.evaluate.sample_sizes = 64, (32, 64)
    return c
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    image_files.write_folder(
        root / "files", train=1900, test=100, suffixes=("jpg",), sizes=(16, 48)
    )
    file = root / "images.py"
    file.write_text(CONFIG.format(folder=root / "files", cache=root / "cache"))
    return file


def config_of(file):
    names = {}
    exec(file.read_text(), names)
    return names["get_config"]()


def contents(workdir):
    files = sorted((workdir / "embeddings").rglob("*.npy"))
    return {str(f.relative_to(workdir)): f.read_bytes() for f in files} | {
        "metrics": (workdir / "metrics.jsonl").read_bytes()
    }


def test_a_folder_of_images_is_trained_on_by_one_command_and_streams_to_the_same_bits(
    config_file, start, tmp_path
):
    # Optimised, as a user runs it: programs that are not are fused, and so rounded, differently.
    start = functools.partial(start, f"--config={config_file}", optimised=True)
    held, streamed = tmp_path / "held", tmp_path / "streamed"
    in_memory = start(f"--workdir={held}", "--stage=train")
    command = (f"--workdir={streamed}", "--config.data.max_memory_gb=0")
    killed = start(*command)
    metrics = streamed / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while not (metrics.exists() and '"step": 15,' in metrics.read_text()):
        assert not killed.has_ended and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert "resuming at step" in start(*command).wait(check=True).stderr
    in_memory.wait(check=True)
    assert contents(streamed) == contents(held)
    assert (streamed / "report.html").exists()
    rows = json.loads((streamed / "evaluation.json").read_text())["rows"]
    assert {row["n"] for row in rows} == {32, 64}
    _check_rows_are_those_of_their_files(held, config_of(config_file).data.image_size)


def _check_rows_are_those_of_their_files(workdir, size):
    """An embedding set names the file of each row, from which the row can be made again."""
    stored = embeddings.read(embeddings.find_steps(workdir)[-1])
    files = [Path(name) for name in stored.manifest["rows"]["test"]]
    labels, classes = stored.labels("test"), stored.manifest["label_names"]["test"]
    assert len(set(files)) == len(labels)
    assert [file.parent.name for file in files] == [classes[label] for label in labels]
    images = np.stack([decode(file.read_bytes(), size) for file in files[:9]])
    for rows in (images, images / np.float32(255)):
        for name, z in runs.encode(workdir, rows).items():
            expected = stored.array(name, "test", "clean")[:9]
            np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)
    for rows, message in [
        (images.astype(np.float32), "floats from 0 to 255; .* by 255"),
        (images.astype(int), "of type int64; give rows.astype"),
        (images[:, 1:], "Resize the images"),
    ]:
        with pytest.raises(ValueError, match=message):
            runs.encode(workdir, rows)


def test_hosts_index_rows_as_devices_do():
    keys = jax.vmap(jax.random.key)(np.arange(3))
    for n, size in ((100, 7), (120, 16), (5, 5)):
        index = make_host_index(keys, size, n)
        for step in (0, 1, 17, 50):
            rows = [batch_index(key, jnp.int32(step), size, n) for key in keys]
            np.testing.assert_array_equal(index(step), np.stack(rows))


def test_streamed_steps_may_be_taken_again_and_name_what_cannot_be_decoded(config_file, tmp_path):
    config = config_of(config_file)
    config.seeds, config.loss.temperature = (0, 1), (0.2, 0.5)
    config.data.source = f"folder:{image_files.write_folder(tmp_path / 'few', train=40, test=9)}"
    config.data.max_memory_gb = 0.0
    config.data.cache_dir = str(tmp_path)
    program = training.make_program(config, data.load(config), members(config))
    once, failed = program.advance(program.init(), 6)
    assert int(failed) == -1 and int(once.step) == 6
    again, _ = program.advance(program.init(), 2)
    again, _ = program.advance(again, 6)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    for path in (tmp_path / "few" / "train").rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be decoded"):
        program.advance(once, 20)


def test_views_are_cut_from_the_larger_image_and_resized_once():
    rng = np.random.default_rng(0)
    pixels = rng.random((1, 40, 56, 3), np.float32)
    # Pillow resizes one channel of floats at a time.
    for size in (16, 48):
        expected = np.stack(
            [
                np.asarray(Image.fromarray(pixels[0, ..., c]).resize((size, size), 2))
                for c in range(3)
            ],
            axis=-1,
        )
        np.testing.assert_allclose(resized(jnp.asarray(pixels), size)[0], expected, atol=1e-5)
    view = jax.jit(simclr_views, static_argnums=(2, 3))
    np.testing.assert_allclose(
        view(jax.random.key(0), pixels, IDENTITY, 48)[0], expected, atol=1e-5
    )
    crops = IDENTITY._replace(crop_area_min=0.2)
    images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    same = view(jax.random.key(1), images, crops, 32)
    np.testing.assert_allclose(same, view(jax.random.key(1), images, crops, 0), atol=1e-5)
