"""Representations of rows by all members, in evaluation mode."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PyTree

from infonce_jax.encoders import TwoTowers
from infonce_jax.training.members import Hyper, Layout, over_members, to_grid, to_list
from infonce_jax.training.method import Method, draw_two_views
from infonce_jax.training.model import encode
from infonce_jax.training.state import member_keys

VIEWS = ("clean", "view1", "view2")


def encode_rows(
    method: Method,
    layout: Layout,
    params: PyTree,
    batch_stats: PyTree,
    rows: Num[Array, "n ..."],
    hyper: Hyper,
) -> Float[Array, "members n dim"]:
    """Representations of rows."""

    def one(variables, hyper):
        del hyper
        return _clean(method, variables, rows)

    variables = to_grid(layout, (params, batch_stats))
    return to_list(layout, over_members(layout, one, variables, hyper))


def encode_views(
    method: Method,
    layout: Layout,
    params: PyTree,
    batch_stats: PyTree,
    rows: Num[Array, "n ..."],
    labels: Int[Array, " n"] | None,
    first_row: Int[Array, ""],
    hyper: Hyper,
) -> dict[str, Float[Array, "members n dim"]]:
    """Representations of rows and of two views of them, by the names in `VIEWS`.

    The views follow from the member's seed and `first_row`, not from the training step.
    """

    def one(variables, hyper):
        key = jax.random.fold_in(member_keys(hyper["seed"]).embed, first_row)
        views = draw_two_views(method, key, rows, labels, hyper)
        if isinstance(method.model.encoder, TwoTowers):
            # A view of the first half of every pair, and one of the second half.
            z = [
                _clean(method, variables, rows),
                *jnp.split(_embedded(method, variables, views), 2),
            ]
            return dict(zip(VIEWS, z, strict=True))
        z = _embedded(method, variables, jnp.concatenate([method.clean(rows), views]))
        return dict(zip(VIEWS, jnp.split(z, 3), strict=True))

    variables = to_grid(layout, (params, batch_stats))
    return to_list(layout, over_members(layout, one, variables, hyper))


def _clean(
    method: Method, variables: tuple[PyTree, PyTree], rows: Num[Array, "n ..."]
) -> Float[Array, "n dim"]:
    x = method.clean(rows)
    if isinstance(method.model.encoder, TwoTowers):
        # The first half of a batch goes to the first tower.
        return _embedded(method, variables, jnp.concatenate([x, x]))[: x.shape[0]]
    return _embedded(method, variables, x)


def _embedded(
    method: Method, variables: tuple[PyTree, PyTree], inputs: Float[Array, "n ..."]
) -> Float[Array, "n dim"]:
    outputs, _ = encode(method.model, *variables, inputs, train=False)
    return getattr(outputs, method.model.embedded_output)
