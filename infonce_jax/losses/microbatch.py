"""Gradient caching: batches larger than an encoder's activations allow."""

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

    Exact for encoders that treat every example alone. Random layers need their keys as an input,
    one per example (`jax.random.split(key, batch)`), which are then the same in both passes.
    Not exact where examples meet inside of the encoder: batch normalisation in training mode takes
    the statistics of the micro-batch instead of the batch's.

    Example:
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
        size: examples in a micro-batch. The last one may be smaller.

    Returns:
        A function with the arguments of `encode`.

    Raises:
        TypeError: where `size` is no integer.
        ValueError: where `size` is below 1, the inputs' first axes differ or are empty, or `encode`
            returns something without the batch's axis.

    References:
        Gao, Zhang, Han, Callan, `Scaling Deep Contrastive Learning Batch Size under Memory Limited
        Setup <https://arxiv.org/abs/2101.06983>`_, 2021.
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

        # Rematerialisation saves the inputs of a micro-batch alone.
        @jax.checkpoint
        def encode_part(part):
            return encode(params, *part)

        whole = batch - batch % size
        outputs = []
        if whole:
            # A micro-batch takes examples from all over the batch: where that is sharded over devices,
            # so is each micro-batch then, and not the loop over them.
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
