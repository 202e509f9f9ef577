"""Shares of a sweep: which runs one of several jobs does."""

import itertools
from collections.abc import Mapping
from typing import Any


def share(variants: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """Every `count`-th run, starting at `index`: the share of one of `count` jobs.

    Raises:
        ValueError: where the index is not below the count.
    """
    if not 0 <= index < count:
        raise ValueError(
            f"--sweep_index is {index} and --sweep_count {count}; the index counts from 0 and is less "
            "than the count."
        )
    return dict(itertools.islice(variants.items(), index, None, count))


def array_share(environment: Mapping[str, str], count: int | None = None) -> tuple[int, int]:
    """Index and count of the share that a task of a Slurm array job is to do.

    The tasks of an array without gaps divide the sweep among themselves, whatever number the first
    one has. Where `count` is another number than that of the tasks, as where shares are submitted
    again, a task's number is the index of its share.

    Args:
        environment: of the task; it holds SLURM_ARRAY_TASK_ID.
        count: into how many shares the sweep is divided, where that was said.

    Raises:
        ValueError: where the array does not tell the count, or the number is not below it.
    """
    values = [environment.get(f"SLURM_ARRAY_TASK_{key}") for key in ("ID", "MIN", "MAX", "COUNT")]
    if all(value and value.isdigit() for value in values):
        task, first, last, size = map(int, values)
        if last - first + 1 == size and count in (None, size):
            return task - first, size
    shown = values[0]
    if count is None or not shown.isdigit():
        raise ValueError(
            f"SLURM_ARRAY_TASK_ID is {shown} in an array of unknown size or with gaps (_MIN, _MAX and "
            f"_COUNT are {', '.join(map(str, values[1:]))}), which does not tell into how many shares "
            "the sweep is divided. Give --sweep_count too; the task's number is then the index of its "
            "share, from 0."
        )
    if int(shown) >= count:
        raise ValueError(
            f"SLURM_ARRAY_TASK_ID is {shown} and --sweep_count {count}; the task's number is the index "
            "of its share, which counts from 0 and is less than the count."
        )
    return int(shown), count
