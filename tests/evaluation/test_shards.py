"""One set in many files, in tables of columns and in stores."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorstore

from infonce_jax.evaluation import evaluate_paths, load_embeddings, whitening
from infonce_jax.evaluation.__main__ import main
from infonce_jax.evaluation.load import Reading, load_column, open_paths, open_rows

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((3000, 4)) @ RNG.standard_normal((4, 4))).astype(np.float32)
CUTS = np.split(X, [5, 700, 701, 2000])


def _one(path, **options):
    (found,) = load_embeddings(path, **options).values()
    return np.asarray(found)


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for i, part in enumerate(CUTS):
        np.save(folder / f"part-{i + 7}.npy", part)  # part-10 comes after part-9
    (folder / "readme.txt").write_text("not a shard")
    return folder


def test_a_folder_a_glob_and_a_list_of_shards_are_one_set(shards, tmp_path):
    files = [shards / f"part-{i + 7}.npy" for i in range(len(CUTS))]
    for path in (shards, f"{shards}/part-*.npy"):
        np.testing.assert_array_equal(_one(path), X)
    reading = Reading(concatenate=True)
    (whole,) = open_paths(files, reading)
    np.testing.assert_array_equal(whole.z, X)
    (drawn,) = open_paths([shards], Reading(sample=500, seed=3))
    assert drawn.total == 3000 and drawn.z.shape == (500, 4)
    (same,) = open_paths(files, reading._replace(sample=500, seed=3))
    np.testing.assert_array_equal(drawn.z, same.z)
    # A scratch file takes what does not fit in memory.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infonce_jax.evaluation.stacked._IN_MEMORY_BYTES", 100)
        assert isinstance(open_rows([shards])[1].whole(), np.memmap)
        np.testing.assert_array_equal(_one(shards), X)


def test_a_fit_on_shards_is_the_fit_on_the_whole(shards, tmp_path):
    np.save(tmp_path / "x.npy", X)
    parts, whole = (
        whitening.fit_and_judge(open_rows([p])[1]) for p in (shards, tmp_path / "x.npy")
    )
    in_memory = whitening.fit_and_judge(X)
    for other in (whole, in_memory):
        for name in ("mean", "components", "variances", "shrinkage"):
            a, b = getattr(parts.whitening, name), getattr(other.whitening, name)
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        assert parts.held_out == pytest.approx(other.held_out, rel=1e-10)
    # What the sums say of the rows is what the rows themselves do.
    model = parts.whitening
    unseen = ~whitening_fitted(model, X)
    distance = whitening.mahalanobis(model, X[unseen])
    assert parts.held_out == pytest.approx(distance.mean() / 4, rel=1e-9)
    np.testing.assert_array_equal(
        whitening.mahalanobis(model, open_rows([shards])[1]), whitening.mahalanobis(model, X)
    )


def whitening_fitted(model, x):
    from infonce_jax.evaluation import split

    return split.known(model.split, x).fitted


def test_fitted_rows_are_known_where_only_some_marks_are_kept(monkeypatch):
    from infonce_jax.evaluation import split

    monkeypatch.setattr(split, "_MOST_MARKS", 100)
    model = whitening.fit_and_judge(X, held_out=0.25).whitening
    assert len(model.split.marks) == 100
    assert split.known(model.split, X).fitted.sum() == 2250  # by the split that it repeats
    shuffled = split.known(model.split, X[::-1])
    assert shuffled.fitted is None and shuffled.share == pytest.approx(0.75, abs=0.1)
    assert split.known(model.split, X + 1).share == 0.0


def test_tables_with_ids_and_labels(tmp_path, capsys):
    ids, labels = np.arange(len(X)) + 10**6, np.arange(len(X)) % 3
    columns = {"key": ids.astype(float)} | {f"c{i}": X[:, i] for i in range(4)}
    table = pa.table(columns | {"kind": labels.astype(float)})
    folder = tmp_path / "table"
    for year, part in (("2023", table[:1000]), ("2024", table[1000:])):
        (folder / f"year={year}").mkdir(parents=True)
        pq.write_table(part, folder / f"year={year}" / "part-0.parquet", row_group_size=300)
    with open(tmp_path / "x.csv", "w") as stream:
        stream.write(",".join(columns) + ",kind\n")
        for row in zip(ids, *X.T.tolist(), labels, strict=True):
            stream.write(",".join(map(repr, row)).replace("np.int64(", "").replace(")", "") + "\n")
    for path in (folder, tmp_path / "x.csv"):
        np.testing.assert_array_equal(_one(path, leave_out=("key", "kind")), X)
        np.testing.assert_array_equal(load_column(path, "kind").astype(float), labels)
        with pytest.raises(ValueError, match="no array 'absent'"):
            load_embeddings(path, ("absent",))
    argv = ["evaluate", folder, "--id_column", "key", "--label_column", "kind", "--sample", 500]
    argv += ["--sample_sizes", "all", "--tests", "ad", "--representation", "raw"]
    assert main([*map(str, argv), "--output", str(tmp_path / "out")]) == 0
    assert "Drawn at random from 3,000 rows." in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    found = {row["statistic"]: row["value"] for row in document["rows"]}
    assert found["sampled_from"] == 3000 and "between_class_share" in found
    assert {row["n"] for row in document["rows"]} == {500}
    white = str(tmp_path / "w.npz")
    named = ["--id_column", "key", "--label_column", "kind"]
    assert main(["whiten", str(folder), "--output", white, *named]) == 0
    assert main(["score", white, str(folder), "--output", str(tmp_path / "s"), *named]) == 0
    head, first = (tmp_path / "s" / "scores_table.csv").read_text().splitlines()[:2]
    assert head == "row,id,mahalanobis2,log_likelihood,fitted"
    assert first.startswith("0,1000000.0,")


def test_an_index_and_names_that_pandas_wrote_are_no_coordinates(tmp_path):
    lines = [",0,1", "0,0.5,1.5", "1,2.5,3.5"]
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(_one(tmp_path / "x.csv"), [[0.5, 1.5], [2.5, 3.5]])


def test_arrow_files_and_hugging_face_datasets(tmp_path):
    kind = pa.list_(pa.float32(), 4)
    table = pa.table({"embedding": pa.array(X.tolist(), kind), "label": ["a"] * len(X)})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    np.testing.assert_array_equal(_one(tmp_path / "x.arrow"), X)
    # The layout that `datasets.Dataset.save_to_disk` writes.
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    names = []
    for i, part in enumerate((table[:1200], table[1200:])):
        names.append(f"data-{i:05d}-of-00002.arrow")
        with pa.ipc.new_stream(str(folder / "train" / names[-1]), part.schema) as writer:
            writer.write_table(part, max_chunksize=500)
    state = {"_data_files": [{"filename": name} for name in names]}
    (folder / "train" / "state.json").write_text(json.dumps(state))
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    np.testing.assert_array_equal(_one(folder / "train"), X)
    np.testing.assert_array_equal(_one(f"{folder / 'train'}::embedding"), X)
    assert load_column(folder / "train", "label")[2] == "a"
    with pytest.raises(ValueError, match="holds the splits train"):
        load_embeddings(folder)


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_zarr_arrays_are_read_a_block_at_a_time(tmp_path, driver):
    store = {"driver": driver, "kvstore": {"driver": "file", "path": f"{tmp_path}/x.zarr/z/"}}
    array = tensorstore.open(store, create=True, dtype=tensorstore.float32, shape=X.shape).result()
    array[...] = X
    meta = {"zarr": (".zgroup", {"zarr_format": 2})}.get(
        driver, ("zarr.json", {"zarr_format": 3, "node_type": "group"})
    )
    (tmp_path / "x.zarr" / meta[0]).write_text(json.dumps(meta[1]))
    np.testing.assert_array_equal(_one(tmp_path / "x.zarr"), X)
    np.testing.assert_array_equal(_one(f"{tmp_path}/x.zarr::z"), X)
    np.testing.assert_array_equal(load_column(tmp_path / "x.zarr", "z"), X)
    with pytest.raises(ValueError, match="It holds: z"):
        load_embeddings(f"{tmp_path}/x.zarr::y")


def test_hdf5_or_the_name_of_the_library(tmp_path):
    try:
        import h5py
    except ModuleNotFoundError:
        (tmp_path / "x.h5").write_bytes(b"\x89HDF")
        with pytest.raises(ModuleNotFoundError, match="pip install h5py"):
            load_embeddings(tmp_path / "x.h5")
        return
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["group/z"], file["names"], file["labels"] = X, ["a"] * len(X), np.arange(len(X))
    np.testing.assert_array_equal(_one(tmp_path / "x.h5"), X)
    np.testing.assert_array_equal(_one(f"{tmp_path}/x.h5::group/z"), X)
    assert load_column(tmp_path / "x.h5", "names")[1] == "a"
    np.testing.assert_array_equal(load_column(tmp_path / "x.h5", "labels"), np.arange(len(X)))


def test_shards_that_are_not_one_set_are_named(shards, tmp_path):
    np.save(shards / "part-9b.npy", X[:, :2])
    with pytest.raises(ValueError, match=r"part-9b.npy has 2 coordinates and .*part-7.npy 4"):
        load_embeddings(shards)
    np.save(shards / "part-9b.npy", np.arange(5))
    with pytest.raises(ValueError, match=r"part-9b.npy has shape \(5,\)"):
        load_embeddings(shards)
    np.savez(shards / "other.npz", z=X)
    with pytest.raises(
        ValueError, match=r"several kinds \(6 .npy, 1 .npz\)|several kinds \(1 .npz"
    ):
        load_embeddings(shards)
    with pytest.raises(FileNotFoundError, match="no file matches"):
        load_embeddings(f"{shards}/none-*.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no embeddings"):
        load_embeddings(tmp_path / "empty")
    bad = X.copy()
    bad[1234, 2] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(ValueError, match="nan at row 1234, column 2"):
        whitening.fit(open_rows([tmp_path / "bad.npy"])[1])


def test_whole_numbers_take_part_in_everything(tmp_path, capsys):
    codes = np.rint(20 * X).astype(np.int8)
    np.save(tmp_path / "codes.npy", codes)
    argv = ["evaluate", tmp_path / "codes.npy", "--controls", "gaussian", "permuted"]
    argv += ["--sample_sizes", 500, "--tests", "ad", "--representation", "raw", "--inputs"]
    assert main([*map(str, argv), str(tmp_path / "codes.npy")]) == 0
    argv = ["whiten", tmp_path / "codes.npy", "--output", tmp_path / "w.npz"]
    assert main([*map(str, argv), "--pair", str(tmp_path / "codes.npy")]) == 0
    capsys.readouterr()
    rows = evaluate_paths([tmp_path / "codes.npy"], sample_sizes=["all"], tests=["ad"])
    assert any(row["statistic"] == "quantised_integer" for row in rows)
    np.testing.assert_allclose(
        whitening.fit(codes).mean, codes.mean(axis=0), rtol=1e-12, atol=1e-12
    )


def test_memory_stays_constant_over_shards(tmp_path):
    script = """
import resource, sys, numpy as np
from infonce_jax.evaluation import whitening
from infonce_jax.evaluation.load import open_rows
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
first = open_rows([sys.argv[1] + "/part-0.npy"])[1]
whitening.mahalanobis(whitening.fit_and_judge(first).whitening, first)
before = peak()
rows = open_rows([sys.argv[1]])[1]
whitening.mahalanobis(whitening.fit_and_judge(rows).whitening, rows)
print(len(rows), peak() - before)
"""
    for i in range(20):
        np.save(tmp_path / f"part-{i}.npy", np.tile(X, (4, 4)) + i)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    rows, more_mib = done.stdout.split()
    # The rows have 15 MiB; their marks and distances have 4.
    assert int(rows) == 240_000 and float(more_mib) < 12
