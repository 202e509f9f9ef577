"""Optimizers and schedules of optax, by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Num, PyTree

from infonce_jax import registry

SCHEDULES = ("constant", "linear", "cosine")
OPTIMIZERS = (
    *("adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad"),
    *("fromage", "lamb", "lars", "lion", "nadam", "nadamw", "novograd", "radam", "rmsprop"),
    *("sgd", "sign_sgd", "signum", "yogi"),
)


def unit_schedule(name: str, total_steps: int, warmup_steps: int = 0) -> Callable:
    """A schedule with peak 1, `schedule(step) -> float`, to multiply a traced peak with.

    It rises linearly from 0 over the warm-up, and then stays at 1 ("constant") or falls to 0 at
    `total_steps` ("linear", "cosine").

    Raises:
        ValueError: for an unknown name, or a warm-up as long as the run.
    """
    if name not in SCHEDULES:
        raise ValueError(f"The schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}.")
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise ValueError(
            f"The warm-up takes {warmup_steps} steps but the run has {total_steps}; it must be shorter."
        )
    decay_steps = max(total_steps - warmup_steps, 1)
    decay = {
        "constant": optax.constant_schedule(1.0),
        "linear": optax.linear_schedule(1.0, 0.0, decay_steps),
        "cosine": optax.cosine_decay_schedule(1.0, decay_steps),
    }[name]
    if not warmup_steps:
        return decay
    return optax.join_schedules(
        [optax.linear_schedule(0.0, 1.0, warmup_steps), decay], [warmup_steps]
    )


def make_optimizer(
    name: str,
    *,
    learning_rate: Num[Array, ""] | float,
    schedule: Callable[[Int[Array, ""]], Float[Array, ""]],
    weight_decay: Num[Array, ""] | float = 0.0,
    clip_norm: float = 0.0,
    average_decay: float = 0.0,
    kwargs: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """An optimizer by its name in optax.

    Learning rate and weight decay may be traced: the optimizer can be made inside the compiled step,
    so that one program serves them all.

    Args:
        name: one of `OPTIMIZERS`, or `my_module:name`, a function of the learning rate.
        learning_rate: the peak.
        schedule: factor of the learning rate, from `unit_schedule`.
        weight_decay: decoupled from the gradient where the optimizer does so (adamw, lars, lamb, ...),
            otherwise added to the gradient (L2). Biases and normalisation parameters, which have fewer
            than two dimensions, are left out.
        clip_norm: largest global norm of the gradient; 0 for no clipping.
        average_decay: of `keep_average`; 0 for no average.
        kwargs: further keyword arguments of the optimizer.

    Raises:
        ValueError: for an unknown optimizer, or an argument that it does not take.
    """
    function = find_optimizer(name, kwargs)
    accepted = inspect.signature(function).parameters
    kwargs = dict(kwargs or {})
    chain = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    if "weight_decay" in accepted:
        kwargs["weight_decay"] = weight_decay
        # LARS and LAMB-like optimizers name their masks differently.
        mask = "weight_decay_mask" if "weight_decay_mask" in accepted else "mask"
        if mask in accepted:
            kwargs[mask] = _is_matrix
        if name == "lars":
            kwargs.setdefault("trust_ratio_mask", _is_matrix)
    else:
        chain.append(optax.add_decayed_weights(weight_decay, mask=_is_matrix))
    chain.append(function(lambda count: learning_rate * schedule(count), **kwargs))
    if average_decay:
        chain.append(keep_average(average_decay))
    return optax.chain(*chain)


class AverageState(NamedTuple):
    """The state of `keep_average`.

    Attributes:
        average: of the parameters.
    """

    average: PyTree


def keep_average(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters, and leaves the updates as they are.

    The last link of a chain: it needs the updates as they are applied. The average starts from the
    initial parameters.
    """

    def update(updates, state, params):
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, new)
        return updates, AverageState(average)

    return optax.GradientTransformation(AverageState, update)


def average_of(opt_state: PyTree) -> PyTree:
    """The average that `keep_average` holds."""
    return optax.tree.get(opt_state, "average")


def find_optimizer(name: str, kwargs: Mapping[str, Any] | None = None) -> Callable:
    """The function that makes an optimizer, `(learning_rate, **kwargs) -> GradientTransformation`.

    Raises:
        ValueError: for an unknown optimizer, or an argument that it does not take.
    """
    known = {known: getattr(optax, known) for known in OPTIMIZERS}
    function = registry.find("optimizer.name", name, known)
    if name in known:
        accepted = inspect.signature(function).parameters
        unknown = sorted(set(kwargs or {}) - set(accepted))
        if unknown:
            raise ValueError(
                f"The optimizer {name!r} does not take {', '.join(unknown)}; it takes "
                f"{', '.join(key for key in accepted if key != 'learning_rate')}."
            )
    registry.fit("optimizer.name", name, function, ("learning_rate",), kwargs=kwargs)
    return function


def _is_matrix(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)
