"""ViTs: the published number of parameters, positions."""

import jax.numpy as jnp
import numpy as np
import pytest
from small_encoders import images, initialised, jitted, parameters

from infonce_jax import encoders


def test_vit_has_the_published_number_of_parameters():
    options = {"width": 768, "depth": 12, "num_heads": 12, "patch_size": 16}
    assert parameters("vit", (1, 224, 224, 3), embedding_dim=1000, **options) == 86_567_656


@pytest.mark.parametrize("pool", encoders.POOLS)
def test_vit_knows_the_order_of_patches_only_by_their_positions(pool):
    x = images()
    encoder, variables = initialised("vit", x, pool=pool)
    run = jitted(encoder, train=False)
    swapped = jnp.concatenate([x[:, 4:], x[:, :4]], axis=1)
    assert not np.allclose(
        run(variables, x)[0].encoder, run(variables, swapped)[0].encoder, atol=1e-4
    )
    backbone = variables["params"]["backbone"]
    backbone = {**backbone, "positions": jnp.zeros_like(backbone["positions"])}
    blind = {**variables, "params": {**variables["params"], "backbone": backbone}}
    np.testing.assert_allclose(run(blind, x)[0].encoder, run(blind, swapped)[0].encoder, atol=1e-5)
    inside = x[:, ::-1]
    assert not np.allclose(run(blind, x)[0].encoder, run(blind, inside)[0].encoder, atol=1e-4)
