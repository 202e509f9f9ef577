"""InfoNCE against its definition in NumPy float64, and its symmetries."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import infonce_jax
from infonce_jax import infonce, infonce_terms, safe_normalize


def pair(n=12, dim=7, seed=0, spread=0.5):
    key1, key2 = jax.random.split(jax.random.key(seed))
    z1 = jax.random.normal(key1, (n, dim))
    return z1, z1 + spread * jax.random.normal(key2, (n, dim))


def reference(z1, z2, temperature, symmetric, normalize):
    """Per-example cross-entropies, by loops over the definition."""
    z1, z2 = np.asarray(z1, np.float64), np.asarray(z2, np.float64)
    if normalize:
        z1 = z1 / np.linalg.norm(z1, axis=1, keepdims=True)
        z2 = z2 / np.linalg.norm(z2, axis=1, keepdims=True)

    def one_way(a, b):
        losses = []
        for i in range(len(a)):
            scores = np.exp([a[i] @ b[j] / temperature for j in range(len(b))])
            losses.append(-np.log(scores[i] / scores.sum()))
        return np.array(losses)

    forward = one_way(z1, z2)
    return (forward + one_way(z2, z1)) / 2 if symmetric else forward


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_agrees_with_its_definition(symmetric, normalize, temperature):
    z1, z2 = pair()
    want = reference(z1, z2, temperature, symmetric, normalize)
    options = {"temperature": temperature, "symmetric": symmetric, "normalize": normalize}
    got = infonce(z1, z2, **options, reduction="none")
    # Scores reach 60 here, and float32 holds them to 4e-6.
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(infonce(z1, z2, **options), want.mean(), rtol=1e-5, atol=1e-6)
    total = infonce(z1, z2, **options, reduction="sum")
    np.testing.assert_allclose(total, want.sum(), rtol=1e-5, atol=1e-5)


def test_terms_add_up_to_the_loss_and_are_what_they_are_called():
    z1, z2 = pair(n=40)
    terms = infonce_terms(z1, z2, temperature=0.2, symmetric=False)
    u, v = np.asarray(safe_normalize(z1)), np.asarray(safe_normalize(z2))
    np.testing.assert_allclose(terms.alignment, np.mean(np.sum(u * v, axis=1)), rtol=1e-5)
    potential = np.mean(np.log(np.mean(np.exp(u @ v.T / 0.2), axis=1)))
    np.testing.assert_allclose(terms.uniformity, potential, rtol=1e-5)
    total = -terms.alignment / 0.2 + terms.uniformity + np.log(40)
    np.testing.assert_allclose(terms.loss, total, rtol=1e-5)
    np.testing.assert_allclose(
        terms.loss, infonce(z1, z2, temperature=0.2, symmetric=False), rtol=1e-6
    )


def test_gradients_by_finite_differences():
    with jax.enable_x64(True):
        z1, z2 = pair(n=5, dim=3)
        z1, z2 = z1.astype(jnp.float64), z2.astype(jnp.float64)
        for symmetric in (True, False):
            for normalize in (True, False):
                loss = partial(infonce, symmetric=symmetric, normalize=normalize)
                check_grads(
                    jax.jit(lambda a, b, t, loss=loss: loss(a, b, temperature=t)),
                    (z1, z2, jnp.float64(0.3)),
                    # Second derivatives have a test of their own, in test_structure.py.
                    order=1,
                    modes=("rev",),
                )


def test_equal_rows_give_log_n():
    z = jnp.ones((33, 5))
    np.testing.assert_allclose(infonce(z, z, temperature=0.05), np.log(33), rtol=1e-6)


def test_permuting_the_batch_changes_nothing():
    z1, z2 = pair()
    order = np.random.default_rng(0).permutation(len(z1))
    got = infonce(z1[order], z2[order], temperature=0.2, reduction="none")
    want = infonce(z1, z2, temperature=0.2, reduction="none")[order]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_rotating_both_views_changes_nothing():
    z1, z2 = pair()
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))[0].astype(np.float32)
    got = infonce(z1 @ rotation, z2 @ rotation, temperature=0.2)
    np.testing.assert_allclose(got, infonce(z1, z2, temperature=0.2), rtol=1e-5)


def test_symmetric_is_the_mean_of_the_two_directions():
    z1, z2 = pair()
    forward = infonce(z1, z2, temperature=0.2, symmetric=False)
    backward = infonce(z2, z1, temperature=0.2, symmetric=False)
    got = infonce(z1, z2, temperature=0.2)
    np.testing.assert_allclose(got, (forward + backward) / 2, rtol=1e-5)
    np.testing.assert_allclose(got, infonce(z2, z1, temperature=0.2), rtol=1e-6)


@pytest.mark.parametrize("temperature", [1e-3, 0.005, 1e3])
def test_extreme_temperatures_stay_finite(temperature):
    z1, z2 = pair()
    value, grads = jax.value_and_grad(infonce, argnums=(0, 1))(z1, z2, temperature=temperature)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1e18])
def test_zero_tiny_and_huge_rows_keep_value_and_gradient_finite(scale):
    z1, z2 = pair()
    z1 = z1.at[3].multiply(scale)
    value, grad = jax.value_and_grad(infonce)(z1, z2, temperature=0.1)
    assert np.isfinite(value) and np.isfinite(grad).all()
    if scale:
        unit = safe_normalize(z1)[3]
        np.testing.assert_allclose(np.linalg.norm(unit), 1, rtol=1e-6)
    else:
        assert not np.asarray(grad[3]).any()


def test_one_pair_has_no_negatives_and_no_loss():
    z1, z2 = pair(n=1)
    assert float(infonce(z1, z2, temperature=0.1)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_accumulated_in_float32(dtype):
    z1, z2 = pair(n=256, dim=32)
    z1, z2 = z1.astype(dtype), z2.astype(dtype)
    got = infonce(z1, z2, temperature=0.1)
    assert got.dtype == jnp.float32
    want = infonce(z1.astype(jnp.float32), z2.astype(jnp.float32), temperature=0.1)
    np.testing.assert_allclose(got, want, rtol=1e-2)


def test_vmap_equals_loop():
    z1, z2 = pair(n=30)
    z1, z2 = z1.reshape(3, 10, 7), z2.reshape(3, 10, 7)
    temperatures = jnp.array([0.1, 0.5, 1.0])
    got = jax.vmap(lambda a, b, t: infonce(a, b, temperature=t))(z1, z2, temperatures)
    want = [infonce(a, b, temperature=t) for a, b, t in zip(z1, z2, temperatures, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_bad_input_is_named():
    z1, z2 = pair()
    with pytest.raises(ValueError, match=r"\(12, 7\) and z2 \(11, 7\)"):
        infonce(z1, z2[:-1], temperature=0.1)
    with pytest.raises(ValueError, match="temperature is -1"):
        infonce(z1, z2, temperature=-1)
    with pytest.raises(ValueError, match="temperature is nan"):
        infonce(z1, z2, temperature=float("nan"))
    with pytest.raises(ValueError, match="'mean', 'sum' or 'none'"):
        infonce(z1, z2, temperature=0.1, reduction="max")
    with pytest.raises(ValueError, match="empty"):
        infonce(z1[:0], z2[:0], temperature=0.1)
    with pytest.raises(TypeError, match="int32"):
        infonce(z1.astype(int), z2.astype(int), temperature=0.1)


def test_public_names_exist():
    for name in infonce_jax.__all__:
        assert getattr(infonce_jax, name) is not None
