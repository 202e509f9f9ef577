"""Exact laws at finite dimension: a coordinate of a uniform direction, and norms of Gaussian vectors.

One coordinate of U ~ σ and the cosine of two independent directions have the same law on [-1, 1], of
density ∝ (1-t²)^((d-3)/2); √d times it tends to N(0, 1). All by NumPy and scipy in float64.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax.theory import _power

# The asymptotic 5 % point of A² with mean and variance estimated (Stephens, 1974).
_AD_CRITICAL_5_PERCENT = 0.752
_FLOAT = Float[np.ndarray, "*shape"] | float
# NumPy gives a scalar, not an array, for a number.
_RESULT = Float[np.ndarray, "*shape"] | np.floating

# From here on the two laws are so near each other that their difference is integrated instead of
# taken between distribution functions.
_CLOSE_DIM = 400

# The least n that the search goes down to.
_FEWEST_ROWS = 20


class NormalDistance(NamedTuple):
    """How far √d·U₁ is from N(0, 1).

    Attributes:
        total_variation: sup over events of the difference in probability.
        kolmogorov: largest difference of the distribution functions.
    """

    total_variation: float
    kolmogorov: float


def log_density(dim: int, t: _FLOAT) -> _RESULT:
    """Log-density of a coordinate of a uniform direction, or of a cosine of two of them.

        f(t) = Γ(d/2) / (√π Γ((d-1)/2)) · (1-t²)^((d-3)/2)

    Examples:
        >>> round(float(theory.sphere.log_density(3, 0.2)), 4)  # uniform on [-1, 1] in three dimensions
        -0.6931

    Args:
        dim: dimension d ≥ 2.
        t: where; -inf outside [-1, 1].

    Returns:
        log f(t).

    Raises:
        ValueError: where d < 2.
    """
    _check_dim(dim)
    t = np.asarray(t, np.float64)
    inside = np.abs(t) <= 1
    with np.errstate(divide="ignore"):
        # (1-t)(1+t) keeps the relative accuracy near the ends.
        logs = np.log1p(-t, where=inside, out=np.zeros_like(t)) + np.log1p(
            t, where=inside, out=np.zeros_like(t)
        )
        power = (dim - 3) / 2 * logs if dim != 3 else np.zeros_like(t)
    constant = _log_gamma_ratio(dim) + 0.5 * np.log(dim / (2 * np.pi))
    return np.where(inside, constant + power, -np.inf)


def cdf(dim: int, t: _FLOAT) -> _RESULT:
    """P(U₁ ≤ t) for a coordinate of a uniform direction, or for a cosine of two of them.

    Examples:
        >>> float(theory.sphere.cdf(16, 0.0))
        0.5

    Args:
        dim: dimension d ≥ 2.
        t: where; 0 below -1 and 1 above 1.

    Returns:
        The probability, of full relative accuracy in the lower tail.

    Raises:
        ValueError: where d < 2.
    """
    from scipy.special import betainc, betaincc

    _check_dim(dim)
    t = np.clip(np.asarray(t, np.float64), -1, 1)
    a = (dim - 1) / 2
    # ½ I_(1-t²)(a, ½) in the lower half, and its complement in the upper: I_(t²)(½, a) where 1-t²
    # would round.
    small = t**2 < 0.5
    tail = np.where(small, betaincc(0.5, a, t**2), betainc(a, 0.5, (1 - t) * (1 + t))) / 2
    return np.where(t <= 0, tail, 1 - tail)


def quantile(dim: int, probability: _FLOAT) -> _RESULT:
    """The t at which P(U₁ ≤ t) is `probability`.

    Examples:
        >>> round(float(theory.sphere.quantile(64, 0.975)), 4)
        0.2441

    Args:
        dim: dimension d ≥ 2.
        probability: in [0, 1].

    Returns:
        Quantiles in [-1, 1].

    Raises:
        ValueError: where d < 2, or a probability lies outside [0, 1].
    """
    from scipy.special import betaincinv

    _check_dim(dim)
    p = np.asarray(probability, np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"probability is {probability}; it must lie in [0, 1].")
    a = (dim - 1) / 2
    centred = np.abs(p - 0.5)
    inner = np.sqrt(betaincinv(0.5, a, 2 * centred))
    outer = np.sqrt(1 - betaincinv(a, 0.5, 2 * np.minimum(p, 1 - p)))
    return np.copysign(np.where(inner**2 < 0.5, inner, outer), p - 0.5)


def moment(dim: int, order: int) -> float:
    """E U₁^order: 0 for odd orders, 1·3···(2k-1) / (d (d+2)···(d+2k-2)) for order 2k.

    Examples:
        >>> theory.sphere.moment(64, 2) * 64
        1.0

    Args:
        dim: dimension d ≥ 2.
        order: an integer ≥ 0.

    Returns:
        The moment. The variance is 1/d.

    Raises:
        ValueError: where d < 2, or the order is negative.
    """
    _check_dim(dim)
    if order < 0:
        raise ValueError(f"order is {order}; a moment's order is 0 or more.")
    if order % 2:
        return 0.0
    return float(np.prod([(2 * j + 1) / (dim + 2 * j) for j in range(order // 2)]))


def excess_kurtosis(dim: int) -> float:
    """Excess kurtosis -6/(d+2) of a coordinate of a uniform direction in dimension d ≥ 2.

    Examples:
        >>> theory.sphere.excess_kurtosis(4)
        -1.0

    Args:
        dim: dimension d ≥ 2.
    """
    _check_dim(dim)
    return -6.0 / (dim + 2)


def distance_to_normal(dim: int) -> NormalDistance:
    """Total variation and Kolmogorov distance between √d·U₁ and N(0, 1), exactly.

    The log-ratio of the densities has the derivative x (3-x²)/(d-x²): it rises up to √3 and falls
    from there, so the densities cross once on each side of √3 and both distances are taken between
    these two points. For large d they are 0.350/d and 0.138/d, up to a relative O(1/d).

    Examples:
        >>> round(theory.sphere.distance_to_normal(64).total_variation, 4)
        0.0056

    Args:
        dim: dimension d ≥ 2.

    Returns:
        Both distances, with a relative error of about 1e-10.

    Raises:
        ValueError: where d < 2.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    _check_dim(dim)
    edge = np.sqrt(dim)

    def log_ratio(x):
        # log f(x/√d)/√d - log φ(x); the constants have cancelled inside _log_gamma_ratio.
        x = np.asarray(x, np.float64)
        shape = (dim - 3) / 2 * np.log1p(-np.minimum(x**2 / dim, 1.0)) if dim != 3 else 0.0
        return _log_gamma_ratio(dim) + shape + x**2 / 2

    inner = brentq(log_ratio, 0.0, min(np.sqrt(3), edge * (1 - 1e-12)), xtol=1e-15)
    outer = edge
    if dim > 3:
        with np.errstate(divide="ignore"):
            outer = brentq(lambda x: max(log_ratio(x), -1e3), np.sqrt(3), edge, xtol=1e-15)

    def excess(low, high):
        """∫ (f - φ) over [low, high]."""
        if dim < _CLOSE_DIM:
            f = cdf(dim, -low / edge) - cdf(dim, -high / edge)
            return float(f - (ndtr(-low) - ndtr(-high)))
        nodes, weights = np.polynomial.legendre.leggauss(120)
        x = (high + low) / 2 + (high - low) / 2 * nodes
        normal = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        return float((high - low) / 2 * np.sum(weights * normal * np.expm1(log_ratio(x))))

    gained = excess(inner, outer)
    below = -excess(0.0, inner)
    beyond = gained - below
    return NormalDistance(2 * gained, max(below, beyond))


def coordinates_total_variation(dim: int, count: int) -> float:
    """Total variation between √d times k coordinates of a uniform direction and N(0, I_k), exactly.

    Both laws are invariant under rotations, so it is that of their squared radii: d times a
    Beta(k/2, (d-k)/2) variable, and χ² with k degrees of freedom. The log-ratio of the densities rises
    up to k + 2 and falls from there.

    Examples:
        >>> round(theory.sphere.coordinates_total_variation(128, 2), 4)
        0.0049

    Args:
        dim: dimension d ≥ 2.
        count: number k of coordinates, from 1 to d - 1.

    Returns:
        The total variation, at most `diaconis_freedman_bound`.

    Raises:
        ValueError: where d < 2, or k is outside its range.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, gammaln

    _check_count(dim, count)
    half, rest = count / 2, (dim - count) / 2
    constant = -half * np.log(dim / 2) - betaln(half, rest) + gammaln(half)

    def log_ratio(q):
        return constant + (rest - 1) * np.log1p(-q / dim) + q / 2

    top = min(count + 2.0, dim * (1 - 1e-12))
    inner = brentq(log_ratio, 0.0, top, xtol=1e-14)
    outer = float(dim)
    if rest > 1:
        outer = brentq(log_ratio, top, dim * (1 - 1e-15), xtol=1e-14)
    # The squared radius is inner + (limit - inner) sin²(θ/2), as the density may have poles at the ends.
    nodes, weights = np.polynomial.legendre.leggauss(400)
    limit = min(outer, count + 40 * np.sqrt(2 * count) + 100)
    angle = (nodes + 1) * np.pi / 2
    q = inner + (limit - inner) * np.sin(angle / 2) ** 2
    normal = np.exp((half - 1) * np.log(q / 2) - q / 2 - gammaln(half)) / 2
    gap = normal * np.expm1(log_ratio(q))
    return float(np.sum(weights * gap * np.sin(angle)) * (limit - inner) / 2 * np.pi / 2)


def diaconis_freedman_bound(dim: int, count: int) -> float:
    """2(k+3)/(d-k-3), a bound on `coordinates_total_variation`.

    Examples:
        >>> round(theory.sphere.diaconis_freedman_bound(128, 2), 4)
        0.0813

    Args:
        dim: dimension d ≥ 2.
        count: number k of coordinates, from 1 to d - 4.

    Returns:
        The bound; above 1 it says nothing.

    Raises:
        ValueError: where d < 2, or k is outside its range.

    References:
        Diaconis & Freedman, A dozen de Finetti-style results in search of a theory, 1987.
    """
    _check_count(dim, count)
    if count > dim - 4:
        raise ValueError(f"count is {count} at dim {dim}; the bound needs count ≤ dim - 4.")
    return 2 * (count + 3) / (dim - count - 3)


def anderson_darling_excess(dim: int) -> float:
    """Δ(d), by which a sample of n draws of √d·U₁ raises the mean of A² above its null: by n·Δ(d).

        Δ(d) = ∫ (F_d(x) - Φ(x))² / (Φ(x) (1 - Φ(x))) φ(x) dx = 0.0605/d² · (1 + O(1/d)),

    with F_d the distribution function of √d·U₁, and Φ, φ those of N(0, 1). √Δ is a distance between
    the two laws, as total variation is, and like it falls as 1/d.

    Examples:
        >>> round(1000 * theory.sphere.anderson_darling_excess(8), 2)  # added to 0.384 by 1,000 rows
        1.14

    Args:
        dim: dimension d ≥ 2.

    Returns:
        Δ(d), per sample.

    Raises:
        ValueError: where d < 2.
    """
    from scipy.special import ndtr

    _check_dim(dim)
    # The laws are symmetric; the distribution function of the sphere has a kink at √d.
    edge = min(np.sqrt(dim), 12.0)
    total = 0.0
    for low, high in ((0.0, edge), (edge, 12.0)):
        if low < high:
            nodes, weights = np.polynomial.legendre.leggauss(400)
            x = (high + low) / 2 - (high - low) / 2 * nodes
            gap = cdf(dim, -x / np.sqrt(dim)) - ndtr(-x)
            normal = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
            density = gap**2 * normal / (ndtr(x) * ndtr(-x))
            total += float((high - low) * np.sum(weights * density))
    return total


def detectable_sample_size(dim: int, test: str = "anderson_darling", power: float = 0.5) -> float:
    """How many draws of √d·U₁ a test at the 5 % level needs to tell them from a normal.

    From the tests' laws under the alternative, mean and variance estimated. Anderson-Darling's A² is
    Σ λ_i (Z_i + √n c_i)² with λ_i, c_i from the kernel of the empirical process and the difference of
    the distribution functions. D'Agostino-Pearson's K² = Z₁² + Z₂² has a normal Z₁ and a nearly normal
    Z₂, whose means, variances and third cumulants follow from the moments of √d·U₁ by the delta method,
    the variances to second order in 1/n. (χ² with two degrees of freedom and the noncentrality
    n·(excess kurtosis)²/24 would be the limit for d → ∞. The kurtosis of a sample of this light-tailed
    law varies less than the normal's, so that limit asks for a third too many rows at d = 16.) Both
    sizes grow as d²; with fewer draws a uniform direction passes for Gaussian.

    Examples:
        >>> round(theory.sphere.detectable_sample_size(16))
        1668

    Args:
        dim: dimension d ≥ 2.
        test: "anderson_darling" or "dagostino_pearson"; or "ad" or "dp", as the evaluation calls
            them.
        power: probability of rejection, above 0.05 and below 1.

    Returns:
        The sample size, at least 20 for D'Agostino-Pearson. Against simulation in 16 dimensions it is
        within 15 % for Anderson-Darling. For D'Agostino-Pearson the power there, from 0.2 on, is within
        0.006 of the simulated one in 8 dimensions and within 0.003 in 16, 32 and 128.

    Raises:
        ValueError: for an unknown test, or a power outside its range.
    """
    from scipy.optimize import brentq

    _check_dim(dim)
    if not 0.05 < power < 1:
        raise ValueError(f"power is {power}; it must lie between the level 0.05 and 1.")
    fewest = 0.01
    if test in ("dagostino_pearson", "dp"):
        # At few rows the expansion rejects too often where there is nothing to see, so in many
        # dimensions the search starts well below the limit for d → ∞, which asks for more rows.
        limit = _power.noncentrality(power) * 24 / excess_kurtosis(dim) ** 2
        fewest = _FEWEST_ROWS if dim < 16 else max(_FEWEST_ROWS, 0.3 * limit)

        moments = np.array([moment(dim, k) * float(dim) ** (k / 2) for k in range(13)])
        law = _power.expand(moments)

        def rejects(n):
            return _power.dagostino_pearson_power(law, n)

    elif test in ("anderson_darling", "ad"):
        weights, shifts, rest = _power.anderson_darling_modes(lambda x: cdf(dim, x / np.sqrt(dim)))

        def rejects(n):
            return _power.tail_of_quadratic_form(
                _AD_CRITICAL_5_PERCENT - rest, weights, n * shifts**2
            )

    else:
        raise ValueError(
            f"test is {test!r}; use 'anderson_darling' ('ad') or 'dagostino_pearson' ('dp')."
        )
    low, high = np.log(fewest), np.log(1e3 * dim**2 + 1e4)
    if rejects(fewest) >= power:
        return float(fewest)
    return float(np.exp(brentq(lambda y: rejects(np.exp(y)) - power, low, high, xtol=1e-6)))


def norm_cv(spectrum: Float[np.ndarray, " dim"] | int) -> float:
    """CV = std/mean of the norm of a centred Gaussian vector, exactly.

    The mean of ‖z‖ for z ~ N(0, C) with eigenvalues λ_i is

        E‖z‖ = (1/(2√π)) ∫ (1 - Π (1 + 2 λ_i t)^(-1/2)) t^(-3/2) dt,

    and E‖z‖² = Σ λ_i. With the participation ratio PR = (Σλ)²/Σλ², CV → 1/√(2·PR) for PR ≫ 1.

    Examples:
        >>> round(theory.sphere.norm_cv(128), 4), round(1 / (2 * 128) ** 0.5, 4)
        (0.0626, 0.0625)

    Args:
        spectrum: eigenvalues of the covariance, not negative and not all 0; or the dimension d of
            an isotropic Gaussian.

    Returns:
        The coefficient of variation.

    Raises:
        ValueError: for a negative or empty spectrum, or a dimension below 1.
    """
    if np.ndim(spectrum) == 0:
        if spectrum < 1:
            raise ValueError(f"The dimension is {spectrum}; it must be at least 1.")
        # E‖z‖ = √2 Γ((d+1)/2) / Γ(d/2), so that CV² = d/E‖z‖² - 1.
        return float(np.sqrt(np.expm1(-2 * _log_gamma_ratio(int(spectrum) + 1, shift=True))))
    values = np.asarray(spectrum, np.float64)
    if values.ndim != 1 or not np.all(values >= 0) or not values.sum() > 0:
        raise ValueError(
            "spectrum must be a vector of eigenvalues of a covariance: none negative, not all zero. "
            f"It has shape {values.shape}"
            + (f" and least value {values.min()}." if values.size else ".")
        )
    values = values[values > 0] / values.sum()
    # Against the norm 1 that Σλ = 1 would give without spread: its integrand is exp(-t). The
    # trapezoidal rule in log t, where the difference decays exponentially on both sides.
    step = 0.05
    y = np.arange(-50.0, 80.0, step)
    t = np.exp(y)
    half_log_det = np.zeros_like(y)
    for value in values:
        half_log_det += np.log1p(2 * value * t) / 2
    near = np.exp(-t) * np.expm1(np.minimum(t - half_log_det, 30.0))
    difference = np.where(t < 10, near, np.exp(-half_log_det) - np.exp(-t))
    short = step * np.sum(difference * np.exp(-y / 2)) / (2 * np.sqrt(np.pi))  # 1 - E‖z‖
    return float(np.sqrt(short * (2 - short)) / (1 - short))


def _log_gamma_ratio(dim: int, shift: bool = False) -> float:
    """log[Γ(d/2)/Γ((d-1)/2)] - ½ log(d/2), or with `shift` -½ log((d-1)/2), without cancellation."""
    from scipy.special import gammaln

    x = dim / 2
    if dim < 60:
        value = float(gammaln(x) - gammaln(x - 0.5) - 0.5 * np.log(x))
    else:
        # Stirling's series: its logarithms are combined before they are rounded.
        def series(x):
            return 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5) - 1 / (1680 * x**7)

        # -(x-1) log(1-h) - 1/2 with h = 1/(2x), as a power series in h.
        h = 1 / (2 * x)
        k = np.arange(1, 16)
        # (x-1) = 1/(2h) - 1, and -log(1-h) = Σ h^k/k: what is left after 1/2 cancels.
        value = float(np.sum((0.5 / (k + 1) - 1.0 / k) * h**k))
        value += series(x) - series(x - 0.5)
    if shift:
        value += 0.5 * np.log1p(1 / (dim - 1))
    return value


def _check_dim(dim: int) -> None:
    if int(dim) != dim or dim < 2:
        raise ValueError(f"dim is {dim}; the sphere has a uniform density from dimension 2 on.")


def _check_count(dim: int, count: int) -> None:
    _check_dim(dim)
    if int(count) != count or not 1 <= count < dim:
        raise ValueError(
            f"count is {count}; it must be a whole number from 1 to dim - 1 = {dim - 1}."
        )
