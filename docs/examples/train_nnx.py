"""CLIP-style training in Flax NNX: padded batches, a queue of past keys, micro-batches, two devices.

XLA_FLAGS=--xla_force_host_platform_device_count=2 python docs/examples/train_nnx.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from infonce_jax import Queue, enqueue, infonce, make_queue, microbatched

BATCH, IN, OUT = 64, 32, 16
MESH = jax.make_mesh((jax.device_count(),), ("data",), (jax.sharding.AxisType.Auto,))


def batches(steps: int):
    """Two noisy views of random rows; a few at the end are padding, which the mask marks."""
    for key in jax.random.split(jax.random.key(1), steps):
        x, *noise = jax.random.normal(key, (3, BATCH, IN))
        yield x + 0.3 * noise[0], x + 0.3 * noise[1], jnp.arange(BATCH) < BATCH - 3


def main(steps: int = 30) -> list[float]:
    first, last = (nnx.Linear(*shape, rngs=nnx.Rngs(0)) for shape in ((IN, 64), (64, OUT)))
    graph, params = nnx.split(nnx.Sequential(first, nnx.relu, last))
    encode = microbatched(lambda params, x: nnx.merge(graph, params)(x), 16)
    adam = optax.adam(3e-3)

    def loss(params: nnx.State, queue: jax.Array, x, y, mask) -> tuple[jax.Array, jax.Array]:
        u, v = encode(params, x), encode(params, y)
        options = {"temperature": 0.1, "where": mask, "negatives": queue, "axis_name": "data"}
        return infonce(u, v, **options), v

    ins, outs = (jax.P(), jax.P(), *3 * [jax.P("data")]), (jax.P(), jax.P("data"))
    over_devices = jax.shard_map(loss, mesh=MESH, in_specs=ins, out_specs=outs)
    gradient = jax.value_and_grad(over_devices, has_aux=True)

    @jax.jit
    def step(params: nnx.State, state: optax.OptState, queue: Queue, batch):
        (value, keys), slope = gradient(params, queue.keys, *batch)
        updates, state = adam.update(slope, state)
        return (
            optax.apply_updates(params, updates),
            state,
            enqueue(queue, keys, where=batch[2]),
            value,
        )

    state, values = (params, adam.init(params), make_queue(jax.random.key(2), 256, OUT)), []
    for batch in batches(steps):
        *state, value = step(*state, batch)
        values.append(float(value))
    return values


if __name__ == "__main__":
    losses = main()
    print(f"{losses[0]:.3f} -> {losses[-1]:.3f}")
