"""One step of training, for one member and for all; the loop over steps.

Pure functions over the static parts of a run: a `Method` says how a member is trained, a `Layout`
how members are mapped over. `program.py` binds these and compiles.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from infonce_jax import losses, theory
from infonce_jax.training.distributed import whole_batch
from infonce_jax.training.members import Hyper, Layout, over_members, to_grid, to_list
from infonce_jax.training.method import Method, draw_two_views, draw_views
from infonce_jax.training.model import encode, init_model
from infonce_jax.training.objectives import Metrics, objective_terms
from infonce_jax.training.regularisers import regularise
from infonce_jax.training.state import MemberState, TrainState, member_keys


def two_view(
    method: Method,
    params: PyTree,
    batch_stats: PyTree,
    key: Key[Array, ""],
    rows: Array,
    labels: Int[Array, " batch"] | None,
    hyper: Hyper,
    step: Int[Array, ""],
) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
    """The loss of two views of a batch.

    Args:
        method: how the member is trained.
        params: what is differentiated.
        batch_stats: BatchNorm's moments.
        key: of the views.
        rows: the batch's samples.
        labels: the batch's labels, or None.
        hyper: the member's hyperparameters.
        step: optimiser steps taken so far.

    Returns:
        The loss, and BatchNorm's new moments with the metrics.
    """
    views = draw_two_views(method, key, rows, labels, hyper)
    outputs, batch_stats = encode(method.model, params, batch_stats, views, train=True)
    z = getattr(outputs, method.model.trained_output)
    temperature = hyper["loss.temperature"]
    if method.loss.learn_temperature:
        temperature = jnp.exp(-params["log_inverse_temperature"])
        temperature = jnp.maximum(temperature, method.loss.temperature_min)
    terms = objective_terms(method.objective, *jnp.split(z, 2), labels, temperature, method.loss)
    loss = terms["loss"]
    metrics = terms | _geometry(z)
    if "eta2" in hyper:
        bound = theory.batch_alignment_bound(
            hyper["eta2"], metrics["mean_resultant"], terms["alignment"], z.shape[0] // 2
        )
        share = terms["alignment"] / bound
        metrics |= {"alignment_bound": bound, "alignment_share": share}
    if method.loss.learn_temperature:
        metrics["temperature"] = temperature
    if method.is_regularised:
        beta = hyper["loss.beta"] * method.beta_schedule(step)
        if method.loss.beta_unit == "vanishing":
            beta *= theory.vanishing_beta(z.shape[1], temperature, method.loss.eta2)
        penalty = regularise(z, key, hyper, method.loss)
        loss += beta * penalty
        metrics |= {"loss": loss, "objective": terms["loss"]}
        metrics |= {"regulariser": penalty, "beta": beta}
    return loss, (batch_stats, metrics)


def supervised(
    method: Method,
    params: PyTree,
    batch_stats: PyTree,
    key: Key[Array, ""],
    rows: Array,
    labels: Int[Array, " batch"],
    hyper: Hyper,
    step: Int[Array, ""],
) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
    """The cross-entropy of a linear classifier on one view of a batch; arguments as in `two_view`."""
    del step
    views = draw_views(method, key, rows, labels, hyper)
    outputs, batch_stats = encode(method.model, params, batch_stats, views, train=True)
    z = getattr(outputs, method.model.trained_output)
    logits = method.model.classifier.apply({"params": params["classifier"]}, z)
    targets = jax.nn.one_hot(labels, method.num_classes)
    targets = optax.losses.smooth_labels(targets, hyper["loss.label_smoothing"])
    loss = jnp.mean(optax.losses.softmax_cross_entropy(logits, targets))
    accuracy = jnp.mean((jnp.argmax(logits, axis=1) == labels).astype(jnp.float32))
    return loss, (batch_stats, {"loss": loss, "accuracy": accuracy, **_geometry(z)})


def init_member(method: Method, weights: PyTree, _: PyTree, hyper: Hyper) -> MemberState:
    """A member before its first step, without metrics; `weights` as for `init`."""
    params, batch_stats = init_model(method.model, member_keys(hyper["seed"]).init, weights)
    if method.loss.learn_temperature and method.objective.views == 2:
        params["log_inverse_temperature"] = -jnp.log(hyper["loss.temperature"])
    return MemberState(params, batch_stats, method.optimizer(hyper).init(params), {})


def step_member(
    method: Method, arrays: PyTree, step: Int[Array, ""], state: MemberState, hyper: Hyper
) -> tuple[MemberState, Metrics]:
    """One optimiser step of one member.

    Args:
        method: how the member is trained.
        arrays: training rows and labels, or None where batches are drawn.
        step: optimiser steps taken so far.
        state: the member's.
        hyper: the member's hyperparameters.

    Returns:
        The new state, and the step's metrics.
    """
    keys = member_keys(hyper["seed"])
    batch = method.batch(arrays, keys.batch, step)
    # A streamed batch is spread over the devices already.
    rows, labels = batch if method.is_streamed else whole_batch(method.model.mesh, batch)
    view_key = jax.random.fold_in(keys.view, step)
    loss_of = two_view if method.objective.views == 2 else supervised
    gradient = jax.value_and_grad(functools.partial(loss_of, method), has_aux=True)
    (_, (batch_stats, metrics)), grads = gradient(
        state.params, state.batch_stats, view_key, rows, labels, hyper, step
    )
    updates, opt_state = method.optimizer(hyper).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics["grad_norm"] = optax.tree.norm(grads)
    metrics["learning_rate"] = hyper["optimizer.learning_rate"] * method.schedule(step)
    return MemberState(params, batch_stats, opt_state, state.metric_sums), metrics


def init(
    method: Method, layout: Layout, hyper: Hyper, arrays: PyTree, weights: PyTree
) -> TrainState:
    """All members before their first step.

    Args:
        method: how a member is trained.
        layout: how members are mapped over.
        hyper: the members' hyperparameters.
        arrays: the data.
        weights: of a published checkpoint, that every member's backbone starts from; empty for none.
    """
    members = over_members(layout, functools.partial(init_member, method, weights), (), hyper)
    zero = jnp.zeros((), jnp.int32)
    _, metrics = jax.eval_shape(lambda: step_all(method, layout, arrays, zero, members, hyper))
    sums = jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), metrics)
    return TrainState(zero, zero, to_list(layout, members._replace(metric_sums=sums)))


def step_all(
    method: Method,
    layout: Layout,
    arrays: PyTree,
    step: Int[Array, ""],
    members: MemberState,
    hyper: Hyper,
) -> tuple[MemberState, dict[str, Float[Array, "..."]]]:
    """One optimiser step of all members, in the axes of the grid.

    `arrays` are the training rows and labels, from which every member takes its batch; where data are
    streamed they are the batch of this step, one for each seed.
    """
    if not method.is_streamed:
        own = functools.partial(step_member, method, arrays, step)
        return over_members(layout, own, members, hyper)

    def given(state, hyper):
        own = {name: value for name, value in hyper.items() if name != "batch"}
        return step_member(method, hyper["batch"], step, state, own)

    return over_members(layout, given, members, {**hyper, "batch": arrays})


def advance_streamed(
    method: Method,
    layout: Layout,
    state: TrainState,
    hyper: Hyper,
    batch: PyTree,
    failed: Int[Array, ""],
) -> tuple[TrainState, Int[Array, ""]]:
    """`advance` by one step, on the batch of that step; by none where an earlier one has failed."""
    stop = jnp.where(failed < 0, state.step + 1, state.step)
    state, now = advance(method, layout, state, hyper, batch, stop)
    return state, jnp.maximum(failed, now)


def advance(
    method: Method,
    layout: Layout,
    state: TrainState,
    hyper: Hyper,
    arrays: PyTree,
    stop: Int[Array, ""],
) -> tuple[TrainState, Int[Array, ""]]:
    """Trains all members up to step `stop`.

    Returns:
        The new state, and -1 or the first step at which a member's loss or gradient was not finite.
        Such a step is the last.
    """

    def body(carry):
        state, _ = carry
        members, metrics = step_all(method, layout, arrays, state.step, state.members, hyper)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        failed = jnp.where(jnp.all(finite), -1, state.step)
        sums = jax.tree.map(jnp.add, state.members.metric_sums, metrics)
        members = members._replace(metric_sums=sums)
        return TrainState(state.step + 1, state.metric_steps + 1, members), failed

    def unfinished(carry):
        state, failed = carry
        return (state.step < stop) & (failed < 0)

    state = state._replace(members=to_grid(layout, state.members))
    # A loop with a traced end is compiled once, however many steps a call takes.
    state, failed = jax.lax.while_loop(unfinished, body, (state, jnp.int32(-1)))
    return state._replace(members=to_list(layout, state.members)), failed


def _geometry(z: Float[Array, "batch dim"]) -> Metrics:
    """Norm concentration and mean resultant of the batch, for the curves."""
    norm = jnp.linalg.norm(z, axis=1)
    mean = jnp.mean(norm)
    return {
        "norm_cv": jnp.std(norm) / jnp.maximum(mean, jnp.finfo(z.dtype).tiny),
        "mean_resultant": jnp.linalg.norm(jnp.mean(losses.safe_normalize(z), axis=0)),
    }
