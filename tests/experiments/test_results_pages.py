"""The pages of results: the paper's figures and the experiments beyond it."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments import beyond, pages, paper
from experiments.beyond import downstream
from experiments.paper.controls import draw_controls
from infonce_jax import runs as runs_lib
from infonce_jax.data import cifar10, loader
from infonce_jax.report import canvas
from infonce_jax.report.table import GAUSSIAN_AD
from infonce_jax.runs.variants import variant_config
from tests.overlapping import overlaps

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("module", [paper, beyond])
def test_the_page_shows_every_exhibit(module):
    topic = module.__name__.rsplit(".", 1)[-1]
    text = (DOCS / f"{topic}.md").read_text()
    for name in module.EXHIBITS:
        assert f"({topic}/{name}.svg)" in text or f"<!-- {name} -->" in text, name
        if f"({topic}/{name}.svg)" in text:
            ElementTree.parse(DOCS / topic / f"{name}.svg")


def test_interval_is_students():
    values = [1.0, 2.0, 4.0, 4.5]
    mean, half_width = pages.interval(values)
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


def test_textures_are_varied_images_of_the_seed():
    images = downstream.textures(40)
    assert images.shape == (40, 32, 32, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[:5], downstream.textures(40)[:5])
    assert (images != downstream.textures(40, seed=1)).mean() > 0.9
    # Neither constant nor noise: neighbouring pixels are alike.
    spread = images.std(axis=(1, 2, 3))
    step = np.abs(np.diff(images.astype(float), axis=2)).mean()
    assert spread.min() > 10 and step < 0.5 * np.abs(images - images.mean()).mean()


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
        configs = {
            variant: variant_config(tiny_config, variant, fields, {})
            for variant, fields in variants.items()
        }
        stages = ("train", "embed", "evaluate")
        runs_lib.run_sweep(tiny_config, configs, tmp_path / name, stages=stages)
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


def test_table_1_has_its_controls(tiny_config, tmp_path, capsys):
    tiny_config.data.source = "mixture"
    tiny_config.data.test_size = 10_000
    tiny_config.embed.steps = ()
    tiny_config.evaluate.sample_sizes = (500, 1000, 10_000)
    tiny_config.report.paper = "mixture"
    stages = ("train", "embed", "evaluate")
    for folder, fields in {
        "paper/table1_synthetic/mixture": {},
        "beyond/objectives/supervised": {"objective": "supervised"},
    }.items():
        config = variant_config(tiny_config, "tiny", fields, {})
        runs_lib.run(config, tmp_path / folder, stages=stages)
    head, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in draw_controls(tmp_path / "paper").table.splitlines()
    )
    assert "no run in" in capsys.readouterr().err
    found = {row[0]: row for row in rows}
    assert list(found) == [
        "**Gaussian mixture**: the paper", "random projection of the inputs", "untrained", "InfoNCE",
        "a Gaussian with its mean and covariance", "supervised",
    ]  # fmt: skip
    assert found["**Gaussian mixture**: the paper"][1:4] == ["0.08", "–", "0.39 (n not stated)"]
    largest = head.index("AD, n = 10,000")
    exact = found["a Gaussian with its mean and covariance"][largest]
    assert float(exact.split(" ± ")[0]) == pytest.approx(GAUSSIAN_AD, abs=0.15)
    # Ten separate centres in eight dimensions are not normal, however they are projected.
    for name in ("untrained", "random projection of the inputs"):
        assert float(found[name][largest].split(" ± ")[0]) > 3


def test_downstream_tasks_have_a_row_for_every_encoder(tiny_config, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 10
    # A colour for each class under much noise: a task that can be solved in part.
    images = 128 + 40 * rng.standard_normal((10, 1, 1, 3))[labels]
    images = np.clip(images + 60 * rng.standard_normal((600, 32, 32, 3)), 0, 255).astype(np.uint8)
    small = cifar10.Cifar10(images[:400], labels[:400], images[400:], labels[400:])
    monkeypatch.setattr(cifar10, "load_cifar10", lambda *_, **__: small)
    monkeypatch.setattr(loader, "CIFAR10_SIZES", (400, 200))
    tiny_config.data.source, tiny_config.data.held_out_class = "cifar10", 3
    tiny_config.channel.name = "simclr"
    tiny_config.embed.steps = ()
    tiny_config.evaluate.sample_sizes = (200,)
    fields = {
        "contrastive": {"loss.beta": (0.0, 1.0)},
        "supervised": {"objective": "supervised"},
    }
    configs = {
        name: variant_config(tiny_config, name, values, {}) for name, values in fields.items()
    }
    folder = tmp_path / "downstream"
    runs_lib.run_sweep(tiny_config, configs, folder, stages=("train", "embed", "evaluate"))
    drawn = downstream.draw_downstream(tmp_path, outliers=50)
    head, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in drawn.table.splitlines()
    )
    assert [row[0] for row in rows] == [
        "random projection of the pixels", "untrained", "InfoNCE, β / β₀ = 0", "InfoNCE, β / β₀ = 1",
        "supervised",
    ]  # fmt: skip
    probe, noise = head.index("linear probe"), head.index("AUROC, uniform noise")
    for row in rows:
        assert 30 < float(row[probe].split(" ± ")[0]) <= 100
        assert float(row[noise].split(" ± ")[0]) > 0.5
        assert all("±" in cell for cell in row[1:])


def test_what_has_no_runs_is_named(tmp_path, capsys):
    arguments = ["--runs", str(tmp_path), "--output", str(tmp_path), "--page", str(tmp_path / "p")]
    assert beyond.main(arguments) == 0
    assert paper.main(arguments) == 0
    error = capsys.readouterr().err
    for name in ("objectives", "scaling", "downstream", "laplace", "pushforward", "binary"):
        assert f"{tmp_path / name} holds no run" in error
    assert not list(tmp_path.glob("*.svg"))
