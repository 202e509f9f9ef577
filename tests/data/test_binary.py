"""Binary rows: laws of the number of ones, and clusters."""

import jax
import numpy as np
import pytest
from scipy import stats

from infonce_jax import data
from infonce_jax.data.synthetic import BINARY_COUNTS, make_law

N = 20_000


@pytest.fixture
def binary_config(tiny_config):
    tiny_config.data.source = "binary"
    tiny_config.data.dim, tiny_config.data.binary_active = 64, 5.0
    return tiny_config


def draw(config, n=N, seed=5):
    rows, labels = make_law(config.data)(jax.random.key(seed), n)
    return np.asarray(rows), None if labels is None else np.asarray(labels)


@pytest.mark.parametrize("counts", BINARY_COUNTS)
def test_every_law_has_its_mean_and_treats_the_bits_alike(binary_config, counts):
    binary_config.data.binary_counts = counts
    binary_config.data.binary_counts_log_std = 0.5
    rows, labels = draw(binary_config)
    assert labels is None and set(np.unique(rows)) == {0.0, 1.0}
    number = rows.sum(axis=1)
    assert number.mean() == pytest.approx(5, abs=5 * number.std() / np.sqrt(N) + 1e-6)
    # Each bit is one with probability active / dim; five standard errors.
    np.testing.assert_allclose(rows.mean(axis=0), 5 / 64, atol=5 * np.sqrt(5 / 64 / N))


@pytest.mark.parametrize(
    ("counts", "law"),
    [
        ("uniform", stats.uniform(scale=10)),
        ("exponential", stats.expon(scale=5)),
        ("lognormal", stats.lognorm(0.5, scale=5 * np.exp(-0.125))),
    ],
)
def test_the_number_of_ones_follows_its_law(binary_config, counts, law):
    binary_config.data.binary_counts = counts
    binary_config.data.binary_counts_log_std = 0.5
    number = draw(binary_config)[0].sum(axis=1)
    # Rounded at random: P(K >= k) is the mean of P(V >= v) over v in [k-1, k].
    for k in (1, 3, 6, 9):
        want = np.mean(law.sf(k - 1 + (np.arange(1000) + 0.5) / 1000))
        assert np.mean(number >= k) == pytest.approx(want, abs=5 * 0.5 / np.sqrt(N))


def test_fixed_counts_are_exact(binary_config):
    binary_config.data.binary_counts = "fixed"
    assert (draw(binary_config)[0].sum(axis=1) == 5).all()
    binary_config.data.binary_active = 5.25
    number = draw(binary_config)[0].sum(axis=1)
    assert set(number) == {5.0, 6.0} and np.mean(number == 6) == pytest.approx(0.25, abs=0.02)


def test_unequal_frequencies_keep_the_mean_and_fall_by_the_power(binary_config):
    binary_config.data.binary_skew = 1.0
    weights = 1 / np.arange(1, 65)
    frequencies = draw(binary_config)[0].mean(axis=0)
    # The first bits would exceed 1, so they are certain; the others share the rest.
    certain = int((frequencies == 1).sum())
    want = (5 - certain) * weights[certain:] / weights[certain:].sum()
    assert certain == 1 and want.max() < 1
    np.testing.assert_allclose(frequencies[certain:], want, atol=5 * np.sqrt(0.25 / N))
    assert data.law_parameters(binary_config) == {}
    binary_config.data.binary_counts = "fixed"
    binary_config.data.binary_active = 1.0
    rows = draw(binary_config)[0]
    assert (rows.sum(axis=1) == 1).all()
    np.testing.assert_allclose(
        rows.mean(axis=0), weights / weights.sum(), atol=5 * np.sqrt(0.25 / N)
    )


def test_rows_flip_the_bits_of_prototypes_that_do_not_change(binary_config):
    binary_config.data.binary_counts = "fixed"
    binary_config.data.binary_prototypes, binary_config.data.binary_flips = 4, 0.05
    assert data.describe(binary_config).num_classes == 4
    majority = []
    for seed in range(2):
        rows, labels = draw(binary_config, 4000, seed)
        centres = np.stack([rows[labels == k].mean(axis=0) > 0.5 for k in range(4)])
        assert (centres.sum(axis=1) == 5).all()
        assert np.mean(rows != centres[labels]) == pytest.approx(0.05, abs=0.005)
        majority.append(centres)
    np.testing.assert_array_equal(*majority)


def test_only_independent_bits_have_a_probability(binary_config):
    assert data.law_parameters(binary_config) == {"probability": 5 / 64}
    binary_config.data.binary_prototypes = 3
    assert data.law_parameters(binary_config) == {}
    binary_config.data.binary_prototypes = 0
    binary_config.data.binary_counts = "uniform"
    assert data.law_parameters(binary_config) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"binary_counts": "poisson"}, r"binary_counts is 'poisson'.*bernoulli, fixed, uniform"),
        (
            {"binary_counts": "uniform", "binary_active": 40.0},
            r"binary_active is 40\.0.*at most 32 with",
        ),
        ({"binary_active": 65.0}, r"binary_active is 65\.0.*at most 64"),
        ({"binary_counts_log_std": -1.0}, r"binary_counts_log_std is -1\.0.*at least 0"),
        ({"binary_skew": -0.5}, r"binary_skew is -0\.5.*at least 0"),
        ({"binary_prototypes": -1}, r"binary_prototypes is -1.*or 0"),
        ({"binary_prototypes": 3, "binary_flips": 2.0}, r"binary_flips is 2\.0.*probability"),
        ({"binary_flips": 0.1}, r"binary_flips is 0\.1.*give a number of prototypes"),
    ],
)
def test_settings_that_cannot_be_are_named(binary_config, settings, message):
    binary_config.data.update(settings)
    with pytest.raises(ValueError, match=message):
        data.describe(binary_config)
