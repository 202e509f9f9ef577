"""The objectives that ask for a Gaussian, and the measures, in float64 NumPy from their formulas."""

import functools
import itertools

import numpy as np
from scipy import integrate, linalg, special, stats


def unit(z):
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(norm == 0, 1, norm)


def _over_samples(views, directions, pooled, of_sample):
    """Mean over views, or of all their rows, and over directions."""
    batches = [np.concatenate(views)] if pooled else views
    return np.mean([of_sample(z @ a) for z in batches for a in directions.T])


def sigreg(*views, directions, pooled=False, unbiased=False, t_max=3.0, knots=17):
    t = np.linspace(0, t_max, knots)
    target = np.exp(-(t**2) / 2)

    def of_sample(x):
        if unbiased:
            # Pair by pair, without the empirical characteristic function.
            apart = (x[:, None] - x)[~np.eye(len(x), dtype=bool)]
            of_pairs, of_rows = (np.cos(np.outer(v, t)).mean(0) for v in (apart, x))
            distance = of_pairs - 2 * target * of_rows + target**2
        else:
            characteristic = np.exp(1j * np.outer(x, t)).mean(0)
            distance = len(x) * np.abs(characteristic - target) ** 2
        return 2 * np.trapezoid(distance * target, t)

    return _over_samples(views, directions, pooled, of_sample)


@functools.cache
def _cells(n):
    """∫ y^k φ(y) dy, k = 0, 1, 2, over each of n cells of N(0, 1) of equal mass, by quadrature."""
    edges = special.ndtri(np.arange(n + 1) / n)

    def moment(k, low, high):
        return integrate.quad(
            lambda y: y**k * stats.norm.pdf(y), low, high, epsabs=1e-13, epsrel=1e-13
        )[0]

    return np.array([[moment(k, *cell) for cell in itertools.pairwise(edges)] for k in range(3)])


def sliced_wasserstein(*views, directions, pooled=False):
    def of_sample(x):
        x = np.sort(x)
        mass, mean, square = _cells(len(x))
        return np.sum(x**2 * mass - 2 * x * mean + square)

    return _over_samples(views, directions, pooled, of_sample)


def sliced_cramer_von_mises(*views, directions, pooled=False):
    def of_sample(x):
        n = len(x)
        levels = (2 * np.arange(1, n + 1) - 1) / (2 * n)
        return 1 / (12 * n) + np.sum((special.ndtr(np.sort(x)) - levels) ** 2)

    return _over_samples(views, directions, pooled, of_sample)


def sliced_anderson_darling(*views, directions, pooled=False):
    def of_sample(x):
        x, n = np.sort(x), len(x)
        i = np.arange(1, n + 1)
        logs = special.log_ndtr(x) + special.log_ndtr(-x[::-1])
        return -n - np.sum((2 * i - 1) * logs) / n

    return _over_samples(views, directions, pooled, of_sample)


def view_prediction(*views, n_global=None):
    centre = np.mean(views[:n_global], axis=0)
    return np.mean([(z - centre) ** 2 for z in views])


def lejepa(*views, weight, additive=False, n_global=None, **options):
    prediction = view_prediction(*views, n_global=n_global)
    share = 1 if additive else 1 - weight
    return share * prediction + weight * sigreg(*views, **options)


def visreg(*views, held=None, directions, scale_weight=1.0, shape_weight=1.0, centre_weight=1.0):
    """`held`: the views whose standard deviations the shape term divides by."""
    found = []
    for z, z_held in zip(views, held or views, strict=True):
        n = len(z)
        projected = (z - z.mean(0)) / (z_held.std(0) + 1e-4) @ directions
        quantiles = special.ndtri(np.arange(1, n + 1) / (n + 1))
        shape = np.mean((np.sort(projected, axis=0) - quantiles[:, None]) ** 2)
        centre, scale = np.mean(z.mean(0) ** 2), np.mean((1 - z.std(0)) ** 2)
        found.append(centre_weight * centre + scale_weight * scale + shape_weight * shape)
    return np.mean(found)


def koleo(z, *, epsilon=1e-8):
    u = unit(z)
    distance = np.linalg.norm(u[:, None] - u[None], axis=-1) + np.diag(np.full(len(z), np.inf))
    return -np.mean(np.log(distance.min(1) + epsilon))


def w_mse(a, b, *, epsilon=0.0, sub_batch=None):
    size, dim = sub_batch or len(a), a.shape[1]
    out = []
    for start in range(0, len(a), size):
        white = []
        for z in (a[start : start + size], b[start : start + size]):
            covariance = (1 - epsilon) * np.cov(z.T).reshape(dim, dim) + epsilon * np.eye(dim)
            inverse = linalg.inv(linalg.cholesky(covariance, lower=True))
            white.append(unit((z - z.mean(0)) @ inverse.T))
        out.append(((white[0] - white[1]) ** 2).sum(1))
    return np.mean(out)


def spectral_contrastive(a, b, *, square_radius=None):
    if square_radius is not None:
        a, b = (z * np.minimum(1, np.sqrt(square_radius) / _norm(z)) for z in (a, b))
    n = len(a)
    pairs = [(a[i] @ b[j]) ** 2 for i, j in itertools.permutations(range(n), 2)]
    return np.mean(pairs) - 2 * np.mean((a * b).sum(1))


def _norm(z):
    return np.linalg.norm(z, axis=1, keepdims=True)


def effective_rank(z, epsilon=0.0):
    values = linalg.svdvals(z)
    shares = values / values.sum() + epsilon
    return np.exp(-np.sum(shares * np.log(shares)))


def lidar(z, delta=1e-4, epsilon=1e-8):
    n, views, dim = z.shape
    means = z.mean(1)
    between = np.cov(means.T).reshape(dim, dim)
    within = sum((row - m).T @ (row - m) for row, m in zip(z, means, strict=True))
    within = within / (n * (views - 1)) + delta * np.eye(dim)
    half = linalg.fractional_matrix_power(within, -0.5)
    values = np.maximum(linalg.eigvalsh(half @ between @ half), 0) + epsilon
    shares = values / values.sum()
    return np.exp(-np.sum(shares * np.log(shares)))


def isoscore(z):
    """As the paper's algorithm has it, step by step."""
    dim = z.shape[1]
    variances = linalg.eigvalsh(np.cov(z.T))
    normalised = np.sqrt(dim) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normalised - 1) / np.sqrt(2 * (dim - np.sqrt(dim)))
    used = (dim - defect**2 * (dim - np.sqrt(dim))) ** 2 / dim**2
    return (dim * used - 1) / (dim - 1)


def cka(x, y, unbiased=False):
    n = len(x)
    centring = np.eye(n) - 1 / n

    def hsic(k, other):
        if not unbiased:
            return np.trace(k @ centring @ other @ centring)
        k, other = (g - np.diag(np.diag(g)) for g in (k, other))
        middle = k.sum() * other.sum() / ((n - 1) * (n - 2))
        return np.trace(k @ other) + middle - 2 / (n - 2) * (k @ other).sum()

    k, other = x @ x.T, y @ y.T
    return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))
