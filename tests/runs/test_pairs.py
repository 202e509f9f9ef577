"""Rows that are pairs, with an encoder for each half: a CLIP-like run is a config."""

import numpy as np
import pytest

from infonce_jax import data, registry, training
from infonce_jax.config import default_config, members
from infonce_jax.runs.folder import check

TEXT = """\
import flax.linen as nn
import jax.numpy as jnp


class Text(nn.Module):
    words: int = 50

    @nn.compact
    def __call__(self, tokens):
        assert jnp.issubdtype(tokens.dtype, jnp.integer)
        return jnp.mean(nn.Embed(self.words, 16)(tokens), axis=1)
"""


def config_of(path):
    c = default_config()
    c.data.source, c.data.path, c.data.test_size = "array", str(path), 100
    c.seeds, c.channel.name, c.loss.temperature = (0,), "identity", 0.2
    c.encoder.name, c.encoder.embedding_dim, c.encoder.width = "mlp", 8, 32
    c.encoder_b.name, c.encoder_b.embedding_dim = "text_tower:Text", 8
    c.optimizer.learning_rate, c.optimizer.schedule = 0.01, "constant"
    c.train.batch_size, c.train.steps = 64, 300
    return c


def retrieved(z1, z2):
    """The share of first halves whose own second half is the nearest."""
    z1, z2 = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z1, z2))
    return np.mean(np.argmax(z1 @ z2.T, axis=1) == np.arange(len(z1)))


def test_images_find_their_captions(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_folders", [])
    (tmp_path / "text_tower.py").write_text(TEXT)
    registry.search_in(tmp_path)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50, (700, 4))
    colours = rng.integers(0, 256, (50, 4, 3))
    # An image shows the colours of its words, one row of pixels each.
    images = np.stack([colours[row] for row in tokens]).astype(np.uint8)
    np.savez(tmp_path / "pairs.npz", x=images, y=tokens)
    config = config_of(tmp_path / "pairs.npz")
    check(config)
    dataset = data.load(config)
    assert dataset.spec.halves == (((4, 4, 3), False), ((4,), True))
    program = training.make_program(config, dataset, members(config))
    state = program.init()

    def embedded(state):
        return training.encode_view_blocks(program, state, dataset.test, 50)

    before = embedded(state)
    state, failed = program.advance(state, 300)
    after = embedded(state)
    assert int(failed) == -1
    assert retrieved(before["view1"][0], before["view2"][0]) < 0.1
    assert retrieved(after["view1"][0], after["view2"][0]) > 0.5
    # Without a channel the first halves are embedded as they are.
    np.testing.assert_allclose(after["clean"], after["view1"], rtol=1e-5, atol=1e-6)

    def refused(message, **fields):
        other = config_of(tmp_path / "pairs.npz")
        other.update_from_flattened_dict(fields)
        with pytest.raises(ValueError, match=message):
            training.make_program(other, data.load(other), members(other))

    refused(r"encoder_b.name is ''; set it to the encoder", **{"encoder_b.name": ""})
    refused("give 8 and 4 dimensions", **{"encoder_b.embedding_dim": 4})
    refused("noise would change into others", **{"channel.name": "gaussian_noise"})
    refused("microbatch is 8, which does not work on pairs", **{"train.microbatch": 8})
    refused("gives no pairs; set it to ''", **{"data.source": "laplace"})
    np.savez(tmp_path / "uneven.npz", x=images, y=tokens[:3])
    with pytest.raises(ValueError, match="700 rows x and 3 rows y"):
        data.describe(config_of(tmp_path / "uneven.npz"))
