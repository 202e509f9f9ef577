"""The objectives that ask for a Gaussian, once: how each is called and its float64 reference."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import gaussian_references as references
import jax.numpy as jnp
import numpy as np

from infonce_jax import losses

N, DIM = 9, 5
DIRECTIONS = references.unit(np.random.default_rng(7).normal(size=(7, DIM))).T


class Objective(NamedTuple):
    """An objective, called with arrays of rows and its scalars, in the manner of objectives.py.

    Attributes:
        loss: of the package.
        reference: in float64 NumPy, of the same rows and scalars.
        rows: the arrays of rows it takes, "a" or "ab".
        scalars: its differentiable scalars.
        least: the fewest rows it is defined for.
        held: the reference takes a keyword of this name: rows through which no gradient passes.
    """

    loss: Callable
    reference: Callable
    rows: str = "ab"
    scalars: dict[str, float] = {}  # noqa: RUF012
    least: int = 1
    held: bool = False


def _of_views(loss):
    return lambda *views, **options: loss(jnp.stack(views), **options)


def _sliced(name, scalars=None, least=1, held=False, rows="ab", **options):
    options["directions"] = DIRECTIONS
    loss, reference = getattr(losses, name), getattr(references, name)
    # The block leaves a ragged last one of 7 directions.
    loss = functools.partial(loss, block=3, **options)
    return Objective(
        _of_views(loss) if len(rows) > 1 else loss,
        functools.partial(reference, **options),
        rows=rows,
        scalars=scalars or {},
        least=least,
        held=held,
    )


def _plain(name, least=1, **options):
    return Objective(
        functools.partial(getattr(losses, name), **options),
        functools.partial(getattr(references, name), **options),
        least=least,
    )


OBJECTIVES = {
    "sigreg": _sliced("sigreg"),
    "sigreg of one view": _sliced("sigreg", rows="a", t_max=2.0, knots=20),
    "sigreg, unbiased": _sliced("sigreg", unbiased=True, least=2),
    "sigreg, pooled": _sliced("sigreg", pooled=True),
    "sigreg, pooled, unbiased": _sliced("sigreg", pooled=True, unbiased=True, least=2),
    "wasserstein": _sliced("sliced_wasserstein"),
    "wasserstein, pooled": _sliced("sliced_wasserstein", pooled=True),
    "cramer_von_mises": _sliced("sliced_cramer_von_mises"),
    "anderson_darling": _sliced("sliced_anderson_darling"),
    "lejepa": _sliced("lejepa", scalars={"weight": 0.3}),
    "lejepa, additive": _sliced("lejepa", scalars={"weight": 2.0}, additive=True, n_global=1),
    "visreg": _sliced(
        "visreg",
        scalars={"scale_weight": 0.7, "shape_weight": 1.5, "centre_weight": 1.2},
        held=True,
    ),
    "view_prediction": Objective(_of_views(losses.view_prediction), references.view_prediction),
    "koleo": Objective(
        functools.partial(losses.koleo, block=4), references.koleo, rows="a", least=2
    ),
    "w_mse": _plain("w_mse", least=DIM + 1),
    "w_mse, shrunk, in groups": _plain("w_mse", epsilon=0.1, sub_batch=3, least=3),
    "spectral": _plain("spectral_contrastive", least=2),
    "spectral in a ball": _plain("spectral_contrastive", square_radius=4.0, least=2),
}


class Batch(NamedTuple):
    """What an objective is called with: arrays of rows, and its scalars."""

    rows: list
    scalars: dict


def draw(name, n=N, dim=DIM, seed=0, dtype=np.float64) -> Batch:
    """A batch of `n` rows in float64, which are exact in `dtype` as well."""
    objective = OBJECTIVES[name]
    rng = np.random.default_rng(seed)
    a = 1.5 * rng.normal(size=(n, dim)) + 0.2
    rows = {"a": a, "b": a + 0.8 * rng.normal(size=(n, dim))}
    exact = [rows[k].astype(dtype).astype(np.float64) for k in objective.rows]
    return Batch(exact, dict(objective.scalars))


def cast(batch, dtype=jnp.float32):
    """The arguments of `step`: rows in `dtype`, scalars in float32, or float64 if the rows are."""
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    rows = [jnp.asarray(z, dtype) for z in batch.rows]
    return rows, {k: jnp.asarray(v, wide) for k, v in batch.scalars.items()}
