"""What the objectives share: normalisation, similarity, reduction and the checks of their input."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Num

Reduction = Literal["mean", "sum", "none"]
Similarity = Literal["inner_product", "squared_distance"]


class Pairs(NamedTuple):
    """Rows whose inner products are the similarities, and the similarity of each positive pair.

    Attributes:
        x: of the first view.
        y: of the second view.
        negatives: of candidates beside the batch, where there are any.
        positive: similarity of row i of both views.
    """

    x: Float[Array, "batch lifted"]
    y: Float[Array, "batch lifted"]
    negatives: Float[Array, "queue lifted"] | None
    positive: Float[Array, "batch"]


def safe_normalize(z: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Projects rows on the unit sphere, u = z / ‖z‖, with u = 0 and a zero gradient at z = 0.

    Rows are first divided by their largest entry, so that neither tiny nor huge rows lose their
    direction to underflow or overflow of the square. Computed in float32 (or float64) and returned
    in the dtype of `z`.

    Raises:
        TypeError: where `z` is no array, or not floating point.
    """
    check_floating(z=z)
    z = jnp.asarray(z)
    wide = widen(z)
    # u does not depend on the scale of z, so the gradient through the scale is exactly zero.
    scale = lax.stop_gradient(jnp.max(jnp.abs(wide), axis=-1, keepdims=True))
    is_zero = scale == 0
    wide = wide / jnp.where(is_zero, 1, scale)
    square = jnp.sum(wide**2, axis=-1, keepdims=True)
    # The square of a zero row is replaced before the root: a `where` after it would still leave NaN
    # in the gradient.
    inverse_norm = jnp.where(is_zero, 0, lax.rsqrt(jnp.where(is_zero, 1, square)))
    return (wide * inverse_norm).astype(z.dtype)


def make_pairs(
    z1: Array,
    z2: Array,
    normalize: bool,
    similarity: Similarity = "inner_product",
    axis_name: str | tuple[str, ...] | None = None,
    negatives: Array | None = None,
) -> Pairs:
    """The rows on the sphere, where `normalize`, and lifted to where similarity is a product."""
    check_flags(normalize=normalize)
    rows = [z1, z2] if negatives is None else [z1, z2, negatives]
    if normalize:
        rows = [safe_normalize(z) for z in rows]
    wide1, wide2, *wide_negatives = (widen(z) for z in rows)
    if similarity == "inner_product":
        x, y, *others = rows
        positive = jnp.sum(wide1 * wide2, axis=1)
    elif similarity == "squared_distance":
        # Distances do not change under a translation, and the products cancel least about 0.
        centre = over_devices(lax.pmean, jnp.mean(lax.stop_gradient(wide2), axis=0), axis_name)
        x = _lift_anchors(wide1 - centre)
        y, *others = (_lift_candidates(z - centre) for z in (wide2, *wide_negatives))
        positive = -jnp.sum((wide1 - wide2) ** 2, axis=1)
    else:
        raise ValueError(
            f"similarity is {similarity!r}; use 'inner_product' or 'squared_distance'. The cosine is "
            "'inner_product' with normalize=True, the default."
        )
    return Pairs(x, y, others[0] if others else None, positive)


# -‖x - y‖² is the inner product of (2x, -‖x‖², 1) and (y, 1, -‖y‖²).


def _lift_anchors(x):
    square = jnp.sum(x**2, axis=1, keepdims=True)
    return jnp.concatenate([2 * x, -square, jnp.ones_like(square)], axis=1)


def _lift_candidates(y):
    square = jnp.sum(y**2, axis=1, keepdims=True)
    return jnp.concatenate([y, jnp.ones_like(square), -square], axis=1)


def accumulator_dtype(dtype: Any) -> np.dtype:
    """What sums of products are held in: float32, or float64 where the products are."""
    is_double = jax.dtypes.canonicalize_dtype(dtype) == jnp.float64
    return jnp.dtype(jnp.float64 if is_double else jnp.float32)


def widen(z: Array) -> Array:
    """In float32, or float64 where `z` is."""
    return z.astype(accumulator_dtype(z.dtype))


def as_scalar(value: Num[Array, ""] | float, *like: Array) -> Float[Array, ""]:
    """A scalar in the accumulator's dtype, so that nothing is computed in that of a bfloat16 one."""
    return jnp.asarray(value, accumulator_dtype(jnp.result_type(*like)))


def with_auto_axes(objective: Callable[..., Any]) -> Callable[..., Any]:
    """Lets an objective take arrays that are sharded over explicit axes of a mesh.

    With these (`jax.make_mesh` makes them) every product of two sharded arrays asks for the sharding
    of its result. Inside the objective the compiler chooses it, as over automatic axes; what comes
    out is replicated, or for `reduction="none"` sharded as the rows of the first such array.
    """

    @functools.wraps(objective)
    def wrapped(*args, **kwargs):
        leaves, tree = jax.tree.flatten((args, kwargs))
        shardings = [jax.typeof(x).sharding for x in leaves if isinstance(x, jax.Array)]
        explicit = [s for s in shardings if s.mesh.explicit_axes]
        if not explicit:
            return objective(*args, **kwargs)
        dynamic = [isinstance(x, jax.Array) for x in leaves]

        def of_arrays(*arrays):
            rest = iter(arrays)
            whole = [next(rest) if d else x for x, d in zip(leaves, dynamic, strict=True)]
            args, kwargs = jax.tree.unflatten(tree, whole)
            return objective(*args, **kwargs)

        if any(s.mesh.manual_axes for s in explicit):
            raise ValueError(
                f"{objective.__name__} is called inside jax.shard_map over some axes of a mesh whose "
                "others are explicit, which JAX cannot leave there; make the others automatic "
                "(jax.sharding.AxisType.Auto in jax.make_mesh), or map over all axes."
            )
        rows = next((s.spec[0] for s in explicit if len(s.spec)), None)
        out = P(rows) if kwargs.get("reduction") == "none" else P()
        arrays = [x for x, d in zip(leaves, dynamic, strict=True) if d]
        with jax.sharding.use_abstract_mesh(explicit[0].mesh):
            return jax.sharding.auto_axes(of_arrays, out_sharding=out)(*arrays)

    return wrapped


def reduce(
    per_example: Float[Array, "batch"],
    reduction: Reduction,
    axis_name: str | tuple[str, ...] | None = None,
) -> Float[Array, "..."]:
    """Mean or sum over the batch, of all devices where `axis_name` is given, or no reduction."""
    check_reduction(reduction)
    if reduction == "none":
        return per_example
    if reduction == "mean":
        return over_devices(lax.pmean, jnp.mean(per_example), axis_name)
    return over_devices(lax.psum, jnp.sum(per_example), axis_name)


def over_devices(
    collective: Callable[..., Array], value: Array, axis_name: str | tuple[str, ...] | None
) -> Array:
    """`lax.psum`, `lax.pmean`, … of every device's value, or the value where no axis is named."""
    return value if axis_name is None else collective(value, axis_name)


def gather(value: Array, axis_name: str | tuple[str, ...] | None) -> Array:
    """The rows of all devices."""
    if axis_name is None:
        return value
    return lax.all_gather(value, axis_name, axis=0, tiled=True)


def global_size(n_local: int, axis_name: str | tuple[str, ...] | None) -> int:
    """Rows of all devices."""
    return n_local if axis_name is None else n_local * lax.axis_size(axis_name)


def global_index(n_local: int, axis_name: str | tuple[str, ...] | None) -> Int[Array, "batch"]:
    """Where this device's rows stand among the rows of all devices."""
    first = 0 if axis_name is None else lax.axis_index(axis_name) * n_local
    return first + jnp.arange(n_local)


def own_mask(
    n_local: int, axis_name: str | tuple[str, ...] | None
) -> Bool[Array, "batch candidates"]:
    """True where a column of all devices' rows is this device's row itself."""
    columns = jnp.arange(global_size(n_local, axis_name))
    return global_index(n_local, axis_name)[:, None] == columns


def check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; use 'mean', 'sum' or 'none'.")


def check_pair(z1: Array, z2: Array, names: tuple[str, str] = ("z1", "z2")) -> None:
    check_arrays(**dict(zip(names, (z1, z2), strict=True)))
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise ValueError(
            f"{names[0]} has shape {z1.shape} and {names[1]} {z2.shape}; both must be [batch, dim],"
            " row i of one being the positive of row i of the other."
        )
    if z1.shape[0] == 0:
        raise ValueError(
            f"The batch is empty ({names[0]} has shape {z1.shape}); pass at least one pair."
        )
    check_floating(**{names[0]: z1, names[1]: z2})


def check_negatives(negatives: Array, dim: int) -> None:
    check_floating(negatives=negatives)
    if negatives.ndim != 2 or negatives.shape[1] != dim or len(negatives) == 0:
        raise ValueError(
            f"negatives has shape {negatives.shape}; it must be [queue, {dim}] with at least one row,"
            " of the dimension of the batch."
        )


def check_arrays(**arrays: Array) -> None:
    for name, value in arrays.items():
        if not _is_array(value):
            raise TypeError(
                f"{name} is a {type(value).__name__}; pass an array, such as jnp.asarray makes."
            )


def check_floating(**arrays: Array) -> None:
    check_arrays(**arrays)
    for name, z in arrays.items():
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise TypeError(f"{name} has dtype {z.dtype}; cast it to a floating-point dtype.")


def check_static(**options: Any) -> None:
    """Refuses options that `jax.jit` has made an argument, though they decide what is computed."""
    for name, value in options.items():
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
            raise TypeError(
                f"{name} is traced, but it is a static option, which decides what is compiled. Close "
                f"over it, as in jax.jit(functools.partial(loss, {name}=...)), or name it in "
                f"jax.jit(loss, static_argnames={name!r})."
            )


def check_flags(**flags: bool) -> None:
    check_static(**flags)
    for name, value in flags.items():
        # NumPy compares, here and below: under jit jax.numpy would trace known arrays too.
        kinds = bool | int | np.bool_ | np.ndarray | jax.Array
        if (
            not isinstance(value, kinds)
            or np.shape(value)
            or np.asarray(value) not in (True, False)
        ):
            raise TypeError(f"{name} is {value!r}; pass True or False.")


def check_scalars(**scalars: Num[Array, ""] | float) -> None:
    """Refuses what is not one real number; shape and dtype of a traced one are known too."""
    for name, value in scalars.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            continue
        if not _is_array(value):
            raise TypeError(
                f"{name} is {value!r}, of type {type(value).__name__}; pass a number or a 0-d array."
            )
        if np.shape(value) != ():
            raise ValueError(
                f"{name} must be a scalar, it has shape {np.shape(value)}; pass a number or a 0-d "
                "array, and map over several values with jax.vmap."
            )
        if not (
            jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
        ):
            raise TypeError(f"{name} has dtype {value.dtype}; pass a real number.")


def static_scalar(name: str, value: Num[Array, ""] | float) -> float | int:
    """A number that decides what is computed, as Python's, of whatever kind it is given."""
    check_static(**{name: value})
    check_scalars(**{name: value})
    return np.asarray(value).item()


def check_positive(name: str, value: Num[Array, ""] | float, hint: str) -> None:
    check_scalars(**{name: value})
    if unwrap := getattr(value, "__jax_array__", None):
        value = unwrap()
    # A traced value is not known yet.
    if not isinstance(value, jax.core.Tracer) and not np.asarray(value) > 0:
        raise ValueError(f"{name} is {value}; it must be positive ({hint}).")


def check_temperature(temperature: Num[Array, ""] | float) -> None:
    check_positive("temperature", temperature, "0.05 to 1 is usual")


def _is_array(value: Any) -> bool:
    # By __jax_array__ the variables of flax and others pass for arrays.
    kinds = jax.Array | np.ndarray | np.generic
    return isinstance(value, kinds) or hasattr(value, "__jax_array__")
