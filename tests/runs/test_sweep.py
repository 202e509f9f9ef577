"""Sweeps: how they are written, and what becomes of them when runs fail, are killed, or compete."""

import csv
import io
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from infonce_jax import runs
from infonce_jax.runs import loop, sweep, variants
from infonce_jax.runs import shares as shares_lib
from tests.conftest import TINY


def test_combinators_make_the_points_they_say():
    dims = variants.grid({"encoder.embedding_dim": (4, 8), "train.batch_size": (16, 32)})
    assert [tuple(p.values()) for p in dims] == [(4, 16), (4, 32), (8, 16), (8, 32)]
    pairs = variants.zipped({"encoder.embedding_dim": (4, 8), "loss.temperature": (0.1, 0.2)})
    assert pairs[1] == {"encoder.embedding_dim": 8, "loss.temperature": 0.2}
    both = variants.product(pairs, [{"data.source": "laplace"}, {"data.source": "mixture"}])
    assert len(both) == 4 and both[3]["data.source"] == "mixture"
    assert variants.chain(dims, dims[:1], pairs) == dims + pairs


def test_scalars_that_may_be_lists_stay_within_one_run():
    points = variants.grid({"seeds": (0, 1), "loss.temperature": (0.1, 0.5), "data.dim": (8, 16)})
    assert points[0] == {"data.dim": 8, "seeds": (0, 1), "loss.temperature": (0.1, 0.5)}
    assert list(variants.named(points)) == ["dim=8", "dim=16"]


def test_names_stay_when_a_sweep_grows_and_are_fit_for_folders():
    few = variants.named(variants.grid({"data.dim": (8,)}))
    more = variants.named(variants.grid({"data.dim": (4, 8)}))
    assert set(few) < set(more)
    assert variants.name_of({"data.source": "a/b c", "loss.temperature": 0.25}) == (
        "source=a_b_c,temperature=0.25"
    )
    # A last part that two fields share does not tell them apart.
    assert variants.name_of({"data.seed": 1, "evaluate.seed": 2}) == "data.seed=1,evaluate.seed=2"
    assert len(variants.name_of({"data.path": "x" * 300})) < 150


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variants.grid({"data.dim": 8}), "give a list of values"),
        (lambda: variants.grid({"data.dim": ()}), "give a list of values"),
        (lambda: variants.zipped({"a": (1, 2), "b": (1,)}), "unequal length"),
        (lambda: variants.named([{"loss.temperature": (0.1,)}, {"seeds": (1,)}]), "two runs"),
        (lambda: variants.named([]), "makes no runs"),
        (lambda: variants.named({"a/b": {}}), "names a variant 'a/b'"),
        (lambda: variants.named(5), r"The sweep is 5; give fields with lists of values"),
        (lambda: variants.named("data.dim"), r"The sweep is 'data.dim'; give fields"),
        (lambda: variants.named([5]), r"The sweep is 5 for a run; give a mapping"),
        (lambda: variants.named({"a": {}, "b": 5}), r"The sweep is 5 for the run 'b'"),
        (lambda: variants.named({"data.dim": 5}), r"The axis 'data.dim' is 5; give a list"),
        (lambda: variants.named([{3: 4}]), r"The sweep is \{3: 4\}"),
        (lambda: shares_lib.share({"a": 1}, 2, 2), "less than the count"),
    ],
)
def test_impossible_sweeps_are_refused(unchecked_types, call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("train.batch_size", "x", "cannot be casted to type <class 'int'>"),
        ("train.batch_sizes", 4, 'Did you mean "batch_size"'),
        ("nowhere.at.all", 4, '"nowhere" was not found'),
    ],
)
def test_a_field_that_cannot_be_set_is_named_with_its_run(tiny_config, field, value, reason):
    with pytest.raises(ValueError) as caught:
        variants.variant_config(tiny_config, "narrow", {"data.dim": 8, field: value}, {})
    assert str(caught.value).startswith(
        f"The sweep sets {field} of the run 'narrow' to {value!r}: "
    )
    assert reason in str(caught.value)


def test_a_value_that_is_out_of_range_is_named_with_its_run(tiny_config, tmp_path):
    points = {"first": {}, "second": {"train.batch_size": 0}}
    message = "The run 'second' of the sweep: config.train.batch_size is 0"
    with pytest.raises(ValueError, match=message):
        next(sweep.dry_run(tiny_config, points, tmp_path))
    with pytest.raises(ValueError, match=message):
        sweep.run_sweep(tiny_config, points, tmp_path, stages=["train"])


def test_a_dry_run_tells_of_one_run_before_it_looks_at_the_next(tiny_config, tmp_path, monkeypatch):
    points = {name: {} for name in "abc"}
    seen = []
    monkeypatch.setattr(
        sweep.stages_lib,
        "dry_run",
        lambda config, *_, **__: seen.append(config.name) or config.name,
    )
    lines = sweep.dry_run(tiny_config, points, tmp_path, only=["b", "c"])
    assert next(lines) == "2 of 3 runs, 4 members in all"
    assert next(lines) == "b" and seen == ["b"]
    assert list(lines) == ["c"]
    assert list(sweep.dry_run(tiny_config, points, tmp_path, only=[])) == [
        "0 of 3 runs, 0 members in all"
    ]


def test_the_command_line_cannot_contradict_the_name_of_a_run(tiny_config):
    fields = {"encoder.embedding_dim": 4, "loss.temperature": (0.1, 0.5)}
    name = variants.name_of(fields)
    for allowed in ({"encoder.embedding_dim": 4}, {"loss.temperature": 0.2}, {"train.steps": 3}):
        variants.variant_config(tiny_config, name, fields, allowed)
    with pytest.raises(ValueError, match="embedding_dim=16 contradicts the run 'embedding_dim=4'"):
        variants.variant_config(tiny_config, name, fields, {"encoder.embedding_dim": 16})
    # A name of the file's own says nothing about fields.
    own = variants.variant_config(tiny_config, "narrow", fields, {"encoder.embedding_dim": 16})
    assert own.encoder.embedding_dim == 16


def test_a_sweep_may_depend_on_the_configuration(tiny_config_file, tiny_config):
    with tiny_config_file.open("a") as file:
        file.write(
            "\n\ndef sweep(config):\n"
            "    return [{'data.dim': d} for d in ((8, 16) if config.scale == 'full' else (8,))]\n"
        )
    assert list(variants.load_variants(tiny_config_file, tiny_config)) == ["dim=8"]
    tiny_config.scale = "full"
    assert list(variants.load_variants(tiny_config_file, tiny_config)) == ["dim=8", "dim=16"]


def test_shares_divide_the_runs():
    names = dict.fromkeys("abcde")
    shares = [list(shares_lib.share(names, i, 3)) for i in range(3)]
    assert shares == [["a", "d"], ["b", "e"], ["c"]]


def task(number, first=None, last=None, size=None):
    """The environment of a task of a Slurm array job."""
    values = {"ID": number, "MIN": first, "MAX": last, "COUNT": size}
    return {f"SLURM_ARRAY_TASK_{k}": str(v) for k, v in values.items() if v is not None}


def test_tasks_of_an_array_divide_a_sweep_and_some_can_be_submitted_again():
    assert shares_lib.array_share(task(7, 0, 7, 8)) == (7, 8)
    assert [shares_lib.array_share(task(i, 1, 3, 3), c) for i in (1, 2, 3) for c in (None, 3)] == [
        (i, 3) for i in (0, 1, 2) for _ in range(2)
    ]
    # Shares 3 and 5 of 8, 3 to 5 of 8, and where nothing but the number is known.
    assert [shares_lib.array_share(task(i, 3, 5, 2), 8) for i in (3, 5)] == [(3, 8), (5, 8)]
    assert [shares_lib.array_share(task(i, 3, 5, 3), 8) for i in (3, 4, 5)] == [
        (3, 8),
        (4, 8),
        (5, 8),
    ]
    assert shares_lib.array_share(task(3), 8) == (3, 8)


@pytest.mark.parametrize(
    ("environment", "count", "message"),
    [
        (task(5, 3, 5, 2), None, "TASK_ID is 5 in an array .* 3, 5, 2.* Give --sweep_count too"),
        (task(2, 0, 4, 3), None, "Give --sweep_count too"),
        (task(3, 3, 5), None, "3, 5, None.* Give --sweep_count too"),
        (task(8, 3, 8, 2), 8, "SLURM_ARRAY_TASK_ID is 8 and --sweep_count 8"),
    ],
)
def test_an_array_that_does_not_tell_the_share_is_refused(environment, count, message):
    with pytest.raises(ValueError, match=message):
        shares_lib.array_share(environment, count)


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory):
    """Three runs of two members each; after the first nothing is compiled anew."""
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    file.write_text(
        TINY + "\n\ndef sweep():\n"
        "    from infonce_jax.runs import grid\n"
        "    return grid({'data.seed': (0, 1, 2), 'seeds': (3,),\n"
        "                 'loss.temperature': (0.2, 0.5)})\n"
    )
    return file


def sets_written(stderr):
    """Training's own lines, per run."""
    names = [line.split()[0] for line in stderr.splitlines() if "embedding set written" in line]
    return {name: names.count(name) for name in names}


RUNS = [f"seed={seed}" for seed in range(3)]


@pytest.fixture(scope="module")
def finished(sweep_file, launch, tmp_path_factory):
    """A sweep carried out without a disturbance."""
    workdir = tmp_path_factory.mktemp("sweep") / "undisturbed"
    done = launch(f"--config={sweep_file}", f"--workdir={workdir}", check=True)
    assert sets_written(done.stderr) == dict.fromkeys(RUNS, 3)
    return workdir


def test_a_sweep_in_python_gives_the_table_back(finished, tiny_config, capsys):
    axes = {"data.seed": range(3), "seeds": (3,), "loss.temperature": np.array([0.2, 0.5])}
    # All is done already, by launch.py on the same grid.
    rows = runs.run_sweep(tiny_config, axes, str(finished))
    assert "AD" in capsys.readouterr().out
    expected = list(csv.DictReader((finished / "sweep.csv").read_text().splitlines()))
    assert [{k: str(v) for k, v in row.items()} for row in rows] == expected
    assert [row["config.data.seed"] for row in rows] == [0, 0, 1, 1, 2, 2]


def test_a_sweep_in_python_that_fails_has_the_rows_of_the_others(tiny_config, tmp_path):
    wild = {"optimizer.learning_rate": 1e30, "optimizer.name": "sgd", "encoder.name": "mlp"}
    with pytest.raises(sweep.SweepFailed, match="1 of 2 runs failed") as caught:
        runs.run_sweep(tiny_config, {"wild": wild, "tame": {}}, tmp_path)
    assert [(row["run"], row["seed"]) for row in caught.value.rows] == [("tame", 0), ("tame", 1)]


def test_kills_competition_and_shares_end_in_the_table_of_an_undisturbed_sweep(
    sweep_file, finished, launch, start, tmp_path
):
    expected = (finished / "sweep.csv").read_text()
    rows = list(csv.DictReader(expected.splitlines()))
    assert [row["run"] for row in rows] == [name for name in RUNS for _ in range(2)]
    assert {row["config.loss.temperature"] for row in rows} == {"0.2", "0.5"}
    assert all(float(row["raw.ad_mean"]) > 0 and float(row["metric.loss"]) > 0 for row in rows)
    table = pyarrow.parquet.read_table(finished / "sweep.parquet").to_pylist()
    assert [row["metric.loss"] for row in table] == [float(row["metric.loss"]) for row in rows]

    # A finished sweep has nothing to do, and says so by doing it fast and leaving the files alone.
    before = (finished / RUNS[0] / "evaluation.json").stat().st_mtime_ns
    again = launch(f"--config={sweep_file}", f"--workdir={finished}", check=True)
    assert sets_written(again.stderr) == {}
    assert (finished / RUNS[0] / "evaluation.json").stat().st_mtime_ns == before

    # One process is killed within its second run; then two go on at once.
    workdir = tmp_path / "disturbed"
    arguments = (f"--config={sweep_file}", f"--workdir={workdir}")
    victim = start(*arguments)
    while not (workdir / RUNS[1] / "metrics.jsonl").exists():
        assert not victim.has_ended, victim.wait().stderr
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    pair = [start(*arguments) for _ in range(2)]
    one, other = (sets_written(process.wait(check=True).stderr) for process in pair)
    assert not set(one) & set(other)
    assert RUNS[0] not in {**one, **other}
    assert (workdir / "sweep.csv").read_text() == expected


FULL_DISK = """
import errno, os
import numpy

save, room = numpy.save, [26]


def save_while_there_is_room(file, *arguments, **options):
    room[0] -= 1
    if room[0] < 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    save(file, *arguments, **options)


numpy.save = save_while_there_is_room
"""


def test_a_full_disk_costs_the_run_in_flight_and_the_same_command_goes_on(
    sweep_file, finished, launch, start, tmp_path
):
    # Two members with three views in three sets: the second run stops in its second set.
    workdir = tmp_path / "disturbed"
    arguments = (f"--config={sweep_file}", f"--workdir={workdir}")
    stopped = start(*arguments, before=FULL_DISK).wait()
    errors = stopped.stderr
    assert stopped.returncode == 2, errors
    assert errors.count("error: ") == 1 and "Traceback" not in errors
    assert "The disk is full" in errors and "No space left on device" in errors
    assert "the same command goes on" in errors
    assert [run for run in RUNS if (workdir / run / "evaluation.json").exists()] == RUNS[:1]
    again = launch(*arguments, check=True)
    assert RUNS[0] not in sets_written(again.stderr)
    assert (workdir / "sweep.csv").read_text() == (finished / "sweep.csv").read_text()


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_counts_runs_and_names_those_that_fail(is_terminal, monkeypatch):
    stream = Stream(is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)

    def attempt(name):
        if name == "c":
            raise ValueError("too wild")
        # The first was there already.
        return name != "a"

    assert sweep._do_all("abcd", attempt) == {"c": "too wild"}
    shown = stream.getvalue()
    assert "[3/4] c  failed: too wild" in shown
    assert ("runs: 100%" in shown and "4/4" in shown) == is_terminal
    assert ("[2/4] b  done  0:00:00 left" in shown) != is_terminal
    assert "[1/4] a" not in shown


def test_a_failed_run_is_named_the_others_go_on_and_it_is_tried_again(
    tiny_config_file, launch, tmp_path
):
    with tiny_config_file.open("a") as file:
        file.write(
            "\n\ndef sweep():\n"
            "    wild = {'optimizer.learning_rate': 1e30, 'optimizer.name': 'sgd',\n"
            "            'encoder.name': 'mlp'}\n"
            "    return {'wild': wild, 'tame': {'encoder.embedding_dim': 4, 'report.title': 'Tame'}}\n"
        )
    workdir = tmp_path / "sweep"
    done = launch(f"--config={tiny_config_file}", f"--workdir={workdir}")
    assert done.returncode == 2
    assert "1 of 2 runs failed (wild: The loss" in done.stderr.replace("gradient", "loss")
    # The run's own advice and the sweep's agree.
    assert f"and delete {workdir / 'wild'} or choose another" in done.stderr
    assert f"change it and delete the run's folder ({workdir / 'wild'})" in done.stderr
    assert list(json.loads((workdir / "failed.json").read_text())) == ["wild"]
    rows = list(csv.DictReader((workdir / "sweep.csv").read_text().splitlines()))
    assert {row["run"] for row in rows} == {"tame"}
    assert "Tame" in (workdir / "report.html").read_text()
    # The other variant has not touched what the two have in common.
    config = json.loads((workdir / "tame" / "config.json").read_text())
    assert config["encoder"]["name"] == "linear" and config["optimizer"]["name"] == "adam"
    again = launch(f"--config={tiny_config_file}", f"--workdir={workdir}", "--stage=train")
    assert again.returncode == 2 and "wild: The" in again.stderr
    # With the field changed the folder has to go, as was said.
    mended = tiny_config_file.read_text().replace("1e30", "1e-3")
    tiny_config_file.write_text(mended)
    kept = launch(f"--config={tiny_config_file}", f"--workdir={workdir}")
    assert kept.returncode == 2
    assert "The run 'wild' of the sweep" in kept.stderr and "delete that folder" in kept.stderr
    shutil.rmtree(workdir / "wild")
    launch(f"--config={tiny_config_file}", f"--workdir={workdir}", check=True)
    assert not (workdir / "failed.json").exists()


def test_jobs_of_a_scheduler_share_a_sweep(sweep_file, launch, tmp_path):
    workdir = tmp_path / "sweep"
    done = launch(
        f"--config={sweep_file}",
        f"--workdir={workdir}",
        "--submitit=local",
        "--sweep_count=2",
        '--submitit_options={"timeout_min": 5}',
        "--config.report.title=Shared",
        check=True,
    )
    assert "share 1" in done.stderr
    rows = list(csv.DictReader((workdir / "sweep.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert {row["config.report.title"] for row in rows} == {"Shared"}


def test_runs_that_fail_in_jobs_and_jobs_that_die_fail_the_sweep(
    tiny_config_file, launch, tmp_path
):
    with tiny_config_file.open("a") as file:
        file.write(
            "\n\ndef sweep():\n"
            "    import os, sys\n"
            "    if '--sweep_index=1' in sys.argv:\n"
            "        os._exit(9)\n"
            "    wild = {'optimizer.learning_rate': 1e30, 'optimizer.name': 'sgd',\n"
            "            'encoder.name': 'mlp'}\n"
            "    return {'wild': wild, 'never': {}, 'tame': {'encoder.embedding_dim': 4}}\n"
        )
    workdir = tmp_path / "sweep"
    # What an earlier call left is not taken for what becomes of this one.
    (workdir / "never").mkdir(parents=True)
    (workdir / "failed.json").write_text('{"never": "an earlier reason"}')
    done = launch(
        f"--config={tiny_config_file}",
        f"--workdir={workdir}",
        "-submitit=local",
        "--sweep_count",
        "2",
        "--submitit_options",
        '{"timeout_min": 5}',
    )
    assert done.returncode == 2, done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: 1 of 3 runs failed (wild: The ")
    assert "Failed jobs: share 0 (log " in error and "share 1 (log " in error
    assert "1 of 3 runs are finished and gathered." in error
    logs = [Path(log) for log in re.findall(r"\(log (.*?)\)", error)]
    assert ["exit code 9" in log.read_text() for log in logs] == [False, True]
    assert list(json.loads((workdir / "failed.json").read_text())) == ["wild"]
    rows = list(csv.DictReader((workdir / "sweep.csv").read_text().splitlines()))
    assert {row["run"] for row in rows} == {"tame"}


def test_a_signal_while_a_runs_last_set_is_written_ends_the_sweep(
    tiny_config, tmp_path, monkeypatch
):
    write_set = loop.write_set

    def signalled(run, state):
        write_set(run, state)
        if int(state.step) == tiny_config.train.steps:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "write_set", signalled)
    tiny_config.train.steps = 12
    points = {"data.seed": (0, 1)}
    with pytest.raises(loop.Interrupted):
        runs.run_sweep(tiny_config, points, tmp_path, stages=("train",))
    assert (tmp_path / "seed=0" / "checkpoints" / "12").is_dir()
    assert not (tmp_path / "seed=1" / "checkpoints").exists()
    # The same call again finds the first run done, and goes on.
    monkeypatch.setattr(loop, "write_set", write_set)
    runs.run_sweep(tiny_config, points, tmp_path, stages=("train",))
    assert (tmp_path / "seed=1" / "checkpoints" / "12").is_dir()
