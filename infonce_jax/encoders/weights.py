"""Weights of published ResNets and vision transformers, carried over into the encoders here.

Checkpoints in safetensors are read under the names that torchvision, timm and transformers give their
parameters. Only the backbone is carried over: the classifier of the checkpoint is left out, and the
linear layer to the embedding and the head keep their initial values.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

_Leaf = Float[np.ndarray, "..."] | Float[Array, "..."]
Weights = Mapping[str, _Leaf]

# What stands in front of the same names in whole models, and what has no place in a backbone.
_PREFIXES = ("module.", "timm_model.", "resnet.", "vit.", "model.", "backbone.", "encoder.")
_LEFT_OUT = re.compile(
    r"(fc|head|heads|classifier|pooler|pre_logits)\.|.*num_batches_tracked$|.*mask_token$"
)

# The names of transformers and torchvision, as those of timm.
_RENAMED = [
    (r"embedder\.embedder\.convolution\.", "conv1."),
    (r"embedder\.embedder\.normalization\.", "bn1."),
    (
        r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\.",
        r"layer{1}.\2.conv{3}.",
    ),
    (
        r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\.",
        r"layer{1}.\2.bn{3}.",
    ),
    (
        r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.",
        r"layer{1}.\2.downsample.0.",
    ),
    (
        r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\.",
        r"layer{1}.\2.downsample.1.",
    ),
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.", r"blocks.\1.attn.\2."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    # As transformers 5 has them in memory.
    (r"layers\.(\d+)\.attention\.q_proj\.", r"blocks.\1.attn.query."),
    (r"layers\.(\d+)\.attention\.k_proj\.", r"blocks.\1.attn.key."),
    (r"layers\.(\d+)\.attention\.v_proj\.", r"blocks.\1.attn.value."),
    (r"layers\.(\d+)\.attention\.o_proj\.", r"blocks.\1.attn.proj."),
    (r"layers\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"layers\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
    (r"layernorm\.", "norm."),
    (r"class_token", "cls_token"),
    (r"conv_proj\.", "patch_embed.proj."),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_1\.", r"blocks.\1.norm1."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_2\.", r"blocks.\1.norm2."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.fc1."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.fc2."),
    (r"encoder\.ln\.", "norm."),
]


def read_weights(path: Path | str) -> Weights:
    """Reads a checkpoint in safetensors.

    Args:
        path: the file, or a folder that holds one model.safetensors.

    Returns:
        The arrays by their names in the file, in float32.

    Raises:
        FileNotFoundError: where there is no such file.
        ModuleNotFoundError: where safetensors is not installed.
        ValueError: for a file that is damaged or no safetensors.
    """
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"config.encoder.init_from is {path}, and {file} is not a file: name a checkpoint in "
            f"safetensors, or a folder with model.safetensors (hf download NAME --local-dir DIR)."
        )
    try:
        import ml_dtypes  # noqa: F401  (teaches NumPy the name bfloat16)
        import safetensors
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"config.encoder.init_from needs {error.name}, which is not installed: "
            f"pip install 'infonce_jax[formats]'."
        ) from None
    try:
        stored = safetensors.numpy.load_file(file)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"config.encoder.init_from names {file}, which is damaged or no safetensors file ({error}). "
            f"Of a .pth file make one: safetensors.torch.save_file(torch.load(file, "
            f"weights_only=True), 'model.safetensors')."
        ) from None
    return {name: np.asarray(array, np.float32) for name, array in stored.items()}


def check_vit_settings(path: Path | str, num_heads: int, norm_epsilon: float) -> None:
    """Compares a ViT's settings with the config.json of transformers beside its checkpoint.

    The weights do not show them, so that a wrong one gives wrong features without an error. Does
    nothing where there is no such file, or where it does not have them (timm, torchvision).

    Examples:
        >>> import json, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> settings = {"num_attention_heads": 3, "layer_norm_eps": 1e-6}
        >>> _ = (folder / "config.json").write_text(json.dumps(settings))
        >>> check_vit_settings(folder, 3, 1e-6)

    Args:
        path: as for `read_weights`.
        num_heads: attention heads of the encoder here.
        norm_epsilon: the epsilon of its LayerNorms.

    Raises:
        ValueError: where heads, epsilon or activation differ; names the remedy.
    """
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        theirs = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(theirs, dict) or "num_attention_heads" not in theirs:
        return
    wrong = []
    for field, name, here in (
        ("num_heads", "num_attention_heads", num_heads),
        ("norm_epsilon", "layer_norm_eps", norm_epsilon),
    ):
        if theirs.get(name, here) != here:
            wrong.append(
                f"{name} is {theirs[name]:g} and config.encoder.{field} is {here:g}: set "
                f"--config.encoder.{field}={theirs[name]:g}"
            )
    if theirs.get("hidden_act", "gelu") != "gelu":
        wrong.append(
            f"hidden_act is {theirs['hidden_act']!r}, and the ViT here has the exact GELU alone: take "
            f"a checkpoint with 'gelu'"
        )
    if wrong:
        raise ValueError(f"in {file} of config.encoder.init_from {'; '.join(wrong)}.")


def carry_over(variables: Mapping[str, PyTree], weights: Weights) -> dict[str, PyTree]:
    """An encoder's variables with the weights of a checkpoint in its backbone.

    With BatchNorm its running moments are carried over too, so that the pooled features equal the
    checkpoint's in evaluation mode, on inputs that are normalised as it expects.

    Args:
        variables: `{"params": …, "batch_stats": …}` of an `Encoder` with a ResNet or ViT, from `init`;
            leaves may be abstract.
        weights: from `read_weights`.

    Returns:
        The variables, as new trees of the same structure.

    Raises:
        ValueError: where the checkpoint lacks a parameter, has more blocks, or shapes differ.
    """
    params = variables["params"].get("backbone", {})
    moments = variables.get("batch_stats", {}).get("backbone", {})
    blocks = [name for name in params if name.startswith(("ResidualBlock_", "TransformerBlock_"))]
    if not blocks:
        raise ValueError(
            "config.encoder.init_from carries weights into a ResNet or a ViT: set config.encoder.name "
            "to resnet18, resnet34, resnet50 or vit, or leave init_from out."
        )
    is_vit = blocks[0].startswith("TransformerBlock_")
    named = _canonical(weights)
    wanted = _vit(params, named) if is_vit else _resnet(params, moments)
    found, wrong, used = {}, [], set()
    for place, (name, convert) in wanted.items():
        used |= {name}
        leaf = _leaf({"params": params, "batch_stats": moments}, place)
        if name not in named:
            wrong.append(f"has no {name} ({'×'.join(map(str, leaf.shape))} here)")
            continue
        array = convert(named[name])
        if array.shape != leaf.shape:
            shapes = ["×".join(map(str, shape)) for shape in (array.shape, leaf.shape)]
            wrong.append(f"has {name} of {shapes[0]}, here {shapes[1]}")
        found[place] = array
    more = sorted(set(named) - used)
    if more:
        wrong.append(f"has {len(more)} more, such as {more[0]}")
    if wrong:
        raise ValueError(
            f"the checkpoint of config.encoder.init_from {'; '.join(wrong[:3])}"
            + (f" (and {len(wrong) - 3} further differences)" if len(wrong) > 3 else "")
            + ". "
            + (_VIT_REMEDY if is_vit else _RESNET_REMEDY)
        )
    return {
        "params": _replaced(variables["params"], "params", found),
        "batch_stats": _replaced(variables.get("batch_stats", {}), "batch_stats", found),
    }


_RESNET_REMEDY = (
    "Set config.encoder.name to the checkpoint's depth (resnet18, resnet34, resnet50), stem to "
    "'imagenet', norm to 'batch' and width to its first stage's channels."
)
_VIT_REMEDY = (
    "Set config.encoder.width, depth and patch_size to the checkpoint's, pool to 'token', and give "
    "images of the size that its positions are for."
)


def _canonical(weights: Weights) -> Weights:
    """The arrays under timm's names, without what is no part of a backbone."""
    named = {}
    for name, array in weights.items():
        while True:
            new = _renamed(name)
            prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
            if new is not None or prefix is None:
                break
            name = name.removeprefix(prefix)
        name = new or name
        if not _LEFT_OUT.match(name):
            named[name] = array
    for name in [n for n in named if ".attn.query." in n]:
        parts = [named.pop(name.replace("query", part), None) for part in ("query", "key", "value")]
        if all(part is not None for part in parts):
            named[name.replace("query", "qkv")] = jnp.concatenate(parts)
    return named


def _renamed(name: str) -> str | None:
    for pattern, new in _RENAMED:
        found = re.match(pattern, name)
        if found:
            # transformers counts stages and convolutions from 0, timm from 1.
            groups = found.groups()
            new = re.sub(r"\{(\d)\}", lambda m, g=groups: str(int(g[int(m[1]) - 1]) + 1), new)
            return found.expand(new) + name[found.end() :]
    return None


def _same(array: _Leaf) -> _Leaf:
    return array


def _conv(array: _Leaf) -> _Leaf:
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _dense(array: _Leaf) -> _Leaf:
    return array.T


def _patches(array: _Leaf) -> _Leaf:
    return _conv(array).reshape(-1, len(array)) if array.ndim == 4 else array


def _resnet(params: PyTree, moments: PyTree) -> dict:
    """(tree, path, leaf) of every parameter here, to its name there and how it is turned round."""
    wanted = {}

    def conv_norm(path, number, conv, norm):
        wanted["params", (*path, f"Conv_{number}"), "kernel"] = (f"{conv}.weight", _conv)
        inside = params
        for key in path:
            inside = inside[key]
        if "bias" in inside[f"Conv_{number}"]:
            wanted["params", (*path, f"Conv_{number}"), "bias"] = (f"{conv}.bias", _same)
        for kind in ("BatchNorm", "GroupNorm"):
            layer = (*path, f"{kind}_{number}")
            if layer[-1] in inside:
                wanted["params", layer, "scale"] = (f"{norm}.weight", _same)
                wanted["params", layer, "bias"] = (f"{norm}.bias", _same)
        if f"BatchNorm_{number}" in inside:
            layer = (*path, f"BatchNorm_{number}")
            wanted["batch_stats", layer, "mean"] = (f"{norm}.running_mean", _same)
            wanted["batch_stats", layer, "var"] = (f"{norm}.running_var", _same)

    conv_norm((), 0, "conv1", "bn1")
    stage, block = 0, 0
    channels = params["Conv_0"]["kernel"].shape[-1]
    count = sum(name.startswith("ResidualBlock_") for name in params)
    for number in range(count):
        inside = params[f"ResidualBlock_{number}"]
        convs = sum(name.startswith("Conv_") for name in inside)
        bottleneck = inside["Conv_0"]["kernel"].shape[0] == 1
        main = 3 if bottleneck else 2
        width = inside["Conv_0"]["kernel"].shape[-1]
        # A stage begins where the channels double.
        stage, block = (stage + 1, 0) if width != channels else (stage, block)
        channels = width
        there = f"layer{stage + 1}.{block}"
        for i in range(main):
            conv_norm((f"ResidualBlock_{number}",), i, f"{there}.conv{i + 1}", f"{there}.bn{i + 1}")
        if convs > main:
            shortcut = (f"{there}.downsample.0", f"{there}.downsample.1")
            conv_norm((f"ResidualBlock_{number}",), main, *shortcut)
        block += 1
    return wanted


def _vit(params: PyTree, named: Weights) -> dict:
    wanted = {
        ("params", ("patches",), "kernel"): ("patch_embed.proj.weight", _patches),
        ("params", ("patches",), "bias"): ("patch_embed.proj.bias", _same),
        ("params", (), "positions"): ("pos_embed", _same),
    }
    if "token" in params:
        wanted["params", (), "token"] = ("cls_token", _same)

    def norm(path, name):
        wanted["params", path, "scale"] = (f"{name}.weight", _same)
        wanted["params", path, "bias"] = (f"{name}.bias", _same)

    def dense(path, name):
        wanted["params", path, "kernel"] = (f"{name}.weight", _dense)
        wanted["params", path, "bias"] = (f"{name}.bias", _same)

    for number in range(sum(name.startswith("TransformerBlock_") for name in params)):
        here, there = f"TransformerBlock_{number}", f"blocks.{number}"
        norm((here, "LayerNorm_0"), f"{there}.norm1")
        norm((here, "LayerNorm_1"), f"{there}.norm2")
        dense((here, "query_key_value"), f"{there}.attn.qkv")
        dense((here, "attention_out"), f"{there}.attn.proj")
        dense((here, "Dense_0"), f"{there}.mlp.fc1")
        dense((here, "Dense_1"), f"{there}.mlp.fc2")
    norm(("LayerNorm_0",), "norm")
    return wanted


def _leaf(trees: Mapping[str, PyTree], place: tuple) -> PyTree:
    tree, path, name = place
    here = trees[tree]
    for key in path:
        here = here[key]
    return here[name]


def _replaced(tree: Mapping, kind: str, found: Mapping) -> dict:
    """A copy of an encoder's tree with the arrays of its backbone replaced."""

    def copied(inside: Mapping, path: tuple) -> dict:
        return {
            key: copied(value, (*path, key))
            if isinstance(value, Mapping)
            else found.get((kind, path, key), value)
            for key, value in inside.items()
        }

    whole = dict(tree)
    if "backbone" in whole:
        whole["backbone"] = copied(whole["backbone"], ())
    return whole
