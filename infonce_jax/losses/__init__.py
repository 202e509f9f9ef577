"""Losses: pure functions of arrays, importing nothing but jax."""

from infonce_jax.losses.infonce import InfoNCETerms, infonce, infonce_terms, safe_normalize
from infonce_jax.losses.regulariser import (
    ENTROPY_ESTIMATORS,
    gaussian_entropy,
    knn_entropy,
    norm_entropy_regulariser,
)

__all__ = [
    "ENTROPY_ESTIMATORS",
    "InfoNCETerms",
    "gaussian_entropy",
    "infonce",
    "infonce_terms",
    "knn_entropy",
    "norm_entropy_regulariser",
    "safe_normalize",
]
