"""Which rows make a batch: a pure function of (key, step), with no state to save or restore."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32
from ml_collections import config_dict

from infonce_jax.data.spec import Dataset

_ROUNDS = 8


def shuffled_index(
    key: Key[Array, ""], position: Int[Array, "*shape"], n: int
) -> Int[Array, "*shape"]:
    """Where a key's random permutation of {0, …, n-1} sends each position.

    Only the positions asked for are computed, so a batch costs the same however large the data are:
    no permutation of all n rows is made or kept. The bijection is a Feistel network on the smallest
    domain of 2^(2h) ≥ n numbers, iterated until it falls below n (cycle walking), which takes fewer
    than four rounds on average.

    Args:
        key: selects the permutation.
        position: integers in [0, n).
        n: how many rows there are, below 2^31.

    Returns:
        Indices in [0, n), distinct for distinct positions.

    References:
        Black, Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002 (cycle walking).
        Luby, Rackoff, How to Construct Pseudorandom Permutations from Pseudorandom Functions, 1988.
    """
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = jnp.uint32(2**half_bits - 1)
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def encrypt(x):
        left, right = x >> half_bits, x & mask
        for round_key in round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        return (left << half_bits) | right

    def walk(x):
        return jnp.where(x < n, x, encrypt(x))

    start = encrypt(position.astype(jnp.uint32))
    index = jax.lax.while_loop(lambda x: jnp.any(x >= n), walk, start)
    return index.astype(jnp.int32)


def batch_index(
    key: Key[Array, ""], step: Int[Array, ""], batch_size: int, n: int
) -> Int[Array, "batch"]:
    """The rows of a batch: epochs without replacement, each in an order of its own.

    An epoch is n // batch_size steps; the rows left over differ from epoch to epoch.

    Args:
        key: the run's key for batches.
        step: optimiser step, counted from 0.
        batch_size: rows per batch, at most n.
        n: rows of the training set.
    """
    steps_per_epoch = n // batch_size
    epoch_key = jax.random.fold_in(key, step // steps_per_epoch)
    first = (step % steps_per_epoch) * batch_size
    return shuffled_index(epoch_key, first + jnp.arange(batch_size), n)


def make_batch(config: config_dict.ConfigDict, data: Dataset) -> Callable:
    """Batches as `batch(arrays, key, step) -> (rows, labels | None)`, with arrays = (train, labels).

    Raises:
        ValueError: where the batch is larger than the training set.
    """
    size = config.train.batch_size
    n = data.spec.train_size
    if size > n:
        raise ValueError(
            f"config.train.batch_size is {size} but the training set has {n} rows; use a batch of at "
            f"most {n}" + (", or a larger config.data.train_size." if data.draw else ".")
        )

    def drawn(arrays, key, step):
        del arrays
        return data.draw(jax.random.fold_in(key, step), size)

    def gathered(arrays, key, step):
        rows, labels = arrays
        index = batch_index(key, step, size, n)
        return rows[index], None if labels is None else labels[index]

    return drawn if config.data.fresh else gathered


def _mix(x: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """A 32-bit integer hash (Murmur3's finaliser)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
