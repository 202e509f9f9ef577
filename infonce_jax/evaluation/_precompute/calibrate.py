"""Makes calibration.npz: the laws of the univariate test statistics under normality.

    python -m infonce_jax.evaluation._precompute.calibrate --scratch DIR [--minutes 4]

Simulates every (law, n) of a plan with seeds of its own, the rarest levels of some laws by Markov
chains, fits the quantiles across n, and writes the table. Finished simulations are kept in the
scratch folder, so that the command can be stopped and given again, in portions of `--minutes`; the
table is the same however often it was. All of it takes about twenty minutes on two cores.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy.interpolate import BSpline
from scipy.special import ndtri

from infonce_jax.evaluation import calibration
from infonce_jax.evaluation.moments import moment_statistic
from infonce_jax.evaluation.ordered import sorted_statistics, standardised

SEED = 20_260_101
LEVELS = np.array([
    0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15,
    0.1, 0.075, 0.05, 0.035, 0.025, 0.015, 0.01, 0.005, 0.0025, 0.001, 5e-4, 2.5e-4, 1e-4, 3e-5,
    1e-5, 3e-6, 1e-6,
])  # fmt: skip
SIZES = (
    8,
    9,
    10,
    11,
    12,
    14,
    16,
    20,
    25,
    30,
    40,
    50,
    70,
    100,
    140,
    200,
    300,
    500,
    1000,
    2000,
    5000,
)
LARGE_SIZES = (10_000, 20_000, 50_000)
# Groups of laws simulated on the same samples, the normal values drawn for each n, and the most
# samples at one n.
GROUPS = {
    "moments": (("dp", "jb"), SIZES + LARGE_SIZES, 1_000_000_000, 10_000_000),
    "sorted": (("ad", "cvm", "ep", "lilliefors", "sf"), SIZES, 140_000_000, 2_000_000),
    "known": (("ad_known", "cvm_known", "ep_known"), SIZES[:-2], 60_000_000, 1_000_000),
    "large": (("lilliefors", "sf"), LARGE_SIZES, 400_000_000, 2_000_000),
}
# Groups whose levels rarer than `_RARE` are simulated by Markov chains too, since too few samples lie
# there: the laws, the sizes, and the steps of a chain's two parts, with their shares of the rows.
RARE = {
    "moments": (("dp", "jb"), SIZES + LARGE_SIZES, 4000),
    "sorted": (("lilliefors", "sf"), SIZES, 2000),
}
_RARE = 5e-4
# The moves of a chain: a share of the rows, and the step s in which they become √(1 − s²) x + s ξ.
_MOVES = {
    "moments": ((1 / 12, 1.0), (1 / 8, 0.5)),
    "sorted": ((1.0, 0.1), (1.0, 0.2), (1.0, 0.4)),
}
_PILOTS = 3
# A quantile is taken from so many exceedances on, a chain's anchor and its bias from so many.
_FEWEST, _ANCHOR, _BIAS = 25, 2000, 400
# Levels beyond the reach of all simulations continue the trend of so many before them.
_TREND = 7
_MOMENTS = ("dp", "jb")


def simulate(group: str, n: int) -> dict[str, np.ndarray]:
    """The scores of the quantiles of each law of a group at n, with the number of samples.

    Returns:
        Law to quantile scores [levels], NaN where too few samples lie beyond, with "count".
    """
    laws, _, values, most = GROUPS[group]
    count = min(most, values // n)
    batch = max(1, 2**21 // n)
    starts = range(0, count, batch)
    found = {law: np.empty(count) for law in laws}

    def draw(index: int) -> None:
        rows = slice(starts[index], min(starts[index] + batch, count))
        rng = np.random.default_rng([SEED, list(GROUPS).index(group), n, index])
        step = max(1, 2**15 // n)
        for start in range(rows.start, rows.stop, step):
            part = slice(start, min(start + step, rows.stop))
            w = rng.standard_normal((part.stop - part.start, n))
            for law, value in _statistics(group, laws, w).items():
                found[law][part] = value

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, range(len(starts))))
    return {law: _quantile_scores(law, found[law], n) for law in laws} | {"count": np.array(count)}


def simulate_rare(
    group: str, n: int, simulated: dict[str, np.ndarray], steps: int | None = None
) -> dict[str, np.ndarray]:
    """The scores of quantiles down to the rarest, from Markov chains that visit all levels alike.

    Multicanonical sampling (Berg & Neuhaus, Phys. Lett. B 267, 1991): a chain of samples x [n] has
    the law φ(x)/p(x), with p(x) the least of the laws' p-values, so that every decade of p takes about
    the same share of its time; an average with the weights p(x) is one under normality. A step
    replaces some rows by √(1 − s²) x + s ξ, which leaves φ as it is, and is accepted with probability
    min(1, p(x)/p(x')). p is learnt in pilot runs. The tails are anchored at the rarest level that
    `simulate` knows well.

    Args:
        group: a key of `RARE`.
        n: sample size.
        simulated: what `simulate` gave for them.
        steps: of each chain; by default the group's.

    Returns:
        Law to quantile scores [levels], and law_count to the number of independent samples that give
        the quantile the same standard error [levels].
    """
    laws, _, most = RARE[group]
    steps = steps or most
    chains = 256 if n <= 2000 else 64
    rng = np.random.default_rng([SEED, list(GROUPS).index(group), n, 2**32 - 1])
    count = int(simulated["count"])
    bias = {law: np.where(LEVELS * count < _FEWEST, np.nan, simulated[law]) for law in laws}
    x = rng.standard_normal((chains, n))
    sums = _power_sums(x)
    score = _scores(group, laws, x, sums)
    for stage in range(_PILOTS + 1):
        evidence = _evidence(bias, score)
        length = steps if stage == _PILOTS else max(200, steps // 16)
        trace = np.empty((len(laws), length, chains))
        weight = np.empty((length, chains))
        for step in range(length):
            share, s = _MOVES[group][rng.integers(len(_MOVES[group]))]
            m = max(1, round(share * n))
            start = min(m * int(rng.integers(-(-n // m))), n - m)
            old = x[:, start : start + m]
            new = rng.standard_normal(old.shape)
            if s < 1:
                new *= s
                new += np.sqrt(1 - s * s) * old
            moved = sums + _power_sums(new) - _power_sums(old) if group == "moments" else sums
            proposed = _scores(group, laws, new, moved)
            evidence_there = _evidence(bias, proposed)
            taken = rng.uniform(size=chains) < np.exp(np.minimum(evidence_there - evidence, 0.0))
            x[taken, start : start + m] = new[taken]
            sums = np.where(taken[:, None], moved, sums)
            score = np.where(taken, proposed, score)
            evidence = np.where(taken, evidence_there, evidence)
            trace[:, step] = score
            weight[step] = np.exp(-evidence)
        kept = slice(length // 4 if stage < _PILOTS else length // 16, None)
        found = {}
        for law, values in zip(laws, trace, strict=True):
            found[law], found[f"{law}_count"] = _weighted_quantiles(
                values[kept], weight[kept], simulated[law], count
            )
            learnt = (LEVELS * count < _BIAS) & np.isfinite(found[law])
            bias[law] = np.where(learnt, found[law], bias[law])
    return found


def _scores(group: str, laws: tuple[str, ...], x: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Scores [laws, chains] of samples, of the moments from their power sums."""
    if group == "moments":
        mean, second, third, fourth = (sums[:, 1:] / sums[:, :1]).T
        variance = second - mean**2
        skewness = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
        kurtosis = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
        n = sums[0, 0]
        found = {law: moment_statistic(law, skewness, kurtosis / variance**2, n) for law in laws}
    else:
        n = x.shape[1]
        found = _statistics(group, laws, x)
    return np.stack([calibration.score_of(law, found[law], n) for law in laws])


def _power_sums(x: np.ndarray) -> np.ndarray:
    square = x * x
    sums = [np.full(len(x), float(x.shape[1])), x.sum(axis=1), square.sum(axis=1)]
    sums += [np.einsum("ij,ij->i", square, other) for other in (x, square)]
    return np.stack(sums, axis=1)


def _evidence(bias: dict[str, np.ndarray], score: np.ndarray) -> np.ndarray:
    """The largest −log p of the laws, as far as their quantile scores tell it, up to 15."""
    found = np.zeros(score.shape[1])
    for quantile, values in zip(bias.values(), score, strict=True):
        known = np.isfinite(quantile)
        at = np.maximum.accumulate(quantile[known]) + 1e-9 * np.arange(known.sum())
        log_p = np.log(LEVELS[known])
        slope = (log_p[-4] - log_p[-1]) / (at[-1] - at[-4])
        beyond = slope * np.maximum(values - at[-1], 0.0)
        np.maximum(found, np.interp(values, at, -log_p) + beyond, out=found)
    return np.minimum(found, 15.0)


def _weighted_quantiles(
    score: np.ndarray, weight: np.ndarray, simulated: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of scores [steps, chains] with these weights, and the counts they are worth."""
    anchor = np.flatnonzero(LEVELS * count >= _ANCHOR)[-1]
    base = np.sum(weight * (score > simulated[anchor]), axis=0)
    order = np.argsort(-score, axis=None)
    tail = np.cumsum(weight.ravel()[order]) * (LEVELS[anchor] / base.sum())
    quantile = np.full(len(LEVELS), np.nan)
    worth = np.zeros(len(LEVELS))
    for i, level in enumerate(LEVELS):
        at = np.searchsorted(tail, level)
        if i <= anchor or not 100 <= at < len(tail):
            continue
        quantile[i] = score.ravel()[order[at]]
        beyond = np.sum(weight * (score > quantile[i]), axis=0)
        # Chains are independent: their scatter about the common ratio is its error.
        error = np.sum((beyond - beyond.sum() / base.sum() * base) ** 2) / beyond.sum() ** 2
        worth[i] = 1.0 / (level * (error + 1.0 / (LEVELS[anchor] * count)))
    return quantile, worth


def _statistics(group: str, laws: tuple[str, ...], w: np.ndarray) -> dict[str, np.ndarray]:
    n = w.shape[1]
    if group == "moments":
        w -= w.mean(axis=1, keepdims=True)
        square = w * w
        m2 = square.mean(axis=1)
        skewness = np.einsum("ij,ij->i", square, w) / n / m2**1.5
        kurtosis = np.einsum("ij,ij->i", square, square) / n / m2**2
        return {law: moment_statistic(law, skewness, kurtosis, n) for law in laws}
    w.sort(axis=1)
    if group == "known":
        tests = [law.removesuffix("_known") for law in laws]
        found = sorted_statistics(w, tests, estimated=False)
        return {f"{test}_known": value for test, value in found.items()}
    return sorted_statistics(standardised(w, ddof=1), laws)


def _quantile_scores(law: str, statistic: np.ndarray, n: int) -> np.ndarray:
    scores = calibration.score_of(law, statistic, n)
    scores.sort()
    count = len(scores)
    out = np.full(len(LEVELS), np.nan)
    reached = LEVELS * count >= _FEWEST
    out[reached] = np.quantile(scores, 1.0 - LEVELS[reached], method="median_unbiased")
    return out


# --- limiting laws -------------------------------------------------------------------------------


def limit_scores(law: str) -> np.ndarray | None:
    """The scores of the quantiles as n → ∞, where the law is known exactly; else None."""
    if law in ("dp", "jb"):
        return np.log(-2.0 * np.log(LEVELS))
    if law in ("sf", "lilliefors"):
        return None
    weights, mean = _limit_weights(law)
    return np.log(_weighted_chi2_quantiles(weights, mean, LEVELS))


def _limit_weights(law: str) -> tuple[np.ndarray, float]:
    """Eigenvalues of the limiting covariance kernel, largest first, and its trace."""
    if law == "ad_known":
        j = np.arange(1, 3001)
        return 1.0 / (j * (j + 1.0)), 1.0
    if law == "cvm_known":
        return 1.0 / (np.pi * np.arange(1, 3001)) ** 2, 1.0 / 6.0
    if law.startswith("ep"):
        nodes, weights = np.polynomial.hermite_e.hermegauss(120)
        product = np.multiply.outer(nodes, nodes)
        square = np.add.outer(nodes**2, nodes**2)
        kernel = np.exp(product - square / 2)
        known = 1.0 if law.endswith("known") else 1.0 + product + product**2 / 2
        kernel -= known * np.exp(-square / 2)
        root = np.sqrt(weights / np.sqrt(2.0 * np.pi))
    else:
        nodes, weights = np.polynomial.legendre.leggauss(1600)
        s, weights = (nodes + 1) / 2, weights / 2
        q = ndtri(s)
        density = np.exp(-(q**2) / 2) / np.sqrt(2 * np.pi)
        kernel = np.minimum.outer(s, s) - np.outer(s, s)
        kernel -= np.outer(density, density) * (1 + np.outer(q, q) / 2)
        root = np.sqrt(weights / (s * (1 - s)) if law == "ad" else weights)
    kernel = kernel * np.outer(root, root)
    eigenvalues = np.linalg.eigvalsh(kernel)[::-1]
    return np.maximum(eigenvalues, 0.0), float(np.trace(kernel))


def _weighted_chi2_quantiles(weights: np.ndarray, mean: float, levels: np.ndarray) -> np.ndarray:
    """Upper quantiles of Σ wⱼ χ²₁ with the given mean, the smallest weights taken for their mean.

    P(Q > x) by inverting the moment generating function along a line through the saddle point,
    where the relative error stays as small in the tail as in the body.
    """
    kept = weights[weights > 1e-8 * weights[0]][:200]
    rest = mean - kept.sum()

    def tail(x: float) -> float:
        x = x - rest
        if x <= 0:
            return 1.0
        # The saddle point of K(s) - s x, K(s) = -½ Σ log(1 - 2 s w), by bisection.
        low, high = -1e7 / kept[0], 0.5 / kept[0] * (1 - 1e-12)
        for _ in range(200):
            s = 0.5 * (low + high)
            low, high = (s, high) if np.sum(kept / (1 - 2 * s * kept)) < x else (low, s)
        spread = np.sqrt(np.sum(2 * kept**2 / (1 - 2 * s * kept) ** 2))
        # At the mean the saddle is at the pole s = 0: pass it on the right, below the branch point.
        if abs(s) * spread < 0.5:
            s = min(0.5 / spread, 0.25 / kept[0])
        h = 0.05 / spread
        z = s + 1j * h * np.arange(2001)
        log_m = np.zeros(len(z), dtype=complex)
        for w in kept:
            log_m -= 0.5 * np.log(1 - 2 * z * w)
        values = (np.exp(log_m - z * x) / z).real
        integral = (float(values.sum()) - 0.5 * float(values[0])) * h / np.pi
        return integral if s > 0 else 1.0 + integral

    grid = np.geomspace(0.02 * mean, 0.1 * mean + 2 * kept[0] * 20, 150)
    tails = np.array([tail(x) for x in grid])
    kept_points = (tails > 1e-9) & (tails < 1 - 1e-9)
    odds = np.log(tails[kept_points]) - np.log1p(-tails[kept_points])
    order = np.argsort(-odds)
    from scipy.interpolate import PchipInterpolator

    inverse = PchipInterpolator(-odds[order], np.log(grid[kept_points][order]))
    return np.exp(inverse(-(np.log(levels) - np.log1p(-levels))))


# --- across n ------------------------------------------------------------------------------------


def merge(
    scores: np.ndarray, count: int, rare: np.ndarray | None, worth: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Quantile scores of `simulate` and, for the rare levels, of `simulate_rare`, by what each is worth.

    Returns:
        Scores and numbers of samples [levels]; NaN where neither has enough.
    """
    scores = np.where(LEVELS * count < _FEWEST, np.nan, scores)
    counts = np.full(len(LEVELS), float(count))
    if rare is not None:
        own = np.where(np.isfinite(scores), counts, 0.0)
        chosen = (LEVELS <= _RARE) & np.isfinite(rare)
        both = np.nan_to_num(own * scores) + np.nan_to_num(worth * rare)
        scores = np.where(chosen, both / (own + worth), scores)
        counts = np.where(chosen, own + worth, counts)
    return scores, counts


def fit(
    law: str, simulated: dict[int, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth quantile scores on a grid of sizes: per level a curve in the place x of n.

    Weighted least squares, a size weighing with the root of its number of samples. Where the limit is
    known, the curve is of the difference to it: a₂x² + … + a₆x⁶ for the sums of weighted χ², whose
    corrections are of order 1/n, and a cubic spline through 0 for the moments, whose are not.
    Otherwise it is a polynomial of degree 5. Levels too rare to be simulated at a size are continued
    from that size's own tail where there is no limit (`_continue_tails`), at a fifth of the weight.
    Levels that hardly any size reaches continue the trend of the levels before, at all sizes.

    Args:
        law: one of `calibration.LAWS`.
        simulated: what `merge` gives, by sample size.

    Returns:
        The grid of places and the scores [levels, places].
    """
    sizes = np.array(sorted(simulated))
    place = np.array([calibration.place_of(law, n) for n in sizes])
    scores = np.stack([simulated[n][0] for n in sizes], axis=1)
    trusted = np.sqrt(np.stack([simulated[n][1] for n in sizes], axis=1))
    limit = limit_scores(law)
    if limit is None:
        _continue_tails(law, scores, trusted)
        limit = np.zeros(len(LEVELS))
    if law in _MOMENTS:
        place = np.append(place, 0.0)
        scores = np.column_stack([scores, limit])
        trusted = np.column_stack([trusted, 30.0 * trusted.max(axis=1)])
    scores -= limit[:, None]
    low = 1.0 / np.log(2e6) if law == "sf" else 0.0
    grid = np.linspace(low, place.max(), 49)
    design, on_grid, rough = _curves(law, place, grid)
    out = np.full((len(LEVELS), len(grid)), np.nan)
    for i, level in enumerate(LEVELS):
        known = np.isfinite(scores[i])
        if known.sum() < 8:
            before = slice(i - _TREND, i)
            trend = np.polyfit(np.log(LEVELS[before]), out[before], 1)
            out[i] = trend[0] * np.log(level) + trend[1]
            continue
        weights = trusted[i, known]
        left = [
            design[known] * weights[:, None],
            rough * min(1 / np.sqrt(level * (1 - level)), 30.0),
        ]
        right = np.concatenate([weights * scores[i, known], np.zeros(len(rough))])
        out[i] = on_grid @ np.linalg.lstsq(np.concatenate(left), right, rcond=None)[0]
    return grid, out + limit[:, None]


def _curves(
    law: str, place: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A basis of curves at the places simulated and on the grid, and what is to stay small."""
    if law in _MOMENTS:
        inner = np.quantile(np.unique(place), np.linspace(0, 1, 8)[1:-1])
        knots = np.concatenate([[grid[0]] * 4, inner, [grid[-1]] * 4])
        design, on_grid = (BSpline.design_matrix(x, knots, 3).toarray() for x in (place, grid))
        # A small penalty on third differences keeps the noise of rare levels from bending the curve.
        return design, on_grid, np.diff(np.eye(design.shape[1]), n=3, axis=0)
    powers = np.arange(6) if law in ("sf", "lilliefors") else np.arange(2, 7)
    top = grid[-1]
    return (
        (place[:, None] / top) ** powers,
        (grid[:, None] / top) ** powers,
        np.zeros((0, len(powers))),
    )


def _continue_tails(law: str, scores: np.ndarray, trusted: np.ndarray) -> None:
    """Fills levels not reached, for each size in place, at a fifth of the weight.

    log p is a parabola, fitted to the levels reached, in √n D or in Royston's score, whose tails are
    nearly normal.
    """
    for j in range(scores.shape[1]):
        known = np.isfinite(scores[:, j])
        used = known & (LEVELS <= 0.1)
        log_p = np.log(LEVELS)
        natural = scores[used, j] if law == "sf" else np.exp(scores[used, j])
        c, b, a = np.polyfit(natural, log_p[used], 2, w=np.sqrt(LEVELS[used]))
        c = min(c, -1e-6)
        x = (-b - np.sqrt(b * b - 4 * c * (a - log_p[~known]))) / (2 * c)
        scores[~known, j] = x if law == "sf" else np.log(x)
        trusted[~known, j] /= 5.0


def main(argv: list[str] | None = None) -> int:
    """Runs what the scratch folder lacks, for so many minutes; writes the table when all is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    arguments = parser.parse_args(argv)
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60.0 * arguments.minutes
    simulated: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {
        law: {} for law in calibration.LAWS
    }
    missing = 0

    def kept(name: str, compute: Callable, *given) -> dict[str, np.ndarray] | None:
        file = arguments.scratch / f"{name}.npz"
        if not file.is_file():
            if time.monotonic() > deadline:
                return None
            started = time.monotonic()
            part = file.with_suffix(".part.npz")
            np.savez(part, **compute(*given))
            part.replace(file)
            print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
        with np.load(file) as stored:
            return dict(stored)

    for group, (laws, sizes, *_) in GROUPS.items():
        rare_sizes = RARE[group][1] if group in RARE else ()
        for n in sizes:
            found = kept(f"{group}_{n}", simulate, group, n)
            rare: dict[str, np.ndarray] | None = {}
            if found is not None and n in rare_sizes:
                rare = kept(f"rare_{group}_{n}", simulate_rare, group, n, found)
            if found is None or rare is None:
                missing += 1
                continue
            for law in laws:
                simulated[law][n] = merge(
                    found[law], int(found["count"]), rare.get(law), rare.get(f"{law}_count")
                )
    if missing:
        print(f"{missing} simulations are left: give the command again.")
        return 3
    table = {"levels": LEVELS}
    for law in calibration.LAWS:
        table[f"{law}_place"], table[f"{law}_score"] = fit(law, simulated[law])
    np.savez_compressed(calibration.TABLE, **table)
    print(f"written: {calibration.TABLE} ({calibration.TABLE.stat().st_size} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
