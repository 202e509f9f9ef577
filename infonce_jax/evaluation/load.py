"""Embeddings from files of any maker, and from the embedding folders of a run."""

import glob
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Num

from infonce_jax.evaluation import columnar, formats, stores
from infonce_jax.evaluation.arrays import check_embeddings
from infonce_jax.evaluation.names import several
from infonce_jax.evaluation.stacked import Part, Stacked, part_of, sample_rows


class Embeddings(NamedTuple):
    """One embedding matrix, its views where it has any, and where it comes from.

    Attributes:
        identity: the columns that tell one matrix from another in the rows of an evaluation:
            source, run, step, epoch, member, seed, hyperparameters (JSON) and split.
        z: the embeddings [n, d] to evaluate.
        view1: embeddings [n, d] of one view of the same samples, or None.
        view2: embeddings [n, d] of another view of the same samples, or None.
        total: the rows that `z` was drawn from, or None where it is all of them.
        labels: the class of each, or None; where an embedding set holds them.
    """

    identity: dict[str, Any]
    z: Num[np.ndarray, "n d"]
    view1: Num[np.ndarray, "n d"] | None = None
    view2: Num[np.ndarray, "n d"] | None = None
    total: int | None = None
    labels: Int[np.ndarray, " n"] | None = None

    @property
    def name(self) -> str:
        """What errors call it."""
        of = [str(self.identity[k]) for k in ("member", "split") if self.identity.get(k)]
        return f"{self.identity['source']} ({', '.join(of)})" if of else self.identity["source"]


class Reading(NamedTuple):
    """How paths are read.

    Attributes:
        concatenate: whether all paths together are one set.
        sample: how many rows to draw at random from each set, or None for all.
        seed: of the draw.
        leave_out: names of columns that are no coordinates, such as ids and labels.
    """

    concatenate: bool = False
    sample: int | None = None
    seed: int = 0
    leave_out: tuple[str, ...] = ()


EVERYTHING = Reading()

# What the command line says of a PATH.
PATHS = (
    ".npy, .npz, .safetensors, .parquet, .arrow, .feather, .csv, .tsv, .h5 or .hdf5 file, a Zarr store "
    "or a Hugging Face dataset on disk (path::key names one array of several); a folder or a quoted "
    "glob of shards, read as one set; an embeddings/<step> folder; or a run folder"
)


def load_embeddings(
    path: Path | str, leave_out: str | Sequence[str] = ()
) -> dict[str, Num[np.ndarray, "n d"]]:
    """Reads the embedding matrices of one file, store or folder of shards.

    * `.npy`: one matrix, memory-mapped.
    * `.npz`, `.safetensors`: every 2-d array of floats, or the one that `path::key` names.
    * `.parquet`, `.arrow`, `.feather`, and datasets that Hugging Face's `save_to_disk` wrote: the
      columns of floating type as coordinates (integers and text are taken for ids and labels, and left
      out); or columns of lists, each a matrix of its own.
    * `.csv`, `.tsv`: one row a line; a header and a first column of text are skipped.
    * `.h5`, `.hdf5` (needs h5py) and Zarr stores: every 2-d array of floats, or the one named.
    * a folder or a glob (`"part-*.npy"`) of such files: one matrix, their rows one after the other in
      the order of the names, numbers by value.

    Suffixes may be in any case. float16 and bfloat16 become float32; matrices of whole numbers stay.
    Several shards of more than 256 MiB are copied to a scratch file in the temporary folder (TMPDIR) and
    mapped; `open_rows` reads them without.

    Examples:
        >>> import os, tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "embeddings.npz")
        >>> np.savez(file, image=np.zeros((4, 3), np.float32), text=np.ones((4, 2), np.float32))
        >>> {name.split("::")[1]: z.shape for name, z in evaluation.load_embeddings(file).items()}
        {'image': (4, 3), 'text': (4, 2)}

    Args:
        path: the file, with `::key` behind it to choose one of its arrays.
        leave_out: the name or names of columns that are no coordinates.

    Returns:
        The matrices by source: the path as given, with `::key` where the file holds several.

    Raises:
        FileNotFoundError: where there is no such file.
        ModuleNotFoundError: where the format's library is not installed.
        TypeError: for complex numbers, objects, and whole numbers that are not a matrix.
        ValueError: for an unknown suffix, a damaged or pickled file, an unknown key, a shape that is
            not [n, d], NaN or Inf, shards that do not fit together.
    """
    return {
        source: _checked(x.whole() if isinstance(x, Stacked) else x, source)
        for source, x in _open_path(str(path), several(leave_out)).items()
    }


def open_embeddings(path: Path | str, reading: Reading = EVERYTHING) -> Iterator[Embeddings]:
    """Yields every embedding matrix under `path`, one at a time.

    A file, a store or a set of shards yields its matrices. An `embeddings/<step>` folder yields one per
    member and split, with its two views; a run folder does so for every step, in ascending order.

    Args:
        path: what `load_embeddings` reads, an embeddings folder, or a run folder.
        reading: how. Views are sampled with their embeddings.

    Raises:
        FileNotFoundError: where there is nothing of the kind.
        ValueError: where a manifest and its arrays disagree, and as `load_embeddings` does.
    """
    if is_run(path):
        yield from (_sampled(found, reading) for found in _open_folder(Path(path)))
        return
    for source, x in _open_path(str(path), reading.leave_out).items():
        yield _drawn(source, x, reading)


def open_paths(
    paths: Path | str | Sequence[Path | str], reading: Reading = EVERYTHING
) -> Iterator[Embeddings]:
    """`open_embeddings` of several paths, or one matrix of all where `reading.concatenate` is set."""
    if reading.concatenate:
        name, rows = open_rows(paths, reading)
        yield _drawn(name, rows, reading)
        return
    for path in several(paths):
        yield from open_embeddings(path, reading)


def open_rows(
    paths: Path | str | Sequence[Path | str], reading: Reading = EVERYTHING
) -> tuple[str, Stacked]:
    """The rows of files, stores and shards as one matrix that is read a few rows at a time.

    Args:
        paths: in the order of the rows; each holds one matrix.
        reading: `leave_out` is followed; nothing is sampled.

    Returns:
        Their name, and the rows as they are stored.

    Raises:
        ValueError: for a path that holds several matrices; as `load_embeddings` does.
    """
    paths = several(paths)
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    parts: list[Part] = []
    for path in map(str, paths):
        if is_run(path):
            found = list(_open_folder(Path(path)))
            sets = {one.name: part_of(one.z, one.name) for one in found}
            parts.append(_one(path, sets))
            continue
        x = _one(path, _open_path(path, reading.leave_out))
        parts += x.parts if isinstance(x, Stacked) else [part_of(x, path)]
    return name, Stacked(parts, name)


def _one(path: str, found: dict[str, Any]) -> Any:
    if len(found) != 1:
        raise ValueError(
            f"{path} holds {len(found)} embedding arrays ({', '.join(found)}): choose one with "
            f"path::key, or name its file."
        )
    return next(iter(found.values()))


def _drawn(source: str, x: Any, reading: Reading) -> Embeddings:
    rows = sample_rows(len(x), reading.sample, reading.seed)
    if rows is None:
        x = x.whole() if isinstance(x, Stacked) else x
        return Embeddings({"source": source}, _checked(x, source))
    z = x.take(rows) if isinstance(x, Stacked) else np.asarray(x[rows])
    return Embeddings({"source": source}, _checked(z, source), total=len(x))


def _sampled(found: Embeddings, reading: Reading) -> Embeddings:
    rows = sample_rows(len(found.z), reading.sample, reading.seed)
    if rows is None:
        return found
    z, *views = (None if x is None else np.asarray(x[rows]) for x in found[1:4])
    return Embeddings(found.identity, z, *views, total=len(found.z))


def _checked(x: np.ndarray, source: str) -> np.ndarray:
    # Matrices of whole numbers are left as they are: the evaluation dithers them.
    if x.dtype.kind in "iu" and x.ndim == 2 and x.size:
        return x
    return check_embeddings(x, source, min_rows=1)


def is_run(path: Path | str) -> bool:
    """Whether a path is a run folder that has embeddings, or an embeddings/<step> folder."""
    from infonce_jax import embeddings  # the only sibling; files need none of it

    path = Path(path)
    return path.is_dir() and (
        (path / "manifest.json").is_file() or bool(embeddings.find_steps(path))
    )


def _open_path(path: str, leave_out: Sequence[str]) -> dict[str, Any]:
    """The matrices of one file, store, dataset or set of shards, by source; large ones unread."""
    file, key = _split_key(path)
    if file.is_dir():
        if stores.is_zarr(file):
            return _named(file, key, stores.read_zarr(file, key, leave_out))
        if columnar.is_dataset(file):
            return _named(file, key, columnar.read_dataset(file, key, leave_out))
        return {path: _shards(path, _shard_files(file), key, leave_out)}
    if not file.exists() and glob.has_magic(str(file)):
        files = sorted(map(Path, glob.glob(str(file), recursive=True)), key=_by_number)
        if not files:
            raise FileNotFoundError(f"no file matches {file}: check the pattern.")
        return {path: _shards(path, files, key, leave_out)}
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file. Give a {PATHS}.")
    return _named(file, key, _read_file(file, key, leave_out))


def _named(path: Path, key: str | None, found: dict[str, Any]) -> dict[str, Any]:
    several = len(found) > 1 or (key is not None)
    return {f"{path}::{name}" if several else str(path): x for name, x in found.items()}


def _read_file(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, Any]:
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
    return _READERS[suffix](path, key, leave_out)


def _shard_files(folder: Path) -> list[Path]:
    files = [f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")]
    if not files:
        # Partitions of a Parquet dataset: year=2024/part-0.parquet.
        files = [f for f in folder.glob("*=*/**/*") if f.is_file() and f.name[0] not in "._"]
    known = [f for f in files if f.suffix.lower() in _READERS]
    if any((folder / name).exists() for name in ("config.json", "sweep.csv")):
        known = []  # a run without embeddings, or a sweep
    if not known:
        raise FileNotFoundError(
            f"{folder} holds no embeddings: expected manifest.json in it, or embeddings/<step>/"
            f"manifest.json below it, or files that are shards of one set. Write them with "
            f"--stage=embed, or name the file to evaluate."
        )
    kinds = Counter(f.suffix.lower() for f in known)
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in kinds.items())
        raise ValueError(
            f"{folder} holds files of several kinds ({counts}): name those of one set, such as "
            f"'{folder / ('*' + next(iter(kinds)))}' in quotes."
        )
    return sorted(known, key=_by_number)


def _by_number(path: Path) -> list[tuple[int, int | str]]:
    """Sorts part-2 before part-10."""
    pieces = re.split(r"(\d+)", str(path))
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces]


def _shards(name: str, files: Sequence[Path], key: str | None, leave_out: Sequence[str]) -> Stacked:
    return Stacked([part for file in files for part in _parts(file, key, leave_out)], name)


def _parts(path: Path, key: str | None, leave_out: Sequence[str]) -> list[Part]:
    """One shard; none stays open, since there may be thousands."""
    found = _one(str(path), _read_file(path, key, leave_out))
    if isinstance(found, Stacked):
        return found.parts
    if isinstance(found, np.memmap):
        return [part_of(found, str(path))._replace(array=None)]
    left, written = tuple(leave_out), path.stat().st_mtime_ns

    def read(start: int, stop: int) -> np.ndarray:
        return _shard(path, key, left, written)[start:stop]

    return [Part(str(path), found.shape, found.dtype, read)]


@lru_cache(maxsize=1)
def _shard(path: Path, key: str | None, leave_out: tuple[str, ...], written: int) -> np.ndarray:
    """The shard read last; one that was written again since is another."""
    return next(iter(_read_file(path, key, leave_out).values()))


def load_column(path: Path | str, name: str) -> np.ndarray:
    """One column or array of what `load_embeddings` reads, such as ids or labels.

    Args:
        path: the file, store, dataset, folder or glob of shards.
        name: of the column (tables) or array (.npz, .safetensors, HDF5, Zarr).

    Raises:
        ValueError: where there is none of this name, or the format has no names.
    """
    file, _ = _split_key(str(path))
    if file.is_dir() and not stores.is_zarr(file) and not columnar.is_dataset(file):
        return np.concatenate([load_column(one, name) for one in _shard_files(file)])
    if not file.exists() and glob.has_magic(str(file)):
        files = sorted(map(Path, glob.glob(str(file), recursive=True)), key=_by_number)
        return np.concatenate([load_column(one, name) for one in files])
    suffix = file.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return formats.read_text_column(file, name)
    if suffix in (".parquet", ".arrow", ".feather"):
        return columnar.read_column(file, [file], name)
    if suffix in (".h5", ".hdf5") or (file.is_dir() and stores.is_zarr(file)):
        return stores.read_column(file, name)
    if file.is_dir():
        return columnar.read_column(file, columnar.dataset_files(file), name)
    if suffix in (".npz", ".safetensors"):
        return np.asarray(_READERS[suffix](file, name, ())[name])
    raise ValueError(f"{path} has no named columns, so none is {name!r}: give a file of them.")


def coordinate_names(path: Path | str, leave_out: Sequence[str] = ()) -> list[str] | None:
    """The names of a table's coordinates, its header's or columns'; None for what has no names."""
    file = Path(path)
    suffix = file.suffix.lower() if file.is_file() else ""
    if suffix in (".csv", ".tsv"):
        return formats.text_coordinates(file, leave_out)
    is_table = suffix in (".parquet", ".arrow", ".feather")
    return columnar.float_coordinates(file, leave_out) if is_table else None


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
    if path.suffix.lower() == ".npy":
        labels = np.asarray(formats.read_npy(path, None, ())[path.name])
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
    if separator and not Path(path).exists():
        known = Path(file).suffix.lower() in _READERS or Path(file).is_dir()
        if known or glob.has_magic(file):
            return Path(file), key
    return Path(path), None


_READERS: dict[str, Callable[[Path, str | None, Sequence[str]], dict[str, Any]]] = {
    ".npy": formats.read_npy,
    ".npz": formats.read_npz,
    ".safetensors": formats.read_safetensors,
    ".parquet": columnar.read_parquet,
    ".arrow": columnar.read_arrow,
    ".feather": columnar.read_arrow,
    ".csv": formats.read_text,
    ".tsv": formats.read_text,
    ".h5": stores.read_hdf5,
    ".hdf5": stores.read_hdf5,
}
