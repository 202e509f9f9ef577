"""The tables of real encoders, from embeddings that are there already: no weights are needed."""

import csv

import numpy as np

from experiments.real_encoders import main
from experiments.real_encoders.command import SAMPLE, statistics
from experiments.real_encoders.encoders import ENCODERS
from infonce_jax.evaluation import anderson_darling
from infonce_jax.pretrained import Encoder, Rows, extract


def test_the_tables_of_one_command(tmp_path, capsys):
    rng = np.random.default_rng(0)
    texts = [str(i) for i in range(400)]
    rows = {"trained": rng.standard_normal((400, 6)), "untrained": rng.uniform(size=(400, 6)) ** 3}
    folder = tmp_path / "runs" / "geoclip_locations"
    for step, z in enumerate((rows["untrained"], rows["trained"])):
        encoder = Encoder(None, lambda batch, z=z: z[[int(t) for t in batch]], {"model": "m"})
        extract(encoder, {"all": Rows(texts, texts=texts)}, folder, step=step, random_projection=64)
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- raw -->\nold\n<!-- end -->\n")
    argv = ["--runs", tmp_path / "runs", "--page", page, "--table", tmp_path / "table.csv"]
    assert main([*map(str, argv), "--only", "GeoCLIP", "Lite0"]) == 0
    # What cannot be made here is named and left out.
    assert "EfficientNet-Lite0: left out, give --cifar10" in capsys.readouterr().err
    text = page.read_text()
    assert "old" not in text and "GeoCLIP, locations" in text and "Lite0" not in text
    with open(tmp_path / "table.csv", newline="") as stream:
        found = {(r["embeddings"], r["representation"]): r for r in csv.DictReader(stream)}
    assert len(found) == 6
    for kind in ("trained", "untrained"):
        expected = anderson_darling(rows[kind].astype(np.float32).astype(float)).statistic.mean()
        assert np.isclose(float(found[kind, "raw"]["ad_2000"]), expected, rtol=1e-3)
    assert float(found["trained", "raw"]["ad_2000"]) < float(found["untrained", "raw"]["ad_2000"])
    # Asked for another encoder, it takes none away.
    assert main([*map(str, argv), "--only", "Lite0"]) == 0
    assert page.read_text() == text


def test_a_coordinate_that_only_changes_outside_the_sample_is_left_out():
    z = np.random.default_rng(0).standard_normal((SAMPLE + 1, 3))
    left_out = np.random.default_rng(0).permutation(len(z))[SAMPLE]
    expected = anderson_darling(np.delete(z, left_out, axis=0)[:, :2]).statistic.mean()
    z[:, 2] = np.arange(len(z)) == left_out
    assert np.isclose(statistics(z)["ad_2000"], expected)


def test_every_twin_is_an_encoder_that_has_one_of_its_own():
    names = {known.name: known for known in ENCODERS}
    for known in ENCODERS:
        assert known.twin is None or names[known.twin].twin is None
    assert sum(known.contrastive for known in ENCODERS) >= 4 and len(ENCODERS) >= 8
