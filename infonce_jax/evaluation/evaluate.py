"""Every statistic of one embedding matrix, at a grid of sample sizes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Num

from infonce_jax.evaluation import concentration, discrete, normality, shape
from infonce_jax.evaluation.arrays import MIN_ROWS, check_embeddings
from infonce_jax.evaluation.groups import grouped, summary
from infonce_jax.evaluation.names import several, test_keys
from infonce_jax.evaluation.registry import STATISTICS, Sample, Statistic
from infonce_jax.evaluation.representations import (
    DEFAULT_REPRESENTATIONS,
    MAPS,
    REPRESENTATIONS,
)
from infonce_jax.evaluation.rows import IDENTITY, Row

SAMPLE_SIZES = (250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, "all")


def evaluate_arrays(
    z: Num[np.ndarray, "n d"],
    view1: Num[np.ndarray, "n d"] | None = None,
    view2: Num[np.ndarray, "n d"] | None = None,
    *,
    sample_sizes: int | str | Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: str | Sequence[str] | None = None,
    tests: str | Sequence[str] = tuple(normality.TESTS),
    labels: Sequence | np.ndarray | None = None,
    mean: normality.Parameter | None = None,
    std: normality.Parameter | None = None,
    deep: bool = False,
    groups: tuple[int, int] | None = None,
    repeats: Literal["once", "keep"] = "once",
    statistics: Sequence[Statistic] = (),
    name: str = "z",
    identity: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Every statistic of one embedding matrix, at each sample size, as tidy rows.

    `ad_pass`, `dp_mean_p` and `dp_pass` are the paper's criteria with their asymptotic p-values; what
    has "calibrated" in its name rests on the law at that very n, and so do the shares of coordinates
    rejected at a false discovery rate of 5% (`…_bh_rejected`, `…_by_rejected`).

    The samples are prefixes of one random order of the rows. So they are nested, and it does not
    matter whether the file is sorted. Rows of zeros have no direction: the normalised
    representation leaves them out, and `zero_rows` counts them. Constant coordinates are left out
    of the tests, and `constant_coordinates` counts them.

    Values on a grid (whole numbers, multiples of a step, float16, bfloat16) are dithered by one step
    before they are tested, since ties alone would be found not to be normal; a row `quantised_<kind>`
    then gives the step in standard deviations. Where more than 1% of the rows repeat others, each is
    tested once, and rows `repeated_rows` and `distinct_rows` count them.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 16))
        >>> rows = evaluation.evaluate_arrays(z, sample_sizes=(500, "all"), representations=("raw",))
        >>> [(row["n"], round(row["value"], 2)) for row in rows if row["statistic"] == "ad_mean"]
        [(500, 0.38), (2000, 0.39)]

    Args:
        z: embeddings, one per row, at least 8 of them.
        view1: one view of the same samples, for `alignment`; both or neither.
        view2: another view of the same samples.
        sample_sizes: numbers of rows to evaluate at, each at least 8, and "all"; those beyond n are
            passed over.
        seed: of the random order.
        representations: one or several keys of `REPRESENTATIONS`; by default "raw" and
            "normalized", or "raw" alone where all rows have the same norm, so that both are the
            same. The coordinates of a Gaussian sample along its own principal axes have the law of
            any other normal sample's, so that the p-values hold there too; `dim` is then the number
            of axes with variance.
        tests: the univariate tests, one or several, named as for `univariate`.
        labels: the class of each row, for the figures within and between classes.
        mean: the mean of the raw coordinates, for each or for all, where it is known; then `std` is
            needed too. Adds the rows `<test>_known_…` of the raw representation, for the tests that
            this changes the null of: "ad", "cvm", "lilliefors", "ep". All other rows stay as they
            are, the mean and variance estimated.
        std: the standard deviation likewise.
        deep: whether to add, at the largest sample size, intervals for the effect sizes, the global
            test, and the multivariate and spherical tests, with 99 draws each and on the numbers of
            rows they state. Multivariate tests are left out beyond 512 dimensions, with no more than
            2 d rows, and where the covariance has not full rank; a row then says so, and stands for
            them: `multivariate_left_out_dimensions` (its value: the most dimensions),
            `multivariate_left_out_rows` (the fewest rows) or `multivariate_left_out_rank` (the
            number of principal axes with variance).
        groups: number and size of the groups of the grouped protocol; adds the rows `group_…`, on
            the first `groups · size` rows of the random order (see `groups.grouped`).
        repeats: "once" to test rows that repeat once, "keep" to test them as often as they come.
        statistics: further ones, for example from `registry.own_statistics`.
        name: what errors call the array.
        identity: values for the columns that say where it comes from, such as source and seed.

    Returns:
        One dict per statistic, representation and sample size, with the keys of `COLUMNS`.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for NaN or Inf (their number and first position), shapes that do not fit, fewer
            than 8 rows (or 8 that are not zero, to normalise), an unknown representation, no
            sample size that fits; one of mean and std without the other, or with no test or
            representation that they matter to.
    """
    tests, sample_sizes = test_keys(tests, normality.TESTS), several(sample_sizes)
    representations = None if representations is None else several(representations)
    _check_choices(representations, tests, repeats)
    full, notes = _prepared(Sample(z, view1, view2, labels, tests), name, seed, repeats)
    if representations is None:
        representations = _default_representations(full)
    n = len(full.z)
    full = full._replace(known=_check_known(mean, std, full, representations))
    origin = dict.fromkeys(IDENTITY) | {"source": name} | dict(identity or {})
    order = np.random.default_rng(seed).permutation(n)
    rows = []

    def add(representation: str, size: int, dim: int, found: Mapping[str, float]) -> None:
        here = origin | {"representation": representation, "n": size, "dim": dim}
        rows.extend(here | {"statistic": k, "value": float(v)} for k, v in found.items())

    sizes = _sizes_within(n, sample_sizes, name)
    for size in sizes:
        raw = full if size == n else _take(full, np.sort(order[:size]))
        raw = raw._replace(is_largest=size == sizes[-1])
        samples = _represented(raw, representations, name, seed)
        wanted = [
            s for s in (*STATISTICS, *statistics) if not s.deep or (deep and size == sizes[-1])
        ]
        values = _values(raw, samples, representations, wanted)
        for representation, found in values.items():
            add(representation, size, samples[representation].z.shape[1], found | notes)
    if groups is not None:
        whole = samples if sizes[-1] == n else _represented(full, representations, name, seed)
        for representation in representations:
            x = whole[representation].z
            found = summary(grouped(x, groups=groups[0], size=groups[1], seed=seed))
            add(representation, groups[0] * groups[1], x.shape[1], found)
    return rows


def largest_samples(
    z: Num[np.ndarray, "n d"],
    *,
    sample_sizes: int | str | Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: str | Sequence[str] | None = None,
    repeats: Literal["once", "keep"] = "once",
    name: str = "z",
) -> dict[str, np.ndarray]:
    """The rows that `evaluate_arrays` tests at the largest sample size, by representation."""
    representations = None if representations is None else several(representations)
    _check_choices(representations, tuple(normality.TESTS), repeats)
    full, _ = _prepared(Sample(z), name, seed, repeats)
    size = _sizes_within(len(full.z), several(sample_sizes), name)[-1]
    if representations is None:
        representations = _default_representations(full)
    order = np.random.default_rng(seed).permutation(len(full.z))
    raw = full if size == len(full.z) else _take(full, np.sort(order[:size]))
    samples = _represented(raw, representations, name, seed)
    return {representation: samples[representation].z for representation in representations}


def _represented(
    raw: Sample, representations: Sequence[str], name: str, seed: int
) -> dict[str, Sample]:
    return {"raw": raw} | {
        r: Sample(MAPS[r](raw.z, name, seed), tests=raw.tests, is_largest=raw.is_largest)
        for r in representations
        if r != "raw"
    }


def _values(
    raw: Sample,
    samples: Mapping[str, Sample],
    representations: Sequence[str],
    statistics: Sequence[Statistic],
) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {r: {} for r in representations}
    for statistic in statistics:
        wanted = [r for r in representations if r in statistic.representations]
        if not wanted:
            continue
        shared = statistic.compute(raw) if statistic.of_raw else None
        for r in wanted:
            values[r] |= statistic.compute(samples[r]) if shared is None else shared
    return values


def _check_choices(
    representations: Sequence[str] | None, tests: Sequence[str], repeats: str
) -> None:
    if representations is not None:
        unknown = [r for r in representations if r not in REPRESENTATIONS]
        if unknown or not representations:
            raise ValueError(
                f"unknown representation {', '.join(map(repr, unknown)) or '(none given)'}; "
                f"choose from {', '.join(REPRESENTATIONS)}."
            )
    if not tests:
        raise ValueError(f"no test is asked for; choose from {', '.join(normality.TESTS)}.")
    if repeats not in ("once", "keep"):
        raise ValueError(f"repeats is {repeats!r}; choose from once, keep.")


def _prepared(
    sample: Sample, name: str, seed: int, repeats: str
) -> tuple[Sample, dict[str, float]]:
    """The checked sample, each row once and dithered, and the rows that say so."""
    given = np.asarray(sample.z)
    is_integer = given.dtype.kind in "iu"
    if is_integer:
        # float32 holds whole numbers up to 2²⁴.
        sample = sample._replace(z=given.astype(np.float32 if given.itemsize <= 2 else np.float64))
    sample = _check_sample(sample, name)
    grid = discrete.quantisation(given if is_integer else sample.z)
    notes: dict[str, float] = {}
    n = len(sample.z)
    distinct = discrete.distinct_rows(sample.z)
    if len(distinct) < n:
        relative = np.full(sample.z.shape[1], np.finfo(sample.z.dtype).eps)
        if grid is not None:
            relative = grid.relative
        found = n - len(distinct)
        if found > max(0.01 * n, 10.0 * discrete.expected_repeats(n, relative)):
            notes |= {"repeated_rows": found, "distinct_rows": len(distinct)}
            if repeats == "once" and len(distinct) >= MIN_ROWS:
                sample = _take(sample, distinct)
    if grid is not None:
        notes[f"quantised_{grid.kind}"] = grid.typical
        sample = sample._replace(z=discrete.dithered(sample.z, grid, seed=seed), stored=sample.z)
    return sample, notes


def _default_representations(sample: Sample) -> tuple[str, ...]:
    is_unit = concentration.norm_cv(sample.exact) < concentration.EQUAL_NORMS
    return ("raw",) if is_unit else DEFAULT_REPRESENTATIONS


def _check_sample(sample: Sample, name: str) -> Sample:
    z = check_embeddings(sample.z, name)
    labels = None if sample.labels is None else shape.check_labels(sample.labels, len(z))
    sample = sample._replace(z=z, labels=labels)
    if (sample.view1 is None) != (sample.view2 is None):
        raise ValueError(
            f"{name} has one view only; alignment is between two: give view1 and view2, or neither."
        )
    if sample.view1 is None:
        return sample
    view1 = check_embeddings(sample.view1, f"view1 of {name}")
    view2 = check_embeddings(sample.view2, f"view2 of {name}")
    if not (len(z) == len(view1) == len(view2)) or view1.shape != view2.shape:
        raise ValueError(
            f"{name} has shape {z.shape}, its views {view1.shape} and {view2.shape}: row i of each "
            f"must belong to the same sample, and both views must have as many coordinates."
        )
    return sample._replace(view1=view1, view2=view2)


def _check_known(
    mean: normality.Parameter | None,
    std: normality.Parameter | None,
    sample: Sample,
    representations: Sequence[str],
) -> tuple[np.ndarray, np.ndarray] | None:
    tests = [test for test in sample.tests if test not in normality.INVARIANT_TESTS]
    known = normality.check_known(mean, std, sample.z.shape[1], tests or sample.tests)
    if known is not None and "raw" not in representations:
        raise ValueError(
            f"mean and std are those of the raw coordinates, but the representations asked for are "
            f"{', '.join(representations)}: add raw, or leave mean and std out."
        )
    return known


def _sizes_within(n: int, sample_sizes: Sequence[int | str], name: str) -> list[int]:
    sizes = [n if size == "all" else size for size in sample_sizes]
    wrong = [s for s in sizes if not isinstance(s, int | np.integer) or s < MIN_ROWS]
    if wrong:
        raise ValueError(
            f"sample size {wrong[0]!r} cannot be used: give whole numbers of at least {MIN_ROWS} "
            f'rows, or "all".'
        )
    within = sorted({int(size) for size in sizes if size <= n})
    if not within:
        raise ValueError(
            f"{name} has {n} rows, fewer than every sample size asked for "
            f'({", ".join(map(str, sample_sizes))}): add a smaller one, or "all".'
        )
    return within


def _take(sample: Sample, rows: np.ndarray) -> Sample:
    def taken(x: np.ndarray | None) -> np.ndarray | None:
        return None if x is None else np.asarray(x[rows])

    z, view1, view2, labels = map(taken, sample[:4])
    return sample._replace(
        z=z, view1=view1, view2=view2, labels=labels, stored=taken(sample.stored)
    )
