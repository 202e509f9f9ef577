"""The evaluation as a table for the terminal."""

import math
from collections.abc import Iterable
from typing import Any

from infonce_jax.evaluation import normality
from infonce_jax.evaluation.registry import GAUSSIAN

_COLUMNS = (
    ("norm CV", "norm_cv", "{:.4f}"),
    ("1/sqrt(2PR)", "norm_cv_gaussian", "{:.4f}"),
    ("AD mean", "ad_mean", "{:.3f}"),
    ("AD pass", "ad_pass", "{:.1%}"),
    ("DP mean p", "dp_mean_p", "{:.3f}"),
    ("DP pass", "dp_pass", "{:.1%}"),
    ("alignment", "alignment", "{:.4f}"),
    ("neg cos", "negative_cosine_mean", "{:z.4f}"),
    ("std", "negative_cosine_std", "{:.4f}"),
    ("|mean|", "mean_resultant", "{:.4f}"),
)
_BLOCK = ("source", "step", "epoch", "split", "hyperparameters", "dim")


def format_table(summary: Iterable[dict[str, Any]]) -> str:
    """One block per embedding set: sample sizes downwards, statistics across, means over seeds.

    Above them stands what independent coordinates of an exact Gaussian score; below each row its
    standard errors, where there are several seeds. What was left out and why, duplicate coordinates
    and the tests with a known mean are told below the table where there are any.

    Examples:
        >>> z = np.random.default_rng(0).standard_normal((500, 8))
        >>> rows = evaluation.evaluate_arrays(z, sample_sizes=("all",), representations=("raw",))
        >>> table = evaluation.format_table(evaluation.summarise(rows))
        >>> "norm CV" in table or "CV" in table
        True

    Args:
        summary: as `infonce_jax.evaluation.summarise` returns it.
    """
    blocks: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in summary:
        blocks.setdefault(tuple(row[c] for c in _BLOCK), []).append(row)
    return "\n\n".join(_block(dict(zip(_BLOCK, k, strict=True)), v) for k, v in blocks.items())


_COMPARED = (
    *_COLUMNS[:6],
    ("AD calibrated pass", "ad_calibrated_pass", "{:.1%}"),
    ("EP calibrated pass", "ep_calibrated_pass", "{:.1%}"),
    ("A2 growth per 1000 rows", "delta", "{:.4f}"),
    ("negentropy (nats)", "negentropy", "{:z.5f}"),
    ("W2 to normal", "w2", "{:.4f}"),
    ("excess kurtosis", "excess_kurtosis", "{:z.3f}"),
    ("participation ratio", "participation_ratio", "{:.1f}"),
    *_COLUMNS[6:],
    ("global p", "global_mean_p", "{:.3f}"),
)


def format_comparison(summary: Iterable[dict[str, Any]]) -> str:
    """The sets side by side, statistics downwards, at the largest sample size that all have.

    Args:
        summary: as `infonce_jax.evaluation.summarise` returns it.
    """
    summary = list(summary)
    grouped = [row for row in summary if row["statistic"].startswith("group_")]
    summary = [row for row in summary if not row["statistic"].startswith("group_")]
    blocks = []
    for representation in dict.fromkeys(row["representation"] for row in summary):
        rows = [row for row in summary if row["representation"] == representation]
        sets = list(dict.fromkeys(tuple(row[c] for c in _BLOCK) for row in rows))
        sizes = [{r["n"] for r in rows if tuple(r[c] for c in _BLOCK) == s} for s in sets]
        shared = set.intersection(*sizes)
        at = [max(shared)] * len(sets) if shared else [max(s) for s in sizes]
        names = [_short(s) for s in sets]
        lines = [[representation, *names], ["n", *map(str, at)]]
        values = {(tuple(r[c] for c in _BLOCK), r["n"], r["statistic"]): r["mean"] for r in rows}
        for heading, statistic, form in _COMPARED:
            found = [values.get((s, n, statistic)) for s, n in zip(sets, at, strict=True)]
            if any(value is not None for value in found):
                # The growth reads better over a thousand rows than over one.
                scale = 1000.0 if statistic == "delta" else 1.0
                cells = [_cell(form, None if v is None else scale * v) for v in found]
                lines.append([heading, *cells])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        blocks.append(
            "\n".join(
                "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
                for line in lines
            )
        )
        if not shared:
            blocks.append("No sample size is common to all: each is shown at its largest.")
    by_set: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in summary:
        by_set.setdefault(tuple(row[c] for c in _BLOCK), []).append(row)
    told = [f"{_short(key)}: {note}" for key, rows in by_set.items() for note in _notes(rows)]
    for key in by_set:
        mine = [row for row in grouped if tuple(row[c] for c in _BLOCK) == key]
        told += [f"{_short(key)}: {line}" for line in _by_groups(mine)]
    if told:
        blocks.append("\n".join(told))
    return "\n\n".join(blocks)


def _short(key: tuple[Any, ...]) -> str:
    where = dict(zip(_BLOCK, key, strict=True))
    name = where["source"].rsplit("/", 1)[-1]
    return name if where["split"] is None else f"{name} {where['split']}"


def _block(where: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    cells: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    grouped = [row for row in rows if row["statistic"].startswith("group_")]
    rows = [row for row in rows if not row["statistic"].startswith("group_")]
    for row in rows:
        cells.setdefault((row["representation"], row["n"]), {})[row["statistic"]] = row
    known = {row["statistic"] for row in rows}
    columns = [c for c in _COLUMNS if c[1] in known]
    lines = [["", "n", *(heading for heading, _, _ in columns)]]
    lines += [["exact Gaussian", "", *(_cell(form, GAUSSIAN.get(s)) for _, s, form in columns)]]
    for (representation, n), found in sorted(
        cells.items(), key=lambda kv: (kv[0][0] != "raw", kv[0])
    ):
        means = [_cell(form, found.get(s, {}).get("mean")) for _, s, form in columns]
        errors = [_cell(form, found.get(s, {}).get("standard_error")) for _, s, form in columns]
        lines += [[representation, str(n), *means]]
        if any(errors):
            lines += [["  +- s.e.", "", *errors]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    return "\n".join([_title(where, rows), *table, *_by_groups(grouped), *_notes(rows)])


def _by_groups(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each representation; under this protocol a Gaussian passes 100%."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["representation"], {})[row["statistic"]] = row["mean"]
    return [
        f"{representation}, {v['group_count']:.0f} groups of {v['group_size']:.0f}: AD average "
        f"{v['group_ad_mean']:.3f}, {v['group_ad_pass']:.1%} pass; DP average p "
        f"{v['group_dp_mean_p']:.3f}, {v['group_dp_pass']:.1%} pass (an exact Gaussian: 0.384, 100.0%, "
        f"0.500, 100.0%)"
        for representation, v in found.items()
    ]


def _cell(form: str, value: float | None) -> str:
    return "" if value is None else "-" if math.isnan(value) else form.format(value)


def _title(where: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    seeds = max(row["count"] for row in rows)
    parts = [
        where["source"],
        where["split"],
        None if where["epoch"] is None else f"epoch {where['epoch']:g}",
        f"d = {where['dim']}",
        f"{seeds} seeds" if seeds > 1 else None,
        where["hyperparameters"] if where["hyperparameters"] not in (None, "{}") else None,
    ]
    return ", ".join(part for part in parts if part)


_LEFT_OUT = "multivariate tests left out (n = {n}): "
_COUNTED = {
    "constant_coordinates": "constant coordinates, left out of AD and DP "
    "({representation}, n = {n}): {mean:g}",
    "zero_rows": "rows of zeros, left out of what needs a direction (n = {n}): {mean:g}",
}
_NOTES_AT_THE_LARGEST = {
    "duplicate_coordinates": "duplicate coordinates, copies of others up to rounding, sign, shift and "
    "scale (n = {n}): {mean:g}; they stay in averages and shares, and the global test (--deep) "
    "accounts for the dependence",
    "multivariate_left_out_dimensions": _LEFT_OUT + "{dim} coordinates, and beyond {mean:g} their "
    "draws take too long; give fewer, such as the leading principal components, or call "
    "infonce_jax.evaluation.multivariate in Python, which has no such limit",
    "multivariate_left_out_rows": _LEFT_OUT + "{n} rows of {dim} coordinates, where {mean:g} are "
    "needed; give more rows, or fewer coordinates, such as the leading principal components",
    "multivariate_left_out_rank": _LEFT_OUT + "the covariance of the {dim} coordinates is "
    "singular, with {mean:g} principal axes that have variance: some are constant, duplicates or sums "
    "of others; --representation principal tests along those axes",
}


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    largest = max(row["n"] for row in rows)
    last = [row for row in rows if row["n"] == largest]
    found = [
        form.format_map(row)
        for forms, among in ((_COUNTED, rows), (_NOTES_AT_THE_LARGEST, last))
        for statistic, form in forms.items()
        for row in among
        if row["statistic"] == statistic and (row["mean"] > 0 or statistic.endswith("_rank"))
    ]
    # The rows of zeros are the same ones in every representation.
    return [*dict.fromkeys(found), *_with_known(last)]


def _with_known(rows: list[dict[str, Any]]) -> list[str]:
    values = {row["statistic"]: row for row in rows if row["representation"] == "raw"}
    tests = [test for test in normality.TESTS if f"{test}_known_mean" in values]
    if not tests:
        return []
    cells = (
        f"{test} {values[f'{test}_known_mean']['mean']:.3g} on average, "
        f"{values[f'{test}_known_calibrated_pass']['mean']:.1%} pass"
        for test in tests
    )
    note = f"with the mean and std given (raw, n = {rows[0]['n']}): {'; '.join(cells)}"
    others = [t for t in normality.INVARIANT_TESTS if f"{t}_mean" in values]
    if others:
        note += f"; left out: {', '.join(others)}, which do not depend on mean and std"
    return [note]
