"""How much of an accelerator training uses."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from ml_collections import config_dict

from infonce_jax import encoders
from infonce_jax.data import DataSpec, view_shape
from infonce_jax.training.distributed import used_devices
from infonce_jax.training.model import make_encoder
from infonce_jax.training.objectives import find_objective

# Dense bfloat16 operations per second that the makers state, by a part of JAX's device_kind. The first
# that fits is taken. A PCIe card reaches less than the SXM module of the same name.
_PEAK_FLOPS: Mapping[str, float] = {
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "B200": 2250e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def model_flops(config: config_dict.ConfigDict, spec: DataSpec, member_count: int = 1) -> float:
    """Floating-point operations that the encoder needs for one optimiser step.

    Three times its forward pass, of which the backward pass takes two, over every view of the batch
    and every member: the basis of model-flops utilisation (Chowdhery et al. 2022, PaLM,
    appendix B). Views, loss, optimizer, anything computed twice, and a convolution's products with its
    padding do not count.

    Args:
        config: a validated configuration.
        spec: of its data.
        member_count: how many members train side by side.
    """
    encoder = make_encoder(config, spec)
    views = find_objective(config).views
    shape = (views * config.train.batch_size, *view_shape(config, spec))
    rows = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: encoders.init(encoder, jax.random.key(0), x), rows)
    forward = jax.jit(lambda v, x: encoders.apply(encoder, v, x, train=False))
    return 3 * member_count * forward.lower(variables, rows).cost_analysis()["flops"]


def peak_flops(device_kind: str) -> float | None:
    """Dense bfloat16 operations per second of a kind of device, or None where they are not known."""
    return next((v for name, v in _PEAK_FLOPS.items() if name in device_kind), None)


def rates(
    steps_per_s: float, config: config_dict.ConfigDict, step_flops: float
) -> dict[str, float]:
    """Converts a measured rate to images per second, model flops and utilisation.

    Args:
        steps_per_s: optimiser steps per second.
        config: a validated configuration.
        step_flops: from `model_flops`.

    Returns:
        "steps_per_s"; "images_per_s", rows of the data; "model_tflops_per_s"; and, on devices whose peak
        is known, "model_flops_utilisation", the share of all their bfloat16 peaks.
    """
    found = {
        "steps_per_s": steps_per_s,
        "images_per_s": steps_per_s * config.train.batch_size,
        "model_tflops_per_s": steps_per_s * step_flops / 1e12,
    }
    devices = used_devices(config)
    peak = peak_flops(devices[0].device_kind)
    if peak:
        found["model_flops_utilisation"] = steps_per_s * step_flops / (peak * len(devices))
    return found
