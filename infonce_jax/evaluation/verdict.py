"""The rows of an evaluation in plain words, each verdict with its reason."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from infonce_jax.evaluation import normality

GAUSSIAN, CLOSE, NOT_GAUSSIAN, UNTESTED = "gaussian", "close", "not gaussian", "untested"
# A mean A² at this many rows below the 5 % point counts as close: the paper's criterion, at an n.
REFERENCE_ROWS = 1000


class Verdict(NamedTuple):
    """What the largest sample of one embedding set says.

    Attributes:
        source: which set.
        representation: "raw" or "normalized".
        answer: "gaussian", "close", "not gaussian" or "untested".
        text: one sentence or two, with the reason.
    """

    source: str
    representation: str
    answer: str
    text: str


def verdicts(summary: Iterable[dict[str, Any]]) -> list[Verdict]:
    """One verdict for each embedding set and representation, on the largest sample.

    * "gaussian": A² does not tell the coordinates from Gaussian ones at this n: by the global test
      where it was made (p > 0.01, both of the mean A² and of the smallest p-value), and otherwise by
      the share of coordinates with p > 0.05, at least 0.95 less three standard errors of d
      independent ones, and none rejected at a false discovery rate of 5 %.
    * "close": a departure is found, but so small that at 1,000 rows the average coordinate would
      pass: 0.384 + 1000 Δ̂ < 0.752.
    * "not gaussian": a larger one.

    Args:
        summary: as `infonce_jax.evaluation.summarise` returns it.
    """
    groups: dict[tuple[str, Any, str], dict[int, dict[str, dict[str, Any]]]] = {}
    for row in summary:
        key = (row["source"], row["hyperparameters"], row["split"], row["representation"])
        at = groups.setdefault(key, {}).setdefault(row["n"], {})
        at[row["statistic"]] = row
    found = []
    for (source, hyperparameters, split, representation), by_n in groups.items():
        n = max(by_n)
        values = {name: row["mean"] for name, row in by_n[n].items()}
        dim = next(iter(by_n[n].values()))["dim"]
        of = [v for v in (split, hyperparameters) if v not in (None, "{}")]
        name = f"{source} ({', '.join(of)})" if of else source
        found.append(Verdict(name, representation, *_judge(values, n, dim)))
    return found


def _judge(values: dict[str, float], n: int, dim: int) -> tuple[str, str]:
    mean, passed = values.get("ad_mean"), values.get("ad_calibrated_pass")
    if mean is None or passed is None or math.isnan(mean):
        return UNTESTED, "Anderson-Darling was not computed, or every coordinate is constant."
    delta = (mean - normality.AD_GAUSSIAN_MEAN) / n
    error = math.sqrt(0.95 * 0.05 / dim)
    if "global_mean_p" in values:
        small = min(values["global_mean_p"], values["global_smallest_p"])
        accepted = small > 0.01
        reason = (
            f"against Gaussians of the same covariance the mean A² has p = "
            f"{values['global_mean_p']:.2g} and the most extreme coordinate p = "
            f"{values['global_smallest_p']:.2g} (n = {values['global_rows']:,.0f})"
        )
    else:
        accepted = passed >= 0.95 - 3 * error and values.get("ad_bh_rejected", 0.0) == 0.0
        reason = (
            f"{passed:.1%} of the coordinates pass Anderson-Darling at the 5 % level and "
            f"{values.get('ad_bh_rejected', 0.0):.1%} are rejected at a false discovery rate of "
            f"5 %; an exact Gaussian with independent coordinates has 95 ± {100 * error:.1f} % and "
            f"0 %"
        )
    if accepted:
        return GAUSSIAN, f"Not told from Gaussian at n = {n:,}: {reason}."
    # Below this slope the average coordinate passes at any n that could be asked for.
    rows = (normality.AD_CRITICAL_5_PERCENT - normality.AD_GAUSSIAN_MEAN) / max(delta, 1e-12)
    grows = f"with A² = {mean:.3g} on average, a coordinate fails from some {_round(rows)} rows on"
    if rows > REFERENCE_ROWS:
        return CLOSE, f"Close to Gaussian, and found not to be at n = {n:,}: {reason}; {grows}."
    return NOT_GAUSSIAN, f"Not Gaussian: {grows}; {reason}."


def _round(rows: float) -> str:
    if rows > 1e9:
        return "a billion"
    digits = max(0, int(math.log10(max(rows, 1.0))) - 1)
    return f"{round(rows, -digits):,.0f}"
