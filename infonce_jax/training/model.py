"""What is trained: an encoder, with a classifier where the objective needs one, on standardised rows."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, Num, PyTree
from ml_collections import config_dict

from infonce_jax import encoders, losses
from infonce_jax.data import Dataset, DataSpec, view_shape
from infonce_jax.training.distributed import shard_batch
from infonce_jax.training.objectives import find_objective


class Model(NamedTuple):
    """The static parts of what is trained.

    Attributes:
        encoder: the Flax module.
        classifier: a linear classifier on the trained output, or None.
        trained_output: "encoder" or "head", the output that the objective sees.
        embedded_output: "encoder" or "head", the output that is embedded.
        sample_shape: of one row, as the encoder is given it.
        mean: of the training rows, by image channel; 0 for vectors.
        std: of the training rows, by image channel; 1 for vectors.
        mesh: the devices that share a batch.
        microbatch: rows that are encoded at a time while training; 0 for all.
    """

    encoder: nn.Module
    classifier: nn.Module | None
    trained_output: str
    embedded_output: str
    sample_shape: tuple[int, ...]
    mean: Float[Array, "..."]
    std: Float[Array, "..."]
    mesh: Mesh
    microbatch: int = 0


def make_model(config: config_dict.ConfigDict, data: Dataset, mesh: Mesh) -> Model:
    """The configured model for these data.

    Raises:
        ValueError: for invalid options of the encoder.
    """
    classifier = None
    if find_objective(config).views == 1:
        classifier = encoders.make_classifier(
            data.spec.num_classes, initializer=config.encoder.initializer
        )
    model = Model(
        encoder=make_encoder(config, data.spec),
        classifier=classifier,
        trained_output="encoder" if config.encoder.head == "none" else "head",
        embedded_output=config.embed.output,
        sample_shape=view_shape(config, data.spec),
        mean=jnp.asarray(data.mean),
        std=jnp.asarray(data.std),
        mesh=mesh,
        microbatch=config.train.microbatch,
    )
    if (
        model.microbatch
        and jax.eval_shape(functools.partial(init_model, model), jax.random.key(0))[1]
    ):
        raise ValueError(
            f"config.train.microbatch is {model.microbatch}, but the encoder has BatchNorm, whose "
            "statistics come from the whole batch; set config.encoder.norm='group' (and "
            "head_norm='none'), or microbatch=0."
        )
    return model


def make_encoder(config: config_dict.ConfigDict, spec: DataSpec | None = None) -> nn.Module:
    """The configured encoder, or the two of data that are pairs.

    Args:
        config: the configuration.
        spec: of its data; None for the first encoder alone.

    Raises:
        ValueError: for invalid options, and for a second encoder without pairs or pairs without one.
    """
    dtype = jnp.dtype(config.train.compute_dtype)
    first = _make_encoder(config.encoder, dtype)
    if spec is None:
        return first
    if not spec.halves and config.encoder_b.name:
        raise ValueError(
            f"config.encoder_b.name is {config.encoder_b.name!r}, but config.data.source = "
            f"{config.data.source!r} gives no pairs; set it to ''."
        )
    if not spec.halves:
        return first
    if not config.encoder_b.name:
        raise ValueError(
            f"config.data.path is {config.data.path!r}, which holds pairs, but config.encoder_b.name is "
            "''; set it to the encoder of the second halves (y)."
        )
    if config.train.microbatch or find_objective(config).views == 1:
        field = "train.microbatch" if config.train.microbatch else "objective"
        value = config.train.microbatch if config.train.microbatch else config.objective
        raise ValueError(
            f"config.{field} is {value!r}, which does not work on pairs; "
            + ("set it to 0." if config.train.microbatch else "choose an objective of two views.")
        )
    halves = tuple(encoders.Half(*half) for half in spec.halves)
    return encoders.TwoTowers(first, _make_encoder(config.encoder_b, dtype), halves)


def _make_encoder(e: config_dict.ConfigDict, dtype: jnp.dtype) -> encoders.Encoder:
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
        norm_epsilon=e.norm_epsilon,
        head=e.head,
        head_hidden=e.head_hidden,
        head_dim=e.head_dim,
        head_norm=e.head_norm,
        kwargs=e.kwargs.to_dict(),
        initializer=e.initializer,
        dtype=dtype,
    )


def init_model(model: Model, key: Key[Array, ""], weights: PyTree = None) -> tuple[PyTree, PyTree]:
    """Draws the initial parameters and BatchNorm's moments.

    Args:
        model: from `make_model`.
        key: the member's.
        weights: of a published checkpoint, from `encoders.read_weights`: the backbone's start.
    """
    encoder_key, classifier_key = jax.random.split(key)
    sample = jnp.zeros((2, *model.sample_shape), jnp.float32)
    variables = encoders.init(model.encoder, encoder_key, sample)
    if weights:
        variables = encoders.carry_over(variables, weights)
    params = {"encoder": variables["params"]}
    if model.classifier is not None:
        outputs, _ = encoders.apply(model.encoder, variables, sample, train=False)
        z = getattr(outputs, model.trained_output)
        params["classifier"] = model.classifier.init(classifier_key, z)["params"]
    return params, variables.get("batch_stats", {})


def encode(
    model: Model, params: PyTree, batch_stats: PyTree, rows: Num[Array, "batch ..."], *, train: bool
) -> tuple[encoders.Outputs, PyTree]:
    """Encodes a batch.

    Args:
        model: from `make_model`.
        params: with the encoder's under "encoder".
        batch_stats: BatchNorm's moments.
        rows: samples as float32, before they are standardised.
        train: whether BatchNorm takes its moments from the batch, and updates the running ones.

    Returns:
        The outputs, and BatchNorm's new moments.
    """
    standardised = (rows - model.mean) / model.std
    if train and model.microbatch:

        def part(own, some):
            return encoders.apply(model.encoder, {"params": own}, some, train=True)[0]

        encode_all = losses.microbatched(part, model.microbatch)
        return encode_all(params["encoder"], shard_batch(model.mesh, standardised)), batch_stats
    variables = {"params": params["encoder"], "batch_stats": batch_stats}
    return encoders.apply(
        model.encoder, variables, shard_batch(model.mesh, standardised), train=train
    )
