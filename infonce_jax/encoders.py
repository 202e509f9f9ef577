"""Encoders f: x ↦ z ∈ R^d as Flax modules: linear, MLP, ResNet and ViT, each with an optional head.

This is the only file that knows Flax modules. The rest of the package builds an encoder with
:func:`make_encoder` and uses the pure functions :func:`init` and :func:`apply`. The modules leave
their kernels at zero: :func:`init` draws them.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

Variables = Mapping[str, Any]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "identity": lambda x: x,
    "relu": nn.relu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
}
ENCODERS = ("linear", "mlp", "resnet18", "resnet34", "resnet50", "vit")
HEADS = ("none", "linear", "mlp")
NORMS = ("batch", "group", "none")
POOLS = ("mean", "token")
STEMS = ("cifar", "imagenet")

_RESNET_STAGES = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


class Outputs(NamedTuple):
    """What an encoder returns, in float32.

    Attributes:
        encoder: The representations z.
        head: The projection head's output; the representations themselves where there is no head.
    """

    encoder: Float[Array, "batch dim"]
    head: Float[Array, "batch head_dim"]


def _norm(kind: str, channels: int, train: bool, dtype: DTypeLike, scale_init=nn.initializers.ones):
    if kind == "none":
        return lambda x: x
    if kind == "batch":
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=dtype,
            scale_init=scale_init,
        )
    # At most 32 groups, and two channels or more in each where their number allows.
    groups = math.gcd(32, channels, channels // 2)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=dtype, scale_init=scale_init)


def _dense(features: int, dtype: DTypeLike, name: str | None = None, **options) -> nn.Dense:
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.zeros, name=name, **options)


def _float32_dense(features: int, dtype: DTypeLike, name: str) -> nn.Dense:
    """A dense layer whose products are of ``dtype`` but summed, and returned, in float32."""
    dot_general = functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32)
    return _dense(features, dtype, name, dot_general=dot_general)


def _conv(channels: int, size: int, stride: int, norm: str, dtype: DTypeLike) -> nn.Conv:
    return nn.Conv(
        channels,
        (size, size),
        strides=stride,
        # PyTorch's padding rather than "SAME", which is lopsided where the stride is 2.
        padding=size // 2,
        use_bias=norm == "none",
        kernel_init=nn.initializers.zeros,
        dtype=dtype,
        conv_general_dilated=_conv_on_cpu if jax.default_backend() == "cpu" else None,
    )


def _conv_on_cpu(x: Array, kernel: Array, strides, padding, **_) -> Array:
    """Convolves images [B, H, W, C] with a kernel [k, k, C, O] as fast in loops as out of them.

    XLA's CPU compiler knows fast convolutions only in one layout. Outside of loops it brings the
    gradients' convolutions into that layout by itself, in the body of a loop it does not, and one
    for several kernels, which ``jax.vmap`` asks for, it never does: they then take from 5 to 100
    times as long. So the gradients are written in that layout here, and vmap becomes a loop. The
    price is that ``jax.jvp`` does not pass (``jax.grad``, and ``jax.jvp`` of it, do).
    """
    (stride, _), ((pad, _), _) = strides, padding
    return _convolve(stride, pad, x, kernel)


def _fast_conv(x: Array, kernel: Array, **geometry) -> Array:
    def one(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **geometry
        )

    return jax.custom_batching.sequential_vmap(one)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolve(stride: int, pad: int, x: Array, kernel: Array) -> Array:
    return _fast_conv(x, kernel, window_strides=(stride,) * 2, padding=((pad, pad),) * 2)


def _convolve_forward(stride: int, pad: int, x: Array, kernel: Array):
    out = _fast_conv(x, kernel, window_strides=(stride,) * 2, padding=((pad, pad),) * 2)
    return out, (x, kernel)


def _convolve_backward(stride: int, pad: int, residuals: tuple[Array, Array], grad: Array):
    x, kernel = residuals
    size = kernel.shape[0]
    # How far the strided windows reach into the padded image, per axis; they may leave a rest.
    reach = [stride * (n - 1) + size for n in grad.shape[1:3]]
    rest = [n + 2 * pad - r for n, r in zip(x.shape[1:3], reach, strict=True)]
    grad_x = _fast_conv(
        grad,
        kernel[::-1, ::-1].swapaxes(2, 3),
        window_strides=(1, 1),
        padding=[(size - 1 - pad, size - 1 - pad + r) for r in rest],
        lhs_dilation=(stride, stride),
    )
    # The batch takes the place of the channels: it is what this convolution sums over.
    grad_kernel = _fast_conv(
        x.transpose(3, 1, 2, 0),
        grad.transpose(1, 2, 0, 3),
        window_strides=(1, 1),
        padding=[(pad, pad - r) for r in rest],
        rhs_dilation=(stride, stride),
    )
    return grad_x, grad_kernel.transpose(1, 2, 0, 3)


_convolve.defvjp(_convolve_forward, _convolve_backward)


class MLP(nn.Module):
    """The hidden layers of a multilayer perceptron on flattened inputs; with none, a flattening."""

    hidden_layers: int
    width: int
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        del train
        x = x.reshape(x.shape[0], -1)
        for _ in range(self.hidden_layers):
            x = ACTIVATIONS[self.activation](_dense(self.width, self.dtype)(x))
        return x


class ResidualBlock(nn.Module):
    """The basic block of ResNet-18 and 34, or the bottleneck of ResNet-50 (stride in its 3×3)."""

    channels: int
    stride: int
    bottleneck: bool
    norm: str
    zero_init_residual: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def conv(y: Array, channels: int, size: int, stride: int = 1, *, last: bool = False):
            y = _conv(channels, size, stride, self.norm, self.dtype)(y)
            zero = last and self.zero_init_residual
            scale_init = nn.initializers.zeros if zero else nn.initializers.ones
            return _norm(self.norm, channels, train, self.dtype, scale_init)(y)

        if self.bottleneck:
            out_channels = 4 * self.channels
            y = nn.relu(conv(x, self.channels, 1))
            y = nn.relu(conv(y, self.channels, 3, self.stride))
            y = conv(y, out_channels, 1, last=True)
        else:
            out_channels = self.channels
            y = nn.relu(conv(x, self.channels, 3, self.stride))
            y = conv(y, self.channels, 3, last=True)
        if self.stride != 1 or x.shape[-1] != out_channels:
            x = conv(x, out_channels, 1, self.stride)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet up to its average pool; the features are non-negative."""

    stages: tuple[int, ...]
    bottleneck: bool
    width: int
    stem: str
    norm: str
    zero_init_residual: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        if x.ndim != 4:
            raise ValueError(
                f"A ResNet takes images [batch, height, width, channels], but its input has the "
                f"shape {list(x.shape)}; use the encoder 'linear' or 'mlp' for vectors."
            )
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = _conv(self.width, size, stride, self.norm, self.dtype)(x)
        x = nn.relu(_norm(self.norm, self.width, train, self.dtype)(x))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                x = ResidualBlock(
                    channels=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    bottleneck=self.bottleneck,
                    norm=self.norm,
                    zero_init_residual=self.zero_init_residual,
                    dtype=self.dtype,
                )(x, train=train)
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


class TransformerBlock(nn.Module):
    """A pre-normalised transformer block: self-attention, then an MLP four times as wide."""

    num_heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, tokens, width = x.shape
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = _dense(3 * width, self.dtype, "query_key_value")(y)
        y = y.reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        y = jax.nn.dot_product_attention(y[:, :, 0], y[:, :, 1], y[:, :, 2])
        x = x + _dense(width, self.dtype, "attention_out")(y.reshape(batch, tokens, width))
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = nn.gelu(_dense(4 * width, self.dtype)(y))
        return x + _dense(width, self.dtype)(y)


class ViT(nn.Module):
    """A vision transformer with learned positions, up to its class token or the tokens' mean."""

    patch_size: int
    depth: int
    num_heads: int
    width: int
    pool: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        del train
        if x.ndim != 4:
            raise ValueError(
                f"A ViT takes images [batch, height, width, channels], but its input has the shape "
                f"{list(x.shape)}; use the encoder 'linear' or 'mlp' for vectors."
            )
        batch, height, width, channels = x.shape
        size = self.patch_size
        if height % size or width % size:
            raise ValueError(
                f"A ViT cuts images into square patches, but height {height} and width {width} are "
                f"not both multiples of patch_size {size}; choose a patch_size that divides "
                f"{math.gcd(height, width)}."
            )
        rows, columns = height // size, width // size
        x = x.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
        x = x.reshape(batch, rows * columns, size * size * channels)
        x = _dense(self.width, self.dtype, "patches")(x)
        if self.pool == "token":
            token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
            token = jnp.broadcast_to(token.astype(x.dtype), (batch, 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        positions = self.param("positions", nn.initializers.zeros, (1, x.shape[1], self.width))
        x = x + positions.astype(x.dtype)
        for _ in range(self.depth):
            x = TransformerBlock(self.num_heads, self.dtype)(x)
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return x[:, 0] if self.pool == "token" else jnp.mean(x, axis=1, dtype=jnp.float32)


class Encoder(nn.Module):
    """A backbone, a linear layer to the embedding, and a projection head.

    Build it with :func:`make_encoder`, which documents and checks the options.
    """

    backbone: nn.Module
    embedding_dim: int | None
    head: str
    head_hidden: int
    head_dim: int
    head_norm: str
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch *sample"], *, train: bool) -> Outputs:
        if x.ndim not in (2, 4) or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"An encoder takes floating-point vectors [batch, dim] or images [batch, height, "
                f"width, channels], but its input is {x.dtype}{list(x.shape)}."
            )
        x = self.backbone(x.astype(self.dtype), train=train)
        if self.embedding_dim is not None:
            x = _float32_dense(self.embedding_dim, self.dtype, "embedding")(x)
        representation = x.astype(jnp.float32)
        if self.head == "none":
            return Outputs(representation, representation)
        if self.head == "mlp":
            x = _dense(self.head_hidden, self.dtype, "head_hidden")(x)
            x = _norm(self.head_norm, self.head_hidden, train, self.dtype)(x)
            x = ACTIVATIONS[self.activation](x)
        return Outputs(representation, _float32_dense(self.head_dim, self.dtype, "head_out")(x))


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
    head: str = "none",
    head_hidden: int = 512,
    head_dim: int = 128,
    head_norm: str = "none",
    dtype: DTypeLike = jnp.float32,
) -> Encoder:
    """Builds an encoder. Options that the named encoder has no use for are ignored.

    ==================================  =================================================
    ``linear``                          one linear layer on the flattened input
    ``mlp``                             ``depth`` linear layers, the last to the embedding
    ``resnet18``, ``34``, ``50``        He et al. 2016, counts of parameters as torchvision's
    ``vit``                             Dosovitskiy et al. 2021, pre-normalised, GELU
    ==================================  =================================================

    Each ends in a linear layer of ``embedding_dim``. Without it (``None``) the representation is
    what precedes it, the pooled features or the last hidden layer; those of a ResNet have passed a
    ReLU, are never negative and hence never Gaussian. Parameters are float32.

    Args:
        name: One of :data:`ENCODERS`.
        embedding_dim: Dimension d of the representation, or ``None``.
        width: Hidden units of the MLP (default 512), channels of the ResNet's first stage (64), or
            width of the ViT's tokens (192).
        depth: Linear layers of the MLP, counting the last (default 2), or blocks of the ViT (6).
        activation: Of the MLP and of the head's hidden layer, one of :data:`ACTIVATIONS`.
        norm: Of the ResNet, one of :data:`NORMS`. ``"batch"`` has momentum 0.9 and takes its
            statistics from the whole batch, across devices if the batch is sharded under
            ``jax.jit``; ``"group"`` has up to 32 groups; with ``"none"`` convolutions have biases.
        stem: Of the ResNet: ``"cifar"`` (3×3, stride 1) or ``"imagenet"`` (7×7, stride 2, max-pool).
        zero_init_residual: Whether the last normalisation of each residual block starts at scale 0,
            so that the block starts as the identity.
        patch_size: Side of the ViT's patches in pixels.
        num_heads: Attention heads of the ViT.
        pool: The ViT's features: its class ``"token"`` or the tokens' ``"mean"``.
        head: Projection head: ``"none"``, ``"linear"``, or ``"mlp"`` with one hidden layer.
        head_hidden: Hidden units of the MLP head.
        head_dim: Output dimension of the head.
        head_norm: Normalisation of the MLP head's hidden layer, one of :data:`NORMS`.
        dtype: Type in which layers compute, such as ``jnp.bfloat16``. The representation and the
            head's output are float32 in any case.

    Returns:
        The encoder, for :func:`init` and :func:`apply`.

    Raises:
        ValueError: If a name is unknown, a size is below 1, ``num_heads`` does not divide the ViT's
            width, or a linear encoder has no ``embedding_dim``. Inputs of an impossible shape are
            refused when the encoder first meets them.
    """
    _check_name("encoder", name, ENCODERS)
    _check_name("activation", activation, tuple(ACTIVATIONS))
    _check_name("norm", norm, NORMS)
    _check_name("head norm", head_norm, NORMS)
    _check_name("head", head, HEADS)
    _check_name("stem", stem, STEMS)
    _check_name("pool", pool, POOLS)
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
    if name in ("linear", "mlp"):
        hidden_layers = depth - 1 if name == "mlp" else 0
        if hidden_layers == 0 and embedding_dim is None:
            raise ValueError(
                "A linear encoder is nothing but its linear layer to the embedding, so "
                "embedding_dim cannot be None (or 0); set it to the dimension of the embedding."
            )
        backbone = MLP(hidden_layers, width, activation, dtype)
    elif name == "vit":
        if width % num_heads:
            raise ValueError(
                f"The heads of a ViT share its width, but num_heads {num_heads} does not divide "
                f"width {width}."
            )
        backbone = ViT(patch_size, depth, num_heads, width, pool, dtype)
    else:
        backbone = ResNet(
            stages=_RESNET_STAGES[name],
            bottleneck=name == "resnet50",
            width=width,
            stem=stem,
            norm=norm,
            zero_init_residual=zero_init_residual,
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
        dtype=dtype,
    )


def make_classifier(num_classes: int) -> nn.Dense:
    """Builds a linear classifier on representations, for :func:`flax.linen.Module.init`.

    Args:
        num_classes: Number of logits.

    Returns:
        A dense module, whose ``apply`` maps [batch, dim] to logits [batch, num_classes].

    Raises:
        ValueError: If there are fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(
            f"A classifier needs at least 2 classes, but num_classes is {num_classes}."
        )
    return nn.Dense(num_classes)


def init(
    encoder: Encoder, key: Key[Array, ""], sample_input: Float[Array, "batch *sample"]
) -> Variables:
    """Draws an encoder's initial variables.

    Kernels are normal with mean 0, of convolutions with variance 2 / (kernel area · output channels)
    (He et al. 2015), of dense layers with variance 1 / inputs (LeCun et al. 1998), and so are the
    ViT's positions, with standard deviation 0.02. Biases are 0, scales of normalisations 1.

    Args:
        encoder: From :func:`make_encoder`.
        key: The key of the parameters.
        sample_input: An input of the right shape; its values do not matter.

    Returns:
        ``{"params": …, "batch_stats": …}``, the latter empty where there is no BatchNorm.

    Raises:
        ValueError: If the encoder does not take inputs of this shape.
    """
    return _init(encoder, key, sample_input)


@functools.partial(jax.jit, static_argnums=0)
def _init(encoder: Encoder, key: Array, sample_input: Array) -> Variables:
    variables = encoder.init(key, sample_input, train=False)
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables["params"])
    stds = [_initial_std(path[-1].key, leaf.shape) for path, leaf in leaves]
    # One draw for all of them: XLA takes 0.5 s on a CPU to compile a draw, however short.
    sizes = [leaf.size if std else 0 for std, (_, leaf) in zip(stds, leaves, strict=True)]
    draws = jnp.split(jax.random.normal(key, (sum(sizes),)), list(itertools.accumulate(sizes)))
    params = [
        std * draw.reshape(leaf.shape) if std else leaf
        for std, draw, (_, leaf) in zip(stds, draws[:-1], leaves, strict=True)
    ]
    return {
        "params": jax.tree_util.tree_unflatten(structure, params),
        "batch_stats": variables.get("batch_stats", {}),
    }


def _initial_std(name: str, shape: tuple[int, ...]) -> float:
    """The standard deviation of a parameter's first values; 0 if they are constant."""
    if name == "positions":
        return 0.02
    if name != "kernel":
        return 0.0
    if len(shape) == 4:
        height, width, _, out_channels = shape
        return math.sqrt(2 / (height * width * out_channels))
    return math.sqrt(1 / shape[0])


def apply(
    encoder: Encoder, variables: Variables, x: Float[Array, "batch *sample"], *, train: bool
) -> tuple[Outputs, Variables]:
    """Encodes a batch.

    Args:
        encoder: From :func:`make_encoder`.
        variables: From :func:`init`, or later in training.
        x: Vectors [batch, dim] or images [batch, height, width, channels].
        train: Whether BatchNorm normalises by this batch's statistics and updates the running
            averages, or by the running averages.

    Returns:
        The outputs, and the new ``batch_stats``: those given where ``train`` is false.

    Raises:
        ValueError: If the encoder does not take inputs of this shape.
    """
    if not train:
        return encoder.apply(variables, x, train=False), variables.get("batch_stats", {})
    outputs, updated = encoder.apply(variables, x, train=True, mutable=["batch_stats"])
    return outputs, updated.get("batch_stats", {})


def count_parameters(variables: Variables) -> int:
    """Counts the trained parameters in ``variables["params"]``, arrays or abstract shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def _check_name(kind: str, name: str, valid: tuple[str, ...]) -> None:
    if name not in valid:
        raise ValueError(f"Unknown {kind} {name!r}; choose one of {', '.join(valid)}.")
