"""What holds of the losses whatever the numbers: limits, precision, refused input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives import draw

from infonce_jax import losses

HOW = [{"implementation": "dense"}, {"implementation": "tiled", "tile": (3, 4)}]


def test_vmap_computes_one_of_both_ranges_for_the_batch():
    a, b, temperatures = *map(jnp.asarray, draw("infonce").rows), jnp.full((2, 3), 0.5)
    value = jax.value_and_grad(lambda t: losses.infonce(a, b, temperature=t, **HOW[1]))
    # A `cond` that had become a `select` would compute both branches for every member.
    jaxpr = str(jax.make_jaxpr(jax.vmap(jax.vmap(value)))(temperatures))
    assert len(re.findall(r"= cond\[", jaxpr)) == 2


def test_every_candidate_excluded_leaves_the_positive():
    a, b = map(jnp.asarray, draw("infonce", 5).rows)
    for how in HOW:
        options = {"temperature": 0.3, "exclude": jnp.zeros(5, int), **how}
        step = jax.value_and_grad(lambda a, o=options: losses.infonce(a, b, **o))
        value, gradient = jax.jit(step)(a)
        np.testing.assert_allclose(value, 0, atol=1e-6)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda a: losses.infonce(a, a[:2], temperature=1), r"\(4, 3\) and z2 \(2, 3\)"),
        (lambda a: losses.infonce(a[:0], a[:0], temperature=1), "empty"),
        (lambda a: losses.infonce(a, a, temperature=0), "temperature is 0"),
        (lambda a: losses.infonce(a, a, temperature=-1), "temperature is -1"),
        (lambda a: losses.infonce(a, a, temperature=float("nan")), "temperature is nan"),
        (lambda a: losses.infonce(a, a, temperature=1, implementation="fast"), "'fast'"),
        (lambda a: losses.infonce(a, a, temperature=1, implementation="ring"), "axis_name"),
        (lambda a: losses.infonce(a, a, temperature=1, reduction="max"), "'max'"),
        (lambda a: losses.infonce(a, a, temperature=1, similarity="l1"), "'l1'"),
        (lambda a: losses.infonce(a, a, temperature=1, tile=(0, 4)), r"tile is \(0, 4\)"),
        (lambda a: losses.infonce(a, a, temperature=1, exclude=jnp.zeros(3, int)), r"\[4, 4\]"),
        (lambda a: losses.moco(a, a, a[:, :2], temperature=1), r"\[queue, 3\]"),
        (lambda a: losses.infonce(a, a, negatives=a[:0], temperature=1), r"\[queue, 3\]"),
        (
            lambda a: losses.nt_xent(a, a, exclude=jnp.eye(4, dtype=bool), temperature=1),
            "integer per example",
        ),
        (lambda a: losses.sup_con(a, jnp.zeros(4), temperature=1), "float32"),
        (lambda a: losses.debiased_infonce(a, a, temperature=1, positive_prior=1), "prior is 1"),
        (lambda a: losses.clip(a, a, logit_scale=-1.0), "logit_scale is -1"),
        (lambda a: losses.uniformity(a[:1]), "two rows"),
        (lambda a: losses.barlow_twins(a, a, epsilon=0.0), "epsilon is 0"),
        (lambda a: losses.vicreg(a, a, epsilon=-1.0), "epsilon is -1"),
        (lambda a: losses.knn_entropy(a, k=2.5), "whole number"),
        (lambda a: losses.knn_entropy(a, k=float("nan")), "whole number"),
        (lambda a: losses.vicreg(a[:1], a[:1]), "two rows"),
        (lambda a: losses.microbatched(lambda w, x: x, 0), "size is 0"),
        (lambda a: losses.microbatched(lambda w, x, y: x, 2)(0, a, a[:3]), r"\[3, 4\]"),
    ],
)
def test_bad_input_is_refused(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 3)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_accumulated_in_float32(dtype):
    batch = draw("infonce", 256, 32, dtype=dtype)
    got, expected = (
        losses.infonce(*(jnp.asarray(z, kind) for z in batch.rows), temperature=0.1)
        for kind in (dtype, jnp.float32)
    )
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-2)


@pytest.mark.parametrize("symmetric", [True, False])
def test_terms_count_the_negatives_beside_the_batch(symmetric):
    a, b, beside = map(jnp.asarray, draw("negatives beside").rows)
    options = {"temperature": 0.3, "symmetric": symmetric, "negatives": beside}
    terms = losses.infonce_terms(a, b, **options)
    # All rows alike, the potential is the similarity itself, however many candidates there are.
    alike = [jnp.ones_like(z) for z in (a, b, beside)]
    same = losses.infonce_terms(alike[0], alike[1], **options | {"negatives": alike[2]})
    np.testing.assert_allclose(same.uniformity, 1 / 0.3, rtol=1e-6)
    assert terms.loss > losses.infonce(a, b, temperature=0.3, symmetric=symmetric)


def test_symmetric_is_the_mean_of_the_two_directions():
    a, b = map(jnp.asarray, draw("infonce").rows)
    forward, backward = (
        losses.infonce(*views, temperature=0.2, symmetric=False) for views in ((a, b), (b, a))
    )
    both = losses.infonce(a, b, temperature=0.2)
    np.testing.assert_allclose(both, (forward + backward) / 2, rtol=1e-5)


def test_integers_are_refused(unchecked_types):
    with pytest.raises(TypeError, match="int32"):
        losses.infonce(jnp.ones((4, 3), int), jnp.ones((4, 3), int), temperature=1)
