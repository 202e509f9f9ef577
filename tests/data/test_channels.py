"""Channels that mix, add ones, redraw a component or are followed by further steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infonce_jax import data, theory
from infonce_jax.config import HYPERPARAMETERS, members, validate
from infonce_jax.data.channels import bit_add, mixing, row_scale
from infonce_jax.data.synthetic import make_law
from infonce_jax.training.members import member_mildness

N = 20_000
KEY = jax.random.key(1)


def hyper_of(config):
    fields = [name for name in HYPERPARAMETERS if name.startswith("channel.")]
    return {name: jnp.float32(config.channel[name.split(".")[1]]) for name in fields}


def view_of(config, rows, labels=None, key=KEY):
    view = data.make_view(config, data.describe(config))
    return np.asarray(view(key, rows, labels, hyper_of(config)))


def draw(config, n=N):
    return make_law(config.data)(jax.random.key(5), n)


def test_mixing_keeps_its_share_of_the_row_and_the_variance(tiny_config):
    rows, _ = draw(tiny_config)
    mixed = np.asarray(mixing(KEY, rows, 0.6))
    noise = (mixed - 0.6 * rows) / 0.8
    assert stats.kstest(noise[:, 0], stats.norm().cdf).pvalue > 1e-3
    assert abs(np.corrcoef(noise[:, 0], rows[:, 0])[0, 1]) < 5 / np.sqrt(N)
    np.testing.assert_allclose(mixed.var(axis=0), 1, atol=0.08)
    np.testing.assert_array_equal(mixing(KEY, rows, 1.0), rows)


def test_ones_are_added_and_none_is_lost():
    x = jax.random.bernoulli(jax.random.key(0), 0.3, (N, 4)).astype(jnp.float32)
    more = np.asarray(bit_add(KEY, x, 0.2))
    assert (more[np.asarray(x) == 1] == 1).all()
    assert more[np.asarray(x) == 0].mean() == pytest.approx(0.2, abs=0.01)


def test_a_row_is_scaled_as_a_whole():
    factor = np.asarray(row_scale(KEY, jnp.ones((N, 3)), 0.1))
    assert (factor == factor[:, :1]).all()
    assert stats.kstest(np.log(factor[:, 0]), stats.norm(scale=0.1).cdf).pvalue > 1e-3
    assert row_scale(KEY, jnp.ones((5, 4, 4, 3)), 0.1).shape == (5, 4, 4, 3)


def test_noise_erasure_and_row_factor_follow_a_channel(tiny_config):
    tiny_config.channel.update(
        {"name": "mixing", "strength": 0.6, "noise_std": 0.2, "erasure_prob": 0.1}
    )
    rows, _ = draw(tiny_config)
    view = view_of(tiny_config, rows)
    kept = view != 0
    assert 1 - kept.mean() == pytest.approx(0.1, abs=0.005)
    noise = (view - 0.6 * np.asarray(rows))[kept]
    sd = np.sqrt(1 - 0.6**2 + 0.2**2)
    assert stats.kstest(noise[:N], stats.norm(scale=sd).cdf).pvalue > 1e-3
    tiny_config.channel.row_scale_std = 0.1
    tiny_config.channel.update({"name": "identity", "noise_std": 0.0})
    view = view_of(tiny_config, rows)
    ratio = np.where(view != 0, view / np.asarray(rows), np.nan)
    factor = np.nanmean(ratio, axis=1)
    assert np.nanmax(np.abs(ratio - factor[:, None])) < 1e-5
    assert stats.kstest(np.log(factor), stats.norm(scale=0.1).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("source", "name"), [("laplace", "mixing"), ("binary", "bit_add"), ("laplace", "identity")]
)
def test_strengths_can_be_traced_and_vmapped(tiny_config, source, name):
    tiny_config.data.source = source
    tiny_config.channel.name = name
    # In the program because one member has it.
    tiny_config.channel.row_scale_std = (0.0, 0.3)
    rows, _ = draw(tiny_config, 8)
    view = data.make_view(tiny_config, data.describe(tiny_config))
    strengths, scales = jnp.array([0.2, 0.9]), jnp.array([0.0, 0.3])

    def one(strength, scale):
        hyper = {"channel.strength": strength, "channel.row_scale_std": scale}
        return view(KEY, rows, None, hyper)

    together = jax.jit(jax.vmap(one))(strengths, scales)
    for got, strength, scale in zip(together, strengths, scales, strict=True):
        np.testing.assert_allclose(got, one(strength, scale), rtol=1e-5, atol=1e-6)


def test_a_step_of_strength_zero_changes_no_bit(tiny_config):
    rows, _ = draw(tiny_config, 8)
    plain = view_of(tiny_config, rows)
    assert np.abs(plain - np.asarray(rows)).max() > 0.1
    tiny_config.channel.row_scale_std = 0.5
    assert not np.array_equal(view_of(tiny_config, rows), plain)
    tiny_config.channel.row_scale_std = 0.0
    np.testing.assert_array_equal(view_of(tiny_config, rows), plain)


def test_views_of_one_component_share_its_mean_and_nothing_else(tiny_config):
    tiny_config.data.source, tiny_config.data.mixture_components = "mixture", 3
    tiny_config.channel.name = "same_component"
    rows, labels = draw(tiny_config)
    means = data.law_parameters(tiny_config)["means"]
    noise = view_of(tiny_config, rows, labels) - means[np.asarray(labels)]
    assert stats.kstest(noise[:, 0], stats.norm().cdf).pvalue > 1e-3
    of_rows = np.asarray(rows) - means[np.asarray(labels)]
    assert abs(np.corrcoef(noise[:, 0], of_rows[:, 0])[0, 1]) < 5 / np.sqrt(N)
    with pytest.raises(ValueError, match=r"labels is None.*pass the labels"):
        view_of(tiny_config, rows)


def mildness(config):
    values = member_mildness(config, members(config))
    return None if values is None else values[0]


def correlation_of_two_views(config, feature):
    rows, labels = draw(config)
    one, two = (view_of(config, rows, labels, jax.random.key(s)) for s in (1, 2))
    return np.corrcoef(feature(one).ravel(), feature(two).ravel())[0, 1]


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("gaussian", {"name": "mixing", "strength": 0.6}),
        (
            "gaussian",
            {"name": "mixing", "strength": 0.8, "noise_std": 0.5, "erasure_prob": 0.3},
        ),
        ("gaussian", {"name": "gaussian_noise", "strength": 0.5, "noise_std": 0.5}),
        ("gaussian", {"name": "identity", "erasure_prob": 0.3}),
        ("binary", {"name": "bit_add", "strength": 0.1}),
    ],
)
def test_the_mildness_is_that_of_the_best_feature_in_simulation(tiny_config, source, settings):
    # For these pairs the coordinates are the best features: for a feature g the correlation of two
    # views is Var(E[g(X) | X0]) / Var(g(X)).
    tiny_config.data.source = source
    tiny_config.channel.update(settings)
    got = correlation_of_two_views(tiny_config, lambda view: view)
    assert got == pytest.approx(mildness(tiny_config), abs=0.01)


def test_the_mildness_of_mixed_laplace_rows_bounds_what_features_reach(tiny_config):
    tiny_config.channel.update({"name": "mixing", "strength": 0.8, "erasure_prob": 0.2})
    bound = mildness(tiny_config)
    assert bound == pytest.approx(0.8 * theory.mildness.laplace_noise(0.75))
    features = (lambda v: v, np.abs, np.square, lambda v: v**3, lambda v: v == 0)
    for feature in features:
        assert correlation_of_two_views(tiny_config, feature) < bound + 0.02
    # A factor for the row can only lower it, so the bound stays.
    tiny_config.channel.row_scale_std = 0.5
    assert mildness(tiny_config) == bound
    tiny_config.data.laplace_scale = 1.0
    assert mildness(tiny_config) == pytest.approx(0.8 * theory.mildness.laplace_mixing(0.8))
    tiny_config.data.laplace_scale = 0.5**0.5
    assert correlation_of_two_views(tiny_config, features[0]) < bound


def test_the_mildness_of_shared_components(tiny_config):
    tiny_config.data.source, tiny_config.data.mixture_components = "mixture", 2
    tiny_config.channel.name = "same_component"
    assert mildness(tiny_config) == 1.0
    tiny_config.data.mixture_separation = 0.1
    one, two = data.law_parameters(tiny_config)["means"]
    got = mildness(tiny_config)

    # Of two components the posterior of one is the best feature.
    def posterior(view):
        return 1 / (1 + np.exp(-(view - (one + two) / 2) @ (one - two)))

    assert correlation_of_two_views(tiny_config, posterior) == pytest.approx(got, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channel.name": "bit_add"}, "'bit_add', which needs.*use source binary"),
        ({"channel.name": "same_component"}, "'same_component', which needs.*use source mixture"),
        ({"channel.name": "mixing", "channel.strength": 1.5}, r"channel\.strength is 1\.5.*most 1"),
        ({"channel.erasure_prob": 1.5}, r"channel\.erasure_prob is 1\.5.*probability"),
        ({"channel.noise_std": -1.0}, r"channel\.noise_std is -1\.0.*must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_named(tiny_config, settings, message):
    tiny_config.update_from_flattened_dict(settings)
    with pytest.raises(ValueError, match=message):
        validate(tiny_config)
        data.make_view(tiny_config, data.describe(tiny_config))
