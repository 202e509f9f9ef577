"""Data: rows to train on and to test on, and the channel that makes two views of each.

`describe` says what a configuration's data look like without reading the rows, `load` reads them,
`make_view` gives the channel as a function of (key, rows, hyperparameters), and `make_batch` the
batches as a function of (key, step).
"""

from infonce_jax.data.batches import make_batch
from infonce_jax.data.channels import find_channel, make_view
from infonce_jax.data.loader import abstract, describe, find_source, load
from infonce_jax.data.spec import Dataset, DataSpec, to_float
from infonce_jax.data.synthetic import law_parameters

__all__ = [
    "DataSpec",
    "Dataset",
    "abstract",
    "describe",
    "find_channel",
    "find_source",
    "law_parameters",
    "load",
    "make_batch",
    "make_view",
    "to_float",
]
