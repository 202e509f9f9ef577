"""Random arrays: equal to those of `jax.random`, under `jax.vmap` too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtri

from infonce_jax import draws

KEY = jax.random.key(3)


@pytest.mark.parametrize("shape", [(), (1,), (7, 9), (3, 4, 5), (0, 2)])
def test_bits_are_those_of_jax(shape):
    np.testing.assert_array_equal(draws.bits(KEY, shape), jax.random.bits(KEY, shape))


def test_another_generator_is_used_as_it_is():
    key = jax.random.key(0, impl="rbg")
    np.testing.assert_array_equal(draws.bits(key, (5, 4)), jax.random.bits(key, (5, 4)))


def test_uniform_numbers_are_those_of_jax():
    for limits in ((0.0, 1.0), (-2.0, 5.0)):
        want = jax.random.uniform(KEY, (50, 40), minval=limits[0], maxval=limits[1])
        np.testing.assert_allclose(draws.uniform(KEY, (50, 40), *limits), want, rtol=1e-6)
    p = jnp.linspace(0, 1, 40)
    want = jax.random.bernoulli(KEY, p, (50, 40))
    np.testing.assert_array_equal(draws.bernoulli(KEY, p, (50, 40)), want)


@pytest.mark.parametrize("name", ["normal", "laplace"])
def test_numbers_are_those_of_jax_up_to_rounding_in_the_tails_too(name):
    shape = (1000, 1000)
    want = getattr(jax.random, name)(KEY, shape)
    assert np.abs(want).max() > 4.5
    np.testing.assert_allclose(getattr(draws, name)(KEY, shape), want, rtol=1e-5, atol=3e-7)


@pytest.mark.parametrize("name", ["normal", "laplace"])
def test_the_outermost_numbers_are_finite_and_right(name, monkeypatch):
    # The ends of the uniform's range, which a million draws do not reach.
    ends = np.array([np.nextafter(np.float32(-1), 0), -1 + 2.0**-23, 1 - 2.0**-23], np.float32)
    monkeypatch.setattr(draws, "uniform", lambda *_: jnp.asarray(ends))
    # Not what was compiled with the true numbers.
    got = np.asarray(getattr(draws, name).__wrapped__(KEY, (3,)), np.float64)
    u = ends.astype(np.float64)
    want = ndtri((1 + u) / 2) if name == "normal" else np.sign(u) * np.log1p(-np.abs(u))
    np.testing.assert_allclose(got, want, rtol=2e-5)


def test_numbers_do_not_depend_on_what_is_drawn_beside_them():
    keys = jax.random.split(KEY, 4)
    together = jax.vmap(lambda key: draws.normal(key, (30, 5)))(keys)
    for one, key in zip(together, keys, strict=True):
        np.testing.assert_allclose(one, draws.normal(key, (30, 5)), rtol=1e-6)
