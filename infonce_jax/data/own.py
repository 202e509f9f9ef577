"""Sources of your own, named as `my_module:name`: a law to draw rows from, or a reader of each split.

A law is `source(key, n, dim, **kwargs) -> rows` or `-> (rows, labels)`, a JAX function that draws n
independent rows. A reader is `source(split, **kwargs) -> rows` or `-> (rows, labels)`, called with
"train" and "test". Keyword arguments are `config.data.kwargs`.
"""

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from infonce_jax import registry
from infonce_jax.data.spec import Dataset, DataSpec
from infonce_jax.data.synthetic import draw_dataset

_SPLITS = ("train", "test")


def is_reader(d: config_dict.ConfigDict) -> bool:
    """Whether the source of `config.data` is a reader: its first parameter is then `split`.

    Raises:
        ValueError: where there is no such function, or its signature fits neither a law nor a reader.
    """
    source = registry.load("data.source", d.source)
    kwargs = d.kwargs.to_dict()
    first = next(iter(inspect.signature(source).parameters), "") if callable(source) else ""
    arguments = ("split",) if first == "split" else ("key", "n", "dim")
    registry.fit("data.source", d.source, source, arguments, kwargs=kwargs)
    return first == "split"


def make_own_law(d: config_dict.ConfigDict) -> Callable | None:
    """The source as `(key, n) -> (rows, labels | None)`, or None where it reads splits."""
    if is_reader(d):
        return None
    source, kwargs = registry.load("data.source", d.source), d.kwargs.to_dict()

    def draw(key, n):
        return _pair(d.source, source(key, n, d.dim, **kwargs), n)

    return draw


def describe_own(d: config_dict.ConfigDict) -> DataSpec:
    """The spec of a source of the user's own.

    Raises:
        ValueError: for rows or labels of the wrong shape or type.
    """
    if is_reader(d):
        return _read(d.source, json.dumps(d.kwargs.to_dict())).spec
    for name in ("dim", "train_size", "test_size"):
        if d[name] < 1:
            raise ValueError(f"config.data.{name} is {d[name]}; it must be at least 1.")
    draw = make_own_law(d)
    rows, labels = jax.eval_shape(functools.partial(draw, n=d.train_size), jax.random.key(0))
    is_image = _check_rows(d.source, rows.shape, rows.dtype)
    classes = None
    if labels is not None:
        # Draws the labels alone: the compiler drops the rows, which are not used.
        both = draw_dataset(lambda key, n: (draw(key, n)[1], None), d)
        classes = int(max(part.max(initial=0) for part in both if part is not None)) + 1
    return DataSpec(tuple(rows.shape[1:]), is_image, d.train_size, d.test_size, classes)


def load_own(d: config_dict.ConfigDict, spec: DataSpec) -> Dataset:
    """Draws or reads the rows of a source of the user's own."""
    if is_reader(d):
        return _read(d.source, json.dumps(d.kwargs.to_dict()))
    law = make_own_law(d)
    train, train_labels, test, test_labels = draw_dataset(law, d)
    one = np.float32(1)
    return Dataset(spec, train, train_labels, test, test_labels, np.float32(0), one, law)


@functools.lru_cache(maxsize=1)
def _read(name: str, kwargs: str) -> Dataset:
    source = registry.load("data.source", name)
    read = {split: _pair(name, source(split, **json.loads(kwargs))) for split in _SPLITS}
    (train, train_labels), (test, test_labels) = (
        (np.asarray(rows), None if labels is None else np.asarray(labels, np.int32))
        for rows, labels in (read[split] for split in _SPLITS)
    )
    is_image = _check_rows(name, train.shape, train.dtype)
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise ValueError(
            f"config.data.source is {name!r}, whose train rows are {train.dtype}{list(train.shape)} and "
            f"test rows {test.dtype}{list(test.shape)}; both must have samples of one shape and type."
        )
    if (train_labels is None) != (test_labels is None):
        raise ValueError(
            f"config.data.source is {name!r}, which gives labels for one split only; give them for "
            "both, or for neither."
        )
    if not is_image:
        train, test = train.astype(np.float32, copy=False), test.astype(np.float32, copy=False)
        for split, rows in zip(_SPLITS, (train, test), strict=True):
            count = rows.size - np.count_nonzero(np.isfinite(rows))
            if count:
                raise ValueError(
                    f"config.data.source is {name!r}, whose {split} rows hold {count} NaN or infinite "
                    "values; remove or replace them."
                )
    classes = None
    if train_labels is not None:
        classes = int(max(train_labels.max(), test_labels.max())) + 1
    spec = DataSpec(train.shape[1:], is_image, len(train), len(test), classes)
    labels = (train_labels, test_labels)
    return Dataset(spec, train, labels[0], test, labels[1], np.float32(0), np.float32(1))


def _pair(name: str, found: Any, n: int | None = None) -> tuple[Any, Any]:
    """Rows, and labels or None."""
    rows, labels = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    shape = getattr(rows, "shape", None)
    if not shape or (n is not None and shape[0] != n):
        what = f"an array of shape {shape}" if shape is not None else f"a {type(rows).__name__}"
        raise ValueError(
            f"config.data.source is {name!r}, which returns {what} as rows; it must return an array of "
            f"{'n' if n is None else f'n = {n}'} rows, or the rows and their labels."
        )
    if labels is not None and (
        getattr(labels, "shape", None) != shape[:1] or np.dtype(labels.dtype).kind not in "iu"
    ):
        raise ValueError(
            f"config.data.source is {name!r}, whose labels are "
            f"{getattr(labels, 'dtype', type(labels).__name__)}{list(getattr(labels, 'shape', []))} for "
            f"{shape[0]} rows; give one integer for each row."
        )
    return rows, labels


def _check_rows(name: str, shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether rows are images."""
    is_image = dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3
    if is_image or (np.issubdtype(dtype, np.floating) and len(shape) >= 2):
        return is_image
    raise ValueError(
        f"config.data.source is {name!r}, whose rows are {dtype}{list(shape)}; they must be "
        "floating-point arrays [n, ...] or uint8 images [n, height, width, 3]."
    )
