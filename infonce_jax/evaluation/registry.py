"""The list of statistics: what is computed of a sample, and for which representations.

To add a statistic to the package, write a function `Sample -> {name: value}` and a line in `STATISTICS`.
One of your own, `statistic(z, **kwargs)` in a module of yours, is named instead: `own_statistics`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax import registry
from infonce_jax.evaluation import (
    aggregate,
    concentration,
    coordinates,
    isotropy,
    multivariate,
    normality,
    shape,
    sphere,
    uniformity,
)
from infonce_jax.evaluation.arrays import MIN_ROWS, row_norms
from infonce_jax.evaluation.duplicates import duplicate_coordinates
from infonce_jax.evaluation.names import several
from infonce_jax.evaluation.representations import DEFAULT_REPRESENTATIONS, principal_axes


class Sample(NamedTuple):
    """What a statistic sees: some rows of one representation, and what belongs to the same samples.

    Attributes:
        z: the embeddings, dithered where their values lie on a grid.
        view1: one view of the same samples, or None.
        view2: another, or None.
        labels: the class of each, or None.
        tests: the univariate tests asked for.
        known: mean and standard deviation of each coordinate of the embeddings, or None.
        stored: the embeddings as they are, where `z` was dithered.
        is_largest: whether it is the largest sample; single coordinates are named of this one only.
    """

    z: Float[np.ndarray, "n d"]
    view1: Float[np.ndarray, "n d"] | None = None
    view2: Float[np.ndarray, "n d"] | None = None
    labels: np.ndarray | None = None
    tests: tuple[str, ...] = tuple(normality.TESTS)
    known: tuple[np.ndarray, np.ndarray] | None = None
    stored: np.ndarray | None = None
    is_largest: bool = False

    @property
    def exact(self) -> np.ndarray:
        """The embeddings as they are, without dithering."""
        return self.z if self.stored is None else self.stored


class Statistic(NamedTuple):
    """A line of the registry.

    Attributes:
        compute: maps a sample to one or more named values; {} where it does not apply.
        representations: those it is computed for.
        of_raw: whether it is given the raw sample, and its value told with every representation:
            what depends on z/‖z‖ only, or on the sample whatever its representation.
        deep: whether it is computed at the largest sample size only, and on request.
        takes_labels: whether it needs the labels that embedding sets hold.
    """

    compute: Callable[[Sample], dict[str, float]]
    representations: tuple[str, ...] = DEFAULT_REPRESENTATIONS
    of_raw: bool = False
    deep: bool = False
    takes_labels: bool = False


def _coordinates(sample: Sample) -> dict[str, float]:
    """The univariate tests and the effect sizes, from the same pass over the sorted coordinates."""
    n = len(sample.z)
    names = tuple(dict.fromkeys((*sample.tests, *shape.STATISTICS)))
    statistics = normality.statistics(sample.z, names)
    found: dict[str, float] = {}
    for test, (statistic, pvalue) in normality.results(statistics, sample.tests, n).items():
        if test == "ad" and sample.is_largest:
            found |= coordinates.worst(sample.z, statistics, pvalue)
        known = ~np.isnan(statistic)
        statistic, pvalue = statistic[known], pvalue[known]
        found[f"{test}_mean"] = _mean(statistic)
        if test == "ad":
            found["ad_median"] = float(np.median(statistic)) if len(statistic) else math.nan
            rejected = aggregate.benjamini_yekutieli(pvalue) <= 0.05
            found["ad_by_rejected_part"] = _mean(statistic * rejected)
            modified = normality.stephens_modified(statistic, n)
            found["ad_pass"] = _mean(modified < normality.AD_CRITICAL_5_PERCENT)
        if test == "dp":
            asymptotic = np.exp(-0.5 * statistic)
            found["dp_mean_p"] = _mean(asymptotic)
            found["dp_pass"] = _mean(asymptotic > 0.05)
        found |= _over_coordinates(test, pvalue)
    found["constant_coordinates"] = int(np.sum(np.isnan(statistics["skewness"])))
    eigenvalues = shape.spectrum(sample.z)
    norms = concentration.shell(sample.z, eigenvalues)
    return (
        found
        | shape.effect_sizes(sample.z, statistics, eigenvalues)
        | {
            "excess_kurtosis_se": shape.excess_kurtosis_error(sample.z),
            "norm_cv_se": norms.cv_se,
            "norm_cv_expected": norms.expected,
            "norm_log_ratio_se": norms.log_ratio_se,
            "norm_log_ratio_null_se": norms.null_log_ratio_se,
        }
    )


def _over_coordinates(name: str, pvalue: Float[np.ndarray, " d"]) -> dict[str, float]:
    return {
        f"{name}_calibrated_mean_p": _mean(pvalue),
        f"{name}_calibrated_pass": _mean(pvalue > 0.05),
        f"{name}_bh_rejected": _mean(aggregate.benjamini_hochberg(pvalue) <= 0.05),
        f"{name}_by_rejected": _mean(aggregate.benjamini_yekutieli(pvalue) <= 0.05),
    }


def _known(sample: Sample) -> dict[str, float]:
    """The tests of which the known mean and standard deviation are part of the null."""
    if sample.known is None:
        return {}
    tests = [test for test in sample.tests if test not in normality.INVARIANT_TESTS]
    statistics = normality.statistics(sample.z, tests, sample.known)
    found: dict[str, float] = {}
    for test, (statistic, pvalue) in normality.results(
        statistics, tests, len(sample.z), estimated=False
    ).items():
        found[f"{test}_known_mean"] = _mean(statistic)
        found |= _over_coordinates(f"{test}_known", pvalue)
    return found


def _duplicates(sample: Sample) -> dict[str, float]:
    groups = duplicate_coordinates(sample.exact)
    return {"duplicate_coordinates": sum(len(group) - 1 for group in groups)}


def _coordinates_of_directions(sample: Sample) -> dict[str, float]:
    # All norms are 1 there.
    return {k: v for k, v in _coordinates(sample).items() if not k.startswith("norm_")}


def _alignment(sample: Sample) -> dict[str, float]:
    if sample.view1 is None or sample.view2 is None:
        return {}
    return {"alignment": uniformity.alignment(sample.view1, sample.view2)}


def _uniformity(sample: Sample) -> dict[str, float]:
    zero_rows = uniformity.zero_rows(sample.exact)
    found = isotropy.isotropy(sample.z)
    variance = found.mean_square_cosine - found.mean_cosine**2
    return {
        "negative_cosine_mean": found.mean_cosine,
        "negative_cosine_std": math.sqrt(max(variance, 0.0)) if found.n > 1 else math.nan,
        "mean_resultant": found.mean_resultant if found.n > 1 else float(found.n) or math.nan,
        "zero_rows": zero_rows,
        "negative_cosine_mean_se": found.mean_cosine_se,
        "square_cosine_mean_se": found.mean_square_cosine_se,
        "direction_anisotropy": found.anisotropy,
        "direction_effective_rank": found.effective_rank,
        "direction_rayleigh_p": found.rayleigh_p,
        "direction_bingham_p": found.bingham_p,
        "uniformity_excess": found.excess,
        "uniformity_excess_se": found.excess_se,
    }


def _classes(sample: Sample) -> dict[str, float]:
    if sample.labels is None:
        return {}
    return shape.class_conditional(sample.z, sample.labels)


def _intervals(sample: Sample) -> dict[str, float]:
    if len(sample.z) < 2 * MIN_ROWS:
        return {}
    # Fewer draws where each is dear.
    draws = 100 if sample.z.shape[1] <= 512 else 25
    found = shape.intervals(sample.z, draws=draws, rows=1000)
    ends = {f"{name}_low": interval.low for name, interval in found.items()}
    return ends | {f"{name}_high": interval.high for name, interval in found.items()}


def _global(sample: Sample) -> dict[str, float]:
    found = aggregate.global_test(sample.z, draws=99)
    return {
        "global_mean_p": found.mean_pvalue,
        "global_smallest_p": found.smallest_pvalue,
        "global_pass": found.pass_rate,
        "global_pass_gaussian": found.pass_rate_gaussian,
        "global_pass_gaussian_std": found.pass_rate_std,
        "global_rows": found.n,
    }


def _multivariate(sample: Sample) -> dict[str, float]:
    n, d = sample.z.shape
    rows = min(n, max(1000, 4 * d))
    if d > DEEP_DIMENSIONS:
        return {"multivariate_left_out_dimensions": DEEP_DIMENSIONS}
    if rows <= 2 * d:
        return {"multivariate_left_out_rows": 2 * d + 1}
    try:
        if np.isnan(normality.moments(sample.z)[0]).any():
            raise ValueError("constant coordinates")
        found = multivariate.multivariate(sample.z, draws=99, rows=rows)
    except ValueError:  # a covariance without full rank has no whitened sample to test
        return {"multivariate_left_out_rank": len(principal_axes(sample.z)[1])}
    values = {f"{test}_statistic": result.statistic for test, result in found.items()}
    values |= {f"{test}_p": result.pvalue for test, result in found.items()}
    return values | {"multivariate_rows": rows}


def _sphere(sample: Sample) -> dict[str, float]:
    if sample.z.shape[1] < 2 or np.sum(row_norms(sample.z) > 0) < 2 * MIN_ROWS:
        return {}
    found = sphere.sphere(sample.z, draws=99, rows=1000)
    found["cosine_law"] = sphere.cosine_law(sample.z)
    values = {f"{test}_statistic": result.statistic for test, result in found.items()}
    values |= {f"{test}_p": result.pvalue for test, result in found.items()}
    values |= {
        f"{test}_uniform": result.uniform
        for test, result in found.items()
        if not math.isnan(result.uniform)
    }
    return values | {"sphere_rows": min(1000, len(sample.z))}


STATISTICS = (
    Statistic(_coordinates, representations=("raw", "principal", "projected")),
    Statistic(_coordinates_of_directions, representations=("normalized", "spherical")),
    Statistic(_known, representations=("raw",)),
    Statistic(_duplicates, of_raw=True),
    Statistic(_alignment, of_raw=True),
    Statistic(_uniformity, of_raw=True),
    Statistic(_classes, representations=("raw",)),
    Statistic(_intervals, representations=("raw",), deep=True),
    Statistic(_global, deep=True),
    Statistic(_multivariate, representations=("raw", "principal"), deep=True),
    Statistic(_sphere, of_raw=True, deep=True),
)
# Beyond this dimension the pairwise multivariate tests are left out: each of their draws would take
# seconds.
DEEP_DIMENSIONS = 512

# What independent coordinates of an exact Gaussian score, for reading the others by.
GAUSSIAN = {
    "ad_mean": normality.AD_GAUSSIAN_MEAN,
    "ad_pass": 0.95,
    "dp_mean_p": 0.5,
    "dp_pass": 0.95,
}
for _test in normality.TESTS:
    _kinds = (_test,) if _test in normality.INVARIANT_TESTS else (_test, f"{_test}_known")
    GAUSSIAN |= {f"{_kind}_calibrated_mean_p": 0.5 for _kind in _kinds}
    GAUSSIAN |= {f"{_kind}_calibrated_pass": 0.95 for _kind in _kinds}


def own_statistics(
    names: str | Sequence[str], kwargs: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Statistic, ...]:
    """Statistics of the user's own, by name.

    Each is `statistic(z, **kwargs)` with z [n, dim], and returns a number, or several by name. It is
    given `labels`, `view1` and `view2` where it has such parameters (None where there are none), and is
    then computed for the raw representation alone.

    Args:
        names: of the form `my_module:name`.
        kwargs: keyword arguments by the function's name, the part after the colon.

    Raises:
        ValueError: where there is no such function, or its signature does not fit.
    """
    names, kwargs = several(names), kwargs or {}
    short = [registry.short_name(name) for name in names]
    unused = sorted(set(kwargs) - set(short))
    if unused:
        raise ValueError(
            f"config.evaluate.kwargs has arguments for {', '.join(unused)}, but "
            f"config.evaluate.statistics names {', '.join(short) or 'none'}."
        )
    return tuple(_own_statistic(name, kwargs.get(registry.short_name(name), {})) for name in names)


def _own_statistic(name: str, kwargs: Mapping[str, Any]) -> Statistic:
    function = registry.find("evaluate.statistics", name, {})
    takes = registry.fit(
        *("evaluate.statistics", name, function, ("z",)),
        offered=("labels", "view1", "view2"),
        kwargs=kwargs,
    )
    short = registry.short_name(name)

    def compute(sample: Sample) -> dict[str, float]:
        given = {key: getattr(sample, key) for key in takes}
        try:
            found = function(sample.exact, **given, **kwargs)
        # Whatever the user's function raises.
        except Exception as error:
            raise ValueError(
                f"config.evaluate.statistics has {name!r}, which fails on an array of shape "
                f"{sample.z.shape}: {type(error).__name__}: {error}"
            ) from error
        values = found if isinstance(found, Mapping) else {"": found}
        wrong = [key for key, value in values.items() if np.shape(value) != ()]
        if wrong:
            raise ValueError(
                f"config.evaluate.statistics has {name!r}, which returns an array of shape "
                f"{np.shape(values[wrong[0]])}{f' as {wrong[0]}' if wrong[0] else ''}; it must return a "
                "number, or numbers by name."
            )
        return {f"{short}_{k}" if k else short: float(value) for k, value in values.items()}

    where = ("raw",) if takes else DEFAULT_REPRESENTATIONS
    return Statistic(compute, where, takes_labels="labels" in takes)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
