"""The alignment bound, the regulariser's weight, and the inequality between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infonce_jax import theory
from infonce_jax.theory import vmf

DIMS = np.array([2, 3, 5, 8, 32, 128, 1024, 100_000])


def test_kl_to_uniform_is_at_least_half_d_times_the_square_mean():
    kappa = np.geomspace(1e-3, 1e5, 400)
    with jax.enable_x64(True):
        dims, kappas = np.meshgrid(DIMS, kappa, indexing="ij")
        kl = np.asarray(vmf.kl_to_uniform(dims, kappas))
        charge = dims / 2 * np.asarray(vmf.mean_resultant_length(dims, kappas)) ** 2
    # For small κ the two agree to the last digit.
    assert (kl >= charge * (1 - 1e-12)).all()
    # Sharp for small means.
    np.testing.assert_allclose(kl[:, 0], charge[:, 0], rtol=1e-6)


def test_von_mises_fisher_laws_are_the_extremal_ones():
    # Laws on a grid of cosines, with random densities: none with the same mean is nearer to uniform.
    rng = np.random.default_rng(0)
    dim, t = 8, np.linspace(-1, 1, 4001)[1:-1]
    sigma = np.exp(theory.sphere.log_density(dim, t))
    sigma /= sigma.sum()
    tilt = rng.normal(0, 3, (50, 6)) @ np.array([t**k for k in range(1, 7)])
    density = sigma * np.exp(tilt)
    density /= density.sum(axis=1, keepdims=True)
    mean = np.abs(density @ t)
    kl = np.sum(density * np.log(density / sigma), axis=1)
    nearest = np.asarray(vmf.kl_to_uniform(dim, vmf.concentration(dim, mean)))
    assert (kl >= nearest * (1 - 1e-4)).all()
    assert (nearest >= dim / 2 * mean**2 * (1 - 1e-4)).all()


def test_uniformity_is_the_minimum_along_von_mises_fisher_laws_at_beta_zero():
    # J(κ) - J(0) with the alignment bound attained and Φ(μ) ≥ Φ(σ) given away.
    with jax.enable_x64(True):
        dims, kappas = np.meshgrid(DIMS, np.geomspace(1e-3, 1e4, 200), indexing="ij")
        length = np.asarray(vmf.mean_resultant_length(dims, kappas))
        kl = np.asarray(vmf.kl_to_uniform(dims, kappas))
        for eta2 in (0.0, 0.4, 0.9):
            beta = np.array([theory.vanishing_beta(int(d), 0.1, eta2) for d in DIMS])[:, None]
            gain = (1 - eta2) / 0.1 * length**2
            charge = beta * kl
            assert (charge >= gain * (1 - 1e-12)).all()
            # And any less would not do, for this argument.
            assert (0.99 * charge < gain).any(axis=1).all()


def test_local_beta_is_where_a_small_drift_stops_paying():
    # Φ of a von Mises-Fisher law by quadrature over its cosine, against the expansion in its docstring.
    dim, alpha, kappa = 8, 10.0, 0.05
    rng = np.random.default_rng(0)
    u = rng.standard_normal((4000, dim))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    # Over v the inner expectation is exact: exp(αu·v + κv·e) is another von Mises-Fisher law.
    with jax.enable_x64(True):
        tilted = np.sqrt(alpha**2 + kappa**2 + 2 * alpha * kappa * u[:, 0])
        inner = np.asarray(theory.phi_sigma(dim, tilted))
        phi_kappa = float(theory.phi_sigma(dim, kappa))
        # Over u by importance weights and antithetic pairs.
        other = np.sqrt(alpha**2 + kappa**2 - 2 * alpha * kappa * u[:, 0])
        weight = np.exp(kappa * u[:, 0] - phi_kappa), np.exp(-kappa * u[:, 0] - phi_kappa)
        values = inner * weight[0] + np.asarray(theory.phi_sigma(dim, other)) * weight[1]
        base = float(theory.phi_sigma(dim, alpha))
        rise = np.mean(values / np.mean(weight[0] + weight[1])) - phi_kappa - base
        square = float(vmf.mean_resultant_length(dim, kappa)) ** 2
        ratio = float(vmf.mean_resultant_length(dim, alpha))
    assert rise / square == pytest.approx(dim * ratio * (1 - ratio / 2), rel=0.1)
    eta2 = 0.3
    want = 2 / dim * (alpha * (1 - eta2) - dim * ratio * (1 - ratio / 2))
    assert float(theory.local_beta(dim, 1 / alpha, eta2)) == pytest.approx(want, rel=1e-5)
    assert theory.local_beta(dim, 1 / alpha, 0.95) == 0
    assert float(theory.local_beta(dim, 1 / alpha, eta2)) < theory.vanishing_beta(dim, 0.1, eta2)


def test_alignment_bound_holds_and_is_attained_by_linear_features_of_a_gaussian():
    strength, shift, dim, n = 0.8, 0.5, 256, 4000
    eta2 = theory.mildness.gaussian_noise(strength)
    rng = np.random.default_rng(0)
    x0 = rng.standard_normal((n, dim))
    u, v = (x0 + strength * rng.standard_normal((n, dim)) + shift for _ in range(2))
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
    alignment = np.einsum("nd,nd->n", u, v)
    bound = float(theory.alignment_bound(eta2, np.linalg.norm((u + v).mean(axis=0) / 2)))
    # In 256 dimensions the norm hardly varies, and u is all but linear.
    assert bound - 0.01 < alignment.mean() < bound + 4 * alignment.std() / np.sqrt(n)


def test_bound_of_a_batch_is_unbiased():
    # Directions with a mean, in small batches.
    strength, shift, dim = 1.0, 0.4, 16
    x0, e1, e2 = jax.random.normal(jax.random.key(0), (3, 4000, 8, dim))
    u, v = ((x0 + strength * e + shift) for e in (e1, e2))
    u, v = (z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (u, v))
    resultant = jnp.linalg.norm((u + v).mean(axis=1) / 2, axis=-1)
    alignment = jnp.sum(u * v, axis=-1).mean(axis=1)
    bounds = theory.batch_alignment_bound(0.5, resultant, alignment, 8)
    mean = float(jnp.linalg.norm((u + v).mean(axis=(0, 1)) / 2))
    want = float(theory.alignment_bound(0.5, mean))
    assert float(bounds.mean()) == pytest.approx(want, abs=5 * float(bounds.std()) / 4000**0.5)


def test_schedule_follows_the_temperature():
    schedule = theory.vanishing_beta_schedule(64, lambda step: 0.1 + 0.01 * step, 0.5, multiple=2)
    for step in (0, 10):
        want = 2 * theory.vanishing_beta(64, 0.1 + 0.01 * step, 0.5)
        assert schedule(step) == pytest.approx(want)
    assert theory.vanishing_beta_schedule(64, 0.5)(3) == theory.vanishing_beta(64, 0.5)


def test_bad_input_is_named(unchecked_types):
    with pytest.raises(ValueError, match=r"eta2 is 1\.5"):
        theory.alignment_bound(1.5, 0.0)
    with pytest.raises(ValueError, match="mean_resultant"):
        theory.alignment_bound(0.5, -0.1)
    with pytest.raises(ValueError, match="2 pairs"):
        theory.batch_alignment_bound(0.5, jnp.float32(0.1), jnp.float32(0.5), 1)
    with pytest.raises(ValueError, match="dimension 2"):
        theory.vanishing_beta_schedule(1, 0.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda eta2: theory.alignment_bound(eta2, 0.1),
        lambda eta2: theory.batch_alignment_bound(eta2, jnp.float32(0.1), jnp.float32(0.5), 8),
        lambda eta2: theory.vanishing_beta(128, 0.07, eta2),
        lambda eta2: theory.vanishing_beta_schedule(128, lambda step: 0.07, eta2)(0),
        lambda eta2: theory.local_beta(128, 0.07, eta2),
    ],
)
def test_mildness_outside_its_range_is_refused_where_it_is_known(unchecked_types, call):
    for eta2 in (2, -0.1, float("nan"), jnp.float32(1.5)):
        with pytest.raises(ValueError, match=r"eta2 is .*must lie in \[0, 1\]"):
            call(eta2)
    for eta2 in (0, 1, 0.5):
        assert jax.jit(call)(eta2) == pytest.approx(float(call(eta2)), rel=1e-5)


def test_weights_refuse_a_temperature_that_is_not_positive():
    for function in (theory.vanishing_beta, theory.vanishing_beta_schedule, theory.local_beta):
        with pytest.raises(ValueError, match=r"temperature is -0\.07"):
            function(128, -0.07)
