"""Which of two embeddings is closer to an isotropic Gaussian, with intervals of the differences."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from infonce_jax.evaluation import discrete, normality
from infonce_jax.evaluation.arrays import (
    as_floats,
    check_embeddings,
    directions,
    gram,
    gram_square_norm,
    row_norms,
)

ROWS = 5000
_OPERATIONS = 2e11
_Z95 = 1.959964


class Difference(NamedTuple):
    """How far two embeddings are from a Gaussian in one respect; 0 for a Gaussian.

    Attributes:
        part: "coordinates", "directions" or "norms".
        measure: what is measured, in words.
        first: the first one's distance.
        second: the second one's.
        low: lower end of the 95% interval of first − second.
        high: its upper end.
    """

    part: str
    measure: str
    first: float
    second: float
    low: float
    high: float

    @property
    def closer(self) -> int | None:
        """0 or 1 for the one that is closer, None where the interval holds 0."""
        return None if self.low <= 0.0 <= self.high else 0 if self.high < 0.0 else 1


class Closer(NamedTuple):
    """The comparison of two embeddings.

    Attributes:
        names: of the two.
        n: the rows of each that were compared, at most.
        pairing: "known" where row i of both is of the same sample, "assumed" where this is only taken
            from equal numbers of rows, "none" where rows are not paired.
        differences: one for each part.
        sentence: the answer, to quote.
    """

    names: tuple[str, str]
    n: int
    pairing: str
    differences: tuple[Difference, ...]
    sentence: str

    @property
    def is_paired(self) -> bool:
        """Whether the intervals take row i of both to be of the same sample."""
        return self.pairing != "none"


_MEASURES: tuple[tuple[str, str], ...] = (
    ("coordinates", "growth of A² per 1,000 rows"),
    ("directions", "share of effective rank lost"),
    ("norms", "|log| of the squared norms' spread over a Gaussian's"),
)


def closer(
    first: Num[np.ndarray, "n d"],
    second: Num[np.ndarray, "m k"],
    names: tuple[str, str] = ("first", "second"),
    *,
    paired: bool | None = None,
    rows: int = ROWS,
    draws: int | None = None,
    seed: int = 0,
) -> Closer:
    """Says which of two embeddings is closer to an isotropic Gaussian in each of three respects.

    * coordinates: 1000 Δ̂, Δ̂ = (mean A² − 0.384)/n, which does not depend on n;
    * directions: 1 − r/d, r = 1/tr T² with T = E u uᵀ, without bias;
    * norms: |log(sd ‖z‖² / √v)|, v = 2 tr C² + 4 mᵀ C m being the variance that a Gaussian of this mean
      m and covariance C has exactly.

    The interval of a difference is ± 1.96 standard deviations of its values on random halves of the
    rows. A half varies around the whole as much as the whole varies around its expectation. (The
    usual bootstrap repeats rows, and A² takes ties for a departure.) Of paired embeddings, where row i
    of both is of the same sample, the halves are of the same rows; of others they are independent.

    It says which of two is closer to a Gaussian, not whether both have the same law: two-sample tests
    such as the energy distance or the maximum mean discrepancy do that.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> normal, heavy = rng.standard_normal((2000, 8)), rng.standard_t(3, (2000, 8))
        >>> found = evaluation.closer.closer(normal, heavy)
        >>> found.sentence[:53]
        'first is closer to an isotropic Gaussian than second '

    Args:
        first: one embedding, at least 16 rows; whole numbers and other grids are dithered.
        second: the other; the dimension may differ.
        names: what the sentence calls them.
        paired: whether row i of both is of the same sample; by default this is assumed where both have
            the same number of rows, and the sentence says so.
        rows: rows of each that are used, at random.
        draws: halves; by default 20 to 60, fewer where each is dear.
        seed: of rows and halves.

    Raises:
        ValueError: for fewer than 16 rows; for paired embeddings with different numbers of rows; as
            `check_embeddings` does.
    """
    if paired and len(first) != len(second):
        raise ValueError(
            f"paired is True, but {names[0]} has {len(first)} rows and {names[1]} {len(second)}: leave "
            f"it out, or give the same samples of both."
        )
    pair = [as_floats(np.asarray(x)) for x in (first, second)]
    pair = [check_embeddings(x, name, min_rows=16) for x, name in zip(pair, names, strict=True)]
    is_paired = len(first) == len(second) if paired is None else paired
    pairing = "none" if not is_paired else "assumed" if paired is None else "known"
    pair = [_prepared(x, rows, seed if is_paired else seed + i, seed) for i, x in enumerate(pair)]
    if draws is None:
        work = sum(len(x) * float(x.shape[1]) ** 2 for x in pair)
        draws = int(np.clip(_OPERATIONS / work, 20, 60))
    whole = np.array([_distances(x) for x in pair])
    halves = np.empty((draws, 2, len(_MEASURES)))
    for draw in range(draws):
        for i, x in enumerate(pair):
            rng = np.random.default_rng([seed, draw] if is_paired else [seed, draw, i])
            half = np.sort(rng.choice(len(x), len(x) // 2, replace=False))
            halves[draw, i] = _distances(x[half])
    spread = _Z95 * (halves[:, 0] - halves[:, 1]).std(axis=0, ddof=1)
    found = tuple(
        Difference(
            *_MEASURES[k], *map(float, whole[:, k]), float(gap - spread[k]), float(gap + spread[k])
        )
        for k, gap in enumerate(whole[0] - whole[1])
    )
    n = min(len(x) for x in pair)
    how = {
        "none": f"{n:,} rows",
        "known": f"{n:,} rows of the same samples",
        "assumed": f"{n:,} rows; that row i of both is of the same sample is assumed, as both have "
        f"{len(first):,} rows",
    }
    return Closer(names, n, pairing, found, _sentence(names, how[pairing], found))


def ranked(
    sets: Sequence[tuple[str, Num[np.ndarray, "n d"]]],
    *,
    paired: Callable[[str, str], bool | None] = lambda first, second: None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Closer]:
    """Compares several embeddings: in the order of their coordinates' distance, each with the next.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> sets = [("normal", rng.standard_normal((1000, 8))), ("heavy", rng.standard_t(3, (1000, 8)))]
        >>> [found.names for found in evaluation.closer.ranked(sets)]
        [('normal', 'heavy')]

    Args:
        sets: names and embeddings, at least 2.
        paired: whether two of them, by their names, are paired; as for `closer`.
        seed: as for `closer`.
        progress: called with what is compared next.
    """
    distances = {}
    for name, z in sets:
        z = check_embeddings(as_floats(np.asarray(z)), name, min_rows=16)
        x = _prepared(z, ROWS, seed, seed)
        distances[name] = normality.statistics(x, ("ad",))["ad"], len(x)
    growth = {
        name: (np.nanmean(ad) - normality.AD_GAUSSIAN_MEAN) / n
        for name, (ad, n) in distances.items()
    }
    order = sorted(sets, key=lambda one: growth[one[0]]) if len(sets) > 2 else list(sets)
    found = []
    for (name, z), (other, w) in itertools.pairwise(order):
        if progress is not None:
            progress(f"{name} and {other}")
        found.append(closer(z, w, (name, other), paired=paired(name, other), seed=seed))
    return found


def _prepared(x: np.ndarray, rows: int, seed: int, dither: int) -> Float[np.ndarray, "n d"]:
    if len(x) > rows:
        order = np.random.default_rng([seed, 4]).permutation(len(x))[:rows]
        x = np.asarray(x[np.sort(order)])
    grid = discrete.quantisation(x)
    return x if grid is None else discrete.dithered(x, grid, seed=dither)


def _distances(x: Float[np.ndarray, "n d"]) -> tuple[float, float, float]:
    n, d = x.shape
    ad = normality.statistics(x, ("ad",))["ad"]
    ad = ad[~np.isnan(ad)]
    growth = 1000.0 * (float(ad.mean()) - normality.AD_GAUSSIAN_MEAN) / n if len(ad) else math.nan
    u = directions(x)
    square = (float(np.square(gram(u)).sum()) - len(u)) / (len(u) * (len(u) - 1.0))
    rank = min(1.0 / max(square, 1.0 / d), float(d))
    return growth, 1.0 - rank / d, abs(_log_spread(x))


def _log_spread(x: Float[np.ndarray, "n d"]) -> float:
    n, d = x.shape
    squares = row_norms(x) ** 2
    mean = np.asarray(x, dtype=np.float64).mean(axis=0)
    total = float(squares.sum() - n * mean @ mean) / (n - 1.0)
    products = gram_square_norm(x, shift=mean) / (n - 1.0) ** 2
    # Unbiased for Gaussian rows; at least its value for an isotropic covariance.
    covariance = (n - 1.0) ** 2 / ((n - 2.0) * (n + 1.0)) * (products - total**2 / (n - 1.0))
    covariance = max(covariance, total**2 / d)
    along = np.asarray(x, dtype=np.float64) @ mean
    tilt = max(float(along.var(ddof=1)) - covariance / n, 0.0)
    expected = 2.0 * covariance + 4.0 * tilt
    spread = float(squares.var(ddof=1))
    # Norms that are all equal are as far as rounding lets them be seen.
    floor = (1e-6 * float(squares.mean())) ** 2 + np.finfo(np.float64).tiny
    return 0.5 * math.log(max(spread, floor) / max(expected, floor))


def _sentence(names: tuple[str, str], how: str, found: Sequence[Difference]) -> str:
    wins = {i: [one for one in found if one.closer == i] for i in (0, 1, None)}
    best = 0 if len(wins[0]) >= len(wins[1]) else 1
    parts = []
    for i in (best, 1 - best):
        if wins[i]:
            than = "" if parts else f" to an isotropic Gaussian than {names[1 - i]}"
            parts.append(f"{names[i]} is closer{than} in {_listed(wins[i], i)}")
    if wins[None]:
        between = "" if parts else f" between {names[0]} and {names[1]}"
        parts.append(f"no difference{between} was found in {_listed(wins[None], best)}")
    text = "; ".join(parts)
    return f"{text[0].upper() if text.startswith('no ') else text[0]}{text[1:]} ({how})."


def _listed(found: Sequence[Difference], of: int) -> str:
    """The differences with the numbers of one side first."""
    texts = []
    for one in found:
        values = one.first, one.second, one.first - one.second, one.low, one.high
        if of == 1:
            values = one.second, one.first, one.second - one.first, -one.high, -one.low
        mine, other, gap, low, high = (f"{value:.3g}" for value in values)
        texts.append(
            f"{one.part} ({one.measure}: {mine} against {other}, difference {gap}, 95% interval {low} "
            f"to {high})"
        )
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
