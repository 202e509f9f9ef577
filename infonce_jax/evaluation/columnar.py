"""Embeddings in tables of columns: Parquet, Arrow, and Hugging Face datasets on disk.

Coordinates are the columns of floating type, or one column of lists.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infonce_jax.evaluation.errors import check_key, damaged, missing
from infonce_jax.evaluation.stacked import Part, Stacked


def read_parquet(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, Stacked]:
    """The matrices of one Parquet file, read one row group at a time."""
    pa = _pyarrow(path)
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True)
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        columns = _chosen(path, pa, file.schema_arrow, key, leave_out)
        return {
            name: _stacked(
                path,
                name,
                [
                    (rows, lambda i=i, names=names: _row_group(path, pa, pq, i, names))
                    for i, rows in enumerate(groups)
                ],
                names,
                file.schema_arrow,
            )
            for name, names in columns.items()
        }
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ValueError(damaged(path, error)) from None


def read_arrow(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, Stacked]:
    """The matrices of one Arrow (Feather) file, mapped where it is not compressed."""
    pa = _pyarrow(path)
    return _of_table(path, pa, [path], key, leave_out)


def read_dataset(path: Path, key: str | None, leave_out: Sequence[str]) -> dict[str, Stacked]:
    """The matrices of a Hugging Face dataset that `save_to_disk` wrote; needs pyarrow alone."""
    pa = _pyarrow(path)
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        raise ValueError(
            f"{path} holds the splits {', '.join(splits)}: name one, such as {path / splits[0]}."
        )
    return _of_table(path, pa, dataset_files(path), key, leave_out)


def dataset_files(path: Path) -> list[Path]:
    """The Arrow files of a Hugging Face dataset on disk, in order."""
    state = json.loads((path / "state.json").read_text())
    return [path / entry["filename"] for entry in state["_data_files"]]


def read_column(path: Path, files: Sequence[Path], name: str) -> np.ndarray:
    """One column of a Parquet file, an Arrow file or a dataset, such as ids or labels."""
    pa = _pyarrow(path)
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        check_key(path, name, pq.read_schema(path).names)
        column = pq.read_table(path, columns=[name])[name]
    else:
        table = pa.concat_tables([_mapped(pa, file) for file in files])
        check_key(path, name, table.column_names)
        column = table[name]
    if column.null_count:
        raise ValueError(f"{path}::{name} lacks {column.null_count} values: fill them in.")
    values = np.asarray(column.to_pylist()) if _is_text(pa, column.type) else column.to_numpy()
    return values


def float_coordinates(path: Path, leave_out: Sequence[str]) -> list[str] | None:
    """The names of the columns of a Parquet or Arrow file that are its coordinates; None for lists."""
    pa = _pyarrow(path)
    import pyarrow.parquet as pq

    is_parquet = path.suffix.lower() == ".parquet"
    schema = pq.read_schema(path) if is_parquet else _mapped(pa, path).schema
    if any(_is_list(pa, field.type) for field in schema if field.name not in leave_out):
        return None
    (names,) = _chosen(path, pa, schema, None, leave_out).values()
    return names


def is_dataset(path: Path) -> bool:
    """Whether a folder is a Hugging Face dataset, or several as splits."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing(path, error.name)) from None
    return pa


def _mapped(pa: Any, file: Path) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is gone: the dataset names it. Write the dataset again.")
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def _of_table(
    path: Path, pa: Any, files: Sequence[Path], key: str | None, leave_out: Sequence[str]
) -> dict[str, Stacked]:
    try:
        table = pa.concat_tables([_mapped(pa, file) for file in files])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(damaged(path, error)) from None
    found = {}
    for name, names in _chosen(path, pa, table.schema, key, leave_out).items():
        pieces = []
        for batch in table.select(names).to_batches():
            pieces.append((batch.num_rows, lambda batch=batch: pa.Table.from_batches([batch])))
        found[name] = _stacked(path, name, pieces, names, table.schema)
    return found


def _chosen(
    path: Path, pa: Any, schema: Any, key: str | None, leave_out: Sequence[str]
) -> dict[str, list[str]]:
    """The columns of each matrix, by its name."""
    for name in leave_out:
        check_key(path, name, schema.names)
    lists = [f.name for f in schema if _is_list(pa, f.type) and f.name not in leave_out]
    if key is not None:
        check_key(path, key, lists)
        return {key: [key]}
    if lists:
        return {name: [name] for name in lists}
    floats = [f.name for f in schema if pa.types.is_floating(f.type) and f.name not in leave_out]
    if not floats:
        raise ValueError(
            f"{path} has no column of floating type, nor one of lists (found: "
            f"{', '.join(f'{f.name} {f.type}' for f in schema)}). Cast the coordinates to float32."
        )
    return {path.name: floats}


def _stacked(
    path: Path, name: str, pieces: Sequence[tuple[int, Any]], names: list[str], schema: Any
) -> Stacked:
    import pyarrow as pa

    kept: dict[int, np.ndarray] = {}  # the piece read last: blocks are read in order
    is_list = _is_list(pa, schema.field(names[0]).type)
    starts = np.concatenate([[0], np.cumsum([rows for rows, _ in pieces])]).tolist()
    pieces = [(i, piece) for i, piece in enumerate(pieces) if piece[0]]
    if not pieces:
        raise ValueError(f"{path}::{name} has no rows: nothing to test. Write it again with some.")

    def whole(i: int, get: Any) -> np.ndarray:
        if i not in kept:
            table = get()
            found = (
                _list_column(path, name, table[names[0]], starts[i])
                if is_list
                else _float_columns(table, names)
            )
            kept.clear()
            kept[i] = found
        return kept[i]

    first = whole(pieces[0][0], pieces[0][1][1])
    return Stacked(
        [
            Part(
                f"{path}::{name}",
                (rows, first.shape[1]),
                first.dtype,
                lambda start, stop, i=i, get=get: _same_width(
                    path, name, whole(i, get), first.shape[1], starts[i]
                )[start:stop],
            )
            for i, (rows, get) in pieces
        ],
        f"{path}::{name}",
    )


def _row_group(path: Path, pa: Any, pq: Any, i: int, names: list[str]) -> Any:
    try:
        return pq.ParquetFile(path, memory_map=True).read_row_group(i, columns=names)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(damaged(path, error)) from None


def _float_columns(table: Any, names: Sequence[str]) -> np.ndarray:
    wide = np.result_type(*(table.schema.field(name).type.to_pandas_dtype() for name in names))
    out = np.empty((table.num_rows, len(names)), dtype=wide)
    for i, name in enumerate(names):
        # A missing value turns into NaN here, and is then reported with its row and column.
        out[:, i] = table[name].to_numpy()
    return out


def _list_column(path: Path, name: str, column: Any, start: int) -> np.ndarray:
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).to_numpy()
    # A missing list has length NaN, which differs from every length.
    odd = np.flatnonzero(lengths != lengths[0])
    if odd.size or not lengths[0] >= 0:
        row = int(odd[0]) if odd.size else 0
        first, other = float(lengths[0]), float(lengths[row])
        raise ValueError(_unequal(path, name, start, first, start + row, other))
    return pc.list_flatten(column).to_numpy().reshape(len(column), int(lengths[0]))


def _same_width(path: Path, name: str, x: np.ndarray, width: int, start: int) -> np.ndarray:
    if x.shape[1] != width:
        raise ValueError(_unequal(path, name, 0, float(width), start, float(x.shape[1])))
    return x


def _unequal(path: Path, name: str, first: int, length: float, row: int, other: float) -> str:
    return (
        f"{path}::{name} has lists of unequal length: row {first} has {length:g} and row {row} "
        f"{other:g} (nan where the list is missing). Every row needs as many coordinates."
    )


def _is_list(pa: Any, kind: Any) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_text(pa: Any, kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
