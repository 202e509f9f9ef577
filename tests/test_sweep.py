"""Sweeps: how they are written, and what becomes of them when runs fail, are killed, or compete."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

from infonce_jax import sweep
from tests.conftest import ROOT, TINY


def test_combinators_make_the_points_they_say():
    dims = sweep.grid({"encoder.embedding_dim": (4, 8), "train.batch_size": (16, 32)})
    assert [tuple(p.values()) for p in dims] == [(4, 16), (4, 32), (8, 16), (8, 32)]
    pairs = sweep.zipped({"encoder.embedding_dim": (4, 8), "loss.temperature": (0.1, 0.2)})
    assert pairs[1] == {"encoder.embedding_dim": 8, "loss.temperature": 0.2}
    both = sweep.product(pairs, [{"data.source": "laplace"}, {"data.source": "mixture"}])
    assert len(both) == 4 and both[3]["data.source"] == "mixture"
    assert sweep.chain(dims, dims[:1], pairs) == dims + pairs


def test_scalars_that_may_be_lists_stay_within_one_run():
    points = sweep.grid({"seeds": (0, 1), "loss.temperature": (0.1, 0.5), "data.dim": (8, 16)})
    assert points[0] == {"data.dim": 8, "seeds": (0, 1), "loss.temperature": (0.1, 0.5)}
    assert list(sweep.named(points)) == ["dim=8", "dim=16"]


def test_names_stay_when_a_sweep_grows_and_are_fit_for_folders():
    few = sweep.named(sweep.grid({"data.dim": (8,)}))
    more = sweep.named(sweep.grid({"data.dim": (4, 8)}))
    assert set(few) < set(more)
    assert sweep.name_of({"data.source": "a/b c", "loss.temperature": 0.25}) == (
        "source=a_b_c,temperature=0.25"
    )
    # A last part that two fields share does not tell them apart.
    assert sweep.name_of({"data.seed": 1, "evaluate.seed": 2}) == "data.seed=1,evaluate.seed=2"
    assert len(sweep.name_of({"data.path": "x" * 300})) < 150


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sweep.grid({"data.dim": 8}), "give a list of values"),
        (lambda: sweep.grid({"data.dim": ()}), "give a list of values"),
        (lambda: sweep.zipped({"a": (1, 2), "b": (1,)}), "unequal length"),
        (lambda: sweep.named([{"loss.temperature": (0.1,)}, {"seeds": (1,)}]), "two runs"),
        (lambda: sweep.named([]), "makes no runs"),
        (lambda: sweep.named({"a/b": {}}), "names a variant 'a/b'"),
        (lambda: sweep.share({"a": 1}, 2, 2), "less than the count"),
    ],
)
        (lambda: sweep.named(5), r"sweep\(\) returns 5; return a list"),
        (lambda: sweep.named([5]), r"sweep\(\) returns 5 for a run; give a mapping"),
        (lambda: sweep.named({"a": 5}), r"sweep\(\) returns 5 for the run 'a'"),
        (lambda: sweep.named([{3: 4}]), r"sweep\(\) returns \{3: 4\}"),
def test_impossible_sweeps_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_the_command_line_cannot_contradict_the_name_of_a_run(tiny_config):
    fields = {"encoder.embedding_dim": 4, "loss.temperature": (0.1, 0.5)}
    name = sweep.name_of(fields)
    for allowed in ({"encoder.embedding_dim": 4}, {"loss.temperature": 0.2}, {"train.steps": 3}):
        sweep.variant_config(tiny_config, name, fields, allowed)
    with pytest.raises(ValueError, match="embedding_dim=16 contradicts the run 'embedding_dim=4'"):
        sweep.variant_config(tiny_config, name, fields, {"encoder.embedding_dim": 16})
    # A name of the file's own says nothing about fields.
    own = sweep.variant_config(tiny_config, "narrow", fields, {"encoder.embedding_dim": 16})
    assert own.encoder.embedding_dim == 16


def test_a_sweep_may_depend_on_the_configuration(tiny_config_file, tiny_config):
    with tiny_config_file.open("a") as file:
        file.write(
            "\n\ndef sweep(config):\n"
            "    return [{'data.dim': d} for d in ((8, 16) if config.scale == 'full' else (8,))]\n"
        )
    assert list(sweep.load_variants(tiny_config_file, tiny_config)) == ["dim=8"]
    tiny_config.scale = "full"
    assert list(sweep.load_variants(tiny_config_file, tiny_config)) == ["dim=8", "dim=16"]


def test_shares_divide_the_runs():
    runs = dict.fromkeys("abcde")
    shares = [list(sweep.share(runs, i, 3)) for i in range(3)]
    assert shares == [["a", "d"], ["b", "e"], ["c"]]


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory):
    """Three runs of two members each; after the first nothing is compiled anew."""
    file = tmp_path_factory.mktemp("config") / "tiny.py"
    file.write_text(
        TINY + "\n\ndef sweep():\n"
        "    from infonce_jax.sweep import grid\n"
        "    return grid({'data.seed': (0, 1, 2), 'seeds': (3,),\n"
        "                 'loss.temperature': (0.2, 0.5)})\n"
    )
    return file


def start(*arguments, program=ROOT / "launch.py"):
    return subprocess.Popen(
        [sys.executable, str(program), *map(str, arguments)],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def test_kills_competition_and_shares_end_in_the_table_of_an_undisturbed_sweep(
    sweep_file, finished, launch, tmp_path
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
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    pair = [start(*arguments) for _ in range(2)]
    outputs = [process.communicate(timeout=200)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    one, other = map(sets_written, outputs)
    assert not set(one) & set(other)
    assert RUNS[0] not in {**one, **other}
    assert (workdir / "sweep.csv").read_text() == expected


FULL_DISK = """
import errno, os, runpy, sys
import numpy

save, room = numpy.save, [26]


def save_while_there_is_room(file, *arguments, **options):
    room[0] -= 1
    if room[0] < 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    save(file, *arguments, **options)


numpy.save = save_while_there_is_room
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk_costs_the_run_in_flight_and_the_same_command_goes_on(
    sweep_file, finished, launch, tmp_path
):
    # Two members with three views in three sets: the second run stops in its second set.
    program, workdir = tmp_path / "full_disk.py", tmp_path / "disturbed"
    program.write_text(FULL_DISK)
    arguments = (f"--config={sweep_file}", f"--workdir={workdir}")
    stopped = start(ROOT / "launch.py", *arguments, program=program)
    errors = stopped.communicate(timeout=200)[1]
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
    assert list(json.loads((workdir / "failed.json").read_text())) == ["wild"]
    rows = list(csv.DictReader((workdir / "sweep.csv").read_text().splitlines()))
    assert {row["run"] for row in rows} == {"tame"}
    assert "Tame" in (workdir / "report.html").read_text()
    # The other variant has not touched what the two have in common.
    config = json.loads((workdir / "tame" / "config.json").read_text())
    assert config["encoder"]["name"] == "linear" and config["optimizer"]["name"] == "adam"
    again = launch(f"--config={tiny_config_file}", f"--workdir={workdir}", "--stage=train")
    assert again.returncode == 2 and "wild: The" in again.stderr


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
