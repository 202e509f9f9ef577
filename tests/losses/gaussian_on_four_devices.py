"""Run by test_gaussian.py in a process of its own, which has four virtual devices.

Prints one JSON line per case: the largest relative difference to one device in the value and in
every gradient, with what is allowed of it.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from gaussian_objectives import OBJECTIVES, cast, draw
from jax.sharding import PartitionSpec as P

from infonce_jax import losses

N = 24  # six rows a device, more than dimensions
MESH = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

# Every kind of collective is met, not every option.
NAMES = (
    "sigreg",
    "sigreg, pooled, unbiased",
    "wasserstein, pooled",
    "anderson_darling",
    "lejepa",
    "visreg",
    "koleo",
    "w_mse",
    "spectral",
)


def measures(a, b, **how):
    found = [
        losses.effective_rank(a, **how),
        losses.rankme(a, **how),
        losses.lidar(jnp.stack([a, b], axis=1), **how),
        losses.isoscore(a, **how),
        losses.cka(a, b, **how),
        losses.cka(a, b, unbiased=True, **how),
    ]
    return sum(x**2 for x in found)


def report(case, got, expected, tolerance):
    errors = [
        np.max(np.abs(np.asarray(g) - e)) / max(np.max(np.abs(e)), 1e-3)
        for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    ]
    print(json.dumps({"case": case, "error": float(max(errors)), "tolerance": tolerance}))


def compare(name, function, batch):
    """In float64, where nothing can pass for rounding."""
    rows, scalars = cast(batch, jnp.float64)
    over_devices = jax.shard_map(
        lambda rows, scalars: function(*rows, **scalars, axis_name="data"),
        mesh=MESH,
        in_specs=(P("data"), P()),
        out_specs=P(),
    )
    got, expected = (
        jax.device_get(jax.jit(jax.value_and_grad(loss, (0, 1)))(rows, scalars))
        for loss in (over_devices, lambda rows, scalars: function(*rows, **scalars))
    )
    report(name, got, expected, 1e-10)


def every_one(a, b):
    views, key = jnp.stack([a, b]), jax.random.key(0)
    found = [
        losses.lejepa(views, weight=0.1, key=key, n_directions=10, block=4),
        losses.sigreg(a, key=key, n_directions=10, unbiased=True),
        losses.visreg(views, key=key, n_directions=10, block=4),
        losses.sliced_anderson_darling(a, key=key, n_directions=10),
        losses.koleo(a),
        losses.w_mse(a, b),
        losses.spectral_contrastive(a, b),
        losses.cka(a, b),
        losses.isoscore(a),
    ]
    return sum(found), found


def main():
    with jax.enable_x64(True):
        for name in NAMES:
            compare(name, OBJECTIVES[name].loss, draw(name, N))
        compare("measures", measures, draw("w_mse", N))
    rows, _ = cast(draw("w_mse", N))
    step = jax.jit(jax.value_and_grad(every_one, (0, 1), has_aux=True))
    expected = jax.device_get(step(*rows))
    for kind in ("Auto", "Explicit"):
        mesh = jax.make_mesh((4,), ("data",), axis_types=(getattr(jax.sharding.AxisType, kind),))
        sharded = jax.device_put(rows, jax.sharding.NamedSharding(mesh, P("data")))
        report(f"jit over {kind}", jax.device_get(step(*sharded)), expected, 2e-6)


if __name__ == "__main__":
    main()
