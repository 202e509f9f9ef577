"""The study across objectives: corruptions, correlations, and the page from finished runs."""

import numpy as np
import pytest
import scipy.stats
import sklearn.datasets

from experiments import study
from experiments.study import corruptions, draw, measure, statistics
from experiments.study import runs as study_runs
from infonce_jax import runs as runs_lib
from infonce_jax.data import Dataset, DataSpec


@pytest.fixture(scope="module")
def images():
    """Smooth random images, with a few extreme pixels."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (40, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    rows = np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255)
    return rows.astype(np.uint8)


def test_corruptions_are_those_of_the_published_definitions(images):
    pixels = images / 255
    for strength in corruptions.STRENGTHS:
        scale = (0.04, 0.06, 0.08, 0.09, 0.10)[strength - 1]
        noisy = corruptions.gaussian_noise(images, strength) / 255
        inside = (pixels > 0.35) & (pixels < 0.65)  # not clipped
        assert np.std((noisy - pixels)[inside]) == pytest.approx(scale, rel=0.03)

        kept = (0.75, 0.5, 0.4, 0.3, 0.15)[strength - 1]
        for image, found in zip(
            pixels[:3], corruptions.contrast(images[:3], strength), strict=True
        ):
            for channel in range(3):
                colour = image[..., channel]
                expected = np.floor(255 * (colour.mean() + kept * (colour - colour.mean())))
                assert np.abs(found[..., channel] - expected).max() <= 1

        sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[strength - 1]
        radius = int(4 * sigma + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        kernel /= kernel.sum()
        edged = np.pad(pixels[0, ..., 0], radius, mode="edge")
        rows = np.stack([np.convolve(row, kernel, "valid") for row in edged])
        expected = np.stack([np.convolve(column, kernel, "valid") for column in rows.T]).T
        found = corruptions.gaussian_blur(images[:1], strength)[0, ..., 0]
        assert np.abs(found - np.floor(255 * expected)).max() <= 1

        side = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[strength - 1])
        small = _boxes(32, side) @ images[0, ..., 0].astype(float) @ _boxes(32, side).T
        expected = _boxes(side, 32) @ small @ _boxes(side, 32).T
        found = corruptions.pixelate(images[:1], strength)[0, ..., 0]
        assert np.abs(found - expected).max() <= 1.01


def _boxes(size: int, out: int) -> np.ndarray:
    """The mean of the pixels whose centres lie in each of `out` boxes, none narrower than a pixel."""
    centre = (np.arange(out)[:, None] + 0.5) * size / out
    off = np.arange(size) + 0.5 - centre
    width = max(size / out, 1)
    inside = (off > -width / 2) & (off <= width / 2)
    return inside / inside.sum(axis=1, keepdims=True)


def test_partial_rank_correlation_is_that_of_the_residuals():
    rng = np.random.default_rng(0)
    given = rng.standard_normal(60)
    x, y = given + rng.standard_normal(60), given + rng.standard_normal(60)
    ranks = [scipy.stats.rankdata(values) for values in (x, y, given)]
    residuals = [r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    expected = np.corrcoef(*residuals)[0, 1]
    assert statistics.partial_spearman(x, y, given) == pytest.approx(expected)
    assert statistics.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    # What the third alone makes alike is not counted.
    assert abs(expected) < statistics.spearman(x, y)


def test_intervals_are_over_settings_and_not_over_their_seeds():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 12))
    setting = np.arange(12)
    value, low, high = statistics.over_groups(statistics.spearman, (x, y), setting)
    copies = [np.repeat(values, 50) for values in (x, y, setting)]
    again = statistics.over_groups(statistics.spearman, copies[:2], copies[2])
    assert again[0] == pytest.approx(value)
    # Fifty seeds that agree leave the interval as wide as it was.
    assert again[2] - again[1] == pytest.approx(high - low, rel=0.15)


def test_measures_see_what_was_put_in(monkeypatch):
    monkeypatch.setattr(measure, "DRAWS", 3)
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.standard_normal((4, 16))
    labels, test_labels = rng.integers(4, size=1000), rng.integers(4, size=5200)
    train = centres[labels] + rng.standard_normal((1000, 16))
    test = centres[test_labels] + rng.standard_normal((5200, 16))
    far, same = 6 * rng.standard_normal((500, 16)), test[:500]
    encoded = measure.Encoded(
        *(train, labels, test, test_labels),
        {"far": far, "same": same},
        {("none", 1): test[:1000], ("all", 1): rng.standard_normal((1000, 16))},
    )
    found = measure.measure(encoded)
    assert found["auroc_far"] > 0.9 and found["auroc_classes_far"] > 0.9
    assert found["auroc_same"] == pytest.approx(0.5, abs=0.03)
    assert found["corrupted_none_1"] == pytest.approx(found["probe"], abs=0.03)
    assert found["corrupted_all_1"] < 0.5 < found["probe"]
    assert found["between_class_share"] + found["within_class_share"] == pytest.approx(1)
    # Classes that are Gaussian with one covariance: the model is right, and needs no more labels.
    assert found["few_label_gain_5"] > -0.02
    assert found["gaussian_1"] < found["gaussian_5"] < found["gaussian_20"]
    assert found["ad"] > 1 and found["effective_rank"] < 16


def test_textures_are_varied_images_of_the_seed():
    images = study_runs.textures(40)
    assert images.shape == (40, 32, 32, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[:5], study_runs.textures(40)[:5])
    assert (images != study_runs.textures(40, seed=1)).mean() > 0.9
    # Neither constant nor noise: neighbouring pixels are alike.
    spread = images.std(axis=(1, 2, 3))
    step = np.abs(np.diff(images.astype(float), axis=2)).mean()
    assert spread.min() > 10 and step < 0.5 * np.abs(images - images.mean()).mean()


def test_digits_are_scikit_learns_enlarged():
    images = study_runs.digits()
    given = sklearn.datasets.load_digits().images
    assert images.shape == (1797, 32, 32, 3) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    means = images[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(means, given * 255 / 16, atol=0.51)


def test_a_run_on_images_is_measured_on_unknown_and_corrupted_ones(images):
    labels = np.arange(len(images)) % 4
    spec = DataSpec((32, 32, 3), True, 80, 40, 4)
    one, half = np.float32(1), np.float32(0.5)
    dataset = Dataset(spec, images, labels, images, labels, half, one, None)
    test, known, unknown, corrupted = study_runs.test_rows(dataset, 3)
    np.testing.assert_array_equal(test, images[labels != 3])
    np.testing.assert_array_equal(known, labels[labels != 3])
    np.testing.assert_array_equal(unknown["held-out class"], images[labels == 3])
    assert len(corrupted) == 20
    assert set(unknown) == {"held-out class", "uniform noise", "textures", "digits"}
    np.testing.assert_array_equal(corrupted["contrast", 5], corruptions.contrast(test, 5))


def test_the_page_is_drawn_from_finished_runs(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "SHOTS", (1,))
    monkeypatch.setattr(measure, "DRAWS", 2)
    tiny_config.data.source = "mixture"
    tiny_config.data.test_size = 5000
    tiny_config.seeds = (0, 1)
    tiny_config.embed.steps = ()
    variants = {
        "infonce": {},
        "infonce_koleo": {"loss.regulariser": "koleo", "loss.beta": (0.1, 1.0)},
    }
    runs_lib.run_sweep(tiny_config, variants, tmp_path / "mixture", stages=("train", "embed"))
    names = ("gaussianity", "correlations", "changes")
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {name} -->\n<!-- end -->\n" for name in names))
    arguments = ["--runs", str(tmp_path), "--output", str(tmp_path / "out"), "--page", str(page)]
    draw._read.cache_clear()
    monkeypatch.setattr(draw, "OUTCOMES", draw.OUTCOMES[:4])
    monkeypatch.setattr(statistics, "DRAWS", 50)
    assert study.main([*arguments, "--only", *names, "accuracy"]) == 0
    text = page.read_text()
    for label in (
        "random projection of the inputs",
        "untrained",
        "InfoNCE",
        "InfoNCE + KoLeo, 0.1",
        "InfoNCE + KoLeo, 1",
    ):
        assert f"| {label} " in text
    # What was measured is read, and not measured again.
    draw._read.cache_clear()
    monkeypatch.setattr(study_runs, "_encode", lambda *_: pytest.fail("measured again"))
    assert len(study_runs.read_points(tmp_path)) == 2 * 5
    # The table of encoders draws the same page where the runs are gone, and gives way to runs.
    assert study.main([*arguments, "--only", "encoders"]) == 0
    draw._read.cache_clear()
    again = tmp_path / "again.md"
    again.write_text("".join(f"<!-- {name} -->\n<!-- end -->\n" for name in names))
    from_table = ["--runs", str(tmp_path / "out"), "--output", str(tmp_path), "--page", str(again)]
    assert study.main([*from_table, "--only", *names]) == 0
    assert again.read_text() == text
    kept = study_runs.read_points(tmp_path / "out")
    (tmp_path / "encoders.csv").write_text(
        study_runs.to_csv(
            [*(p._replace(seed=7) for p in kept), kept[0]._replace(family="cifar10_mlp")]
        )
    )
    found = study_runs.read_points(tmp_path)
    assert [p.seed for p in found if p.family == "mixture"] == [p.seed for p in kept]
    assert len(found) == len(kept) + 1
    # A run that was stopped half-way is left out, and one of the study is asked for where none is.
    config = tmp_path / "mixture" / "infonce" / "config.json"
    config.write_text(config.read_text().replace('"steps": 12', '"steps": 13'))
    # The table has its encoders still; the odd seed shows where they come from.
    of = {p.objective: p.seed for p in study_runs.read_points(tmp_path) if p.family == "mixture"}
    assert of == {"infonce_koleo": 1, "infonce": 7, "untrained": 7, "random projection": 7}
    (tmp_path / "encoders.csv").unlink()
    assert {p.objective for p in study_runs.read_points(tmp_path)} == {"infonce_koleo"}
    draw._read.cache_clear()
    nothing = ["--runs", str(tmp_path / "none"), *arguments[2:], "--only", "uses_cifar10_mlp"]
    assert study.main(nothing) == 0
