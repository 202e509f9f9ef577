"""Every setting of a run with its default, and the checks of the values.

A file in configs/ calls `default_config()` and changes what its experiment needs. Scalars marked
with `_each` may be given as a list. All values, with all seeds, are then trained side by side in one
program.
"""

import copy
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

from infonce_jax import registry

# Fields that do not change what training computes: how it is logged, saved, evaluated and spread over
# devices.
_INCIDENTAL = (
    *("name", "scale", "checkpoint", "evaluate", "log", "report"),
    *("data.cache_dir", "data.data_dir", "data.max_memory_gb", "data.prefetch", "data.workers"),
    "train.devices",
)

# The scalars that may be lists. They are arguments of the compiled program: new values compile nothing.
HYPERPARAMETERS = (
    "channel.strength",
    "channel.crop_area_min",
    "channel.jitter",
    "channel.grayscale_prob",
    "channel.blur_prob",
    "channel.noise_std",
    "channel.erasure_prob",
    "channel.row_scale_std",
    "loss.temperature",
    "loss.beta",
    "loss.norm_weight",
    "loss.label_smoothing",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
)

EMBEDDINGS = ("encoder", "head")

# The fields that name a part, of the package or of the user's own, and the fields with its arguments.
PARTS = (
    *("data.source", "channel.name", "encoder.name", "encoder_b.name", "objective"),
    "loss.regulariser",
    *("optimizer.name", "evaluate.statistics"),
)
KWARGS = (
    *("data.kwargs", "channel.kwargs", "encoder.kwargs", "loss.kwargs", "loss.regulariser_kwargs"),
    *("optimizer.kwargs", "evaluate.kwargs", "encoder_b.kwargs"),
)


class Member(NamedTuple):
    """One of the runs trained side by side: a seed and its hyperparameters.

    Attributes:
        name: folder-safe, for example "seed0" or "seed0,loss.temperature=0.1".
        seed: decides initial parameters, batches and views.
        hyperparameters: the value of every entry of `HYPERPARAMETERS`.
        varied: the hyperparameters that the configuration gives as a list.
    """

    name: str
    seed: int
    hyperparameters: dict[str, float]
    varied: dict[str, float]

    def record(self) -> dict[str, Any]:
        """The member as config.json and manifests hold it: of the hyperparameters the varied ones."""
        return {"name": self.name, "seed": self.seed, "hyperparameters": self.varied}


def _each(value: float) -> config_dict.FieldReference:
    """A scalar that may also be given as a list."""
    return config_dict.FieldReference(value, field_type=object)


def default_config() -> config_dict.ConfigDict:
    """The default configuration; files in configs/ start from it.

    A part (source, channel, encoder, objective, regulariser, optimizer, statistic) is a name that the
    comments list, or `my_module:name` of your own: docs/your_parts.md says how to write one.

    Examples:
        >>> config = default_config()
        >>> config.encoder.embedding_dim = 64
        >>> validate(config)
    """
    c = config_dict.ConfigDict()
    c.name = "run"
    # quick or full, for sweeps that come in two sizes.
    c.scale = "quick"
    # One run per seed, trained side by side.
    c.seeds = (0, 1, 2, 3, 4)
    # infonce, nt_xent, dcl, siglip, sup_con (needs labels), barlow_twins, vicreg, w_mse,
    # spectral_contrastive; prediction (alignment alone, which collapses without a regulariser);
    # supervised (cross-entropy of a linear classifier on the embedding); or my_module:name.
    c.objective = "infonce"

    c.data = d = config_dict.ConfigDict()
    # laplace, mixture, binary, gaussian, sphere; cifar10, array (a file of yours); tfds:name (a prepared
    # dataset of TensorFlow Datasets), folder:path (images), hf:name (Hugging Face); or my_module:name.
    d.source = "laplace"
    # Keyword arguments of a source of yours.
    d.kwargs = config_dict.ConfigDict()
    # Seed of the data themselves, shared by all members.
    d.seed = 0
    # Synthetic sources: coordinates, rows to train on (an epoch) and rows to test on.
    d.dim = 512
    d.train_size = 10_240
    d.test_size = 10_000
    # Draw new rows at every step instead of passing over train_size fixed ones.
    d.fresh = False
    # Scale b of the Laplace source. The variance is 2 b², by default 1.
    d.laplace_scale = 0.5**0.5
    # Gaussian components, each of unit covariance, with means drawn from N(0, separation² I).
    d.mixture_components = 10
    d.mixture_separation = 3.0
    # Expected number of ones in a row of the binary source.
    d.binary_active = 8.0
    # Law of the number of ones. With bernoulli the bits are independent. With the others the number is
    # drawn first, with mean binary_active, and then that many places at random: fixed, uniform (from 0
    # to twice the mean), exponential, lognormal (binary_counts_log_std is the standard deviation of
    # its logarithm).
    d.binary_counts = "bernoulli"
    d.binary_counts_log_std = 1.0
    # Bit i is one with a frequency proportional to i^-binary_skew; 0 makes all equally frequent.
    d.binary_skew = 0.0
    # Clusters: so many prototypes are drawn once by the law above. A row is one of them, with every bit
    # flipped with probability binary_flips. 0 for independent rows.
    d.binary_prototypes = 0
    d.binary_flips = 0.0
    # cifar10, tfds: folder of the prepared datasets; "" for the default of tensorflow_datasets.
    # All images: folder where decoded images are kept; "" for ~/.cache/infonce_jax.
    d.data_dir = ""
    d.cache_dir = ""
    # cifar10: a class (0 to 9) that is left out of the training set and kept in the test set, to see
    # whether it is recognised as new; -1 for none.
    d.held_out_class = -1
    # array: a .npy file of rows [n, dim] or uint8 images [n, height, width, 3]; or a .npz file with
    # these as "x", with "labels" if there are any, and with "y" for pairs. test_path names a file of
    # test rows; without one, test_size rows are held out, chosen by data.seed.
    d.path = ""
    d.test_path = ""
    # tfds, folder, hf: images are cut to a square and resized to this side in pixels. 0 keeps their
    # size, which must then be the same for all.
    d.image_size = 0
    # tfds, folder, hf: images stay in memory if all of them, decoded, take at most max_memory_gb.
    # Otherwise they are streamed: read and decoded batch by batch, `prefetch` batches ahead, in
    # `workers` threads (0: one per core).
    d.max_memory_gb = 4.0
    d.prefetch = 2
    d.workers = 0
    # tfds, hf: splits to train and to test on. "" for test_split is the split "test" or "validation" or,
    # without one, test_size rows held out from the training split.
    # image_field and label_field name the fields to use; "" for "image" and "label", or the only ones.
    d.train_split = "train"
    d.test_split = ""
    d.image_field = ""
    d.label_field = ""

    c.channel = v = config_dict.ConfigDict()
    # gaussian_noise, mixing, erasure, identity; bit_flip and bit_add for the binary source,
    # same_component for the mixture, simclr for images; or my_module:name.
    v.name = "gaussian_noise"
    # Keyword arguments of a channel of yours.
    v.kwargs = config_dict.ConfigDict()
    # gaussian_noise: the noise's standard deviation. mixing: A in A x + √(1-A²) ε. erasure, bit_flip,
    # bit_add: a probability per coordinate. The other channels do not use it.
    v.strength = _each(0.5)
    # After any channel, in this order: add Gaussian noise (its standard deviation), set coordinates to
    # zero (the probability), multiply each row by exp(N(0, s²)) (s). 0 switches a step off.
    v.noise_std = _each(0.0)
    v.erasure_prob = _each(0.0)
    v.row_scale_std = _each(0.0)
    # simclr: side in pixels to which crops are resized, and whole images when they are embedded; 0 for
    # the images' own.
    v.view_size = 0
    # Smallest share of the image that a crop keeps; 1 switches cropping off.
    v.crop_area_min = _each(0.2)
    v.flip = True
    # Strength of the colour jitter, applied with probability 0.8; 1 is SimCLR's for CIFAR-10, that is
    # brightness, contrast and saturation up to 0.4 and hue up to 0.1.
    v.jitter = _each(1.0)
    v.grayscale_prob = _each(0.2)
    v.blur_prob = _each(0.0)

    c.encoder = e = config_dict.ConfigDict()
    # linear, mlp, resnet18, resnet34, resnet50, vit, or my_module:name, a Flax module.
    e.name = "linear"
    # Keyword arguments of an encoder of yours, which uses embedding_dim and the head's fields as well,
    # and no other field below.
    e.kwargs = config_dict.ConfigDict()
    # Dimension of the embedding; 0 leaves the pooled features of a ResNet or ViT as they are.
    e.embedding_dim = 128
    # Hidden width of the mlp, channels of the first stage of a ResNet, token width of the vit;
    # 0 for the usual one (512, 64, 192).
    e.width = 0
    # Layers of the mlp, the last one included, or blocks of the vit; 0 for the usual (2, 6).
    e.depth = 0
    e.activation = "relu"
    # Initial parameters: normal (LeCun for dense layers, He for convolutions, no bias), or pytorch
    # (uniform in ±1/√inputs, biases too).
    e.initializer = "normal"
    # Weights that a ResNet or ViT starts from: a safetensors file of torchvision, timm or transformers,
    # or a folder with model.safetensors; "" for random ones. The layer to the embedding and the head
    # are always random.
    e.init_from = ""
    # batch, group or none.
    e.norm = "batch"
    # ResNets: "cifar" (3x3, stride 1) or "imagenet" (7x7, stride 2, max-pool).
    e.stem = "cifar"
    # Start every residual block as the identity.
    e.zero_init_residual = False
    # ViT: side of a patch in pixels, attention heads, and features from the class "token" or the
    # tokens' "mean".
    e.patch_size = 4
    e.num_heads = 3
    e.pool = "token"
    # ViT: added to the variance in LayerNorm; timm and torchvision have 1e-6, transformers 1e-12.
    e.norm_epsilon = 1e-6
    # Projection head after the embedding: none, linear, mlp. The loss is applied to its output.
    e.head = "none"
    e.head_hidden = 512
    e.head_dim = 128
    e.head_norm = "none"

    # For pairs (arrays "x" and "y"): the encoder of y, with the same fields. "" for none.
    c.encoder_b = config_dict.ConfigDict(e.to_dict() | {"name": ""})

    c.loss = s = config_dict.ConfigDict()
    s.temperature = _each(0.5)
    # Learn the temperature. It starts at the value above and stays above temperature_min.
    s.learn_temperature = False
    s.temperature_min = 0.01
    # infonce: average the losses of both directions. The other objectives are symmetric anyway.
    s.symmetric = True
    s.normalize = True
    # Keyword arguments of an objective of yours.
    s.kwargs = config_dict.ConfigDict()
    # The bias that SigLIP's paper starts from.
    s.siglip_bias = -10.0
    # What is added to the objective with weight beta: norm_entropy, -H(ρ) + λ E‖z‖² with
    # λ = norm_weight; sigreg, sigreg_unbiased, visreg, sliced_wasserstein, koleo; or my_module:name,
    # with keyword arguments regulariser_kwargs. LeJEPA with λ is objective = prediction,
    # regulariser = sigreg and beta = λ / (1 - λ).
    s.regulariser = "norm_entropy"
    s.regulariser_kwargs = config_dict.ConfigDict()
    # Random directions of sigreg, visreg and sliced_wasserstein, drawn anew at every step.
    s.directions = 256
    # beta_unit "absolute" takes beta as it is; "vanishing" takes it in units of β₀ = 2(1-η₂)/(τ·dim).
    s.beta = _each(0.0)
    s.beta_unit = "absolute"
    s.beta_schedule = "constant"
    s.norm_weight = _each(0.5)
    s.entropy = "gaussian"
    # Mildness η₂ of the channel, for β₀; 0 gives the β₀ that is enough for any channel.
    s.eta2 = 0.0
    s.label_smoothing = _each(0.0)

    c.optimizer = o = config_dict.ConfigDict()
    # Any optimizer of optax that takes a learning rate: sgd, adam, adamw, lars, lamb, lion, ...; or
    # my_module:name, for example optax.contrib:muon.
    o.name = "adam"
    o.learning_rate = _each(1e-3)
    o.weight_decay = _each(0.0)
    # Further keyword arguments, for example {"momentum": 0.9} for sgd.
    o.kwargs = config_dict.ConfigDict()
    # constant, linear or cosine decay to zero after the warm-up.
    o.schedule = "cosine"
    o.warmup_steps = 0
    # Largest norm of the gradient; 0 for no clipping.
    o.clip_norm = 0.0

    c.train = t = config_dict.ConfigDict()
    t.batch_size = 256
    # Optimiser steps; 0 to count epochs instead.
    t.steps = 0
    t.epochs = 10.0
    # Encode this many views at a time: the same gradients with less memory. 0 for all at once.
    t.microbatch = 0
    # Embed with an average of the weights: average ← d·average + (1 - d)·weights after every step.
    # 0 for no average.
    t.average_decay = 0.0
    # float32 or bfloat16. Parameters and losses are float32 either way.
    t.compute_dtype = "float32"
    # How many devices of each process to use; 0 for all. They share the members first, then the batch.
    t.devices = 0

    c.checkpoint = k = config_dict.ConfigDict()
    k.every_steps = 500
    k.keep_newest = 2
    # Also keep every checkpoint whose step is a multiple of this; 0 for none. Steps at which an
    # embedding set is written are always kept, so that the set can be written again.
    k.keep_every_steps = 0

    c.embed = m = config_dict.ConfigDict()
    # When to write an embedding set, in addition to step 0 and the last step.
    m.epochs = ()
    m.steps = ()
    # Which output to embed and evaluate: the encoder's or the head's.
    m.output = "encoder"
    # Embed the training set as well as the test set.
    m.train_split = False
    # Embed only so many rows of each set, the first ones; 0 for all.
    m.max_rows = 0
    m.batch_size = 1000

    c.log = g = config_dict.ConfigDict()
    g.every_steps = 50
    # Metrics of held-out rows at logging steps: some of rankme, effective_rank, ad, cv, and of the
    # accuracies knn and probe, which need labels. They are computed from held_out_rows test rows;
    # the accuracies use as many training rows.
    g.held_out = ()
    g.held_out_rows = 512
    g.tensorboard = False
    g.wandb = False
    g.wandb_project = "infonce_jax"

    c.evaluate = a = config_dict.ConfigDict()
    a.sample_sizes = (250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
    a.seed = 0
    # Number and size of the groups of the paper's protocol, (20, 250), whose averages then stand below
    # the table; () for none. Test sets with fewer rows are evaluated without.
    a.groups = ()
    # Statistics of yours, ("my_module:name", ...), and their keyword arguments by name: {"name": {...}}.
    a.statistics = ()
    a.kwargs = config_dict.ConfigDict()

    c.report = r = config_dict.ConfigDict()
    r.title = ""
    # The paper's row to show beside ours: laplace, mixture, binary, cifar10, or "" for none.
    r.paper = ""
    # The data.source that title and paper belong to; "" for the source of the paper's row, if there is
    # one. With other data the report shows neither.
    r.source = ""
    # Epochs of the whole experiment. A shorter run is called a trial in its report. 0 for no such note.
    r.full_epochs = 0.0
    r.sample_size = 1000
    return c.lock()


def validate(config: config_dict.ConfigDict) -> None:
    """Checks what can be checked before any data are read.

    Examples:
        >>> config = default_config()
        >>> config.loss.temperature = (0.1, 0.5)
        >>> validate(config)  # raises nothing

    Raises:
        ValueError: naming the field, its value, and what it may be.
    """
    _one_of("scale", config.scale, ("quick", "full"))
    _one_of("embed.output", config.embed.output, EMBEDDINGS)
    _one_of("train.compute_dtype", config.train.compute_dtype, ("float32", "bfloat16"))
    _one_of("loss.beta_unit", config.loss.beta_unit, ("absolute", "vanishing"))
    if not config.seeds or any(not isinstance(s, int) or s < 0 for s in config.seeds):
        raise ValueError(
            f"config.seeds is {config.seeds!r}; give at least one non-negative integer, for example "
            "--config.seeds='(0, 1, 2)'."
        )
    for name in HYPERPARAMETERS:
        for value in _values(config, name):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"config.{name} holds {value!r}; it must be a number.")
            if not value >= 0:
                raise ValueError(f"config.{name} is {value}; it must not be negative.")
    for name in ("loss.temperature", "loss.norm_weight", "optimizer.learning_rate"):
        if any(value <= 0 for value in _values(config, name)):
            raise ValueError(
                f"config.{name} is {_field(config, name)}; it must be greater than 0."
                + (" Usual temperatures are 0.05 to 1." if name == "loss.temperature" else "")
            )
    probabilities = [
        *("channel.grayscale_prob", "channel.blur_prob", "channel.erasure_prob"),
        "loss.label_smoothing",
    ]
    if config.channel.name in ("erasure", "bit_flip", "bit_add"):
        probabilities.append("channel.strength")
    if config.channel.name == "mixing" and any(v > 1 for v in _values(config, "channel.strength")):
        raise ValueError(
            f"config.channel.strength is {config.channel.strength} with the channel 'mixing'; it is the "
            "share A of the sample in A x + √(1-A²) ε, at most 1."
        )
    for name in probabilities:
        if any(value > 1 for value in _values(config, name)):
            raise ValueError(
                f"config.{name} is {_field(config, name)}; it is a probability, at most 1."
            )
    if any(not 0 < value <= 1 for value in _values(config, "channel.crop_area_min")):
        raise ValueError(
            f"config.channel.crop_area_min is {config.channel.crop_area_min}; it is the share of the "
            "image that a crop keeps, above 0 and at most 1."
        )
    if not 0 <= config.loss.eta2 <= 1:
        raise ValueError(f"config.loss.eta2 is {config.loss.eta2}; a mildness lies in [0, 1].")
    at_least_one = (
        "train.batch_size",
        "checkpoint.every_steps",
        "checkpoint.keep_newest",
        "embed.batch_size",
        "log.every_steps",
        "data.prefetch",
    )
    for name in at_least_one:
        if _field(config, name) < 1:
            raise ValueError(f"config.{name} is {_field(config, name)}; it must be at least 1.")
    if config.train.steps < 0 or (config.train.steps == 0 and config.train.epochs <= 0):
        raise ValueError(
            f"config.train.steps is {config.train.steps} and config.train.epochs "
            f"{config.train.epochs}; give a positive number of steps, or steps=0 and a positive number "
            "of epochs."
        )
    if config.objective != "supervised" and config.train.batch_size < 2:
        raise ValueError(
            f"config.train.batch_size is {config.train.batch_size}; {config.objective} needs at least 2 "
            "pairs to set apart."
        )
    if config.embed.output == "head" and config.encoder.head == "none":
        raise ValueError(
            "config.embed.output is 'head' but config.encoder.head is 'none'; choose a head "
            "(--config.encoder.head=mlp) or embed the encoder's output."
        )
    if not 0 <= config.train.average_decay < 1:
        raise ValueError(
            f"config.train.average_decay is {config.train.average_decay}; it lies in [0, 1), for "
            "example 0.999, and 0 is for no average."
        )
    fields = ("data.image_size", "data.max_memory_gb", "data.workers", "channel.view_size")
    for name in (*fields, "train.microbatch"):
        if _field(config, name) < 0:
            raise ValueError(f"config.{name} is {_field(config, name)}; it must not be negative.")
    if config.data.fresh and config.embed.train_split:
        raise ValueError(
            "config.embed.train_split is set but config.data.fresh draws new rows at every step, so "
            "there is no training set to embed; switch one of them off."
        )
    _validate_evaluation(config)


def _validate_evaluation(config: config_dict.ConfigDict) -> None:
    groups = tuple(config.evaluate.groups)
    if groups and (len(groups) != 2 or groups[0] < 1 or groups[1] < 8):
        raise ValueError(
            f"config.evaluate.groups is {groups}; give the number of groups and the rows of each, at "
            "least 8, for example (20, 250), or () for none."
        )
    if any(n < 8 for n in config.evaluate.sample_sizes):
        raise ValueError(
            f"config.evaluate.sample_sizes is {config.evaluate.sample_sizes}; the tests of normality "
            "need at least 8 rows."
        )


def members(config: config_dict.ConfigDict) -> list[Member]:
    """The runs trained side by side: every seed with every combination of the listed scalars.

    Examples:
        >>> config = default_config()
        >>> config.seeds = (0, 1)
        >>> config.loss.temperature = (0.1, 0.5)
        >>> [member.name for member in members(config)][:2]
        ['seed0,loss.temperature=0.1', 'seed1,loss.temperature=0.1']
    """
    varied = [n for n in HYPERPARAMETERS if isinstance(_field(config, n), Sequence)]
    result = []
    for values in itertools.product(*(_values(config, name) for name in varied)):
        chosen = {name: float(value) for name, value in zip(varied, values, strict=True)}
        fixed = {n: float(_field(config, n)) for n in HYPERPARAMETERS if n not in chosen}
        suffix = "".join(f",{name}={value:g}" for name, value in chosen.items())
        for seed in config.seeds:
            result.append(Member(f"seed{seed}{suffix}", int(seed), fixed | chosen, chosen))
    names = [member.name for member in result]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"The configuration trains {', '.join(twice)} more than once; remove the repeated seed or "
            "hyperparameter value."
        )
    return result


def plain(config: config_dict.ConfigDict) -> dict[str, Any]:
    """The configuration as plain data, as it is after a round trip through JSON.

    Examples:
        >>> plain(default_config())["encoder"]["name"]
        'linear'
    """
    return json.loads(config.to_json())


def own_parts(config: config_dict.ConfigDict) -> list[tuple[str, str]]:
    """The fields that name parts of the user's own, each with its value `my_module:thing`.

    Examples:
        >>> own_parts(default_config())
        []
    """
    named = [(field, name) for field in PARTS for name in _names(config, field)]
    return [(field, name) for field, name in named if registry.is_own(name)]


def code(config: config_dict.ConfigDict) -> dict[str, str]:
    """A hash of the files of each part of the user's own, by "field my_module:thing".

    Examples:
        >>> code(default_config())
        {}

    Raises:
        ValueError: where there is no such module.
    """
    return {f"{field} {name}": registry.code_hash(field, name) for field, name in own_parts(config)}


def resolved(config: config_dict.ConfigDict) -> dict[str, Any]:
    """`plain`, with the user's own code under "code" where there is any.

    Examples:
        >>> resolved(default_config())["encoder"]["name"]
        'linear'
    """
    hashes = code(config)
    return plain(config) | ({"code": hashes} if hashes else {})


def from_plain(content: Mapping[str, Any]) -> config_dict.ConfigDict:
    """The configuration from what `plain` returned, or from the content of a run's config.json.

    Examples:
        >>> from_plain(plain(default_config())) == default_config()
        True

    Raises:
        KeyError: for a field that this version does not know.
    """

    def known(tree, default):
        return {
            key: known(value, default[key])
            if isinstance(value, Mapping) and not key.endswith("kwargs")
            else tuple(value)
            if isinstance(value, list)
            else value
            for key, value in tree.items()
        }

    config = default_config()
    sections = {key: value for key, value in content.items() if key in config}
    for name in KWARGS:
        section, key = name.split(".")
        # Locked like the rest, but these sections take any field.
        with config[section][key].unlocked():
            config[section][key].update(sections.get(section, {}).get(key, {}))
    config.update(known(sections, config))
    return config


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a plain configuration that decides what training computes.

    Examples:
        >>> "train" in identity(plain(default_config()))
        True
    """
    kept = copy.deepcopy(dict(config))
    for name in _INCIDENTAL:
        *sections, field = name.split(".")
        section = kept
        for key in sections:
            section = section.get(key, {})
        section.pop(field, None)
    # Statistics belong to the evaluation, which can be repeated at any time.
    kept["code"] = {
        key: value for key, value in kept.get("code", {}).items() if not key.startswith("evaluate.")
    }
    return kept if kept["code"] else {k: v for k, v in kept.items() if k != "code"}


def config_hash(config: config_dict.ConfigDict) -> str:
    """A short hash of `identity`, to recognise a run by.

    Examples:
        >>> len(config_hash(default_config())) > 8
        True
    """
    canonical = json.dumps(identity(resolved(config)), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def difference(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of the fields in which two configurations differ, with both values.

    Examples:
        >>> other = default_config()
        >>> other.train.batch_size = 64
        >>> difference(plain(default_config()), plain(other))
        ['train.batch_size: 64 there, 256 now']
    """
    lines = []
    for key in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(key), theirs.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            lines += difference(one, other, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key}: {other!r} there, {one!r} now")
    return lines


def _field(config: config_dict.ConfigDict, dotted: str) -> Any:
    for key in dotted.split("."):
        config = config[key]
    return config


def _names(config: config_dict.ConfigDict, dotted: str) -> tuple:
    value = _field(config, dotted)
    return (value,) if isinstance(value, str) else tuple(value)


def _values(config: config_dict.ConfigDict, dotted: str) -> tuple:
    value = _field(config, dotted)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise ValueError(f"config.{dotted} is an empty list; give at least one value.")
        return tuple(value)
    return (value,)


def _one_of(name: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        raise ValueError(f"config.{name} is {value!r}; it must be one of {', '.join(valid)}.")
