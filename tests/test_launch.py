"""launch.py as a user sees it: what it prints, what it refuses, and with which exit code."""

import json
import os

import numpy as np
import pytest
from PIL import Image

SWEEP = "--config=configs/paper/table1_synthetic.py"


def test_stages_can_be_run_one_by_one_and_end_in_a_report(tiny_config_file, launch, tmp_path):
    workdir = tmp_path / "run"
    for stage in ("train", "embed", "evaluate", "report"):
        done = launch(f"--config={tiny_config_file}", f"--workdir={workdir}", f"--stage={stage}")
        assert done.returncode == 0, done.stderr
    assert "AD average" in done.stdout
    assert (workdir / "report.html").exists()
    command = json.loads((workdir / "run.json").read_text())["command"]
    assert f"--workdir={workdir}" in command


def test_dry_run_tells_what_would_happen_and_writes_nothing(tiny_config_file, launch, tmp_path):
    workdir = tmp_path / "run"
    done = launch(
        f"--config={tiny_config_file}",
        f"--workdir={workdir}",
        "--dry_run",
        "--config.train.steps=9",
    )
    assert done.returncode == 0, done.stderr
    assert "steps: 9 (1.5 epochs of 6 steps)" in done.stdout
    # A weight for each input and a bias, for each of 8 outputs.
    assert "parameters: 200 per member" in done.stdout
    assert "embedding sets at steps: 0, 6, 9" in done.stdout
    assert "temporaries" in done.stdout
    assert "config.channel.name = 'gaussian_noise'" in done.stdout
    assert not workdir.exists()


def test_dry_run_of_a_sweep_counts_its_runs_and_shows_what_tells_them_apart(
    tiny_config_file, launch, tmp_path
):
    with tiny_config_file.open("a") as file:
        file.write("\n\ndef sweep():\n    return [{'encoder.embedding_dim': d} for d in (4, 8)]\n")
    done = launch(f"--config={tiny_config_file}", f"--workdir={tmp_path / 'run'}", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 runs, 4 members in all\n")
    first, second = done.stdout.split("# ")[1:]
    assert "config.data.source = 'laplace'" in first and "data.source" not in second
    assert "config.encoder.embedding_dim = 8\n" in second
    done = launch(
        f"--config={tiny_config_file}",
        f"--workdir={tmp_path / 'run'}",
        "--dry_run",
        "--sweep_index=1",
        "--sweep_count=2",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 of 2 runs, 2 members in all\n")
    assert "embedding_dim=8\n" in done.stdout and "embedding_dim=4\n" not in done.stdout
    done = launch(
        f"--config={tiny_config_file}",
        f"--workdir={tmp_path / 'run'}",
        "--dry_run",
        "--sweep_index=5",
        "--sweep_count=8",
    )
    assert "Share 5 of 8 has no run to do: the sweep has 2 runs." in done.stderr
    assert done.returncode == 0 and "embedding_dim" not in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_sweep_or_of_a_run_is_refused(tiny_config_file, launch, tmp_path):
    # The default configuration is a sweep; the folder is of something else.
    for folder, held in (("run", "a single run"), ("run/wide", "another sweep (wide)")):
        workdir = tmp_path / held.split()[0]
        (workdir / folder).mkdir(parents=True)
        (workdir / folder / "config.json").write_text("{}")
        done = launch(f"--workdir={workdir / 'run'}", "--stage=report")
        assert done.returncode == 2
        assert f"holds {held}, and this configuration is a sweep of laplace" in done.stderr
        assert len(list(workdir.rglob("*"))) <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.train.stepz=5"], 'Did you mean "steps"'),
        (
            ["--config.loss.temperature=0"],
            "config.loss.temperature is 0; it must be greater than 0",
        ),
        (["--config.data.source=laplas"], "binary, gaussian, laplace, mixture, sphere"),
        (["--config.encoder.name=resnet19"], "resnet18"),
        (["--config.optimizer.name=adamm"], "adamw"),
        (["--config.train.batch_size=97"], "training set has 96 rows"),
        (["--config.encoder.name=vit"], "image"),
        (["--config.train.devices=2"], "this machine has 1"),
        (["--stage=trane"], "train|embed|evaluate|report"),
        (["--sweep"], "defines no sweep()"),
        (["--submitit=local", "--sweep_count=2"], "--submitit divides a sweep, but"),
        (["--sweep_index=0", "--sweep_count=2"], "so there is a single run"),
        ([SWEEP, "--nosweep", "--sweep_count=2"], "--sweep_count divides a sweep, but --nosweep"),
        ([SWEEP, "--sweep_index=0"], "--sweep_index and --sweep_count go together"),
        ([SWEEP, "--submitit=local", "--sweep_count=0"], "at least 1; it is 0"),
        ([SWEEP, "--submitit=local"], "--submitit needs --sweep_count"),
        (
            # As a job would get it whose --submitit comes from a --flagfile.
            [SWEEP, "--submitit=local", "--sweep_count=2", "--sweep_index=0", "--sweep_count=2"],
            "--sweep_index takes one",
        ),
        (["--process_id=0"], "--coordinator, --num_processes and --process_id go together"),
        (
            ["--coordinator=host", "--num_processes=2", "--process_id=0"],
            "--coordinator is 'host'; give host:port",
        ),
        (
            ["--coordinator=host:1", "--num_processes=2", "--process_id=2"],
            "--process_id is 2 and --num_processes 2",
        ),
        (
            ["--coordinator=host:1", "--num_processes=2", "--process_id=0", "--nojoin"],
            "--nojoin contradicts --coordinator",
        ),
        (["surplus"], "Unexpected argument 'surplus'"),
        (["--config=nowhere.py"], "nowhere.py"),
    ],
)
def test_bad_input_is_one_paragraph_and_exit_code_2(
    tiny_config_file, launch, tmp_path, arguments, message
):
    workdir = tmp_path / "run"
    done = launch(f"--config={tiny_config_file}", f"--workdir={workdir}", *arguments)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr


def test_nan_in_an_input_array_is_counted_and_placed(tiny_config_file, launch, tmp_path):
    rows = np.ones((80, 5))
    rows[7, 2] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    done = launch(
        f"--config={tiny_config_file}",
        f"--workdir={tmp_path / 'run'}",
        "--config.data.source=array",
        f"--config.data.path={tmp_path / 'rows.npy'}",
    )
    assert done.returncode == 2
    assert "1 NaN or infinite values, the first at row 7, column 2" in done.stderr


def test_cifar10_that_is_not_prepared_names_setting_and_remedy(launch, tmp_path):
    done = launch(
        "--config=configs/cifar10_mlp.py",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.data_dir={tmp_path / 'empty'}",
        f"--config.data.cache_dir={tmp_path / 'cache'}",
    )
    assert done.returncode == 2
    assert "config.data.data_dir" in done.stderr
    assert "python -m infonce_jax.data.cifar10" in done.stderr


def test_a_non_finite_loss_ends_with_exit_code_2_and_names_step_field_and_checkpoint(
    tiny_config_file, launch, tmp_path
):
    workdir = tmp_path / "run"
    done = launch(
        f"--config={tiny_config_file}",
        f"--workdir={workdir}",
        "--config.optimizer.name=sgd",
        "--config.optimizer.learning_rate=1e30",
        "--config.encoder.name=mlp",
    )
    assert done.returncode == 2
    assert "config.optimizer.learning_rate = 1e+30" in done.stderr
    step = int(done.stderr.split("not finite at step ")[1].split(".")[0])
    assert f"checkpoints/{step}" in done.stderr
    assert (workdir / "checkpoints" / str(step)).is_dir()


PARTS = """\
def channel(key, x): return x
def pairwise(z1, z2): return z1 @ z2.T
def statistic(): return 0.0
number = 3
"""

# As where the permissions do not let a user read a folder: they do not hold for root.
LOCK = """\
import os
scan = os.scandir
def refuse(path="."):
    if str(path).endswith("locked"):
        raise PermissionError(13, "Permission denied", str(path))
    return scan(path)
os.scandir = refuse
"""


@pytest.fixture(scope="module")
def at_fault(tmp_path_factory):
    """A folder of data that cannot be read, and of parts that do not fit."""
    root = tmp_path_factory.mktemp("at_fault")
    (root / "fault_parts.py").write_text(PARTS)
    (root / "broken_parts.py").write_text("1 / 0\n")
    (root / "file.txt").write_text("no folder")
    (root / "empty").mkdir()
    (root / "pictures" / "locked").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(root / "pictures" / "locked" / "a.png")
    (root / "pictures" / "locked").chmod(0)
    for name, described in (("records", '{"fileFormat": "tfrecord"}'), ("damaged", "{")):
        folder = root / "tfds" / name / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text(described)
        (folder / "features.json").write_text("{}")
    (root / "tfds" / "unprepared" / "1.0.0").mkdir(parents=True)
    yield root
    (root / "pictures" / "locked").chmod(0o700)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.source", "nowhere", "config.data.source is 'nowhere'; it must be one of binary,"),
        ("data.source", "tfds:nothing", "holds no prepared dataset (prepared in {root}/tfds: "),
        ("data.source", "tfds:unprepared", "Prepare it with tensorflow_datasets"),
        ("data.source", "tfds:records", "is stored as tfrecord, which TFDS cannot read without"),
        ("data.source", "tfds:damaged", "{root}/tfds/damaged/1.0.0 cannot be read (JSONDecodeErro"),
        ("data.source", "hf:some/name", "which needs the library datasets: run `pip install"),
        ("data.source", "folder:{root}/nowhere", "{root}/nowhere is not a folder"),
        ("data.source", "folder:{root}/file.txt", "{root}/file.txt is not a folder"),
        ("data.source", "folder:{root}/empty", "{root}/empty holds no images"),
        ("data.source", "folder:{root}/pictures", "{root}/pictures/locked cannot be read"),
        ("data.source", "nothing_parts:f", "there is no module 'nothing_parts'"),
        ("data.source", "broken_parts:f", "broken_parts.py, line 1: ZeroDivisionError"),
        ("data.source", "fault_parts:channel", "channel(key, x) does not fit"),
        ("channel.name", "fault_parts:channel", "it is called with (key, x, strength)"),
        ("encoder.name", "fault_parts:Net", "defines no 'Net'; it defines channel, pairwise"),
        ("encoder.name", "fault_parts:number", "which is a int; it must be a function"),
        ("objective", "fault_parts:statistic", "statistic() does not fit"),
        ("objective", "fault_parts:pairwise", "one number"),
        ("loss.regulariser", "fault_parts:statistic", "statistic() does not fit"),
        ("optimizer.name", "fault_parts:number", "which is a int"),
        ("evaluate.statistics", "('fault_parts:statistic',)", "statistic() does not fit"),
    ],
)
def test_bad_data_and_parts_are_one_paragraph_and_exit_code_2(
    at_fault, tiny_config_file, start, tmp_path, field, value, message
):
    config_file = at_fault / "tiny.py"
    config_file.write_text(tiny_config_file.read_text())
    done = start(
        f"--config={config_file}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.{field}={value.format(root=at_fault)}",
        f"--config.data.data_dir={at_fault / 'tfds'}",
        f"--config.data.cache_dir={tmp_path / 'cache'}",
        "--config.loss.beta=0.5",
        before=LOCK if os.geteuid() == 0 else "",
    ).wait()
    assert done.returncode == 2, done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    assert message.format(root=at_fault) in errors[0]
    assert not (tmp_path / "run" / "embeddings").exists()
