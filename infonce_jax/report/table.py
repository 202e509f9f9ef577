"""The numbers of one or several runs beside the paper's, as data."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from infonce_jax import registry
from infonce_jax.evaluation import AD_CRITICAL_5_PERCENT, GAUSSIAN
from infonce_jax.report import paper
from infonce_jax.report.runs import (
    Key,
    Run,
    Setting,
    Value,
    load_runs,
    pick_split,
    pick_steps,
    step_label,
)

STATISTICS: dict[str, str] = {
    "norm_cv": "CV",
    "ad_mean": "AD average",
    "ad_pass": "AD pass %",
    "dp_mean_p": "DP average p",
    "dp_pass": "DP pass %",
}
DP_LIMIT = 0.05
# The values of an exact Gaussian, at any n.
GAUSSIAN_AD, GAUSSIAN_PASS = round(GAUSSIAN["ad_mean"], 3), GAUSSIAN["ad_pass"]


class Column(NamedTuple):
    """One evaluated step of one setting.

    Attributes:
        step: optimiser steps taken.
        epoch: the same in epochs, or None where unknown.
        label: "untrained", "epoch 50".
        n: rows the tests were given; None where this step was not evaluated.
        dim: dimension of the embeddings.
        values: statistic to our value at `n`.
        by_size: every evaluated n to {statistic: value}, ascending.
        paper: statistic to the paper's value, or None where it reports none.
        grouped: the averages over groups of rows, the paper's protocol, by name; empty where these were
            not computed.
    """

    step: int
    epoch: float | None
    label: str
    n: int | None
    dim: int | None
    values: dict[str, Value]
    by_size: dict[int, dict[str, Value]]
    paper: dict[str, float] | None
    grouped: dict[str, Value]


class Group(NamedTuple):
    """One hyperparameter setting of one run: the untrained control first, the end last."""

    title: str
    run: Run
    setting: Setting
    split: str
    columns: tuple[Column, ...]


class Table(NamedTuple):
    """What the report says in numbers.

    Attributes:
        n: sample size asked for; a column's own `n` is what it has.
        representation: "raw" or "normalized".
        groups: one per run and hyperparameter setting.
    """

    n: int
    representation: str
    groups: tuple[Group, ...]


def build_table(
    run_dirs: Sequence[str | Path | Run], n: int | None = None, representation: str = "raw"
) -> Table:
    """The evaluations of several runs beside the paper's Table 1.

    Every hyperparameter setting of every run is a group of columns: step 0 (the untrained control),
    the epochs that the paper reports, and the last step.

    Args:
        run_dirs: run folders with config.json and evaluation.json, or what `load_runs` makes of them.
        n: sample size at which to compare; by default the first run's report.sample_size, or 1,000
            where its configuration has none. Where a run was not evaluated at it, the nearest size
            below is taken (the smallest, where none is below) and a note says so.
        representation: "raw" or "normalized".

    Returns:
        The table.

    Raises:
        FileNotFoundError: where a folder has no config.json or evaluation.json.
        ValueError: where nothing was evaluated in that representation.
    """
    return tabulate(load_runs(run_dirs), n, representation)


def tabulate(runs: Sequence[Run], n: int | None = None, representation: str = "raw") -> Table:
    """`build_table` on runs already read."""
    n = n or (runs[0].config.get("report") or {}).get("sample_size") or 1000
    groups = tuple(
        _group(run, setting, n, representation, alone=len(runs) == 1)
        for run in runs
        for setting in run.settings
    )
    return Table(n, representation, groups)


def accepted(values: dict[str, Value] | dict[str, float] | None) -> bool | None:
    """Whether the averages lie in the range the paper accepts: AD average < 0.752, DP p > 0.05.

    Args:
        values: statistic to value, ours or the paper's.

    Returns:
        The verdict, or None where either statistic is missing.
    """
    if not values or "ad_mean" not in values or "dp_mean_p" not in values:
        return None
    ad, dp = (
        v.mean if isinstance(v, Value) else v for v in (values["ad_mean"], values["dp_mean_p"])
    )
    return ad < AD_CRITICAL_5_PERCENT and dp > DP_LIMIT


def own_statistics(table: Table) -> list[str]:
    """The values of the users' own statistics, as config.json names these."""
    found = {}
    for group in table.groups:
        asked = (group.run.config.get("evaluate") or {}).get("statistics") or ()
        for name in map(registry.short_name, asked):
            for column in group.columns:
                held = [v for v in column.values if v == name or v.startswith(f"{name}_")]
                found |= dict.fromkeys(held)
    return list(found)


def ends(group: Group) -> tuple[Column, ...]:
    """The first and the last column: untrained against trained."""
    return group.columns if len(group.columns) == 1 else (group.columns[0], group.columns[-1])


def sizes(table: Table) -> list[int]:
    return sorted({n for group in table.groups for column in group.columns for n in column.by_size})


def has_sizes(table: Table) -> bool:
    return len(sizes(table)) > 1


def _group(run: Run, setting: Setting, n: int, representation: str, *, alone: bool) -> Group:
    key, split = setting.key, pick_split(run)
    steps = pick_steps(run)
    columns = []
    for step in steps:
        found = {
            k.n: dict(values)
            for k, values in sorted(run.values.items(), key=lambda item: item[0].n)
            if k[:4] == (key, step, split, representation)
        }
        # The rows of the groups are a size of their own, at which there may be nothing else.
        grouped = {
            name: values.pop(name)
            for values in found.values()
            for name in list(values)
            if name.startswith("group_")
        }
        by_size = {size: values for size, values in found.items() if values}
        sizes = list(by_size)
        below = [size for size in sizes if size <= n]
        chosen = (below[-1] if below else sizes[0]) if sizes else None
        columns.append(
            Column(
                step=step,
                epoch=run.epochs[step],
                label=step_label(step, run.epochs[step]),
                n=chosen,
                dim=run.dims.get(Key(key, step, split, representation, chosen)),
                values=by_size.get(chosen, {}),
                by_size=by_size,
                paper=paper.reported(
                    run.paper, run.objective, run.epochs[step], final=step == steps[-1] and step > 0
                )
                if representation == "raw"  # the paper's Table 1 is on unnormalised representations
                else None,
                grouped=grouped,
            )
        )
    if all(column.n is None for column in columns):
        held = sorted({k.representation for k in run.values if k.setting == key})
        raise ValueError(
            f"{run.path}/evaluation.json has no summary of {representation!r} representations for "
            f"{setting.label or 'its members'}; it has: "
            f"{', '.join(held) or 'none'}. Rerun --stage=evaluate."
        )
    title = f"{run.title} ({setting.label})" if setting.label else run.title
    if alone and setting.label:
        title = setting.label
    return Group(title, run, setting, split, tuple(columns))
