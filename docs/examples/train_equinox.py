"""MoCo-like training in Equinox: padded batches, a queue of past keys, micro-batches, two devices.

XLA_FLAGS=--xla_force_host_platform_device_count=2 python docs/examples/train_equinox.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from infonce_jax import Queue, enqueue, make_queue, microbatched, moco

BATCH, IN, OUT, TEMPERATURE = 64, 32, 16, 0.1
MESH = jax.make_mesh((jax.device_count(),), ("data",), (jax.sharding.AxisType.Auto,))


def batches(steps: int):
    """Two noisy views of random rows; a few at the end are padding, which the mask marks."""
    for key in jax.random.split(jax.random.key(1), steps):
        x, *noise = jax.random.normal(key, (3, BATCH, IN))
        yield x + 0.3 * noise[0], x + 0.3 * noise[1], jnp.arange(BATCH) < BATCH - 3


def main(steps: int = 60) -> list[float]:
    encoder = eqx.nn.MLP(IN, OUT, width_size=64, depth=1, key=jax.random.key(0))
    params, static = eqx.partition(encoder, eqx.is_array)
    encode = microbatched(lambda params, x: jax.vmap(eqx.combine(params, static))(x), 16)
    adam = optax.adam(3e-3)

    def loss(params, slow, queue: jax.Array, x, y, mask) -> tuple[jax.Array, jax.Array]:
        query, key = encode(params, x), encode(slow, y)
        options = {"temperature": TEMPERATURE, "where": mask}
        return moco(query, jax.lax.stop_gradient(key), queue, axis_name="data", **options), key

    rows, whole = jax.P("data"), jax.P()
    over_devices = jax.shard_map(
        loss, mesh=MESH, in_specs=(whole, whole, whole, rows, rows, rows), out_specs=(whole, rows)
    )

    @jax.jit
    def step(params, slow, state: optax.OptState, queue: Queue, batch):
        gradient = jax.value_and_grad(over_devices, has_aux=True)
        (value, keys), slope = gradient(params, slow, queue.keys, *batch)
        updates, state = adam.update(slope, state)
        params = optax.apply_updates(params, updates)
        slow = optax.incremental_update(params, slow, 0.05)
        return params, slow, state, enqueue(queue, keys, where=batch[2]), value

    state, queue, values = adam.init(params), make_queue(jax.random.key(2), 256, OUT), []
    slow = params
    for batch in batches(steps):
        params, slow, state, queue, value = step(params, slow, state, queue, batch)
        values.append(float(value))
    return values


if __name__ == "__main__":
    losses = main()  # from the fifth step, when keys have replaced the random queue
    print(f"{losses[4]:.3f} -> {losses[-1]:.3f}")
