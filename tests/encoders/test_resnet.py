"""ResNets: published numbers of parameters, normalisation, members."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_encoders import images, initialised, jitted, make, parameters

from infonce_jax import encoders


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)],
)
def test_resnets_have_the_published_numbers_of_parameters(name, count):
    shape = (1, 224, 224, 3)
    features = 2048 if name == "resnet50" else 512
    assert parameters(name, shape, stem="imagenet", embedding_dim=1000) == count
    without = count - 1000 * (features + 1)
    assert parameters(name, shape, stem="imagenet", embedding_dim=None) == without
    stems = 64 * 3 * (7 * 7 - 3 * 3)
    assert parameters(name, (1, 32, 32, 3), embedding_dim=None) == without - stems


@functools.cache
def tiny_resnet(norm):
    x = images()
    encoder, variables = initialised("resnet18", x, norm=norm)
    return x, variables, jitted(encoder, train=True)


def test_batchnorm_couples_the_batch_and_groupnorm_does_not():
    coupled = {}
    for norm in ("batch", "group"):
        x, variables, run = tiny_resnet(norm)
        whole = run(variables, x)[0].encoder
        other = run(variables, x.at[2:].multiply(3.0))[0].encoder
        coupled[norm] = not np.allclose(whole[:2], other[:2], atol=1e-4)
    assert coupled == {"batch": True, "group": False}


def test_evaluation_does_not_depend_on_the_rest_of_the_batch():
    x = images()
    encoder, variables = initialised("resnet18", x)
    run = jitted(encoder, train=False)
    whole = run(variables, x)[0].encoder
    other = run(variables, x.at[2:].multiply(3.0))[0].encoder
    np.testing.assert_allclose(whole[:2], other[:2], atol=1e-5)


def test_vmapped_members_equal_separate_ones():
    x, _, _ = tiny_resnet("batch")
    encoder, first = initialised("resnet18", x, seed=0)
    _, second = initialised("resnet18", x, seed=1)
    members = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)

    def step(variables, x):
        def loss(params):
            given = {**variables, "params": params}
            outputs, stats = encoders.apply(encoder, given, x, train=True)
            return jnp.mean(outputs.encoder**2), stats

        (_, stats), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return grads, stats

    together = jax.jit(jax.vmap(step, in_axes=(0, None)))(members, x)
    one = jax.jit(step)
    for i in range(2):
        alone = one(jax.tree.map(lambda leaf, i=i: leaf[i], members), x)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5),
            together,
            alone,
        )


def test_zero_initialised_residual_blocks_start_as_the_identity():
    x = images()
    encoder = make("resnet18", zero_init_residual=True, embedding_dim=None)
    one_block, stem = (
        encoder.clone(backbone=encoder.backbone.clone(stages=stages)) for stages in ((1,), ())
    )
    variables = encoders.init(one_block, jax.random.key(0), x)
    found = jitted(one_block, train=False)(variables, x)[0].encoder
    expected = jitted(stem, train=False)(variables, x)[0].encoder
    np.testing.assert_allclose(found, expected, rtol=1e-6)
