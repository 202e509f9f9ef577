"""A run that starts from a published checkpoint."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from infonce_jax import data, encoders, training
from infonce_jax.config import default_config, members
from infonce_jax.training import program as programs
from tests.encoders import record_published


@pytest.fixture
def config(tmp_path):
    np.save(
        tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    )
    recorded = json.loads(record_published.FILE.read_text())["resnet18 of transformers"]
    weights = record_published.draw(recorded["shapes"])
    safetensors.numpy.save_file(weights, tmp_path / "model.safetensors")
    c = default_config()
    c.seeds = (0, 1)
    c.data.source, c.data.path, c.data.test_size = "array", str(tmp_path / "x.npy"), 8
    c.channel.name = "simclr"
    c.encoder.name, c.encoder.width, c.encoder.stem = "resnet18", 4, "imagenet"
    c.encoder.embedding_dim, c.train.batch_size = 8, 8
    c.encoder.init_from = str(tmp_path)
    return c


def test_every_member_starts_from_the_checkpoint(config):
    program = training.make_program(config, data.load(config), members(config))
    state = program.init()
    weights = encoders.read_weights(config.encoder.init_from)
    conv = weights["resnet.embedder.embedder.convolution.weight"].transpose(2, 3, 1, 0)
    variance = weights["resnet.embedder.embedder.normalization.running_var"]
    for member in range(2):
        here = jax.tree.map(lambda leaf, m=member: leaf[m], state.members)
        backbone = here.params["encoder"]["backbone"]
        np.testing.assert_array_equal(backbone["Conv_0"]["kernel"], conv)
        moments = here.batch_stats["backbone"]["BatchNorm_0"]
        np.testing.assert_array_equal(moments["var"], variance)
    kernels = state.members.params["encoder"]["embedding"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])
    shapes = jax.tree.map(lambda leaf: leaf.shape, state)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, program.abstract_state)


def test_a_checkpoint_that_does_not_fit_ends_the_run_before_it_starts(config):
    config.encoder.stem = "cifar"
    program = training.make_program(config, data.load(config), members(config))
    with pytest.raises(ValueError, match=r"conv1\.weight of 7×7×3×4, here 3×3×3×4"):
        program.init()
    config.encoder.init_from = "absent.safetensors"
    program = training.make_program(config, data.load(config), members(config))
    with pytest.raises(FileNotFoundError, match=r"init_from is absent\.safetensors"):
        program.init()


def test_settings_of_a_vit_are_compared_before_the_run_starts(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 12}))
    config = default_config()
    config.encoder.name, config.encoder.init_from = "vit", str(tmp_path)
    with pytest.raises(ValueError, match=r"set --config\.encoder\.num_heads=12"):
        programs._published(config)
