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

MEASURES = {
    "effective_rank": lambda a, b, **how: losses.effective_rank(a, **how),
    "rankme": lambda a, b, **how: losses.rankme(a, **how),
    "lidar": lambda a, b, **how: losses.lidar(jnp.stack([a, b], axis=1), **how),
    "isoscore": lambda a, b, **how: losses.isoscore(a, **how),
    "cka": losses.cka,
    "cka, unbiased": lambda a, b, **how: losses.cka(a, b, unbiased=True, **how),
}


def report(case, got, expected, tolerance):
    errors = [
        np.max(np.abs(np.asarray(g) - e)) / max(np.max(np.abs(e)), 1e-3)
        for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    ]
    print(json.dumps({"case": case, "error": float(max(errors)), "tolerance": tolerance}))


def compare(name, function, batch):
    """In float64, where nothing can pass for rounding."""
    rows, scalars = cast(batch, jnp.float64)

    def step(**how):
        return jax.value_and_grad(lambda rows, scalars: function(*rows, **scalars, **how), (0, 1))

    over_devices = jax.shard_map(
        lambda rows, scalars: function(*rows, **scalars, axis_name="data"),
        mesh=MESH,
        in_specs=(P("data"), P()),
        out_specs=P(),
    )
    expected = jax.device_get(jax.jit(step())(rows, scalars))
    got = jax.device_get(jax.jit(jax.value_and_grad(over_devices, (0, 1)))(rows, scalars))
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
        for name, objective in OBJECTIVES.items():
            # Groups of three rows do not fit into four times six the way they fit into one device.
            if "groups" not in name:
                compare(name, objective.loss, draw(name, N))
        for name, measure in MEASURES.items():
            compare(name, measure, draw("w_mse", N))
    rows, _ = cast(draw("w_mse", N))
    step = jax.jit(jax.value_and_grad(every_one, (0, 1), has_aux=True))
    expected = jax.device_get(step(*rows))
    for kind in ("Auto", "Explicit"):
        mesh = jax.make_mesh((4,), ("data",), axis_types=(getattr(jax.sharding.AxisType, kind),))
        sharded = jax.device_put(rows, jax.sharding.NamedSharding(mesh, P("data")))
        report(f"jit over {kind}", jax.device_get(step(*sharded)), expected, 2e-5)


if __name__ == "__main__":
    main()
