"""What the objectives share: normalisation, similarity, reduction and the checks of their input."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer, Num

Reduction = Literal["mean", "sum", "none"]
Similarity = Literal["inner_product", "squared_distance"]
# A number of rows: an int, or a symbolic dimension of `jax.export`, whose class JAX does not publish.
Size = Any
Axes = str | tuple[str, ...] | list[str] | None

# What belongs to the rows; NumPy's arrays are taken as well.
Ids = Integer[Array | np.ndarray, "batch"]
Mask = Bool[Array | np.ndarray, "batch"]
Weights = Num[Array | np.ndarray, "batch"]
# Masks have the columns of all devices.
PairMask = Bool[Array | np.ndarray, "batch all_candidates"]
Exclude = Ids | PairMask
Positives = Ids | tuple[Ids, Integer[Array | np.ndarray, " candidates"]] | PairMask

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Pairs(NamedTuple):
    """Rows whose inner products are the similarities, all in float32 (or float64).

    Attributes:
        x: rows of the first view.
        y: rows of the second view.
        negatives: rows of the candidates beside the batch, if there are any.
        positive: similarity of row i of both views; None if these differ in length.
    """

    x: Float[Array, "batch lifted"]
    y: Float[Array, "candidates lifted"]
    negatives: Float[Array, "queue lifted"] | None
    positive: Float[Array, " batch"] | None


def safe_normalize(z: Float[ArrayLike, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Projects rows on the unit sphere, u = z / ‖z‖, with u = 0 and a zero gradient at z = 0.

    Rows are first divided by their largest entry, so that neither tiny nor huge rows lose their
    direction to underflow or overflow of the square. Computed in float32 (or float64) and returned
    in the dtype of `z`.

    Examples:
        >>> infonce_jax.safe_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
        Array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)

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
    axis_name: Axes = None,
    negatives: Array | None = None,
    names: tuple[str, str] = ("z1", "z2"),
) -> Pairs:
    """Rows whose inner products are the similarities: on the sphere if `normalize`, lifted if asked.

    Everything from here on is computed in float32 (float64 for float64 rows), whatever dtype comes
    in: unit vectors rounded to bfloat16 would cost the gradient near the optimum most of its digits.
    """
    check_flags(normalize=normalize)
    rows = [widen(z) for z in (z1, z2, *([] if negatives is None else [negatives]))]
    if normalize:
        rows = [safe_normalize(z) for z in rows]
    else:
        named = dict(zip((*names, "negatives"), rows, strict=False))
        _check_products_are_finite(named)
    aligned = z1.shape == z2.shape
    if similarity == "inner_product":
        x, y, *others = rows
        positive = jnp.sum(x * y, axis=1) if aligned else None
    elif similarity == "squared_distance":
        # A translation does not change distances, and products about 0 cancel least.
        mean = jnp.mean(lax.stop_gradient(rows[1]), axis=0, keepdims=True)
        centre = over_devices(lax.pmean, mean, axis_name)
        x = _lift_anchors(rows[0] - centre)
        y, *others = (_lift_candidates(z - centre) for z in rows[1:])
        positive = -jnp.sum((rows[0] - rows[1]) ** 2, axis=1) if aligned else None
    else:
        raise ValueError(
            f"similarity is {similarity!r}; use 'inner_product' or 'squared_distance'. The cosine is "
            "'inner_product' with normalize=True, the default."
        )
    return Pairs(x, y, others[0] if others else None, positive)


def _check_products_are_finite(rows: dict[str, Array]) -> None:
    """Refuses rows whose inner products overflow, if their values are known."""
    if any(isinstance(z, jax.core.Tracer) for z in rows.values()):
        return
    for name, z in rows.items():
        largest = float(np.sqrt(np.max(np.sum(np.asarray(z, np.float64) ** 2, axis=1), initial=0)))
        # Logits and their differences stay finite for temperatures down to 1e-3 or so.
        if np.isfinite(largest) and largest**2 > 1e-4 * float(jnp.finfo(z.dtype).max):
            raise ValueError(
                f"{name} has a row of norm {largest:.1e}, whose inner products overflow {z.dtype}; "
                "divide the rows by a constant, or pass normalize=True for the cosine."
            )


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


def as_wide(value: Num[ArrayLike, "..."] | Size, *like: Array) -> Float[Array, "..."]:
    """A number in the accumulator's dtype, so that nothing is computed in that of a bfloat16 one."""
    return jnp.asarray(value, accumulator_dtype(jnp.result_type(*like)))


def objective(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """What every objective does before it computes: axis names, what varies, explicit sharding.

    `axis_name` may be a list. Arrays of rows have to vary over the axes named, or the same rows
    would be counted once per device. And arrays may be sharded over explicit axes of a mesh
    (`jax.make_mesh` makes them), over which every product would ask for the sharding of its result:
    inside the objective the compiler chooses it, as over automatic axes. The result is replicated,
    or for `reduction="none"` sharded as the rows of the first such array.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        axis_name = kwargs.get("axis_name")
        if axis_name is not None:
            kwargs["axis_name"] = axis_name = as_axes(axis_name)
            _check_varying(axis_name, signature.bind(*args, **kwargs).arguments)
        leaves, tree = jax.tree.flatten((args, kwargs))
        shardings = [jax.typeof(x).sharding for x in leaves if isinstance(x, jax.Array)]
        explicit = [s for s in shardings if s.mesh.explicit_axes]
        if not explicit:
            return function(*args, **kwargs)
        dynamic = [isinstance(x, jax.Array) for x in leaves]

        def of_arrays(*arrays):
            rest = iter(arrays)
            whole = [next(rest) if d else x for x, d in zip(leaves, dynamic, strict=True)]
            args, kwargs = jax.tree.unflatten(tree, whole)
            return function(*args, **kwargs)

        if any(s.mesh.manual_axes for s in explicit):
            raise ValueError(
                f"{function.__name__} is called inside jax.shard_map over some axes of a mesh whose "
                "others are explicit, which JAX cannot leave there; make the others automatic "
                "(jax.sharding.AxisType.Auto in jax.make_mesh), or map over all axes."
            )
        rows = next((s.spec[0] for s in explicit if len(s.spec)), None)
        out = P(rows) if kwargs.get("reduction") == "none" else P()
        arrays = [x for x, d in zip(leaves, dynamic, strict=True) if d]
        with jax.sharding.use_abstract_mesh(explicit[0].mesh):
            return jax.sharding.auto_axes(of_arrays, out_sharding=out)(*arrays)

    return wrapped


def as_axes(axis_name: Any) -> str | tuple[str, ...]:
    """One name, or a tuple of names."""
    if isinstance(axis_name, list | tuple):
        return tuple(axis_name)
    return axis_name


def _check_varying(axis_name, arguments) -> None:
    """Refuses arrays of rows that are the same on every device, where shard_map tracks that."""
    tracked = varying(lax.axis_index(axis_name))
    for name, value in arguments.items():
        if name in (
            "negatives",
            "key",
            "directions",
        ):  # these may, or have to, be the same everywhere
            continue
        for leaf in jax.tree.leaves(value):
            if not _is_array(leaf) or np.ndim(leaf) == 0:
                continue
            missing = sorted(tracked - varying(leaf))
            if missing:
                raise ValueError(
                    f"{name} does not vary over {', '.join(map(repr, missing))}, which axis_name "
                    f"({axis_name!r}) names: its rows are the same on every device of that axis and "
                    "would count once for each. Shard it over the axis in jax.shard_map's in_specs, "
                    "or leave the axis out of axis_name."
                )


def varying(value: Any) -> frozenset:
    """The mapped axes that a value varies over, as far as `jax.shard_map` tracks them."""
    return jax.typeof(value).manual_axis_type.varying


def row_weights(
    n_local: int,
    dtype: Any,
    where: Mask | None,
    weights: Weights | None,
) -> Float[Array, " batch"] | None:
    """What each row counts for: its weight, or 0 where the mask is False. None if all count 1."""
    if where is None:
        return None if weights is None else jnp.asarray(weights, dtype)
    counts = jnp.asarray(where).astype(dtype)
    return counts if weights is None else counts * jnp.asarray(weights, dtype)


def reduce(
    per_example: Float[ArrayLike, " batch"],
    reduction: Reduction,
    axis_name: Axes = None,
    weights: Float[ArrayLike, " batch"] | None = None,
) -> Float[Array, "..."]:
    """Mean or sum over the batch, of all devices if `axis_name` is given, or no reduction.

    With `weights` the sum is Σ w ℓ, the mean Σ w ℓ / Σ w, or 0 if all weights are 0.
    """
    check_reduction(reduction)
    if weights is not None:
        per_example = per_example * weights
    if reduction == "none":
        return per_example
    if reduction == "mean" and weights is None:
        return over_devices(lax.pmean, jnp.mean(per_example), axis_name)
    total = over_devices(lax.psum, jnp.sum(per_example), axis_name)
    return total if reduction == "sum" else total / _sum_of(weights, axis_name)


def shares(
    n_local: int,
    dtype: Any,
    reduction: Reduction,
    axis_name: Axes,
    weights: Float[ArrayLike, " batch"] | None,
) -> Float[Array, " batch"]:
    """What each row's loss is multiplied by, so that the sum over all devices is the reduction."""
    if weights is None:
        ones = jnp.ones(n_local, dtype)
        return ones if reduction == "sum" else ones / global_size(n_local, axis_name)
    return weights if reduction == "sum" else weights / _sum_of(weights, axis_name)


def _sum_of(weights, axis_name):
    total = over_devices(lax.psum, jnp.sum(weights), axis_name)
    return jnp.where(total == 0, 1, total)


def without_masked(where: Mask | None, *rows: Array | None) -> list[Array | None]:
    """Rows with zeros where the mask is False: what padding holds reaches neither sums nor gradients."""
    if where is None:
        return list(rows)
    kept = jnp.asarray(where)[:, None]
    return [z if z is None else jnp.where(kept, jnp.asarray(z), 0) for z in rows]


def over_devices(collective: Callable[..., Array], value: Array, axis_name: Axes) -> Array:
    """`lax.psum`, `lax.pmean`, … of every device's value, or the value if no axis is named."""
    return value if axis_name is None else collective(value, axis_name)


def gather(value: Array, axis_name: Axes) -> Array:
    """The rows of all devices."""
    if axis_name is None:
        return value
    return lax.all_gather(value, axis_name, axis=0, tiled=True)


def global_size(n_local: Size, axis_name: Axes) -> Size:
    """Number of rows of all devices."""
    return n_local if axis_name is None else n_local * lax.axis_size(axis_name)


def number_of_rows(n: Size, where: Mask | None, axis_name: Axes) -> Num[Array, ""] | Size:
    """Rows of all devices that count."""
    if where is None:
        return global_size(n, axis_name)
    total = over_devices(lax.psum, jnp.sum(jnp.asarray(where)), axis_name)
    return jnp.maximum(total, 1)


def is_below(n: Size, least: int) -> bool:
    """Whether n < least; a symbolic size of `jax.export` is taken to be large enough."""
    return isinstance(n, int) and n < least


def global_index(n_local: Size, axis_name: Axes) -> Int[Array, " batch"]:
    """Positions of this device's rows among the rows of all devices."""
    first = 0 if axis_name is None else lax.axis_index(axis_name) * n_local
    return first + jnp.arange(n_local)


def own_mask(n_local: Size, axis_name: Axes) -> Bool[Array, "batch candidates"]:
    """True where a column of all devices' rows is this device's row itself."""
    columns = jnp.arange(global_size(n_local, axis_name))
    return global_index(n_local, axis_name)[:, None] == columns[None, :]


def as_ids(ids: Any) -> Integer[Array, " batch"]:
    """Integer ids as a JAX array in which equal stays equal and different stays different.

    NumPy's 64-bit integers are replaced by their ranks if JAX would cut them to 32 bits.
    """
    if unwrap := getattr(ids, "__jax_array__", None):
        ids = unwrap()
    if isinstance(ids, np.ndarray) and jax.dtypes.canonicalize_dtype(ids.dtype) != ids.dtype:
        _, ids = np.unique(ids, return_inverse=True)
        ids = ids.astype(np.int32)
    return jnp.asarray(ids)


def known(value: Any) -> np.ndarray | None:
    """An array's values if they are known, and None while it is traced."""
    if unwrap := getattr(value, "__jax_array__", None):
        value = unwrap()
    return None if isinstance(value, jax.core.Tracer) else np.asarray(value)


def warn_if_nothing_is_left(name: str, mask_or_ids: Any) -> None:
    """Warns if known ids or a known mask leave some row without any negative."""
    values = known(mask_or_ids)
    if values is None or len(values) < 2:
        return
    if values.ndim == 1:
        empty = len(values) if (values == values[0]).all() else 0
    else:
        left = ~values
        if left.shape[0] == left.shape[1]:
            left = left & ~np.eye(len(left), dtype=bool)
        empty = int(np.sum(~left.any(axis=1)))
    if empty:
        warnings.warn(
            f"{name} leaves {empty} of {len(values)} rows without a negative; their loss is 0.",
            stacklevel=2,
        )


def check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; use 'mean', 'sum' or 'none'.")


def check_pair(
    z1: Array,
    z2: Array,
    names: tuple[str, str] = ("z1", "z2"),
    same_length: bool = True,
) -> None:
    check_arrays(**dict(zip(names, (z1, z2), strict=True)))
    shapes = f"{names[0]} has shape {z1.shape} and {names[1]} {z2.shape}; both must be [batch, dim]"
    if z1.ndim != 2 or z2.ndim != 2 or z1.shape[1] != z2.shape[1]:
        raise ValueError(f"{shapes}, of the same dim.")
    if same_length and z1.shape != z2.shape:
        raise ValueError(
            f"{shapes}, and row i of one is the positive of row i of the other. For more candidates "
            "than queries pass the others as negatives, or say which rows belong together."
        )
    if is_below(z1.shape[0], 1) or is_below(z2.shape[0], 1):
        raise ValueError(
            f"The batch is empty ({names[0]} has shape {z1.shape}); pass at least one pair."
        )
    check_floating(**dict(zip(names, (z1, z2), strict=True)))


def check_rows(n: Size, where: Any = None, weights: Any = None) -> None:
    """Checks a mask and weights of `n` rows."""
    if where is not None:
        check_arrays(where=where)
        if np.shape(where) != (n,) or jnp.result_type(where) != jnp.bool_:
            raise ValueError(
                f"where has shape {np.shape(where)} and dtype {jnp.result_type(where)}; pass a "
                f"boolean mask of the rows [{n}], True where a row counts."
            )
    if weights is not None:
        check_arrays(weights=weights)
        dtype = jnp.result_type(weights)
        real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
        if np.shape(weights) != (n,) or not real:
            raise ValueError(
                f"weights has shape {np.shape(weights)} and dtype {dtype}; pass one real number per "
                f"row [{n}]."
            )
        values = known(weights)
        if values is not None and not (values >= 0).all():
            raise ValueError(f"weights has {values.min()} among its values; pass none below 0.")


def check_negatives(negatives: Array, dim: int) -> None:
    check_floating(negatives=negatives)
    if negatives.ndim != 2 or negatives.shape[1] != dim or is_below(negatives.shape[0], 1):
        raise ValueError(
            f"negatives has shape {negatives.shape}; it must be [queue, {dim}] with at least one row,"
            " of the dimension of the batch."
        )


def check_arrays(**arrays: Any) -> None:
    for name, value in arrays.items():
        if not _is_array(value):
            # A queue, for one.
            fields = getattr(value, "_fields", ())
            within = (
                f", such as its field {fields[0]!r}" if fields else ", such as jnp.asarray makes"
            )
            raise TypeError(f"{name} is a {type(value).__name__}; pass an array{within}.")


def check_floating(**arrays: Any) -> None:
    check_arrays(**arrays)
    for name, z in arrays.items():
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise TypeError(f"{name} has dtype {z.dtype}; cast it to a floating-point dtype.")
        if z.dtype.itemsize < 2:
            raise TypeError(
                f"{name} has dtype {z.dtype}, in which its gradient would round to zero; pass "
                f"{name}.astype(jnp.bfloat16), or a wider dtype."
            )


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


def static_scalar(name: str, value: Num[ArrayLike, ""] | float) -> float | int:
    """A number that decides what is computed, as Python's, of whatever kind it is given."""
    check_static(**{name: value})
    check_scalars(**{name: value})
    return np.asarray(value).item()


def whole_number(name: str, value: Num[ArrayLike, ""], least: int = 1) -> int:
    """A static whole number, of whatever kind it is given."""
    value = static_scalar(name, value)
    if not (value >= least and value % 1 == 0):
        raise ValueError(f"{name} is {value}; pass a whole number, at least {least}.")
    return int(value)


def check_positive(name: str, value: Num[ArrayLike, "..."] | float, hint: str) -> None:
    check_scalars(**{name: value})
    _check_values_are_positive(name, value, hint)


def check_temperature(
    temperature: Any,
    n: Size,
    name: str = "temperature",
    hint: str = "0.05 to 1 is usual",
) -> None:
    """A positive number, or one for each of the `n` rows of the batch."""
    if not _is_array(temperature) or np.ndim(temperature) == 0:
        check_scalars(**{name: temperature})
    elif np.shape(temperature) != (n,):
        raise ValueError(
            f"{name} must be a scalar, it has shape {np.shape(temperature)}; pass a number, a 0-d "
            f"array or one number per row [{n}], and map over several values with jax.vmap."
        )
    elif not jnp.issubdtype(jnp.result_type(temperature), jnp.floating):
        raise TypeError(f"{name} has dtype {jnp.result_type(temperature)}; pass real numbers.")
    _check_values_are_positive(name, temperature, hint)


def _check_values_are_positive(name: str, value: Any, hint: str) -> None:
    values = known(value)
    if values is None:
        return
    wide = values.astype(np.float64)
    if not (wide > 0).all():
        raise ValueError(f"{name} is {values}; it must be positive ({hint}).")
    limits = np.finfo(np.float32)
    if not (np.isfinite(wide).all() and (wide >= float(limits.tiny)).all()):
        raise ValueError(
            f"{name} is {values}, outside of the normal numbers of float32, {limits.tiny:.1e} to "
            f"{limits.max:.1e}; it must lie within them ({hint})."
        )


def _is_array(value: Any) -> bool:
    # By __jax_array__ the variables of flax and others pass for arrays.
    kinds = jax.Array | np.ndarray | np.generic
    return isinstance(value, kinds) or hasattr(value, "__jax_array__")
