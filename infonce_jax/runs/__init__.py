"""Runs on disk, and families of them.

`grid`, `zipped`, `product` and `chain` write a sweep down in a config file, and need nothing heavy.
`run` carries out the stages of one run, `run_sweep` those of a sweep, and `encode` uses the encoders
that a run has trained; they are imported on first use.
"""

import importlib

from infonce_jax.runs.variants import chain, grid, product, zipped

__all__ = ["chain", "encode", "grid", "product", "run", "run_sweep", "zipped"]

_ON_FIRST_USE = {"encode": "rows", "run": "stages", "run_sweep": "sweep"}


def __getattr__(name: str):
    if name in _ON_FIRST_USE:
        return getattr(importlib.import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
