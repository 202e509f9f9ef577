"""A configuration as compiled functions of arrays: binds, jits and shards the functions of `step.py`."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import config_dict

from infonce_jax import encoders
from infonce_jax.config import Member
from infonce_jax.data import Dataset
from infonce_jax.training import embed, step, streaming
from infonce_jax.training.distributed import place, place_rows
from infonce_jax.training.members import hyper_arrays, lay_out
from infonce_jax.training.method import make_method
from infonce_jax.training.optimizers import average_of
from infonce_jax.training.state import MemberState, TrainState


class Program(NamedTuple):
    """A configuration turned into functions of arrays, jitted.

    Attributes:
        init: `() -> TrainState`, untrained.
        advance: `(state, stop) -> (state, failed)`, trained up to step `stop`; `failed` is -1, or the
            first step at which a member's loss or gradient was not finite, which ends the loop. The
            state that is passed in is donated: its arrays are gone afterwards.
        encode: `(state, rows) -> [members, n, dim]`, in evaluation mode.
        encode_views: `(state, rows, labels | None, first_row) -> {view: [members, n, dim]}`, the rows
            and two views of them.
        lower: `() -> Lowered`, of `advance`, for its memory analysis.
        abstract_state: shapes of the state, with their shardings.
    """

    init: Callable[[], TrainState]
    advance: Callable[[TrainState, int], tuple[TrainState, Int[Array, ""]]]
    encode: Callable[..., Float[Array, "members n dim"]]
    encode_views: Callable[..., dict[str, Float[Array, "members n dim"]]]
    lower: Callable[[], jax.stages.Lowered]
    abstract_state: TrainState


def make_program(
    config: config_dict.ConfigDict,
    data: Dataset,
    members: Sequence[Member],
    mesh: Mesh | None = None,
) -> Program:
    """Turns a configuration into compiled functions of arrays.

    Members, and where there are more devices each batch, are spread over the mesh. A batch on several
    devices is still one batch: negatives and the statistics of BatchNorm come from all of it, so the
    result does not depend on how many devices there are, up to rounding.

    Examples:
        >>> from infonce_jax import data
        >>> from infonce_jax.config import default_config, members
        >>> config = default_config()
        >>> config.seeds = (0, 1)
        >>> config.data.dim, config.data.train_size, config.data.test_size = 8, 64, 16
        >>> config.encoder.embedding_dim, config.train.batch_size = 4, 16
        >>> program = make_program(config, data.load(config), members(config))
        >>> state, failed = program.advance(program.init(), 3)
        >>> int(failed)  # no step failed
        -1

    Args:
        config: a validated configuration.
        data: from `data.load`; arrays may be abstract where only shapes are wanted.
        members: from `config.members`.
        mesh: from `make_mesh`, which is the default.

    Raises:
        ValueError: for combinations that cannot be trained.
    """
    layout = lay_out(config, members, mesh)
    method = make_method(config, data, members, layout.mesh)
    hyper = hyper_arrays(config, members, layout)
    arrays = None if config.data.fresh else (data.train, data.train_labels)
    if method.is_streamed:
        arrays = streaming.abstract_batch(config, data.spec, layout)
    elif not _is_abstract(arrays):
        arrays = place(arrays, layout.replicated)
    # Metrics are on every device, for each process reads them all.
    members_state = MemberState(*[layout.per_member] * 3, metric_sums=layout.replicated)
    in_state = TrainState(layout.replicated, layout.replicated, members_state)

    def compiled(function, **options):
        return jax.jit(functools.partial(function, method, layout), **options)

    init = compiled(step.init, out_shardings=in_state)
    advance = compiled(
        step.advance_streamed if method.is_streamed else step.advance,
        out_shardings=(in_state, layout.replicated),
        donate_argnames="state",
    )
    encode = compiled(embed.encode_rows, out_shardings=layout.replicated)
    encode_views = compiled(embed.encode_views, out_shardings=layout.replicated)
    abstract = init.eval_shape(hyper, arrays, {})

    def advance_to(state, stop):
        return advance(state, hyper, arrays, np.int32(stop))

    if method.is_streamed:
        advance_one = functools.partial(advance, hyper=hyper)
        advance_to = streaming.make_advance(advance_one, config, data, members, layout)

    def weights(state):
        if config.train.average_decay:
            return average_of(state.members.opt_state)
        return state.members.params

    return Program(
        init=lambda: init(hyper, streaming.any_values(arrays), _published(config)),
        advance=advance_to,
        encode=lambda state, rows: encode(
            weights(state), state.members.batch_stats, place_rows(layout.mesh, rows), hyper
        ),
        encode_views=lambda state, rows, labels, first_row: encode_views(
            weights(state),
            state.members.batch_stats,
            place_rows(layout.mesh, rows),
            None if labels is None else place_rows(layout.mesh, labels),
            np.int32(first_row),
            hyper,
        ),
        lower=lambda: advance.lower(abstract, hyper, arrays, np.int32(1)),
        abstract_state=abstract,
    )


def _published(config: config_dict.ConfigDict) -> PyTree:
    """The checkpoint that a run starts from; read where it is started, not where it is resumed."""
    e = config.encoder
    if not e.init_from:
        return {}
    if e.name == "vit":
        encoders.check_vit_settings(e.init_from, e.num_heads, e.norm_epsilon)
    return encoders.read_weights(e.init_from)


def _is_abstract(tree: PyTree) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))
