"""Sources, channels and batches: the laws they claim, and the inputs they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infonce_jax import data
from infonce_jax.data import cifar10
from infonce_jax.data.batches import batch_index, shuffled_index
from infonce_jax.data.channels import bit_flip, erasure, gaussian_noise, identity
from infonce_jax.data.synthetic import make_law

N = 20_000


def sample(config, n=N):
    return make_law(config.data)(jax.random.key(5), n)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64, 1000])
def test_shuffled_index_is_a_permutation(n):
    index = shuffled_index(jax.random.key(n), jnp.arange(n), n)
    assert sorted(np.asarray(index)) == list(range(n))


def test_all_permutations_of_four_are_equally_likely():
    keys = jax.random.split(jax.random.key(0), 24_000)
    orders = jax.vmap(lambda key: shuffled_index(key, jnp.arange(4), 4))(keys)
    counts = np.unique(np.asarray(orders), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_an_epoch_sees_every_row_once_and_the_next_in_another_order():
    key = jax.random.key(3)
    epochs = [
        np.concatenate([batch_index(key, jnp.int32(s), 10, 50) for s in range(e * 5, e * 5 + 5)])
        for e in range(2)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert not np.array_equal(*epochs)


def test_rows_that_do_not_fill_a_batch_are_left_out_at_random():
    key = jax.random.key(3)
    seen = np.concatenate([batch_index(key, jnp.int32(s), 8, 19) for s in range(40)])
    assert set(seen) == set(range(19))


@pytest.mark.parametrize(
    ("source", "law"),
    [
        ("laplace", stats.laplace(scale=1 / np.sqrt(2))),
        ("gaussian", stats.norm()),
    ],
)
def test_coordinates_follow_their_law(tiny_config, source, law):
    tiny_config.data.source = source
    rows, labels = sample(tiny_config)
    assert rows.shape == (N, 24) and labels is None
    assert stats.kstest(np.asarray(rows[:, 0]), law.cdf).pvalue > 1e-3
    tiny_config.data.laplace_scale = 2.0
    if source == "laplace":
        doubled = np.asarray(sample(tiny_config)[0]) / 2.0 / np.sqrt(2)
        np.testing.assert_allclose(doubled, rows, rtol=1e-5)
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 5 / np.sqrt(N)


def test_the_sphere_has_its_radius_and_its_marginal(tiny_config):
    tiny_config.data.source = "sphere"
    rows, _ = sample(tiny_config)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.sqrt(24), rtol=1e-5)
    # (1 + t)/2 of a coordinate t of the unit sphere is Beta((d-1)/2, (d-1)/2).
    t = np.asarray(rows[:, 0]) / np.sqrt(24)
    assert stats.kstest((1 + t) / 2, stats.beta(11.5, 11.5).cdf).pvalue > 1e-3


def test_mixture_components_keep_their_means_across_draws(tiny_config):
    tiny_config.data.source = "mixture"
    tiny_config.data.mixture_components = 3
    tiny_config.data.mixture_separation = 4.0
    draw = make_law(tiny_config.data)
    means = []
    for seed in range(2):
        rows, labels = draw(jax.random.key(seed), N)
        means.append([np.asarray(rows)[np.asarray(labels) == k].mean(axis=0) for k in range(3)])
        within = np.concatenate(
            [np.asarray(rows)[np.asarray(labels) == k] - means[-1][k] for k in range(3)]
        )
        np.testing.assert_allclose(within.std(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(*means, atol=0.1)
    assert np.std(means[0]) == pytest.approx(4.0, rel=0.3)


def test_binary_rows_have_the_expected_number_of_ones(tiny_config):
    tiny_config.data.source = "binary"
    tiny_config.data.binary_active = 6.0
    rows, _ = sample(tiny_config)
    assert set(np.unique(rows)) == {0.0, 1.0}
    assert np.asarray(rows).sum(axis=1).mean() == pytest.approx(6, abs=0.1)


def test_channels_do_what_their_strength_says():
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (N, 4)).astype(jnp.float32)
    key = jax.random.key(1)
    noisy = gaussian_noise(key, x, 0.3) - x
    assert stats.kstest(np.asarray(noisy[:, 0]), stats.norm(scale=0.3).cdf).pvalue > 1e-3
    assert np.mean(bit_flip(key, x, 0.2) != x) == pytest.approx(0.2, abs=0.01)
    kept = np.asarray(erasure(key, x + 1, 0.7))
    assert np.mean(kept == 0) == pytest.approx(0.7, abs=0.01)
    assert set(np.unique(kept)) == {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(identity(key, x, 0.5), x)


def test_strength_can_be_traced_and_vmapped():
    x = jnp.ones((8, 4))
    strengths = jnp.array([0.0, 0.5, 2.0])
    got = jax.jit(jax.vmap(lambda s: gaussian_noise(jax.random.key(0), x, s)))(strengths)
    np.testing.assert_allclose(got[0], x)
    np.testing.assert_allclose(got[2] - 1, 4 * (got[1] - 1), rtol=1e-5)


def test_synthetic_data_do_not_depend_on_the_runs_seed(tiny_config):
    first = data.load(tiny_config)
    tiny_config.seeds = (7,)
    np.testing.assert_array_equal(first.train, data.load(tiny_config).train)
    tiny_config.data.seed = 1
    assert not np.array_equal(first.train, data.load(tiny_config).train)


@pytest.fixture
def array_config(tiny_config, tmp_path):
    tiny_config.data.source = "array"
    tiny_config.data.path = str(tmp_path / "rows.npy")
    tiny_config.data.test_size = 10
    return tiny_config


def test_an_array_is_split_without_loss(array_config):
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.save(array_config.data.path, rows)
    loaded = data.load(array_config)
    assert loaded.train.shape == (30, 6) and loaded.test.shape == (10, 6)
    together = np.concatenate([loaded.train, loaded.test])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(rows, axis=0))


def test_labels_stay_with_their_rows(array_config, tmp_path):
    rows = np.arange(40.0)[:, None] * np.ones(3)
    array_config.data.path = str(tmp_path / "rows.npz")
    np.savez(array_config.data.path, x=rows, labels=np.arange(40) % 4)
    loaded = data.load(array_config)
    np.testing.assert_array_equal(loaded.train[:, 0] % 4, loaded.train_labels)
    assert loaded.spec.num_classes == 4
    # Each row says which row of the file it was.
    for split, part in (("train", loaded.train), ("test", loaded.test)):
        assert [loaded.names(split, i) for i in range(3)] == [f"row {x:.0f}" for x in part[:3, 0]]


def test_uint8_images_get_simclr_views(array_config, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    np.save(array_config.data.path, images)
    array_config.channel.name = "simclr"
    loaded = data.load(array_config)
    view = data.make_view(array_config, loaded.spec)
    hyper = {
        f"channel.{name}": jnp.float32(array_config.channel[name])
        for name in ("crop_area_min", "jitter", "grayscale_prob", "blur_prob")
    }
    views = view(jax.random.key(0), loaded.train, None, hyper)
    assert views.shape == (30, 8, 8, 3) and views.min() >= 0 and views.max() <= 1
    np.testing.assert_allclose(loaded.mean, (loaded.train / 255).mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(loaded.std, (loaded.train / 255).std(axis=(0, 1, 2)), rtol=1e-4)


def bad_array(array_config, rows, **save):
    if save:
        array_config.data.path = array_config.data.path.replace(".npy", ".npz")
        np.savez(array_config.data.path, **save)
    else:
        np.save(array_config.data.path, rows, allow_pickle=True)
    return array_config


@pytest.mark.parametrize(
    ("rows", "save", "message"),
    [
        (np.array([{}, []], object), {}, "pickled arrays are refused"),
        (np.ones((40, 3), int), {}, "floating-point rows"),
        (np.ones(40), {}, r"float64\[40\]"),
        (np.ones((10, 3)), {}, "has 10 rows; hold out"),
        (np.where(np.arange(120).reshape(40, 3) == 50, np.nan, 1.0), {}, "1 NaN.*row 16, column 2"),
        (None, {"y": np.ones((40, 3))}, "no array 'x'"),
        (None, {"x": np.ones((40, 3)), "labels": np.ones(39, int)}, "40 non-negative integers"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(array_config, rows, save, message):
    with pytest.raises(ValueError, match=message):
        data.load(bad_array(array_config, rows, **save))


def test_an_array_is_described_without_reading_its_rows(array_config, tmp_path):
    np.save(array_config.data.path, np.ones((40, 3), np.float32))
    whole = data.describe(array_config)
    array_config.data.path = str(tmp_path / "rows.npz")
    np.savez(array_config.data.path, x=np.full((40, 3), np.nan, np.float32))
    assert data.describe(array_config) == whole
    with pytest.raises(
        ValueError, match="120 NaN or infinite values, the first at row 0, column 0"
    ):
        data.load(array_config)


def test_truncated_array_is_refused(array_config):
    np.save(array_config.data.path, np.ones((40, 3)))
    with open(array_config.data.path, "r+b") as file:
        file.truncate(200)
    with pytest.raises(ValueError, match="cannot be read"):
        data.describe(array_config)


def test_missing_array_is_named(array_config):
    with pytest.raises(FileNotFoundError, match=r"rows\.npy"):
        data.describe(array_config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.laplace_scale", 0.0, "positive and finite"),
        ("data.source", "laplas", "binary, gaussian, laplace"),
        ("data.dim", 0, "at least 1"),
        ("channel.name", "nois", "bit_flip, erasure, gaussian_noise"),
        ("channel.name", "simclr", "needs uint8 images"),
        ("channel.name", "bit_flip", "use source binary"),
        ("train.batch_size", 97, "training set has 96 rows"),
    ],
)
def test_impossible_settings_are_named(tiny_config, field, value, message):
    tiny_config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        spec = data.describe(tiny_config)
        data.make_view(tiny_config, spec)
        data.make_batch(tiny_config, data.load(tiny_config))


def test_a_class_held_out_is_not_trained_on_and_still_tested(tiny_config, monkeypatch):
    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (50, 32, 32, 3), np.uint8), np.arange(50) % 10
    monkeypatch.setattr(cifar10, "load_cifar10", lambda *_, **__: cifar10.Cifar10(*split, *split))
    tiny_config.data.source = "cifar10"
    tiny_config.data.held_out_class = 3
    loaded = data.load(tiny_config)
    assert set(loaded.train_labels) == set(range(10)) - {3} and len(loaded.train) == 45
    assert 3 in loaded.test_labels
    assert data.describe(tiny_config).train_size == 45_000


@pytest.mark.parametrize(("source", "value"), [("cifar10", 10), ("laplace", 3)])
def test_a_class_that_cannot_be_held_out_is_refused(tiny_config, source, value):
    tiny_config.data.source = source
    tiny_config.data.held_out_class = value
    with pytest.raises(ValueError, match="held_out_class is"):
        data.describe(tiny_config)
