"""The grouped protocol: tests of every coordinate in many small groups, averaged over the groups."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from infonce_jax.evaluation import normality
from infonce_jax.evaluation.arrays import MIN_ROWS, check_embeddings

GROUPS, GROUP_SIZE = 20, 250


class Grouped(NamedTuple):
    """Averages over groups, one of each per coordinate; NaN where a coordinate is constant in a group.

    Attributes:
        ad: the mean A² of Anderson and Darling.
        dp: the mean asymptotic p-value of D'Agostino and Pearson.
        groups: the number of groups.
        size: the rows of each.
    """

    ad: Float[np.ndarray, " d"]
    dp: Float[np.ndarray, " d"]
    groups: int
    size: int


def grouped(
    z: Float[np.ndarray, "n d"],
    *,
    groups: int = GROUPS,
    size: int = GROUP_SIZE,
    seed: int = 0,
) -> Grouped:
    """Tests every coordinate in every group; averages the statistic (AD) and p-value (DP) over them.

    The groups are consecutive blocks of the rows in the order
    `np.random.default_rng(seed).permutation(n)`. A coordinate passes where its mean A² is below 0.752,
    or its mean p-value above 0.05 (`summary`).

    This is a weak test. For an exact Gaussian the mean A² of a coordinate has expectation 0.384 and
    standard deviation 0.19/√groups, so with 20 groups the threshold lies 8 standard deviations above;
    the mean p-value has expectation 0.5 and standard deviation 0.29/√groups. Both criteria thus pass
    100% of the coordinates of a Gaussian, not 95%, and many that are not Gaussian.

    Args:
        z: embeddings, one per row, at least `groups * size` of them.
        groups: the number of groups.
        size: the rows of each group, at least 8.
        seed: of the order of the rows.

    Returns:
        The averages, [d] each.

    Raises:
        TypeError: for what is not of real floating type.
        ValueError: for too few rows, fewer than 1 group or 8 rows in one; as `check_embeddings` does.

    References:
        Betser, Levi & Gilboa, *Whitened CLIP as a likelihood surrogate of images and captions*, ICML
        2025, which tests 5,000 embeddings in 20 groups of 250.
    """
    z = check_embeddings(z, "z")
    if groups < 1 or size < MIN_ROWS:
        raise ValueError(
            f"groups is {groups} and size {size}: give at least 1 group of at least {MIN_ROWS} rows."
        )
    n, d = z.shape
    if n < groups * size:
        raise ValueError(
            f"z has {n} rows, but {groups} groups of {size} need {groups * size}: give more rows, "
            f"fewer groups, or smaller ones."
        )
    order = np.random.default_rng(seed).permutation(n)
    ad, dp = np.zeros(d), np.zeros(d)
    for group in range(groups):
        rows = np.sort(order[group * size : (group + 1) * size])
        found = normality.univariate(np.asarray(z[rows]), ["ad", "dp"], method="asymptotic")
        ad += found["ad"].statistic
        dp += found["dp"].pvalue
    return Grouped(ad / groups, dp / groups, groups, size)


def summary(found: Grouped) -> dict[str, float]:
    """The averages over coordinates and the shares that pass, as the rows of an evaluation.

    Returns:
        `group_ad_mean`, `group_ad_pass`, `group_dp_mean_p`, `group_dp_pass`, `group_count` and
        `group_size`. Coordinates that are constant in a group are left out.
    """
    ad, dp = found.ad[~np.isnan(found.ad)], found.dp[~np.isnan(found.dp)]
    return {
        "group_ad_mean": float(ad.mean()) if len(ad) else math.nan,
        "group_ad_pass": (
            float(np.mean(ad < normality.AD_CRITICAL_5_PERCENT)) if len(ad) else math.nan
        ),
        "group_dp_mean_p": float(dp.mean()) if len(dp) else math.nan,
        "group_dp_pass": float(np.mean(dp > 0.05)) if len(dp) else math.nan,
        "group_count": found.groups,
        "group_size": found.size,
    }
