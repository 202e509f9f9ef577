"""Are the directions uniform? Effect sizes with standard errors, and p-values without simulation."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import chdtrc, chdtri, chndtr

from infonce_jax.evaluation.arrays import check_embeddings, directions, gram
from infonce_jax.evaluation.sphere import uniform_potential
from infonce_jax.evaluation.uniformity import row_potentials

# Rows for the standard errors, rows for the pairwise potential, and its inverse temperature.
_ERROR_ROWS, _PAIR_ROWS, ALPHA = 2000, 1000, 10.0


class Isotropy(NamedTuple):
    """How far the directions of the rows are from uniform on the sphere; NaN with fewer than 8 rows.

    Attributes:
        mean_cosine: of all pairs of different rows; it estimates ‖E u‖² without bias, 0 if uniform.
        mean_cosine_se: its standard error.
        mean_square_cosine: of the same pairs; it estimates tr T², T = E u uᵀ; 1/d if uniform.
        mean_square_cosine_se: its standard error.
        mean_resultant: ‖mean of u‖; about 1/√n if uniform.
        rayleigh_p: of the Rayleigh test, against a preferred direction.
        bingham_p: of the Bingham test, against preferred axes.
        excess: Φ − Φ(σ) at α = 10, 0 if uniform and positive otherwise, up to sampling error.
        excess_se: its standard error.
        n: the rows that have a direction.
        dim: d.
    """

    mean_cosine: float
    mean_cosine_se: float
    mean_square_cosine: float
    mean_square_cosine_se: float
    mean_resultant: float
    rayleigh_p: float
    bingham_p: float
    excess: float
    excess_se: float
    n: int
    dim: int

    @property
    def anisotropy(self) -> float:
        """The standard deviation of T's eigenvalues over their mean, 1/d: 0 if uniform."""
        if math.isnan(self.mean_square_cosine):
            return math.nan
        return math.sqrt(max(self.dim * self.mean_square_cosine - 1.0, 0.0))

    @property
    def effective_rank(self) -> float:
        """1/tr T², the participation ratio of T: d if uniform, 1 if all directions share an axis."""
        if math.isnan(self.mean_square_cosine):
            return math.nan
        return min(1.0 / max(self.mean_square_cosine, 1.0 / self.dim), float(self.dim))


def isotropy(z: Float[np.ndarray, "n d"]) -> Isotropy:
    """Measures how far the directions u = z/‖z‖ are from uniform, and tests it.

    * Rayleigh: S = n d ‖mean u‖², taken to χ² with d degrees of freedom after the correction
      S (1 − 1/(2n)) + S²/(2n (d + 2)), whose error is of order n⁻² (Mardia & Jupp 2000, 10.4.6).
    * Bingham: n d(d+2)/2 (tr T̂² − 1/d), taken to χ² with (d − 1)(d + 2)/2 degrees of freedom, whose
      mean it has exactly and whose variance up to a factor 1 − 1/n, at every n and d.

    Both use all rows and cost about n d². The standard errors are those of U-statistics, from 2,000
    rows at most; where directions are uniform they are too large by a factor √2.

    Args:
        z: embeddings, one per row; rows of zeros have no direction and are left out.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: as `check_embeddings` does.

    References:
        Mardia & Jupp, *Directional Statistics*, Wiley, 2000.
    """
    u = directions(check_embeddings(z, "z", min_rows=2))
    n, d = u.shape
    if n < 2:
        return Isotropy(*[math.nan] * 9, n, d)
    total, products = u.sum(axis=0), gram(u)
    mean_cosine = float((total @ total - n) / (n * (n - 1)))
    square = float(np.einsum("ij,ij->", products, products))
    mean_square = (square - n) / (n * (n - 1))
    some = np.unique(np.linspace(0, n - 1, min(n, _ERROR_ROWS)).astype(int))
    first = (u[some] @ total - 1.0) / (n - 1)
    if n <= d:
        second = np.einsum("ij,ij->i", products[some], products[some])
    else:
        second = np.einsum("ij,ij->i", u[some] @ products, u[some])
    second = (second - 1.0) / (n - 1)
    resultant = float(np.linalg.norm(total) / n)
    rayleigh = n * d * resultant**2
    rayleigh = rayleigh * (1.0 - 0.5 / n) + rayleigh**2 / (2.0 * n * (d + 2.0))
    bingham = 0.5 * n * d * (d + 2.0) * (square / n**2 - 1.0 / d)
    # In one dimension there are two directions, and no axis to prefer.
    freedom = 0.5 * (d - 1.0) * (d + 2.0)
    pair = u[some[:: -(-len(some) // _PAIR_ROWS)]]
    excess, excess_se = _excess(pair) if d > 1 else (math.nan, math.nan)
    return Isotropy(
        mean_cosine,
        float(2.0 * first.std(ddof=1) / math.sqrt(n)),
        mean_square,
        float(2.0 * second.std(ddof=1) / math.sqrt(n)),
        resultant,
        _tail(d, rayleigh),
        _tail(freedom, bingham) if d > 1 else math.nan,
        excess,
        excess_se,
        n,
        d,
    )


def detectable_resultant(n: int, d: int) -> float:
    """The smallest ‖E u‖ that the Rayleigh test at 5% detects in n rows with 80% power.

    To first order in the departure: n d ‖E u‖² is then the noncentrality of a χ² with d degrees of
    freedom. 1 where even that is too small.
    """
    return min(1.0, math.sqrt(_noncentrality(d) / (n * d)))


def detectable_anisotropy(n: int, d: int) -> float:
    """The smallest standard deviation of T's eigenvalues over their mean, for the Bingham test.

    The noncentrality is n (d + 2)/2 times its square. At most √(d − 1), that of a single axis.
    """
    if d < 2:
        return math.nan
    found = math.sqrt(2.0 * _noncentrality(0.5 * (d - 1) * (d + 2)) / (n * (d + 2.0)))
    return min(found, math.sqrt(d - 1.0))


def _excess(u: np.ndarray) -> tuple[float, float]:
    m, d = u.shape
    potentials = row_potentials(u, ALPHA)
    uniform = uniform_potential(d, ALPHA)
    # The logarithm of a mean of m − 1 terms is too small by half the relative variance of that mean.
    spread = math.exp(min(uniform_potential(d, 2.0 * ALPHA) - 2.0 * uniform, 50.0)) - 1.0
    excess = float(potentials.mean()) - uniform + spread / (2.0 * (m - 1))
    return excess, float(2.0 * potentials.std(ddof=1) / math.sqrt(m)) if m > 1 else math.nan


def _tail(freedom: float, statistic: float) -> float:
    return max(float(chdtrc(freedom, max(statistic, 0.0))), float(np.finfo(np.float64).tiny))


def _noncentrality(freedom: float, level: float = 0.05, power: float = 0.8) -> float:
    """That of a χ² which exceeds the central one's critical value with this power."""
    critical = float(chdtri(freedom, level))
    low, high = 0.0, 20.0 + 10.0 * math.sqrt(2.0 * freedom)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (
            (low, middle) if chndtr(critical, freedom, middle) < 1.0 - power else (middle, high)
        )
    return high
