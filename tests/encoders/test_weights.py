"""Weights of published checkpoints: the outputs equal those that PyTorch gave."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from infonce_jax import encoders
from tests.encoders import record_published
from tests.encoders.record_published import draw, images

RECORDED = json.loads(record_published.FILE.read_text())
RESNET = {"stem": "imagenet", "width": 4}
VIT = {"width": 16, "depth": 2, "num_heads": 2, "patch_size": 8}


def initialised(name, **options):
    encoder = encoders.make_encoder(name, embedding_dim=None, **options)
    x = jnp.asarray(images(16 if name == "vit" else 32))
    return encoder, jax.eval_shape(lambda k: encoders.init(encoder, k, x), jax.random.key(0)), x


@pytest.mark.parametrize("recorded", RECORDED)
def test_outputs_equal_pytorchs(recorded, tmp_path):
    name = recorded.split()[0]
    encoder, abstract, x = initialised(name, **(VIT if name == "vit" else RESNET))
    weights = draw(RECORDED[recorded]["shapes"])
    safetensors.numpy.save_file(weights, tmp_path / "model.safetensors")
    variables = encoders.carry_over(abstract, encoders.read_weights(tmp_path))
    assert jax.tree.structure(variables) == jax.tree.structure(abstract)
    outputs, _ = jax.jit(lambda v: encoders.apply(encoder, v, x, train=False))(variables)
    expected = np.array(RECORDED[recorded]["output"])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(outputs.encoder, expected, rtol=1e-4, atol=1e-4)


def test_torchvisions_names_of_a_resnet_are_known():
    _, abstract, _ = initialised("resnet18", **RESNET)
    theirs = draw(RECORDED["resnet18 of transformers"]["shapes"])

    def renamed(name):
        name = name.removeprefix("resnet.")
        name = name.replace("embedder.embedder.convolution", "conv1")
        name = name.replace("embedder.embedder.normalization", "bn1")
        for stage in range(4):
            for block in range(2):
                there, here = (
                    f"encoder.stages.{stage}.layers.{block}.",
                    f"layer{stage + 1}.{block}.",
                )
                for i in range(2):
                    name = name.replace(f"{there}layer.{i}.convolution", f"{here}conv{i + 1}")
                    name = name.replace(f"{there}layer.{i}.normalization", f"{here}bn{i + 1}")
                name = name.replace(f"{there}shortcut.convolution", f"{here}downsample.0")
                name = name.replace(f"{there}shortcut.normalization", f"{here}downsample.1")
        return name.replace("classifier.1", "fc")

    torchvisions = {renamed(name): array for name, array in theirs.items()}
    assert "layer2.0.downsample.1.running_var" in torchvisions and "fc.weight" in torchvisions
    one, other = (encoders.carry_over(abstract, w) for w in (theirs, torchvisions))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_checkpoint_of_another_shape_is_refused_with_the_difference(tmp_path):
    resnet18 = draw(RECORDED["resnet18 of transformers"]["shapes"])
    vit = draw(RECORDED["vit of timm"]["shapes"])
    for name, options, weights, message in [
        ("resnet34", RESNET, resnet18, "has no layer1.2.conv1.weight .*config.encoder.name"),
        ("resnet18", RESNET | {"stem": "cifar"}, resnet18, "conv1.weight of 7×7×3×4, here 3×3×3×4"),
        ("resnet18", RESNET | {"width": 8}, resnet18, "further differences"),
        ("resnet18", RESNET, vit, "has no conv1.weight"),
        ("resnet18", RESNET | {"norm": "none"}, resnet18, "has no conv1.bias"),
        ("vit", VIT | {"depth": 1}, vit, "has 12 more, such as blocks.1.attn.proj.bias"),
        ("vit", VIT | {"patch_size": 4}, vit, "pos_embed of 1×5×16, here 1×17×16|patch_embed"),
        ("vit", VIT | {"pool": "mean"}, vit, "pos_embed of 1×5×16, here 1×4×16.*pool to 'token'"),
        ("mlp", {}, vit, "into a ResNet or a ViT"),
    ]:
        if name == "mlp":
            encoder = encoders.make_encoder(name)
            x = jnp.asarray(images(16))
            abstract = jax.eval_shape(
                lambda k, e=encoder, x=x: encoders.init(e, k, x), jax.random.key(0)
            )
        else:
            _, abstract, _ = initialised(name, **options)
        with pytest.raises(ValueError, match=message):
            encoders.carry_over(abstract, weights)
    (tmp_path / "broken.safetensors").write_bytes(b"\x10" + bytes(40))
    with pytest.raises(ValueError, match="damaged or no safetensors"):
        encoders.read_weights(tmp_path / "broken.safetensors")
    with pytest.raises(FileNotFoundError, match=r"hf download NAME"):
        encoders.read_weights(tmp_path)


def test_settings_that_weights_do_not_show_are_compared_with_config_json(tmp_path):
    file = tmp_path / "config.json"
    encoders.check_vit_settings(tmp_path, 3, 1e-6)
    theirs = {"num_attention_heads": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    file.write_text(json.dumps(theirs))
    encoders.check_vit_settings(tmp_path, 2, 1e-12)
    epsilon = r"layer_norm_eps is 1e-12 .* 1e-06: set --config\.encoder\.norm_epsilon=1e-12"
    with pytest.raises(ValueError, match=epsilon):
        encoders.check_vit_settings(tmp_path / "model.safetensors", 2, 1e-6)
    with pytest.raises(ValueError, match=r"is 3: set --config\.encoder\.num_heads=2"):
        encoders.check_vit_settings(tmp_path, 3, 1e-12)
    file.write_text(json.dumps(theirs | {"hidden_act": "quick_gelu"}))
    with pytest.raises(ValueError, match="hidden_act is 'quick_gelu'"):
        encoders.check_vit_settings(tmp_path, 2, 1e-12)
    file.write_text(json.dumps({"architecture": "vit_small_patch16_224"}))
    encoders.check_vit_settings(tmp_path, 3, 1e-6)


def test_the_epsilon_of_a_vit_counts_where_tokens_are_small():
    x = jnp.asarray(images(16))
    for epsilon in (1e-6, 1e-12):
        vit = encoders.ViT(8, 0, 2, 16, norm_epsilon=epsilon)
        params = vit.init(jax.random.key(0), x)
        params = jax.tree.map(lambda leaf: leaf, params)
        params["params"]["positions"] = 1e-3 * params["params"]["positions"]
        token = np.asarray(params["params"]["positions"], np.float64)[0, 0]
        expected = (token - token.mean()) / np.sqrt(token.var() + epsilon)
        np.testing.assert_allclose(vit.apply(params, x)[0], expected, rtol=1e-4, atol=1e-5)
