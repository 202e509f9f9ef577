"""Optimizers by name, with traced learning rates and weight decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from infonce_jax.training.optimizers import OPTIMIZERS, SCHEDULES, make_optimizer, unit_schedule

PARAMS = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
GRADS = {"kernel": jnp.full((3, 2), 0.1), "bias": jnp.full(2, 0.1)}


def update(name, learning_rate, weight_decay=0.0, **options):
    optimizer = make_optimizer(
        name,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=unit_schedule("constant", 10),
        **options,
    )
    return optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_traced_hyperparameters(name):
    rates, decays = jnp.array([1e-3, 1e-2]), jnp.array([0.0, 0.1])
    got = jax.vmap(lambda r, d: update(name, r, d)["kernel"])(rates, decays)
    want = [update(name, float(r), float(d))["kernel"] for r, d in zip(rates, decays, strict=True)]
    # Some subtract parameters of size one, whose rounding is 6e-8.
    np.testing.assert_allclose(got, jnp.stack(want), rtol=1e-5, atol=1e-7)


def test_weight_decay_leaves_biases_alone_and_is_decoupled_in_adamw():
    plain, decayed = update("adamw", 0.1), update("adamw", 0.1, 0.5)
    np.testing.assert_allclose(decayed["bias"], plain["bias"])
    np.testing.assert_allclose(decayed["kernel"] - plain["kernel"], -0.1 * 0.5, rtol=1e-5)


def test_weight_decay_is_added_to_the_gradient_in_sgd():
    np.testing.assert_allclose(update("sgd", 0.1, 0.5)["kernel"], -0.1 * (0.1 + 0.5), rtol=1e-6)


def test_lars_scales_matrices_by_their_trust_ratio_and_not_biases():
    got = update("lars", 1.0, kwargs={"momentum": 0.0})
    ratio = 1e-3 * np.linalg.norm(PARAMS["kernel"]) / np.linalg.norm(GRADS["kernel"])
    np.testing.assert_allclose(got["kernel"], -ratio * GRADS["kernel"], rtol=1e-5)
    np.testing.assert_allclose(got["bias"], -GRADS["bias"], rtol=1e-6)


def test_clipping_bounds_the_global_norm():
    clipped = update("sgd", 1.0, clip_norm=0.01)
    assert float(optax.tree.norm(clipped)) == pytest.approx(0.01, rel=1e-4)


def test_schedules_start_peak_and_end_where_they_should():
    for name in SCHEDULES:
        schedule = unit_schedule(name, 100, warmup_steps=10)
        assert float(schedule(0)) == 0
        assert float(schedule(10)) == pytest.approx(1)
        assert float(schedule(100)) == pytest.approx(1 if name == "constant" else 0, abs=1e-6)


def test_bad_names_list_the_valid_ones():
    with pytest.raises(ValueError, match=r"adam, .*lars, .*sgd"):
        update("adamm", 0.1)
    with pytest.raises(ValueError, match=r"does not take mommentum; it takes .*momentum"):
        update("sgd", 0.1, kwargs={"mommentum": 0.9})
    with pytest.raises(ValueError, match="constant, linear, cosine"):
        unit_schedule("cos", 10)
    with pytest.raises(ValueError, match="warm-up takes 10 steps"):
        unit_schedule("cosine", 10, warmup_steps=10)
