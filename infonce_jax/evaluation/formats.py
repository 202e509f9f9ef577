"""Embeddings in files of arrays and in text: .npy, .npz, .safetensors, .csv, .tsv."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from infonce_jax.evaluation.errors import check_key, damaged, missing, pickled


def read_npy(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, np.ndarray]:
    """The array of a .npy file, mapped."""
    if key is not None or leave_out:
        raise ValueError(
            f"{path} holds one array, so {key or leave_out[0]!r} names nothing: leave it out."
        )
    try:
        return {path.name: np.lib.format.open_memmap(path, mode="r")}
    except ValueError as error:
        with open(path, "rb") as stream:
            start = stream.read(6)
        # A bare pickle starts with its protocol mark; objects inside .npy hide behind the header.
        if start[:1] == b"\x80" or "Python objects" in str(error):
            raise ValueError(pickled(path)) from None
        if not start.startswith(b"\x93NUMPY"[: len(start)]):
            raise ValueError(
                f"{path} is not a .npy file: it does not begin with NumPy's magic string. Write it "
                f"with np.save(path, x)."
            ) from None
        raise ValueError(damaged(path, error)) from None


def read_npz(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, np.ndarray]:
    """The matrices of a .npz file, or the array named."""
    import zipfile
    import zlib

    if not zipfile.is_zipfile(path):
        raise ValueError(damaged(path, "its table of contents is missing or it is no .npz"))
    arrays, found = {}, {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if {"components", "variances", "facts"} <= set(archive.files):
                raise TypeError(
                    f"{path} is the model that `whiten` saved, not embeddings: give it to `score`, "
                    f"and name the file of the embeddings here."
                )
            for name in (key, *leave_out):
                check_key(path, name, archive.files)
            for name in archive.files if key is None else [key]:
                try:
                    arrays[name] = archive[name]
                    found[name] = f"{arrays[name].dtype} {arrays[name].shape}"
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    if key is not None:
                        raise ValueError(pickled(f"{path}::{key}")) from None
                    found[name] = "pickled objects, which are not read"
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(damaged(path, error)) from None
    return arrays if key is not None else _matrices(path, arrays, found)


def read_safetensors(
    path: Path, key: str | None, leave_out: Sequence[str]
) -> dict[str, np.ndarray]:
    """The matrices of a .safetensors file, or the array named."""
    try:
        import ml_dtypes  # noqa: F401  (teaches NumPy the name bfloat16)
        import safetensors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing(path, error.name)) from None
    arrays, found = {}, {}
    try:
        with safetensors.safe_open(path, framework="np") as stream:
            names = list(stream.keys())
            for name in (key, *leave_out):
                check_key(path, name, names)
            for name in names if key is None else [key]:
                kind, shape = stream.get_slice(name).get_dtype(), stream.get_slice(name).get_shape()
                found[name] = f"{kind} {tuple(shape)}"
                # Others may be of types NumPy has no name for; they are read on request only.
                if key is not None or (kind in ("F16", "BF16", "F32", "F64") and len(shape) == 2):
                    arrays[name] = stream.get_tensor(name)
    except safetensors.SafetensorError as error:
        raise ValueError(damaged(path, error)) from None
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: this safetensors ({safetensors.__version__}) cannot give {name} "
            f"({found[name]}) to NumPy ({error}). Install a newer one, or save it as float32."
        ) from None
    return arrays if key is not None else _matrices(path, arrays, found)


def read_text(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, np.ndarray]:
    """CSV or TSV: one row a line; a header is skipped, and so are columns of text and those named."""
    if key is not None:
        raise ValueError(f"{path} holds one table, so ::{key} names nothing: leave it out.")
    header, skipped, first = _head(path)
    columns = _coordinates(path, header, first, leave_out)
    left = set(range(len(first))).difference(columns)
    options = {
        "delimiter": _separator(path),
        "skiprows": skipped,
        "comments": None,
        "quotechar": '"',
        "encoding": "utf-8-sig",
    }
    try:
        if not left:
            return {path.name: np.loadtxt(path, ndmin=2, **options)}
        # Text is cut to one character, not kept; a field each, so that long and short rows are found.
        kinds = [(f"c{i}", "U1" if i in left else "f8") for i in range(len(first))]
        table = np.atleast_1d(np.loadtxt(path, dtype=kinds, **options))
        out = np.empty((len(table), len(columns)))
        for place, i in enumerate(columns):
            out[:, place] = table[f"c{i}"]
        return {path.name: out}
    except ValueError as error:
        raise ValueError(_wrong_row(path, skipped, len(first), columns, error)) from None


def text_coordinates(path: Path, leave_out: Sequence[str]) -> list[str] | None:
    """The names of the columns that `read_text` takes for coordinates; None where there is no header."""
    header, _, first = _head(path)
    if header is None or len(header) != len(first):
        return None
    return [header[i] for i in _coordinates(path, header, first, leave_out)]


def _coordinates(
    path: Path, header: list[str] | None, first: list[str], leave_out: Sequence[str]
) -> list[int]:
    if leave_out and header is None:
        raise ValueError(f"{path} has no header, so that no column is named {leave_out[0]!r}.")
    for name in leave_out:
        check_key(path, name, header or ())
    left = {header.index(name) for name in leave_out} if header is not None else set()
    # An index that pandas wrote has a header without a name.
    if not _is_number(first[0]) or (header is not None and header[0] == ""):
        left.add(0)
    columns = [i for i in range(len(first)) if i not in left]
    if not columns:
        raise ValueError(f"{path} has no columns left: its coordinates are numbers.")
    return columns


def read_text_column(path: Path, name: str) -> np.ndarray:
    """One column of a CSV or TSV file with a header, such as ids or labels, as text."""
    header, skipped, _ = _head(path)
    check_key(path, name, header or ())
    place = (header or []).index(name)
    return np.array([row[place] if place < len(row) else "" for row in _lines(path, skipped)])


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _lines(path: Path, skipped: int) -> Iterator[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        for _ in range(skipped):
            stream.readline()
        yield from (row for row in csv.reader(stream, delimiter=_separator(path)) if row)


def _head(path: Path) -> tuple[list[str] | None, int, list[str]]:
    """The header where there is one, the lines before the first row, and this row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=_separator(path))
            rows = ((reader.line_num, row) for row in reader if row)
            _, first = next(rows, (0, None))
            if first is None:
                raise ValueError(f"{path} has no rows: give one embedding a line.")
            if any(map(_is_number, first)) and not _counts(first):
                return None, 0, first
            line = reader.line_num
            _, second = next(rows, (0, None))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}).") from None
    if second is None:
        return None, 0, first
    return first, line, second


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, …, as pandas names columns without names."""
    cells = cells[1:] if cells[0] == "" else cells
    return len(cells) > 1 and list(cells) == [str(i) for i in range(len(cells))]


def _wrong_row(
    path: Path, skipped: int, cells: int, columns: Sequence[int], error: ValueError
) -> str:
    """What is wrong with the first row that is, read again one row at a time."""
    for i, row in enumerate(_lines(path, skipped)):
        wrong = [row[c] for c in columns if c < len(row) and not _is_number(row[c])]
        if wrong or len(row) != cells:
            what = f"{wrong[0]!r} in" if wrong else f"{len(row)} cells in"
            return (
                f"{path} has {what} row {i} (counted from 0, without the header), where {cells} cells "
                f"are numbers but for an id in front and the columns left out: mend the row, or name "
                f"its column by --id_column."
            )
    return f"{path} cannot be read as a table of numbers: {error}."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
