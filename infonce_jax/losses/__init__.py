"""Losses: pure functions of arrays, importing nothing but jax."""

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
from infonce_jax.losses.microbatch import microbatched
from infonce_jax.losses.noncontrastive import (
    alignment,
    barlow_twins,
    cross_entropy,
    negative_cosine,
    uniformity,
    vicreg,
)
from infonce_jax.losses.regulariser import (
    ENTROPY_ESTIMATORS,
    gaussian_entropy,
    kernel_entropy,
    knn_entropy,
    norm_entropy_regulariser,
)

__all__ = [
    "ENTROPY_ESTIMATORS",
    "InfoNCETerms",
    "alignment",
    "barlow_twins",
    "clip",
    "cross_entropy",
    "dcl",
    "debiased_infonce",
    "gaussian_entropy",
    "infonce",
    "infonce_terms",
    "kernel_entropy",
    "knn_entropy",
    "microbatched",
    "moco",
    "negative_cosine",
    "norm_entropy_regulariser",
    "nt_xent",
    "nt_xent_terms",
    "safe_normalize",
    "siglip",
    "sup_con",
    "uniformity",
    "vicreg",
]
