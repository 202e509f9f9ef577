"""Settings: members, identity, and the values that are refused."""

import pytest
from ml_collections import config_dict

from infonce_jax import config as config_lib


def test_members_are_seeds_times_listed_scalars(tiny_config):
    tiny_config.loss.temperature = (0.1, 0.5)
    tiny_config.optimizer.learning_rate = [1e-3]
    members = config_lib.members(tiny_config)
    assert [m.name for m in members] == [
        "seed0,loss.temperature=0.1,optimizer.learning_rate=0.001",
        "seed1,loss.temperature=0.1,optimizer.learning_rate=0.001",
        "seed0,loss.temperature=0.5,optimizer.learning_rate=0.001",
        "seed1,loss.temperature=0.5,optimizer.learning_rate=0.001",
    ]
    assert members[2].hyperparameters["loss.temperature"] == 0.5
    assert members[2].hyperparameters["loss.beta"] == 0.0
    assert members[2].varied == {"loss.temperature": 0.5, "optimizer.learning_rate": 1e-3}


def test_the_same_member_twice_is_refused(tiny_config):
    tiny_config.seeds = (0, 1, 0)
    with pytest.raises(ValueError, match="seed0 more than once"):
        config_lib.members(tiny_config)


def test_identity_ignores_what_does_not_change_training(tiny_config):
    before = config_lib.config_hash(tiny_config)
    tiny_config.evaluate.seed = 3
    tiny_config.log.every_steps = 1
    tiny_config.train.devices = 1
    tiny_config.data.data_dir = "/elsewhere"
    assert config_lib.config_hash(tiny_config) == before
    tiny_config.loss.temperature = 0.4
    assert config_lib.config_hash(tiny_config) != before


def test_difference_names_fields_and_both_values(tiny_config):
    theirs = config_lib.identity(config_lib.plain(tiny_config))
    tiny_config.loss.temperature = 0.4
    ours = config_lib.identity(config_lib.plain(tiny_config))
    assert config_lib.difference(ours, theirs) == ["loss.temperature: 0.5 there, 0.4 now"]


def test_a_misspelt_field_fails_with_a_suggestion(tiny_config):
    with pytest.raises(AttributeError, match='Did you mean "temperature"'):
        tiny_config.loss.temprature = 0.1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", (), "at least one"),
        ("seeds", (-1,), "non-negative"),
        ("loss.temperature", 0.0, "greater than 0"),
        ("loss.temperature", (0.1, -1.0), "must not be negative"),
        ("loss.temperature", (), "empty list"),
        ("loss.temperature", "warm", "must be a number"),
        ("loss.norm_weight", 0.0, "greater than 0"),
        ("loss.beta_unit", "relative", "absolute, vanishing"),
        ("loss.eta2", 1.5, r"\[0, 1\]"),
        ("optimizer.learning_rate", 0.0, "greater than 0"),
        ("channel.crop_area_min", 0.0, "above 0"),
        ("channel.blur_prob", 1.5, "probability"),
        ("train.batch_size", 0, "at least 1"),
        ("train.batch_size", 1, "at least 2 pairs"),
        ("train.steps", -1, "positive number"),
        ("train.compute_dtype", "float16", "float32, bfloat16"),
        ("embed.output", "head", "encoder.head is 'none'"),
        ("evaluate.sample_sizes", (4,), "at least 8"),
        ("evaluate.groups", (20,), "give the number of groups and the rows of each"),
        ("log.every_steps", 0, "at least 1"),
    ],
)
def test_impossible_values_are_refused(tiny_config, field, value, message):
    if field in ("loss.temperature",):
        tiny_config.loss.temperature = value
    else:
        tiny_config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        config_lib.validate(tiny_config)


def test_defaults_are_valid():
    config = config_lib.default_config()
    assert isinstance(config, config_dict.ConfigDict)
    config_lib.validate(config)


def test_a_configuration_survives_the_round_trip_through_a_file(tiny_config):
    tiny_config.loss.temperature = (0.1, 0.5)
    tiny_config.optimizer.name = "sgd"
    tiny_config.optimizer.kwargs = {"momentum": 0.9}
    content = config_lib.plain(tiny_config) | {"members": [], "total_steps": 12}
    again = config_lib.from_plain(content)
    assert config_lib.plain(again) == config_lib.plain(tiny_config)
    assert config_lib.members(again) == config_lib.members(tiny_config)
    assert config_lib.config_hash(again) == config_lib.config_hash(tiny_config)


def test_a_run_of_an_older_version_has_the_defaults_of_younger_fields(tiny_config):
    content = config_lib.plain(tiny_config)
    for section, field in (
        *(("data", "binary_counts"), ("data", "binary_prototypes")),
        *(("channel", "noise_std"), ("channel", "erasure_prob"), ("channel", "row_scale_std")),
        ("encoder", "initializer"),
    ):
        del content[section][field]
    assert config_lib.plain(config_lib.from_plain(content)) == config_lib.plain(tiny_config)
