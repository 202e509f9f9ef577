"""The forward pass: a batch of images or texts to one row each, from any layer and with any pooling."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from PIL import Image

CLASS_TOKENS = ("cls_token", "class_embedding", "cls_embedding")


class Model(NamedTuple):
    """What is loaded: the module, what prepares its inputs, and how its output becomes a row."""

    module: torch.nn.Module
    processor: Any
    tokenizer: Any
    towers: tuple[str, ...]
    layer: str | None
    pooling: str
    normalize_names: tuple[str, ...] = ()


def has_class_token(module: torch.nn.Module) -> bool:
    if isinstance(module, transformers.TimmWrapperModel):
        return False
    return any(name.rpartition(".")[2] in CLASS_TOKENS for name, _ in module.named_parameters())


def check_layer(model: Model) -> None:
    if model.layer is None:
        if model.pooling == "projected" and len(model.towers) < 2:
            raise ValueError(
                f"--pooling is 'projected', and {type(model.module).__name__} has no projection to a "
                f"space shared by images and texts: use cls or mean."
            )
        return
    if model.pooling == "projected":
        raise ValueError(
            f"--layer is {model.layer} and --pooling 'projected': the projection follows the last "
            f"layer alone. Use cls or mean, or leave --layer out."
        )
    for tower in model.towers:
        if model.layer.lstrip("-").isdecimal():
            inputs = _inputs(model, tower, _sample(tower))
            with torch.inference_mode():
                count = len(_hidden_states(model, tower, inputs))
            if not -count <= int(model.layer) < count:
                raise ValueError(
                    f"--layer is {model.layer}, and the {tower} tower has {count} hidden states, 0 to "
                    f"{count - 1} (or -{count} to -1). See --list_layers."
                )
        elif model.layer not in dict(model.module.named_modules()):
            raise ValueError(
                f"--layer is {model.layer!r}, and {type(model.module).__name__} has no module of this "
                f"name. See --list_layers."
            )


def layers(model: Model) -> list[tuple[str, str, str]]:
    """Every layer as (tower, name, shape for one sample input)."""
    found = []
    for tower in model.towers:
        shapes: dict[str, tuple[int, ...]] = {}
        with contextlib.ExitStack() as stack:
            for path, module in model.module.named_modules():
                if path:

                    def note(module, inputs, output, path=path, shapes=shapes):
                        tensor = _tensor(output)
                        if tensor is not None and tensor.ndim in (2, 3, 4):
                            shapes.setdefault(path, tuple(tensor.shape))

                    handle = module.register_forward_hook(note)
                    stack.callback(handle.remove)
            inputs = _inputs(model, tower, _sample(tower))
            with torch.inference_mode():
                states = _hidden_states(model, tower, inputs)
        found += [(tower, str(i), str(tuple(state.shape))) for i, state in enumerate(states)]
        found += [(tower, path, str(shape)) for path, shape in shapes.items()]
    return found


def _sample(tower: str) -> Sequence:
    return [Image.new("RGB", (64, 48))] if tower == "image" else ["one short text"]


def _inputs(model: Model, tower: str, batch: Sequence) -> dict[str, torch.Tensor]:
    first = next(model.module.parameters())
    if tower == "image":
        # As lists: one picture after the other, whatever their sizes.
        pixels = model.processor(images=list(batch), return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels.to(first.device, first.dtype)}
    fixed = model.module.config.model_type.startswith("siglip")
    longest = min(
        model.tokenizer.model_max_length,
        getattr(_text_config(model), "max_position_embeddings", None) or 512,
    )
    tokens = model.tokenizer(
        list(batch),
        # SigLIP was trained on texts filled up to its full length, and attends to what fills them.
        padding="max_length" if fixed else True,
        truncation=True,
        max_length=longest,
        return_tensors="pt",
    )
    known = ("input_ids", "attention_mask", "token_type_ids")
    return {k: v.to(first.device) for k, v in tokens.items() if k in known}


def _text_config(model: Model) -> Any:
    return getattr(model.module.config, "text_config", model.module.config)


def _tower(model: Model, tower: str) -> torch.nn.Module:
    if len(model.towers) == 1:
        return model.module
    return getattr(model.module, "vision_model" if tower == "image" else "text_model")


def _hidden_states(model: Model, tower: str, inputs: dict) -> Sequence[torch.Tensor]:
    states = _tower(model, tower)(**inputs, output_hidden_states=True).hidden_states
    return tuple(states) if states is not None else ()


def _tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], torch.Tensor):
        return output[0]
    return getattr(output, "last_hidden_state", None)


def encode(model: Model, tower: str, batch: Sequence) -> np.ndarray:
    inputs = _inputs(model, tower, batch)
    with torch.inference_mode():
        return _rows(model, tower, inputs).float().cpu().numpy()


def _rows(model: Model, tower: str, inputs: dict) -> torch.Tensor:
    if model.pooling == "projected":
        out = getattr(model.module, f"get_{tower}_features")(**inputs)
        return out if isinstance(out, torch.Tensor) else out.pooler_output
    if model.layer is None:
        out = _tower(model, tower)(**inputs)
        pooled = getattr(out, "pooler_output", None)
        if model.pooling == "mean" and tower == "image" and pooled is not None and _is_mean(model):
            return pooled.flatten(1)
        return _pool(model, tower, out.last_hidden_state, inputs)
    if model.layer.lstrip("-").isdecimal():
        state = _hidden_states(model, tower, inputs)[int(model.layer)]
    else:
        seen: list[torch.Tensor | None] = []
        module = model.module.get_submodule(model.layer)
        handle = module.register_forward_hook(lambda m, i, output: seen.append(_tensor(output)))
        try:
            _tower(model, tower)(**inputs)
        finally:
            handle.remove()
        if not seen or seen[0] is None:
            raise ValueError(
                f"--layer {model.layer} gives no tensor for {tower}s. See --list_layers."
            )
        state = seen[0]
    return _pool(model, tower, state, inputs)


def _is_mean(model: Model) -> bool:
    """Whether the model's own pooling is its head's (the mean, and what norm follows), as of CNNs."""
    return not has_class_token(model.module)


def _pool(model: Model, tower: str, state: torch.Tensor, inputs: dict) -> torch.Tensor:
    if state.ndim == 2:
        return state
    if state.ndim == 4:
        if model.pooling == "cls":
            raise ValueError(
                f"--pooling is 'cls', and this layer has pixels {tuple(state.shape)}, no class token: "
                f"use --pooling=mean."
            )
        return state.mean(dim=(2, 3))
    if state.ndim != 3:
        raise ValueError(
            f"--layer {model.layer} gives {tuple(state.shape)}: rows are made of [n, dim], of tokens "
            f"[n, tokens, dim], or of pixels [n, dim, height, width]. See --list_layers."
        )
    if tower == "text":
        if model.pooling == "cls":
            return state[torch.arange(len(state)), _text_token(model, inputs)]
        mask = inputs["attention_mask"].unsqueeze(-1).to(state.dtype)
        return (state * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    prefix = _prefix_tokens(model)
    if model.pooling == "cls":
        if prefix == 0:
            raise ValueError(
                f"--pooling is 'cls', and {type(model.module).__name__} has no class token: use "
                f"--pooling=mean."
            )
        return state[:, 0]
    return state[:, prefix:].mean(dim=1)


def _prefix_tokens(model: Model) -> int:
    """The tokens in front of the patches: the class token and registers."""
    module = model.module
    if isinstance(module, transformers.TimmWrapperModel):
        return int(getattr(module.timm_model, "num_prefix_tokens", 0))
    if not has_class_token(module):
        return 0
    config = getattr(module.config, "vision_config", module.config)
    return 1 + int(getattr(config, "num_register_tokens", 0) or 0)


def _text_token(model: Model, inputs: dict) -> torch.Tensor:
    """The token that stands for the text: CLIP's end of text, elsewhere the first one."""
    ids = inputs["input_ids"]
    if not model.module.config.model_type.startswith("clip"):
        return torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    end = _text_config(model).eos_token_id
    # Older configs state 2, which the vocabulary does not use: the end has the largest id.
    return ids.argmax(dim=-1) if end == 2 else (ids == end).int().argmax(dim=-1)
