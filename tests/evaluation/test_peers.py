"""Against statsmodels and pingouin, whose values `python tests/evaluation/peers.py` has recorded."""

import json

import numpy as np
import pytest
from peers import FILE, columns, matrix

from infonce_jax.evaluation import calibration, multivariate, normality

RECORD = json.loads(FILE.read_text())


@pytest.mark.parametrize("row", RECORD["columns"], ids=lambda r: f"{r['law']}-{r['n']}")
def test_univariate_statistics_and_pvalues(row):
    x = columns(row["n"])[row["law"]][:, None]
    asymptotic = normality.univariate(x, method="asymptotic")
    for test in ("ad", "jb", "dp"):
        statistic, pvalue = row[test]
        assert asymptotic[test].statistic[0] == pytest.approx(statistic, rel=1e-9)
        # Where statsmodels has 0 or an underflow, this has the smallest double.
        if pvalue > 1e-290 and not (test == "ad" and statistic > 10):
            assert asymptotic[test].pvalue[0] == pytest.approx(pvalue, rel=1e-8)
    for test, method in (("dp", "normaltest"), ("jb", "jarque_bera")):
        assert asymptotic[test].statistic[0] == pytest.approx(row["pingouin"][method][0], rel=1e-9)
        expected = max(row["pingouin"][method][1], np.finfo(float).tiny)
        assert asymptotic[test].pvalue[0] == pytest.approx(expected, rel=1e-8)
    distance, pvalue = row["lilliefors"]
    assert asymptotic["lilliefors"].statistic[0] == pytest.approx(distance, rel=1e-9)
    if pvalue < 0.1:
        assert asymptotic["lilliefors"].pvalue[0] == pytest.approx(pvalue, rel=1e-8)


@pytest.mark.parametrize("n", [8, 20, 50, 200, 1600])
def test_lilliefors_quantiles_are_those_of_a_simulation_by_statsmodels(n):
    expected = 1 - np.array(RECORD["lilliefors"]["percentiles"]) / 100
    found = calibration.pvalue("lilliefors", np.array(RECORD["lilliefors"]["points"][str(n)]), n)
    np.testing.assert_allclose(found, expected, rtol=0.03)


@pytest.mark.parametrize("row", RECORD["matrices"], ids=lambda r: f"{r['n']}x{r['d']}")
def test_henze_zirkler(row):
    n, d = row["n"], row["d"]
    bandwidth = ((2 * d + 1) * n / 4) ** (1 / (d + 4)) / np.sqrt(2)
    found = multivariate.multivariate(matrix(n, d), ["bhep"], bandwidth=bandwidth, draws=399)
    assert found["bhep"].statistic == pytest.approx(row["hz"], rel=1e-8)
    # Theirs is a log-normal approximation, this a simulation of 399 draws.
    assert found["bhep"].pvalue == pytest.approx(row["p"], abs=0.07)
