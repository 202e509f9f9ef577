"""Which rows make a batch: a pure function of (key, step), with no state to save or restore."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
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
    encrypt = functools.partial(_encrypt, _round_keys(key), n)

    def walk(x):
        return jnp.where(x < n, x, encrypt(x))

    start = encrypt(position.astype(jnp.uint32))
    index = jax.lax.while_loop(lambda x: jnp.any(x >= n), walk, start)
    return index.astype(jnp.int32)


def batch_index(
    key: Key[Array, ""], step: Int[Array, ""], batch_size: int, n: int
) -> Int[Array, " batch"]:
    """The rows of a batch. An epoch takes rows without replacement; every epoch has its own order.

    An epoch is n // batch_size steps. Which rows are left over differs from epoch to epoch.

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


def make_host_index(
    keys: Key[Array, " seeds"], batch_size: int, n: int
) -> Callable[[int], Int[np.ndarray, "seeds batch"]]:
    """`batch_index` of several keys on the host, as `(step) -> [seeds, batch]`.

    For the thread that reads ahead: the devices are busy with training and would answer too late. The
    result is the same to the bit.
    """
    steps_per_epoch = n // batch_size

    @functools.lru_cache(maxsize=2)
    def round_keys(epoch: int) -> UInt32[np.ndarray, "seeds rounds"]:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            own = jax.device_put(jax.random.key_data(keys), jax.local_devices(backend="cpu")[0])
            own = jax.random.wrap_key_data(own, impl=jax.random.key_impl(keys))
            return np.asarray(jax.vmap(lambda k: _round_keys(jax.random.fold_in(k, epoch)))(own))

    def index(step: int) -> Int[np.ndarray, "seeds batch"]:
        first = (step % steps_per_epoch) * batch_size
        position = (first + np.arange(batch_size)).astype(np.uint32)
        rows = []
        for own in round_keys(step // steps_per_epoch):
            x = _encrypt(own, n, position)
            while np.any(x >= n):
                x = np.where(x < n, x, _encrypt(own, n, x))
            rows.append(x.astype(np.int32))
        return np.stack(rows)

    return index


def make_batch(config: config_dict.ConfigDict, data: Dataset) -> Callable:
    """Batches as `batch(arrays, key, step) -> (rows, labels | None)`, with arrays = (train, labels).

    Where the data are streamed, the arrays are the batch already.

    Examples:
        >>> from infonce_jax import data
        >>> from infonce_jax.config import default_config
        >>> config = default_config()
        >>> config.data.train_size, config.train.batch_size = 64, 16
        >>> loaded = data.load(config)
        >>> batch = make_batch(config, loaded)
        >>> rows, labels = batch((loaded.train, None), jax.random.key(0), jnp.int32(0))
        >>> rows.shape
        (16, 512)

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

    def given(arrays, key, step):
        del key, step
        return arrays

    if data.spec.is_streamed:
        return given
    return drawn if config.data.fresh else gathered


def _round_keys(key: Key[Array, ""]) -> UInt32[Array, " rounds"]:
    return jax.random.bits(key, (_ROUNDS,), jnp.uint32)


def _encrypt(
    round_keys: UInt32[Array | np.ndarray, " rounds"],
    n: int,
    x: UInt32[Array | np.ndarray, "*shape"],
) -> UInt32[Array | np.ndarray, "*shape"]:
    """The Feistel network, on NumPy's or JAX's integers."""
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = np.uint32(2**half_bits - 1)
    left, right = x >> half_bits, x & mask
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    return (left << half_bits) | right


def _mix(x: UInt32[Array | np.ndarray, "*shape"]) -> UInt32[Array | np.ndarray, "*shape"]:
    """A 32-bit integer hash (Murmur3's finaliser)."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
