"""Φ(σ) and the von Mises-Fisher laws against mpmath at 50 digits, over the whole stated range."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from infonce_jax import losses, theory
from infonce_jax.theory import vmf

DIMS = [2, 3, 4, 5, 8, 16, 33, 128, 1000, 20_000, 100_000]
ALPHAS = [0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0, 10_000.0]
LIMITS = {"float64": 1e-10, "float32": 1e-5}


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(50):
        yield


@functools.cache
def reference(dim, alpha):
    """(Φ(σ), A_d(α)) from the definition. mpmath's Bessel functions hold their digits throughout."""
    order, alpha = mp.mpf(dim) / 2 - 1, mp.mpf(alpha)
    bessel = mp.besseli(order, alpha, maxterms=10**7)
    log_mean = mp.loggamma(order + 1) + order * mp.log(2 / alpha) + mp.log(bessel)
    return log_mean, mp.besseli(order + 1, alpha, maxterms=10**7) / bessel


def grid(dtype):
    dims, alphas = np.meshgrid(DIMS, np.array(ALPHAS, dtype), indexing="ij")
    return jnp.asarray(dims), jnp.asarray(alphas)


def worst(got, want):
    """Largest relative error over the grid; `want` of (dim, alpha as it was rounded)."""
    dims, alphas = grid(got.dtype)
    errors = [
        abs((mp.mpf(float(g)) - (w := want(int(d), float(a)))) / w)
        for g, d, a in zip(got.ravel(), dims.ravel(), alphas.ravel(), strict=True)
    ]
    return float(max(errors))


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(
    ("function", "want"),
    [
        (theory.phi_sigma, lambda d, a: reference(d, a)[0]),
        (vmf.mean_resultant_length, lambda d, a: reference(d, a)[1]),
        (vmf.kl_to_uniform, lambda d, a: a * reference(d, a)[1] - reference(d, a)[0]),
        (theory.wang_isola_sigma, lambda d, t: reference(d, 2 * t)[0] - 2 * mp.mpf(t)),
    ],
    ids=["phi_sigma", "mean_resultant_length", "kl_to_uniform", "wang_isola_sigma"],
)
def test_agrees_with_mpmath(function, want, dtype):
    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(function)(*grid(dtype))
        assert got.dtype == dtype
        assert worst(np.asarray(got), want) < LIMITS[dtype]


@pytest.mark.parametrize("dtype", LIMITS)
def test_log_normalizer_agrees_with_mpmath(dtype):
    # The density integrates to one: exp(-log c) is the area of the sphere times exp(Φ). Its zero
    # crossing allows no relative error; the error is relative to the terms of the sum.
    with jax.enable_x64(dtype == "float64"):
        got = vmf.log_normalizer(*grid(dtype))
    for value, dim, kappa in zip(*map(np.ravel, (got, *grid(dtype))), strict=True):
        half = mp.mpf(int(dim)) / 2
        log_area = mp.log(2) + half * mp.log(mp.pi) - mp.loggamma(half)
        want = -log_area - reference(int(dim), float(kappa))[0]
        scale = abs(mp.loggamma(half)) + half * mp.log(mp.pi) + abs(want) + 1
        assert abs(mp.mpf(float(value)) - want) < LIMITS[dtype] * scale


@pytest.mark.parametrize("dtype", LIMITS)
def test_concentration_inverts_the_mean_resultant_length(dtype):
    with jax.enable_x64(dtype == "float64"):
        dims, lengths = np.meshgrid(DIMS, np.array([1e-4, 0.01, 0.3, 0.7, 0.95], dtype))
        got = np.asarray(vmf.concentration(dims, lengths))
        for kappa, dim, length in zip(got.ravel(), dims.ravel(), lengths.ravel(), strict=True):
            if kappa > 10_000:
                continue  # beyond the range, and mpmath's series takes long there
            back = reference(int(dim), float(kappa))[1]
            # A_d' κ/A_d ≤ 1, so that κ is at least as wrong as A_d; near 1 it is 1-A_d that tells.
            limit = LIMITS[dtype] * (1 - length)
            assert abs(back - mp.mpf(float(length))) < limit * length, (dim, length)


def test_phi_sigma_is_an_integral_over_cosines():
    # Independent of Bessel functions: E exp(α t) under density ∝ (1-t²)^((d-3)/2).
    for dim, alpha in [(3, 2.0), (7, 11.0), (40, 5.0)]:

        def weight(t, dim=dim):
            return (1 - t**2) ** ((mp.mpf(dim) - 3) / 2)

        total = mp.quad(lambda t: weight(t) * mp.exp(alpha * t), [-1, 0, 1])  # noqa: B023
        want = mp.log(total / mp.quad(weight, [-1, 0, 1]))
        with jax.enable_x64(True):
            assert float(theory.phi_sigma(dim, alpha)) == pytest.approx(float(want), rel=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        theory.phi_sigma,
        theory.wang_isola_sigma,
        vmf.mean_resultant_length,
        vmf.kl_to_uniform,
        vmf.log_normalizer,
    ],
)
def test_gradients_by_finite_differences(function):
    with jax.enable_x64(True):
        dim, alpha = jnp.array([[2], [3], [50], [100_000]]), jnp.array([0.05, 2.0, 60.0, 4000.0])
        # Fourth order, with a step wide enough for the rounding of the values.
        h = 2e-3 * alpha
        of = jax.jit(lambda a: function(dim, a))
        shifted = jnp.stack([of(alpha + k * h) for k in (-2, -1, 1, 2)])
        numeric = jnp.tensordot(jnp.array([1.0, -8.0, 8.0, -1.0]), shifted, 1) / (12 * h)
        exact = jax.jit(jax.grad(lambda a: jnp.sum(function(dim, a))))
        exact = exact(jnp.broadcast_to(alpha, (4, 4)))
        rounding = 1e-15 * jnp.max(jnp.abs(shifted), axis=0) / h
        assert jnp.all(jnp.abs(exact - numeric) <= 2e-6 * jnp.abs(numeric) + rounding)


def test_second_derivatives_and_the_gradient_of_the_inverse():
    with jax.enable_x64(True):
        dim, alpha = 12, 7.0
        slope = jax.grad(jax.grad(lambda a: theory.phi_sigma(dim, a)))(alpha)
        a = float(reference(dim, alpha)[1])
        np.testing.assert_allclose(slope, 1 - a**2 - (dim - 1) * a / alpha, rtol=1e-10)
        np.testing.assert_allclose(
            jax.grad(lambda r: vmf.concentration(dim, r))(a), 1 / slope, rtol=1e-9
        )


def test_zero_and_vmap():
    assert float(theory.phi_sigma(16, 0.0)) == 0
    np.testing.assert_allclose(jax.grad(lambda a: theory.phi_sigma(16, a))(0.0), 0)
    np.testing.assert_allclose(
        jax.vmap(lambda a: theory.phi_sigma(16, a))(jnp.array([0.5, 5.0])),
        theory.phi_sigma(16, jnp.array([0.5, 5.0])),
        rtol=1e-6,
    )


def test_is_what_a_large_uniform_batch_measures():
    z1, z2 = jax.random.normal(jax.random.key(0), (2, 4096, 16))
    measured = losses.infonce_terms(z1, z2, temperature=0.5).uniformity
    np.testing.assert_allclose(measured, theory.phi_sigma(16, 2.0), atol=2e-3)
    measured = losses.uniformity(z1, t=2.0)
    np.testing.assert_allclose(measured, theory.wang_isola_sigma(16), atol=5e-3)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.0), (3, 4.0), (16, 30.0), (128, 10.0), (8, 1e4)])
def test_samples_have_the_mean_and_the_law(dim, kappa):
    n = 20_000
    mean = jnp.arange(1.0, dim + 1)
    u = np.asarray(vmf.sample(jax.random.key(1), mean, kappa, n), np.float64)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, atol=1e-5)
    direction = np.asarray(mean / jnp.linalg.norm(mean), np.float64)
    cosine = u @ direction
    # The moments of the cosine: mean A, second moment 1 - (d-1) A/κ.
    a = float(reference(dim, kappa)[1]) if kappa else 0.0
    square = 1 - (dim - 1) * a / kappa if kappa else 1 / dim
    error = cosine.std() / np.sqrt(n)
    assert abs(cosine.mean() - a) < 4.5 * error + 1e-6
    assert abs((cosine**2).mean() - square) < 4.5 * (cosine**2).std() / np.sqrt(n) + 2e-6
    # Nothing sticks out across the mean.
    across = u - cosine[:, None] * direction
    assert np.abs(across.mean(axis=0)).max() < 6 * across.std() / np.sqrt(n)


def test_bad_input_is_named(unchecked_types):
    with pytest.raises(ValueError, match="from dimension 2"):
        theory.phi_sigma(1, 1.0)
    with pytest.raises(TypeError, match="float32"):
        theory.phi_sigma(jnp.float32(8), 1.0)
    with pytest.raises(ValueError, match="alpha is -1"):
        theory.phi_sigma(8, -1.0)
    with pytest.raises(ValueError, match="not negative"):
        vmf.kl_to_uniform(8, jnp.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        vmf.concentration(8, 1.0)
    with pytest.raises(ValueError, match=r"jax\.vmap"):
        vmf.sample(jax.random.key(0), jnp.ones((2, 3)), 1.0, 5)
    with pytest.raises(ValueError, match="no direction"):
        vmf.sample(jax.random.key(0), jnp.zeros(3), 1.0, 5)
