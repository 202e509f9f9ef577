"""Training as a pure function of (seed, hyperparameters), compiled once for all members.

`make_program` turns a configuration into functions of arrays. The state of all members travels
together; nothing else does: which rows a step sees and how they are augmented follows from the seed
and the step number, so a run continues from its state alone, to the bit.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, Num, PyTree
from ml_collections import config_dict

from infonce_jax import encoders, losses, theory
from infonce_jax.config import HYPERPARAMETERS, Member
from infonce_jax.data import (
    Dataset,
    DataSpec,
    law_parameters,
    make_batch,
    make_view,
    to_float,
)
from infonce_jax.objectives import TWO_VIEW_OBJECTIVES, objective_terms
from infonce_jax.optimizers import make_optimizer, unit_schedule

Hyper = Mapping[str, Num[Array, "..."]]


class MemberState(NamedTuple):
    """What training has learnt so far; every leaf has a leading axis of members.

    Attributes:
        params: of the encoder, and of the classifier or the temperature where they are learned.
        batch_stats: running moments of BatchNorm.
        opt_state: the optimizer's.
        metric_sums: of each metric since the last logging step.
    """

    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    metric_sums: dict[str, Float[Array, "..."]]


class TrainState(NamedTuple):
    """The whole state of a run.

    Attributes:
        step: optimiser steps taken.
        metric_steps: steps summed in `metric_sums`.
        members: the state of all members.
    """

    step: Int[Array, ""]
    metric_steps: Int[Array, ""]
    members: MemberState


class Keys(NamedTuple):
    """A member's keys, by purpose."""

    init: Key[Array, ""]
    batch: Key[Array, ""]
    view: Key[Array, ""]
    embed: Key[Array, ""]


class Program(NamedTuple):
    """A configuration turned into functions of arrays, jitted.

    Attributes:
        init: `() -> TrainState`, untrained.
        advance: `(state, stop) -> (state, failed)`, trained up to step `stop`; `failed` is -1, or the
            first step at which a member's loss or gradient was not finite, which ends the loop.
        encode: `(state, rows) -> [members, n, dim]`, in evaluation mode.
        represent: `(state, rows, first_row) -> {view: [members, n, dim]}`, the same of the rows and of
            two views of them.
        lower: `() -> Lowered`, of `advance`, for its memory analysis.
        abstract_state: shapes of the state, with their shardings.
    """

    init: Callable[[], TrainState]
    advance: Callable[[TrainState, int], tuple[TrainState, Int[Array, ""]]]
    encode: Callable[..., Float[Array, "members n dim"]]
    represent: Callable[..., dict[str, Float[Array, "members n dim"]]]
    lower: Callable[[], jax.stages.Lowered]
    abstract_state: TrainState


def steps_per_epoch(config: config_dict.ConfigDict, spec: DataSpec) -> int:
    return max(spec.train_size // config.train.batch_size, 1)


def total_steps(config: config_dict.ConfigDict, spec: DataSpec) -> int:
    """Optimiser steps of the whole run."""
    return config.train.steps or max(1, round(config.train.epochs * steps_per_epoch(config, spec)))


def member_keys(seed: Int[Array, ""]) -> Keys:
    return Keys(*jax.random.split(jax.random.key(seed), 4))


def hyper_arrays(members: Sequence[Member]) -> Hyper:
    """The members' seeds and hyperparameters, as arrays [members]."""
    values = {n: [m.hyperparameters[n] for m in members] for n in HYPERPARAMETERS}
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}
    return arrays | {"seed": jnp.asarray([m.seed for m in members], jnp.uint32)}


def member_grid(members: Sequence[Member]) -> dict[str, int]:
    """The axes that the members are the product of, with their lengths, the slowest first.

    Kept apart, so that what depends on some of them is computed once for all of the others: batches
    and noise follow from the seed alone, views from the seed and the channel's hyperparameters.

    Returns:
        Lengths by name; the last is "seed". Axes of length 1 are left out.

    Raises:
        ValueError: where the members are not such a product, in this order.
    """
    points = [m.varied | {"seed": m.seed} for m in members]
    axes = {name: list(dict.fromkeys(point[name] for point in points)) for name in points[0]}
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if product != points:
        raise ValueError(
            f"The {len(members)} members are not every combination of {axes}; pass what "
            "config.members returns."
        )
    return {name: len(values) for name, values in axes.items() if len(values) > 1}


def member_mildness(
    config: config_dict.ConfigDict, members: Sequence[Member]
) -> Float[np.ndarray, "members"] | None:
    """η₂ of each member's channel, or None where the theory does not know it for all of them.

    It is that of the source's law. Rows that are seen over and over can be learnt by heart, and
    alignment on them may then exceed the bound of the law that they were drawn from.
    """
    law = law_parameters(config)
    by_strength = {
        strength: theory.mildness.synthetic(
            config.data.source, config.channel.name, strength, dim=config.data.dim, **law
        )
        for strength in {m.hyperparameters["channel.strength"] for m in members}
    }
    values = [by_strength[m.hyperparameters["channel.strength"]] for m in members]
    return None if None in values else np.array(values)


def make_mesh(config: config_dict.ConfigDict, member_count: int = 1) -> Mesh:
    """The local devices as a mesh with the axes "members" and "batch".

    Members need no word from each other, so they are spread first, as far as `member_count`, their
    number along the axis that is spread, divides among the devices; devices that are left over share
    every batch.

    Raises:
        ValueError: where there are not that many devices, or the batch does not divide among them.
    """
    devices = jax.local_devices()
    count = config.train.devices or len(devices)
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"config.train.devices is {count} but this machine has {len(devices)} "
            f"{devices[0].platform} device(s); use at most that many, or 0 for all."
        )
    across_members = math.gcd(member_count, count)
    across_batch = count // across_members
    if config.train.batch_size % across_batch:
        raise ValueError(
            f"config.train.batch_size is {config.train.batch_size}, which does not divide among "
            f"{across_batch} devices; use a multiple of {across_batch}, or set config.train.devices."
        )
    grid = np.array(devices[:count]).reshape(across_members, across_batch)
    return Mesh(grid, ("members", "batch"), axis_types=(AxisType.Auto,) * 2)


def make_encoder(config: config_dict.ConfigDict) -> encoders.Encoder:
    """The configured encoder."""
    e = config.encoder
    return encoders.make_encoder(
        e.name,
        embedding_dim=e.embedding_dim or None,
        width=e.width or None,
        depth=e.depth or None,
        activation=e.activation,
        norm=e.norm,
        stem=e.stem,
        zero_init_residual=e.zero_init_residual,
        patch_size=e.patch_size,
        num_heads=e.num_heads,
        pool=e.pool,
        head=e.head,
        head_hidden=e.head_hidden,
        head_dim=e.head_dim,
        head_norm=e.head_norm,
        dtype=jnp.dtype(config.train.compute_dtype),
    )


def make_program(
    config: config_dict.ConfigDict,
    data: Dataset,
    members: Sequence[Member],
    mesh: Mesh | None = None,
) -> Program:
    """Compiles a configuration into functions of arrays.

    Members, and where there are more devices each batch, are spread over the mesh. A batch on several
    devices is still one batch: negatives and the statistics of BatchNorm come from all of it, so the
    result does not depend on how many devices there are, up to rounding.

    Args:
        config: a validated configuration.
        data: from `data.load`; arrays may be abstract where only shapes are wanted.
        members: from `config.members`.
        mesh: from `make_mesh`, which is the default.

    Raises:
        ValueError: for combinations that cannot be trained.
    """
    grid = member_grid(members)
    device_count = len(jax.local_devices())
    spread = max(grid, key=lambda name: math.gcd(grid[name], device_count), default=None)
    mesh = mesh or make_mesh(config, grid.get(spread, 1))
    replicated = NamedSharding(mesh, PartitionSpec())
    per_member = NamedSharding(mesh, PartitionSpec("members"))
    encoder = make_encoder(config)
    is_supervised = config.objective == "supervised"
    classifier = None
    needs_labels = is_supervised or TWO_VIEW_OBJECTIVES[config.objective].needs_labels
    if needs_labels and data.spec.num_classes is None:
        raise ValueError(
            f"config.objective is {config.objective!r}, which needs labels, but config.data.source = "
            f"{config.data.source!r} has none; use mixture, cifar10 or an array with labels."
        )
    if is_supervised:
        classifier = encoders.make_classifier(data.spec.num_classes)
    steps = total_steps(config, data.spec)
    # Raised here, before anything is compiled, rather than from inside a trace.
    schedule = unit_schedule(config.optimizer.schedule, steps, config.optimizer.warmup_steps)
    beta_schedule = unit_schedule(config.loss.beta_schedule, steps)
    view = make_view(config, data.spec)
    batch = make_batch(config, data)
    trained_output = "encoder" if config.encoder.head == "none" else "head"
    hyper = hyper_arrays(members)
    eta2 = None
    if not is_supervised and config.loss.normalize:
        eta2 = member_mildness(config, members)
    if eta2 is not None:
        hyper |= {"eta2": jnp.asarray(eta2, jnp.float32)}
    hyper = {name: _along(grid, _axis_of(name), values) for name, values in hyper.items()}
    hyper = {
        name: jax.device_put(values, per_member if _axis_of(name) == spread else replicated)
        for name, values in hyper.items()
    }
    in_grid = NamedSharding(
        mesh, PartitionSpec(*("members" if name == spread else None for name in grid))
    )
    state_sharding = TrainState(replicated, replicated, per_member)
    regularised = any(m.hyperparameters["loss.beta"] > 0 for m in members)
    moments = (jnp.asarray(data.mean), jnp.asarray(data.std))

    def optimizer(h: Hyper) -> optax.GradientTransformation:
        return make_optimizer(
            config.optimizer.name,
            learning_rate=h["optimizer.learning_rate"],
            schedule=schedule,
            weight_decay=h["optimizer.weight_decay"],
            clip_norm=config.optimizer.clip_norm,
            kwargs=config.optimizer.kwargs.to_dict(),
        )

    def standardise(rows):
        mean, std = moments
        return (rows - mean) / std

    def shard(rows):
        if mesh.shape["batch"] == 1 or rows.shape[0] % mesh.shape["batch"]:
            return rows
        spec = PartitionSpec("batch", *[None] * (rows.ndim - 1))
        return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, spec))

    def draw_views(key, rows, h):
        # Without the barrier XLA draws the views anew for each of their uses: once for the forward
        # and once for the backward product.
        return jax.lax.optimization_barrier(view(key, rows, h))

    def two_views(key, rows, h):
        # Both in one call, which is compiled once.
        return draw_views(key, jnp.concatenate([rows, rows]), h)

    def init_member(_, h: Hyper) -> MemberState:
        keys = member_keys(h["seed"])
        encoder_key, classifier_key = jax.random.split(keys.init)
        sample = jnp.zeros((2, *data.spec.sample_shape), jnp.float32)
        variables = encoders.init(encoder, encoder_key, sample)
        params = {"encoder": variables["params"]}
        if is_supervised:
            outputs, _ = encoders.apply(encoder, variables, sample, train=False)
            params["classifier"] = classifier.init(
                classifier_key, getattr(outputs, trained_output)
            )["params"]
        elif config.loss.learn_temperature:
            params["log_inverse_temperature"] = -jnp.log(h["loss.temperature"])
        batch_stats = variables.get("batch_stats", {})
        return MemberState(params, batch_stats, optimizer(h).init(params), {})

    def encode(params, batch_stats, rows, train):
        variables = {"params": params["encoder"], "batch_stats": batch_stats}
        return encoders.apply(encoder, variables, shard(standardise(rows)), train=train)

    def two_view_objective(params, batch_stats, key, rows, labels, h, step):
        outputs, batch_stats = encode(params, batch_stats, two_views(key, rows, h), train=True)
        z = getattr(outputs, trained_output)
        temperature = h["loss.temperature"]
        if config.loss.learn_temperature:
            temperature = jnp.exp(-params["log_inverse_temperature"])
            temperature = jnp.maximum(temperature, config.loss.temperature_min)
        terms = objective_terms(
            config.objective, *jnp.split(z, 2), labels, temperature, config.loss
        )
        loss = terms["loss"]
        metrics = terms | _geometry(z)
        if "eta2" in h:
            bound = theory.batch_alignment_bound(
                h["eta2"], metrics["mean_resultant"], terms["alignment"], z.shape[0] // 2
            )
            share = terms["alignment"] / bound
            metrics |= {"alignment_bound": bound, "alignment_share": share}
        if config.loss.learn_temperature:
            metrics["temperature"] = temperature
        if regularised:
            beta = h["loss.beta"] * beta_schedule(step)
            if config.loss.beta_unit == "vanishing":
                beta *= theory.vanishing_beta(z.shape[1], temperature, config.loss.eta2)
            penalty = losses.norm_entropy_regulariser(
                z, norm_weight=h["loss.norm_weight"], entropy=config.loss.entropy
            )
            loss += beta * penalty
            metrics |= {"loss": loss, "objective": terms["loss"]}
            metrics |= {"regulariser": penalty, "beta": beta}
        return loss, (batch_stats, metrics)

    def supervised_objective(params, batch_stats, key, rows, labels, h, step):
        del step
        outputs, batch_stats = encode(params, batch_stats, draw_views(key, rows, h), train=True)
        z = getattr(outputs, trained_output)
        logits = classifier.apply({"params": params["classifier"]}, z)
        targets = jax.nn.one_hot(labels, data.spec.num_classes)
        targets = optax.losses.smooth_labels(targets, h["loss.label_smoothing"])
        loss = jnp.mean(optax.losses.softmax_cross_entropy(logits, targets))
        accuracy = jnp.mean((jnp.argmax(logits, axis=1) == labels).astype(jnp.float32))
        return loss, (batch_stats, {"loss": loss, "accuracy": accuracy, **_geometry(z)})

    objective = supervised_objective if is_supervised else two_view_objective

    def step_member(state: MemberState, h: Hyper, step, arrays):
        keys = member_keys(h["seed"])
        rows, labels = batch(arrays, keys.batch, step)
        gradient = jax.value_and_grad(objective, has_aux=True)
        (_, (batch_stats, metrics)), grads = gradient(
            state.params,
            state.batch_stats,
            jax.random.fold_in(keys.view, step),
            rows,
            labels,
            h,
            step,
        )
        updates, opt_state = optimizer(h).update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(grads)
        metrics["learning_rate"] = h["optimizer.learning_rate"] * schedule(step)
        return MemberState(params, batch_stats, opt_state, state.metric_sums), metrics

    def over_members(function, state, h: Hyper):
        """`function(state, h)` of every member, their axes in front of everything it returns."""
        for name in reversed(grid):
            along = {field: 0 if _axis_of(field) == name else None for field in h}
            axis_name = "members" if name == spread else None
            function = jax.vmap(function, in_axes=(0, along), spmd_axis_name=axis_name)
        return function(state, h)

    def to_grid(state: PyTree) -> PyTree:
        shape = tuple(grid.values())
        state = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), state)
        return jax.lax.with_sharding_constraint(state, in_grid)

    def to_list(state: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(len(members), *x.shape[len(grid) :]), state)

    def init(hyper, arrays) -> TrainState:
        member_state = over_members(init_member, (), hyper)
        zero = jnp.zeros((), jnp.int32)
        _, metrics = jax.eval_shape(step_all, TrainState(zero, zero, member_state), hyper, arrays)
        sums = jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), metrics)
        return TrainState(zero, zero, to_list(member_state._replace(metric_sums=sums)))

    def step_all(state: TrainState, hyper, arrays):
        def one(member_state, h):
            return step_member(member_state, h, state.step, arrays)

        return over_members(one, state.members, hyper)

    def advance(state: TrainState, hyper, arrays, stop):
        def body(carry):
            state, _ = carry
            member_state, metrics = step_all(state, hyper, arrays)
            finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
            failed = jnp.where(jnp.all(finite), -1, state.step)
            sums = jax.tree.map(jnp.add, state.members.metric_sums, metrics)
            member_state = member_state._replace(metric_sums=sums)
            return TrainState(state.step + 1, state.metric_steps + 1, member_state), failed

        def unfinished(carry):
            state, failed = carry
            return (state.step < stop) & (failed < 0)

        state = state._replace(members=to_grid(state.members))
        # A loop with a traced end is compiled once, however many steps a call takes.
        state, failed = jax.lax.while_loop(unfinished, body, (state, jnp.int32(-1)))
        return state._replace(members=to_list(state.members)), failed

    def embedding(variables, inputs):
        outputs, _ = encode(*variables, inputs, train=False)
        return getattr(outputs, config.embed.output)

    def encode_rows(params, batch_stats, rows, hyper):
        def one(variables, h):
            del h
            return embedding(variables, to_float(rows))

        return to_list(over_members(one, to_grid((params, batch_stats)), hyper))

    def represent(params, batch_stats, rows, first_row, hyper):
        def one(variables, h):
            key = jax.random.fold_in(member_keys(h["seed"]).embed, first_row)
            inputs = jnp.concatenate([to_float(rows), two_views(key, rows, h)])
            z = embedding(variables, inputs)
            return dict(zip(("clean", "view1", "view2"), jnp.split(z, 3), strict=True))

        return to_list(over_members(one, to_grid((params, batch_stats)), hyper))

    arrays = None if config.data.fresh else (data.train, data.train_labels)
    if not _is_abstract(arrays):
        arrays = jax.device_put(arrays, replicated)
    jitted_advance = jax.jit(advance, out_shardings=(state_sharding, replicated))
    jitted_init = jax.jit(init, out_shardings=state_sharding)
    abstract = jitted_init.eval_shape(hyper, arrays)
    jitted_encode = jax.jit(encode_rows, out_shardings=replicated)
    jitted_represent = jax.jit(represent, out_shardings=replicated)
    return Program(
        init=lambda: jitted_init(hyper, arrays),
        advance=lambda state, stop: jitted_advance(state, hyper, arrays, jnp.int32(stop)),
        encode=lambda state, rows: jitted_encode(
            state.members.params, state.members.batch_stats, rows, hyper
        ),
        represent=lambda state, rows, first_row: jitted_represent(
            state.members.params, state.members.batch_stats, rows, first_row, hyper
        ),
        lower=lambda: jitted_advance.lower(abstract, hyper, arrays, jnp.int32(1)),
        abstract_state=abstract,
    )


def encode(
    program: Program, state: TrainState, rows: Num[np.ndarray, "n ..."], batch_size: int
) -> Float[np.ndarray, "members n dim"]:
    """Representations of rows, in evaluation mode, by blocks."""
    return np.concatenate(
        [
            np.asarray(program.encode(state, block))[:, :count]
            for _, count, block in _blocks(rows, batch_size)
        ],
        axis=1,
    )


def embed(
    program: Program, state: TrainState, rows: Num[np.ndarray, "n ..."], batch_size: int
) -> dict[str, Float[np.ndarray, "members n dim"]]:
    """Representations of rows and of two views of them, in evaluation mode, by blocks.

    The views depend on the member's seed and the row's block, not on the training step, so that the
    same views are compared across steps.

    Returns:
        Arrays for "clean", "view1" and "view2".
    """
    blocks = []
    for first, count, block in _blocks(rows, batch_size):
        outputs = program.represent(state, block, jnp.int32(first))
        blocks.append({name: np.asarray(z)[:, :count] for name, z in outputs.items()})
    return {name: np.concatenate([b[name] for b in blocks], axis=1) for name in blocks[0]}


def _blocks(rows, batch_size):
    """First row, count and rows of each block; all of one size, so that one program serves them."""
    batch_size = min(batch_size, len(rows))
    for first in range(0, len(rows), batch_size):
        block = rows[first : first + batch_size]
        count = len(block)
        yield (
            first,
            count,
            np.concatenate([block, np.repeat(block[-1:], batch_size - count, axis=0)]),
        )


def _geometry(z: Float[Array, "batch dim"]) -> dict[str, Float[Array, ""]]:
    """Norm concentration and mean resultant of the batch, for the curves."""
    norm = jnp.linalg.norm(z, axis=1)
    mean = jnp.mean(norm)
    return {
        "norm_cv": jnp.std(norm) / jnp.maximum(mean, jnp.finfo(z.dtype).tiny),
        "mean_resultant": jnp.linalg.norm(jnp.mean(losses.safe_normalize(z), axis=0)),
    }


def _axis_of(field: str) -> str:
    """The axis of the members' grid that a hyperparameter varies along."""
    return "channel.strength" if field == "eta2" else field


def _along(grid: Mapping[str, int], axis: str, values: Num[Array, "members"]) -> Num[Array, "..."]:
    """A hyperparameter of all members as values along its own axis, or one where it is not varied."""
    index = tuple(slice(None) if name == axis else 0 for name in grid)
    return values.reshape(tuple(grid.values()))[index]


def _is_abstract(tree: PyTree) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))
