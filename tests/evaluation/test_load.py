import builtins

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from infonce_jax.evaluation import evaluate_paths, load_embeddings

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = X[:, :2] + 1


def _one(path):
    (found,) = load_embeddings(path).items()
    return found


def test_npy_is_memory_mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    source, x = _one(tmp_path / "x.npy")
    assert source == str(tmp_path / "x.npy")
    np.testing.assert_array_equal(x, X)
    base = x
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_every_floating_type_of_npy(tmp_path, dtype):
    np.save(tmp_path / "x.npy", X.astype(dtype))
    np.testing.assert_array_equal(_one(tmp_path / "x.npy")[1], X.astype(dtype))


def test_npz_gives_every_matrix_by_name(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=X, b=Y, labels=np.arange(20), pairs=np.zeros((4, 2), int))
    found = load_embeddings(path)
    assert list(found) == [f"{path}::a", f"{path}::b"]
    np.testing.assert_array_equal(found[f"{path}::b"], Y)
    source, b = _one(f"{path}::b")
    assert source == f"{path}::b"
    np.testing.assert_array_equal(b, Y)


def test_npz_with_one_matrix_needs_no_key(tmp_path):
    np.savez(tmp_path / "x.npz", z=X, labels=np.arange(20))
    assert _one(tmp_path / "x.npz")[0] == str(tmp_path / "x.npz")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_safetensors_in_every_floating_type(tmp_path, dtype):
    save_file({"z": X.astype(dtype), "labels": np.arange(20)}, tmp_path / "x.safetensors")
    source, x = _one(tmp_path / "x.safetensors")
    assert source == str(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(x, X.astype(dtype).astype(np.float64))
    with pytest.raises(TypeError, match=r"labels has dtype int64"):
        load_embeddings(f"{tmp_path / 'x.safetensors'}::labels")


def test_parquet_columns_of_floats_are_coordinates_and_ids_are_not(tmp_path):
    columns = {f"c{i}": X[:, i] for i in range(3)} | {"c3": X[:, 0].astype(np.float64)}
    table = pa.table({"id": np.arange(20), **columns, "label": ["a"] * 20})
    pq.write_table(table, tmp_path / "x.parquet")
    np.testing.assert_array_equal(_one(tmp_path / "x.parquet")[1], np.c_[X, X[:, 0]])


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 3)])
def test_parquet_column_of_lists(tmp_path, kind):
    table = pa.table({"id": np.arange(20), "z": pa.array(X.tolist(), kind)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=7)
    source, x = _one(tmp_path / "x.parquet")
    assert source == str(tmp_path / "x.parquet")
    np.testing.assert_array_equal(x, X)
    both = table.append_column("w", pa.array(Y.tolist(), pa.list_(pa.float32())))
    pq.write_table(both, tmp_path / "y.parquet")
    assert list(load_embeddings(tmp_path / "y.parquet")) == [
        f"{tmp_path}/y.parquet::z",
        f"{tmp_path}/y.parquet::w",
    ]
    np.testing.assert_array_equal(_one(f"{tmp_path}/y.parquet::w")[1], Y)


def test_parquet_missing_values_are_reported_where_they_are(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0, None], "b": [1.0, 2.0, 3.0]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"holds 1 values.*row 2, column 0"):
        load_embeddings(tmp_path / "x.parquet")
    for name, lists, message in [
        ("ragged", [[1.0, 2.0], [1.0], [1.0, 2.0]], "row 0 has 2 and row 1 1"),
        ("missing", [[1.0, 2.0], [1.0, 2.0], None], "row 2 nan"),
        ("inner", [[1.0, 2.0], [1.0, None]], "row 1, column 1"),
        ("empty", [], "no rows"),
    ]:
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"z": pa.array(lists, pa.list_(pa.float64()))}), path)
        with pytest.raises(ValueError, match=message):
            load_embeddings(path)


def _pickled_npy(path):
    np.save(path, np.array([{}, None]), allow_pickle=True)


def _pickle(path):
    np.array([{}, None]).dump(path)


def _cut(path, write, size):
    write(path)
    path.write_bytes(path.read_bytes()[:size])


BAD = {
    "pickled.npy": (_pickled_npy, "holds pickled Python objects.*np.save"),
    "pickle.npy": (_pickle, "holds pickled Python objects"),
    "text.npy": (lambda p: p.write_text("1 2 3\n4 5 6\n"), "not a .npy file"),
    "cut.npy": (lambda p: _cut(p, lambda q: np.save(q, X), 200), r"\(200 bytes\) is truncated"),
    "header.npy": (lambda p: _cut(p, lambda q: np.save(q, X), 20), "truncated or damaged"),
    "empty.npy": (lambda p: p.touch(), r"empty \(0 bytes\)"),
    "vector.npy": (lambda p: np.save(p, X[:, 0]), r"1-dimensional.*x\[:, None\]"),
    "norows.npy": (lambda p: np.save(p, X[:0]), "0 rows of 3"),
    "model.npz": (
        lambda p: np.savez(p, mean=X[0], components=X, variances=X[0], facts="{}"),
        "model that `whiten` saved",
    ),
    "torch.PT": (lambda p: p.write_bytes(b"PK"), r"torch\.load\(.*np\.save"),
    "complex.npy": (lambda p: np.save(p, X + 0j), "complex64"),
    "bf16.npy": (lambda p: np.save(p, X.astype(ml_dtypes.bfloat16)), "cannot name bfloat16"),
    "nan.npy": (lambda p: np.save(p, np.full((9, 2), np.nan)), "18 values.*row 0, column 0"),
    "cut.npz": (lambda p: _cut(p, lambda q: np.savez(q, X), 300), "truncated or damaged"),
    "junk.npz": (lambda p: p.write_bytes(b"junk"), "truncated or damaged"),
    "labels.npz": (lambda p: np.savez(p, y=np.arange(9)), r"no 2-d array.*y int64 \(9,\)"),
    "pickled.npz": (lambda p: np.savez(p, y=np.array([None])), "y pickled objects"),
    "cut.safetensors": (
        lambda p: _cut(p, lambda q: save_file({"z": X}, q), 100),
        "truncated or damaged",
    ),
    "labels.safetensors": (
        lambda p: save_file({"y": np.arange(9)}, p),
        r"no 2-d array of floats \(found: y I64 \(9,\)\)",
    ),
    "junk.parquet": (lambda p: p.write_bytes(b"PAR1junk"), "truncated or damaged"),
    "cut.parquet": (
        lambda p: _cut(p, lambda q: pq.write_table(pa.table({"a": X[:, 0]}), q), 90),
        "truncated or damaged",
    ),
    "text.parquet": (lambda p: pq.write_table(pa.table({"a": ["b"]}), p), "found: a string"),
    "table.txt": (lambda p: p.write_text("1,2"), "suffix that is not known.*npy"),
    "words.csv": (lambda p: p.write_text("a,b\n1,2\n3,x\n"), "'x' in row 1"),
    "ragged.tsv": (lambda p: p.write_text("1\t2\n3\n"), "1 cells in row 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        load_embeddings(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_that_name_nothing_list_what_there_is(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", a=X, b=Y)
    save_file({"a": X}, tmp_path / "x.safetensors")
    pq.write_table(pa.table({"a": X[:, 0]}), tmp_path / "x.parquet")
    for suffix, message in [
        ("npy", "one array"),
        ("npz", "a, b"),
        ("safetensors", "It holds: a"),
        ("parquet", "none to choose"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_embeddings(f"{tmp_path}/x.{suffix}::nothing")


def test_missing_files_and_libraries(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"absent\.npy is not a file.*run folder"):
        load_embeddings(tmp_path / "absent.npy")
    save_file({"a": X}, tmp_path / "x.safetensors")
    pq.write_table(pa.table({"a": X[:, 0]}), tmp_path / "x.parquet")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] in ("pyarrow", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for suffix, library in [("safetensors", "safetensors"), ("parquet", "pyarrow")]:
        with pytest.raises(ModuleNotFoundError, match=f"pip install {library}"):
            load_embeddings(tmp_path / f"x.{suffix}")


def test_whole_numbers_and_suffixes_of_any_case_are_read(tmp_path):
    np.save(tmp_path / "x.npy", (20 * X).astype(np.int8))
    (tmp_path / "x.npy").rename(tmp_path / "x.NPY")
    np.testing.assert_array_equal(_one(tmp_path / "x.NPY")[1], (20 * X).astype(np.int8))


def test_images_are_inputs_as_they_are(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "z.npy", np.random.default_rng(2).standard_normal((40, 3)))
    np.save(tmp_path / "pixels.npy", images)
    np.save(tmp_path / "flat.npy", images.reshape(40, -1).astype(np.float32))
    found = [
        [row["value"] for row in evaluate_paths([tmp_path / "z.npy"], inputs=tmp_path / name)]
        for name in ("pixels.npy", "flat.npy")
    ]
    np.testing.assert_array_equal(*found)


def test_csv_and_tsv_skip_a_header_and_a_column_of_ids(tmp_path):
    for name, separator, header, ids in [
        ("a.csv", ",", "", False), ("b.CSV", ",", "id,x,y,z", True), ("c.tsv", "\t", "", True),
    ]:  # fmt: skip
        cells = [[f"id{i}"] * ids + [repr(float(v)) for v in row] for i, row in enumerate(X)]
        lines = [header] * bool(header) + [separator.join(row) for row in cells]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        np.testing.assert_array_equal(_one(tmp_path / name)[1], X.astype(np.float64))
