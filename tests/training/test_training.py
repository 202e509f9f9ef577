"""The training program: independent of how runs are grouped, resumed and spread over devices."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infonce_jax import data as data_lib
from infonce_jax import theory, training
from infonce_jax.config import members
from infonce_jax.training import distributed
from infonce_jax.training.distributed import make_mesh
from infonce_jax.training.members import lay_out, member_grid, member_mildness
from infonce_jax.training.objectives import OBJECTIVES
from infonce_jax.training.regularisers import REGULARISERS


def program_of(config):
    return training.make_program(config, data_lib.load(config), members(config))


def trained(config, steps=None):
    program = program_of(config)
    state, failed = program.advance(program.init(), steps or config.train.steps)
    assert int(failed) == -1
    return state


def metrics_of(state):
    return {
        k: np.asarray(v) / int(state.metric_steps) for k, v in state.members.metric_sums.items()
    }


def assert_close(one, other, **tolerance):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def assert_identical(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def member(state, index):
    return jax.tree.map(lambda leaf: leaf[index], state.members.params)


def test_seeds_trained_side_by_side_equal_seeds_trained_alone(tiny_config):
    together = trained(tiny_config)
    for index, seed in enumerate(tiny_config.seeds):
        alone_config = tiny_config.copy_and_resolve_references()
        alone_config.seeds = (seed,)
        alone = trained(alone_config)
        assert_close(member(together, index), member(alone, 0), rtol=1e-5, atol=1e-6)


def test_a_list_of_temperatures_equals_one_run_for_each(tiny_config):
    tiny_config.seeds = (3,)
    tiny_config.loss.temperature = (0.1, 0.7)
    together = trained(tiny_config)
    assert not np.allclose(*metrics_of(together)["loss"])
    for index, temperature in enumerate((0.1, 0.7)):
        tiny_config.loss.temperature = temperature
        alone = trained(tiny_config)
        assert_close(member(together, index), member(alone, 0), rtol=1e-5, atol=1e-6)


def test_a_grid_of_lists_and_seeds_equals_one_run_for_each_point(tiny_config):
    tiny_config.data.fresh = True
    tiny_config.channel.strength = (0.2, 0.8)
    tiny_config.loss.temperature = (0.1, 0.5, 0.7)
    points = members(tiny_config)
    grid = member_grid(points)
    assert grid == {"channel.strength": 2, "loss.temperature": 3, "seed": 2}
    together = trained(tiny_config)
    share = metrics_of(together)["alignment_share"]
    for index in (0, 3, 7, 10):
        point = points[index]
        tiny_config.seeds = (point.seed,)
        tiny_config.channel.strength = point.varied["channel.strength"]
        tiny_config.loss.temperature = point.varied["loss.temperature"]
        alone = trained(tiny_config)
        assert_close(member(together, index), member(alone, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(share[index], metrics_of(alone)["alignment_share"], rtol=1e-5)


def test_members_in_turn_equal_members_at_once(tiny_config, monkeypatch):
    tiny_config.loss.temperature = (0.1, 0.5, 0.7)
    program = program_of(tiny_config)
    at_once, _ = program.advance(program.init(), 12)

    def in_turn(*args):
        return lay_out(*args)._replace(in_turn=True)

    monkeypatch.setattr(training.program, "lay_out", in_turn)
    other = program_of(tiny_config)
    one_by_one, failed = other.advance(other.init(), 12)
    assert int(failed) == -1
    assert_close(at_once, one_by_one, rtol=1e-5, atol=1e-6)
    rows = data_lib.load(tiny_config).test[:50]
    assert_close(
        program.encode(at_once, rows), other.encode(one_by_one, rows), rtol=1e-4, atol=1e-5
    )


def test_resnets_take_their_members_in_turn_on_one_device(tiny_config):
    points = members(tiny_config)
    assert not lay_out(tiny_config, points).in_turn
    tiny_config.encoder.name = "resnet18"
    assert lay_out(tiny_config, points).in_turn == (jax.default_backend() == "cpu")


def test_members_that_are_no_grid_are_refused(tiny_config):
    tiny_config.loss.temperature = (0.1, 0.7)
    with pytest.raises(ValueError, match="The 3 members are not every combination"):
        training.make_program(tiny_config, data_lib.load(tiny_config), members(tiny_config)[:3])


def test_stopping_on_the_way_changes_no_bit(tiny_config):
    program = program_of(tiny_config)
    straight, _ = program.advance(program.init(), 12)
    halting = program.init()
    for stop in (1, 5, 6, 12):
        halting, _ = program.advance(halting, stop)
    assert_identical(straight, halting)


def test_training_lowers_the_loss_and_the_terms_add_up(tiny_config):
    tiny_config.optimizer.learning_rate = 0.02
    tiny_config.loss.temperature = 0.2
    early = metrics_of(trained(tiny_config, steps=10))
    program = program_of(tiny_config)
    state, _ = program.advance(program.init(), 190)
    before = jax.device_get(state.members.metric_sums)
    state, _ = program.advance(state, 200)
    late = {k: np.asarray(state.members.metric_sums[k] - before[k]) / 10 for k in before}
    assert (late["loss"] < early["loss"]).all()
    for metrics in (early, late):
        total = -metrics["alignment"] / 0.2 + metrics["uniformity"] + np.log(16)
        np.testing.assert_allclose(metrics["loss"], total, rtol=1e-4)


def test_fresh_draws_differ_from_a_fixed_set(tiny_config):
    fixed = trained(tiny_config)
    tiny_config.data.fresh = True
    fresh = trained(tiny_config)
    assert not np.allclose(metrics_of(fixed)["loss"], metrics_of(fresh)["loss"])
    assert_identical(fresh, trained(tiny_config))


def test_supervised_training_learns_the_labels(tiny_config):
    tiny_config.objective = "supervised"
    tiny_config.data.source = "mixture"
    tiny_config.data.mixture_components = 3
    tiny_config.optimizer.learning_rate = 0.02
    tiny_config.train.steps = 60
    accuracy = metrics_of(trained(tiny_config))["accuracy"]
    assert (accuracy > 0.8).all()


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n not in ("infonce", "supervised")])
def test_every_objective_is_minimised(tiny_config, name):
    tiny_config.objective = name
    tiny_config.seeds = (0,)
    tiny_config.data.source = "mixture"
    tiny_config.optimizer.learning_rate = 0.01
    tiny_config.train.steps = 60
    program = program_of(tiny_config)
    early, _ = program.advance(program.init(), 5)
    late, _ = program.advance(program.init(), 60)
    early, late = (np.asarray(s.members.metric_sums["loss"]) for s in (early, late))
    # Sums since the start: the mean of the last 55 steps lies below that of the first 5.
    assert ((late - early) / 55 < early / 5).all()


@pytest.mark.parametrize("name", ["supervised", "sup_con"])
def test_training_on_labels_needs_labels(tiny_config, name):
    tiny_config.objective = name
    with pytest.raises(ValueError, match="'laplace' has none; use mixture"):
        program_of(tiny_config)


def test_a_learned_temperature_moves_and_keeps_its_minimum(tiny_config):
    tiny_config.loss.learn_temperature = True
    tiny_config.loss.temperature_min = 0.4
    tiny_config.optimizer.learning_rate = 0.1
    tiny_config.train.steps = 40
    state = trained(tiny_config)
    learned = np.exp(-np.asarray(state.members.params["log_inverse_temperature"]))
    assert (np.abs(learned - 0.5) > 0.01).all()
    assert (metrics_of(state)["temperature"] >= 0.4 - 1e-6).all()


def test_the_regulariser_draws_the_norm_to_its_target(tiny_config):
    tiny_config.optimizer.learning_rate = 0.02
    tiny_config.train.steps = 150
    tiny_config.loss.norm_weight = 8.0
    mean_square = {}
    for beta in (0.0, 1.0):
        tiny_config.loss.beta = beta
        program = program_of(tiny_config)
        state, _ = program.advance(program.init(), 150)
        z = training.encode_view_blocks(program, state, data_lib.load(tiny_config).test, 64)[
            "clean"
        ]
        mean_square[beta] = np.mean(np.square(z))
    # A variance of 1/(2λ) = 1/16 per coordinate, against one of order 1 without.
    assert mean_square[1.0] == pytest.approx(1 / 16, rel=0.3)
    assert mean_square[0.0] > 0.3


def test_vanishing_beta_is_the_theorys(tiny_config):
    tiny_config.loss.beta = 3.0
    tiny_config.loss.beta_unit = "vanishing"
    tiny_config.loss.eta2 = 0.25
    beta = metrics_of(trained(tiny_config))["beta"]
    np.testing.assert_allclose(beta, 3 * theory.vanishing_beta(8, 0.5, 0.25), rtol=1e-5)


def test_the_alignment_bound_is_logged_where_the_mildness_is_known(tiny_config):
    tiny_config.channel.strength = (0.3, 1.5)
    metrics = metrics_of(trained(tiny_config, steps=1))
    eta2 = [
        theory.mildness.laplace_noise(m.hyperparameters["channel.strength"])
        for m in members(tiny_config)
    ]
    want = theory.batch_alignment_bound(
        jnp.array(eta2), metrics["mean_resultant"], metrics["alignment"], 16
    )
    np.testing.assert_allclose(metrics["alignment_bound"], want, rtol=1e-5)
    share = metrics["alignment"] / metrics["alignment_bound"]
    np.testing.assert_allclose(metrics["alignment_share"], share, rtol=1e-5)


def test_no_alignment_bound_where_the_mildness_is_not_known(tiny_config):
    tiny_config.data.source = "sphere"
    tiny_config.channel.name = "erasure"
    assert not {"alignment_bound", "alignment_share"} & set(metrics_of(trained(tiny_config, 1)))


@pytest.mark.parametrize(
    ("source", "channel", "eta2"),
    [
        ("binary", "bit_flip", 0.640),
        ("mixture", "gaussian_noise", 1.0),
        ("gaussian", "erasure", 0.8),
    ],
)
def test_mildness_follows_from_the_configuration(tiny_config, source, channel, eta2):
    tiny_config.data.source = source
    tiny_config.data.binary_active = 12.0
    tiny_config.data.mixture_components = 2
    tiny_config.channel.name = channel
    tiny_config.channel.strength = {"bit_flip": 0.1, "gaussian_noise": 0.5, "erasure": 0.2}[channel]
    got = member_mildness(tiny_config, members(tiny_config))
    np.testing.assert_allclose(got, [eta2, eta2], atol=1e-9)


@pytest.mark.parametrize(
    ("source", "channel"),
    [
        (
            "laplace",
            {"name": "mixing", "noise_std": 0.2, "erasure_prob": 0.1, "row_scale_std": 0.1},
        ),
        ("mixture", {"name": "same_component"}),
        ("binary", {"name": "bit_add", "strength": 0.1}),
    ],
)
def test_training_aligns_the_views_of_every_channel(tiny_config, source, channel):
    tiny_config.data.source = source
    tiny_config.channel.update({"strength": 0.8, **channel})
    tiny_config.encoder.initializer = "pytorch"
    tiny_config.optimizer.learning_rate, tiny_config.train.steps = 0.02, 300
    program = program_of(tiny_config)
    early, _ = program.advance(program.init(), 5)
    late, _ = program.advance(program.init(), 300)
    first = np.asarray(early.members.metric_sums["loss"]) / 5
    rest = (np.asarray(late.members.metric_sums["loss"]) - 5 * first) / 295
    assert (rest < first).all()
    data = data_lib.load(tiny_config)
    sets = training.encode_view_blocks(program, late, data.test, 23, data.test_labels)
    one, two = (
        z / np.linalg.norm(z, axis=-1, keepdims=True) for z in (sets["view1"], sets["view2"])
    )
    of_pairs = np.sum(one * two, axis=-1).mean(axis=1)
    of_others = np.sum(one * np.roll(two, 1, axis=1), axis=-1).mean(axis=1)
    assert (of_pairs > of_others + 0.1).all()


def test_the_bound_follows_every_strength_that_is_a_list(tiny_config):
    tiny_config.seeds = (3,)
    tiny_config.channel.name = "mixing"
    tiny_config.channel.strength = (0.4, 0.8)
    tiny_config.channel.erasure_prob = (0.1, 0.5, 0.7)
    tiny_config.loss.temperature = (0.2, 0.5)
    points = members(tiny_config)
    got = metrics_of(trained(tiny_config, steps=3))
    for index in (0, 3, 7, 11):
        for name, value in points[index].varied.items():
            tiny_config.update_from_flattened_dict({name: value})
        alone = metrics_of(trained(tiny_config, steps=3))
        for name in ("loss", "alignment_bound"):
            np.testing.assert_allclose(got[name][index], alone[name][0], rtol=1e-5)


def test_the_initializer_is_the_one_asked_for(tiny_config):
    tiny_config.encoder.initializer = "pytorch"
    kernel, bias = None, None
    for leaf in jax.tree.leaves(program_of(tiny_config).init().members.params):
        kernel, bias = (leaf, bias) if leaf.ndim == 3 else (kernel, leaf)
    bound = 1 / np.sqrt(24)
    for leaf in (kernel, bias):
        assert 0.7 * bound < np.abs(leaf).max() <= bound and np.std(leaf) > 0.4 * bound
    tiny_config.objective, tiny_config.data.source = "supervised", "mixture"
    classifier = program_of(tiny_config).init().members.params["classifier"]
    assert all(0 < np.abs(leaf).max() <= 1 / np.sqrt(8) for leaf in jax.tree.leaves(classifier))
    tiny_config.encoder.initializer = "torch"
    with pytest.raises(ValueError, match="initializer 'torch'; choose one of normal, pytorch"):
        program_of(tiny_config)


def test_bfloat16_keeps_parameters_and_embeddings_in_float32(tiny_config):
    exact = metrics_of(trained(tiny_config))["loss"]
    tiny_config.train.compute_dtype = "bfloat16"
    program = program_of(tiny_config)
    state, _ = program.advance(program.init(), 12)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.members.params)} == {jnp.dtype("float32")}
    assert (
        training.encode_view_blocks(program, state, np.ones((5, 24), np.float32), 4)["clean"].dtype
        == "f4"
    )
    np.testing.assert_allclose(metrics_of(state)["loss"], exact, rtol=2e-2)


@pytest.mark.parametrize("output", ["encoder", "head"])
def test_the_embedding_is_the_output_asked_for(tiny_config, output):
    tiny_config.encoder.head = "mlp"
    tiny_config.encoder.head_dim = 5
    tiny_config.embed.output = output
    program = program_of(tiny_config)
    sets = training.encode_view_blocks(program, program.init(), np.ones((7, 24), np.float32), 3)
    assert {name: z.shape for name, z in sets.items()} == dict.fromkeys(
        ("clean", "view1", "view2"), (2, 7, 8 if output == "encoder" else 5)
    )


def test_embedding_by_blocks_pads_the_last_one_away(tiny_config):
    program = program_of(tiny_config)
    state = program.init()
    rows = data_lib.load(tiny_config).test
    whole = training.encode_view_blocks(program, state, rows, 64)["clean"]
    blocks = training.encode_view_blocks(program, state, rows, 23)["clean"]
    np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-6)


def test_the_loop_stops_where_the_loss_is_not_finite(tiny_config):
    tiny_config.optimizer.name = "sgd"
    tiny_config.optimizer.learning_rate = 1e30
    tiny_config.loss.normalize = False
    program = program_of(tiny_config)
    state, failed = program.advance(program.init(), 12)
    assert 0 < int(failed) < 12
    assert int(state.step) == int(failed) + 1
    good, failed_before = program.advance(program.init(), int(failed))
    assert int(failed_before) == -1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics_of(good)))


_FOUR_DEVICES = """
import json, sys
import jax, numpy as np
from infonce_jax import data as data_lib, training
from infonce_jax.config import default_config, members

assert len(jax.local_devices()) == 4
config = default_config()
config.seeds = (0, 1)
config.loss.temperature = (0.3, 0.5, 0.7)
config.data.dim, config.data.train_size, config.data.test_size = 24, 96, 16
config.encoder.embedding_dim, config.encoder.head = 8, "mlp"
config.encoder.head_norm = "batch"
config.train.batch_size, config.train.steps = 16, 20
config.optimizer.name, config.optimizer.learning_rate = "sgd", 1.0
config.optimizer.schedule = "constant"
results = {}
for devices in (1, 4):
    config.train.devices = devices
    program = training.make_program(config, data_lib.load(config), members(config))
    start = program.init()
    one, _ = program.advance(program.init(), 1)
    # With plain gradient descent at rate 1, the first update is the gradient.
    gradient = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), start.members.params,
                            one.members.params)
    sums = {k: np.asarray(v).tolist() for k, v in one.members.metric_sums.items()}
    stats = jax.tree.leaves(one.members.batch_stats)
    results[devices] = (jax.tree.leaves(gradient), sums, [np.asarray(s) for s in stats])
    devices_used = {d for leaf in jax.tree.leaves(one) for d in leaf.devices()}
    assert len(devices_used) == devices
scale = max(np.abs(g).max() for g in results[1][0])
print(json.dumps({
    "gradient": max(np.abs(a - b).max() for a, b in zip(results[1][0], results[4][0])) / scale,
    "loss": np.abs(np.subtract(results[1][1]["loss"], results[4][1]["loss"])).max(),
    "batch_stats": max(np.abs(a - b).max() for a, b in zip(results[1][2], results[4][2])),
    "stats_count": len(results[1][2]),
}, default=float))
"""


def test_four_devices_give_the_gradients_of_one():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", _FOUR_DEVICES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    error = json.loads(done.stdout)
    # Negatives or BatchNorm statistics of one device alone would be off by far more.
    assert error["gradient"] < 1e-6
    assert error["loss"] < 1e-6
    assert error["batch_stats"] < 1e-6 and error["stats_count"] > 0


def devices_of(monkeypatch, counts):
    """Has the process with each index so many devices."""
    found = [
        SimpleNamespace(process_index=index, platform="gpu", name=f"{index}.{i}")
        for index, count in enumerate(counts)
        for i in range(count)
    ]
    monkeypatch.setattr(distributed.jax, "devices", lambda: found)


@pytest.mark.parametrize(
    ("counts", "fields", "members", "message"),
    [
        ((1,), {"train.devices": 3}, 1, "train.devices is 3 but this machine has 1 gpu"),
        ((2, 1), {"train.devices": 2}, 1, "train.devices is 2 but process 1 has 1 gpu"),
        ((2, 1), {}, 1, r"different numbers of devices \(process 0 has 2, process 1 has 1\)"),
        ((3, 3), {}, 1, "batch_size is 16, which does not divide among 6 devices; use a multiple"),
        (
            (3, 3),
            {},
            4,
            r"divide among 3 devices \(of 6; 2 groups train other members\); use a multiple of 3",
        ),
    ],
)
def test_devices_that_do_not_fit_are_refused(
    tiny_config, monkeypatch, unchecked_types, counts, fields, members, message
):
    devices_of(monkeypatch, counts)
    tiny_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        make_mesh(tiny_config, members)


def test_members_stay_on_as_few_processes_as_they_can(tiny_config, monkeypatch, unchecked_types):
    devices_of(monkeypatch, (4, 4))
    grids = []
    monkeypatch.setattr(distributed, "Mesh", lambda grid, *_, **__: grids.append(grid))
    make_mesh(tiny_config, 4)
    tiny_config.train.devices = 2
    make_mesh(tiny_config, 2)
    names = [[[device.name for device in row] for row in grid] for grid in grids]
    assert names[0] == [["0.0", "0.1"], ["0.2", "0.3"], ["1.0", "1.1"], ["1.2", "1.3"]]
    assert names[1] == [["0.0", "0.1"], ["1.0", "1.1"]]


@pytest.mark.parametrize("name", [n for n in REGULARISERS if n != "norm_entropy"])
def test_every_regulariser_is_lowered(tiny_config, name):
    # Beside alignment alone, which collapses the representations where nothing keeps them apart.
    tiny_config.objective, tiny_config.loss.regulariser = "prediction", name
    tiny_config.loss.beta = (0.0, 5.0)
    tiny_config.loss.directions = 32
    tiny_config.seeds, tiny_config.data.source = (0,), "mixture"
    tiny_config.optimizer.learning_rate, tiny_config.train.steps = 0.01, 60
    state = trained(tiny_config)
    penalty = np.asarray(state.members.metric_sums["regulariser"])
    assert penalty[1] < penalty[0]


def test_the_state_is_donated_so_that_there_is_no_second_copy(tiny_config):
    program = program_of(tiny_config)
    start = program.init()
    program.advance(start, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(start.members.params))
