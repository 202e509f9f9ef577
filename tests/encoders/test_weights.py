"""Weights of published checkpoints: the outputs equal those that PyTorch gave."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import scipy.special

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
    options = VIT if name == "vit" else RESNET
    if recorded == record_published.SMALL_TOKENS:
        options = options | {"norm_epsilon": 1e-12}
    encoder, abstract, x = initialised(name, **options)
    weights = record_published.draw_recorded(recorded, RECORDED[recorded]["shapes"])
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


def _vit_of_transformers(weights, x, epsilon, heads=2, patch=8):
    """A ViT of two blocks in float64, by its names in transformers, up to the class token."""
    w = {name.removeprefix("vit."): array.astype(np.float64) for name, array in weights.items()}

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def split(x):
        return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)

    n, side = x.shape[0], x.shape[1] // patch
    x = x.reshape(n, side, patch, side, patch, 3).transpose(0, 1, 3, 5, 2, 4)
    kernel = w["embeddings.patch_embeddings.projection.weight"].reshape(-1, 3 * patch**2)
    x = x.reshape(n, side**2, -1) @ kernel.T + w["embeddings.patch_embeddings.projection.bias"]
    token = np.broadcast_to(w["embeddings.cls_token"], (n, 1, x.shape[-1]))
    x = np.concatenate([token, x], axis=1) + w["embeddings.position_embeddings"]
    for layer in ("layers.0", "layers.1"):
        y = norm(x, f"{layer}.layernorm_before")
        q, k, v = (split(dense(y, f"{layer}.attention.{name}_proj")) for name in "qkv")
        scores = scipy.special.softmax(q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1]), axis=-1)
        y = (scores @ v).swapaxes(1, 2).reshape(x.shape)
        x = x + dense(y, f"{layer}.attention.o_proj")
        y = dense(norm(x, f"{layer}.layernorm_after"), f"{layer}.mlp.fc1")
        x = x + dense(y * scipy.special.ndtr(y), f"{layer}.mlp.fc2")
    return norm(x, "layernorm")[:, 0]


def test_a_freshly_drawn_vit_of_transformers_needs_its_own_epsilon():
    # transformers draws weights of standard deviation 0.02, so that tokens are small.
    rng = np.random.default_rng(0)
    weights = {}
    for name, array in draw(RECORDED["vit of transformers"]["shapes"]).items():
        is_norm = "layernorm" in name
        weights[name] = (0.02 * rng.standard_normal(array.shape)).astype(np.float32)
        if name.endswith("bias") or is_norm:
            weights[name] = np.full(array.shape, float(is_norm and "weight" in name), np.float32)
    expected = _vit_of_transformers(weights, images(16).astype(np.float64), 1e-12)
    off = {}
    for epsilon in (1e-6, 1e-12):
        encoder, abstract, x = initialised("vit", **VIT, norm_epsilon=epsilon)
        variables = encoders.carry_over(abstract, weights)
        found = jax.jit(lambda v, e=encoder, x=x: encoders.apply(e, v, x, train=False)[0].encoder)
        off[epsilon] = np.abs(found(variables) - expected).max()
    assert off[1e-12] < 1e-4 < off[1e-6], off
