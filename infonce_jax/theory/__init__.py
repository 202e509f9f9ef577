"""The theory of InfoNCE as functions: what a run could reach at its dimension, batch and channel.

`phi_sigma` and the von Mises-Fisher laws (`theory.vmf`) are jax functions that can be differentiated;
the exact laws at finite dimension (`theory.sphere`), the mildness of augmentations (`theory.mildness`)
and the expectation of a batch's loss are computed on the host in float64, scipy imported on first use.
"""

from infonce_jax.theory import mildness, sphere, stationary, vmf
from infonce_jax.theory.bound import (
    alignment_bound,
    batch_alignment_bound,
    local_beta,
    vanishing_beta,
    vanishing_beta_schedule,
)
from infonce_jax.theory.uniformity import (
    batch_uniformity_bias,
    expected_batch_uniformity,
    phi_sigma,
    uniformity_excess,
    wang_isola_sigma,
)

__all__ = [
    "alignment_bound",
    "batch_alignment_bound",
    "batch_uniformity_bias",
    "expected_batch_uniformity",
    "local_beta",
    "mildness",
    "phi_sigma",
    "sphere",
    "stationary",
    "uniformity_excess",
    "vanishing_beta",
    "vanishing_beta_schedule",
    "vmf",
    "wang_isola_sigma",
]
