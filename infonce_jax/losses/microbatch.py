"""Gradient caching: batches larger than an encoder's activations allow."""

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def microbatched(encode: Callable[..., Any], size: int) -> Callable[..., Any]:
    """An encoder that sees `size` examples at a time and keeps no activations of them.

    `microbatched(encode, size)(params, *inputs)` is `encode(params, *inputs)` by micro-batches
    along the first axis of every array in `inputs`. Only the outputs are kept; the backward pass
    encodes each micro-batch a second time, for the gradient of the loss with respect to its
    outputs. So a loss over all the outputs sees the whole batch, its gradient is exact, and memory
    is that of the embeddings and of one micro-batch's activations. This is gradient caching, at
    the price of one more forward pass.

    Call it inside of `jax.jit`: outside, its loop is compiled in every call.

    Exact for encoders that treat every example alone. Random layers need their keys as an input,
    one per example (`jax.random.split(key, batch)`), which are then the same in both passes.
    Not exact where examples meet inside of the encoder: batch normalisation in training mode takes
    the statistics of the micro-batch instead of the batch's.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from infonce_jax import infonce
        >>> encode = microbatched(lambda w, x: jnp.tanh(x @ w), 16)
        >>> x = jax.random.normal(jax.random.key(0), (64, 8))
        >>> loss = lambda w: infonce(encode(w, x), encode(w, 0.9 * x), temperature=0.5)
        >>> jax.grad(loss)(jnp.eye(8)).shape
        (8, 8)

    Args:
        encode: function of parameters and of arrays whose first axis is the batch, to arrays whose
            first axis is the batch.
        size: examples in a micro-batch. The last one may be smaller, unless the batch is sharded
            over explicit axes of a mesh: then `size` has to divide the batch, and the number of
            shards has to divide `size`.

    Returns:
        A function with the arguments of `encode`.

    Raises:
        TypeError: if `size` is not an integer.
        ValueError: if `size` is below 1 or does not fit the sharding, the inputs' first axes differ
            or are empty, or `encode` returns something without the batch's axis.

    References:
        Gao, Zhang, Han, Callan, [Scaling Deep Contrastive Learning Batch Size under Memory Limited
        Setup](https://arxiv.org/abs/2101.06983), 2021.
    """
    try:
        size = operator.index(size)
    except TypeError:
        raise TypeError(
            f"size is {size!r}; pass the examples in a micro-batch, an integer."
        ) from None
    if size < 1:
        raise ValueError(f"size is {size}; a micro-batch needs at least one example.")

    def apply(params: Any, *inputs: Array) -> Any:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(inputs)]
        if not all(shapes) or not shapes:
            raise ValueError(
                f"The inputs have shapes {shapes}; pass at least one array, and only arrays whose "
                "first axis is the batch. Close over what is not of the batch, or put it in params."
            )
        lengths = {shape[0] for shape in shapes}
        if len(lengths) != 1:
            raise ValueError(
                f"The inputs have first axes {sorted(lengths)}; every array needs the same one, "
                "that of the batch. Close over what is not of the batch, or put it in params."
            )
        (batch,) = lengths
        if not batch:
            raise ValueError("The batch is empty; pass at least one example.")
        _check_shards(batch, size, inputs)

        # Rematerialisation saves only the inputs of a micro-batch.
        @jax.checkpoint
        def encode_part(part):
            return encode(params, *part)

        whole = batch - batch % size
        outputs = []
        if whole:
            # A micro-batch takes examples from all over the batch: if that is sharded over devices, so
            # is each micro-batch, and not the loop over them.
            def split(a):
                return a[:whole].reshape(size, -1, *a.shape[1:]).swapaxes(0, 1)

            def join(a):
                if a.shape[1:2] != (size,):
                    raise ValueError(
                        f"encode returns an array of shape {a.shape[1:]} for a micro-batch of {size} "
                        "examples; it must return arrays whose first axis is the batch."
                    )
                return a.swapaxes(0, 1).reshape(whole, *a.shape[2:])

            stacked = jax.lax.map(encode_part, jax.tree.map(split, inputs))
            outputs.append(jax.tree.map(join, stacked))
        if batch % size:
            outputs.append(encode_part(jax.tree.map(lambda a: a[whole:], inputs)))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)

    return apply


def _check_shards(batch: int, size: int, inputs: Any) -> None:
    """Refuses micro-batches that explicit sharding of the batch cannot be divided into."""
    for leaf in jax.tree.leaves(inputs):
        if not isinstance(leaf, jax.Array):
            continue
        sharding = jax.typeof(leaf).sharding
        axes = sharding.spec[0] if sharding.mesh.explicit_axes and len(sharding.spec) else None
        axes = (axes,) if isinstance(axes, str) else axes or ()
        shards = math.prod(sharding.mesh.shape[axis] for axis in axes)
        if shards > 1 and (batch % size or size % shards):
            raise ValueError(
                f"size is {size}, and the batch of {batch} examples has {shards} shards over explicit "
                f"axes of a mesh; pass a size that divides {batch} and is a multiple of {shards}."
            )
