"""A freshly drawn ViT of transformers in the encoder here: with such small tokens epsilon counts."""

import jax
import numpy as np
import pytest

from infonce_jax import encoders

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def test_a_fresh_vit_gives_the_same_features_with_its_own_epsilon(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 128, "image_size": 32, "patch_size": 8}
    model = transformers.ViTModel(transformers.ViTConfig(**sizes), add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        images = torch.from_numpy(x).permute(0, 3, 1, 2)
        expected = model(images).last_hidden_state[:, 0].numpy()
    with pytest.raises(ValueError, match=r"set --config\.encoder\.norm_epsilon=1e-12"):
        encoders.check_vit_settings(tmp_path, 2, 1e-6)
    weights = encoders.read_weights(tmp_path)
    off = {}
    for epsilon in (1e-6, 1e-12):
        encoder = encoders.make_encoder(
            "vit",
            embedding_dim=None,
            width=32,
            depth=2,
            num_heads=2,
            patch_size=8,
            norm_epsilon=epsilon,
        )
        abstract = jax.eval_shape(lambda k, e=encoder: encoders.init(e, k, x), jax.random.key(0))
        variables = encoders.carry_over(abstract, weights)
        outputs, _ = jax.jit(lambda v, e=encoder: encoders.apply(e, v, x, train=False))(variables)
        off[epsilon] = np.abs(np.asarray(outputs.encoder) - expected).max()
    assert off[1e-12] < 1e-4 < off[1e-6], off
