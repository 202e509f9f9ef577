"""The loop from rows to an embeddings folder: in blocks, in constant memory, and resumable.

It knows no torch: an `Encoder` is a pair of functions. Rows go through in batches whose members never
depend on where a run was stopped, so that a run that was killed and started again writes the same bytes.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from infonce_jax import embeddings
from infonce_jax.files import write_json
from infonce_jax.pretrained.images import DamagedImage
from infonce_jax.pretrained.rows import Rows

UNTRAINED, TRAINED = 0, 1
ON_DAMAGED = ("refuse", "skip")
# A block ends after this many rows, or after this many seconds if that is later: then all is on disk.
_BLOCK_ROWS = 256
_BLOCK_SECONDS = 2.0

Batch = Float[np.ndarray, "batch dim"]


class Encoder(NamedTuple):
    """A model as functions of a batch, and what the manifest says of it.

    Attributes:
        image: encodes RGB images, or None where the model takes none.
        text: encodes texts, or None where the model takes none.
        facts: model, revision, preprocessing, layer, pooling, dtype: plain data for JSON.
    """

    image: Callable[[Sequence[Image.Image]], Batch] | None
    text: Callable[[Sequence[str]], Batch] | None
    facts: Mapping[str, Any]


def extract(
    encoder: Encoder,
    data: Mapping[str, Rows],
    output: Path | str,
    *,
    step: int = TRAINED,
    batch_size: int = 32,
    on_damaged: str = "refuse",
    random_projection: int = 0,
    normalize: bool = False,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Encodes all rows and writes one embedding set, `output/<step>`, whole or not at all.

    Until it is whole, its parts lie in `output/<step>.partial`. Started again with the same arguments
    after a kill, it goes on from the last block there.

    Args:
        encoder: the model.
        data: rows by split, from `open_rows`.
        output: the folder that holds the set.
        step: `TRAINED`, or `UNTRAINED` for random weights: the contract's step 0, where the
            evaluation's control "untrained" looks for them.
        batch_size: rows encoded together.
        on_damaged: whether an image that cannot be decoded ends the extraction ("refuse") or is
            counted, named in the manifest and left out ("skip").
        random_projection: the dimension of a random linear map of the embeddings, written beside them
            as a control; 0 for none. Its entries are N(0, 1/dim).
        normalize: whether rows are divided by their norm. By default they are as the model gives them.
        seed: of the random projection.
        facts: what else decides the result, such as the path of the data: it is kept in the manifest,
            and what was begun with other facts is not continued.
        overwrite: whether to begin anew where the set, or a part of another one, is there.
        progress: is given one line now and then.

    Returns:
        The set's folder.

    Raises:
        ValueError: where the model does not take these rows, an image is damaged, an embedding is not
            finite, or something else than this set is there already.
    """
    output = Path(output)
    _check(encoder, data, batch_size, on_damaged, random_projection)
    plan = {
        "encoder": dict(encoder.facts),
        "data": {
            "splits": {name: len(rows.names) for name, rows in data.items()},
            "names_sha256": _digest(data),
            **(facts or {}),
        },
        "batch_size": batch_size,
        "on_damaged": on_damaged,
        "normalize": normalize,
        "random_projection": random_projection,
        "seed": seed,
    }
    plan = json.loads(json.dumps(plan))
    final, partial = output / str(step), output / f"{step}.partial"
    if overwrite:
        shutil.rmtree(partial, ignore_errors=True)
    elif _is_done(final, plan):
        progress(f"{final} is complete already")
        return final
    partial.mkdir(parents=True, exist_ok=True)
    lock = _lock(partial)
    try:
        state = _resume(partial, plan)
        total = sum(len(rows.names) for rows in data.values())
        started_s, begun = time.monotonic(), sum(s["items"] for s in state["splits"].values())
        if begun:
            progress(f"going on from {partial}, {begun:,} of {total:,} rows done")

        def tell(done):
            rate = (done - begun) / max(time.monotonic() - started_s, 1e-9)
            left = (total - done) / rate if rate > 0 else math.inf
            progress(f"{done:,} of {total:,} rows, {rate:,.1f} rows/s, {left:,.0f} s left")

        for split, rows in data.items():
            _encode_split(encoder, split, rows, partial, plan, state, tell)
        return _finish(output, step, data, partial, plan, state)
    finally:
        lock.close()
        # What nothing was written to yet is not left behind.
        if not (partial / "state.json").exists():
            shutil.rmtree(partial, ignore_errors=True)


def _lock(partial: Path) -> BinaryIO:
    """Keeps a second process out of the same parts, until the file is closed or the process ends."""
    stream = open(partial / "lock", "ab")  # noqa: SIM115  (closed by the caller)
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ModuleNotFoundError:  # no such locks on Windows
        pass
    except OSError:
        stream.close()
        raise ValueError(
            f"{partial} is being written by another process: wait for it, or name another --output."
        ) from None
    return stream


def _check(encoder, data, batch_size, on_damaged, random_projection) -> None:
    if batch_size < 1:
        raise ValueError(f"--batch_size is {batch_size}: give at least 1.")
    if random_projection < 0:
        raise ValueError(f"--random_projection is {random_projection}: give a dimension, or 0.")
    if on_damaged not in ON_DAMAGED:
        raise ValueError(f"--on_damaged is {on_damaged!r}: choose from {', '.join(ON_DAMAGED)}.")
    for rows in data.values():
        for tower in rows.towers:
            if getattr(encoder, tower) is None:
                raise ValueError(
                    f"the data are {tower}s, and {encoder.facts.get('model')} encodes "
                    f"{' and '.join(t + 's' for t in ('image', 'text') if getattr(encoder, t))} "
                    f"alone: give it data of that kind, or name another model."
                )


def _is_done(final: Path, plan: Mapping[str, Any]) -> bool:
    if not final.exists():
        return False
    manifest = embeddings.read(final).manifest
    if manifest.get("plan") == plan:
        return True
    raise ValueError(
        f"{final} is there already, of {_difference(manifest.get('plan') or {}, plan)}. Name another "
        f"--output, or replace it with --overwrite."
    )


def _resume(partial: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    file = partial / "state.json"
    if not file.is_file():
        return {"plan": plan, "splits": {}}
    state = json.loads(file.read_text())
    if state["plan"] != plan:
        raise ValueError(
            f"{partial} holds what an interrupted extraction has begun, of "
            f"{_difference(state['plan'], plan)}. Give the same arguments to go on with it, name "
            f"another --output, or begin anew with --overwrite."
        )
    return state


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    flat = [_flat(plan) for plan in (theirs, ours)]
    for key in flat[0] | flat[1]:
        if flat[0].get(key) != flat[1].get(key):
            return f"another {key} ({flat[0].get(key)!r} there, {flat[1].get(key)!r} now)"
    return "another kind"


def _flat(plan: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves = {}
    for key, value in plan.items():
        nested = isinstance(value, Mapping)
        leaves |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return leaves


def _encode_split(encoder, split, rows, partial, plan, state, tell) -> None:
    """Encodes what is left of one split; after every block `state` and the arrays are on disk."""
    done = state["splits"].setdefault(split, {"items": 0, "rows": 0, "dims": {}, "skipped": []})
    n, size = len(rows.names), plan["batch_size"]
    files = {tower: partial / f"{split}.{tower}.f32" for tower in rows.towers}
    block = {tower: [] for tower in rows.towers}
    items, skipped, kept = done["items"], [], 0
    for tower, file in files.items():
        # What a killed run wrote behind its last complete block is cut off.
        with open(file, "ab") as stream:
            stream.truncate(4 * done["rows"] * done["dims"].get(tower, 0))
    saved_s = time.monotonic()
    while items < n:
        batch = range(items, min(items + size, n))
        good, images = _read(rows, batch, plan["on_damaged"], skipped)
        items = batch.stop
        for tower in rows.towers if good else ():
            inputs = images if tower == "image" else [rows.texts[i] for i in good]
            z = _encode(getattr(encoder, tower), inputs, [rows.names[i] for i in good], plan)
            if done["dims"].setdefault(tower, z.shape[1]) != z.shape[1]:
                raise ValueError(
                    f"{rows.names[good[0]]} and what follows have {tower} embeddings of {z.shape[1]} "
                    f"coordinates, those before {done['dims'][tower]}: choose another --layer or "
                    f"--pooling, whose size does not depend on the image."
                )
            block[tower].append(z)
        kept += len(good)
        late = time.monotonic() - saved_s >= _BLOCK_SECONDS
        if items == n or (items - done["items"] >= _BLOCK_ROWS and late):
            for tower, file in files.items():
                with open(file, "ab") as stream:
                    for z in block[tower]:
                        z.tofile(stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                block[tower].clear()
            done["items"], done["rows"], kept = items, done["rows"] + kept, 0
            done["skipped"] += skipped
            skipped = []
            write_json(partial / "state.json", state)
            saved_s = time.monotonic()
            tell(sum(s["items"] for s in state["splits"].values()))


def _read(rows: Rows, batch: range, on_damaged: str, skipped: list) -> tuple[list[int], list]:
    """The rows of a batch that can be read, and their images."""
    if rows.image is None:
        return list(batch), []
    good, images = [], []
    for i in batch:
        try:
            images.append(rows.image(i))
            good.append(i)
        except DamagedImage as error:
            if on_damaged == "refuse":
                raise ValueError(
                    f"{error} Replace or remove it, or leave out what is damaged with "
                    f"--on_damaged=skip."
                ) from None
            skipped.append({"row": i, "name": rows.names[i], "reason": str(error)})
    return good, images


def _encode(encode: Callable, inputs: Sequence, names: Sequence[str], plan: Mapping) -> Batch:
    z = np.ascontiguousarray(encode(inputs), np.float32)
    if z.ndim != 2 or len(z) != len(inputs):
        raise ValueError(f"the model gave an array of shape {z.shape} for {len(inputs)} rows.")
    finite = np.isfinite(z).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the embedding of {names[int(np.argmin(finite))]} is not finite: compute in another type "
            f"(--dtype=float32), or look at the weights."
        )
    if plan["normalize"]:
        norms = np.linalg.norm(z, axis=1, keepdims=True)
        z = z / np.where(norms > 0, norms, 1)
    return z


def _finish(output, step, data, partial, plan, state) -> Path:
    """Puts the arrays in a contract's folder and removes the parts."""
    arrays, labels, names, texts, skipped = {}, {}, {}, {}, {}
    members: dict[str, dict[str, Any]] = {}
    for split, rows in data.items():
        done = state["splits"][split]
        if done["rows"] == 0:
            raise ValueError(f"no row of split {split} could be read: all are damaged.")
        left_out = {entry["row"] for entry in done["skipped"]}
        kept = [i for i in range(len(rows.names)) if i not in left_out]
        names[split] = [rows.names[i] for i in kept]
        if rows.texts is not None and rows.image is not None:
            texts[split] = [rows.texts[i] for i in kept]
        if done["skipped"]:
            skipped[split] = done["skipped"]
        if rows.labels is not None:
            labels[split] = rows.labels[kept]
        for tower in rows.towers:
            file, dim = partial / f"{split}.{tower}.f32", done["dims"][tower]
            z = np.memmap(file, np.float32, "r", shape=(done["rows"], dim))
            arrays[tower, split, "clean"] = z
            members[tower] = {"name": tower, "seed": None, "hyperparameters": {"tower": tower}}
            if plan["random_projection"]:
                k = plan["random_projection"]
                arrays[f"{tower}_projected", split, "clean"] = _project(partial, file, z, k, plan)
                varied = {"tower": tower, "random_projection": k}
                name = f"{tower}_projected"
                members[name] = {"name": name, "seed": None, "hyperparameters": varied}
    metadata = {
        "made_by": "infonce_jax.pretrained",
        **plan["encoder"],
        "plan": plan,
        "label_names": {k: list(r.label_names) for k, r in data.items() if r.labels is not None},
        "skipped": skipped,
        "rows": names,
        "texts": texts,
    }
    final = embeddings.write(
        output, step, arrays=arrays, labels=labels, members=members.values(), metadata=metadata
    )
    shutil.rmtree(partial)
    return final


def _project(partial: Path, file: Path, z: np.ndarray, dim: int, plan: Mapping) -> np.ndarray:
    rng = np.random.default_rng(plan["seed"])
    matrix = (rng.standard_normal((z.shape[1], dim)) / math.sqrt(z.shape[1])).astype(np.float32)
    path = partial / f"{file.stem}.projected.f32"
    out = np.memmap(path, np.float32, "w+", shape=(len(z), dim))
    for start in range(0, len(z), _BLOCK_ROWS):
        out[start : start + _BLOCK_ROWS] = z[start : start + _BLOCK_ROWS] @ matrix
    out.flush()
    return out


def _digest(data: Mapping[str, Rows]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for split, rows in data.items():
        for column in (rows.names, rows.texts or ()):
            digest.update(json.dumps([split, len(column)]).encode())
            for name in column:
                digest.update(json.dumps(name).encode())
    return digest.hexdigest()
