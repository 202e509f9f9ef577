"""ResNets, up to their pooled features (He, Zhang, Ren and Sun, CVPR 2016)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from infonce_jax.encoders.initializers import check_name
from infonce_jax.encoders.layers import Conv, max_pool, norm

STAGES = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
STEMS = ("cifar", "imagenet")


class ResidualBlock(nn.Module):
    """The basic block of ResNet-18 and 34, or the bottleneck of ResNet-50.

    Attributes:
        channels: Channels of the 3×3 convolutions. A bottleneck returns four times as many.
        stride: Stride of the first 3×3 convolution.
        bottleneck: Whether the block is a bottleneck (1×1, 3×3, 1×1) or basic (3×3, 3×3).
        norm: One of `NORMS`. With `"none"` the convolutions have biases.
        zero_init_residual: Whether the scale of the last normalisation starts at 0.
        initializer: One of `INITIALIZERS`, for the convolutions.
        dtype: Type in which the layers compute.
    """

    channels: int
    stride: int = 1
    bottleneck: bool = False
    norm: str = "batch"
    zero_init_residual: bool = False
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Returns relu(x + residual(x)). `train` is that of BatchNorm."""

        def conv_norm(y: Array, channels: int, size: int, stride: int = 1, *, last: bool = False):
            use_bias = self.norm == "none"
            y = Conv(channels, size, stride, use_bias, self.initializer, self.dtype)(y)
            zero = last and self.zero_init_residual
            scale_init = nn.initializers.zeros if zero else nn.initializers.ones
            layer = norm(self.norm, channels, train=train, dtype=self.dtype, scale_init=scale_init)
            return layer(y)

        if self.bottleneck:
            out_channels = 4 * self.channels
            y = nn.relu(conv_norm(x, self.channels, 1))
            y = nn.relu(conv_norm(y, self.channels, 3, self.stride))
            y = conv_norm(y, out_channels, 1, last=True)
        else:
            out_channels = self.channels
            y = nn.relu(conv_norm(x, self.channels, 3, self.stride))
            y = conv_norm(y, self.channels, 3, last=True)
        if self.stride != 1 or x.shape[-1] != out_channels:
            x = conv_norm(x, out_channels, 1, self.stride)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet up to its average pool. The features are non-negative.

    Attributes:
        stages: Residual blocks of each stage. From the second stage on, the first block halves the
            image.
        bottleneck: Whether the blocks are bottlenecks.
        width: Channels of the first stage. Each further stage doubles them.
        stem: `"cifar"` (3×3, stride 1) or `"imagenet"` (7×7, stride 2, then a max-pool).
        norm: One of `NORMS`. With `"none"` the convolutions have biases.
        zero_init_residual: Whether each residual block starts as the identity.
        initializer: One of `INITIALIZERS`, for the convolutions.
        dtype: Type in which the layers compute. The features are float32.
    """

    stages: tuple[int, ...] = STAGES["resnet18"]
    bottleneck: bool = False
    width: int = 64
    stem: str = "cifar"
    norm: str = "batch"
    zero_init_residual: bool = False
    initializer: str = "normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, " batch *sample"], *, train: bool = False
    ) -> Float[Array, "batch features"]:
        """Returns the pooled features. `train` is that of BatchNorm.

        Raises:
            ValueError: If the input is not a batch of images, or a name is unknown.
        """
        check_name("stem", self.stem, STEMS)
        if x.ndim != 4:
            raise ValueError(
                f"A ResNet takes images [batch, height, width, channels], but its input has the "
                f"shape {list(x.shape)}; use the encoder 'linear' or 'mlp' for vectors."
            )
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        use_bias = self.norm == "none"
        x = Conv(self.width, size, stride, use_bias, self.initializer, self.dtype)(x)
        x = nn.relu(norm(self.norm, self.width, train=train, dtype=self.dtype)(x))
        if self.stem == "imagenet":
            x = max_pool(x)
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                x = ResidualBlock(
                    channels=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    bottleneck=self.bottleneck,
                    norm=self.norm,
                    zero_init_residual=self.zero_init_residual,
                    initializer=self.initializer,
                    dtype=self.dtype,
                )(x, train=train)
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
