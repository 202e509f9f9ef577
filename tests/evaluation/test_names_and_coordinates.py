"""Names that are given singly or in long form, and single coordinates that are named."""

import csv
import json

import numpy as np
import pytest
import scipy.stats

from infonce_jax import evaluation
from infonce_jax.evaluation.__main__ import main
from infonce_jax.evaluation.commands import strict_code
from infonce_jax.evaluation.verdict import PARTS, as_documents

RNG = np.random.default_rng(5)


def test_a_single_name_is_one_name_and_long_names_are_known(tmp_path, capsys):
    z = RNG.standard_normal((300, 3))
    expected = evaluation.anderson_darling(z).pvalue
    for name in ("ad", "anderson_darling", "Anderson-Darling"):
        for given in (name, [name]):
            found = evaluation.univariate(z, given)
            assert list(found) == [name] and np.array_equal(found[name].pvalue, expected)
    long = ["Cramér-von Mises", "D'Agostino-Pearson", "lilliefors"]
    assert list(evaluation.univariate(z, long)) == long
    for test in evaluation.TESTS.values():
        evaluation.univariate(z, test)
    with pytest.raises(ValueError, match=r"unknown test 'anderson'; choose from ad \(Anderson-D"):
        evaluation.univariate(z, "anderson")
    one = {"sample_sizes": "all", "representations": "raw", "tests": "anderson_darling"}
    several = {"sample_sizes": ["all"], "representations": ["raw"], "tests": ["ad"]}
    assert evaluation.evaluate_arrays(z, **one) == evaluation.evaluate_arrays(z, **several)
    file = tmp_path / "z.npy"
    np.save(file, z)
    for path in (file, str(file)):
        rows = evaluation.evaluate_paths(path, **one, controls="permuted")
        assert {row["source"] for row in rows} == {str(file), f"{file} [permuted]"}
    assert list(evaluation.multivariate.multivariate(z, "bhep", draws=9)) == ["bhep"]
    assert list(evaluation.sphere.sphere(z, "rayleigh", draws=9)) == ["rayleigh"]
    (tmp_path / "z.csv").write_text("id,a,b\n" + "".join(f"{i},0.5,{i}.25\n" for i in range(9)))
    assert next(iter(evaluation.load_embeddings(tmp_path / "z.csv", "id").values())).shape == (9, 2)
    argv = ["evaluate", str(file), "--sample_sizes", "all", "--representation", "raw", "--tests"]
    assert main([*argv, "anderson_darling"]) == 0
    assert main([*argv, "anderson"]) == 2
    assert "unknown test 'anderson'; choose from ad (Ander" in capsys.readouterr().err


def _verdicts(z, representation="raw"):
    rows = evaluation.evaluate_arrays(
        z, sample_sizes=(100, "all"), representations=representation, tests="ad"
    )
    return evaluation.verdicts(evaluation.summarise(rows))


def _with_bad(columns):
    z = np.random.default_rng(0).standard_normal((3000, 64))
    for index, column in columns.items():
        z[:, index] = column
    return z


SHAPES = {
    "skewed, heavy tails": RNG.exponential(size=3000),
    "heavy tails": RNG.standard_t(3, 3000),
    "thin tails": RNG.uniform(size=3000),
    "two modes": RNG.standard_normal(3000) + 4 * RNG.choice([-1, 1], 3000),
    "one value in 40% of the rows": np.where(
        np.arange(3000) < 1200, 0.0, RNG.standard_normal(3000)
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_one_bad_coordinate_is_named_with_its_shape_and_does_not_speak_for_the_others(shape):
    z = _with_bad({7: SHAPES[shape]})
    (verdict,) = _verdicts(z)
    ad = evaluation.anderson_darling(z).statistic
    # The answer is that of the average coordinate; the sentence names the one whatever it is.
    assert verdict.coordinates.answer in ("fails", "close")
    assert "63 of 64 coordinates show no deviation from a Gaussian (6" in verdict.sentence
    told = f"coordinate 7, counted from 0: A² = {ad[7]:.3g}, {shape}"
    assert f"and 1 is not Gaussian ({told}" in verdict.sentence and told in verdict.text
    assert "on average, a coordinate fails" not in verdict.text
    assert f"the median A² is {np.median(ad):.3g}; the one rejected has A² = {ad[7]:.3g}" in (
        verdict.coordinates.text
    )
    found = as_documents([verdict])[0]["coordinates"]["worst"][0]
    assert found["index"] == 7 and found["ad"] == pytest.approx(ad[7])
    assert found["shape"].startswith(shape)


def test_several_bad_coordinates_are_named_by_falling_statistic_up_to_three():
    bad = {j: RNG.laplace(size=3000) for j in (50, 12, 20, 31, 2)}
    z = _with_bad(bad)
    ad = evaluation.anderson_darling(z).statistic
    worst = sorted(bad, key=lambda j: -ad[j])[:3]
    (verdict,) = _verdicts(z)
    listed = (
        f"the worst are coordinates {worst[0]}, {worst[1]} and {worst[2]}, counted from 0: A² ="
    )
    assert f"and 5 are not Gaussian ({listed}" in verdict.sentence
    assert [one.index for one in verdict.coordinates.worst] == worst
    rows = 0.368 * 3000 / (ad[list(bad)].mean() - 0.384)
    assert f"on average and fail from some {rows:.0f} rows on" in verdict.coordinates.text
    # Where most fail, half of them speak for all.
    (verdict,) = _verdicts(np.random.default_rng(0).standard_t(3, (1000, 6)))
    assert "half of the coordinates fail from" in verdict.coordinates.text
    assert len(verdict.coordinates.worst) == 3
    # Of several seeds, coordinate 7 is a different one in each.
    rows = []
    for seed in (0, 1):
        z = np.random.default_rng(seed).laplace(size=(500, 6))
        options = {"sample_sizes": "all", "representations": "raw", "identity": {"seed": seed}}
        rows += evaluation.evaluate_arrays(z, **options)
    (verdict,) = evaluation.verdicts(evaluation.summarise(rows))
    assert verdict.coordinates.answer == "fails" and not verdict.coordinates.worst


def test_principal_axes_say_why_directions_are_not_tested_and_whiten_is_named():
    z = np.random.default_rng(0).standard_normal((2000, 12))
    z[:, :5] = z[:, 5:10] + 0.3 * z[:, :5]
    raw, principal = _verdicts(z, ["raw", "principal"])
    assert raw.directions.answer == "fails"
    assert "correlated coordinates lower the effective rank: `infonce-jax whiten`" in raw.text
    assert (
        "Directions: Not tested along principal axes, which are taken about the" in principal.text
    )
    assert "at least two coordinates" not in principal.text
    assert "norms are distances from the mean" in principal.text
    assert principal.answer == "holds" and strict_code([principal], PARTS) == 0
    (one,) = _verdicts(z[:, :1])
    assert "at least two coordinates" in one.text
    z[:, 3] = RNG.laplace(size=2000)
    assert "principal axis" in _verdicts(z, "principal")[0].sentence


def test_the_table_of_coordinates_and_the_page_show_the_worst(tmp_path, capsys):
    z = _with_bad({50: RNG.exponential(size=3000), 9: np.full(3000, 2.0)})[:, :60]
    file, table, out = tmp_path / "z.npy", tmp_path / "c" / "coordinates.csv", tmp_path / "out"
    np.save(file, z)
    argv = ["evaluate", str(file), "--sample_sizes", "500", "all", "--representation", "raw"]
    argv += ["--tests", "ad", "dp", "--output", str(out), "--report", "--coordinates"]
    assert main([*argv, str(table)]) == 0
    assert str(table) in capsys.readouterr().out
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert [int(line["index"]) for line in lines] == list(range(60))
    assert {line["n"] for line in lines} == {"3000"}
    column = z[:, 50]
    assert float(lines[50]["mean"]) == pytest.approx(column.mean())
    assert float(lines[50]["std"]) == pytest.approx(column.std(ddof=1))
    assert float(lines[50]["skewness"]) == pytest.approx(scipy.stats.skew(column))
    assert float(lines[50]["excess_kurtosis"]) == pytest.approx(scipy.stats.kurtosis(column))
    for test, function in (
        ("ad", evaluation.anderson_darling),
        ("dp", evaluation.dagostino_pearson),
    ):
        found = function(z)
        assert [float(line[test]) for line in lines] == pytest.approx(found.statistic, nan_ok=True)
        adjusted = evaluation.aggregate.benjamini_yekutieli(found.pvalue)
        yes = [line[f"{test}_rejected"] == "yes" for line in lines]
        assert yes == (adjusted <= 0.05).tolist() and yes[50]
    assert lines[50]["shape"] == "skewed, heavy tails" and lines[9]["ad_rejected"] == "no"
    page = (out / "report.html").read_text()
    assert "coordinate 50, counted from 0: A² =" in page and "coordinate 50: A² = " in page
    found = json.loads((out / "evaluation.json").read_text())["verdicts"][0]
    assert found["coordinates"]["worst"][0]["index"] == 50
    assert main([*argv, str(tmp_path / "c.txt")]) == 2
    assert "--coordinates" in capsys.readouterr().err


def test_names_of_columns_stand_beside_the_indices(tmp_path, capsys):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    z = RNG.standard_normal((300, 3))
    z[:, 1] = RNG.exponential(size=300)
    named = {"id": [f"row{i}" for i in range(300)], "u": z[:, 0], "v": z[:, 1], "w": z[:, 2]}
    pq.write_table(pa.table(named), tmp_path / "z.parquet")
    rows = "".join(f"row{i},{','.join(map(str, row.tolist()))}\n" for i, row in enumerate(z))
    (tmp_path / "z.csv").write_text("id,u,v,w\n" + rows)
    (tmp_path / "bare.csv").write_text(rows)
    table = tmp_path / "coordinates.csv"
    for file, names in (("z.parquet", "uvw"), ("z.csv", "uvw"), ("bare.csv", None)):
        argv = ["evaluate", str(tmp_path / file), "--tests", "ad", "--sample_sizes", "all"]
        assert main([*argv, "--representation", "raw", "--coordinates", str(table)]) == 0
        assert ("Columns: 1 is v" in capsys.readouterr().out) == (names is not None)
        lines = list(csv.DictReader(table.read_text().splitlines()))
        assert [line.get("name") for line in lines] == list(names or [None] * 3)
    with pytest.raises(ValueError, match="columns has 2 names for the 3 coordinates of z"):
        evaluation.coordinate_table(z, columns=["u", "v"])
