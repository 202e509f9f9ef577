import csv
import json
import math
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.stats

from infonce_jax import embeddings
from infonce_jax.evaluation import (
    duplicate_coordinates,
    evaluate_arrays,
    evaluate_paths,
    format_table,
    summarise,
    univariate,
    write,
)
from infonce_jax.evaluation.__main__ import main
from infonce_jax.evaluation.rows import COLUMNS, SUMMARY_COLUMNS
from infonce_jax.evaluation.table import format_comparison

RNG = np.random.default_rng(0)
Z = RNG.standard_t(8, (1200, 6)).astype(np.float32) + 0.5
VIEW = Z + 0.3 * RNG.standard_normal(Z.shape).astype(np.float32)


def _value(rows, statistic, representation="raw", n=None, **identity):
    found = [
        row["value"]
        for row in rows
        if (row["statistic"], row["representation"]) == (statistic, representation)
        and n in (None, row["n"])
        and all(row[k] == v for k, v in identity.items())
    ]
    assert len(found) == 1, (statistic, representation, n, found)
    return found[0]


def _with(value, row, column):
    x = Z.copy()
    x[row, column] = value
    return x


def _scipy_values(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a2 = np.array([scipy.stats.anderson(c, "norm").statistic for c in x.T])
    p = scipy.stats.normaltest(x, axis=0).pvalue
    modified = a2 * (1 + 0.75 / len(x) + 2.25 / len(x) ** 2)
    return {
        "ad_mean": a2.mean(),
        "ad_pass": np.mean(modified < 0.752),
        "dp_mean_p": p.mean(),
        "dp_pass": np.mean(p > 0.05),
    }


def test_rows_hold_scipys_numbers_at_every_size_and_representation():
    rows = evaluate_arrays(Z, Z, VIEW, sample_sizes=(250, 1000, "all"), seed=5)
    order = np.random.default_rng(5).permutation(len(Z))
    for n in (250, 1000, 1200):
        z = Z[order[:n]].astype(np.float64)
        u = z / np.linalg.norm(z, axis=1, keepdims=True)
        for representation, x in (("raw", z), ("normalized", u)):
            for statistic, expected in _scipy_values(x).items():
                found = _value(rows, statistic, representation, n)
                assert found == pytest.approx(expected, rel=1e-8), (statistic, n)
        norms = np.linalg.norm(z, axis=1)
        assert _value(rows, "norm_cv", n=n) == pytest.approx(norms.std() / norms.mean())
        cosines = (u @ u.T)[~np.eye(n, dtype=bool)]
        v = VIEW[order[:n]].astype(np.float64)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        for representation in ("raw", "normalized"):
            at = (representation, n)
            assert _value(rows, "alignment", *at) == pytest.approx(np.mean(np.sum(u * v, axis=1)))
            assert _value(rows, "negative_cosine_mean", *at) == pytest.approx(cosines.mean())
            assert _value(rows, "negative_cosine_std", *at) == pytest.approx(cosines.std())
            resultant = np.linalg.norm(u.mean(axis=0))
            assert _value(rows, "mean_resultant", *at) == pytest.approx(resultant)
    assert not [r for r in rows if r["statistic"] == "norm_cv" and r["representation"] != "raw"]
    ratio = _value(rows, "participation_ratio", n=1200)
    assert _value(rows, "norm_cv_gaussian", n=1200) == pytest.approx(1 / math.sqrt(2 * ratio))


def test_rows_are_tidy():
    rows = evaluate_arrays(Z, sample_sizes=(250, 500))
    assert all(tuple(row) == COLUMNS for row in rows)
    keys = [(r["representation"], r["n"], r["statistic"]) for r in rows]
    assert len(set(keys)) == len(keys)
    assert {r["dim"] for r in rows} == {6}
    assert "alignment" not in {r["statistic"] for r in rows}


def test_default_sizes_end_with_all_rows_and_repeat_none():
    def sizes(z, **options):
        return sorted({row["n"] for row in evaluate_arrays(z, **options)})

    assert sizes(Z) == [250, 500, 1000, 1200]
    assert sizes(Z[:1000]) == [250, 500, 1000]
    assert sizes(Z[:9]) == [9]
    assert sizes(Z, sample_sizes=(8, 5000)) == [8]


def test_a_file_sorted_by_class_is_sampled_from_all_classes():
    by_class = np.repeat(np.arange(10.0), 200)[:, None] + RNG.standard_normal((2000, 4))
    rows = evaluate_arrays(by_class, sample_sizes=(500, "all"))
    whole, part = (_value(rows, "mean_resultant", n=n) for n in (2000, 500))
    assert part == pytest.approx(whole, abs=0.05)


def test_samples_depend_on_the_seed_and_on_nothing_else():
    first, again, other = (evaluate_arrays(Z, sample_sizes=(250, "all"), seed=s) for s in (1, 1, 2))
    assert first == again
    assert _value(first, "ad_mean", n=250) != _value(other, "ad_mean", n=250)
    assert _value(first, "ad_mean", n=1200) == _value(other, "ad_mean", n=1200)


def test_constant_coordinates_are_left_out_and_counted():
    padded = np.insert(Z, [0, 3], 0.25, axis=1)
    rows, expected = (evaluate_arrays(z, sample_sizes=("all",)) for z in (padded, Z))
    assert _value(rows, "constant_coordinates") == 2
    assert _value(expected, "constant_coordinates") == 0
    for statistic in ("ad_mean", "ad_pass", "dp_mean_p", "dp_pass", "participation_ratio"):
        assert _value(rows, statistic) == pytest.approx(_value(expected, statistic), rel=1e-10)
    nothing_left = evaluate_arrays(np.full((20, 2), 0.5), sample_sizes=("all",))
    assert math.isnan(_value(nothing_left, "ad_mean"))
    assert math.isnan(_value(nothing_left, "dp_pass"))
    assert _value(nothing_left, "constant_coordinates") == 2


def test_zero_rows_are_counted_and_left_out_of_the_normalised():
    padded = np.insert(Z, [0, 700], 0.0, axis=0)
    rows, expected = (evaluate_arrays(z, sample_sizes=("all",)) for z in (padded, Z))
    assert _value(rows, "zero_rows") == 2
    for statistic in ("ad_mean", "dp_mean_p", "negative_cosine_std", "mean_resultant"):
        found = _value(rows, statistic, "normalized")
        assert found == pytest.approx(_value(expected, statistic, "normalized"), rel=1e-10)
    sparse = np.zeros((50, 3))
    sparse[:5] = Z[:5, :3]
    with pytest.raises(ValueError, match="5 rows that are not all zeros in a sample of 50"):
        evaluate_arrays(sparse)
    assert _value(evaluate_arrays(sparse, representations=["raw"]), "zero_rows") == 45


def test_other_representations_find_what_hides_from_the_coordinates():
    rng = np.random.default_rng(5)
    hidden = rng.standard_normal((3000, 8))
    hidden[:, 0] = 6 * np.sign(hidden[:, 0])  # two clusters, spread over all coordinates
    axes = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    gaussian = rng.standard_normal((3000, 8)) @ axes * np.arange(1, 9)
    wanted = ["principal", "projected", "spherical"]
    options = {"representations": wanted, "sample_sizes": ["all"], "tests": ["ad"]}
    rows = evaluate_arrays(gaussian, **options)
    for representation in ("principal", "projected"):
        assert _value(rows, "ad_calibrated_pass", representation) >= 0.75
    rows = evaluate_arrays(hidden @ axes.T, **options)
    # Along its own axes one coordinate is two points, and the others are Gaussian.
    assert _value(rows, "ad_mean", "principal") > 50
    assert _value(rows, "ad_calibrated_pass", "principal") >= 0.75
    # Uniform directions in 8 dimensions pass as such, and not as Gaussian.
    rows = evaluate_arrays(
        gaussian / np.arange(1, 9), **options | {"representations": ["normalized"]}
    )
    assert _value(rows, "ad_calibrated_pass", "normalized") == 0
    rows = evaluate_arrays(gaussian / np.arange(1, 9), **options)
    assert _value(rows, "ad_calibrated_pass", "spherical") >= 0.75


def test_principal_axes_are_those_with_variance_at_any_shape():
    rng = np.random.default_rng(6)
    for z, rank in ((Z @ np.ones((6, 3)), 1), (rng.standard_normal((20, 50)), 19)):
        rows = evaluate_arrays(z, representations=["principal"], sample_sizes=["all"])
        assert {row["dim"] for row in rows} == {rank}
    total = evaluate_arrays(Z, representations=["raw", "principal"], sample_sizes=["all"])
    for statistic in ("participation_ratio", "effective_rank"):
        assert _value(total, statistic, "principal") == pytest.approx(
            _value(total, statistic, "raw")
        )
    with pytest.raises(ValueError, match="all rows of z are equal"):
        evaluate_arrays(np.ones((50, 4)), representations=["principal"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"view1": Z}, "one view only"),
        ({"view1": Z, "view2": Z[:100]}, r"\(1200, 6\).*\(100, 6\)"),
        ({"view1": Z[:100], "view2": Z[:100]}, r"row i of each"),
        ({"view1": Z, "view2": _with(np.nan, 7, 2)}, r"view2 of z.*row 7, column 2"),
        ({"sample_sizes": (5,)}, "sample size 5 cannot"),
        ({"sample_sizes": (100.5,)}, "sample size 100.5 cannot"),
        ({"sample_sizes": ("most",)}, "sample size 'most' cannot"),
        ({"sample_sizes": (5000, 9000)}, "1200 rows, fewer than every.*5000, 9000"),
        ({"representations": ["white"]}, "'white'.*raw, normalized"),
        ({"representations": []}, "none given"),
    ],
)
def test_bad_arguments_name_values_and_remedy(unchecked_types, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_arrays(Z, **arguments)


def test_summary_is_mean_and_standard_error_over_seeds():
    rows = []
    for seed in range(4):
        identity = {"source": "s", "seed": seed, "member": f"seed{seed}"}
        z = np.random.default_rng(seed).laplace(size=(300, 5))
        rows += evaluate_arrays(z, sample_sizes=("all",), identity=identity)
    summary = summarise(rows)
    assert all(tuple(row) == SUMMARY_COLUMNS for row in summary)
    # Each seed has coordinates of its own, so that none is named over several.
    shared = [row for row in rows if not row["statistic"].startswith("coordinate_")]
    assert len(shared) < len(rows) and len(summary) == len(shared) / 4
    (found,) = (
        r for r in summary if (r["statistic"], r["representation"]) == ("ad_mean", "normalized")
    )
    values = [_value(rows, "ad_mean", "normalized", seed=s) for s in range(4)]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["standard_error"] == pytest.approx(np.std(values, ddof=1) / 2)
    assert found["count"] == 4
    alone = summarise(r for r in rows if r["seed"] == 0)
    assert {r["standard_error"] for r in alone} == {None}
    assert {r["count"] for r in alone} == {1}


def test_summary_says_how_many_seeds_had_something_to_test():
    rows = evaluate_arrays(Z, sample_sizes=("all",), identity={"seed": 0})
    rows += evaluate_arrays(np.ones_like(Z), sample_sizes=("all",), identity={"seed": 1})
    summary = {(r["statistic"], r["representation"]): r for r in summarise(rows)}
    assert summary["ad_mean", "raw"]["count"] == 1
    assert summary["ad_mean", "raw"]["mean"] == _value(rows, "ad_mean", seed=0)
    assert summary["constant_coordinates", "raw"]["count"] == 2


def _as_text(rows):
    return [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]


def _nan_as_none(rows):
    def known(v):
        return None if isinstance(v, float) and math.isnan(v) else v

    return [{k: known(v) for k, v in row.items()} for row in rows]


def test_csv_and_json_give_the_rows_back(tmp_path):
    rows = evaluate_arrays(Z, sample_sizes=(250, "all"), identity={"run": 'a, "b"', "seed": 3})
    rows += evaluate_arrays(np.ones_like(Z), sample_sizes=("all",), identity={"source": "é"})
    paths = write(rows, tmp_path / "new" / "folder", {"seed": 0})
    names = ["evaluation.csv", "evaluation_summary.csv", "evaluation.json"]
    assert [p.name for p in paths] == names
    assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(names)
    with open(paths[0], encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert table == _as_text(rows)
    numbers = [float(row["value"]) for row in table]
    np.testing.assert_array_equal(numbers, [row["value"] for row in rows])
    document = json.loads(paths[2].read_text(encoding="utf-8"))
    assert document["meta"] == {"seed": 0}
    assert document["rows"] == _nan_as_none(rows)
    assert document["summary"] == _nan_as_none(summarise(rows))
    with open(paths[1], encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert table == _as_text(summarise(rows))


@pytest.mark.parametrize("failing", ["serialise", "disk"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, failing):
    rows = evaluate_arrays(Z, sample_sizes=("all",))
    write(rows, tmp_path, {})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    if failing == "serialise":
        with pytest.raises(TypeError):
            write(rows[:3], tmp_path, {"unfit for JSON": object()})
    else:

        def full(descriptor):
            raise OSError("no space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            write(rows[:3], tmp_path, {})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.fixture
def run(tmp_path):
    """A run of two steps, two seeds at two noise levels each, with views and labels."""
    members = [
        {"name": f"m{i}", "seed": i % 2, "hyperparameters": {"noise": i // 2, "seed": i % 2}}
        for i in range(4)
    ]
    for step in (0, 100):
        arrays = {}
        for i, member in enumerate(members):
            for j, view in enumerate(embeddings.VIEWS):
                rng = np.random.default_rng([step, i])
                x = rng.standard_normal((60, 4)) + 0.1 * j * rng.standard_normal((60, 4))
                arrays[member["name"], "test", view] = x.astype(np.float32)
        embeddings.write(
            tmp_path / "run" / "embeddings",
            step,
            arrays=arrays,
            labels={"test": np.arange(60) % 3},
            members=members,
            metadata={"run": "run", "epoch": step / 50, "config_hash": "0", "dataset": "none"},
        )
    return tmp_path / "run"


def test_a_run_folder_is_all_its_steps_members_and_views(run):
    rows = evaluate_paths([run], sample_sizes=(30, "all"))
    assert {(r["step"], r["epoch"]) for r in rows} == {(0, 0.0), (100, 2.0)}
    assert {r["run"] for r in rows} == {"run"}
    assert {r["split"] for r in rows} == {"test"}
    members = {(r["member"], r["seed"], r["hyperparameters"]) for r in rows}
    assert members == {
        ("m0", 0, '{"noise": 0}'),
        ("m1", 1, '{"noise": 0}'),
        ("m2", 0, '{"noise": 1}'),
        ("m3", 1, '{"noise": 1}'),
    }
    stored = embeddings.read(run / "embeddings" / "100")
    alone = evaluate_arrays(
        *(np.asarray(stored.array("m2", "test", v)) for v in embeddings.VIEWS),
        sample_sizes=(30, "all"),
    )
    for statistic in ("ad_mean", "alignment"):
        for n in (30, 60):
            expected = _value(alone, statistic, n=n)
            assert _value(rows, statistic, n=n, step=100, member="m2") == expected
    summary = summarise(rows)
    assert {r["count"] for r in summary} == {2}
    assert {r["source"] for r in summary} == {str(run / "embeddings" / s) for s in ("0", "100")}


def test_a_step_folder_and_the_embeddings_folder_can_be_named(run):
    step = evaluate_paths([run / "embeddings" / "100"], sample_sizes=("all",))
    every = evaluate_paths([run / "embeddings"], sample_sizes=("all",))
    assert step == [r for r in every if r["step"] == 100]


def test_the_untrained_encoder_is_a_control(run, tmp_path):
    step = run / "embeddings" / "100"
    rows = evaluate_paths([step], sample_sizes=("all",), controls=["untrained"])
    before = evaluate_paths([run / "embeddings" / "0"], sample_sizes=("all",))
    control = [r for r in rows if r["source"] == f"{step} [untrained]"]
    for member in ("m0", "m3"):
        for statistic in ("ad_mean", "norm_cv"):
            expected = _value(before, statistic, member=member)
            assert _value(control, statistic, member=member) == expected
    # The set of step 0 is its own control.
    every = evaluate_paths([run], sample_sizes=("all",), controls=["untrained"])
    assert {r["source"] for r in every if "[" in r["source"]} == {f"{step} [untrained]"}
    np.save(tmp_path / "z.npy", np.zeros((20, 2)))
    with pytest.raises(FileNotFoundError, match=r"z.npy is a file.*another PATH"):
        evaluate_paths([tmp_path / "z.npy"], controls=["untrained"])
    shutil.move(run / "embeddings" / "0", run / "embeddings" / "50")
    with pytest.raises(FileNotFoundError, match=r"no embeddings of step 0.*of steps 50, 100"):
        evaluate_paths([step], controls=["untrained"])


def _main(capsys, *argv):
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _one_paragraph(code, out, err):
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_command_line_writes_the_rows_and_prints_a_table(tmp_path, capsys):
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "view.npy", VIEW)
    out = tmp_path / "out"
    code, printed, err = _main(
        capsys, "evaluate", tmp_path / "z.npy", "--output", out, "--sample_sizes", 500, "all",
        "--seed", 3, "--pair", tmp_path / "view.npy",
    )  # fmt: skip
    assert (code, err) == (0, "")
    document = json.loads((out / "evaluation.json").read_text())
    identity = {"source": str(tmp_path / "z.npy")}
    assert document["rows"] == evaluate_arrays(
        Z, Z, VIEW, sample_sizes=(500, "all"), seed=3, identity=identity
    )
    assert document["meta"]["seed"] == 3
    assert document["meta"]["sample_sizes"] == [500, "all"]
    lines = printed.splitlines()
    assert lines[0] == f"{tmp_path / 'z.npy'}, d = 6"
    assert lines[2].split() == ["exact", "Gaussian", "0.384", "95.0%", "0.500", "95.0%"]
    expected = [_value(document["rows"], s, n=500) for s in ("ad_mean", "alignment")]
    assert lines[3].split()[:2] == ["raw", "500"]
    assert f"{expected[0]:.3f}" in lines[3]
    assert f"{expected[1]:.4f}" in lines[3]
    assert len({len(line) for line in lines[3:7]}) == 1
    for name in ("evaluation.csv", "evaluation_summary.csv", "evaluation.json"):
        assert str(out / name) in printed


def test_command_line_shows_seeds_steps_and_what_was_left_out(run, tmp_path, capsys):
    constant = np.insert(Z, 2, 1.0, axis=1)
    np.save(tmp_path / "constant.npy", np.insert(constant, 0, 0.0, axis=0))
    code, printed, _ = _main(
        capsys, "evaluate", run, tmp_path / "constant.npy", "--output", tmp_path / "out",
        "--representation", "raw",
    )  # fmt: skip
    assert code == 0
    assert printed.count("2 seeds") == 4  # two steps at two noise levels
    assert printed.count("+- s.e.") == 4
    assert "normalized" not in printed
    assert "rows of zeros, left out of what needs a direction (n = 1201): 1" in printed
    assert "alignment" in printed


def test_constant_coordinates_are_told_on_the_terminal(tmp_path, capsys):
    np.save(tmp_path / "z.npy", np.insert(Z, 2, 1.0, axis=1))
    _, printed, _ = _main(capsys, "evaluate", tmp_path / "z.npy", "--output", tmp_path / "out")
    assert "constant coordinates, left out of AD and DP (raw, n = 1200): 1" in printed


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (_with(np.nan, 11, 4), "holds 1 values .* nan at row 11, column 4"),
        (_with(-np.inf, 11, 4), "holds 1 values .* -inf at row 11, column 4"),
        (Z[:7], "has 7 rows of 6 coordinates; at least 8"),
        (Z[:, 0], "1-dimensional"),
        (Z.astype(np.complex64), "complex64"),
        (np.zeros_like(Z), "0 rows that are not all zeros"),
    ],
)
def test_bad_arrays_stop_the_command_and_overwrite_nothing(tmp_path, capsys, array, message):
    np.save(tmp_path / "good.npy", Z)
    np.save(tmp_path / "bad.npy", array)
    out = tmp_path / "out"
    assert _main(capsys, "evaluate", tmp_path / "good.npy", "--output", out)[0] == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    result = _main(capsys, "evaluate", tmp_path / "good.npy", tmp_path / "bad.npy", "--output", out)
    err = _one_paragraph(*result)
    assert re.search(message, err)
    assert "bad.npy" in err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_bad_command_lines_are_one_paragraph_and_exit_code_2(
    unchecked_types, tmp_path, capsys, run
):
    z, out = tmp_path / "z.npy", tmp_path / "out"
    np.save(z, Z)
    np.save(tmp_path / "short.npy", Z[:500])
    np.savez(tmp_path / "two.npz", a=Z, b=Z)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for argv, message in [
        (["evaluate", tmp_path / "absent.npy", "--output", out], "absent.npy is not a file"),
        (["evaluate", tmp_path / "empty", "--output", out], "holds no embeddings"),
        (["evaluate", z, "--output", tmp_path / "file"], "is a file"),
        (["evaluate", z, z, "--output", out], "given twice"),
        (["evaluate", run, run / "embeddings" / "0", "--output", out], "given twice"),
        (["evaluate", z, "--report"], "--report needs --output"),
        (["evaluate", "--output", out], "required: PATH"),
        (["evaluate", z, "--output", out, "--sample_sizes", "x"], "'x' is neither"),
        (["evaluate", z, "--output", out, "--sample_sizes", 3], "sample size 3 cannot"),
        (["evaluate", z, "--output", out, "--sample_sizes", 9999], "fewer than every"),
        (["evaluate", z, "--output", out, "--representation", "w"], "choose from"),
        (["evaluate", z, "--output", out, "--seed", -1], "non-negative"),
        (
            ["evaluate", z, "--output", out, "--pair", tmp_path / "short.npy"],
            "short.npy 500: row i of both must be of the same sample",
        ),
        (["evaluate", z, "--output", out, "--pair", tmp_path / "two.npz"], "path::key"),
        (["evaluate", run, "--output", out, "--pair", z], "--pair"),
        (["judge", z], "judge"),
        ([], "COMMAND"),
    ]:
        err = _one_paragraph(*_main(capsys, *argv))
        assert message in err
    assert not out.exists()


def test_a_manifest_that_disagrees_with_its_arrays_stops_the_command(tmp_path, capsys, run):
    step, out = run / "embeddings" / "100", tmp_path / "out"
    array = step / "m1" / "test_clean.npy"
    whole = array.read_bytes()
    manifest = (step / "manifest.json").read_text()

    def fails(message):
        assert message in _one_paragraph(*_main(capsys, "evaluate", run, "--output", out))

    array.write_bytes(whole[:-4])
    fails("truncated")
    np.save(array, np.zeros((59, 4), np.float32))
    fails("test_clean.npy")
    array.unlink()
    fails("missing")
    array.write_bytes(whole)
    for text in ("{", "[]", "{}", manifest.replace('"file"', '"filename"')):
        (step / "manifest.json").write_text(text)
        fails("manifest.json")
    assert not out.exists()


def test_the_module_runs_alone_and_stays_light(tmp_path):
    np.save(tmp_path / "short.npy", Z[:5])
    command = [sys.executable, "-m", "infonce_jax.evaluation", "evaluate"]
    done = subprocess.run(
        [*command, tmp_path / "short.npy", "--output", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    _one_paragraph(done.returncode, done.stdout, done.stderr)
    heavy = "flax orbax matplotlib optax tensorflow_datasets scipy.stats pyarrow safetensors"
    code = f"""if True:
        import sys, infonce_jax.evaluation
        sys.exit(", ".join(set("{heavy}".split()) & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_duplicate_coordinates_are_counted_named_and_kept(tmp_path, capsys):
    near = Z[:, 1] + 1e-3 * RNG.standard_normal(len(Z)).astype(np.float32)
    z = np.column_stack([Z, -3 * Z[:, 1], near, Z[:, 4], 0.1 * Z[:, 1] + 7, np.ones(len(Z))])
    z = z.astype(np.float32)
    assert duplicate_coordinates(z) == [(1, 6, 9), (4, 8)]
    assert duplicate_coordinates(Z) == []
    # Coordinates that are zero in all but a few rows, not the same ones, are no copies.
    sparse = np.zeros((20_000, 3))
    sparse[5000:5003, 0] = sparse[9000:9003, 1] = [1.0, 2.0, 4.0]
    sparse[:, 2] = sparse[:, 0]
    assert duplicate_coordinates(sparse) == [(0, 2)]
    np.save(tmp_path / "z.npy", z)
    argv = ["evaluate", tmp_path / "z.npy", "--output", tmp_path / "out", "--sample_sizes", "all"]
    code, printed, _ = _main(capsys, *argv)
    assert code == 0
    assert "shift and scale (n = 1200): 3; they stay in averages" in printed
    assert f"duplicate coordinates of {tmp_path / 'z.npy'}: 1 = 6 = 9; 4 = 8" in printed
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert _value(document["rows"], "duplicate_coordinates") == 3
    assert list(document["meta"]["duplicate_coordinates"].values()) == [[[1, 6, 9], [4, 8]]]
    assert _value(evaluate_arrays(Z, sample_sizes=["all"]), "duplicate_coordinates") == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_far_from_zero_are_duplicates_and_correlated_ones_are_not(dtype):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((500, 3)).astype(dtype) + dtype(100)
    close = x[:, 0] + dtype(1e-2) * x[:, 1]
    x = np.column_stack([x, close, dtype(0.3) - dtype(1.7) * x[:, 2]])
    assert x.dtype == dtype
    assert duplicate_coordinates(x) == [(2, 4)]


@pytest.mark.parametrize(
    ("z", "statistic", "value", "message"),
    [
        (np.ones((30, 1)) * RNG.standard_normal((30, 600)), "dimensions", 512, "600 .*beyond 512"),
        (RNG.standard_normal((30, 15)), "rows", 31, "30 rows of 15 coordinates, where 31 are"),
        (
            np.insert(Z, 2, Z[:, 0] - Z[:, 1], axis=1)[:200],
            "rank",
            6,
            "7 coordinates .*with 6 principal",
        ),
        (np.insert(Z, 2, 1.0, axis=1)[:200], "rank", 6, "7 coordinates is singular, with 6"),
    ],
)
def test_multivariate_tests_left_out_say_why_and_what_to_do(z, statistic, value, message):
    rows = evaluate_arrays(z, sample_sizes=["all"], tests=["ad"], deep=True)
    assert _value(rows, f"multivariate_left_out_{statistic}") == value
    assert not [r for r in rows if r["statistic"] == "bhep_p"]
    for text in (format_table(summarise(rows)), format_comparison(summarise(rows))):
        assert len(re.findall(f"multivariate tests left out .*{message}", text)) == 1
    if statistic == "rank":
        options = {"representations": ["principal"], "tests": ["ad"], "deep": True}
        rows = evaluate_arrays(z, sample_sizes=["all"], **options)
        plain = evaluate_arrays(Z[:200], sample_sizes=["all"], **options)
        found, expected = (_value(r, "bhep_statistic", "principal") for r in (rows, plain))
        assert found == pytest.approx(expected, rel=1e-4)


def test_principal_axes_of_small_variance_are_kept_in_float32():
    scale = np.array([1.0, 1e-2, 1e-3])
    z = (RNG.standard_normal((20_000, 3)) * scale).astype(np.float32)
    rows = evaluate_arrays(z, representations=["principal"], sample_sizes=["all"], tests=["ad"])
    assert {row["dim"] for row in rows} == {3}


def test_known_mean_and_std_add_the_tests_that_they_matter_to(tmp_path, capsys):
    z = np.random.default_rng(8).standard_normal((1000, 4))
    options = {"sample_sizes": ["all"], "mean": 0.0, "std": 1.0}
    rows, shifted = (evaluate_arrays(x, **options) for x in (z, z + 0.3))
    expected = univariate(z, ["ad", "cvm", "lilliefors", "ep"], mean=0.0, std=1.0)
    for test, (statistic, pvalue) in expected.items():
        assert _value(rows, f"{test}_known_mean") == pytest.approx(statistic.mean())
        assert _value(rows, f"{test}_known_calibrated_mean_p") == pytest.approx(pvalue.mean())
        assert _value(shifted, f"{test}_known_calibrated_pass") == 0
        assert _value(shifted, f"{test}_mean") == pytest.approx(_value(rows, f"{test}_mean"))
    added = {r["statistic"] for r in rows if "_known_" in r["statistic"]}
    assert not [s for s in added if s.startswith(("dp", "jb", "sf"))]
    assert not [r for r in rows if r["statistic"] in added and r["representation"] != "raw"]
    np.save(tmp_path / "z.npy", z)
    argv = ["evaluate", tmp_path / "z.npy", "--output", tmp_path / "out", "--known_mean", "0"]
    code, printed, _ = _main(capsys, *argv, "--known_std", 1)
    assert code == 0
    assert "with the mean and std given (raw, n = 1000): ad " in printed
    assert "left out: dp, jb, sf, which do not depend on mean and std" in printed
    for extra, message in [
        ([], "Give both or neither"),
        (["--known_std", 0], "std positive"),
        (["--known_std", 1, "--tests", "dp", "sf"], "do not depend on location and scale"),
        (["--known_std", 1, "--representation", "normalized"], "add raw"),
    ]:
        assert message in _one_paragraph(*_main(capsys, *argv, *extra))
