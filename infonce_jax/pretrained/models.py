"""Loads models of transformers, and of timm through it: a name in, an `Encoder` out.

This file and `forward` are the only ones that know torch.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from infonce_jax.pretrained import forward
from infonce_jax.pretrained.extract import Encoder

POOLINGS = ("auto", "cls", "mean", "projected")
DTYPES = ("float32", "bfloat16", "float16")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt")


def load_encoder(
    name: str,
    *,
    revision: str | None = None,
    layer: str | None = None,
    pooling: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    untrained: bool = False,
    seed: int = 0,
) -> Encoder:
    """Loads a model of transformers, or of timm through transformers, as functions of a batch.

    By default (pooling "auto") a row is what the model's own head sees: of CLIP, SigLIP and their kind
    the projected embedding that their loss compares; of a vision transformer with a class token (ViT,
    DINO, DINOv2) that token behind the last norm; of a ResNet, ConvNeXt, DenseNet or another of timm
    the pooled features; of a sentence encoder what its own pooling says, and of another text model the
    mean of the tokens.

    Args:
        name: a Hugging Face id, or a local folder with a config.json.
        revision: a branch, tag or commit of the id.
        layer: a hidden state by its number (0 is the embedding of the input, -1 the last), or the
            output of a module by its dotted name; `list_layers` lists both. None for the end.
        pooling: one of `POOLINGS`: how tokens or pixels of a layer become one row.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.
        dtype: the type to compute in, one of `DTYPES`. Rows are float32 in any case.
        untrained: the same architecture with the random weights of its own initialisation.
        seed: of the random weights.

    Raises:
        OSError: where there is no such model, or it cannot be fetched.
        ValueError: for an unknown layer, pooling, device or type, and for weights that are not those of
            the architecture.
    """
    model, facts = _load(name, revision, layer, pooling, device, dtype, untrained, seed)
    encoders = {
        "image": (lambda images: forward.encode(model, "image", images)),
        "text": (lambda texts: forward.encode(model, "text", texts)),
    }
    functions = {tower: encoders[tower] if tower in model.towers else None for tower in encoders}
    return Encoder(**functions, facts=facts)


def list_layers(name: str, *, revision: str | None = None) -> list[tuple[str, str, str]]:
    """The layers that `load_encoder` knows: (tower, name, shape for one sample input)."""
    model, _ = _load(name, revision, None, "auto", "cpu", "float32", True, 0)
    return forward.layers(model)


def _load(
    name, revision, layer, pooling, device, dtype, untrained, seed
) -> tuple[forward.Model, dict]:
    if pooling not in POOLINGS:
        raise ValueError(f"--pooling is {pooling!r}: choose from {', '.join(POOLINGS)}.")
    if dtype not in DTYPES:
        raise ValueError(f"--dtype is {dtype!r}: choose from {', '.join(DTYPES)}.")
    place = _device(device)
    with _quiet():
        config = _reachable(
            name, lambda: transformers.AutoConfig.from_pretrained(name, revision=revision)
        )
        # timm's save_for_hf states it, and the wrapper passes it twice.
        if isinstance(getattr(config, "model_args", None), dict):
            config.model_args.pop("num_classes", None)
        if untrained:
            torch.manual_seed(seed)
            module = transformers.AutoModel.from_config(config)
        else:
            module = _reachable(name, lambda: _weights(name, revision, config))
        towers = _towers(module)
        processor = tokenizer = None
        if "image" in towers:
            # Pillow's backend is there with and without torchvision, and gives the same everywhere.
            processor = _reachable(
                name,
                lambda: transformers.AutoImageProcessor.from_pretrained(
                    name, revision=revision, backend="pil"
                ),
            )
        if "text" in towers:
            tokenizer = _reachable(
                name, lambda: transformers.AutoTokenizer.from_pretrained(name, revision=revision)
            )
    module = module.to(place, getattr(torch, dtype)).eval().requires_grad_(False)
    if pooling == "auto":
        pooling = _own_pooling(name, revision, module, towers, layer)
    model = forward.Model(module, processor, tokenizer, towers, layer, pooling)
    forward.check_layer(model)
    facts = {
        "model": name,
        "architecture": type(module).__name__,
        "revision": getattr(config, "_commit_hash", None) or revision or _fingerprint(name),
        "untrained": untrained,
        "weights_seed": seed if untrained else None,
        "layer": layer,
        "pooling": pooling,
        "dtype": dtype,
        "device": place.type,
        "preprocessing": _preprocessing(processor),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    return model, json.loads(json.dumps(facts, default=str))


def _weights(name: str, revision: str | None, config: Any) -> torch.nn.Module:
    module, info = transformers.AutoModel.from_pretrained(
        name, revision=revision, config=config, output_loading_info=True
    )
    # A pooler that a checkpoint lacks is not used: rows are taken in front of it.
    missing = [key for key in info["missing_keys"] if "pooler." not in key]
    if missing or info["mismatched_keys"]:
        wrong = sorted(missing) or sorted(str(k) for k in info["mismatched_keys"])
        raise ValueError(
            f"{name} has no weights for {len(wrong)} parameters of {type(module).__name__}, such as "
            f"{wrong[0]}: the checkpoint is of another architecture than its config.json names. For "
            f"random weights throughout, use --untrained."
        )
    return module


def _towers(module: torch.nn.Module) -> tuple[str, ...]:
    if hasattr(module, "get_image_features") and hasattr(module, "get_text_features"):
        return ("image", "text")
    if module.main_input_name == "pixel_values":
        return ("image",)
    if module.main_input_name == "input_ids" and not module.config.is_encoder_decoder:
        return ("text",)
    raise ValueError(
        f"{type(module).__name__} takes {module.main_input_name}: models of images, of texts, or of "
        f"both are known."
    )


def _own_pooling(name, revision, module, towers, layer) -> str:
    if len(towers) == 2:
        return "projected" if layer is None else "mean"
    if towers == ("text",):
        return _sentence_pooling(name, revision)
    if forward.has_class_token(module):
        return "cls"
    return "mean"


def _sentence_pooling(name: str, revision: str | None) -> str:
    """What the pooling of sentence-transformers says of a folder or id, or the mean."""

    def read(file):
        path = transformers.utils.cached_file(
            name,
            file,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if path is None else json.loads(Path(path).read_text())

    modules = read("modules.json")
    for entry in modules or ():
        kind = entry["type"].rpartition(".")[2]
        if kind == "Pooling":
            stated = read(f"{entry['path']}/config.json") or {}
            if stated.get("pooling_mode_cls_token") or stated.get("pooling_mode") == "cls":
                return "cls"
            if stated.get("pooling_mode_mean_tokens") or stated.get("pooling_mode") == "mean":
                return "mean"
            raise ValueError(
                f"{name} pools its tokens as {stated}, which is neither their mean nor the class "
                f"token: choose one with --pooling."
            )
        if kind not in ("Transformer", "Normalize"):
            raise ValueError(
                f"{name} ends in a module {kind} of sentence-transformers, which is not read here: "
                f"choose what comes before it with --pooling=mean."
            )
    return "mean"


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(name)
        torch.empty(1, device=place)
    # Torch raises one of these, whichever device is asked for.
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device is {name!r}, which is not to be had here ({reason}).") from None
    return place


def _reachable(name: str, load: Callable[[], Any]) -> Any:
    """Calls `load` and says in one sentence why a model is not to be had."""
    try:
        return load()
    except ImportError as error:
        raise ImportError(f"{name} needs more than is installed: {_first(error)}") from None
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{name} has no weights"):
            raise
        if Path(name).is_dir():
            raise OSError(
                f"{name} is a folder, and no model can be read from it: {_first(error)} It needs "
                f"config.json, the weights, and preprocessor_config.json or the tokenizer's files, as "
                f"save_pretrained writes them."
            ) from None
        if Path(name).exists():
            raise OSError(f"{name} is a file: name the folder of the model.") from None
        raise OSError(
            f"{name} is neither a folder here nor a model that could be fetched. {_why(error)} Check "
            f"the spelling and the network, or download the model where there is one "
            f"(hf download {name}) and name its folder."
        ) from None


def _why(error: BaseException) -> str:
    chain, seen = [], error
    while seen is not None and len(chain) < 10:
        chain.append(type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    if "RepositoryNotFoundError" in chain:
        return "The hub knows no such model, or it is private."
    if "GatedRepoError" in chain:
        return "The hub gives it only to those who have accepted its licence: log in with hf auth."
    if "RevisionNotFoundError" in chain:
        return "The hub has the model, but not this revision."
    if {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"} & set(
        chain
    ):
        return "The hub cannot be reached, and the model is not in the cache."
    return _first(error)


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."


def _preprocessing(processor: Any) -> Any:
    if processor is None:
        return None
    stated = processor.to_dict()
    # Of timm's, what its transforms are made of.
    kept = stated.get("data_config") or stated
    return {"class": type(processor).__name__} | {k: v for k, v in kept.items() if v is not None}


def _fingerprint(name: str) -> str | None:
    """A local folder's revision: the SHA-256 of its weights' sizes, first and last megabytes."""
    files = sorted(f for pattern in _WEIGHTS for f in Path(name).glob(pattern))
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with open(file, "rb") as stream:
            digest.update(stream.read(2**20))
            stream.seek(max(0, size - 2**20))
            digest.update(stream.read())
    return f"sha256:{digest.hexdigest()[:16]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' notes on what it loads: what matters of them is raised here."""
    level = transformers.logging.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    before = hub.level
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        hub.setLevel(before)
