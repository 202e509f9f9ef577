"""How often two tests of normality reject a symmetric law of mean 0 and variance 1 at the 5 % level.

From the tests' laws under that alternative, mean and variance estimated from the sample.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# The 5 % point of χ² with two degrees of freedom.
_CHI2_2_CRITICAL = 5.991464547107979
# Terms of third order of the sample skewness and kurtosis in the deviations of the sample moments. Each
# has a coefficient, constant + times · fourth moment, as a pair, and its three moments, counted from 0.
_CUBIC_SKEWNESS = (
    ((1.5, 0.0), 0, 0, 2),
    ((1.875, 0.0), 1, 1, 2),
    ((-2.5, 0.0), 0, 0, 0),
    ((-1.125, 0.0), 0, 1, 1),
)
_CUBIC_KURTOSIS = (
    ((-6.0, -6.0), 0, 0, 1),
    ((0.0, -4.0), 1, 1, 1),
    ((2.0, 0.0), 0, 0, 3),
    ((3.0, 0.0), 1, 1, 3),
    ((8.0, 0.0), 0, 1, 2),
)


class Expansion(NamedTuple):
    """Cumulants of the sample skewness and kurtosis of a law, by their orders in 1/n.

    Attributes:
        kurtosis: of the law.
        bias: n times the bias of the sample kurtosis.
        variance: n times its variance, to leading order.
        next_variance: n times the next term of the variance over the leading one.
        skewness_variance: as `variance`, of the sample skewness.
        next_skewness_variance: as `next_variance`, of the sample skewness.
        third: n² times the third cumulant of the sample kurtosis.
        joint: n² times the third cumulant of skewness, skewness and kurtosis.
    """

    kurtosis: float
    bias: float
    variance: float
    next_variance: float
    skewness_variance: float
    next_skewness_variance: float
    third: float
    joint: float


def expand(moments: Float[np.ndarray, "13"]) -> Expansion:
    """The cumulants from the law's moments of order 0 to 12, by the delta method.

    The sample skewness and kurtosis are functions of the first four sample moments.
    """
    fourth = moments[4]
    # Influence functions, less their means, and second derivatives, by the moments of order 1 to 4.
    skewness = np.array([0.0, -3.0, 0.0, 1.0])
    kurtosis = np.array([fourth, 0.0, -2.0 * fourth, 0.0, 1.0])
    bend_skewness, bend_kurtosis = np.zeros((2, 4, 4))
    bend_skewness[0, 1], bend_skewness[1, 2] = 1.5, -1.5
    bend_skewness += bend_skewness.T
    bend_kurtosis[0, 2], bend_kurtosis[1, 3] = -4.0, -2.0
    bend_kurtosis += bend_kurtosis.T
    bend_kurtosis[0, 0], bend_kurtosis[1, 1] = 12.0 + 4.0 * fourth, 6.0 * fourth
    covariance = np.array(
        [[moments[i + j] - moments[i] * moments[j] for j in range(1, 5)] for i in range(1, 5)]
    )
    mean = functools.partial(_mean, moments)
    with_skewness, with_kurtosis = (
        np.array([mean(f, power) for power in np.eye(5)[1:]]) for f in (skewness, kurtosis)
    )
    third = mean(kurtosis, kurtosis, kurtosis) + 3 * with_kurtosis @ bend_kurtosis @ with_kurtosis
    joint = mean(skewness, skewness, kurtosis) + with_skewness @ bend_kurtosis @ with_skewness
    joint += 2 * with_skewness @ bend_skewness @ with_kurtosis
    return Expansion(
        kurtosis=float(fourth),
        bias=0.5 * float(np.sum(bend_kurtosis * covariance)),
        variance=mean(kurtosis, kurtosis),
        next_variance=_next_variance(moments, kurtosis, bend_kurtosis, _CUBIC_KURTOSIS),
        skewness_variance=mean(skewness, skewness),
        next_skewness_variance=_next_variance(moments, skewness, bend_skewness, _CUBIC_SKEWNESS),
        third=float(third),
        joint=float(joint),
    )


def dagostino_pearson_power(law: Expansion, n: float) -> float:
    """P(K² > 5.99) for n draws.

    K² = Z₁² + Z₂², where Z₁ is normal and Z₂ nearly so; they transform the sample skewness and kurtosis.
    Under another law than the normal their variances are not 6/n and 24/n, the kurtosis is biased, and
    D'Agostino's and Anscombe & Glynn's transformations are not linear. Means and variances are taken to
    second order in 1/n. The third cumulants give the skewness of Z₂ and the dependence of Z₁² on Z₂. All
    are multiplied by the ratio of the exact value to the expansion under normality.

    Args:
        law: from `expand`.
        n: the sample size.
    """
    from scipy.special import ndtr

    centre = law.kurtosis + law.bias / n
    null_kurtosis = n**2 * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    null_skewness = n * (n - 2) / ((n + 1) * (n + 3))
    # Under normality the next terms are −15/n and −6/n, which the exact values hold.
    variance = null_kurtosis * law.variance / n * (1 + (law.next_variance + 15) / n)
    skewness_variance = null_skewness * law.skewness_variance / n
    skewness_variance *= 1 + (law.next_skewness_variance + 6) / n
    third, joint = null_kurtosis**1.5 * law.third, null_skewness * null_kurtosis**0.5 * law.joint

    # Z₂ and its derivatives at the kurtosis' mean.
    step = 0.01
    lowest, below, at, above, highest = (
        _kurtosis_score(centre + k * step, n) for k in range(-2, 3)
    )
    slope, curvature = (above - below) / (2 * step), (above - 2 * at + below) / step**2
    bend_change = (highest - 2 * above + 2 * below - lowest) / (2 * step**3)
    score = at + 0.5 * curvature * variance + bend_change * third / (6 * n**2)
    of_score = slope**2 * variance + 0.5 * curvature**2 * variance**2
    of_score += slope * curvature * third / n**2 + slope * bend_change * variance**2
    spread = np.sqrt(of_score)
    skew = slope**3 * third / n**2 + 3 * slope**2 * curvature * variance**2
    skew /= spread**3
    # By how much the variance of Z₁ rises, as a fraction, for one standard deviation of Z₂.
    tilt = slope * joint / n**2 / skewness_variance / spread
    skewness_scale = _skewness_slope(n) * np.sqrt(skewness_variance)
    limit = np.sqrt(_CHI2_2_CRITICAL)
    nodes, weights = _gauss(200)
    # z = limit·sin θ takes the root's singularity at the ends away.
    angle = nodes * np.pi / 2
    z = limit * np.sin(angle)
    x = (z - score) / spread
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) / spread
    density *= np.maximum(1 + skew / 6 * (x**3 - 3 * x), 0.0)
    scale = skewness_scale * np.sqrt(np.maximum(1 + tilt * x, 0.05))
    inside = density * (1 - 2 * ndtr(-limit * np.cos(angle) / scale))
    return float(1 - np.sum(weights * inside * limit * np.cos(angle)) * np.pi / 2)


@functools.cache
def _gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


def _mean(moments: Float[np.ndarray, "13"], *factors: np.ndarray) -> float:
    """The mean of a product of polynomials, lowest power first."""
    product = functools.reduce(np.polynomial.polynomial.polymul, factors)
    return float(product @ moments[: len(product)])


def _next_variance(
    moments: Float[np.ndarray, "13"],
    influence: Float[np.ndarray, " order"],
    bend: Float[np.ndarray, "4 4"],
    cubic: tuple,
) -> float:
    """n times the second term of the variance of a function of sample moments over the first.

    With g_i, g_ij and g_ijk the derivatives, Σ the moments' covariance and κ their third cumulants:
    g_i g_jk κ_ijk + ½ g_ij g_kl Σ_ik Σ_jl + g_i g_jkl Σ_ij Σ_kl, over g_i g_j Σ_ij.
    """
    powers = np.eye(5)[1:]
    centred = [power - moments[i + 1] * np.eye(5)[0] for i, power in enumerate(powers)]
    covariance = np.array([[_mean(moments, a, b) for b in centred] for a in centred])
    along = np.array([_mean(moments, influence, a) for a in centred])
    both = np.array([[_mean(moments, influence, a, b) for b in centred] for a in centred])
    bent = bend @ covariance
    total = np.sum(bend * both) + 0.5 * np.trace(bent @ bent)
    for (constant, of_fourth), i, j, k in cubic:
        pairs = (
            covariance[i, j] * along[k] + covariance[i, k] * along[j] + covariance[j, k] * along[i]
        )
        total += 2 * (constant + of_fourth * moments[4]) * pairs
    return float(total) / _mean(moments, influence, influence)


def noncentrality(power: float) -> float:
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


def anderson_darling_modes(
    distribution: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, float]:
    """λ_i and c_i of A² = Σ λ_i (Z_i + √n c_i)² for a law, mean and variance estimated.

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
    drift = distribution(x) - lower
    rest = float(np.sum(np.diag(kernel) * root**2) - weights.sum())
    return weights, (root * drift) @ modes / np.sqrt(weights), rest


def tail_of_quadratic_form(x: float, weights: np.ndarray, noncentral: np.ndarray) -> float:
    """P(Σ λ_i χ²_1(δ_i) > x), by Imhof's inversion of the characteristic function."""
    # The integrand's size falls faster than any power: 1e-6 at the end.
    u = (np.arange(30_000) + 0.5) * 0.005
    angle, log_size = -x * u / 2, np.zeros_like(u)
    for weight, shift in zip(weights, noncentral, strict=True):
        scaled = (weight * u) ** 2
        angle += 0.5 * (np.arctan(weight * u) + shift * weight * u / (1 + scaled))
        log_size += 0.25 * np.log1p(scaled) + 0.5 * shift * scaled / (1 + scaled)
    return float(0.5 + 0.005 * np.sum(np.sin(angle) * np.exp(-log_size) / u) / np.pi)
