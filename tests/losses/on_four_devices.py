"""Run by test_sharded.py in a process of its own, which has four virtual devices.

Prints one JSON line per case: the largest relative difference to one device in the value and in
every gradient with what is allowed of it, and last the temporary memory of one device.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from objectives import ALL, DIM, OBJECTIVES, at_temperature, cast, draw

from infonce_jax import losses

N = 32
MESH = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

# The objectives share their collectives: every kind of pass is met, not every combination.
IMPLEMENTATIONS = {
    "infonce": ("dense", "tiled", "ring"),
    "one-way": ("tiled",),
    "distance": ("tiled",),
    "exclude ids": ("ring",),
    "exclude mask": ("tiled",),
    "clip": ("dense",),
    "nt_xent": ("tiled",),
    "dcl": ("dense",),
    "hard negatives": ("dense",),
    "sup_con labels": ("ring",),
    "sup_con mask": ("dense",),
    "moco": ("ring",),
    "siglip": ("ring",),
    "uniformity": ("tiled",),
    "negatives beside": ("dense", "ring"),
    "nt_xent excluding": ("ring",),
    "siglip excluding": ("tiled",),
    "infonce of several": ("tiled",),
    "infonce of several, by mask": ("dense",),
    "nt_xent of several": ("tiled",),
    "siglip of several": ("tiled",),
}


# Those without pairs of their own: every kind of collective, not every option.
OTHERS = [name for name, objective in OBJECTIVES.items() if not objective.pairwise]
OTHERS += [
    "sigreg",
    "sigreg, pooled, unbiased",
    "wasserstein, pooled",
    "anderson_darling",
    "lejepa",
]
OTHERS += ["visreg", "koleo", "w_mse", "spectral"]

# Asked with a mask of rows, weights of rows and a temperature of each, as far as they take them.
OF_ROWS = {
    "infonce": ("where", "weights", "temperature"),
    "one-way": ("where", "weights"),
    "nt_xent": ("where", "weights"),
    "nt_xent of several": ("where", "temperature"),
    "sup_con labels": ("where", "weights"),
    "siglip": ("where", "weights"),
    "uniformity": ("where",),
}


def mean_loss(name, **how):
    """Of a batch, or of one device's part of it if `how` names an axis."""
    objective = ALL[name]
    how |= {"reduction": "mean"} if objective.reduction else {}

    def loss(rows, scalars, of_rows, named=None):
        return objective.loss(*rows, *of_rows, **scalars | (named or {}), **how)

    return loss


def value_and_gradients(function, batch, dtype):
    rows, scalars, of_rows, _ = cast(batch, dtype)
    return jax.device_get(jax.jit(jax.value_and_grad(function, (0, 1)))(rows, scalars, of_rows))


@functools.cache
def on_one_device(name, dtype, temperature):
    """A batch that is exact in `dtype`, its mean loss and all gradients of it in float64."""
    batch = draw(name, N, DIM, dtype=dtype)
    batch = at_temperature(batch, temperature) if temperature else batch
    dense = {"implementation": "dense"} if ALL[name].pairwise else {}
    return batch, value_and_gradients(mean_loss(name, **dense), batch, jnp.float64)


def compare(
    name, implementation, dtype=jnp.float64, temperature=None, tolerance=1e-11, cut_queue=True
):
    """Prints the largest relative difference to one device in the value and in every gradient."""
    how = {"implementation": implementation, "tile": (5, 16)} if implementation else {}
    # A queue cut in four is the same set of negatives as one that every device holds.
    of_rows = [P("data") if kind != "q" or cut_queue else P() for kind in ALL[name].rows]
    over_devices = jax.shard_map(
        mean_loss(name, axis_name="data", **how),
        mesh=MESH,
        in_specs=(of_rows, P(), P("data")),
        out_specs=P(),
    )
    with jax.enable_x64(True):
        batch, expected = on_one_device(name, dtype, temperature)
        got = value_and_gradients(over_devices, batch, dtype)
    case = " ".join(map(str, (name, implementation, jnp.dtype(dtype), temperature)))
    report(case, got, expected, tolerance)


def compare_options_of_rows(name):
    """The same of an objective that is given what belongs to each row by name."""
    with jax.enable_x64(True):
        rows, scalars, of_rows, _ = cast(draw(name, N, DIM), jnp.float64)
        given = {
            "where": jnp.arange(N) % 5 != 2,
            "weights": 1 + jnp.arange(N) % 3 / 2,
            "temperature": jnp.linspace(0.2, 0.8, N),
        }
        given = {key: given[key] for key in OF_ROWS[name]}
        over_devices = jax.shard_map(
            mean_loss(name, axis_name="data", implementation="tiled", tile=(5, 16)),
            mesh=MESH,
            in_specs=(P("data"), P(), P("data"), P("data")),
            out_specs=P(),
        )
        got, expected = (
            jax.jit(jax.value_and_grad(f))(rows, scalars, of_rows, given)
            for f in (over_devices, mean_loss(name, implementation="dense"))
        )
    report(f"{name} with {', '.join(given)}", *jax.device_get((got, expected)), 1e-11)


def compare_measures():
    """The same of the measures, in one program."""

    def measures(a, b, **how):
        found = [
            losses.effective_rank(a, **how),
            losses.rankme(a, **how),
            losses.lidar(jnp.stack([a, b], axis=1), **how),
            losses.isoscore(a, **how),
            losses.cka(a, b, **how),
            losses.cka(a, b, unbiased=True, **how),
        ]
        return sum(x**2 for x in found), found

    over_devices = jax.shard_map(
        functools.partial(measures, axis_name="data"),
        mesh=MESH,
        in_specs=P("data"),
        out_specs=P(),
    )
    with jax.enable_x64(True):
        rows = cast(draw("w_mse", N), jnp.float64)[0]
        got, expected = (
            jax.device_get(jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(*rows))
            for f in (over_devices, measures)
        )
    report("measures", got, expected, 1e-10)


def report(case, got, expected, tolerance):
    errors = [
        np.max(np.abs(np.asarray(g, np.float64) - e)) / max(np.max(np.abs(e)), 1e-3)
        for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    ]
    print(json.dumps({"case": case, "error": float(max(errors)), "tolerance": tolerance}))


def every_objective(a, b):
    """Their sum, and each."""
    views, key = jnp.stack([a, b]), jax.random.key(0)
    labels = jax.device_put(jnp.arange(N) % 5, jax.typeof(a).sharding.update(spec=P(None)))
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
    # In float64, where nothing can pass for rounding; then what rounds.
    for name in [*IMPLEMENTATIONS, *OTHERS]:
        for implementation in IMPLEMENTATIONS.get(name, (None,)):
            compare(name, implementation)
    for name, implementation in (("moco", "ring"), ("negatives beside", "dense")):
        compare(name, implementation, cut_queue=False)
    for name in OF_ROWS:
        compare_options_of_rows(name)
    compare_measures()
    compare("infonce", "tiled", jnp.float32, tolerance=1e-6)
    # Logits of ±200 carry a rounding of 1e-5 into the exponent.
    compare("infonce", "ring", jnp.float32, 0.005, tolerance=1e-5)
    compare("infonce", "ring", jnp.bfloat16, tolerance=1e-2)
    compare("siglip", "ring", jnp.bfloat16, 0.3, tolerance=1e-2)
    a, b = jax.random.normal(jax.random.key(0), (2, N, DIM))
    # Under plain jit the partitioner makes of the sharded arrays what one device would compute,
    # over automatic axes of a mesh as over explicit ones.
    step = jax.jit(jax.value_and_grad(every_objective, (0, 1), has_aux=True))
    expected = step(a, b)
    for kind in ("Auto", "Explicit"):
        mesh = jax.make_mesh((4,), ("data",), axis_types=(getattr(jax.sharding.AxisType, kind),))
        got = step(*jax.device_put((a, b), jax.sharding.NamedSharding(mesh, P("data"))))
        report(f"jit over axes of type {kind}", *jax.device_get((got, expected)), 2e-6)
    # The last mesh has explicit axes.
    rows = jax.device_put(a[:16], jax.sharding.NamedSharding(mesh, P("data")))
    try:
        losses.microbatched(lambda weight, z: weight * z, 5)(2.0, rows)
    except ValueError as error:
        print(json.dumps({"refused": str(error)}))
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
