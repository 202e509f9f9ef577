"""What is added to an objective of two views, by name, under one signature."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import config_dict

from infonce_jax import losses, registry
from infonce_jax.training.members import Hyper

Views = Float[Array, "2 batch dim"]


def _norm_entropy(
    views: Views, key: Key[Array, ""], hyper: Hyper, c: config_dict.ConfigDict
) -> Float[Array, ""]:
    del key
    z = views.reshape(-1, views.shape[-1])
    norm_weight = hyper["loss.norm_weight"]
    return losses.norm_entropy_regulariser(z, norm_weight=norm_weight, entropy=c.entropy)


def _sliced(function: Callable, **options: bool) -> Callable:
    """A regulariser of random directions, as a function of the arguments that all take."""

    def regularise(
        views: Views, key: Key[Array, ""], hyper: Hyper, c: config_dict.ConfigDict
    ) -> Float[Array, ""]:
        del hyper
        return function(views, key=key, n_directions=c.directions, **options)

    return regularise


def _koleo(
    views: Views, key: Key[Array, ""], hyper: Hyper, c: config_dict.ConfigDict
) -> Float[Array, ""]:
    del key, hyper, c
    # Within each view: the nearest row among both would be the same row's other view.
    return (losses.koleo(views[0]) + losses.koleo(views[1])) / 2


REGULARISERS: dict[str, Callable] = {
    "norm_entropy": _norm_entropy,
    "sigreg": _sliced(losses.sigreg),
    "sigreg_unbiased": _sliced(losses.sigreg, unbiased=True),
    "visreg": _sliced(losses.visreg),
    "sliced_wasserstein": _sliced(losses.sliced_wasserstein),
    "koleo": _koleo,
}


def find_regulariser(loss: config_dict.ConfigDict) -> Callable:
    """The regulariser that the section `config.loss` names, `(views, key, hyper, loss) -> value`.

    One of the user's own is `regulariser(z, **kwargs)` with z [2, batch, dim], the two views, and kwargs
    from `config.loss.regulariser_kwargs`. It is given a `key` where it has such a parameter.

    Raises:
        ValueError: naming the field and its remedy.
    """
    found = registry.find("loss.regulariser", loss.regulariser, REGULARISERS)
    if loss.beta_unit == "vanishing" and loss.regulariser != "norm_entropy":
        raise ValueError(
            f"config.loss.beta_unit is 'vanishing' with config.loss.regulariser = {loss.regulariser!r}; "
            "the theory has a vanishing weight for norm_entropy alone. Use beta_unit='absolute'."
        )
    if loss.directions < 1:
        raise ValueError(f"config.loss.directions is {loss.directions}; it must be at least 1.")
    if loss.regulariser in REGULARISERS:
        return found
    kwargs = loss.regulariser_kwargs.to_dict()
    takes = registry.fit(
        *("loss.regulariser", loss.regulariser, found, ("z",)), offered=("key",), kwargs=kwargs
    )

    def own(views, key, hyper, c):
        del hyper, c
        value = found(views, **({"key": key} if takes else {}), **kwargs)
        if jnp.shape(value) != ():
            raise ValueError(
                f"config.loss.regulariser is {loss.regulariser!r}, which returns an array of shape "
                f"{jnp.shape(value)} for z of shape {views.shape}; it must return one number."
            )
        return value

    return own


def regularise(
    z: Float[Array, "two_batch dim"],
    view_key: Key[Array, ""],
    hyper: Hyper,
    loss: config_dict.ConfigDict,
) -> Float[Array, ""]:
    """The configured regulariser of two views.

    Args:
        z: representations, not normalised, of the first views of all rows and then of the second ones.
        view_key: the key of the views at this step; directions are drawn from one that follows from it.
        hyper: the member's hyperparameters.
        loss: the section `config.loss`.
    """
    views = jnp.stack(jnp.split(z, 2))
    return find_regulariser(loss)(views, jax.random.fold_in(view_key, 1), hyper, loss)
