import csv
import json
import re

import numpy as np
import pytest

from infonce_jax import evaluation
from infonce_jax.evaluation import sets, whitening
from infonce_jax.evaluation.__main__ import main
from infonce_jax.evaluation.load import load_labels
from infonce_jax.evaluation.verdict import verdicts

RNG = np.random.default_rng(0)
GAUSSIAN = (RNG.standard_normal((2000, 8)) @ RNG.standard_normal((8, 8))).astype(np.float32)
HEAVY = RNG.laplace(size=(2000, 8)).astype(np.float32)
SLIGHT = RNG.standard_t(20, (20_000, 8)).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "gaussian.npy", GAUSSIAN)
    np.save(tmp_path / "heavy.npy", HEAVY)
    np.save(tmp_path / "labels.npy", np.arange(2000) % 5)
    (tmp_path / "labels.txt").write_text("".join(f"class {i % 5}\n" for i in range(2000)))
    return tmp_path


def _main(capsys, *argv):
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_everything_at_once_lands_in_the_rows(files, capsys):
    np.save(files / "heavy.npy", HEAVY[:300])
    np.save(files / "gaussian.npy", GAUSSIAN[:300])
    (files / "labels.txt").write_text("".join(f"class {i % 5}\n" for i in range(300)))
    code, out, _ = _main(
        capsys, "evaluate", files / "heavy.npy", "--output", files / "out", "--deep", "--labels",
        files / "labels.txt", "--controls", "gaussian", "permuted", "--inputs", files / "gaussian.npy",
        "--sample_sizes", 100, "all",
    )  # fmt: skip
    assert code == 0
    document = json.loads((files / "out" / "evaluation.json").read_text())
    sources = list(dict.fromkeys(r["source"].split("/")[-1] for r in document["rows"]))
    controls = ["gaussian", "permuted", "projection"]
    assert sources == ["heavy.npy", *(f"heavy.npy [{c}]" for c in controls)]
    rows = [r for r in document["rows"] if r["source"].endswith("heavy.npy")]
    names = {r["statistic"] for r in rows if r["n"] == 300 and r["representation"] == "raw"}
    assert names >= {
        "ad_mean", "ad_calibrated_pass", "ep_bh_rejected", "sf_by_rejected", "delta", "delta_low",
        "w2_high", "between_class_share", "class_ad_mean", "global_mean_p", "bhep_p", "ksd_statistic",
        "rayleigh_p", "potential_uniform", "cosine_law_p", "multivariate_rows",
    }  # fmt: skip
    assert "bhep_p" not in {r["statistic"] for r in rows if r["n"] == 100}
    assert "Not Gaussian" in out
    assert "Coordinates: No deviation from a Gaussian found" in out
    assert document["meta"]["deep"] is True


def test_without_an_output_folder_the_table_is_printed_and_nothing_written(files, capsys):
    before = sorted(files.rglob("*"))
    arguments = ("evaluate", files / "gaussian.npy", "--sample_sizes", 250, "--tests", "dp")
    code, out, _ = _main(capsys, *arguments)
    assert code == 0 and "norm CV" in out and "written" not in out
    assert sorted(files.rglob("*")) == before
    code, _, error = _main(capsys, *arguments, "--report")
    assert code == 2 and "--report needs --output" in error
    code, _, error = _main(capsys, *arguments, "--strict")
    assert code == 2 and "add ad to --tests" in error


def test_files_of_the_wrong_kind_are_named(files, capsys):
    code, _, error = _main(capsys, "whiten", files / "gaussian.npy", "--output", files / "white")
    assert code == 2 and "give it that suffix" in error and not (files / "white").exists()
    arguments = ("score", files / "gaussian.npy", files / "heavy.npy", "--output", files / "out")
    code, _, error = _main(capsys, *arguments)
    assert code == 2 and "gaussian.npy is not a whitening" in error and "no .npz file" in error
    (files / "x.txt").write_text("1,2\n3,4\n")
    code, _, error = _main(capsys, "evaluate", files / "x.txt")
    assert code == 2 and "np.loadtxt" in error


def test_compare_sets_stand_side_by_side(files, capsys):
    code, out, _ = _main(
        capsys, "compare", files / "gaussian.npy", files / "heavy.npy", "--output", files / "out",
        "--sample_sizes", "all", "--tests", "ad", "ep", "--representation", "raw",
    )  # fmt: skip
    assert code == 0
    head = out.splitlines()[0].split()
    assert head == ["raw", "gaussian.npy", "heavy.npy"]
    (line,) = (line for line in out.splitlines() if line.startswith("AD calibrated pass"))
    first, second = (float(cell.rstrip("%")) for cell in line.split()[-2:])
    assert first > second


@pytest.mark.parametrize(
    ("name", "parts", "code", "answers"),
    [
        ("isotropic", [], 0, ("holds", "holds", "holds")),
        ("gaussian", [], 1, ("holds", "fails", "holds")),
        ("gaussian", ["--strict_on", "coordinates", "norms"], 0, ("holds", "fails", "holds")),
        ("heavy", [], 1, ("fails", "holds", "fails")),
        ("heavy", ["--strict_on", "directions"], 0, ("fails", "holds", "fails")),
        ("few", [], 3, ("undecided",) * 3),
    ],
)
def test_strict_tells_by_the_exit_code(files, capsys, name, parts, code, answers):
    rng = np.random.default_rng(1)
    np.save(files / "isotropic.npy", rng.standard_normal((2000, 8)))
    np.save(files / "few.npy", rng.standard_normal((30, 8)))
    found, out, _ = _main(
        capsys, "evaluate", files / f"{name}.npy", "--output", files / "out", "--strict",
        "--representation", "raw", *parts,
    )  # fmt: skip
    assert found == code
    document = json.loads((files / "out" / "evaluation.json").read_text())
    (verdict,) = verdicts(document["summary"])
    (stored,) = document["verdicts"]
    parts = ("coordinates", "directions", "norms")
    assert tuple(getattr(verdict, part).answer for part in parts) == answers
    assert tuple(stored[part]["answer"] for part in parts) == answers
    assert stored["sentence"] == verdict.sentence
    assert all(line in out for line in verdict.text.splitlines())


def test_a_slight_departure_is_called_close_and_constants_untested():
    rows = evaluation.evaluate_arrays(SLIGHT, representations=["raw"], sample_sizes=["all"])
    (verdict,) = verdicts(evaluation.summarise(rows))
    assert verdict.coordinates.answer == "close"
    assert "Close to Gaussian, but rejected at n = 20,000" in verdict.text
    rows = evaluation.evaluate_arrays(np.ones((20, 2)), representations=["raw"])
    assert verdicts(evaluation.summarise(rows))[0].coordinates.answer == "untested"


def test_ctrl_c_keeps_what_is_finished(files, capsys, monkeypatch):
    honest = sets.evaluate_arrays

    def interrupted(z, *args, **options):
        if options["name"].endswith("heavy.npy"):
            raise KeyboardInterrupt
        return honest(z, *args, **options)

    monkeypatch.setattr(sets, "evaluate_arrays", interrupted)
    argv = ["--output", files / "out", "--sample_sizes", 250]
    code, _, err = _main(capsys, "evaluate", files / "gaussian.npy", files / "heavy.npy", *argv)
    assert code == 130
    assert "only the sets that were finished" in err
    document = json.loads((files / "out" / "evaluation.json").read_text())
    assert {r["source"].split("/")[-1] for r in document["rows"]} == {"gaussian.npy"}
    assert document["meta"]["interrupted"] is True
    code, _, err = _main(capsys, "evaluate", files / "heavy.npy", "--output", files / "none")
    assert (code, "nothing was written" in err) == (130, True)
    assert not (files / "none").exists()


def test_whiten_then_score(files, capsys):
    code, out, err = _main(
        capsys, "whiten", files / "gaussian.npy", "--output", files / "white.npz", "--pair",
        files / "gaussian.npy",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "held out (1 if the model holds)" in out
    assert re.search(r"near duplicates +none with \|correlation\| > 0.9\n", out)
    assert "in sample (no evidence)" in out
    code, out, err = _main(
        capsys, "score", files / "white.npz", files / "gaussian.npy", "--output", files / "scores",
        "--against", files / "heavy.npy",
    )  # fmt: skip
    assert (code, err) == (0, "")
    with open(files / "scores" / "scores_gaussian.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    model = whitening.load(files / "white.npz")
    np.testing.assert_allclose(
        [float(row["log_likelihood"]) for row in table],
        whitening.log_likelihood(model, GAUSSIAN),
        rtol=1e-12,
    )
    # Half of the rows were fitted on; the averages and the AUROC are over the others.
    fitted = np.array([row["fitted"] == "1" for row in table])
    assert fitted.sum() == 1000 and "fitted on 50.0% of the rows" in out
    distances = [whitening.mahalanobis(model, x) for x in (GAUSSIAN, HEAVY)]
    assert f"{whitening.auroc(distances[0][~fitted], distances[1]):.4f}" in out
    assert f"1000 rows, mean Mahalanobis^2 / rank {distances[0][~fitted].mean() / 8:.4f}" in out
    # Shuffled and in another type they are recognised too, and counted on request.
    np.savez(files / "mixed.npz", z=np.vstack([HEAVY, GAUSSIAN[::-1]]).astype(np.float64))
    arguments = ("score", files / "white.npz", files / "mixed.npz", "--output", files / "scores")
    code, out, _ = _main(capsys, *arguments, "--fitted", "include")
    assert code == 0 and "warning: the averages include the 25.0%" in out and "4000 rows" in out
    code, out, _ = _main(
        capsys,
        "apply",
        files / "white.npz",
        files / "gaussian.npy",
        "--output",
        files / "white.npy",
    )
    assert code == 0 and "warning: the model was fitted on 50.0% of these rows" in out
    white = np.load(files / "white.npy", mmap_mode="r")
    np.testing.assert_allclose(white, whitening.apply(model, GAUSSIAN), rtol=1e-5, atol=1e-6)


def test_whiten_states_from_which_correlation_on_coordinates_are_near_duplicates(files, capsys):
    z = np.random.default_rng(0).standard_normal((400, 30))
    z[:, 1:26] = z[:, :1] + 0.1 * z[:, 1:26]
    np.save(files / "near.npy", z)
    code, out, _ = _main(capsys, "whiten", files / "near.npy", "--output", files / "near.npz")
    pairs = whitening.load(files / "near.npz").near_duplicates
    assert code == 0 and min(abs(r) for _, _, r in pairs) > 0.9
    assert f"{len(pairs)} pairs of coordinates (counted from 0) with |correlation| > 0.9" in out
    assert f"and {len(pairs) - 20} further pairs, less correlated" in out


def test_labels_from_files(files):
    np.testing.assert_array_equal(load_labels(files / "labels.npy"), np.arange(2000) % 5)
    assert load_labels(files / "labels.txt")[1] == "class 1"
    np.save(files / "floats.npy", np.ones((3, 2)))
    (files / "none.txt").touch()
    (files / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, message in [
        ("floats.npy", "1-d array"), ("none.txt", "empty"), ("binary.txt", "not a text file"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_labels(files / name)


def test_bad_command_lines_are_one_paragraph(files, capsys):
    np.save(files / "short.npy", GAUSSIAN[:100])
    out, z = ["--output", files / "out"], files / "gaussian.npy"
    for argv, message in [
        (["evaluate", z, *out, "--labels", files / "absent.txt"], "absent.txt is not a file"),
        (["evaluate", files / "short.npy", *out, "--labels", files / "labels.npy"], "100 rows"),
        (["evaluate", z, files / "heavy.npy", *out, "--labels", files / "labels.npy"], "one file"),
        (["evaluate", z, *out, "--inputs", files / "short.npy"], "100 rows"),
        (["evaluate", z, *out, "--tests", "sw"], "choose from"),
        (["evaluate", z, *out, "--controls", "noise"], "choose from"),
        (["whiten", z, "--output", files], "is a folder"),
        (["whiten", z, "--output", files / "w.npz", "--shrinkage", "oas"], "'oas' is neither"),
        (["whiten", z, "--output", files / "w.npz", "--shrinkage", 2], "shrinkage is 2"),
        (["score", z, z, *out], "not a whitening"),
        (["score", files / "absent.npz", z, *out], "absent.npz is not a file"),
    ]:
        code, printed, err = _main(capsys, *argv)
        assert (code, printed, err.count("\n")) == (2, "", 1), argv
        assert message in err, err
    assert not (files / "out").exists()
    assert not (files / "w.npz").exists()
