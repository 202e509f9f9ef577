"""Gradient caching: batches larger than an encoder's activations allow."""

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
        ValueError: where `size` is below 1 or the inputs' first axes differ.

    References:
        Gao, Zhang, Han, Callan, `Scaling Deep Contrastive Learning Batch Size under Memory Limited
        Setup <https://arxiv.org/abs/2101.06983>`_, 2021.
    """
    if size < 1:
        raise ValueError(f"size is {size}; a micro-batch needs at least one example.")

    def apply(params: Any, *inputs: Array) -> Any:
        lengths = {len(leaf) for leaf in jax.tree.leaves(inputs)}
        if len(lengths) != 1:
            raise ValueError(
                f"The inputs have first axes {sorted(lengths)}; every array needs the same one, "
                "that of the batch. Close over what is not of the batch, or put it in params."
            )
        (batch,) = lengths

        # Rematerialisation saves the inputs of a micro-batch alone.
        @jax.checkpoint
        def encode_part(part):
            return encode(params, *part)

        whole = batch - batch % size
        outputs = []
        if whole:
            parts = jax.tree.map(lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), inputs)
            stacked = jax.lax.map(encode_part, parts)
            outputs.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), stacked))
        if batch % size:
            outputs.append(encode_part(jax.tree.map(lambda a: a[whole:], inputs)))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)

    return apply
