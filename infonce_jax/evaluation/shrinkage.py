"""Estimates a covariance from sums over rows: shrinks it, and scales it by held-out rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve, eigh

from infonce_jax.evaluation import covariance as streamed
from infonce_jax.evaluation.covariance import Sums

# Two coordinates are near duplicates beyond this |correlation|; so many pairs are named.
NEAR_DUPLICATE, MOST_PAIRS = 0.9, 1000


class Options(NamedTuple):
    """How a covariance is estimated; see `whitening.fit`."""

    shrinkage: float | str = "ledoit_wolf"
    floor: float = 1e-7
    folds: int = 5
    duplicates: float = NEAR_DUPLICATE


class Estimate(NamedTuple):
    """Mean, principal axes and variances; the names are those of `whitening.Whitening`."""

    mean: Float[np.ndarray, " d"]
    components: Float[np.ndarray, "d k"]
    variances: Float[np.ndarray, " k"]
    shrinkage: float
    n: int
    near_duplicates: tuple[tuple[int, int, float], ...]


def check_options(options: Options) -> None:
    """Refuses numbers out of range, by name."""
    shrinkage, floor, folds, duplicates = options
    if shrinkage != "ledoit_wolf" and not (
        isinstance(shrinkage, int | float) and 0 <= shrinkage <= 1
    ):
        raise ValueError(f'shrinkage is {shrinkage!r}: give "ledoit_wolf" or a number from 0 to 1.')
    if not 0 <= floor < 1 or not 0 < duplicates <= 1 or folds < 0 or folds == 1:
        raise ValueError(
            f"floor is {floor}, duplicates {duplicates}, folds {folds}: floor lies in [0, 1), "
            f"duplicates in (0, 1], and folds is 0 or at least 2."
        )


def estimate(found: Sequence[Sums], eps: float, options: Options) -> Estimate:
    """The estimate from the sums of max(1, 2 `folds`) random parts of the rows.

    Args:
        found: the sums of each part.
        eps: of the type that the rows are stored in.
        options: how.

    Raises:
        ValueError: where all rows are equal.
    """
    shrinkage, floor, folds, duplicates = options
    rows = streamed.total(found)
    n, mean, covariance = rows.n, rows.mean, rows.covariance
    if not np.trace(covariance) > (eps * np.linalg.norm(mean)) ** 2:
        raise ValueError(f"the {n} rows are all equal: there is no covariance to whiten with.")
    named = _near_duplicates(covariance, duplicates)
    s = ledoit_wolf(rows) if shrinkage == "ledoit_wolf" else float(shrinkage)
    variances, components = shrunk(covariance, s, floor)
    if s > 0 and folds and n >= 4 * folds:
        pairs = [streamed.total(found[i : i + 2]) for i in range(0, len(found), 2)]
        few, many = (_held_out_scale(groups, shrinkage, floor) for groups in (pairs, found))
        # Fitted on n (k - 1)/k rows each: at 1/rows of k/(k - 1) and 2k/(2k - 1), wanted at 1.
        slope = (few - many) / (folds / (folds - 1) - 2 * folds / (2 * folds - 1))
        variances = variances * max(many - slope / (2 * folds - 1), 0.5 * many)
    return Estimate(mean, components, variances, s, n, named)


def ledoit_wolf(rows: Sums) -> float:
    """The share s of μ I in (1 − s) S + s μ I that minimises the expected squared error.

    References:
        Ledoit & Wolf, *A well-conditioned estimator for large-dimensional covariance matrices*, 2004.
    """
    covariance = rows.covariance
    square = float(np.sum(covariance**2))
    spread = square - float(np.trace(covariance)) ** 2 / len(covariance)
    noise = (rows.fourth / rows.n - square) / rows.n
    return min(1.0, noise / spread) if spread > 0 else 1.0


def shrunk(covariance: np.ndarray, s: float, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Variances (1 − s) λ + s μ, largest first, and their axes; those below the floor are left out."""
    values, vectors = eigh(covariance)
    values = np.maximum(values[::-1], 0.0)
    shrunk = (1 - s) * values + s * values.mean()
    # Without a floor rounding would still invert eigenvalues that are exactly 0.
    least = max(floor, len(values) * np.finfo(np.float64).eps)
    kept = int(np.sum(shrunk > least * shrunk[0]))
    return shrunk[:kept], np.ascontiguousarray(vectors[:, ::-1][:, :kept])


def _held_out_scale(groups: Sequence[Sums], shrinkage: float | str, floor: float) -> float:
    """The mean Mahalanobis² / rank of each group under the model of the others: sums are enough."""
    total, count = 0.0, 0
    for group, rest in zip(groups, streamed.others(groups), strict=True):
        if not group.n:
            continue
        covariance = rest.covariance
        s = ledoit_wolf(rest) if shrinkage == "ledoit_wolf" else float(shrinkage)
        mu = float(np.trace(covariance)) / len(covariance)
        off = group.mean - rest.mean
        square = group.covariance + np.outer(off, off)
        if s * mu > floor * len(covariance) * mu:
            # No direction falls below the floor, and Cholesky is ten times faster than eigenvalues.
            covariance *= 1 - s
            covariance[np.diag_indices_from(covariance)] += s * mu
            total += group.n * float(np.trace(cho_solve(cho_factor(covariance), square)))
            count += group.n * len(covariance)
        else:
            variances, components = shrunk(covariance, s, floor)
            white = components / np.sqrt(variances)
            total += group.n * float(np.einsum("ij,ij->", white, square @ white))
            count += group.n * len(variances)
    return total / count


def _near_duplicates(covariance: np.ndarray, limit: float) -> tuple[tuple[int, int, float], ...]:
    scale = np.sqrt(np.diag(covariance))
    scale = np.where(scale > 0, scale, np.inf)
    correlation = covariance / np.multiply.outer(scale, scale)
    pairs = np.argwhere(np.triu(np.abs(correlation) > limit, k=1))
    pairs = sorted(((int(i), int(j)) for i, j in pairs), key=lambda p: -abs(correlation[p]))
    return tuple((i, j, float(correlation[i, j])) for i, j in pairs[:MOST_PAIRS])
