"""InfoNCE in JAX, and trustworthy tests of the Gaussian representations it induces.

The losses and the theory need jax alone and are imported here. `infonce_jax.evaluation` (scipy)
and `infonce_jax.report` (matplotlib) are imported on first use; the training code (flax, optax,
orbax) is reached by its own modules and never by this one.
"""

import importlib

from infonce_jax import theory
from infonce_jax.losses import (
    InfoNCETerms,
    Queue,
    alignment,
    barlow_twins,
    cka,
    clip,
    dcl,
    debiased_infonce,
    effective_rank,
    enqueue,
    gaussian_entropy,
    ids_of,
    infonce,
    infonce_terms,
    isoscore,
    kernel_entropy,
    knn_entropy,
    koleo,
    lejepa,
    lidar,
    make_queue,
    microbatched,
    moco,
    negative_cosine,
    norm_entropy_regulariser,
    nt_xent,
    nt_xent_terms,
    random_directions,
    rankme,
    safe_normalize,
    siglip,
    sigreg,
    sliced_anderson_darling,
    sliced_cramer_von_mises,
    sliced_wasserstein,
    spectral_contrastive,
    sup_con,
    uniformity,
    vicreg,
    view_prediction,
    visreg,
    w_mse,
)

__version__ = "0.2.0.dev0"

__all__ = [
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
    "evaluation",
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
    "report",
    "safe_normalize",
    "siglip",
    "sigreg",
    "sliced_anderson_darling",
    "sliced_cramer_von_mises",
    "sliced_wasserstein",
    "spectral_contrastive",
    "sup_con",
    "theory",
    "uniformity",
    "vicreg",
    "view_prediction",
    "visreg",
    "w_mse",
]

_ON_FIRST_USE = ("evaluation", "report")


def __getattr__(name: str):
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
