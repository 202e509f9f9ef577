"""What a run minimises, by name: objectives of two views, and classification."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num
from ml_collections import config_dict

from infonce_jax import losses, registry

Metrics = dict[str, Float[Array, ""]]


class Objective(NamedTuple):
    """What a run minimises.

    Attributes:
        terms: `(z1, z2, labels, temperature, loss_config) -> metrics` of two views, of which "loss" is
            minimised; None for "supervised", a classifier on one view.
        needs_labels: whether it uses the labels.
        has_temperature: whether it divides similarities by a temperature.
    """

    terms: Callable[..., Metrics] | None
    needs_labels: bool = False
    has_temperature: bool = True

    @property
    def views(self) -> int:
        """Views of each row in a step."""
        return 1 if self.terms is None else 2


def _infonce(z1, z2, labels, temperature, c: config_dict.ConfigDict) -> Metrics:
    del labels
    return losses.infonce_terms(
        z1, z2, temperature=temperature, symmetric=c.symmetric, normalize=c.normalize
    )._asdict()


def _nt_xent(z1, z2, labels, temperature, c) -> Metrics:
    del labels
    return losses.nt_xent_terms(z1, z2, temperature=temperature, normalize=c.normalize)._asdict()


def _dcl(z1, z2, labels, temperature, c) -> Metrics:
    del labels
    return {"loss": losses.dcl(z1, z2, temperature=temperature, normalize=c.normalize)}


def _siglip(z1, z2, labels, temperature, c) -> Metrics:
    del labels
    scale, bias = 1 / temperature, c.siglip_bias
    loss = losses.siglip(z1, z2, logit_scale=scale, logit_bias=bias, normalize=c.normalize)
    return {"loss": loss}


def _sup_con(z1, z2, labels, temperature, c) -> Metrics:
    z, labels = jnp.concatenate([z1, z2]), jnp.concatenate([labels, labels])
    loss = losses.sup_con(z, labels, temperature=temperature, normalize=c.normalize)
    return {"loss": loss}


def _of_views(function: Callable) -> Callable[..., Metrics]:
    """An objective that takes the two views and nothing else."""

    def terms(z1, z2, labels, temperature, c) -> Metrics:
        del labels, temperature, c
        return {"loss": function(z1, z2)}

    return terms


def _prediction(z1, z2):
    return losses.view_prediction(jnp.stack([z1, z2]))


OBJECTIVES: dict[str, Objective] = {
    "infonce": Objective(_infonce),
    "nt_xent": Objective(_nt_xent),
    "dcl": Objective(_dcl),
    "siglip": Objective(_siglip),
    "sup_con": Objective(_sup_con, needs_labels=True),
    "barlow_twins": Objective(_of_views(losses.barlow_twins), has_temperature=False),
    "vicreg": Objective(_of_views(losses.vicreg), has_temperature=False),
    "w_mse": Objective(_of_views(losses.w_mse), has_temperature=False),
    "spectral_contrastive": Objective(
        _of_views(losses.spectral_contrastive), has_temperature=False
    ),
    "prediction": Objective(_of_views(_prediction), has_temperature=False),
    "supervised": Objective(None, needs_labels=True, has_temperature=False),
}


def find_objective(config: config_dict.ConfigDict) -> Objective:
    """What `config.objective` names.

    One of the user's own is `objective(z1, z2, **kwargs)` with `config.loss.kwargs`. It is given
    labels and temperature where it has parameters of these names. It returns the loss, or the loss and
    other scalars to log by name.

    Raises:
        ValueError: where there is none of this name, or its signature does not fit.
    """
    found = registry.find("objective", config.objective, OBJECTIVES)
    if isinstance(found, Objective):
        return found
    kwargs = config.loss.kwargs.to_dict()
    takes = registry.fit(
        *("objective", config.objective, found, ("z1", "z2")),
        offered=("labels", "temperature"),
        kwargs=kwargs,
    )

    def terms(z1, z2, labels, temperature, c) -> Metrics:
        del c
        offered = {"labels": labels, "temperature": temperature}
        value = found(z1, z2, **{key: offered[key] for key in takes}, **kwargs)
        return _checked(config.objective, value)

    return Objective(terms, "labels" in takes, "temperature" in takes)


def _checked(name: str, value: Any) -> Metrics:
    """What an objective of the user's own returned, as metrics."""
    metrics = value._asdict() if hasattr(value, "_asdict") else value
    metrics = dict(metrics) if isinstance(metrics, Mapping) else {"loss": metrics}
    wrong = {k: jnp.shape(v) for k, v in metrics.items() if jnp.shape(v) != ()}
    if "loss" not in metrics or wrong:
        found = f"{wrong} (shapes)" if wrong else f"only {', '.join(metrics)}"
        raise ValueError(
            f"config.objective is {name!r}, which returns {found}; it must return the loss of the whole "
            'batch, one number, or numbers by name, among them "loss".'
        )
    return {key: jnp.asarray(number, jnp.float32) for key, number in metrics.items()}


def objective_terms(
    objective: Objective,
    z1: Float[Array, "batch dim"],
    z2: Float[Array, "batch dim"],
    labels: Int[Array, " batch"] | None,
    temperature: Num[Array, ""],
    loss_config: config_dict.ConfigDict,
) -> Metrics:
    """The loss of two views of a batch, and its parts.

    "alignment", the mean cosine of positives, is always among them.

    Barlow Twins and VICReg have no temperature and weigh their terms as their papers do.
    """
    terms = objective.terms(z1, z2, labels, temperature, loss_config)
    if "alignment" not in terms:
        cosine = jnp.sum(losses.safe_normalize(z1) * losses.safe_normalize(z2), axis=1)
        terms["alignment"] = jnp.mean(cosine)
    return terms
