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
from infonce_jax.losses.jepa import lejepa, view_prediction, visreg
from infonce_jax.losses.measures import cka, effective_rank, isoscore, lidar, rankme
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
    "alignment",
    "barlow_twins",
    "cka",
    "clip",
    "cross_entropy",
    "dcl",
    "debiased_infonce",
    "effective_rank",
    "gaussian_entropy",
    "infonce",
    "infonce_terms",
    "isoscore",
    "kernel_entropy",
    "knn_entropy",
    "koleo",
    "lejepa",
    "lidar",
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
