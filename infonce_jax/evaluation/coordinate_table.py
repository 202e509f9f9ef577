"""All coordinates of an embedding, each with its moments, tests and shape."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Num

from infonce_jax.evaluation import aggregate, normality
from infonce_jax.evaluation.coordinates import shape_of
from infonce_jax.evaluation.evaluate import SAMPLE_SIZES, largest_samples
from infonce_jax.evaluation.names import test_keys


def coordinate_table(
    z: Num[np.ndarray, "n d"],
    *,
    tests: str | Sequence[str] = tuple(normality.TESTS),
    sample_sizes: int | str | Sequence[int | str] = SAMPLE_SIZES,
    seed: int = 0,
    representations: str | Sequence[str] | None = None,
    repeats: Literal["once", "keep"] = "once",
    name: str = "z",
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """One dict per coordinate: what the verdict's averages are made of.

    Its keys are source, representation, n, index (counted from 0), name (where `columns` are given),
    mean, std (ddof = 1), skewness, excess_kurtosis; for each test its statistic, p-value and whether it
    is rejected at a false discovery rate of 5% among all coordinates (`ad`, `ad_p`, `ad_rejected`); and
    shape, a word for the kind of departure where any test rejects. The rows are those that
    `evaluate_arrays` tests at the largest sample size. A constant coordinate has NaN, and is not
    rejected.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((2000, 4))
        >>> z[:, 2] = np.exp(z[:, 2])
        >>> table = evaluation.coordinate_table(z, tests="ad", representations="raw")
        >>> [(row["index"], row["shape"]) for row in table if row["ad_rejected"]]
        [(2, 'skewed, heavy tails')]

    Args:
        z: embeddings, one per row, at least 8 of them.
        tests: one or several, named as for `univariate`.
        sample_sizes: as for `evaluate_arrays`; the largest counts.
        seed: likewise.
        representations: likewise.
        repeats: likewise.
        name: what errors and the column "source" call the array.
        columns: the names of the raw coordinates.

    Raises:
        TypeError: as `evaluate_arrays` does.
        ValueError: likewise.
    """
    keys = test_keys(tests, normality.TESTS)
    if columns is not None and len(columns) != np.shape(z)[-1]:
        raise ValueError(
            f"columns has {len(columns)} names for the {np.shape(z)[-1]} coordinates of {name}: give "
            f"one for each."
        )
    samples = largest_samples(
        z,
        sample_sizes=sample_sizes,
        seed=seed,
        representations=representations,
        repeats=repeats,
        name=name,
    )
    table = []
    for representation, x in samples.items():
        found = normality.statistics(x, (*keys, "skewness", "kurtosis"))
        results = normality.results(found, keys, len(x))
        rejected = {
            key: aggregate.benjamini_yekutieli(result.pvalue) <= 0.05
            for key, result in results.items()
        }
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64, ddof=1)
        for j in range(x.shape[1]):
            row = {"source": name, "representation": representation, "n": len(x), "index": j}
            if columns is not None:
                row["name"] = columns[j] if representation == "raw" else ""
            row |= {"mean": float(mean[j]), "std": float(std[j])}
            row |= {"skewness": float(found["skewness"][j])}
            row |= {"excess_kurtosis": float(found["kurtosis"][j]) - 3.0}
            for key, result in results.items():
                row |= {key: float(result.statistic[j]), f"{key}_p": float(result.pvalue[j])}
                row |= {f"{key}_rejected": bool(rejected[key][j])}
            is_any = any(flags[j] for flags in rejected.values())
            row["shape"] = shape_of(x[:, j], row["excess_kurtosis"]) if is_any else ""
            table.append(row)
    return table


def to_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """The table as CSV, with yes and no for what is rejected."""
    stream = io.StringIO()
    fields = list(dict.fromkeys(key for row in table for key in row))
    writer = csv.DictWriter(stream, fields, restval="", lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow(
            {k: ("yes" if v else "no") if isinstance(v, bool) else v for k, v in row.items()}
        )
    return stream.getvalue()
