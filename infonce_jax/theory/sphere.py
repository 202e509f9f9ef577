"""Exact laws at finite dimension: a coordinate of a uniform direction, and norms of Gaussian vectors.

One coordinate of U ~ σ and the cosine of two independent directions have the same law on [-1, 1], of
density ∝ (1-t²)^((d-3)/2); √d times it tends to N(0, 1). All by NumPy and scipy in float64.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# The asymptotic 5 % point of A² with mean and variance estimated (Stephens, 1974).
_AD_CRITICAL_5_PERCENT = 0.752
_FLOAT = Float[np.ndarray, "*shape"] | float
# NumPy gives a scalar, not an array, for a number.
_RESULT = Float[np.ndarray, "*shape"] | np.floating

# From here on the two laws are so near each other that their difference is integrated instead of
# taken between distribution functions.
_CLOSE_DIM = 400

# The 5 % point of χ² with two degrees of freedom, and the least n that the search goes down to.
_CHI2_2_CRITICAL = 5.991464547107979
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
    Z₂, whose means, variances and third cumulants follow from the moments of √d·U₁ by the delta method.
    (χ² with two degrees of freedom and the noncentrality n·(excess kurtosis)²/24 would be the limit
    for d → ∞. The kurtosis of a sample of this light-tailed law varies less than the normal's, so
    that limit asks for a third too many rows at d = 16.) Both sizes grow as d²; with fewer draws a
    uniform direction passes for Gaussian.

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
        within 15 % for Anderson-Darling. For D'Agostino-Pearson the power there is within 0.03 of the
        simulated one in 8 dimensions, and within 0.01 in 16 and more.

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
        limit = _noncentrality(power) * 24 / excess_kurtosis(dim) ** 2
        fewest = _FEWEST_ROWS if dim < 16 else max(_FEWEST_ROWS, 0.3 * limit)

        def rejects(n):
            return _dagostino_pearson_power(dim, n)

    elif test in ("anderson_darling", "ad"):
        weights, shifts, rest = _anderson_darling_modes(dim)

        def rejects(n):
            return _tail_of_quadratic_form(_AD_CRITICAL_5_PERCENT - rest, weights, n * shifts**2)

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


def _dagostino_pearson_power(dim: int, n: float) -> float:
    """P(K² > 5.99) for n draws of √d·U₁, by the delta method to second order in n^(−1/2).

    The sample skewness and kurtosis are functions of the first four sample moments. Under this law
    their variances are not 6/n and 24/n, as under normality, but smaller, the kurtosis is biased, and
    D'Agostino's and Anscombe & Glynn's transformations are not linear. The third cumulants of both
    give the skewness of Z₂ and the dependence of Z₁² on Z₂. Variances are multiplied by the ratio of
    the exact to the limiting one under normality, which matters below some hundred draws.
    """
    from scipy.special import ndtr

    polynomial = np.polynomial.polynomial
    moments = np.array([moment(dim, k) * float(dim) ** (k / 2) for k in range(13)])
    fourth = moments[4]

    def mean(*factors):
        product = functools.reduce(polynomial.polymul, factors)
        return float(product @ moments[: len(product)])

    # Influence functions, less their means, and second derivatives, by the moments of order 1 to 4.
    skewness = np.array([0.0, -3.0, 0.0, 1.0])
    kurtosis = np.array([fourth, 0.0, -2.0 * fourth, 0.0, 1.0])
    bend_skewness, bend_kurtosis = np.zeros((2, 4, 4))
    bend_skewness[0, 1], bend_skewness[1, 2] = 1.5, -1.5
    bend_skewness += bend_skewness.T
    bend_kurtosis[0, 2], bend_kurtosis[1, 3] = -4.0, -2.0
    bend_kurtosis += bend_kurtosis.T
    bend_kurtosis[0, 0], bend_kurtosis[1, 1] = 12.0 + 4.0 * fourth, 6.0 * fourth
    powers = np.eye(5)[1:]
    with_skewness, with_kurtosis = (
        np.array([mean(f, power) for power in powers]) for f in (skewness, kurtosis)
    )
    covariance = np.array(
        [[moments[i + j] - moments[i] * moments[j] for j in range(1, 5)] for i in range(1, 5)]
    )
    centre = fourth + 0.5 * np.sum(bend_kurtosis * covariance) / n
    null_kurtosis = n**2 * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    null_skewness = n * (n - 2) / ((n + 1) * (n + 3))
    variance = null_kurtosis * mean(kurtosis, kurtosis) / n
    third = mean(kurtosis, kurtosis, kurtosis) + 3 * with_kurtosis @ bend_kurtosis @ with_kurtosis
    joint = mean(skewness, skewness, kurtosis) + with_skewness @ bend_kurtosis @ with_skewness
    joint += 2 * with_skewness @ bend_skewness @ with_kurtosis
    third, joint = null_kurtosis**1.5 * third, null_skewness * null_kurtosis**0.5 * joint

    below, at, above = (_kurtosis_score(centre + shift, n) for shift in (-1e-3, 0.0, 1e-3))
    slope, curvature = (above - below) / 2e-3, (above - 2 * at + below) / 1e-6
    score = at + 0.5 * curvature * variance
    spread = np.sqrt(slope**2 * variance + 0.5 * curvature**2 * variance**2)
    skew = slope**3 * third / n**2 + 3 * slope**2 * curvature * variance**2
    skew /= spread**3
    skewness_variance = null_skewness * mean(skewness, skewness) / n
    # By how much the variance of Z₁ rises, as a fraction, for one standard deviation of Z₂.
    tilt = slope * joint / n**2 / skewness_variance / spread
    skewness_scale = _skewness_slope(n) * np.sqrt(skewness_variance)
    limit = np.sqrt(_CHI2_2_CRITICAL)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    # z = limit·sin θ takes the root's singularity at the ends away.
    angle = nodes * np.pi / 2
    z = limit * np.sin(angle)
    x = (z - score) / spread
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) / spread
    density *= np.maximum(1 + skew / 6 * (x**3 - 3 * x), 0.0)
    scale = skewness_scale * np.sqrt(np.maximum(1 + tilt * x, 0.05))
    inside = density * (1 - 2 * ndtr(-limit * np.cos(angle) / scale))
    return float(1 - np.sum(weights * inside * limit * np.cos(angle)) * np.pi / 2)


def _noncentrality(power: float) -> float:
    """At which a χ² variable with two degrees of freedom exceeds its 5 % point with this probability."""
    from scipy.optimize import brentq
    from scipy.stats import ncx2

    return brentq(lambda c: float(ncx2.sf(_CHI2_2_CRITICAL, 2, c)) - power, 1e-9, 1e3)


def _kurtosis_score(kurtosis: float, n: float) -> float:
    """Anscombe & Glynn's (1983) Z₂ of a sample kurtosis b₂."""
    mean = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    skew = 6 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9))
    skew *= np.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / skew * (2 / skew + np.sqrt(1 + 4 / skew**2))
    denominator = 1 + (kurtosis - mean) / np.sqrt(variance) * np.sqrt(2 / (a - 4))
    return (1 - 2 / (9 * a) - np.cbrt((1 - 2 / a) / denominator)) / np.sqrt(2 / (9 * a))


def _skewness_slope(n: float) -> float:
    """The slope at 0 of D'Agostino's (1970) Z₁ as a function of the sample skewness."""
    y = np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta2 = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3)
    beta2 /= (n - 2) * (n + 5) * (n + 7) * (n + 9)
    w2 = np.sqrt(2 * (beta2 - 1)) - 1
    return y / np.sqrt(2 / (w2 - 1)) / np.sqrt(0.5 * np.log(w2))


def _anderson_darling_modes(dim: int) -> tuple[np.ndarray, np.ndarray, float]:
    """λ_i and c_i of A² = Σ λ_i (Z_i + √n c_i)² for √d·U₁, mean and variance estimated.

    The third number is the sum of the λ_i left out, which are so many and so small that their share
    of A² hardly varies.

    The limiting empirical process of normal data has the covariance
    min(u,v) - uv - φ(x)φ(y)(1 + xy/2), and A² integrates its square over du/(u(1-u)).
    """
    from scipy.special import ndtr

    step = 0.04
    x = np.arange(-6.5, 6.5 + step / 2, step)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    # Of the same accuracy in both tails: min(u,v) - uv = min(u,v)·min(1-u,1-v) by order.
    lower, upper = ndtr(x), ndtr(-x)
    before = x[:, None] <= x
    bridge = np.where(before, np.outer(lower, upper), np.outer(upper, lower))
    kernel = bridge - np.outer(density, density) - np.outer(x * density, x * density) / 2
    root = np.sqrt(step * density / (lower * upper))
    weights, modes = np.linalg.eigh(kernel * np.outer(root, root))
    weights, modes = weights[::-1][:60], modes[:, ::-1][:, :60]
    drift = cdf(dim, x / np.sqrt(dim)) - lower
    rest = float(np.sum(np.diag(kernel) * root**2) - weights.sum())
    return weights, (root * drift) @ modes / np.sqrt(weights), rest


def _tail_of_quadratic_form(x: float, weights: np.ndarray, noncentral: np.ndarray) -> float:
    """P(Σ λ_i χ²_1(δ_i) > x), by Imhof's inversion of the characteristic function."""
    # The integrand's size falls faster than any power: 1e-6 at the end.
    u = (np.arange(30_000) + 0.5) * 0.005
    angle, log_size = -x * u / 2, np.zeros_like(u)
    for weight, shift in zip(weights, noncentral, strict=True):
        scaled = (weight * u) ** 2
        angle += 0.5 * (np.arctan(weight * u) + shift * weight * u / (1 + scaled))
        log_size += 0.25 * np.log1p(scaled) + 0.5 * shift * scaled / (1 + scaled)
    return float(0.5 + 0.005 * np.sum(np.sin(angle) * np.exp(-log_size) / u) / np.pi)


def _check_dim(dim: int) -> None:
    if int(dim) != dim or dim < 2:
        raise ValueError(f"dim is {dim}; the sphere has a uniform density from dimension 2 on.")


def _check_count(dim: int, count: int) -> None:
    _check_dim(dim)
    if int(count) != count or not 1 <= count < dim:
        raise ValueError(
            f"count is {count}; it must be a whole number from 1 to dim - 1 = {dim - 1}."
        )
