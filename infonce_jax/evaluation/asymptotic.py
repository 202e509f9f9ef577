"""Published approximations of the p-values: those of scipy, statsmodels, R's nortest and the paper."""

import numpy as np
from jaxtyping import Float
from scipy.special import kolmogorov, ndtr

from infonce_jax.evaluation import calibration

# The largest eigenvalue λ₁ of the limiting covariance kernel of A² (Stephens 1976, mean and variance
# estimated; Gauss-Legendre discretisation with 1,600 nodes). In the limit A² is Σ λⱼ χ²₁, so its tail
# falls as exp(-A²/2λ₁).
_AD_LARGEST_EIGENVALUE = 0.098431
# The same for W² of Cramér and von Mises.
_CVM_LARGEST_EIGENVALUE = 0.018347


def pvalue(
    test: str, statistic: Float[np.ndarray, " d"], n: int, *, estimated: bool
) -> Float[np.ndarray, " d"]:
    if test in ("dp", "jb"):
        return np.maximum(np.exp(-0.5 * statistic), np.finfo(np.float64).tiny)
    if test == "sf":
        return _shapiro_francia_pvalue(statistic, n)
    if test == "lilliefors":
        if estimated:
            return _lilliefors_pvalue(statistic, n)
        return np.maximum(kolmogorov(np.sqrt(n) * statistic), np.finfo(np.float64).tiny)
    if test == "ep" or not estimated:
        return calibration.pvalue(test, statistic, np.inf, estimated=estimated)
    if test == "cvm":
        return _cramer_von_mises_pvalue(statistic * (1.0 + 0.5 / n))
    return _anderson_darling_pvalue(stephens_modified(statistic, n))


def stephens_modified(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    """A*² = A² (1 + 0.75/n + 2.25/n²), whose law hardly depends on n (Stephens 1974).

    A coordinate passes at the 5% level if A*² < `AD_CRITICAL_5_PERCENT` = 0.752.

    Examples:
        >>> evaluation.stephens_modified(np.array([0.7]), 50).round(4)
        array([0.7111])

    Args:
        statistic: A² as `anderson_darling` gives it.
        n: the number of rows it was computed from.
    """
    return statistic * (1.0 + 0.75 / n + 2.25 / n**2)


def _anderson_darling_pvalue(a: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    rate = 0.5 / _AD_LARGEST_EIGENVALUE
    joint = (5.709 - rate) / (2 * 0.0186)
    body = np.minimum(a, joint)
    log_tail = 1.2937 - 5.709 * body + 0.0186 * body**2 - rate * np.maximum(a - joint, 0.0)
    pvalue = np.select(
        [a >= 0.6, a > 0.34, a > 0.2, a <= 0.2],
        [
            np.exp(log_tail),
            np.exp(0.9177 - 4.279 * body - 1.38 * body**2),
            -np.expm1(-8.318 + 42.796 * body - 59.938 * body**2),
            -np.expm1(-13.436 + 101.14 * body - 223.73 * body**2),
        ],
        default=np.nan,
    )
    return np.maximum(pvalue, np.finfo(np.float64).tiny)


def _cramer_von_mises_pvalue(w: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    rate = 0.5 / _CVM_LARGEST_EIGENVALUE
    joint = (34.242 - rate) / (2 * 12.832)
    body = np.minimum(w, joint)
    log_tail = 1.111 - 34.242 * body + 12.832 * body**2 - rate * np.maximum(w - joint, 0.0)
    pvalue = np.select(
        [w >= 0.092, w >= 0.051, w >= 0.0275, w < 0.0275],
        [
            np.exp(log_tail),
            np.exp(0.886 - 31.62 * body + 10.897 * body**2),
            -np.expm1(-5.903 + 179.546 * body - 1515.29 * body**2),
            -np.expm1(-13.953 + 775.5 * body - 12542.61 * body**2),
        ],
        default=np.nan,
    )
    return np.maximum(pvalue, np.finfo(np.float64).tiny)


def _lilliefors_pvalue(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    m, reach = (n, statistic) if n <= 100 else (100, statistic * (n / 100.0) ** 0.49)
    log_tail = -7.01256 * reach**2 * (m + 2.78019) + 2.99587 * reach * np.sqrt(m + 2.78019)
    log_tail += -0.122119 + 0.974598 / np.sqrt(m) + 1.67997 / m
    pvalue = np.exp(np.minimum(log_tail, 0.0))
    k = (np.sqrt(n) - 0.01 + 0.85 / np.sqrt(n)) * statistic
    body = np.select(
        [k <= 0.302, k <= 0.5, k <= 0.9, k <= 1.31],
        [
            np.ones_like(k),
            np.polyval([81.218052, -138.55152, 80.709644, -19.828315, 2.76773], k),
            np.polyval([-32.355711, 94.029866, -97.490286, 40.662806, -4.901232], k),
            np.polyval([2.423045, -12.234627, 23.186922, -19.558097, 6.198765], k),
        ],
        default=0.0,
    )
    pvalue = np.where(pvalue > 0.1, body, pvalue)
    return np.maximum(np.where(np.isnan(statistic), np.nan, pvalue), np.finfo(np.float64).tiny)


def _shapiro_francia_pvalue(statistic: Float[np.ndarray, " d"], n: int) -> Float[np.ndarray, " d"]:
    score = calibration.royston_score(statistic, n)
    return np.maximum(ndtr(-score), np.finfo(np.float64).tiny)
