"""Run by test_sharded.py in a process of its own, which has four virtual devices.

Prints one JSON line per case: the largest relative difference to one device in the value and in
every gradient, and the temporary memory of one device.
"""

import functools
import json

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from infonce_jax import losses

N, DIM = 32, 6
MESH = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
LABELS = jnp.arange(N) % 5

CASES = {
    "infonce": (losses.infonce, {"temperature": 0.3}),
    "infonce one-way": (
        functools.partial(losses.infonce, symmetric=False),
        {"temperature": 0.3},
    ),
    "infonce cold": (losses.infonce, {"temperature": 0.005}),
    "infonce distance": (
        functools.partial(losses.infonce, normalize=False, similarity="squared_distance"),
        {"temperature": 3.0},
    ),
    "nt_xent": (losses.nt_xent, {"temperature": 0.3}),
    "dcl": (losses.dcl, {"temperature": 0.3}),
    "siglip": (losses.siglip, {"logit_scale": 5.0, "logit_bias": -3.0}),
    "uniformity": (lambda a, b, t, **kw: losses.uniformity(a, t=t, **kw), {"t": 2.0}),
    # A queue cut in four is the same set of negatives.
    "moco": (lambda a, b, **kw: losses.moco(a, b, a + 1, **kw), {"temperature": 0.3}),
    "exclude": (
        lambda a, b, ids, **kw: losses.infonce(a, b, exclude=ids, **kw),
        {"temperature": 0.3},
    ),
    "sup_con": (
        lambda a, b, ids, **kw: losses.sup_con(a, ids, **kw),
        {"temperature": 0.3},
    ),
}

# The objectives share their collectives: every kind of pass is met, not every combination.
IMPLEMENTATIONS = {
    "infonce": ("dense", "tiled", "ring"),
    "infonce one-way": ("tiled", "ring"),
    "infonce cold": ("ring",),
    "infonce distance": ("tiled",),
    "nt_xent": ("tiled", "ring"),
    "dcl": ("ring",),
    "siglip": ("tiled", "ring"),
    "uniformity": ("tiled",),
    "moco": ("ring",),
    "exclude": ("ring",),
    "sup_con": ("tiled",),
}


def value_and_gradients(loss, a, b, options):
    def function(a, b, options):
        return loss(a, b, options)

    return jax.jit(jax.value_and_grad(function, (0, 1, 2)))(a, b, options)


def sharded(objective, specs, **how):
    """The mean over all devices' rows, as one function of the global arrays."""

    def local(a, b, ids, options):
        extra = (ids,) if specs else ()
        return objective(a, b, *extra, **options, axis_name="data", **how)

    return jax.shard_map(
        local, mesh=MESH, in_specs=(P("data"), P("data"), P("data"), P()), out_specs=P()
    )


def every_objective(a, b):
    """Their sum, and each."""
    labels = jax.device_put(LABELS, jax.typeof(a).sharding.update(spec=P(None)))
    encode = losses.microbatched(lambda weight, z: jnp.tanh(weight * z), 8)
    found = [
        losses.infonce(a, b, temperature=0.3, implementation="tiled"),
        jnp.sum(losses.infonce(a, b, temperature=0.3, reduction="none", symmetric=False)),
        losses.infonce(encode(2.0, a), encode(2.0, b), temperature=0.3),
        losses.nt_xent(a, b, temperature=0.3),
        losses.siglip(a, b, logit_scale=5.0, logit_bias=-3.0),
        losses.moco(a, b, a + 1, temperature=0.3, implementation="tiled"),
        losses.sup_con(a, labels, temperature=0.3),
        losses.uniformity(a),
        losses.alignment(a, b),
        losses.barlow_twins(a, b),
        losses.vicreg(a, b),
        losses.norm_entropy_regulariser(a, norm_weight=0.1),
    ]
    return sum(found), found


def main():
    a, b = jax.random.normal(jax.random.key(0), (2, N, DIM))
    for name, (objective, options) in CASES.items():
        options = {k: jnp.float32(v) for k, v in options.items()}
        takes_ids = name in ("exclude", "sup_con")

        def whole(a, b, options, objective=objective, takes_ids=takes_ids):
            extra = (LABELS,) if takes_ids else ()
            return objective(a, b, *extra, **options, implementation="dense")

        expected = value_and_gradients(whole, a, b, options)
        for implementation in IMPLEMENTATIONS[name]:
            how = {"implementation": implementation, "tile": (5, 16)}
            over_devices = sharded(objective, takes_ids, **how)
            got = value_and_gradients(
                lambda a, b, o, f=over_devices: f(a, b, LABELS, o), a, b, options
            )
            errors = [
                float(jnp.max(jnp.abs(g - e)) / jnp.maximum(jnp.max(jnp.abs(e)), 1e-3))
                for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
            ]
            print(json.dumps({"case": f"{name} {implementation}", "error": max(errors)}))
    # Under plain jit the partitioner makes of the sharded arrays what one device would compute,
    # over automatic axes of a mesh as over explicit ones.
    step = jax.jit(jax.value_and_grad(every_objective, (0, 1), has_aux=True))
    expected = step(a, b)
    for kind in ("Auto", "Explicit"):
        mesh = jax.make_mesh((4,), ("data",), axis_types=(getattr(jax.sharding.AxisType, kind),))
        got = step(*jax.device_put((a, b), jax.sharding.NamedSharding(mesh, P("data"))))
        errors = [
            float(jnp.max(jnp.abs(jax.device_get(g) - jax.device_get(e)) / jnp.max(jnp.abs(e))))
            for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
        ]
        print(json.dumps({"case": f"jit over axes of type {kind}", "error": max(errors)}))
    print(json.dumps({"memory_bytes": {k: ring_memory_bytes(k) for k in (1, 2, 4)}}))


def ring_memory_bytes(devices):
    """Temporary memory of one of `devices` for a gradient over 4,096 rows in all."""
    mesh = jax.make_mesh(
        (devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )

    def loss(a, b):
        how = {"implementation": "ring", "axis_name": "data", "tile": (32, 32)}
        return losses.infonce(a, b, temperature=0.3, **how)

    over_devices = jax.shard_map(loss, mesh=mesh, in_specs=P("data"), out_specs=P())
    rows = jax.ShapeDtypeStruct((4096, 64), jnp.float32)
    step = jax.jit(
        jax.grad(over_devices, (0, 1)), in_shardings=jax.sharding.NamedSharding(mesh, P("data"))
    )
    return step.lower(rows, rows).compile().memory_analysis().temp_size_in_bytes


if __name__ == "__main__":
    main()
