"""Distances of a batch from the standard Gaussian, along many one-dimensional directions.

A law is N(0, I) exactly if every projection on a unit vector is N(0, 1) (Cramér and Wold). Each
objective here projects the rows on unit vectors, measures the distance of each projection from
N(0, 1), and takes the mean. Directions are worked through in blocks, so that memory grows with
rows · block and not with rows · directions. `infonce_jax.losses` describes the options that they
share.
"""

import functools
import math
from collections.abc import Callable
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from infonce_jax.losses.common import (
    Axes,
    check_flags,
    check_floating,
    check_positive,
    gather,
    global_size,
    objective,
    over_devices,
    safe_normalize,
    static_scalar,
    varying,
    whole_number,
    widen,
)


def random_directions(
    key: PRNGKeyArray, dim: int, count: int, dtype: jnp.dtype | type = jnp.float32
) -> Float[Array, "dim count"]:
    """Unit vectors drawn uniformly from the sphere, one a column.

    Examples:
        >>> directions = infonce_jax.random_directions(jax.random.key(0), 8, 100)
        >>> directions.shape
        (8, 100)

    Args:
        key: of `jax.random`. A new key for every step is usual; the same key on all devices.
        dim: of the representations.
        count: how many.
        dtype: float32, or float64 for float64 representations.
    """
    dim, count = whole_number("dim", dim), whole_number("count", count)
    return safe_normalize(jax.random.normal(key, (count, dim), dtype)).T


@objective
def sigreg(
    z: Float[ArrayLike, "*views batch dim"],
    *,
    key: PRNGKeyArray | None = None,
    directions: Float[ArrayLike, "dim directions"] | None = None,
    n_directions: int = 1024,
    pooled: bool = False,
    unbiased: bool = False,
    t_max: float = 3.0,
    knots: int = 17,
    block: int = 128,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """SIGReg, the regulariser of LeJEPA: how far the rows are from N(0, I), by sliced Epps-Pulley.

        T = mean_a  n ∫ |φ_a(t) - exp(-t²/2)|² exp(-t²/2) dt,   φ_a(t) = (1/n) Σ_j exp(i t a·z_j)

    over unit vectors a, with the integral from -t_max to t_max by the trapezoid rule on [0, t_max].

    The published statistic above (a V-statistic) counts each row with itself. Its mean over batches
    is about n·D + C, where D is the same integral for the law of the rows and C > 0 is what the
    rounding of the law to n points adds: value and gradient depend on the size of the batch.
    `unbiased=True` gives the U-statistic, which leaves those pairs out and has no factor n. Its mean
    over batches is D for every batch size, 0 for a Gaussian; single values may be negative. To
    change from one to the other without changing the strength, multiply the weight by n.

    Of unit variance in 8 dimensions, 64 directions, 2^18 rows (`python -m benchmarks.sigreg --only
    means`; the standard error is at most 0.012 of the published and 0.00015 of the unbiased):

    | mean over batches | n = 16 | n = 64 | n = 256 |
    | --- | ---: | ---: | ---: |
    | published, Gaussian rows | 1.052 | 1.051 | 1.048 |
    | published, Laplace rows | 1.051 | 1.146 | 1.519 |
    | unbiased, Gaussian rows | 0.0000 | 0.0000 | 0.0000 |
    | unbiased, Laplace rows | 0.0020 | 0.0020 | 0.0020 |

    Examples:
        >>> import jax
        >>> z = jax.random.normal(jax.random.key(0), (512, 16))
        >>> gaussian = sigreg(z, key=jax.random.key(1), n_directions=64)
        >>> bool(gaussian < 2 < sigreg(3 * z, key=jax.random.key(1), n_directions=64))
        True

    Args:
        z: representations, not normalised: one view, or several of equal size.
        unbiased: the U-statistic instead of the published V-statistic.
        t_max: where the integral ends.
        knots: points of the trapezoid rule on [0, t_max], at least 2.
        axis_name: characteristic functions are averaged over the devices before they are squared, so
            the value and the gradient are those of one device.

    Returns:
        The mean over directions and views, in float32 (float64 for float64 input).

    Raises:
        ValueError: unless exactly one of `key` and `directions` is given, and for wrong shapes.

    References:
        Balestriero, LeCun, [LeJEPA](https://arxiv.org/abs/2511.08544), 2025; Epps, Pulley, A test
        for normality based on the empirical characteristic function, Biometrika, 1983.
    """
    check_flags(unbiased=unbiased)
    rows, directions = prepare(z, key, directions, n_directions, pooled, axis_name)
    n = global_size(rows.shape[1], axis_name)
    if unbiased and n < 2:
        raise ValueError(
            f"z has shape {z.shape}; the unbiased statistic needs at least two rows. Use "
            "unbiased=False, or more rows."
        )
    t_max, knots = static_scalar("t_max", t_max), whole_number("knots", knots, least=2)
    check_positive("t_max", t_max, "3 is usual")
    # The integrand is even, which doubles the weights, and it is 0 at t = 0.
    t = np.linspace(0, t_max, knots)[1:]
    weights = np.full(knots - 1, 2 * t[0])
    weights[-1] = t[0]
    target = np.exp(-(t**2) / 2)
    means = _characteristic(rows, _cut(directions, block), float(t[0]), knots - 1)
    means = [mean[..., : directions.shape[1]] for mean in means]
    cosine, sine = (over_devices(lax.pmean, mean, axis_name) for mean in means)
    # [knots, views, directions]
    target, weights = (
        jnp.asarray(v, rows.dtype)[:, None, None] for v in (target, weights * target)
    )
    if unbiased:
        square = (n * (cosine**2 + sine**2) - 1) / (n - 1)
        distance = square - 2 * target * cosine + target**2
    else:
        distance = n * ((cosine - target) ** 2 + sine**2)
    return jnp.mean(jnp.sum(weights * distance, axis=0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _characteristic(rows, blocks, step, count):
    """Means over the rows of cos(t x) and sin(t x) of the projections x, t = step, …, count·step.

    Two arrays [count, views, directions].
    """

    def of_block(directions):
        first = _on_the_circle(rows, directions, step)

        # One cosine and one sine for each projection: the others follow by the addition theorem.
        def advance(power, _):
            means = tuple(jnp.mean(part, axis=1) for part in power)
            return _multiply(power, first), means

        return lax.scan(advance, first, length=count)[1]

    return tuple(_join(means) for means in lax.map(of_block, blocks))


def _characteristic_forward(rows, blocks, step, count):
    # Not the function with this rule, so that a gradient can be differentiated again.
    return _characteristic.fun(rows, blocks, step, count), (rows, blocks)


def _characteristic_backward(step, count, kept, cotangents):
    rows, blocks = kept
    n_rows = rows.shape[1]
    # The gradient with respect to a projection x is the real part of
    # Σ_k k step (s_k + i c_k) exp(i k step x), s and c being the cotangents of the sines and of the
    # cosines: a polynomial, evaluated by Horner's rule, so that no power is kept.
    factor = jnp.arange(1, count + 1, dtype=rows.dtype)[:, None, None] * (step / n_rows)
    of_cosine, of_sine = (_split(factor * cotangent, blocks) for cotangent in cotangents)

    def of_block(total, block):
        directions, of_cosine, of_sine = block
        first = _on_the_circle(rows, directions, step)

        def add(value, coefficient):
            value = tuple(v + c[:, None, :] for v, c in zip(value, coefficient, strict=True))
            return _multiply(value, first), None

        zero = tuple(jnp.zeros_like(part) for part in first)
        coefficients = (of_sine, of_cosine)
        value, _ = lax.scan(add, zero, coefficients, reverse=True, unroll=min(count, 16))
        return total + _product(value[0], directions.T), None

    of_rows, _ = lax.scan(of_block, jnp.zeros_like(rows), (blocks, of_cosine, of_sine))
    # The directions are held fixed.
    return of_rows, jnp.zeros_like(blocks)


_characteristic.defvjp(_characteristic_forward, _characteristic_backward)


def _on_the_circle(rows, directions, step):
    """exp(i step x) of the projections x, its real and its imaginary part."""
    angle = step * _product(rows, directions)
    return jnp.cos(angle), jnp.sin(angle)


def _product(rows, matrix):
    return jnp.einsum("vni,ij->vnj", rows, matrix, precision=lax.Precision.HIGHEST)


def _multiply(a, b):
    """The product of two complex numbers, each a pair of real and imaginary part."""
    return a[0] * b[0] - a[1] * b[1], a[1] * b[0] + a[0] * b[1]


@objective
def sliced_wasserstein(
    z: Float[ArrayLike, "*views batch dim"],
    *,
    key: PRNGKeyArray | None = None,
    directions: Float[ArrayLike, "dim directions"] | None = None,
    n_directions: int = 1024,
    pooled: bool = False,
    block: int = 128,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """The squared sliced Wasserstein distance of the rows from N(0, I).

        W = mean_a ∫_0^1 (F_a⁻¹(u) - Φ⁻¹(u))² du

    over unit vectors a, F_a being the empirical distribution of a·z. The integral is exact. Where
    projections are equal, which has no derivative, each row is drawn to a quantile of its own.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 8))
        >>> key = jax.random.key(1)
        >>> normal = infonce_jax.sliced_wasserstein(z, key=key)
        >>> bool(normal < infonce_jax.sliced_wasserstein(z**3, key=key))
        True

    Args:
        z: representations, not normalised: one view, or several of equal size.
        axis_name: each device sorts its share of the directions, of the rows of all devices.

    References:
        Bonneel, Rabin, Peyré, Pfister, [Sliced and Radon Wasserstein Barycenters of
        Measures](https://doi.org/10.1007/s10851-014-0506-3), 2015.
    """
    rows, directions = prepare(z, key, directions, n_directions, pooled, axis_name)
    n = global_size(rows.shape[1], axis_name)
    # The mean of N(0, 1) between two of its quantiles: the best place for one of n points.
    quantiles = normal_quantiles(np.arange(1, n) / n)
    density = np.exp(-(quantiles**2) / 2) / math.sqrt(2 * math.pi)
    density = np.concatenate([[0], density, [0]])
    places = n * (density[:-1] - density[1:])
    # What n points miss of the variance of N(0, 1).
    missed = 1 - np.mean(places**2)
    return sliced_transport(rows, directions, places, block, axis_name) + missed


def normal_quantiles(levels: Float[np.ndarray, " levels"]) -> Float[np.ndarray, " levels"]:
    """Φ⁻¹ in float64, without SciPy, whose import takes longer than that of all losses."""
    return np.array([NormalDist().inv_cdf(level) for level in levels])


def sliced_transport(
    rows: Float[ArrayLike, "views batch dim"],
    directions: Float[ArrayLike, "dim directions"],
    places: Float[np.ndarray, " all_rows"],
    block: int,
    axis_name: Axes,
) -> Float[Array, ""]:
    """Mean of (a·z - place of its rank)², the places being in ascending order."""

    def cost(x):
        return jnp.mean((x - _of_rank(x, places)) ** 2, axis=2)

    return _over_all_rows(cost, rows, directions, block, axis_name)


@objective
def sliced_cramer_von_mises(
    z: Float[ArrayLike, "*views batch dim"],
    *,
    key: PRNGKeyArray | None = None,
    directions: Float[ArrayLike, "dim directions"] | None = None,
    n_directions: int = 1024,
    pooled: bool = False,
    block: int = 128,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """The sliced Cramér-von Mises statistic of the rows against N(0, I).

        W² = mean_a [ 1/(12 n) + Σ_i (Φ(x_(i)) - (2i - 1) / (2n))² ]

    over unit vectors a, x_(i) being the i-th smallest of a·z. Its gradient vanishes for rows far
    out, where `sliced_anderson_darling` grows with the square of their distance.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 8))
        >>> key = jax.random.key(1)
        >>> normal = infonce_jax.sliced_cramer_von_mises(z, key=key)
        >>> bool(normal < infonce_jax.sliced_cramer_von_mises(z**3, key=key))
        True

    Args:
        z: representations, not normalised: one view, or several of equal size.

    References:
        Stephens, EDF Statistics for Goodness of Fit and Some Comparisons, 1974.
    """
    rows, directions = prepare(z, key, directions, n_directions, pooled, axis_name)
    n = global_size(rows.shape[1], axis_name)
    levels = (np.arange(n) + 0.5) / n

    def statistic(x):
        square = (jax.scipy.special.ndtr(x) - _of_rank(x, levels)) ** 2
        return 1 / (12 * n) + jnp.sum(square, axis=2)

    return _over_all_rows(statistic, rows, directions, block, axis_name)


@objective
def sliced_anderson_darling(
    z: Float[ArrayLike, "*views batch dim"],
    *,
    key: PRNGKeyArray | None = None,
    directions: Float[ArrayLike, "dim directions"] | None = None,
    n_directions: int = 1024,
    pooled: bool = False,
    block: int = 128,
    axis_name: Axes = None,
) -> Float[Array, ""]:
    """The sliced Anderson-Darling statistic of the rows against N(0, I).

        A² = mean_a [ -n - (1/n) Σ_i (2i - 1) (log Φ(x_(i)) + log Φ(-x_(n+1-i))) ]

    over unit vectors a, x_(i) being the i-th smallest of a·z. Mean and variance are those of
    N(0, 1) and not estimated from the rows, so that location and scale are asked for too.

    Examples:
        >>> z = jax.random.normal(jax.random.key(0), (256, 8))
        >>> key = jax.random.key(1)
        >>> normal = infonce_jax.sliced_anderson_darling(z, key=key)
        >>> bool(normal < infonce_jax.sliced_anderson_darling(z**3, key=key))
        True

    Args:
        z: representations, not normalised: one view, or several of equal size.

    References:
        Anderson, Darling, [A Test of Goodness of
        Fit](https://doi.org/10.1080/01621459.1954.10501232), 1954.
    """
    rows, directions = prepare(z, key, directions, n_directions, pooled, axis_name)
    n = global_size(rows.shape[1], axis_name)
    below = (2 * np.arange(n) + 1) / n

    def statistic(x):
        below_x = _of_rank(x, below)
        log_below, log_above = (jax.scipy.special.log_ndtr(s * x) for s in (1, -1))
        # Each term lies near -1, and their sum near -n.
        return -jnp.sum(below_x * log_below + (2 - below_x) * log_above + 1, axis=2)

    return _over_all_rows(statistic, rows, directions, block, axis_name)


def _of_rank(x: Float[ArrayLike, "views block rows"], values: np.ndarray) -> Array:
    """For each entry of `x` the value at its rank along the rows; held fixed under differentiation."""
    order = jnp.argsort(lax.stop_gradient(x), axis=2)
    view, direction, _ = jnp.indices(x.shape, order.dtype, sparse=True)
    values = jnp.broadcast_to(jnp.asarray(values, x.dtype)[None, None, :], x.shape)
    return jnp.zeros_like(x).at[view, direction, order].set(values, unique_indices=True)


def prepare(
    z: Float[ArrayLike, "*views batch dim"],
    key: PRNGKeyArray | None,
    directions: Float[ArrayLike, "dim directions"] | None,
    n_directions: int,
    pooled: bool,
    axis_name: Axes,
) -> tuple[Float[Array, "samples rows dim"], Float[Array, "dim directions"]]:
    """Rows by view, or all in one, and directions, both in the accumulator's dtype."""
    check_flags(pooled=pooled)
    rows = as_views(z)
    if pooled:
        rows = rows.reshape(1, -1, rows.shape[2])
    if (key is None) == (directions is None):
        given = "neither is" if key is None else "both are"
        raise ValueError(
            f"Pass either key, from which directions are drawn, or directions; {given} given."
        )
    if directions is None:
        n_directions = whole_number("n_directions", n_directions)
        directions = random_directions(key, rows.shape[2], n_directions, rows.dtype)
    check_floating(directions=directions)
    if directions.ndim != 2 or len(directions) != rows.shape[2] or directions.shape[1] == 0:
        raise ValueError(
            f"directions has shape {directions.shape} and z {z.shape}; directions must be "
            f"[{rows.shape[2]}, directions], a unit vector in each column."
        )
    _check_the_same_everywhere(directions, axis_name)
    return rows, lax.stop_gradient(jnp.asarray(directions, rows.dtype))


def as_views(z: Float[ArrayLike, "*views batch dim"]) -> Float[Array, "n_views batch dim"]:
    """Rows by view in the accumulator's dtype, a single view being one of one."""
    check_floating(z=z)
    if z.ndim not in (2, 3) or 0 in z.shape:
        raise ValueError(
            f"z has shape {z.shape}; it must be [batch, dim] or [views, batch, dim], none of them 0."
        )
    wide = widen(jnp.asarray(z))
    return wide if z.ndim == 3 else wide[None]


def _check_the_same_everywhere(directions, axis_name):
    """Refuses directions that differ between devices, where JAX keeps account of it."""
    if axis_name is None:
        return
    names = {axis_name} if isinstance(axis_name, str) else set(axis_name)
    varies = names & varying(directions)
    if varies:
        raise ValueError(
            f"The directions differ between the devices of axis {', '.join(sorted(varies))}; pass "
            "key or directions replicated, with in_specs of P() in jax.shard_map."
        )


def _cut(directions: Array, block: int, multiple: int = 1) -> Float[Array, "blocks dim block"]:
    """Blocks of directions, a multiple of so many, the last filled up with zeros."""
    dim, count = directions.shape
    block = min(whole_number("block", block), count)
    n_blocks = -(-count // (block * multiple)) * multiple
    padded = jnp.pad(directions, ((0, 0), (0, n_blocks * block - count)))
    return padded.reshape(dim, n_blocks, block).transpose(1, 0, 2)


def _join(blocks: Float[ArrayLike, "blocks ... block"]) -> Float[Array, "... directions"]:
    """The last axis of all blocks as one."""
    joined = jnp.moveaxis(blocks, 0, -2)
    return joined.reshape(*joined.shape[:-2], -1)


def _split(values: Array, blocks: Float[ArrayLike, "blocks dim block"]) -> Array:
    """The inverse of `_join`."""
    return jnp.moveaxis(values.reshape(*values.shape[:-1], len(blocks), -1), -2, 0)


def _over_all_rows(
    function: Callable,
    rows: Array,
    directions: Array,
    block: int,
    axis_name: Axes,
) -> Float[Array, ""]:
    """Mean over directions and views of a function of all rows' projections.

    The function takes [views, block, batch], which sorts along its last axis, to [views, block].
    Every device takes a share of the directions and all rows.
    """
    count = directions.shape[1]
    n_devices = 1 if axis_name is None else lax.axis_size(axis_name)
    blocks = _cut(directions, block, n_devices)
    n_blocks, _, width = blocks.shape
    is_real = (jnp.arange(n_blocks * width) < count).reshape(n_blocks, width)
    if axis_name is not None:
        share = n_blocks // n_devices
        first = lax.axis_index(axis_name) * share
        blocks, is_real = (lax.dynamic_slice_in_dim(x, first, share) for x in (blocks, is_real))
        rows = gather(rows.transpose(1, 0, 2), axis_name).transpose(1, 0, 2)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def of_block(directions):
        how = {"precision": lax.Precision.HIGHEST}
        return function(jnp.einsum("vnd,db->vbn", rows, directions, **how))

    found = lax.map(of_block, blocks)
    total = jnp.sum(jnp.where(is_real[:, None, :], found, 0))
    return over_devices(lax.psum, total, axis_name) / (count * rows.shape[0])
