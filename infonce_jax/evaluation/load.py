"""Embeddings from files of any maker, and from the embedding folders of a run."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from infonce_jax.evaluation.arrays import check_embeddings


class Embeddings(NamedTuple):
    """One embedding matrix, its views where it has any, and where it comes from.

    Attributes:
        identity: the columns that tell one matrix from another in the rows of an evaluation:
            source, run, step, epoch, member, seed, hyperparameters (JSON) and split.
        z: the embeddings [n, d] to evaluate.
        view1: embeddings [n, d] of one view of the same samples, or None.
        view2: embeddings [n, d] of another view of the same samples, or None.
        labels: the class of each, or None; where an embedding set holds them.
    """

    identity: dict[str, Any]
    z: Float[np.ndarray, "n d"]
    view1: Float[np.ndarray, "n d"] | None = None
    view2: Float[np.ndarray, "n d"] | None = None
    labels: Int[np.ndarray, "n"] | None = None

    @property
    def name(self) -> str:
        """What errors call it."""
        of = [str(self.identity[k]) for k in ("member", "split") if self.identity.get(k)]
        return f"{self.identity['source']} ({', '.join(of)})" if of else self.identity["source"]


def load_embeddings(path: Path | str) -> dict[str, Num[np.ndarray, "n d"]]:
    """Reads the embedding matrices of one file.

    * `.npy`: one matrix, memory-mapped.
    * `.npz`, `.safetensors`: every 2-d array of floats, or the one that `path::key` names.
    * `.parquet`: the columns of floating type as coordinates (integers and text are taken for ids
      and labels, and left out); or columns of lists, each a matrix of its own.

    * `.csv`, `.tsv`: one row a line; a header and a first column of text are skipped.

    Suffixes may be in any case. float16 and bfloat16 become float32; matrices of whole numbers stay.

    Args:
        path: the file, with `::key` behind it to choose one of its arrays.

    Returns:
        The matrices by source: the path as given, with `::key` where the file holds several.

    Raises:
        FileNotFoundError: where there is no such file.
        ModuleNotFoundError: where the format's library is not installed.
        TypeError: for integers, complex numbers, objects.
        ValueError: for an unknown suffix, a damaged or pickled file, an unknown key, a shape that is
            not [n, d], NaN or Inf.
    """
    path, key = _split_key(str(path))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file. Give a .npy, .npz, .safetensors or .parquet file, an "
            f"embeddings/<step> folder, or a run folder that has such folders."
        )
    suffix = path.suffix.lower()
    if suffix in (".pt", ".pth"):
        raise ValueError(
            f"{path} is PyTorch's own format, which is not read. Convert it: "
            f"z = torch.load('{path}', map_location='cpu'); "
            f"np.save('{path.with_suffix('.npy')}', z.detach().float().numpy())."
        )
    if suffix not in _READERS:
        raise ValueError(
            f"{path} has a suffix that is not known; embeddings are read from "
            f"{', '.join(_READERS)} files. Text becomes one by "
            "np.save('x.npy', np.loadtxt('x.txt'))."
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): write it again.")
    arrays = _READERS[suffix](path, key)
    several = len(arrays) > 1 or key is not None
    sources = {f"{path}::{name}" if several else str(path): x for name, x in arrays.items()}
    # Matrices of whole numbers are left as they are: the evaluation dithers them.
    return {
        source: x
        if x.dtype.kind in "iu" and x.ndim == 2 and x.size
        else check_embeddings(x, source, min_rows=1)
        for source, x in sources.items()
    }


def open_embeddings(path: Path | str) -> Iterator[Embeddings]:
    """Yields every embedding matrix under `path`, one at a time.

    A file yields its matrices. An `embeddings/<step>` folder yields one per member and split, with
    its two views; a run folder does so for every step, in ascending order.

    Args:
        path: a file (see `load_embeddings`), an embeddings folder, or a run folder.

    Raises:
        FileNotFoundError: where there is nothing of the kind.
        ValueError: where a manifest and its arrays disagree, and as `load_embeddings` does.
    """
    if Path(path).is_dir():
        yield from _open_folder(Path(path))
        return
    for source, z in load_embeddings(path).items():
        yield Embeddings({"source": source}, z)


def untrained(found: Embeddings) -> Embeddings:
    """The same member's and split's embeddings before training: step 0 beside the set's own step.

    Args:
        found: from an `embeddings/<step>` folder, as `open_embeddings` yields it.

    Raises:
        FileNotFoundError: where the embeddings come from a file, which knows of no run; where the
            run has no set of step 0.
        ValueError: where that set lacks the member or the split, or has another number of rows.
    """
    from infonce_jax import embeddings  # the only sibling; files need none of it

    path = Path(found.identity["source"])
    if found.identity.get("step") is None:
        raise FileNotFoundError(
            f"{path} is a file, which does not say what run it is of: the control 'untrained' needs a "
            f"run or an embeddings/<step> folder of one. Name the untrained encoder's embeddings as "
            f"another PATH instead."
        )
    root = path.resolve().parent
    steps = [step.name for step in embeddings.find_steps(root)]
    if "0" not in steps:
        raise FileNotFoundError(
            f"{root} has no embeddings of step 0, the untrained encoder, only of steps "
            f"{', '.join(steps)}: write them with --stage=embed, or leave the control out."
        )
    member, split = found.identity["member"], found.identity["split"]
    for before in _open_folder(root / "0"):
        if (before.identity["member"], before.identity["split"]) == (member, split):
            if before.z.shape != found.z.shape:
                raise ValueError(
                    f"{found.name} has shape {found.z.shape}, and the untrained encoder's in "
                    f"{root / '0'} {before.z.shape}: the two are not of the same rows. Write both "
                    f"again with --stage=embed."
                )
            return before
    raise ValueError(
        f"{root / '0'} holds no embeddings of member {member!r} and split {split!r}: write them with "
        f"--stage=embed, or leave the control 'untrained' out."
    )


def load_labels(path: Path | str) -> np.ndarray:
    """Reads the class of each row: a 1-d .npy of numbers or text, or a text file with one a line.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for an array that is not 1-d, a damaged or pickled file, a file without labels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: name a .npy or a text file of labels.")
    if path.suffix == ".npy":
        labels = np.asarray(_read_npy(path, None)[path.name])
        if labels.ndim != 1 or labels.dtype.kind not in "iubfUS":
            raise ValueError(
                f"{path} holds {labels.dtype} of shape {labels.shape}: labels are a 1-d array of "
                f"whole numbers or text, one for each row."
            )
        return labels
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}): one label a line.") from None
    if not labels:
        raise ValueError(f"{path} is empty: give one label a line.")
    return np.array(labels)


def _open_folder(path: Path) -> Iterator[Embeddings]:
    from infonce_jax import embeddings  # the only sibling; files need none of it

    steps = [path] if (path / "manifest.json").is_file() else embeddings.find_steps(path)
    if not steps:
        raise FileNotFoundError(
            f"{path} holds no embeddings: expected manifest.json in it, or embeddings/<step>/"
            f"manifest.json below it. Write them with --stage=embed, or name the file to evaluate."
        )
    for step in steps:
        try:
            stored = embeddings.read(step)
            found = [
                _member_embeddings(stored, member, split)
                for member in stored.members
                for split in stored.splits
            ]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{step / 'manifest.json'} does not describe an embedding set: "
                f"{type(error).__name__} {error}. Write the set again with --stage=embed."
            ) from error
        yield from found


def _member_embeddings(stored: Any, member: dict[str, Any], split: str) -> Embeddings:
    views = stored.views(split)
    if "clean" not in views:
        raise ValueError(
            f"{stored.path} has no clean embeddings of split {split!r}, only "
            f"{', '.join(views)}. Write the set again with --stage=embed."
        )
    hyperparameters = {k: v for k, v in member.get("hyperparameters", {}).items() if k != "seed"}
    identity = {
        "source": str(stored.path),
        "run": stored.manifest.get("run"),
        "step": stored.manifest["step"],
        "epoch": stored.manifest.get("epoch"),
        "member": member["name"],
        "seed": member.get("seed"),
        "hyperparameters": json.dumps(hyperparameters, sort_keys=True),
        "split": split,
    }
    pair = ("view1", "view2") if {"view1", "view2"} <= set(views) else ()
    return Embeddings(
        identity,
        stored.array(member["name"], split, "clean"),
        *(stored.array(member["name"], split, view) for view in pair),
        labels=stored.labels(split),
    )


def _split_key(path: str) -> tuple[Path, str | None]:
    file, separator, key = path.rpartition("::")
    if separator and Path(file).suffix.lower() in _READERS and not Path(path).exists():
        return Path(file), key
    return Path(path), None


def _read_npy(path: Path, key: str | None) -> dict[str, np.ndarray]:
    if key is not None:
        raise ValueError(f"{path} holds one array, so ::{key} names nothing: leave it out.")
    try:
        return {path.name: np.lib.format.open_memmap(path, mode="r")}
    except ValueError as error:
        with open(path, "rb") as stream:
            start = stream.read(6)
        # A bare pickle starts with its protocol mark; objects inside .npy hide behind the header.
        if start[:1] == b"\x80" or "Python objects" in str(error):
            raise ValueError(_pickled(path)) from None
        if not start.startswith(b"\x93NUMPY"[: len(start)]):
            raise ValueError(
                f"{path} is not a .npy file: it does not begin with NumPy's magic string. Write it "
                f"with np.save(path, x)."
            ) from None
        raise ValueError(_damaged(path, error)) from None


def _read_npz(path: Path, key: str | None) -> dict[str, np.ndarray]:
    import zipfile
    import zlib

    if not zipfile.is_zipfile(path):
        raise ValueError(_damaged(path, "its table of contents is missing or it is no .npz"))
    arrays, found = {}, {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if {"components", "variances", "facts"} <= set(archive.files):
                raise TypeError(
                    f"{path} is the model that `whiten` saved, not embeddings: give it to `score`, "
                    f"and name the file of the embeddings here."
                )
            _check_key(path, key, archive.files)
            for name in archive.files if key is None else [key]:
                try:
                    arrays[name] = archive[name]
                    found[name] = f"{arrays[name].dtype} {arrays[name].shape}"
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    if key is not None:
                        raise ValueError(_pickled(f"{path}::{key}")) from None
                    found[name] = "pickled objects, which are not read"
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(_damaged(path, error)) from None
    return arrays if key is not None else _matrices(path, arrays, found)


def _read_safetensors(path: Path, key: str | None) -> dict[str, np.ndarray]:
    try:
        import ml_dtypes  # noqa: F401  (teaches NumPy the name bfloat16)
        import safetensors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_missing(path, error.name)) from None
    arrays, found = {}, {}
    try:
        with safetensors.safe_open(path, framework="np") as stream:
            names = list(stream.keys())
            _check_key(path, key, names)
            for name in names if key is None else [key]:
                kind, shape = stream.get_slice(name).get_dtype(), stream.get_slice(name).get_shape()
                found[name] = f"{kind} {tuple(shape)}"
                # Others may be of types NumPy has no name for; they are read on request only.
                if key is not None or (kind in ("F16", "BF16", "F32", "F64") and len(shape) == 2):
                    arrays[name] = stream.get_tensor(name)
    except safetensors.SafetensorError as error:
        raise ValueError(_damaged(path, error)) from None
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: this safetensors ({safetensors.__version__}) cannot give {name} "
            f"({found[name]}) to NumPy ({error}). Install a newer one, or save it as float32."
        ) from None
    return arrays if key is not None else _matrices(path, arrays, found)


def _read_parquet(path: Path, key: str | None) -> dict[str, np.ndarray]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_missing(path, error.name)) from None
    try:
        schema = pq.read_schema(path)
        lists = [f.name for f in schema if _is_list(pa, f.type)]
        floats = [f.name for f in schema if pa.types.is_floating(f.type)]
        if key is not None:
            _check_key(path, key, lists)
            lists = [key]
        if lists:
            table = pq.read_table(path, columns=lists)
            return {name: _list_column(path, name, table[name]) for name in lists}
        table = pq.read_table(path, columns=floats) if floats else None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ValueError(_damaged(path, error)) from None
    if table is None:
        raise ValueError(
            f"{path} has no column of floating type, nor one of lists (found: "
            f"{', '.join(f'{f.name} {f.type}' for f in schema)}). Cast the coordinates to float32."
        )
    wide = np.result_type(*(field.type.to_pandas_dtype() for field in table.schema))
    out = np.empty((table.num_rows, len(floats)), dtype=wide)
    for i, name in enumerate(floats):
        # A missing value turns into NaN here, and is then reported with its row and column.
        out[:, i] = table[name].to_numpy()
    return {path.name: out}


def _read_text(path: Path, key: str | None) -> dict[str, np.ndarray]:
    """CSV or TSV: one row a line; a header is skipped, and so is a first column that is text."""
    if key is not None:
        raise ValueError(f"{path} holds one table, so ::{key} names nothing: leave it out.")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, delimiter=separator) if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}).") from None
    if len(rows) > 1 and not any(map(_is_number, rows[0])):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{path} has no rows: give one embedding a line.")
    first = 0 if _is_number(rows[0][0]) else 1
    out = np.empty((len(rows), len(rows[0]) - first))
    for i, row in enumerate(rows):
        try:
            # `fromiter` does not stretch a short row.
            out[i] = np.fromiter(map(float, row[first:]), float, len(rows[0]) - first)
            if len(row) != len(rows[0]):
                raise ValueError
        except ValueError:
            wrong = next((c for c in row[first:] if not _is_number(c)), None)
            what = f"{wrong!r} in" if wrong is not None else f"{len(row)} cells in"
            raise ValueError(
                f"{path} has {what} row {i} (counted from 0, without the header), where {len(rows[0])} "
                f"cells are numbers but for one id in front: mend the row, or drop that column."
            ) from None
    return {path.name: out}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_list(pa: Any, kind: Any) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _list_column(path: Path, name: str, column: Any) -> np.ndarray:
    import pyarrow.compute as pc

    if len(column) == 0:
        raise ValueError(f"{path}::{name} has no rows: nothing to test. Write it again with some.")
    lengths = pc.list_value_length(column).to_numpy()
    # A missing list has length NaN, which differs from every length.
    odd = np.flatnonzero(lengths != lengths[0])
    if odd.size or not lengths[0] >= 0:
        row = int(odd[0]) if odd.size else 0
        raise ValueError(
            f"{path}::{name} has lists of unequal length: row 0 has {lengths[0]:g} and row {row} "
            f"{lengths[row]:g} (nan where the list is missing). Every row needs as many coordinates."
        )
    return pc.list_flatten(column).to_numpy().reshape(len(column), int(lengths[0]))


def _matrices(
    path: Path, arrays: dict[str, np.ndarray], found: dict[str, str]
) -> dict[str, np.ndarray]:
    floating = {
        name: x
        for name, x in arrays.items()
        if x.ndim == 2 and (x.dtype.kind == "f" or x.dtype.name == "bfloat16")
    }
    if not floating:
        raise ValueError(
            f"{path} holds no 2-d array of floats (found: "
            f"{', '.join(f'{name} {kind}' for name, kind in found.items()) or 'nothing'}). Save "
            f"the embeddings as one [n, d] float array."
        )
    return floating


def _check_key(path: Path, key: str | None, names: list[str]) -> None:
    if key is not None and key not in names:
        raise ValueError(
            f"{path} holds no array {key!r}. It holds: {', '.join(names) or 'none to choose'}."
        )


def _pickled(path: Path | str) -> str:
    return (
        f"{path} holds pickled Python objects, which are not loaded because unpickling runs code. "
        f"Save a plain array: np.save(path, np.asarray(x, dtype=np.float32), allow_pickle=False)."
    )


def _damaged(path: Path, error: Exception | str) -> str:
    return (
        f"{path} ({path.stat().st_size} bytes) is truncated or damaged: {error}. Copy or write it "
        f"again."
    )


def _missing(path: Path, library: str | None) -> str:
    return (
        f"{path} needs {library}, which is not installed: pip install {library}, or "
        f"pip install 'infonce_jax[formats]'. A .npy file needs nothing more."
    )


_READERS: dict[str, Callable[[Path, str | None], dict[str, np.ndarray]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".parquet": _read_parquet,
    ".csv": _read_text,
    ".tsv": _read_text,
}
