"""Records what PyTorch makes of small published architectures: python -m tests.encoders.record_published

Needs torch, torchvision, transformers and timm. Weights are drawn by `draw` from the names and shapes
recorded, so that only these and the outputs are kept.
"""

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "published.json"


# Tokens as small as those of a freshly drawn model, where LayerNorm's epsilon is felt.
SMALL_TOKENS = "vit of transformers, small tokens"


def draw(shapes, embedding_scale=1.0):
    """Weights by name, of a scale that keeps tokens and channels near 1.

    Args:
        shapes: by name.
        embedding_scale: a factor for what the tokens are made of.
    """
    rng = np.random.default_rng(0)
    drawn = {}
    for name, shape in sorted(shapes.items()):
        if name.endswith("num_batches_tracked"):
            drawn[name] = np.zeros(shape, np.float32)
        elif name.endswith("running_var"):
            drawn[name] = rng.uniform(0.5, 2, shape).astype(np.float32)
        elif len(shape) > 1 and "pos" not in name and "token" not in name:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            drawn[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
        else:
            drawn[name] = (0.3 * rng.standard_normal(shape) + 0.5).astype(np.float32)
        if ".embeddings." in name:
            drawn[name] *= np.float32(embedding_scale)
    return drawn


def draw_recorded(name, shapes):
    return draw(shapes, 1e-3 if name == SMALL_TOKENS else 1.0)


def images(size):
    return np.random.default_rng(1).standard_normal((2, size, size, 3)).astype(np.float32)


def main():
    import timm
    import torch
    import torchvision
    import transformers as hf

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"intermediate_size": 64, "image_size": 16, "patch_size": 8}

    def resnet(kind, depths, channels):
        return hf.ResNetForImageClassification(
            hf.ResNetConfig(embedding_size=4, hidden_sizes=channels, depths=depths, layer_type=kind)
        )

    vit = hf.ViTForImageClassification(hf.ViTConfig(**small))
    assert vit.config.layer_norm_eps == 1e-12
    models = {
        "resnet18 of transformers": (
            resnet("basic", [2, 2, 2, 2], [4, 8, 16, 32]),
            lambda m, x: m.resnet(x).pooler_output.flatten(1),
        ),
        "resnet50 of transformers": (
            resnet("bottleneck", [3, 4, 6, 3], [16, 32, 64, 128]),
            lambda m, x: m.resnet(x).pooler_output.flatten(1),
        ),
        "vit of transformers": (vit, lambda m, x: m.vit(x).last_hidden_state[:, 0]),
        SMALL_TOKENS: (vit, lambda m, x: m.vit(x).last_hidden_state[:, 0]),
        "vit of timm": (
            timm.models.VisionTransformer(
                img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3
            ),
            lambda m, x: m.forward_head(m.forward_features(x), pre_logits=True),
        ),
        "vit of torchvision": (
            torchvision.models.VisionTransformer(16, 8, 2, 2, 16, 64, num_classes=3),
            lambda m, x: _without_heads(m)(x),
        ),
    }
    recorded = {}
    for name, (model, output) in models.items():
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        weights = draw_recorded(name, shapes)
        model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        x = torch.from_numpy(images(32 if "resnet" in name else 16)).permute(0, 3, 1, 2)
        with torch.no_grad():
            z = output(model.eval(), x).numpy()
        recorded[name] = {"shapes": shapes, "output": z.astype(float).round(7).tolist()}
    FILE.write_text(json.dumps(recorded) + "\n")


def _without_heads(model):
    import torch

    model.heads = torch.nn.Identity()
    return model


if __name__ == "__main__":
    main()
