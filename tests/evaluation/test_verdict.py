"""The verdict's three parts, on data made for them and on data that no continuous law has."""

import json
import math

import ml_dtypes
import numpy as np
import pytest
import scipy.stats

from benchmarks import evaluation as benchmarks
from infonce_jax import evaluation, theory
from infonce_jax.evaluation import concentration, discrete, groups, isotropy, registry, shape
from infonce_jax.evaluation.__main__ import main
from infonce_jax.evaluation._precompute.detectable import power
from infonce_jax.evaluation.detectable import detectable, directions_fail_from
from infonce_jax.evaluation.verdict import verdicts
from infonce_jax.evaluation.verdict_coordinates import accepted
from tests import launching

RNG = np.random.default_rng(11)


def _judged(z, representation="raw", **options):
    rows = evaluation.evaluate_arrays(z, sample_sizes=["all"], tests=["ad"], **options)
    found = {one.representation: one for one in verdicts(evaluation.summarise(rows))}
    return found[representation], rows


def _value(rows, statistic, representation="raw"):
    (value,) = (
        row["value"]
        for row in rows
        if (row["statistic"], row["representation"]) == (statistic, representation)
    )
    return value


def _answers(verdict):
    return tuple(getattr(verdict, part).answer for part in ("coordinates", "directions", "norms"))


def _directions(n, d):
    u = RNG.standard_normal((n, d))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def _outlier():
    z = RNG.standard_normal((5000, 64))
    z[:, 7] = 30 + 10 * z[:, 7]
    return z


CONSTRUCTED = {
    "isotropic Gaussian": (lambda: RNG.standard_normal((5000, 64)), ("holds", "holds", "holds")),
    "low rank": (
        lambda: RNG.standard_normal((5000, 4)) @ RNG.standard_normal((4, 64)),
        ("holds", "fails", "holds"),
    ),
    "two clusters": (
        lambda: RNG.standard_normal((5000, 32)) + 3 * RNG.choice([-1, 1], (5000, 1)),
        ("fails", "fails", "holds"),
    ),
    "heavy tails": (lambda: RNG.standard_t(3, (5000, 32)), ("fails", "holds", "fails")),
    "sphere, d = 8": (lambda: _directions(5000, 8), ("fails", "holds", "holds")),
    "sphere, d = 256": (lambda: _directions(5000, 256), ("holds", "holds", "holds")),
    "ReLU features": (
        lambda: np.maximum(RNG.standard_normal((5000, 32)) @ RNG.standard_normal((32, 64)), 0),
        ("fails", "fails", "fails"),
    ),
    "one outlier dimension": (_outlier, ("holds", "fails", "holds")),
    "10 rows": (lambda: np.random.default_rng(1).standard_normal((10, 32)), ("undecided",) * 3),
    "50 rows": (lambda: np.random.default_rng(1).standard_normal((50, 32)), ("undecided",) * 3),
}


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_ten_constructed_embeddings(name):
    make, answers = CONSTRUCTED[name]
    verdict, _ = _judged(make())
    assert _answers(verdict) == answers, verdict.text
    assert verdict.sentence.startswith("At n = ") and verdict.sentence in verdict.text
    if "undecided" in answers:
        assert "with 80% power" in verdict.coordinates.text


def test_a_cone_is_normal_in_its_coordinates_and_not_uniform_in_its_directions():
    axis = np.ones(32) / math.sqrt(32)
    z = axis + 0.07 * RNG.standard_normal((3000, 32))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float16)
    verdict, rows = _judged(z)
    # Unit vectors are their own directions: one representation, and the law of the sphere is named.
    assert {row["representation"] for row in rows} == {"raw"}
    assert _answers(verdict) == ("holds", "fails", "holds")
    resultant, rank = verdict.directions.effects[:2]
    u = z.astype(np.float64)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    assert resultant.value == pytest.approx(np.linalg.norm(u.mean(axis=0)), rel=1e-3)
    assert resultant.low < resultant.value < resultant.high < 1.0
    moments = np.linalg.eigvalsh(u.T @ u / len(u))
    assert rank.value == pytest.approx(1 / np.sum(moments**2), rel=1e-2)
    assert rank.gaussian == 32
    assert "--representation spherical" in verdict.text and "float16" in verdict.text
    assert "norms are all equal" in verdict.sentence


def test_counts_stand_beside_what_a_gaussian_reaches_and_the_raw_rows_are_named_to_quote():
    # 7 of 8 are 87.5%, and nothing unusual; of normalised rows most fail, as uniform directions do.
    z = np.random.default_rng(0).standard_normal((2000, 8))
    raw, rows = _judged(z)
    passing = round(8 * _value(rows, "ad_calibrated_pass"))
    assert raw.coordinates.answer == "holds"
    assert (
        f"({passing} of 8 pass Anderson-Darling at the 5% level; an exact Gaussian: 5 or"
        in raw.sentence
    )
    assert "%" not in raw.sentence.replace("5% level", "")
    assert not raw.notes
    normalised, _ = _judged(z, "normalized")
    assert normalised.coordinates.answer == "fails"
    assert "quote the verdict of the raw rows" in normalised.text
    assert "in d = 8 the average coordinate fails from some 320 rows on" in normalised.text
    for d in (2, 8, 500):
        expected = (0.752 - evaluation.AD_GAUSSIAN_MEAN) / theory.sphere.anderson_darling_excess(d)
        assert directions_fail_from(d) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("d", "repeats"), [(8, 300), (64, 60)])
def test_coordinates_of_a_gaussian_are_rejected_in_about_one_sample_of_a_hundred(d, repeats):
    pvalue = evaluation.anderson_darling(RNG.standard_normal((200, d * repeats))).pvalue
    rejected = [
        not accepted(registry._over_coordinates("ad", p) | {"seeds": 1}, np.mean(p > 0.05), d)[0]
        for p in pvalue.reshape(repeats, d)
    ]
    # 1.8% and 0.8% in a longer run.
    assert scipy.stats.binom.sf(sum(rejected) - 1, repeats, 0.02) > 1e-3


def test_parts_state_effects_intervals_the_gaussians_score_and_what_n_detects(tmp_path, capsys):
    np.save(tmp_path / "z.npy", RNG.standard_normal((400, 16)))
    assert main(["evaluate", str(tmp_path / "z.npy"), "--output", str(tmp_path / "o")]) == 0
    capsys.readouterr()
    document = json.loads((tmp_path / "o" / "evaluation.json").read_text())
    found = document["verdicts"][0]
    kurtosis = found["coordinates"]["effects"][0]
    assert kurtosis["low"] < 0 < kurtosis["high"] and kurtosis["gaussian"] == 0
    assert kurtosis["detectable"] == pytest.approx(detectable("kurtosis", 400))
    norm = found["norms"]["effects"][0]
    assert norm["low"] < norm["gaussian"] < norm["high"]
    assert norm["gaussian"] == pytest.approx(1 / math.sqrt(2 * 16), rel=0.05)
    for effect in found["directions"]["effects"][:2]:
        assert effect["low"] <= effect["value"] <= effect["high"]
        assert effect["detectable"] > 0


@pytest.mark.parametrize("family", ["kurtosis", "skewness"])
@pytest.mark.parametrize("n", [10, 40, 300])
def test_the_detectable_departure_is_detected_in_80_percent(family, n):
    found = power(family, detectable(family, n), n, 2000, seed=5)
    assert found == pytest.approx(0.8, abs=0.035)
    assert detectable(family, 40_000) == pytest.approx(detectable(family, 10_000) / 2)


@pytest.mark.parametrize(("n", "d"), [(60, 3), (200, 16), (40, 60)])
def test_directions_tests_hold_their_level_and_their_power(n, d, unchecked_types):
    draws = [isotropy.isotropy(RNG.standard_normal((n, d))) for _ in range(300)]
    for test in ("rayleigh_p", "bingham_p"):
        pvalue = [getattr(one, test) for one in draws]
        assert scipy.stats.kstest(pvalue, "uniform").pvalue > 1e-4
    shift = isotropy.detectable_resultant(n, d)
    # A small mean a moves E u by a (d − 1)/d E 1/‖z‖.
    inverse = math.exp(math.lgamma((d - 1) / 2) - math.lgamma(d / 2)) / math.sqrt(2)
    axis = np.eye(d)[0] * shift * d / ((d - 1) * inverse)
    moved = [isotropy.isotropy(RNG.standard_normal((n, d)) + axis).rayleigh_p for _ in range(300)]
    assert np.mean(np.array(moved) <= 0.05) == pytest.approx(0.8, abs=0.09)


def test_the_norms_of_a_gaussian_are_found_to_be_a_gaussians_at_any_spectrum():
    rejected = []
    rng = np.random.default_rng(0)
    for n, d, scale, mean in [
        (250, 128, np.ones(128), 0.0),
        (100, 300, np.ones(300), 0.0),
        (500, 16, 1.0 / np.arange(1, 17), 0.0),
        (500, 16, np.ones(16), 2.0),
    ]:
        ratio = []
        # The mean of 120 has a standard error of 0.007 at 100 rows.
        for _ in range(120):
            z = rng.standard_normal((n, d)) * scale + mean
            found = concentration.shell(z, shape.spectrum(z))
            ratio.append(math.log(found.cv / found.expected))
            rejected.append(abs(ratio[-1]) > 2.58 * found.log_ratio_se)
        assert abs(np.mean(ratio)) < 0.02, (n, d)
    assert np.mean(rejected) < 0.04


GRIDS = {
    "float16": lambda x: x.astype(np.float16),
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32),
    "integer": lambda x: np.rint(24 * x).astype(np.int8),
    "grid": lambda x: np.rint(20 * x).astype(np.int8) * np.float32(0.0137),
    "integer in float32": lambda x: np.rint(24 * x).astype(np.float32),
    "coarse": lambda x: np.rint(1.5 * x),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_quantised_gaussian_is_recognised_and_passes_at_the_level(name):
    x = np.random.default_rng(2).standard_normal((100_000, 24))
    stored = GRIDS[name](x)
    kind = {"integer in float32": "integer", "coarse": "integer"}.get(name, name)
    grid = discrete.quantisation(stored)
    assert grid.kind == kind
    verdict, rows = _judged(stored, representations=["raw"])
    assert _value(rows, f"quantised_{kind}") == pytest.approx(grid.typical)
    assert _value(rows, "ad_calibrated_pass") >= 0.8
    assert verdict.coordinates.answer == "holds"
    assert "quantised" in verdict.text
    # p-values as those of the values before rounding: each coordinate, not only on average.
    before = evaluation.anderson_darling(x).statistic
    tested = discrete.dithered(np.asarray(stored, np.float32), grid)
    limit = 1.0 if name == "coarse" else 0.15
    assert np.abs(evaluation.anderson_darling(tested).statistic - before).max() < limit


def test_what_is_not_on_a_grid_is_left_alone_and_a_quantised_laplace_is_rejected():
    x = RNG.standard_normal((5000, 8))
    for z in (x, x.astype(np.float32), np.maximum(x, 0), (x > 1).astype(float), np.ones((20, 2))):
        assert discrete.quantisation(z) is None
    coded = np.rint(20 * RNG.laplace(size=(5000, 8))).astype(np.int16)
    assert _judged(coded)[0].coordinates.answer == "fails"
    # Constant coordinates and copies stay what they are.
    half = np.column_stack([x, x[:, 0], np.full(5000, 0.3)]).astype(np.float16)
    _, rows = _judged(half)
    assert _value(rows, "constant_coordinates") == 1
    assert _value(rows, "duplicate_coordinates") == 1


def test_repeated_rows_are_counted_and_tested_once(unchecked_types):
    z = np.random.default_rng(4).standard_normal((2500, 8)).astype(np.float32)
    order = np.concatenate([np.arange(2500), RNG.integers(0, 2500, 9500)])
    repeated = z[RNG.permutation(order)]
    verdict, rows = _judged(repeated, representations=["raw"])
    assert _value(rows, "repeated_rows") == 9500 and _value(rows, "distinct_rows") == 2500
    assert {row["n"] for row in rows} == {2500}
    assert verdict.coordinates.answer == "holds"
    assert "9,500 are copies of the 2,500 that differ" in verdict.text
    kept, rows = _judged(repeated, representations=["raw"], repeats="keep")
    assert {row["n"] for row in rows} == {12_000}
    assert kept.coordinates.answer != "holds" and "all are tested" in kept.text
    with pytest.raises(ValueError, match="repeats is 'twice'"):
        _judged(z, repeats="twice")
    # One coordinate of float16 repeats by chance, and rows of zeros have a count of their own.
    for one in (z[:, :1].astype(np.float16), np.insert(z, [0] * 300, 0.0, axis=0)):
        rows = _judged(one, representations=["raw"])[1]
        assert "repeated_rows" not in {row["statistic"] for row in rows}


def test_the_grouped_protocol_is_a_loop_over_scipy_and_passes_a_gaussian(tmp_path, capsys):
    z = np.random.default_rng(6).standard_normal((5000, 64))
    gaussian = groups.summary(groups.grouped(z))
    assert gaussian["group_ad_mean"] == pytest.approx(0.384, abs=0.01)
    assert gaussian["group_ad_pass"] == gaussian["group_dp_pass"] == 1.0
    z = np.random.default_rng(7).standard_t(6, (5000, 5))
    order = np.random.default_rng(3).permutation(5000)
    ad, dp = np.zeros(5), np.zeros(5)
    for part in order.reshape(20, 250):
        ad += [scipy.stats.anderson(c, "norm", method="interpolate").statistic for c in z[part].T]
        dp += scipy.stats.normaltest(z[part], axis=0).pvalue
    np.save(tmp_path / "z.npy", z)
    argv = ["evaluate", tmp_path / "z.npy", "--protocol", "groups", "--seed", 3, "--output"]
    assert main([*map(str, argv), str(tmp_path / "o")]) == 0
    assert "raw, 20 groups of 250: AD average" in capsys.readouterr().out
    rows = json.loads((tmp_path / "o" / "evaluation.json").read_text())["rows"]
    assert _value(rows, "group_ad_mean") == pytest.approx(np.mean(ad / 20), rel=1e-10)
    assert _value(rows, "group_ad_pass") == np.mean(ad / 20 < 0.752)
    assert _value(rows, "group_dp_mean_p") == pytest.approx(np.mean(dp / 20), rel=1e-8)
    assert _value(rows, "group_dp_pass") == np.mean(dp / 20 > 0.05)
    code = main([*map(str, argv), str(tmp_path / "p"), "--groups", "30"])
    assert code == 2 and "30 groups of 250 need 7500" in capsys.readouterr().err


def test_the_table_of_verdicts_in_the_docs_is_what_the_code_says():
    _, lines = benchmarks.verdicts(1.0, None)
    docs = (launching.ROOT / "docs" / "evaluation.md").read_text()
    for line in lines.splitlines():
        assert line in docs


def test_too_few_rows_are_told_in_one_clause():
    verdict, _ = _judged(np.random.default_rng(0).standard_normal((10, 3)))
    assert verdict.sentence.count("too few to tell") == 1
