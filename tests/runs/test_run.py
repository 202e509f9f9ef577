"""A run on disk: what it leaves, what it survives, and what it refuses."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from infonce_jax import data as data_lib
from infonce_jax import embeddings, runs
from infonce_jax.runs import folder
from infonce_jax.runs.nonfinite import NonFiniteLoss
from infonce_jax.training.checkpoint import Checkpoints
from tests.conftest import ROOT, make_tiny_config

STAGES = ("train", "embed", "evaluate", "report")


def contents(workdir):
    """What must not depend on how often a run was stopped: metrics and embeddings, by file."""
    files = [workdir / "metrics.jsonl", *sorted((workdir / "embeddings").rglob("*.npy"))]
    return {str(file.relative_to(workdir)): file.read_bytes() for file in files}


def training_seconds(workdir):
    return json.loads((workdir / "run.json").read_text())["stages"]["train"]["wall_s"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run, shared by the tests that only look at it."""
    config = make_tiny_config()
    workdir = tmp_path_factory.mktemp("finished") / "run"
    runs.run(config, workdir, stages=STAGES)
    return config, workdir


def test_a_run_leaves_what_it_promises(finished):
    _, workdir = finished
    for name in ("config.json", "run.json", "evaluation.csv", "evaluation.json", "report.html"):
        assert (workdir / name).stat().st_size > 0
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert lines[1]["epoch"] == pytest.approx(8 / 6)
    assert len(lines[0]["loss"]) == 2
    assert [int(path.name) for path in embeddings.find_steps(workdir)] == [0, 6, 12]
    stored = embeddings.read(workdir / "embeddings" / "6")
    assert [member["name"] for member in stored.members] == ["seed0", "seed1"]
    assert stored.array("seed1", "test", "view2").shape == (64, 8)
    assert stored.manifest["dataset"] == "laplace"
    config = json.loads((workdir / "config.json").read_text())
    assert config["total_steps"] == 12 and config["steps_per_epoch"] == 6
    assert stored.manifest["config_hash"] == config["config_hash"]
    stages = json.loads((workdir / "run.json").read_text())["stages"]
    assert set(stages) == set(STAGES)


def test_evaluation_has_rows_for_every_seed_step_and_size(finished):
    _, workdir = finished
    content = json.loads((workdir / "evaluation.json").read_text())
    keys = {(r["step"], r["seed"], r["n"], r["representation"]) for r in content["rows"]}
    assert keys == {
        (step, seed, n, representation)
        for step in (0, 6, 12)
        for seed in (0, 1)
        for n in (32, 64)
        for representation in ("raw", "normalized")
    }


def test_the_same_command_again_changes_nothing(finished, capsys):
    config, workdir = finished
    before, seconds = contents(workdir), training_seconds(workdir)
    runs.run(config, workdir, stages=STAGES)
    assert contents(workdir) == before and training_seconds(workdir) >= seconds
    assert "trained already" in capsys.readouterr().err


def test_a_run_can_be_trained_for_longer(tiny_config, tmp_path):
    tiny_config.optimizer.schedule = "constant"
    runs.run(tiny_config, tmp_path / "run", stages=["train"])
    tiny_config.train.steps, tiny_config.embed.steps = 18, (6, 15)
    for name in ("run", "at once"):
        runs.run(tiny_config, tmp_path / name, stages=["train"])
    found, expected = (contents(tmp_path / name) for name in ("run", "at once"))
    # The set at the former end is kept too.
    assert {name for name in found if name not in expected} == {
        f"embeddings/12/seed{seed}/test_{view}.npy"
        for seed in (0, 1)
        for view in ("clean", "view1", "view2")
    }
    assert all(found[name] == expected[name] for name in expected if name != "metrics.jsonl")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["total_steps"] == 18
    for field, value, message in [
        ("train.steps", 15, "at step 18 and can be trained for longer, not for 15 steps"),
        (
            "train.batch_size",
            8,
            r"another configuration \(train.batch_size: 16 there, 8 now; .*\)\. Choose",
        ),
    ]:
        other = copy.deepcopy(tiny_config)
        other.update_from_flattened_dict({field: value, "embed.steps": ()})
        with pytest.raises(ValueError, match=message):
            runs.run(other, tmp_path / "run", stages=["train"])
    tiny_config.optimizer.schedule = "cosine"
    runs.run(tiny_config, tmp_path / "cosine", stages=["train"])
    tiny_config.train.steps = 24
    with pytest.raises(ValueError, match=r"optimizer.schedule = 'cosine' depends on its"):
        runs.run(tiny_config, tmp_path / "cosine", stages=["train"])


def test_a_missing_embedding_set_is_written_again_from_its_checkpoint(finished):
    config, workdir = finished
    before = contents(workdir)
    for step in (0, 6):
        shutil.rmtree(workdir / "embeddings" / str(step))
    runs.run(config, workdir, stages=["embed"])
    assert contents(workdir) == before


def test_a_trained_run_encodes_rows_of_ones_own(finished):
    config, workdir = finished
    rows = data_lib.load(config).test
    for step in (0, 12):
        stored = embeddings.read(workdir / "embeddings" / str(step))
        found = runs.encode(workdir, rows, step=step)
        assert list(found) == ["seed0", "seed1"]
        for name, z in found.items():
            np.testing.assert_allclose(z, stored.array(name, "test", "clean"), rtol=1e-5, atol=1e-6)
    latest = runs.encode(workdir, rows[:3])["seed1"]
    np.testing.assert_allclose(latest, found["seed1"][:3], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"rows have shape \(3, 5\).*\(24,\)"):
        runs.encode(workdir, rows[:3, :5])
    with pytest.raises(ValueError, match="rows is empty"):
        runs.encode(workdir, rows[:0])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7 \(there are: 0, 6"):
        runs.encode(workdir, rows, step=7)


def test_another_configuration_is_refused_and_nothing_is_touched(finished):
    config, workdir = finished
    before = (workdir / "config.json").read_bytes()
    other = config.copy_and_resolve_references()
    other.loss.temperature = 0.123
    with pytest.raises(ValueError, match=r"loss\.temperature: 0\.5 there, 0\.123 now"):
        runs.run(other, workdir, stages=STAGES)
    assert (workdir / "config.json").read_bytes() == before


def test_fields_younger_than_a_run_have_their_defaults_there(finished, tmp_path):
    config, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    old = json.loads(file.read_text())
    del old["data"]["held_out_class"], old["scale"]
    file.write_text(json.dumps(old))
    folder.claim(config, tmp_path / "run")
    assert json.loads(file.read_text())["data"]["held_out_class"] == -1
    old["data"]["dimension"] = 8
    file.write_text(json.dumps(old))
    with pytest.raises(ValueError, match="not a configuration that this version knows"):
        folder.claim(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "infonse"}, "'infonse'; it must be one of infonce, nt_xent"),
        ({"loss.regulariser": "sigred"}, "'sigred'; it must be one of norm_entropy, sigreg"),
        ({"loss.regulariser": "koleo", "loss.beta_unit": "vanishing"}, "for norm_entropy alone"),
        ({"loss.directions": 0}, "at least 1"),
    ],
)
def test_impossible_objectives_are_refused(tiny_config, tmp_path, fields, message):
    tiny_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        runs.run(tiny_config, tmp_path / "run", stages=STAGES)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_refused(tiny_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="holds no config"):
        runs.run(tiny_config, tmp_path, stages=STAGES)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_truncated_checkpoint_is_named(finished, tmp_path):
    config, whole = finished
    workdir = shutil.copytree(whole, tmp_path / "run")
    (workdir / "embeddings" / "12" / "manifest.json").unlink()
    for file in (workdir / "checkpoints" / "12").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"checkpoints/12 cannot be restored.*Delete that folder"):
        runs.run(config, workdir, stages=["embed"])


def test_stages_without_their_input_say_which_to_run(tiny_config, tmp_path):
    with pytest.raises(FileNotFoundError, match="Run --stage=train first"):
        runs.run(tiny_config, tmp_path / "a", stages=["embed"])
    with pytest.raises(FileNotFoundError, match="Run --stage=embed first"):
        runs.run(tiny_config, tmp_path / "b", stages=["evaluate"])
    with pytest.raises(FileNotFoundError, match="--stage=evaluate"):
        runs.run(tiny_config, tmp_path / "c", stages=["report"])


def test_an_embedding_set_beyond_the_end_is_refused(tiny_config, tmp_path):
    tiny_config.embed.epochs = (7.0,)
    with pytest.raises(ValueError, match=r"step 42 .*training ends at step 12"):
        runs.run(tiny_config, tmp_path / "run", stages=["train"])


def test_the_last_good_state_is_that_of_a_run_which_stops_before_the_failure(tiny_config, tmp_path):
    # Large steps without normalisation diverge after a few logging steps and a checkpoint.
    tiny_config.optimizer.name, tiny_config.optimizer.learning_rate = "sgd", 3e3
    tiny_config.optimizer.schedule, tiny_config.loss.normalize = "constant", False
    tiny_config.log.every_steps, tiny_config.checkpoint.every_steps = 2, 3
    tiny_config.embed.steps = ()
    with pytest.raises(NonFiniteLoss) as caught:
        runs.run(tiny_config, tmp_path / "failed", stages=["train"])
    step = int(str(caught.value).split("at step ")[1].split(".")[0])
    assert 3 < step < 12
    tiny_config.train.steps = step
    runs.run(tiny_config, tmp_path / "short", stages=["train"])
    states = []
    for name in ("failed", "short"):
        with Checkpoints(tmp_path / name / "checkpoints", read_only=True) as checkpoints:
            states.append(checkpoints.arrays(step))
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        # The short run ends on a logging step, which takes the metrics.
        if "metric" not in name:
            np.testing.assert_array_equal(array, states[1][name], err_msg=name)


def test_a_non_finite_loss_of_too_small_a_temperature_says_so(tiny_config, tmp_path):
    tiny_config.loss.temperature = 1e-39
    with pytest.raises(NonFiniteLoss, match=r"loss\.temperature = 1e-39"):
        runs.run(tiny_config, tmp_path / "run", stages=["train"])


def test_a_second_process_is_kept_out(tiny_config, tmp_path):
    workdir = tmp_path / "run"
    folder.claim(tiny_config, workdir)
    with (
        folder.lock(workdir),
        pytest.raises(ValueError, match="worked on by another process"),
    ):
        runs.run(tiny_config, workdir, stages=["train"])


def test_checkpoints_are_kept_as_asked_and_tensorboard_needs_no_tensorflow(tiny_config, tmp_path):
    """The newest, every so many steps, and those of embedding sets."""
    tiny_config.checkpoint.every_steps = 1
    tiny_config.checkpoint.keep_newest = 2
    tiny_config.checkpoint.keep_every_steps = 4
    tiny_config.log.tensorboard = True
    runs.run(tiny_config, tmp_path / "run", stages=["train"])
    kept = sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [0, 4, 6, 8, 11, 12]
    files = list((tmp_path / "run" / "tensorboard").rglob("events*"))
    assert {file.parent.name for file in files} == {"seed0", "seed1"}
    assert all(b"alignment" in file.read_bytes() for file in files)
    assert "tensorflow" not in sys.modules


def wait_for_steps(workdir, process, step):
    """Waits until metrics of `step` are on disk."""
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            return
        assert not process.has_ended, process.wait().stderr
        time.sleep(0.005)
    raise AssertionError(f"no step {step} within two minutes")


@pytest.fixture(scope="module")
def long_config_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "long.py"
    file.write_text(
        "from infonce_jax.config import default_config\n\n\n"
        "def get_config():\n"
        "    c = default_config()\n"
        "    c.seeds = (0, 1)\n"
        "    c.data.dim, c.data.train_size, c.data.test_size = 24, 96, 64\n"
        "    c.encoder.embedding_dim = 8\n"
        "    c.train.batch_size, c.train.steps = 16, 560\n"
        "    c.log.every_steps, c.checkpoint.every_steps = 20, 50\n"
        "    c.embed.steps = (300,)\n"
        "    return c\n"
    )
    return file


@pytest.fixture(scope="module")
def uninterrupted(long_config_file, tmp_path_factory):
    """A run from a shell that nothing stops."""
    workdir = tmp_path_factory.mktemp("long") / "run"
    environment = dict(os.environ, PYTHONPATH=str(ROOT), XLA_FLAGS="")
    # The others share a program; that this one's own gives the same bits is part of the claim.
    environment.pop("JAX_COMPILATION_CACHE_DIR")
    command = (f"--config={long_config_file}", f"--workdir={workdir}", "--stage=train")
    done = subprocess.run(
        [sys.executable, "launch.py", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return contents(workdir)


def test_kills_signals_and_the_same_command_again_give_the_same_bits(
    long_config_file, uninterrupted, start, tmp_path
):
    workdir = tmp_path / "run"
    command = (f"--config={long_config_file}", f"--workdir={workdir}", "--stage=train")
    saved, seconds = 0, []
    # Right after the start, between checkpoints, and by signals that save first.
    for number, step in (
        (signal.SIGKILL, 20),
        (signal.SIGTERM, 100),
        (signal.SIGKILL, 240),
        (signal.SIGINT, 380),
    ):
        process = start(*command, optimised=True)
        wait_for_steps(workdir, process, step)
        os.kill(process.pid, number)
        done = process.wait()
        assert not saved or f"resuming at step {saved}" in done.stderr
        saved = 0
        if number == signal.SIGKILL:
            assert done.returncode == -signal.SIGKILL
            continue
        assert done.returncode == 128 + number
        assert "The same command again continues it" in done.stderr
        saved = int(done.stderr.split("saved at step ")[1].split(".")[0])
        assert (workdir / "checkpoints" / str(saved)).is_dir()
        seconds.append(training_seconds(workdir))
    done = start(*command, optimised=True).wait(check=True)
    assert "resuming at step" in done.stderr
    # Every command that could say goodbye counts.
    assert 0 < seconds[0] < seconds[1] < training_seconds(workdir)
    assert contents(workdir) == uninterrupted


def test_a_run_of_one_device_goes_on_with_four(tiny_config_file, launch, tmp_path):
    options = (
        f"--config={tiny_config_file}",
        "--stage=train",
        "--config.checkpoint.every_steps=4",
        "--config.checkpoint.keep_newest=9",
    )
    workdir = tmp_path / "run"

    def losses():
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        return np.array([json.loads(line)["loss"] for line in lines])

    launch(*options, f"--workdir={workdir}", check=True)
    reference = losses()
    # As if it had been stopped after step 4.
    for step in (6, 8, 12):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    done = launch(*options, f"--workdir={workdir}", devices=4, check=True)
    assert "resuming at step 4" in done.stderr
    assert losses().shape == reference.shape
    np.testing.assert_allclose(losses(), reference, rtol=1e-5)
