"""Models of the paper's kinds at small sizes with random weights, saved as anyone saves them."""

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

_WORDS = [
    "[PAD]",
    "[UNK]",
    "<start>",
    "<end>",
    "a",
    "of",
    "the",
    "photo",
    "cat",
    "dog",
    "red",
    "car",
]
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_PATCHES = {"image_size": 32, "patch_size": 8}
_CROP = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
_SQUARE = {"size": {"height": 32, "width": 32}}
_TEXT = {"vocab_size": len(_WORDS), "max_position_embeddings": 16}


def _tokenizer(length):
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(_WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=length,
    )


def save_all(root):
    """Saves one folder for each kind below `root`; returns them by name."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    clip = hf.CLIPConfig(
        text_config=_SMALL | _TEXT | ends,
        vision_config=_SMALL | _PATCHES,
        projection_dim=24,
    )
    siglip = hf.SiglipConfig(
        text_config=_SMALL | _TEXT | {"projection_size": 32}, vision_config=_SMALL | _PATCHES
    )
    resnet = hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[3, 4, 6, 3], layer_type="basic"
    )
    convnext = hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
    made = {
        "clip": (hf.CLIPModel(clip), hf.CLIPImageProcessorPil(**_CROP), _tokenizer(16)),
        "siglip": (hf.SiglipModel(siglip), hf.SiglipImageProcessorPil(**_SQUARE), _tokenizer(16)),
        "dino": (
            hf.ViTModel(hf.ViTConfig(**_SMALL, **_PATCHES), add_pooling_layer=False),
            hf.ViTImageProcessorPil(**_SQUARE),
        ),
        "dinov2": (
            hf.Dinov2Model(hf.Dinov2Config(**_SMALL, **_PATCHES)),
            hf.BitImageProcessorPil(**_CROP),
        ),
        "resnet34": (hf.ResNetModel(resnet), hf.ConvNextImageProcessorPil(**_CROP)),
        "convnext": (hf.ConvNextModel(convnext), hf.ConvNextImageProcessorPil(**_CROP)),
        "bert": (
            hf.BertModel(hf.BertConfig(**_SMALL, vocab_size=len(_WORDS))),
            _tokenizer(32),
        ),
    }
    for name, parts in made.items():
        _randomise_moments(parts[0])
        for part in parts:
            part.save_pretrained(root / name)
    try:
        import timm
        import torchvision  # noqa: F401  (timm's transforms need it)
    except ImportError:
        return {name: root / name for name in made}
    arguments = {"growth_rate": 4, "block_config": (2, 2, 2, 2)}
    densenet = timm.create_model("densenet121", pretrained=False, num_classes=0, **arguments)
    _randomise_moments(densenet)
    timm.models.save_for_hf(
        densenet, root / "densenet", model_args=arguments, safe_serialization=True
    )
    return {name: root / name for name in (*made, "densenet")}


def _randomise_moments(model):
    """BatchNorm's moments as after training: at their start they would hide an error in reading them."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
