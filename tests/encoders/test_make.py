"""`make_encoder` and `make_classifier`: sizes and errors."""

import jax
import jax.numpy as jnp
import pytest
from small_encoders import count, make, parameters

from infonce_jax import encoders


def test_linear_and_mlp_count_their_layers():
    assert parameters("linear", (1, 100), embedding_dim=10) == 1010
    assert parameters("linear", (1, 4, 4, 3), embedding_dim=10) == 490
    two = 100 * 20 + 20 + 20 * 10 + 10
    assert parameters("mlp", (1, 100), embedding_dim=10, width=20) == two
    assert parameters("mlp", (1, 100), embedding_dim=10, width=20, depth=3) == two + 420
    head = {"head": "mlp", "head_hidden": 7, "head_dim": 3}
    assert parameters("linear", (1, 100), embedding_dim=10, **head) == 1010 + 77 + 24


def test_classifier_is_a_linear_layer():
    classifier = encoders.make_classifier(10)
    z = jnp.ones((4, 6))
    variables = classifier.init(jax.random.key(0), z)
    assert classifier.apply(variables, z).shape == (4, 10)
    assert count(variables) == 70


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "Unknown encoder 'resnet19'; choose one of linear, mlp, resnet18"),
        ("mlp", {"activation": "rleu"}, "Unknown activation 'rleu'; choose one of elu, gelu"),
        ("resnet18", {"norm": "layer"}, "Unknown norm 'layer'; choose one of batch, group, none"),
        ("resnet18", {"stem": "small"}, "Unknown stem 'small'; choose one of cifar, imagenet"),
        ("vit", {"pool": "max"}, "Unknown pool 'max'; choose one of mean, token"),
        ("mlp", {"head": "deep"}, "Unknown head 'deep'; choose one of none, linear, mlp"),
        ("mlp", {"head_norm": "x"}, "Unknown head norm 'x'"),
        ("mlp", {"width": 0}, "width is 0, but must be at least 1"),
        ("mlp", {"embedding_dim": -1}, "embedding_dim is -1, but must be at least 1"),
        ("vit", {"width": 10, "num_heads": 4}, "num_heads 4 does not divide width 10"),
        ("linear", {"embedding_dim": None}, "embedding_dim cannot be None"),
        ("mlp", {"embedding_dim": None, "depth": 1}, "embedding_dim cannot be None"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        encoders.make_encoder(name, **options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vit", (2, 10, 8, 3), "height 10 and width 8 are not both multiples of patch_size 4"),
        ("vit", (2, 12), r"A ViT takes images .* but its input has the shape \[2, 12\]"),
        ("resnet18", (2, 12), r"A ResNet takes images .* but its input has the shape \[2, 12\]"),
        ("mlp", (8,), r"but its input is float32\[8\]"),
    ],
)
def test_impossible_inputs_are_refused(name, shape, message):
    encoder = make(name)
    with pytest.raises(ValueError, match=message):
        encoders.init(encoder, jax.random.key(0), jnp.zeros(shape))


def test_integer_inputs_and_single_classes_are_refused():
    encoder = encoders.make_encoder("mlp")
    with pytest.raises(ValueError, match=r"takes floating-point .* uint8\[2, 8, 8, 3\]"):
        encoders.init(encoder, jax.random.key(0), jnp.zeros((2, 8, 8, 3), jnp.uint8))
    with pytest.raises(ValueError, match="num_classes is 1"):
        encoders.make_classifier(1)
