"""Makes detectable.npz: the smallest departure that Anderson-Darling detects with 80% power.

    python -m infonce_jax.evaluation._precompute.detectable

For each sample size and each of two families it finds the member that the calibrated test at the 5%
level rejects in 80% of the samples:

* `kurtosis`: √G·ξ with G gamma and ξ normal, symmetric, named by its excess kurtosis (Laplace's has 3);
* `skewness`: gamma, named by its skewness (the exponential's is 2).

All sizes are simulated from seeds of their own. It takes some minutes on two cores.
"""

import sys
from pathlib import Path

import numpy as np

from infonce_jax.evaluation import normality

TABLE = Path(__file__).with_name("detectable.npz")
SIZES = (8, 10, 12, 15, 20, 30, 50, 70, 100, 200, 500, 1000, 2000, 5000, 10_000)
FAMILIES = ("kurtosis", "skewness")
LEVEL, POWER = 0.05, 0.8
_VALUES, _MOST, _STEPS = 8_000_000, 20_000, 11


def draw(family: str, departure: float, n: int, count: int, seed: int) -> np.ndarray:
    """`count` samples [n, count] of a family's member."""
    rng = np.random.default_rng([FAMILIES.index(family), n, seed])
    if family == "kurtosis":
        return np.sqrt(rng.standard_gamma(3.0 / departure, (n, count))) * rng.standard_normal(
            (n, count)
        )
    return rng.standard_gamma(4.0 / departure**2, (n, count))


def power(family: str, departure: float, n: int, count: int, seed: int = 0) -> float:
    """The share of samples that the calibrated Anderson-Darling test rejects."""
    x = draw(family, departure, n, count, seed)
    # The heaviest members have rows of values too small to tell apart: those are rejected by any test.
    pvalue = normality.univariate(x, ["ad"])["ad"].pvalue
    return float(np.mean(np.nan_to_num(pvalue, nan=0.0) <= LEVEL))


def smallest(family: str, n: int) -> float:
    """The departure with the wanted power, by bisection of its logarithm."""
    count = min(_MOST, _VALUES // n)
    low, high = 0.01, 300.0
    for _ in range(_STEPS):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if power(family, middle, n, count) > POWER else (middle, high)
    return float(np.sqrt(low * high))


def main() -> int:
    """Simulates and writes the table."""
    table = {"n": np.array(SIZES)}
    for family in FAMILIES:
        table[family] = np.array([smallest(family, n) for n in SIZES])
        print(family, dict(zip(SIZES, table[family].round(4).tolist(), strict=True)), flush=True)
    np.savez(TABLE, **table)
    print(f"written: {TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
