"""What a sample size can see: the smallest departure that Anderson-Darling finds in one coordinate.

The table is made by `python -m infonce_jax.evaluation._precompute.detectable`.
"""

from functools import cache
from pathlib import Path

import numpy as np

_TABLE = Path(__file__).with_name("_precompute") / "detectable.npz"


def detectable(family: str, n: int) -> float:
    """The departure that the calibrated test at the 5% level rejects in 80% of samples of n rows.

    Interpolated in log n between the simulated sizes 8 to 10,000; beyond, it falls as 1/√n.

    Args:
        family: "kurtosis" for the excess kurtosis of a normal variable with a gamma variance (Laplace's
            has 3), "skewness" for the skewness of a gamma variable (the exponential's is 2).
        n: the sample size, at least 8.
    """
    sizes, values = _table(family)
    if n > sizes[-1]:
        return float(values[-1] * np.sqrt(sizes[-1] / n))
    return float(np.exp(np.interp(np.log(n), np.log(sizes), np.log(values))))


@cache
def _table(family: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(_TABLE) as stored:
        return stored["n"], stored[family]
