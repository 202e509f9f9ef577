"""From a pretrained model's name and a folder of images or a file of texts to an embeddings folder.

    infonce-jax pretrained openai/clip-vit-large-patch14 photos --output clip
    infonce-jax evaluate clip --output report --report

The models are those of transformers, and of timm through transformers; both and torch are the optional
extra `[pretrained]`. Only `infonce_jax.pretrained.models` imports them.
"""

from infonce_jax.pretrained.extract import ON_DAMAGED, TRAINED, UNTRAINED, Encoder, extract
from infonce_jax.pretrained.images import DamagedImage, read_image
from infonce_jax.pretrained.rows import SPLIT_BY, Rows, open_rows

__all__ = [
    "ON_DAMAGED",
    "SPLIT_BY",
    "TRAINED",
    "UNTRAINED",
    "DamagedImage",
    "Encoder",
    "Rows",
    "extract",
    "open_rows",
    "read_image",
]
