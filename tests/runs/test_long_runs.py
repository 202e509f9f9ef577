"""What long runs want: metrics of held-out rows, averaged weights, micro-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from infonce_jax import data, training
from infonce_jax.config import members
from infonce_jax.evaluation.probe import nearest_neighbours
from infonce_jax.runs.folder import check
from infonce_jax.runs.online import METRICS, Rows, make_online
from infonce_jax.runs.sets import OpenRun
from infonce_jax.training.optimizers import average_of, keep_average


def opened(config, tmp_path):
    check(config)
    dataset, runs = data.load(config), members(config)
    program = training.make_program(config, dataset, runs)
    return OpenRun(config, tmp_path, dataset, runs, program)


def test_rankme_of_a_constructed_spectrum_is_its_definition():
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.normal(size=(64, 6)))
    right, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    singular = np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    z = (left * singular @ right.T).astype(np.float32)
    share = singular / singular.sum() + 1e-7
    rows = Rows(z, None, None, None)
    np.testing.assert_allclose(METRICS["rankme"](rows), np.exp(-share @ np.log(share)), rtol=1e-5)
    share = singular / singular.sum()
    expected = np.exp(-share @ np.log(share))
    np.testing.assert_allclose(METRICS["effective_rank"](rows), expected, rtol=1e-5)


def test_held_out_metrics_are_those_of_the_rows_named(tiny_config, tmp_path):
    tiny_config.data.source, tiny_config.data.mixture_components = "mixture", 3
    tiny_config.log.held_out, tiny_config.log.held_out_rows = tuple(METRICS), 40
    run = opened(tiny_config, tmp_path)
    state = run.program.init()
    online = make_online(run)(state)
    assert set(online.values) == {f"held_out_{name}" for name in METRICS}
    assert all(values.shape == (2,) for values in online.values.values())
    assert set(online.seconds) == {"encode", *METRICS}
    train, test = run.data.train[:40], run.data.test[:40]
    z, test_z = (np.asarray(run.program.encode(state, rows))[1] for rows in (train, test))
    labels = run.data.train_labels[:40], run.data.test_labels[:40]
    expected = nearest_neighbours(z, labels[0], test_z, labels[1], k=20)
    assert online.values["held_out_knn"][1] == pytest.approx(expected)
    tiny_config.data.source = "laplace"
    with pytest.raises(ValueError, match="held_out has 'knn', which needs labels"):
        make_online(opened(tiny_config, tmp_path))
    tiny_config.log.held_out = ("nearest",)
    with pytest.raises(ValueError, match="held_out has 'nearest'; choose from rankme"):
        check(tiny_config)


def test_the_average_of_the_weights_is_what_is_embedded(tiny_config, tmp_path):
    optimizer = optax.chain(optax.sgd(0.1), keep_average(0.75))
    params = {"w": jnp.array([1.0, 2.0])}
    state, average = optimizer.init(params), params["w"]
    for _ in range(3):
        updates, state = optimizer.update({"w": params["w"]}, state, params)
        params = optax.apply_updates(params, updates)
        average = 0.75 * average + 0.25 * params["w"]
    np.testing.assert_allclose(average_of(state)["w"], average, rtol=1e-6)
    tiny_config.train.average_decay, tiny_config.optimizer.learning_rate = 0.9, 0.1
    run = opened(tiny_config, tmp_path)
    state, _ = run.program.advance(run.program.init(), 5)
    rows = run.data.test[:7]
    weights = average_of(state.members.opt_state)["encoder"]["embedding"]
    expected = np.einsum("nd,mde->mne", rows, weights["kernel"]) + weights["bias"][:, None]
    np.testing.assert_allclose(run.program.encode(state, rows), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(
        weights["kernel"], state.members.params["encoder"]["embedding"]["kernel"]
    )
    tiny_config.train.average_decay = 1.0
    with pytest.raises(ValueError, match=r"average_decay is 1.0; it lies in \[0, 1\)"):
        check(tiny_config)


def test_micro_batches_change_no_gradient(tiny_config, tmp_path):
    states = []
    for size in (0, 5):
        tiny_config.train.microbatch = size
        program = opened(tiny_config, tmp_path).program
        states.append(program.advance(program.init(), 4)[0])
    whole, parts = (jax.tree.leaves(state.members.params) for state in states)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    tiny_config.encoder.head, tiny_config.encoder.head_norm = "mlp", "batch"
    tiny_config.encoder.name = "mlp"
    with pytest.raises(ValueError, match="microbatch is 5, but the encoder has BatchNorm"):
        opened(tiny_config, tmp_path)
