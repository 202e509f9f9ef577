"""Data: rows to train on and to test on, and the channel that makes two views of each.

`describe` says what a configuration's data look like without reading the rows, `load` reads them,
`make_view` gives the channel as a function of (key, rows, hyperparameters), and `make_batch` the
batches as a function of (key, step).
"""

from infonce_jax.data.batches import make_batch, make_host_index
from infonce_jax.data.channels import clean, find_channel, make_view, view_shape
from infonce_jax.data.loader import abstract, describe, find_source, load
from infonce_jax.data.spec import Dataset, DataSpec, first_rows, to_float
from infonce_jax.data.stream import Stream
from infonce_jax.data.synthetic import law_parameters

__all__ = [
    "DataSpec",
    "Dataset",
    "Stream",
    "abstract",
    "clean",
    "describe",
    "find_channel",
    "find_source",
    "first_rows",
    "law_parameters",
    "load",
    "make_batch",
    "make_host_index",
    "make_view",
    "to_float",
    "view_shape",
]
