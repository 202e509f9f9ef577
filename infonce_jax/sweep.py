"""A family of runs from one config file: variants with a name each, and what they have in common.

A config file may define `sweep()` beside `get_config()`. It returns the variants as a mapping from a
name, fit for a folder, to the fields that differ:

    def sweep():
        return {"narrow": {"encoder.embedding_dim": 32}, "wide": {"encoder.embedding_dim": 512}}
"""

import copy
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import config_dict

Variants = Mapping[str, Mapping[str, Any]]

_NAME = re.compile(r"[\w.,=+-]+")


def load_variants(config_file: Path | str) -> Variants | None:
    """What the file's `sweep()` returns, or None where it defines none.

    Raises:
        ValueError: where a name is not fit for a folder.
    """
    # Flags may append ":argument" to the file for its get_config.
    path = Path(str(config_file).split(":")[0])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sweep"):
        return None
    variants = module.sweep()
    for name in variants:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{path} names a variant {name!r}; use letters, digits and any of . , = + - _ alone."
            )
    return variants


def variant_config(
    config: config_dict.ConfigDict,
    name: str,
    fields: Mapping[str, Any],
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
        KeyError: where a field does not exist; the message suggests the nearest.
    """
    # A copy by the constructor would share the fields that may be lists.
    variant = copy.deepcopy(config)
    variant.update_from_flattened_dict({"name": name, **fields})
    variant.update_from_flattened_dict(dict(overrides))
    return variant
