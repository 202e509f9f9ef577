"""Gradient caching: micro-batches give what the whole batch gives, in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infonce_jax import losses

BATCH, DIM, HIDDEN = 64, 8, 256


def _encode(params, x, key):
    hidden = jax.nn.gelu(x @ params["in"])
    # Dropout with a key per example.
    keep = jax.vmap(lambda k: jax.random.bernoulli(k, 0.8, (HIDDEN,)))(key)
    return jnp.where(keep, hidden, 0) @ params["out"]


def _setting(batch=BATCH):
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "in": jax.random.normal(keys[0], (DIM, HIDDEN)),
        "out": jax.random.normal(keys[1], (HIDDEN, DIM)) / HIDDEN**0.5,
    }
    x = jax.random.normal(keys[2], (2, batch, DIM))
    return params, x, jax.random.split(keys[3], (2, batch))


def _loss(encode, objective, params, x, key):
    a, b = (encode(params, *view) for view in zip(x, key, strict=True))
    return objective(a, b, temperature=0.3)


@pytest.mark.parametrize("objective", [losses.infonce, losses.nt_xent])
def test_gradient_equals_that_of_the_whole_batch(objective):
    expected, *found = (
        jax.jit(jax.value_and_grad(functools.partial(_loss, encode, objective)))(*_setting())
        # 16 equal parts, and a ragged last one.
        for encode in (_encode, losses.microbatched(_encode, 4), losses.microbatched(_encode, 5))
    )
    for got in found:
        for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(g, e, rtol=0, atol=1e-6 * float(jnp.max(jnp.abs(e))))


def test_memory_is_that_of_one_part():
    def temporaries(encode):
        step = jax.jit(jax.grad(functools.partial(_loss, encode, losses.infonce)))
        return step.lower(*_setting(2048)).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(losses.microbatched(_encode, 128)) < temporaries(_encode) / 2
