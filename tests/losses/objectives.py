"""Every objective, once: how it is called, its float64 reference, and what leaves it unchanged."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import gaussian_references
import jax
import jax.numpy as jnp
import numpy as np
import references

from infonce_jax import losses

N, DIM = 9, 5
DIRECTIONS = references.unit(np.random.default_rng(7).normal(size=(7, DIM))).T


class Objective(NamedTuple):
    """An objective, called with its rows, what belongs to each row, its scalars and its options.

    Attributes:
        loss: of the package.
        reference: in float64 NumPy, of the same rows and scalars.
        rows: the arrays of rows it takes, all differentiable but `held`.
        of_rows: what belongs to the rows: "labels" or "mask", if anything.
        scalars: its differentiable scalars.
        reduction: "none" or "mean", or None where it takes no reduction.
        pairwise: it takes an implementation and a tile.
        held: the position of rows through which no gradient passes.
        least: the fewest rows it is defined for.
        holds_rows: its reference takes a keyword `held`: rows through which no gradient passes.
        invariances: names in `TRANSFORMATIONS` of test_structure.py, besides "permutation".
    """

    loss: Callable
    reference: Callable
    rows: str = "ab"
    of_rows: str | None = None
    scalars: dict[str, float] = {}  # noqa: RUF012
    reduction: str | None = "none"
    pairwise: bool = True
    held: int | None = None
    least: int = 1
    holds_rows: bool = False
    invariances: tuple[str, ...] = ("rotation", "scale", "exchange")


def _mean(reference):
    return lambda *arguments, **scalars: np.mean(reference(*arguments, **scalars))


def _excluding(loss):
    return lambda a, b, exclude, **options: loss(a, b, exclude=exclude, **options)


def _beside(loss):
    return lambda a, b, negatives, **options: loss(a, b, negatives=negatives, **options)


def _with_positives(loss):
    return lambda a, b, positives, **options: loss(a, b, positives=positives, **options)


def _mean_of_rows_with_positives(z, positives, **scalars):
    each = references.sup_con(z, positives, **scalars)
    return each.sum() / max(np.count_nonzero(references.has_positive(positives)), 1)


_TAU = {"temperature": 0.4}
_LOGITS = {"logit_scale": 2.0, "logit_bias": -3.0}
_one_way = functools.partial(losses.infonce, symmetric=False)
_one_way_reference = functools.partial(references.infonce, symmetric=False)
_inner_product = {"normalize": False}
_distance = {"normalize": False, "similarity": "squared_distance"}
_hard = {"positive_prior": 0.05, "hardness": 0.7}


def _infonce(loss=losses.infonce, reference=references.infonce, **changes):
    return Objective(loss, reference, scalars=_TAU)._replace(**changes)


def _with_options(objective, **options):
    return objective._replace(
        loss=functools.partial(objective.loss, **options),
        reference=functools.partial(objective.reference, **options),
    )


def _by_mean(objective, reference=None):
    return objective._replace(reduction="mean", reference=reference or _mean(objective.reference))


def _without_negatives(loss, reference, **changes):
    return Objective(loss, reference, reduction=None, pairwise=False)._replace(**changes)


_PLAIN_ONE_WAY = _infonce(_one_way, _one_way_reference, invariances=("rotation", "scale"))
_NT_XENT = _infonce(losses.nt_xent, references.nt_xent)
_DEBIASED = _infonce(losses.debiased_infonce, references.debiased_infonce, least=2)
_SIGLIP = Objective(losses.siglip, references.siglip, scalars=_LOGITS)
_SUP_CON = _infonce(
    losses.sup_con,
    references.sup_con,
    rows="a",
    of_rows="labels",
    invariances=("rotation", "scale"),
)
_EXCLUDE = _infonce(_excluding(losses.infonce), _excluding(references.infonce), of_rows="labels")
_EXCLUDE_ONE_WAY = _infonce(
    _excluding(_one_way),
    _excluding(_one_way_reference),
    of_rows="labels",
    invariances=("rotation", "scale"),
)
_BESIDE = _infonce(
    _beside(losses.infonce),
    _beside(references.infonce),
    rows="abq",
    invariances=("rotation", "scale"),
)
_SIGLIP_EXCLUDING = _SIGLIP._replace(
    loss=_excluding(losses.siglip), reference=_excluding(references.siglip), of_rows="labels"
)
_SEVERAL = _infonce(
    _with_positives(losses.infonce),
    _with_positives(references.infonce_of_several),
    of_rows="labels",
)
_REGULARISER = _without_negatives(
    losses.norm_entropy_regulariser,
    references.norm_entropy_regulariser,
    rows="a",
    scalars={"norm_weight": 0.3},
    least=2,
    invariances=("rotation",),
)

# Those that every property is asked of.
OBJECTIVES = {
    "infonce": _infonce(),
    "one-way": _by_mean(_PLAIN_ONE_WAY),
    "distance": _with_options(
        _infonce(invariances=("rotation", "translation", "exchange")), **_distance
    ),
    "exclude ids": _EXCLUDE,
    "exclude mask": _EXCLUDE._replace(of_rows="mask"),
    "clip": Objective(losses.clip, references.clip, scalars=_LOGITS),
    "nt_xent": _NT_XENT,
    "dcl": _infonce(losses.dcl, references.dcl, least=2),
    "debiased": _with_options(_DEBIASED, positive_prior=0.1),
    "hard negatives": _with_options(_DEBIASED, **_hard),
    "sup_con labels": _by_mean(_SUP_CON, _mean_of_rows_with_positives),
    "sup_con mask": _SUP_CON._replace(of_rows="mask"),
    "moco": _infonce(losses.moco, references.moco, rows="abq", invariances=("rotation", "scale")),
    "siglip": _by_mean(_SIGLIP),
    "uniformity": Objective(
        losses.uniformity,
        references.uniformity,
        rows="a",
        scalars={"t": 2.0},
        reduction=None,
        least=2,
        invariances=("rotation", "scale"),
    ),
    "alignment": _without_negatives(losses.alignment, references.alignment, reduction="none"),
    "negative_cosine": _without_negatives(
        losses.negative_cosine, references.negative_cosine, reduction="none", held=1
    ),
    "barlow_twins": _without_negatives(
        losses.barlow_twins, references.barlow_twins, invariances=("translation", "exchange")
    ),
    "vicreg": _without_negatives(
        losses.vicreg, references.vicreg, least=2, invariances=("translation", "exchange")
    ),
    "regulariser": _with_options(_REGULARISER, entropy="gaussian"),
    "regulariser by neighbours": _with_options(_REGULARISER._replace(least=4), entropy="knn"),
    "regulariser by kernels": _with_options(_REGULARISER, entropy="kernel"),
}

# Other paths through the same code, of which one compiled program tells enough.
VARIANTS = {
    "one-way by rows": _PLAIN_ONE_WAY,
    "siglip by rows": _SIGLIP._replace(invariances=("rotation", "scale", "exchange of the sum")),
    "sup_con labels by rows": _SUP_CON,
    "sup_con mask, mean": _by_mean(_SUP_CON._replace(of_rows="mask"), _mean_of_rows_with_positives),
    "exclude ids, one-way": _EXCLUDE_ONE_WAY,
    "exclude mask, one-way": _EXCLUDE_ONE_WAY._replace(of_rows="mask"),
    "negatives beside": _BESIDE,
    "negatives beside, one-way distance": _with_options(
        _by_mean(_BESIDE._replace(invariances=("rotation", "translation"))),
        symmetric=False,
        **_distance,
    ),
    "clip excluding": Objective(
        _excluding(losses.clip), _excluding(references.clip), of_rows="mask", scalars=_LOGITS
    ),
    "nt_xent excluding": _infonce(
        _excluding(losses.nt_xent), _excluding(references.nt_xent), of_rows="labels"
    ),
    "siglip excluding": _by_mean(_SIGLIP_EXCLUDING._replace(of_rows="mask")),
    "siglip excluding by rows": _SIGLIP_EXCLUDING._replace(
        invariances=("rotation", "scale", "exchange of the sum")
    ),
    "infonce of inner products": _with_options(
        _infonce(invariances=("rotation", "exchange")), **_inner_product
    ),
    "nt_xent of inner products": _with_options(
        _NT_XENT._replace(invariances=("rotation", "exchange")), **_inner_product
    ),
    # Both conventions, by ids and by a mask that leaves a row without positives.
    "infonce of several": _with_options(_SEVERAL, denominator="all"),
    "infonce of several, by mask": _with_options(
        _SEVERAL._replace(of_rows="mask"), denominator="negatives", symmetric=False
    )._replace(invariances=("rotation", "scale")),
    "nt_xent of several": _with_options(
        _infonce(
            _with_positives(losses.nt_xent),
            _with_positives(references.nt_xent_of_several),
            of_rows="labels",
        ),
        denominator="negatives",
    ),
    "siglip of several": _SIGLIP._replace(
        scalars={"logit_scale": 3.0, "logit_bias": -1.0},
        loss=_with_positives(losses.siglip),
        reference=_with_positives(references.siglip),
        of_rows="mask",
        invariances=("rotation", "scale", "exchange of the sum"),
    ),
    "alignment, not squared": _with_options(
        _without_negatives(losses.alignment, references.alignment, reduction="none"), exponent=1.0
    ),
}


def _of_views(loss):
    return lambda *views, **options: loss(jnp.stack(views), **options)


def _gaussian(loss, reference, **changes):
    return _without_negatives(loss, reference, invariances=())._replace(**changes)


def _sliced(name, scalars=None, least=1, holds_rows=False, rows="ab", **options):
    options["directions"] = DIRECTIONS
    loss, reference = getattr(losses, name), getattr(gaussian_references, name)
    # The block leaves a ragged last one of 7 directions.
    loss = functools.partial(loss, block=3, **options)
    return _gaussian(
        _of_views(loss) if len(rows) > 1 else loss,
        functools.partial(reference, **options),
        rows=rows,
        scalars=scalars or {},
        least=least,
        holds_rows=holds_rows,
    )


def _plain(name, least=1, **options):
    return _gaussian(
        functools.partial(getattr(losses, name), **options),
        functools.partial(getattr(gaussian_references, name), **options),
        least=least,
    )


# Those that ask for a Gaussian, or spread the rows without a softmax.
GAUSSIAN = {
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
        holds_rows=True,
    ),
    "view_prediction": _gaussian(
        _of_views(losses.view_prediction), gaussian_references.view_prediction
    ),
    "koleo": _gaussian(
        functools.partial(losses.koleo, block=4), gaussian_references.koleo, rows="a", least=2
    ),
    "w_mse": _plain("w_mse", least=DIM + 1),
    "w_mse, shrunk, in groups": _plain("w_mse", epsilon=0.1, sub_batch=3, least=3),
    "spectral": _plain("spectral_contrastive", least=2),
    "spectral in a ball": _plain("spectral_contrastive", square_radius=4.0, least=2),
}

ALL = OBJECTIVES | VARIANTS | GAUSSIAN
PAIRWISE = [name for name, objective in OBJECTIVES.items() if objective.pairwise]


def cases(table):
    """Each objective with each of its implementations on one device."""
    return [
        (name, implementation)
        for name, objective in table.items()
        for implementation in (("dense", "tiled") if objective.pairwise else (None,))
    ]


class Batch(NamedTuple):
    """What an objective is called with.

    Attributes:
        rows: arrays of rows.
        of_rows: what belongs to the rows, one array or none.
        scalars: the differentiable scalars.
        weights: one for each loss, or a single one.
    """

    rows: list
    of_rows: list
    scalars: dict
    weights: np.ndarray


def draw(name, n=N, dim=DIM, seed=0, dtype=np.float64) -> Batch:
    """A batch of `n` rows in float64, which are exact in `dtype` as well."""
    objective = ALL[name]
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, dim))
    a = 1.5 * a + 0.2 if name in GAUSSIAN else a
    rows = {"a": a, "b": a + 0.8 * rng.normal(size=(n, dim))}
    rows["q"] = rng.normal(size=(n - n // 4, dim))
    of_rows = {
        # From 9 rows on some have partners of their class and some have none.
        "labels": np.arange(n) % (2 * n // 3 + 1) - 1,
        "mask": (rng.random((n, n)) < 0.3) & (np.arange(n) != n // 2)[:, None],
    }
    exact = [rows[k].astype(dtype).astype(np.float64) for k in objective.rows]
    weights = 1 + np.cos(np.arange(n)) / 2 if objective.reduction == "none" else np.float64(1)
    belonging = [of_rows[objective.of_rows]] if objective.of_rows else []
    return Batch(exact, belonging, dict(objective.scalars), weights)


@functools.cache
def step(name, implementation, tile=(4, 5)):
    """Compiled: a batch's weighted sum of losses, the losses, and every gradient of the sum.

    The tile leaves a ragged last one of 9 rows in both directions.
    """
    return jax.jit(
        jax.value_and_grad(weighted_sum(name, implementation, tile), (0, 1), has_aux=True)
    )


def weighted_sum(name, implementation, tile=(4, 5)):
    objective = ALL[name]
    options = {"implementation": implementation, "tile": tile} if objective.pairwise else {}
    if objective.reduction:
        options["reduction"] = objective.reduction

    def function(rows, scalars, of_rows, weights):
        value = objective.loss(*rows, *of_rows, **scalars, **options)
        return jnp.sum(value * weights), value

    return function


def cast(batch, dtype=jnp.float32):
    """The arguments of `step`: rows in `dtype`, scalars in float32, or float64 if the rows are."""
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    rows = [jnp.asarray(z, dtype) for z in batch.rows]
    scalars = {k: jnp.asarray(v, wide) for k, v in batch.scalars.items()}
    return rows, scalars, list(map(jnp.asarray, batch.of_rows)), jnp.asarray(batch.weights, wide)


def at_temperature(batch, temperature) -> Batch:
    """With the scalar that is an inverse temperature, or a temperature, at this one."""
    cold = {"temperature": temperature, "logit_scale": 1 / temperature, "t": 0.5 / temperature}
    return batch._replace(scalars={k: cold.get(k, v) for k, v in batch.scalars.items()})


def has_temperature(name):
    return bool({"temperature", "logit_scale", "t"} & set(ALL[name].scalars))
