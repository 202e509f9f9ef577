"""What statsmodels and pingouin say of samples that anyone can make again: peers.json's values.

    pip install statsmodels pingouin
    python tests/evaluation/peers.py

The samples come from closed forms, not from a generator of random numbers, so that they are the same
under every version of NumPy.
"""

import json
from pathlib import Path

import numpy as np
import scipy
import scipy.stats

FILE = Path(__file__).with_name("peers.json")
SIZES = (10, 57, 400, 5000)


def columns(n):
    """Five columns [n, 5] of five laws, by name: quantiles at a golden-ratio sequence of levels."""
    level = (np.arange(1, n + 1) * 0.6180339887498949 + 0.1) % 1.0
    laws = {
        "normal": scipy.stats.norm,
        "uniform": scipy.stats.uniform,
        "laplace": scipy.stats.laplace,
        "t5": scipy.stats.t(5),
        "gamma9": scipy.stats.gamma(9),
    }
    # The sequence fills the levels more evenly than chance does: a wave of its own adds some.
    wave = 0.3 * np.sin(np.arange(n) ** 2.0)
    return {name: law.ppf(level) + wave for name, law in laws.items()}


def matrix(n, d):
    """n rows of d correlated coordinates, the last of them a square."""
    steps = np.sqrt([2, 3, 5, 7, 11, 13, 17, 19, 23, 29][:d])
    level = (np.multiply.outer(np.arange(1, n + 1), steps) + 0.05) % 1.0
    x = scipy.stats.norm.ppf(level)
    x[:, -1] = x[:, -1] ** 2
    return x + 0.5 * x[:, :1]


def main():
    import pingouin
    import statsmodels
    from statsmodels.stats import _lilliefors_critical_values, diagnostic, stattools

    record = {"versions": {}, "columns": [], "matrices": []}
    # Of 10,000,000 simulations each, says statsmodels.
    record["lilliefors"] = {
        "percentiles": _lilliefors_critical_values.PERCENTILES,
        "points": {
            n: _lilliefors_critical_values.normal_crit_vals[n].tolist()
            for n in (8, 20, 50, 200, 1600)
        },
    }
    for library in (statsmodels, pingouin, scipy, np):
        record["versions"][library.__name__] = library.__version__
    for n in SIZES:
        for law, x in columns(n).items():
            a2, a2_p = diagnostic.normal_ad(x)
            distance, distance_p = diagnostic.lilliefors(x, dist="norm", pvalmethod="approx")
            jb, jb_p, skewness, kurtosis = stattools.jarque_bera(x)
            k2, k2_p = stattools.omni_normtest(x)
            of_pingouin = {
                method: pingouin.normality(x, method=method).iloc[0]
                for method in ("normaltest", "jarque_bera")
            }
            record["columns"].append({
                "n": n, "law": law,
                "ad": [a2, a2_p], "lilliefors": [distance, distance_p],
                "jb": [jb, jb_p], "dp": [k2, k2_p], "moments": [skewness, kurtosis],
                "pingouin": {
                    method: [row["W"], row["pval"]] for method, row in of_pingouin.items()
                },
            })  # fmt: skip
    for n, d in ((50, 2), (200, 5), (400, 10)):
        found = pingouin.multivariate_normality(matrix(n, d))
        record["matrices"].append({"n": n, "d": d, "hz": found.hz, "p": found.pval})
    text = json.dumps(record, indent=1, default=float)
    FILE.write_text(text + "\n")


if __name__ == "__main__":
    main()
