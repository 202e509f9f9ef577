"""The pages of results: the paper's figures and the experiments beyond it."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments import beyond, pages, paper, study
from experiments.paper import EXHIBITS, pushforward, search
from infonce_jax import embeddings
from infonce_jax import runs as runs_lib
from infonce_jax.evaluation import norm_cv
from infonce_jax.report import canvas
from infonce_jax.report.table import GAUSSIAN_AD
from tests.overlapping import overlaps

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("module", [paper, beyond, study])
def test_the_page_shows_every_exhibit(module):
    topic = module.__name__.rsplit(".", 1)[-1]
    # The summary of all exhibits stands in RESULTS.md.
    text = (DOCS / f"{topic}.md").read_text() + (DOCS.parent / "RESULTS.md").read_text()
    for name in module.EXHIBITS:
        files = [f"({topic}/{name}.{kind})" in text for kind in ("svg", "csv")]
        assert any(files) or f"<!-- {name} -->" in text, name
        if f"({topic}/{name}.svg)" in text:
            ElementTree.parse(DOCS / topic / f"{name}.svg")


def test_the_summary_is_made_of_the_tables_of_the_page():
    drawn = EXHIBITS["results"](Path("no runs"), DOCS / "paper.md")
    assert drawn.table in (DOCS.parent / "RESULTS.md").read_text()


def test_interval_is_students():
    values = [1.0, 2.0, 4.0, 4.5]
    mean, half_width = pages.interval(values)
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


def test_objectives_and_scaling_are_drawn_from_finished_sweeps(tiny_config, tmp_path):
    tiny_config.data.source = "mixture"
    tiny_config.data.test_size = 10_000
    tiny_config.embed.steps = ()
    tiny_config.evaluate.sample_sizes = (1000, 10_000)
    sweeps = {
        "objectives": {"vicreg": {"objective": "vicreg", "loss.norm_weight": (0.1, 0.5)}},
        "scaling": {
            "small": {"encoder.embedding_dim": 4},
            "large": {"encoder.embedding_dim": 8},
        },
    }
    for name, variants in sweeps.items():
        stages = ("train", "embed", "evaluate")
        runs_lib.run_sweep(tiny_config, variants, tmp_path / name, stages=stages)
    arguments = ["--runs", str(tmp_path), "--output", str(tmp_path / "out")]
    page = tmp_path / "page.md"
    page.write_text("<!-- objectives -->\n<!-- end -->\n<!-- scaling -->\n<!-- end -->\n")
    assert beyond.main([*arguments, "--page", str(page), "--only", "objectives", "scaling"]) == 0
    rows = [line.split("|")[1].strip() for line in page.read_text().splitlines() if "|" in line]
    assert {"untrained", "VICReg, norm weight 0.1", "VICReg, norm weight 0.5"} <= set(rows)
    assert {"norm CV", "4", "8"} <= set(rows)
    with canvas.style():
        for name in ("objectives", "scaling"):
            assert overlaps(beyond.EXHIBITS[name](tmp_path).figure) == [], name
    for name in ("objectives", "scaling"):
        ElementTree.parse(tmp_path / "out" / f"{name}.svg")


def test_table_1_has_its_controls_under_the_papers_protocol(tiny_config, tmp_path, capsys):
    tiny_config.data.source = "mixture"
    tiny_config.data.test_size = 5000
    tiny_config.embed.steps = ()
    folder = tmp_path / "table1_synthetic" / "mixture"
    runs_lib.run(tiny_config, folder, stages=("train", "embed"))
    table = EXHIBITS["table1"](tmp_path).table
    head, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()
    )
    assert "holds no run" in capsys.readouterr().err
    found = {row[0]: row for row in rows}
    assert list(found) == [
        "**Gaussian mixture**: the paper", "random projection of the inputs", "untrained encoder",
        "InfoNCE, epoch 2", "a Gaussian with its mean and covariance",
    ]  # fmt: skip
    assert found["**Gaussian mixture**: the paper"][1:4] == ["0.08", "0.39", "100%"]
    groups, single = head.index("AD, groups"), head.index("AD, n = 1,000")
    exact = found["a Gaussian with its mean and covariance"]
    # By groups every coordinate of an exact Gaussian passes; ten separate centres do not.
    assert float(exact[groups]) == pytest.approx(GAUSSIAN_AD, abs=0.03)
    assert exact[groups + 1] == "100%"
    for name in ("untrained encoder", "random projection of the inputs"):
        assert float(found[name][groups]) > 0.6 and float(found[name][single]) > 3
    # A number of the table comes from the embeddings alone.
    z = embeddings.read(embeddings.find_steps(folder)[-1])
    cv = [norm_cv(np.asarray(z.array(m["name"], "test", "clean"))) for m in z.members]
    assert found["InfoNCE, epoch 2"][1] == f"{np.mean(cv):.3f}"


def test_the_reduced_resnet_is_told_by_temperature_beside_the_labels(tiny_config, tmp_path):
    tiny_config.data.source, tiny_config.data.test_size = "mixture", 5000
    tiny_config.embed.steps = ()
    variants = {
        "contrastive": {},
        "contrastive_0.05": {"loss.temperature": 0.05},
        "supervised": {"objective": "supervised"},
    }
    folder = tmp_path / "cifar10_resnet"
    runs_lib.run_sweep(tiny_config, variants, folder, stages=("train", "embed"))
    # Runs that have not been evaluated count: the page may be drawn while they train.
    lines = EXHIBITS["resnet"](tmp_path).table.splitlines()[2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    temperature = tiny_config.loss.temperature
    assert [row[:2] for row in rows] == [
        ["**the paper**, ResNet-18, InfoNCE, τ = 0.1", "100"],
        ["**the paper**, ResNet-18, on the labels", "100"],
        ["untrained", "0"],
        ["InfoNCE, τ = 0.05", "2"],
        [f"InfoNCE, τ = {temperature:g}", "2"],
        ["on the labels", "2"],
    ]
    z = embeddings.read(embeddings.find_steps(folder / "contrastive_0.05")[-1])
    cv = [norm_cv(np.asarray(z.array(m["name"], "test", "clean"))) for m in z.members]
    assert rows[3][2] == f"{np.mean(cv):.3f}"


def test_the_search_counts_what_comes_near_both_ends(tiny_config, tmp_path):
    tiny_config.data.source, tiny_config.data.test_size = "binary", 5000
    tiny_config.data.binary_prototypes = 4
    tiny_config.seeds, tiny_config.loss.temperature = (0,), (0.1, 0.5)
    tiny_config.train.epochs, tiny_config.train.steps = 2.0, 0
    tiny_config.embed.steps = (6,)
    stages = ("train", "embed", "evaluate")
    for name, flips in (("one", 0.1), ("two", 0.3)):
        tiny_config.data.binary_flips = flips
        runs_lib.run(tiny_config, tmp_path / "binary" / name, stages=stages)
    with canvas.style():
        drawn = EXHIBITS["binary"](tmp_path)
        assert overlaps(drawn.figure) == []
    count, rows = drawn.table.split("\n\n")
    assert [cell.strip() for cell in count.splitlines()[2].split("|")][1:5] == ["4", "0", "0", "0"]
    assert "4 patterns, 10% flipped" in rows and "4 patterns, 30% flipped" in rows
    reading = search.Reading(0.36 * 1.1, 1.64 / 1.3, 0.3, 0.1)
    assert reading.miss({"norm_cv": 0.36, "ad_mean": 1.64}) == pytest.approx(0.3)


def test_the_pushforward_correlates_what_views_share(tiny_config, tmp_path):
    tiny_config.data.test_size, tiny_config.data.laplace_scale = 2000, 1.0
    tiny_config.channel.name, tiny_config.channel.strength = "mixing", (0.9, 0.99)
    tiny_config.channel.row_scale_std = 0.5
    runs_lib.run(tiny_config, tmp_path / "pushforward" / "pushforward", stages=("train",))
    found = pushforward.correlate(tmp_path / "pushforward")
    for encoder in ("trained", "untrained"):
        views, clean = (np.mean(found.of[rows, encoder][0.99]) for rows in ("views", "clean"))
        # Without the factor of the row the two have only the coordinates' own spread in common.
        assert views > clean + 0.1
    # The first-order formula, by simulation of a projection.
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(20_000, 64)) * np.exp(0.1 * rng.standard_normal((20_000, 1)))
    z = x @ np.linalg.qr(rng.standard_normal((64, 16)))[0]
    simulated = np.corrcoef(np.abs(x).sum(axis=1), (z**2).sum(axis=1))[0, 1]
    assert simulated == pytest.approx(pushforward.expected(64, 16, 0.1), abs=0.05)


def test_what_has_no_runs_is_named(tmp_path, capsys):
    arguments = ["--runs", str(tmp_path), "--output", str(tmp_path), "--page", str(tmp_path / "p")]
    assert beyond.main(arguments) == 0
    assert paper.main(arguments) == 0
    error = capsys.readouterr().err
    for name in ("objectives", "scaling", "laplace", "pushforward", "binary"):
        assert f"{tmp_path / name} holds no run" in error
    assert not list(tmp_path.glob("*.svg"))
