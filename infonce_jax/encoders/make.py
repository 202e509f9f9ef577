"""Encoders by name, with every option checked."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from infonce_jax import registry
from infonce_jax.encoders.encoder import HEADS, Encoder
from infonce_jax.encoders.initializers import INITIALIZERS, check_name
from infonce_jax.encoders.layers import ACTIVATIONS, NORMS, Dense
from infonce_jax.encoders.mlp import MLP
from infonce_jax.encoders.resnet import STAGES, STEMS, ResNet
from infonce_jax.encoders.vit import POOLS, ViT, check_heads

RESNETS = tuple(STAGES)
ENCODERS = ("linear", "mlp", *RESNETS, "vit")


def make_encoder(
    name: str,
    *,
    embedding_dim: int | None = 128,
    width: int | None = None,
    depth: int | None = None,
    activation: str = "relu",
    norm: str = "batch",
    stem: str = "cifar",
    zero_init_residual: bool = False,
    patch_size: int = 4,
    num_heads: int = 3,
    pool: str = "token",
    norm_epsilon: float = 1e-6,
    head: str = "none",
    head_hidden: int = 512,
    head_dim: int = 128,
    head_norm: str = "none",
    initializer: str = "normal",
    kwargs: Mapping[str, Any] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Encoder:
    """Builds an encoder by name. Options that the named encoder does not use are ignored.

    - `linear`: one linear layer on the flattened input.
    - `mlp`: `depth` linear layers, the last one to the representation.
    - `resnet18`, `resnet34`, `resnet50`: He et al. 2016, with torchvision's numbers of parameters.
    - `vit`: Dosovitskiy et al. 2021, pre-normalised, with GELU.
    - `my_module:name`: a Flax module of your own, or a function that returns one, made with `kwargs`. It
      is called as `module(x, train=train)`, or as `module(x)` where it has no such parameter, and
      returns features [batch, features]. Where it has a field `dtype`, it is given the one below.

    Each ends in a linear layer to the `embedding_dim` dimensions of the representation. With
    `embedding_dim=None` that layer is left out, and the representation is its input: the pooled
    features or the last hidden layer. The pooled features of a ResNet follow a ReLU. They are never
    negative and hence never Gaussian. Parameters are float32.

    Examples:
        >>> encoder = make_encoder("mlp", depth=2, width=64, embedding_dim=16)
        >>> variables = encoder.init(jax.random.key(0), jnp.ones((1, 32)))
        >>> encoder.apply(variables, jnp.ones((8, 32))).encoder.shape
        (8, 16)

    Args:
        name: One of `ENCODERS`, or `my_module:name`.
        embedding_dim: Dimension d of the representation, or `None`.
        width: Hidden units of the MLP (default 512), channels of the ResNet's first stage (64), or
            width of the ViT's tokens (192).
        depth: Linear layers of the MLP, the last one included (default 2), or blocks of the ViT (6).
        activation: Of the MLP and of the head's hidden layer, one of `ACTIVATIONS`.
        norm: Of the ResNet, one of `NORMS`. `"batch"` has momentum 0.9 and takes its statistics from
            the whole batch, across devices if the batch is sharded under `jax.jit`. `"group"` has up
            to 32 groups. With `"none"` the convolutions have biases.
        stem: Of the ResNet: `"cifar"` (3×3, stride 1) or `"imagenet"` (7×7, stride 2, max-pool).
        zero_init_residual: Whether the last normalisation of each residual block starts at scale 0,
            so that the block starts as the identity.
        patch_size: Side of the ViT's patches in pixels.
        num_heads: Attention heads of the ViT.
        pool: The ViT's features: its class `"token"` or the `"mean"` of its tokens.
        norm_epsilon: Added to the variance in the ViT's LayerNorms. timm and torchvision have 1e-6,
            transformers 1e-12.
        head: Projection head: `"none"`, `"linear"`, or `"mlp"` with one hidden layer.
        head_hidden: Hidden units of the MLP head.
        head_dim: Output dimension of the head.
        head_norm: Normalisation of the MLP head's hidden layer, one of `NORMS`.
        initializer: How parameters start, one of `INITIALIZERS`. Let n be the number of inputs of a
            dense layer, or kernel area · input channels of a convolution. With `"normal"` kernels
            are normal with mean 0 and biases are 0. The variance is 1 / n for dense layers (LeCun et
            al. 1998) and 2 / (kernel area · output channels) for convolutions (He et al. 2015). With
            `"pytorch"` kernels and biases are uniform in ±1/√n, the defaults of `torch.nn.Linear`
            and `torch.nn.Conv2d`. Both start a ViT's positions normal with standard deviation 0.02,
            its class token at 0, and normalisations at scale 1 and bias 0.
        kwargs: Keyword arguments of a module of your own.
        dtype: Type in which the layers compute, such as `jnp.bfloat16`. The representation and the
            head's output are float32 in any case.

    Returns:
        The encoder, for `init` and `apply`.

    Raises:
        ValueError: If a name is unknown, a size is below 1 or `norm_epsilon` not above 0, `num_heads`
            does not divide the ViT's width, or a linear encoder has no `embedding_dim`. Inputs of an
            impossible shape raise when the encoder is first given them.
    """
    is_own = registry.is_own(name)
    if not is_own:
        check_name("encoder", name, ENCODERS)
    check_name("activation", activation, tuple(ACTIVATIONS))
    check_name("norm", norm, NORMS)
    check_name("head norm", head_norm, NORMS)
    check_name("head", head, HEADS)
    check_name("stem", stem, STEMS)
    check_name("pool", pool, POOLS)
    check_name("initializer", initializer, INITIALIZERS)
    if width is None:
        width = {"mlp": 512, "vit": 192}.get(name, 64)
    if depth is None:
        depth = {"vit": 6}.get(name, 2)
    sizes = {
        "width": width,
        "depth": depth,
        "patch_size": patch_size,
        "num_heads": num_heads,
        "head_hidden": head_hidden,
        "head_dim": head_dim,
    }
    if embedding_dim is not None:
        sizes["embedding_dim"] = embedding_dim
    for option, size in sizes.items():
        if size < 1:
            raise ValueError(f"The encoder's {option} is {size}, but must be at least 1.")
    if is_own:
        backbone = _own_backbone(name, kwargs or {}, dtype)
    elif name in ("linear", "mlp"):
        hidden_layers = depth - 1 if name == "mlp" else 0
        if hidden_layers == 0 and embedding_dim is None:
            raise ValueError(
                "A linear encoder is nothing but its linear layer to the embedding, so "
                "embedding_dim cannot be None (or 0); set it to the dimension of the embedding."
            )
        backbone = MLP(hidden_layers, width, activation, initializer, dtype)
    elif name == "vit":
        check_heads(num_heads, width)
        if not norm_epsilon > 0:
            raise ValueError(f"The ViT's norm_epsilon is {norm_epsilon}, but must be above 0.")
        backbone = ViT(patch_size, depth, num_heads, width, pool, initializer, dtype, norm_epsilon)
    else:
        backbone = ResNet(
            stages=STAGES[name],
            bottleneck=name == "resnet50",
            width=width,
            stem=stem,
            norm=norm,
            zero_init_residual=zero_init_residual,
            initializer=initializer,
            dtype=dtype,
        )
    return Encoder(
        backbone=backbone,
        embedding_dim=embedding_dim,
        head=head,
        head_hidden=head_hidden,
        head_dim=head_dim,
        head_norm=head_norm,
        activation=activation,
        initializer=initializer,
        dtype=dtype,
        is_own=is_own,
    )


def _own_backbone(name: str, kwargs: Mapping[str, Any], dtype: DTypeLike) -> nn.Module:
    make = registry.load("encoder.name", name)
    # Asked of the class's modules: to import flax.nnx takes half a second.
    if isinstance(make, type) and any(c.__module__.startswith("flax.nnx") for c in make.__mro__):
        raise ValueError(
            f"config.encoder.name is {name!r}, a module of Flax NNX; it must be one of Flax Linen, a "
            "class derived from flax.linen.Module. docs/examples/train_nnx.py trains an NNX encoder "
            "with the losses alone."
        )
    kwargs = {key: registry.hashable(value) for key, value in kwargs.items()}
    takes = registry.fit("encoder.name", name, make, (), offered=("dtype",), kwargs=kwargs)
    module = make(**kwargs, **({"dtype": dtype} if takes else {}))
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"config.encoder.name is {name!r}, which gives a {type(module).__name__}; it must be a "
            "class derived from flax.linen.Module, or a function that returns such a module."
        )
    registry.fit("encoder.name", name, module, ("x",), offered=("train",))
    return module


def make_classifier(num_classes: int, *, initializer: str = "normal") -> Dense:
    """Builds a linear classifier on representations.

    Examples:
        >>> layer = make_classifier(10)
        >>> layer.init(jax.random.key(0), jnp.ones((1, 16)))["params"]["kernel"].shape
        (16, 10)

    Args:
        num_classes: Number of logits.
        initializer: One of `INITIALIZERS`, as in `make_encoder`.

    Returns:
        A Flax module with `init` and `apply`. It maps [batch, dim] to logits [batch, num_classes].

    Raises:
        ValueError: If there are fewer than two classes, or the initialiser is unknown.
    """
    if num_classes < 2:
        raise ValueError(
            f"A classifier needs at least 2 classes, but num_classes is {num_classes}."
        )
    check_name("initializer", initializer, INITIALIZERS)
    return Dense(num_classes, initializer)
