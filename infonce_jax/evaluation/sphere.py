"""Tests that directions are uniform on the sphere S^(d−1), and closed forms to compare with.

Each takes embeddings, normalised or not, and tests u = z/‖z‖; rows of zeros have no direction and are
left out. The null has no unknown parameter, so `draws` samples of uniform directions give an exact
Monte Carlo p-value, (1 + #{T* ≥ T}) / (draws + 1).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import cpu_count
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import betainc, betaincc, gammaln, logsumexp
from threadpoolctl import threadpool_limits

from infonce_jax.evaluation.arrays import BLOCK_ENTRIES, check_embeddings, directions
from infonce_jax.evaluation.names import test_keys

TESTS = {
    "rayleigh": "Rayleigh",
    "bingham": "Bingham",
    "gine": "Giné",
    "wang_isola": "Wang-Isola uniformity",
    "potential": "uniformity potential Φ",
    "poisson": "Poisson kernel",
}
_PAIRWISE = ("gine", "wang_isola", "potential", "poisson")


class SphereResult(NamedTuple):
    """A statistic of the directions.

    Attributes:
        statistic: its value.
        uniform: its expectation, or limit, for uniform directions; NaN where it has no simple one.
        pvalue: of the hypothesis of uniformity.
        n: the number of rows it is of.
    """

    statistic: float
    uniform: float
    pvalue: float
    n: int


def sphere(
    z: Float[np.ndarray, "n d"],
    tests: str | Sequence[str] = tuple(TESTS),
    *,
    alpha: float = 10.0,
    draws: int = 199,
    rows: int = 2000,
    seed: int = 0,
) -> dict[str, SphereResult]:
    """Tests of uniformity of the directions with Monte Carlo p-values. With t = uⱼ·uₖ, j ≠ k:

    * `rayleigh`: n d ‖mean u‖², expectation d; against a preferred direction.
    * `bingham`: n d(d+2)/2 (tr T² − 1/d), T = mean of u uᵀ, expectation (d−1)(d+2)/2; against a
      preferred axis or plane.
    * `gine`: n/2 − (d−1)/(2n) (Γ((d−1)/2)/Γ(d/2))² Σ_{j<k} √(1 − t²); against any alternative that
      is symmetric under u → −u.
    * `wang_isola`: log mean exp(−2‖uⱼ − uₖ‖²) = log mean exp(4t − 4); for uniform directions
      Φ(σ) at α = 4, less 4.
    * `potential`: Φ = mean over j of log mean over k of exp(α t), beside Φ(σ) (`uniform_potential`).
    * `poisson`: log mean of the Poisson kernel (1 − ρ²)/(1 + ρ² − 2ρt)^(d/2), ρ = d^(−1/2), 0 for
      uniform directions, summed in log space, where it cannot overflow at high d.

    Large values reject.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((300, 4)) + 0.5
        >>> float(evaluation.sphere.sphere(z, ["rayleigh"], draws=99)["rayleigh"].pvalue)
        0.01

    Args:
        z: embeddings, one per row, at least 8 that are not zero, in at least 2 dimensions.
        tests: one or several keys of `TESTS`, or their titles.
        alpha: inverse temperature 1/τ of `potential`.
        draws: how many samples of uniform directions stand for the null.
        rows: the most rows used, a random subset.
        seed: of the subset and of the draws.

    Returns:
        The result of each test by its key.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for an unknown test, α that is not positive and finite, d < 2, fewer than 8 rows
            that are not zero, and as `check_embeddings` does.

    References:
        Mardia & Jupp, *Directional Statistics*, Wiley, 2000, chapter 10. Giné, *Invariant tests for
        uniformity on compact Riemannian manifolds*, Ann. Statist. 3, 1975; Prentice, *On invariant
        tests of uniformity for directions and orientations*, Ann. Statist. 6, 1978. Wang & Isola,
        *Understanding contrastive representation learning through alignment and uniformity*, ICML
        2020. Ding, Markatou & Saraceno, *Poisson kernel-based tests for uniformity on the
        d-dimensional sphere*, 2023.
    """
    tests = test_keys(tests, TESTS)
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(
            f"alpha is {alpha}; the inverse temperature 1/τ must be positive and finite."
        )
    u = _unit_rows(z, rows, seed)
    n, d = u.shape
    observed = _statistics(u, tuple(tests), alpha)
    null = _null(tuple(tests), n, d, alpha, seed, draws)
    uniform = {
        "rayleigh": float(d),
        "bingham": (d - 1) * (d + 2) / 2,
        "gine": float("nan"),
        "wang_isola": uniform_potential(d, 4.0) - 4.0,
        "potential": uniform_potential(d, alpha),
        "poisson": 0.0,
    }
    return {
        test: SphereResult(
            observed[i],
            uniform[test],
            float((1 + np.sum(null[:, i] >= observed[i])) / (draws + 1)),
            n,
        )
        for i, test in enumerate(tests)
    }


def cosine_law(z: Float[np.ndarray, "n d"], *, seed: int = 0) -> SphereResult:
    """Kolmogorov-Smirnov test of the cosines of pairs of rows against their exact law.

    The cosine of two independent uniform directions has density ∝ (1 − t²)^((d−3)/2). The rows are
    paired at random, each used once, so that the n/2 cosines are independent and the p-value exact.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 16))
        >>> bool(evaluation.sphere.cosine_law(z).pvalue > 0.01)
        True

    Args:
        z: embeddings, one per row, at least 16 that are not zero.
        seed: of the pairing.

    Returns:
        D, NaN, its p-value, and the number of rows used.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `sphere` does.
    """
    from scipy.stats import kstwo

    u = _unit_rows(z, len(z), seed)
    n, d = u.shape
    order = np.random.default_rng(seed).permutation(n)[: n // 2 * 2]
    cosines = np.sort(np.einsum("ij,ij->i", u[order[::2]], u[order[1::2]]))
    cdf = cosine_cdf(cosines, d)
    m = len(cosines)
    ranks = np.arange(m) / m
    statistic = float(max(np.max(cdf - ranks), np.max(ranks + 1 / m - cdf)))
    pvalue = max(float(kstwo.sf(statistic, m)), np.finfo(float).tiny)
    return SphereResult(statistic, float("nan"), pvalue, 2 * m)


def cosine_cdf(t: Float[np.ndarray, "..."], dim: int) -> Float[np.ndarray, "..."]:
    """P(U·V ≤ t) for independent directions, uniform on S^(dim−1); also that of one coordinate of U.

    Examples:
        >>> evaluation.sphere.cosine_cdf(np.array([0.0, 0.5]), 3)
        array([0.5 , 0.75])
    """
    t = np.clip(np.asarray(t, dtype=np.float64), -1.0, 1.0)
    half = (dim - 1) / 2
    # Near 0, where 1 − t² would round, from the complement.
    near = betaincc(0.5, half, t * t)
    tail = 0.5 * np.where(t * t < 0.5, near, betainc(half, 0.5, (1.0 - t) * (1.0 + t)))
    return np.where(t < 0, tail, 1.0 - tail)


def uniform_potential(dim: int, alpha: float) -> float:
    """Φ(σ) = log E exp(α U·V) = log[Γ(d/2) (2/α)^(d/2−1) I_(d/2−1)(α)] for uniform directions.

    Summed as the logarithm of ₀F₁(d/2; α²/4), which neither under- nor overflows.

    Examples:
        >>> round(evaluation.sphere.uniform_potential(64, 5.0), 4)
        0.1947

    Args:
        dim: dimension d, at least 2.
        alpha: inverse temperature, positive and finite.
    """
    k = np.arange(int(2 * alpha) + 60)
    terms = 2 * k * np.log(alpha / 2) - gammaln(k + 1) - gammaln(dim / 2 + k) + gammaln(dim / 2)
    return float(logsumexp(terms))


def _unit_rows(z: Float[np.ndarray, "n d"], rows: int, seed: int) -> Float[np.ndarray, "m d"]:
    z = check_embeddings(z, "z")
    if z.shape[1] < 2:
        raise ValueError(f"z has {z.shape[1]} coordinate: directions need at least 2.")
    if len(z) > rows:
        z = z[np.sort(np.random.default_rng(seed).choice(len(z), rows, replace=False))]
    u = directions(z)
    if len(u) < 8:
        raise ValueError(
            f"z has {len(u)} rows that are not all zeros; rows of zeros have no direction, and at "
            f"least 8 others are needed."
        )
    return u


@lru_cache(maxsize=8)
def _null(
    tests: tuple[str, ...], n: int, d: int, alpha: float, seed: int, draws: int
) -> Float[np.ndarray, "draws tests"]:
    def draw(index: int) -> list[float]:
        x = np.random.default_rng([seed, n, d, index]).standard_normal((n, d))
        return _statistics(directions(x), tests, alpha)

    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        return np.array(list(pool.map(draw, range(draws))))


def _statistics(u: Float[np.ndarray, "n d"], tests: tuple[str, ...], alpha: float) -> list[float]:
    n, d = u.shape
    found: dict[str, float] = {}
    if "rayleigh" in tests:
        mean = u.mean(axis=0)
        found["rayleigh"] = float(n * d * (mean @ mean))
    if "bingham" in tests:
        gram = u.T @ u / n if d <= n else u @ u.T / n
        found["bingham"] = float(n * d * (d + 2) / 2 * (np.sum(gram * gram) - 1 / d))
    if set(_PAIRWISE) & set(tests):
        found |= _pairwise(u, tests, alpha)
    return [found[test] for test in tests]


def _pairwise(
    u: Float[np.ndarray, "n d"], tests: tuple[str, ...], alpha: float
) -> dict[str, float]:
    n, d = u.shape
    sines, potential = 0.0, 0.0
    wang_isola, poisson = [], []
    rho = d**-0.5
    size = max(1, BLOCK_ENTRIES // n)
    for start in range(0, n, size):
        cosines = u[start : start + size] @ u.T
        local = np.arange(len(cosines))
        np.clip(cosines, -1.0, 1.0, out=cosines)
        cosines[local, start + local] = 1.0
        if "gine" in tests:
            sines += float(np.sqrt(1.0 - cosines * cosines).sum())
        # exp(-inf) = 0 takes the pairs of a row with itself out of every sum below.
        if "poisson" in tests:
            logs = -0.5 * d * np.log1p(rho * rho - 2 * rho * cosines)
            logs[local, start + local] = -np.inf
            poisson.append(_log_sum(logs))
        cosines[local, start + local] = -np.inf
        if "wang_isola" in tests:
            wang_isola.append(float(np.log(np.exp(4.0 * cosines - 4.0).sum())))
        if "potential" in tests:
            peak = alpha * cosines.max(axis=1)
            total = np.exp(alpha * cosines - peak[:, None]).sum(axis=1)
            potential += float(np.sum(peak + np.log(total / (n - 1))))
    ratio = np.exp(gammaln((d - 1) / 2) - gammaln(d / 2))
    pairs = np.log(n) + np.log(n - 1.0)
    return {
        "gine": n / 2 - (d - 1) / (2 * n) * ratio**2 * sines / 2,
        "wang_isola": float(logsumexp(wang_isola) - pairs) if wang_isola else 0.0,
        "potential": potential / n,
        "poisson": float(np.log1p(-rho * rho) + logsumexp(poisson) - pairs) if poisson else 0.0,
    }


def _log_sum(logs: np.ndarray) -> float:
    peak = float(logs.max())
    return peak + float(np.log(np.exp(logs - peak).sum()))
