"""A run with several processes, as on several hosts: the same numbers, and the same end for all."""

import json
import os
import runpy
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from infonce_jax import data, embeddings
from infonce_jax.runs import processes
from infonce_jax.training.checkpoint import Checkpoints
from tests.conftest import TINY
from tests.data import image_files

# BatchNorm makes every row depend on all others of the batch. After the first step the momentum is the
# gradient.
CONFIG = (
    TINY.replace("return c", "")
    + """\
    c.seeds = (0,)
    c.encoder.head, c.encoder.head_hidden, c.encoder.head_dim = "mlp", 8, 4
    c.encoder.head_norm = "batch"
    c.optimizer.name, c.optimizer.learning_rate = "sgd", 0.02
    with c.optimizer.kwargs.unlocked():
        c.optimizer.kwargs.momentum = 0.9
    c.train.steps, c.embed.steps = 120, (1,)
    c.log.every_steps, c.checkpoint.every_steps = 10, 20
    return c
"""
)

STREAMED = (
    TINY.replace("return c", "")
    + """\
    c.seeds = (0,)
    c.data.source, c.data.image_size, c.data.max_memory_gb = "folder:{root}/files", 16, 0.0
    c.data.cache_dir, c.data.prefetch = "{root}/cache", 1
    c.channel.name, c.channel.view_size = "simclr", 8
    c.channel.jitter = c.channel.grayscale_prob = 0.0  # compiles faster
    c.optimizer.name, c.optimizer.learning_rate = "sgd", 0.02
    return c
"""
)
# Notes every image that a process decodes while it trains.
COUNTED = """\
import os
from infonce_jax.data import images
decode_into = images.Images.decode_into
def counted(self, target, index, pool):
    with open("{root}/" + str(os.getpid()), "a") as file:
        file.write("." * len(index))
    return decode_into(self, target, index, pool)
images.Images.decode_into = counted
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def start_all(start):
    """Starts a command on several processes, to be joined."""

    def run(count, *arguments, own=(), before=""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        flags = (f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}")
        return [
            start(*arguments, *flags, f"--process_id={i}", *(own if i else ()), before=before)
            for i in range(count)
        ]

    return run


def wait_for_step(workdir, step, first):
    deadline = time.monotonic() + 120
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert time.monotonic() < deadline, first.wait().stderr
        time.sleep(0.01)


def losses(workdir):
    return [
        (line["step"], line["loss"][0])
        for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    ]


def first_gradient(workdir):
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return {n: a for n, a in checkpoints.arrays(1).items() if "trace" in n}


def assert_same_training(workdir, reference):
    np.testing.assert_allclose(losses(workdir), losses(reference), rtol=1e-5)
    gradient, expected = first_gradient(workdir), first_gradient(reference)
    assert gradient.keys() == expected.keys() and len(gradient) > 3
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in expected.items():
        np.testing.assert_allclose(gradient[name], array, atol=1e-6 * largest, err_msg=name)
    for step in (0, 1, 120):
        one, other = (embeddings.read(d / "embeddings" / str(step)) for d in (workdir, reference))
        for view in ("clean", "view1", "view2"):
            found, wanted = (stored.array("seed0", "test", view) for stored in (one, other))
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_processes_equal_one_and_survive_kills_signals_and_another_number_of_them(
    config_file, start_all, launch, tmp_path
):
    reference, workdir = tmp_path / "reference", tmp_path / "run"
    launch(f"--config={config_file}", f"--workdir={reference}", "--stage=train", check=True)
    command = (f"--config={config_file}", f"--workdir={workdir}")

    # One is killed; the other says so, and stops.
    pair = start_all(2, *command)
    wait_for_step(workdir, 30, pair[0])
    os.kill(pair[1].pid, signal.SIGKILL)
    done = pair[0].wait()
    assert done.returncode == 3, done.stderr
    assert "Another process of this run has stopped" in done.stderr
    assert "the same command on all hosts goes on" in done.stderr
    assert pair[1].wait().returncode == -signal.SIGKILL

    # The same command goes on. A signal to one of them makes both save the same step.
    pair = start_all(2, *command)
    wait_for_step(workdir, 50, pair[0])
    os.kill(pair[1].pid, signal.SIGTERM)
    first, second = (process.wait() for process in pair)
    assert [first.returncode, second.returncode] == [143, 143], first.stderr + second.stderr
    assert "resuming at step 20 of 120" in first.stderr
    saved = int(first.stderr.split("SIGTERM received: saved at step ")[1].split(".")[0])
    assert 50 <= saved < 120
    assert (workdir / "checkpoints" / str(saved)).is_dir()
    # What concerns all is printed once.
    assert "saved at step" not in second.stderr and "embedding set" not in second.stderr

    # Four go on after two, and so does one.
    shutil.copytree(workdir, tmp_path / "copy")
    four = [process.wait() for process in start_all(4, *command, "--stage=train")]
    assert [process.returncode for process in four] == [0] * 4, four[0].stderr
    assert f"resuming at step {saved} of 120" in four[0].stderr
    assert_same_training(workdir, reference)
    assert json.loads((workdir / "run.json").read_text())["machine"]["processes"] == 4
    copy = (f"--workdir={tmp_path / 'copy'}", "--stage=train")
    alone = launch(f"--config={config_file}", *copy, check=True)
    assert f"resuming at step {saved} of 120" in alone.stderr
    assert_same_training(tmp_path / "copy", reference)


def test_processes_share_the_images_of_a_streamed_batch(start, start_all, tmp_path):
    image_files.write_folder(tmp_path / "files", train=96, test=32, suffixes=("jpg",))
    file = tmp_path / "streamed.py"
    file.write_text(STREAMED.format(root=tmp_path))
    # So that they do not all check the images.
    data.describe(runpy.run_path(str(file))["get_config"]())
    command, before = (f"--config={file}", "--stage=train"), COUNTED.format(root=tmp_path)
    alone = start(*command, f"--workdir={tmp_path / 'alone'}", before=before)
    pair = start_all(2, *command, f"--workdir={tmp_path / 'pair'}", before=before)
    for process in (alone, *pair):
        process.wait(check=True)
    np.testing.assert_allclose(losses(tmp_path / "pair"), losses(tmp_path / "alone"), rtol=1e-5)
    for step in (0, 6, 12):
        found, wanted = (
            embeddings.read(tmp_path / name / "embeddings" / str(step)).array(
                "seed0", "test", "view1"
            )
            for name in ("pair", "alone")
        )
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    decoded = [(tmp_path / str(process.pid)).stat().st_size for process in (alone, *pair)]
    # Each of two decodes half of the 12 batches of 16, and of the next one, which is read ahead. What
    # else is decoded is the same.
    assert all(12 * 8 <= decoded[0] - count <= 13 * 8 for count in decoded[1:])


def test_processes_that_disagree_are_refused(config_file, start_all, tmp_path):
    command = (f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    first, second = (
        process.wait() for process in start_all(2, *command, own=("--config.loss.temperature=0.1",))
    )
    assert [first.returncode, second.returncode] == [2, 2]
    errors = [line for line in first.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in first.stderr
    assert "config.loss.temperature is 0.5 on process 0 and 0.1 on process 1" in errors[0]
    assert "error: " not in second.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (0, "Not all of the 2 processes have joined process 0 at 127.0.0.1:"),
        (1, "Process 1 of 2 cannot reach the coordinator, process 0 at 127.0.0.1:"),
    ],
)
def test_a_process_that_finds_no_others_says_so_in_time(
    config_file, launch, tmp_path, index, message
):
    done = launch(
        f"--config={config_file}",
        f"--workdir={tmp_path / 'run'}",
        "--coordinator=127.0.0.1:9",
        "--num_processes=2",
        f"--process_id={index}",
        "--join_timeout_s=1",
    )
    assert done.returncode == 2
    assert f"error: {message}" in done.stderr and "within 1 s" in done.stderr
    assert "Traceback" not in done.stderr and "Check failure" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_refused(config_file, launch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = launch(
            f"--config={config_file}",
            f"--workdir={tmp_path / 'run'}",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            "--process_id=0",
        )
    assert done.returncode == 2
    assert f"error: Port {port} of " in done.stderr and "is in use" in done.stderr


def test_a_sweep_of_joined_processes_goes_on_after_a_run_that_fails(
    tiny_config_file, start_all, tmp_path
):
    with tiny_config_file.open("a") as file:
        file.write(
            "\n\ndef sweep():\n"
            "    wild = {'optimizer.learning_rate': 1e30, 'optimizer.name': 'sgd',\n"
            "            'encoder.name': 'mlp'}\n"
            "    return {'wild': wild, 'tame': {'encoder.embedding_dim': 4}}\n"
        )
    workdir = tmp_path / "sweep"
    pair = start_all(2, f"--config={tiny_config_file}", f"--workdir={workdir}")
    first, second = (process.wait() for process in pair)
    assert [first.returncode, second.returncode] == [2, 2], first.stderr + second.stderr
    assert "1 of 2 runs failed (wild: The " in first.stderr
    assert "1 of 2 runs are finished and gathered" in first.stderr
    assert "error: " not in second.stderr
    assert (workdir / "tame" / "evaluation.json").exists() and (workdir / "sweep.csv").exists()
    assert list(json.loads((workdir / "failed.json").read_text())) == ["wild"]


@pytest.mark.parametrize("here", [0, 1])
def test_an_error_on_one_process_is_one_on_all(monkeypatch, here):
    theirs = {"result": None, "error": "no such file"}

    def gather(value):
        return [value, theirs] if here == 0 else [{"result": 7, "error": None}, value]

    monkeypatch.setattr(processes, "is_joined", lambda: True)
    monkeypatch.setattr(processes, "_gather", gather)
    monkeypatch.setattr(processes.jax, "process_index", lambda: here)
    if here == 0:
        with pytest.raises(processes.Elsewhere, match="Process 1 failed: no such file"):
            processes.first(lambda: 5)
    else:
        assert processes.first(lambda: 5) == 7
        with pytest.raises(OSError, match="no such file"), processes.together():
            raise OSError("no such file")
