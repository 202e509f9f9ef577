"""The runs of a sweep from one config file: how to write them, and each run's configuration.

A config file may define `sweep()` beside `get_config()`. It returns the fields in which its runs
differ, written out under names of your own

    def sweep():
        return {"narrow": {"encoder.embedding_dim": 32}, "wide": {"encoder.embedding_dim": 512}}

or made by `grid`, `zipped`, `product` and `chain`, which name a run by its fields:

    def sweep():
        return grid({"encoder.embedding_dim": (32, 512), "loss.temperature": (0.1, 0.5)})

A mapping from fields to lists of values is such a grid, without the call.

Values of `seeds` and of the scalars in `config.HYPERPARAMETERS` stay lists within a run: its members
are trained side by side in one program. Other fields make a run each, since they change shapes.
"""

import copy
import hashlib
import importlib.util
import inspect
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import config_dict

from infonce_jax.config import HYPERPARAMETERS
from infonce_jax.runs.messages import about

Fields = Mapping[str, Any]
Variants = Mapping[str, Fields]
# What a sweep may be written as: axes of a grid, points, or points by name.
Sweep = Mapping[str, Any] | Iterable[Fields]

_NAME = re.compile(r"[\w.,=+-]+")
_UNFIT = re.compile(r"[^\w.+-]+")
_LONGEST_NAME = 120


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of every field.

    Axes over `seeds` and over the scalars that may be lists become lists within each run.

    An axis is a field and a list, tuple, range or array of values.

    Examples:
        >>> grid({"encoder.embedding_dim": (8, 32), "loss.temperature": (0.1, 0.5)})
        [{'encoder.embedding_dim': 8, 'loss.temperature': (0.1, 0.5)}, \
{'encoder.embedding_dim': 32, 'loss.temperature': (0.1, 0.5)}]

    Raises:
        ValueError: for an axis without values.
    """
    axes = {
        name: values.tolist() if isinstance(values, np.ndarray) else values
        for name, values in axes.items()
    }
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise ValueError(f"The axis {name!r} is {values!r}; give a list of values.")
    within = {name: tuple(axes[name]) for name in axes if _is_of_members(name)}
    apart = [name for name in axes if name not in within]
    return [
        dict(zip(apart, values, strict=True)) | within
        for values in itertools.product(*(axes[name] for name in apart))
    ]


def zipped(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The first values of all fields together, then the second ones, and so on.

    Examples:
        >>> zipped({"encoder.width": (8, 32), "seeds": (0, 1)})
        [{'encoder.width': 8, 'seeds': 0}, {'encoder.width': 32, 'seeds': 1}]

    Raises:
        ValueError: where the axes differ in length.
    """
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"zipped() was given axes of unequal length: {lengths}.")
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def product(*sweeps: Iterable[Fields]) -> list[dict[str, Any]]:
    """Every point of each sweep with every point of the others; later ones win where both set a field.

    A sweep is what `grid`, `zipped`, `product` or `chain` returns, or a list of fields.

    Examples:
        >>> dims, batches = grid({"encoder.width": (8, 32)}), grid({"train.batch_size": (16, 64, 256)})
        >>> len(product(dims, batches))
        6
    """
    return [
        {name: value for fields in points for name, value in fields.items()}
        for points in itertools.product(*map(list, sweeps))
    ]


def chain(*sweeps: Iterable[Fields]) -> list[dict[str, Any]]:
    """The points of one sweep after those of another; a point that comes twice is kept once.

    Examples:
        >>> len(chain(grid({"encoder.embedding_dim": (8, 32)}), [{"encoder.embedding_dim": 512}]))
        3
    """
    points = []
    for point in itertools.chain(*sweeps):
        if dict(point) not in points:
            points.append(dict(point))
    return points


def name_of(fields: Fields) -> str:
    """A name for a run, fit for a folder, from the fields that make it.

    It depends on these alone, so that a run keeps its name, and what it has computed, when the sweep
    grows. Lists over members are not part of it.
    """
    last_parts = [name.rsplit(".", 1)[-1] for name in fields]
    parts = []
    for name, value in fields.items():
        if _is_of_members(name) and isinstance(value, Sequence):
            continue
        last = name.rsplit(".", 1)[-1]
        short = name if last == "name" or last_parts.count(last) > 1 else last
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"{short}={_UNFIT.sub('_', shown)}")
    whole = ",".join(parts) or "all"
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[:_LONGEST_NAME]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def load_variants(
    config_file: Path | str, config: config_dict.ConfigDict | None = None
) -> Variants | None:
    """What the file's `sweep()` returns, by name, or None where it defines none.

    A `sweep(config)` is given the configuration, as the command line has changed it: its grid may
    depend on `config.scale`.

    Raises:
        ValueError: where a name is not fit for a folder, or two runs have the same.
    """
    # Flags may append ":argument" to the file for its get_config.
    path, _, _ = str(config_file).partition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sweep"):
        return None
    takes_config = bool(inspect.signature(module.sweep).parameters)
    points = module.sweep(config) if takes_config else module.sweep()
    return named(points, f"sweep() of {path}")


def named(points: Sweep, where: str = "The sweep") -> Variants:
    """The points of a sweep by name.

    Args:
        points: axes of a grid (fields with lists of values), a list of points (fields with a value), or
            a mapping from names of your own to points.
        where: what errors begin with.

    Raises:
        TypeError: where they are not mappings from fields to values.
        ValueError: where a name is not fit for a folder, two runs have the same, or there are none.
    """
    if not isinstance(points, Iterable) or isinstance(points, str):
        raise TypeError(
            f"{where} is {points!r}; give fields with lists of values, such as "
            "{'encoder.embedding_dim': (32, 512)}, or a list of fields with a value each, or names of "
            "runs with such fields."
        )
    has_names = isinstance(points, Mapping)
    if has_names and points and not any(isinstance(own, Mapping) for own in points.values()):
        points, has_names = grid(points), False
    variants = {}
    for name, fields in points.items() if has_names else ((None, point) for point in points):
        if not isinstance(fields, Mapping) or not all(isinstance(key, str) for key in fields):
            raise TypeError(
                f"{where} is {fields!r} for {f'the run {name!r}' if has_names else 'a run'}; give "
                "a mapping from fields to values, such as {'train.batch_size': 64}."
            )
        name = name if has_names else name_of(fields)
        if name in variants:
            raise ValueError(
                f"{where} makes two runs of the name {name!r}; give a mapping from names of your own to "
                "fields."
            )
        variants[name] = fields
    if not variants:
        raise ValueError(f"{where} makes no runs.")
    for name in variants:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{where} names a variant {name!r}; use letters, digits and any of . , = + - _ alone."
            )
    return variants


def variant_configs(
    config: config_dict.ConfigDict, points: Sweep, overrides: Mapping[str, Any] | None = None
) -> dict[str, config_dict.ConfigDict]:
    """The configuration of every variant, by name; arguments as of `named` and `variant_config`."""
    return {
        name: variant_config(config, name, fields, overrides or {})
        for name, fields in named(points).items()
    }


def variant_config(
    config: config_dict.ConfigDict,
    name: str,
    fields: Fields,
    overrides: Mapping[str, Any],
) -> config_dict.ConfigDict:
    """The configuration of one variant.

    Args:
        config: the file's `get_config()`, with the command line's overrides.
        name: the variant's; it becomes `config.name`.
        fields: the variant's own fields.
        overrides: what the command line set. It is applied last, so that `--config.train.steps=10`
            shortens every variant.

    Raises:
        ValueError: where a field does not exist (the message suggests the nearest) or takes no such
            value, or the command line sets it to something else than the run is named by.
    """
    named_by = name_of(fields) == name
    for field, value in overrides.items():
        if named_by and field in fields and not _is_of_members(field) and value != fields[field]:
            raise ValueError(
                f"--config.{field}={value} contradicts the run {name!r} of the sweep, which is named "
                "by that field. Change the values in the file's sweep(), or take --nosweep to run its "
                "get_config() alone."
            )
    # A copy by the constructor would share the fields that may be lists.
    variant = copy.deepcopy(config)
    for field, value in {"name": name, **fields}.items():
        with about(f"The sweep sets {field} of the run {name!r} to {value!r}"):
            variant.update_from_flattened_dict({field: value})
    variant.update_from_flattened_dict(dict(overrides))
    return variant


def _is_of_members(name: str) -> bool:
    return name == "seeds" or name in HYPERPARAMETERS
