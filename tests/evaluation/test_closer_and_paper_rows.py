"""Which of two embeddings is closer to a Gaussian, and results in the form of the paper's tables."""

import csv
import io

import numpy as np
import pytest

from infonce_jax.evaluation import evaluate_arrays, summarise
from infonce_jax.evaluation.__main__ import main
from infonce_jax.evaluation.closer import closer
from infonce_jax.evaluation.paper_rows import COLUMNS, paper_table

RNG = np.random.default_rng(0)


def test_the_closer_one_is_named_in_each_part():
    normal = RNG.standard_normal((2000, 8))
    heavy = RNG.standard_t(4, (2000, 8))
    found = closer(heavy, normal, ("heavy", "normal"), draws=20)
    assert found.is_paired and found.n == 2000
    by_part = {one.part: one for one in found.differences}
    assert by_part["coordinates"].closer == 1 and by_part["norms"].closer == 1
    assert by_part["directions"].closer is None
    assert found.sentence.startswith(
        "normal is closer to an isotropic Gaussian than heavy in coord"
    )
    assert "no difference was found in directions" in found.sentence
    # The other way round it says the same, with the same numbers.
    swapped = closer(normal, heavy, ("normal", "heavy"), draws=20)
    assert swapped.sentence == found.sentence
    narrow = normal * [3, 3, 3, 1, 1, 1, 1, 1]
    found = closer(narrow, heavy[:1500], ("narrow", "heavy"), draws=20)
    assert not found.is_paired and found.n == 1500
    assert "; heavy is closer in directions" in found.sentence
    codes = np.rint(20 * normal).astype(np.int8)
    assert closer(codes, heavy, ("codes", "heavy"), draws=20).differences[0].closer == 0


def test_equal_ones_are_rarely_told_apart(unchecked_types):
    wrong = np.zeros(3)
    for k in range(12):
        x = RNG.standard_t(6, (2, 400, 4))
        found = closer(x[0], x[1], draws=12, seed=k)
        wrong += [one.closer is not None for one in found.differences]
    assert np.all(wrong <= 3)


def test_paired_rows_give_shorter_intervals(unchecked_types):
    x = RNG.standard_t(6, (2000, 6))
    other = x + 0.1 * RNG.standard_normal(x.shape)
    spans = []
    for second in (other, other[:1990]):
        one = closer(x, second, draws=25).differences[2]
        spans.append(one.high - one.low)
    assert spans[0] < 0.5 * spans[1]


def test_pairing_is_assumed_known_or_refused_and_the_sentence_says_which():
    x = np.random.default_rng(4).standard_t(6, (600, 6))
    other = x + 0.1 * np.random.default_rng(5).standard_normal(x.shape)
    spans = {}
    for paired, words in (
        (
            None,
            "(600 rows; that row i of both is of the same sample is assumed, as both have 600 rows).",
        ),
        (True, "(600 rows of the same samples)."),
        (False, "(600 rows)."),
    ):
        found = closer(x, other, paired=paired, draws=25)
        assert found.sentence.endswith(words)
        spans[paired] = found.differences[2].high - found.differences[2].low
        assert found.is_paired == (paired is not False)
    assert spans[None] == spans[True] < 0.5 * spans[False]
    with pytest.raises(ValueError, match="first has 600 rows and second 599: leave it out"):
        closer(x, other[:599], paired=True)


def test_compare_pairs_by_ids_and_not_where_it_is_told_not_to(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, ids in (("a", range(100)), ("b", range(100)), ("c", range(100, 200))):
        lines = (f"{i},{','.join(map(str, rng.standard_normal(3)))}" for i in ids)
        (tmp_path / f"{name}.csv").write_text("id,x,y,z\n" + "\n".join(lines) + "\n")
    a, b, c = (str(tmp_path / f"{name}.csv") for name in "abc")
    options = ["--tests", "ad", "--sample_sizes", "all", "--representation", "raw"]
    hint = "give --unpaired"

    def told(*argv):
        assert main(["compare", *argv, *options]) == 0
        return capsys.readouterr().out

    out = told(a, b, "--id_column", "id")
    assert "(100 rows of the same samples)." in out and hint not in out
    out = told(a, b)
    assert "is assumed, as both have 100 rows)." in out and hint in out
    for argv in ([a, c, "--id_column", "id"], [a, c, "--unpaired"]):
        out = told(*argv)
        assert "(100 rows)." in out and hint not in out
    # As many rows, drawn of different numbers of them.
    for name, n in (("d", 300), ("e", 400)):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((n, 3)))
    assert "(50 rows)." in told(*(str(tmp_path / f"{x}.npy") for x in "de"), "--sample", "50")


def _summary(name, z, **options):
    rows = evaluate_arrays(z, tests=("ad", "dp"), name=name, **options)
    return summarise(rows)


def test_rows_in_the_form_of_the_papers_tables():
    z = RNG.standard_normal((1000, 6))
    sizes = {"sample_sizes": [500, "all"], "groups": (4, 250)}
    summary = _summary("a_b.npy", z, **sizes)
    summary += _summary("unit.npy", z / np.linalg.norm(z, axis=1, keepdims=True), **sizes)
    found = paper_table(summary)
    wide = list(csv.DictReader(io.StringIO(found.csv)))
    assert tuple(wide[0]) == COLUMNS
    assert [(row["protocol"], row["n"]) for row in wide[:3]] == [
        ("one test at n", "500"), ("one test at n", "1000"), ("groups", "1000"),
    ]  # fmt: skip
    values = {
        (r["representation"], str(r["n"]), r["statistic"]): r["mean"]
        for r in summary
        if r["source"] == "a_b.npy"
    }
    for row in wide[:2]:
        for representation in ("raw", "normalized"):
            for name in ("ad_mean", "dp_pass"):
                told = float(row[f"{representation}_{name}"])
                assert told == values[representation, row["n"], name]
    assert wide[2]["groups"] == "4" and wide[2]["group_size"] == "250"
    lines = found.markdown.splitlines()
    assert lines[2].startswith("| exact Gaussian |")
    (raw,) = (line for line in lines if line.startswith("| a_b.npy | 1,000 |"))
    (unit,) = (line for line in lines if line.startswith("| unit.npy | 4 × 250 |"))
    assert raw.count(" / ") == 4 and unit.count(" / ") == 0
    assert r"a\_b.npy & 1,000 & 6 &" in found.latex and r"4 $\times$ 250" in found.latex


def test_the_commands_write_and_print_them(tmp_path, capsys):
    for i in range(3):
        np.save(tmp_path / f"layer-{i}.npy", RNG.standard_t(3 + 4 * i, (200, 3)))
    paths = [str(tmp_path / f"layer-{i}.npy") for i in range(3)]
    argv = ["compare", *paths, "--paper", "--sample_sizes", "all", "--tests", "ad", "dp"]
    assert main([*argv, "--output", str(tmp_path / "out"), "--representation", "raw"]) == 0
    out = capsys.readouterr().out
    assert "From the closest to a Gaussian, by their coordinates: layer-" in out
    assert "| layer-1.npy | 200 | 3 |" in out and "is assumed, as both have 200 rows)." in out
    assert {"paper.csv", "paper.md", "paper.tex"} <= {p.name for p in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match="at least 16"):
        closer(np.ones((10, 2)), np.ones((20, 2)))
