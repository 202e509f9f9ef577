"""The encoder: outputs, head, precision, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_encoders import TINY, images, initialised, jitted, make, normal

from infonce_jax import encoders


@pytest.mark.parametrize("name", TINY)
def test_outputs_are_float32_of_the_sizes_asked_for(name):
    x = images()
    encoder, variables = initialised(name, x, head="mlp", head_hidden=5, head_dim=3)
    outputs, batch_stats = jitted(encoder, train=False)(variables, x)
    assert outputs.encoder.shape == (4, 6)
    assert outputs.head.shape == (4, 3)
    assert outputs.encoder.dtype == outputs.head.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jax.tree.structure(batch_stats) == jax.tree.structure(variables["batch_stats"])


def test_shapes_of_the_larger_networks():
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

    def shapes(name, **options):
        encoder = encoders.make_encoder(name, embedding_dim=None, **options)

        def run(key, x):
            return encoders.apply(encoder, encoders.init(encoder, key, x), x, train=True)[0]

        return jax.eval_shape(run, jax.random.key(0), x).encoder.shape

    assert shapes("resnet34", stem="imagenet", width=16) == (2, 128)
    assert shapes("resnet50", stem="imagenet") == (2, 2048)
    assert shapes("resnet50", norm="none", zero_init_residual=True) == (2, 2048)
    assert shapes("vit", pool="mean", patch_size=8) == (2, 192)


def test_without_a_head_both_outputs_are_the_representation():
    x = normal(4, 5)
    encoder, variables = initialised("mlp", x)
    outputs, _ = encoders.apply(encoder, variables, x, train=True)
    np.testing.assert_array_equal(outputs.encoder, outputs.head)


def test_batchnorm_agrees_with_numpy_in_training_and_evaluation():
    x = 3 + 2 * normal(32, 5)
    encoder, variables = initialised("linear", x, head="mlp", head_hidden=7, head_norm="batch")
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])

    def expected(outputs, moments):
        hidden = np.asarray(outputs.encoder, np.float64) @ params["head_hidden"]["kernel"]
        hidden = hidden + params["head_hidden"]["bias"]
        mean, var = moments or (hidden.mean(0), hidden.var(0))
        normal = (hidden - mean) / np.sqrt(var + 1e-5)
        normal = normal * params["BatchNorm_0"]["scale"] + params["BatchNorm_0"]["bias"]
        head = np.maximum(normal, 0) @ params["head_out"]["kernel"] + params["head_out"]["bias"]
        return head, hidden.mean(0), hidden.var(0)

    trained, stats = encoders.apply(encoder, variables, x, train=True)
    head, mean, var = expected(trained, None)
    np.testing.assert_allclose(trained.head, head, atol=1e-4)
    (found,) = stats.values()
    (before,) = variables["batch_stats"].values()
    np.testing.assert_allclose(found["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(found["var"], 0.9 * before["var"] + 0.1 * var, rtol=1e-4)

    variables = {**variables, "batch_stats": stats}
    evaluated, kept = encoders.apply(encoder, variables, x, train=False)
    head, _, _ = expected(evaluated, (np.asarray(found["mean"]), np.asarray(found["var"])))
    np.testing.assert_allclose(evaluated.head, head, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, kept, stats)


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_is_close_to_float32(name):
    x = images()
    head = {"head": "mlp", "head_hidden": 64, "head_dim": 16}
    single, variables = initialised(name, x, **head)
    half = make(name, dtype=jnp.bfloat16, **head)
    found = [jitted(encoder, train=False)(variables, x)[0] for encoder in (single, half)]
    for single, half in zip(*found, strict=True):
        assert half.dtype == jnp.float32
        assert np.linalg.norm(single - half) < 0.05 * np.linalg.norm(single)
        assert (single != half).any()


def test_bfloat16_embeddings_are_summed_in_float32():
    x = normal(64, 512)
    encoder, variables = initialised("linear", x, dtype=jnp.bfloat16)
    z = np.asarray(encoders.apply(encoder, variables, x, train=False)[0].encoder)
    assert (z != z.astype(jnp.bfloat16).astype(np.float32)).mean() > 0.9


def test_convolutions_start_from_he_and_dense_layers_from_lecun():
    encoder = make("resnet18", width=32, embedding_dim=256)
    variables = encoders.init(encoder, jax.random.key(0), images())
    params = variables["params"]
    kernel = params["backbone"]["ResidualBlock_1"]["Conv_0"]["kernel"]
    assert kernel.shape == (3, 3, 32, 64)
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    assert np.std(params["embedding"]["kernel"]) == pytest.approx(np.sqrt(1 / 64), rel=0.03)
    assert set(variables) == {"params", "batch_stats"}
    constant = {"bias": 0, "mean": 0, "scale": 1, "var": 1}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if path[-1].key in constant:
            np.testing.assert_array_equal(leaf, constant[path[-1].key])
