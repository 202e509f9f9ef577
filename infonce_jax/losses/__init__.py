"""Losses: pure functions of arrays, importing nothing but jax.

The arrays come first, all else goes by name. Under `jax.jit` the arrays, the temperature and other
numbers may be arguments; the options below marked static are not: close over them
(`functools.partial`) or name them in `static_argnames`. Whatever dtype the rows have, everything is
computed in float32 (float64 for float64 rows); the gradient has the rows' dtype.

Options that the objectives share:

temperature: τ > 0 divides the similarities; differentiable. 0.05 to 1 is usual.

normalize: compare rows by their cosine (the default), or use them as they are; static. Unnormalised
    rows whose inner products overflow are refused if their values are known; under `jax.jit` they
    give NaN.

where: a boolean mask [batch], True where a row counts. Padding is False: it is neither anchor nor
    candidate, its loss is 0, its gradient is 0, whatever it holds, and the mean is over the other
    rows. If no row counts, the loss is 0.

weights: a number per row, 0 or more. "mean" is then Σ w ℓ / Σ w, "sum" Σ w ℓ, and "none" w ℓ. Rows
    with weight 0 stay candidates.

exclude: pairs that are no negatives of each other. A row that has no negative left has loss 0 (with
    a warning if the values are known), because the positive alone remains.

reduction: "mean" or "sum" over the batch, or "none" for the loss of each row [batch]; static.

implementation: static. "dense" builds the [batch, batch] matrix and can be differentiated any number
    of times, in either mode. "tiled" never builds it, takes O(batch · dim) memory and is made for one
    derivative, in reverse mode (`jax.grad`). "ring" is tiled with the rows of the second array passed
    around the devices of `axis_name`, for batches that no device can hold whole. "auto" takes dense
    for at most 1,536² pairs on a CPU, 2,048² elsewhere, or a symbolic batch of `jax.export`, and
    tiled for more. For forward mode (`jax.jvp`, `jax.jacfwd`) and for Hessians pass "dense": JAX
    refuses them for the tiled form with "can't apply forward-mode autodiff (jvp) to a custom_vjp
    function".

tile: rows and columns of a tile, in place of those chosen for the backend; static. Sums that need all
    columns at once take strips of rows with as many logits, at least 64 rows and at most the tile's.

axis_name: the axis of `jax.shard_map` or `jax.pmap` over which the batch is sharded, or several;
    static. The rows of all devices are then candidates, and the mean is over all of them. Every
    array of rows has to vary over the axis: replicated rows would count once per device and are
    refused, if `jax.shard_map` tracks what varies (not with `check_vma=False`, nor in `jax.pmap`).
    Differentiate outside of `jax.shard_map`. A gradient taken inside it under `check_vma=False`, or
    inside `jax.pmap`, is that of each device's own copy of the loss: take its `pmean`. Over an axis
    that `jax.vmap` names, differentiate the dense form. Under plain `jax.jit` leave `axis_name` out:
    the rows of sharded arrays are those of all devices anyway.

Options of `sigreg` and of the other statistics along directions (`sliced_…`, `lejepa`, `visreg`):

key: draws `n_directions` directions with `random_directions`. Pass a new one every step, the same on
    all devices.

directions: instead of a key, unit vectors [dim, directions], the same on all devices. They are taken
    as they are, and no gradient passes through them.

n_directions: how many directions a key draws; static.

pooled: take the rows of all views as one batch. By default each view is measured by itself and the
    mean is taken, as published; static.

block: directions that are worked on at once; memory is proportional to rows · block. For a statistic
    that sorts, and so needs all rows on each device, these are the rows of all devices; static.

ids (`exclude`, `positives`, labels): integers of any width. NumPy's 64-bit integers are ranked as the
    loss is traced. `jax.jit` cuts 64-bit arguments to 32 bits before a loss sees them, unless
    `jax_enable_x64` is set: rank those by `ids_of` first.
"""

from infonce_jax.losses.common import safe_normalize
from infonce_jax.losses.contrastive import (
    dcl,
    debiased_infonce,
    moco,
    nt_xent,
    nt_xent_terms,
    siglip,
    sup_con,
)
from infonce_jax.losses.infonce import InfoNCETerms, clip, infonce, infonce_terms
from infonce_jax.losses.jepa import lejepa, view_prediction, visreg
from infonce_jax.losses.measures import cka, effective_rank, isoscore, lidar, rankme
from infonce_jax.losses.microbatch import microbatched
from infonce_jax.losses.noncontrastive import (
    alignment,
    barlow_twins,
    negative_cosine,
    uniformity,
    vicreg,
)
from infonce_jax.losses.queue import Queue, enqueue, ids_of, make_queue
from infonce_jax.losses.regulariser import (
    ENTROPY_ESTIMATORS,
    gaussian_entropy,
    kernel_entropy,
    knn_entropy,
    norm_entropy_regulariser,
)
from infonce_jax.losses.sliced import (
    random_directions,
    sigreg,
    sliced_anderson_darling,
    sliced_cramer_von_mises,
    sliced_wasserstein,
)
from infonce_jax.losses.spread import koleo, spectral_contrastive, w_mse

__all__ = [
    "ENTROPY_ESTIMATORS",
    "InfoNCETerms",
    "Queue",
    "alignment",
    "barlow_twins",
    "cka",
    "clip",
    "dcl",
    "debiased_infonce",
    "effective_rank",
    "enqueue",
    "gaussian_entropy",
    "ids_of",
    "infonce",
    "infonce_terms",
    "isoscore",
    "kernel_entropy",
    "knn_entropy",
    "koleo",
    "lejepa",
    "lidar",
    "make_queue",
    "microbatched",
    "moco",
    "negative_cosine",
    "norm_entropy_regulariser",
    "nt_xent",
    "nt_xent_terms",
    "random_directions",
    "rankme",
    "safe_normalize",
    "siglip",
    "sigreg",
    "sliced_anderson_darling",
    "sliced_cramer_von_mises",
    "sliced_wasserstein",
    "spectral_contrastive",
    "sup_con",
    "uniformity",
    "vicreg",
    "view_prediction",
    "visreg",
    "w_mse",
]
