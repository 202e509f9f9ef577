"""Masks, weights and temperatures of rows, several positives, towers of two lengths, and the queue."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from objectives import ALL, cast, draw

from infonce_jax import losses

N = 9
KEPT = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0], bool)
WEIGHTS = np.array([1.0, 0, 2, 1, 3, 1, 1, 0.5, 1], np.float32)
MASKED = {
    name: ALL[name]
    for name in (
        "infonce",
        "one-way",
        "exclude mask",
        "clip",
        "nt_xent",
        "nt_xent excluding",
        "dcl",
        "hard negatives",
        "sup_con labels",
        "sup_con mask",
        "moco",
        "siglip",
        "uniformity",
        "infonce of several",
        "nt_xent of several",
        "siglip of several",
    )
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_rows_are_as_if_they_were_not_there(name):
    """Value and gradients are those of the batch without them, whatever they hold."""
    objective = MASKED[name]
    batch = draw(name)
    rows, scalars, of_rows, _ = cast(batch)
    paired = [len(z) == N for z in rows]
    garbage = np.where(KEPT[:, None], np.float32(0), np.float32(np.nan))
    spoiled = [np.asarray(z) + garbage if p else z for z, p in zip(rows, paired, strict=True)]
    fewer = [z[KEPT] if p else z for z, p in zip(rows, paired, strict=True)]
    of_fewer = [e[KEPT] if e.ndim == 1 else e[np.ix_(KEPT, KEPT)] for e in of_rows]

    @functools.partial(jax.jit, static_argnames="how")
    def masked(rows, where, how):
        options = {"implementation": how, "tile": (4, 5), "where": where}
        return jax.value_and_grad(lambda z: objective.loss(*z, *of_rows, **scalars, **options))(
            rows
        )

    @jax.jit
    @jax.value_and_grad
    def of_the_others(rows):
        return objective.loss(*rows, *of_fewer, **scalars, implementation="dense")

    with jax.debug_nans(False):
        found = [masked(spoiled, jnp.asarray(KEPT), how) for how in ("dense", "tiled")]
        nothing = [masked(rows, jnp.zeros(N, bool), how) for how in ("dense", "tiled")]
    expected, slopes = of_the_others(fewer)
    for value, gradients in found:
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
        for got, slope, z, p in zip(gradients, slopes, rows, paired, strict=True):
            whole = np.zeros(z.shape, np.float32)
            whole[KEPT if p else slice(None)] = slope
            np.testing.assert_allclose(got, whole, rtol=1e-4, atol=2e-6)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(nothing))


@pytest.mark.parametrize(
    "name", ["one-way", "infonce", "nt_xent", "sup_con labels", "moco", "siglip"]
)
def test_weights_multiply_the_losses_of_rows(name):
    objective = MASKED[name]
    rows, scalars, of_rows, _ = cast(draw(name))

    @jax.jit
    def reduced(weights):
        loss = functools.partial(objective.loss, *rows, *of_rows, **scalars)
        each, *weighted = (
            loss(reduction=kind, weights=w)
            for kind, w in (("none", None), ("none", weights), ("sum", weights), ("mean", weights))
        )
        return each, weighted, loss(weights=jnp.zeros(N))

    each, (none, total, mean), nothing = reduced(jnp.asarray(WEIGHTS))
    counted = WEIGHTS
    if name.startswith("sup_con"):
        counted = WEIGHTS * references.has_positive(np.asarray(*of_rows))
    np.testing.assert_allclose(none, each * WEIGHTS, rtol=1e-6)
    np.testing.assert_allclose([total, mean], [none.sum(), none.sum() / counted.sum()], rtol=1e-5)
    assert nothing == 0


BY_ROW = ["infonce", "one-way", "nt_xent", "sup_con labels", "moco", "infonce of several", "dcl"]
BY_ROW += ["hard negatives", "clip", "siglip", "siglip of several"]


@pytest.mark.parametrize("name", BY_ROW)
def test_each_row_may_have_its_temperature(name):
    objective = ALL[name]
    rows, scalars, of_rows, _ = cast(draw(name))
    others = {k: v for k, v in scalars.items() if k == "logit_bias"}
    (parameter,) = scalars.keys() - others.keys()
    numbers = np.linspace(0.1, 0.9, N).astype(np.float32)
    numbers = 1 / numbers if parameter == "logit_scale" else numbers

    @jax.jit
    def by_row(numbers):
        def loss(numbers, how, reduction="none"):
            options = {parameter: numbers, "implementation": how, "reduction": reduction}
            return objective.loss(*rows, *of_rows, **others, **options)

        one_by_one = jax.vmap(lambda t: loss(t, "dense"))(numbers)
        slope = jax.grad(lambda t: loss(t, "dense", "mean"))(numbers)
        return [loss(numbers, how) for how in ("dense", "tiled")], one_by_one, slope

    found, of_every_number, slope = by_row(numbers)
    for got in found:
        np.testing.assert_allclose(got, np.diagonal(of_every_number), rtol=1e-5, atol=2e-6)
    assert slope.shape == (N,) and np.isfinite(slope).all()


def test_terms_add_up_with_masks_weights_and_temperatures():
    rows = [jnp.asarray(z, jnp.float32) for z in draw("infonce").rows]
    temperatures = jnp.linspace(0.1, 0.9, N)
    ids = jnp.arange(N) // 2
    options = {"where": KEPT, "weights": WEIGHTS}
    counted = WEIGHTS * KEPT
    for function, candidates in ((losses.infonce_terms, 6), (losses.nt_xent_terms, 11)):
        for more in ({}, {"positives": ids}):
            terms = function(*rows, temperature=0.3, **options, **more)
            whole = terms.uniformity - terms.alignment / 0.3 + jnp.log(candidates)
            np.testing.assert_allclose(terms.loss, whole, rtol=1e-5)
        terms = function(*rows, temperature=temperatures, **options)
        similarity = -references.negative_cosine(*(np.asarray(z, np.float64) for z in rows))
        logit = np.sum(similarity / temperatures * counted) / counted.sum()
        np.testing.assert_allclose(
            terms.loss, terms.uniformity - logit + np.log(candidates), rtol=1e-5
        )
        np.testing.assert_allclose(
            terms.alignment, np.sum(similarity * counted) / counted.sum(), rtol=1e-5
        )


# --- several positives ----------------------------------------------------------------------------


def test_several_positives_of_towers_of_two_lengths():
    """Five captions of each image: the same by ids and by a mask, and as the reference has it."""
    rng = np.random.default_rng(0)
    images, captions = rng.normal(size=(3, 5)), rng.normal(size=(15, 5))
    of_image = np.arange(15) % 3
    mask = np.arange(3)[:, None] == of_image[None, :]
    a, b = (jnp.asarray(z, jnp.float32) for z in (images, captions))
    s = references.similarities(images, captions, True) / 0.3
    for denominator in ("all", "negatives"):
        each = [
            references._of_several(s, mask, mask | True, denominator).mean(),
            references._of_several(s.T, mask.T, mask.T | True, denominator).mean(),
        ]
        for positives in ((np.arange(3), of_image), mask):
            options = {"temperature": 0.3, "positives": positives, "denominator": denominator}
            for how in ("dense", "tiled"):
                got = losses.infonce(a, b, **options, implementation=how)
                np.testing.assert_allclose(got, np.mean(each), rtol=1e-5)
            one_way = losses.infonce(a, b, **options, symmetric=False)
            np.testing.assert_allclose(one_way, each[0], rtol=1e-5)
    logits = 3.0 * s * 0.3 - 1
    expected = np.logaddexp(0, np.where(mask, -logits, logits)).sum(1).mean()
    got = losses.siglip(a, b, logit_scale=3.0, logit_bias=-1.0, positives=mask)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_one_positive_per_row_is_plain():
    a, b, queue = (jnp.asarray(z, jnp.float32) for z in draw("negatives beside").rows)
    alone = jnp.arange(N)
    for denominator in ("all", "negatives"):
        several = {"positives": alone, "denominator": denominator}
        for loss in (
            functools.partial(losses.infonce, a, b, negatives=queue, exclude=alone // 2),
            functools.partial(losses.nt_xent, a, b, exclude=alone // 2),
        ):
            np.testing.assert_allclose(
                loss(temperature=0.2, **several), loss(temperature=0.2), rtol=1e-6
            )


def test_all_denominators_of_nt_xent_are_sup_con():
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("nt_xent").rows)
    ids = jnp.arange(N) // 3
    got = losses.nt_xent(a, b, positives=ids, temperature=0.2)
    expected = losses.sup_con(jnp.concatenate([a, b]), jnp.tile(ids, 2), temperature=0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["dense", "tiled"])
@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_missing_positives_give_zero_and_finite_gradients(how, denominator):
    a, b = (jnp.asarray(z, jnp.float32) for z in draw("infonce").rows)
    nothing = jnp.zeros((N, N), bool)
    options = {"temperature": 0.1, "denominator": denominator, "implementation": how}
    for call in (
        lambda z: losses.infonce(z, b, positives=nothing, **options),
        lambda z: losses.sup_con(z, nothing, **options),
    ):
        value, gradient = jax.jit(jax.value_and_grad(call))(a)
        assert value == 0 and not gradient.any()


# --- the queue ------------------------------------------------------------------------------------


def test_the_queue_keeps_the_newest_keys():
    queue = losses.make_queue(jax.random.key(0), size=7, dim=3)
    np.testing.assert_allclose(np.linalg.norm(queue.keys, axis=1), 1, rtol=1e-6)
    step = jax.jit(losses.enqueue)
    for k in range(5):
        queue = step(queue, jnp.full((3, 3), float(k)))
    # The last seven of fifteen keys: three of 4, three of 3 and one of 2.
    assert sorted(queue.keys[:, 0].tolist()) == [2, 3, 3, 3, 4, 4, 4]
    assert queue.position == 15 % 7
    padded = step(queue, jnp.full((3, 3), 5.0), where=jnp.array([True, False, True]))
    assert sorted(padded.keys[:, 0].tolist()) == [3, 3, 4, 4, 4, 5, 5]
    assert padded.position == 17 % 7
    loss = losses.moco(jnp.eye(3), jnp.eye(3), queue.keys, temperature=0.5)
    assert jnp.isfinite(loss)
    slope = jax.grad(lambda z: losses.enqueue(queue, z).keys.sum())(jnp.ones((2, 3)))
    assert not slope.any()


def test_a_replicated_queue_takes_the_keys_of_all_devices():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    queue = losses.make_queue(jax.random.key(0), size=4, dim=3)
    enqueue = jax.shard_map(
        functools.partial(losses.enqueue, axis_name="data"),
        mesh=mesh,
        in_specs=(jax.P(), jax.P("data")),
        out_specs=jax.P(),
    )
    keys = jnp.arange(6.0).reshape(2, 3)
    got, expected = enqueue(queue, keys), losses.enqueue(queue, keys)
    np.testing.assert_array_equal(got.keys, expected.keys)


A = jnp.ones((4, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: losses.infonce(A, A, temperature=1, where=jnp.ones(3, bool)), r"where has.*\[4\]"),
        (lambda: losses.nt_xent(A, A, temperature=1, where=jnp.ones(4)), "float32; pass a boolean"),
        (lambda: losses.infonce(A, A, temperature=1, weights=jnp.ones(3)), r"weights.*row \[4\]"),
        (lambda: losses.moco(A, A, A, temperature=1, weights=-jnp.ones(4)), "weights has -1"),
        (
            lambda: losses.infonce(A, A, temperature=1, positives=jnp.ones((4, 3), bool)),
            r"positives is .*mask \[4, 4\]",
        ),
        (
            lambda: losses.infonce(A, A[:2], temperature=1, positives=jnp.arange(4)),
            r"a tuple of integers \[4\] and \[2\]",
        ),
        (
            lambda: losses.siglip(A, A, logit_scale=1.0, logit_bias=0.0, positives=jnp.ones(4)),
            "positives is",
        ),
        (lambda: losses.infonce(A, A, temperature=1, denominator="negatives"), "pass positives"),
        (lambda: losses.sup_con(A, jnp.arange(4), temperature=1, denominator="x"), "is 'x'"),
        (lambda: losses.infonce(A, A[:2], temperature=1), "pass the others as negatives"),
        (
            lambda: losses.infonce(
                A,
                A[:2],
                temperature=1,
                positives=(jnp.arange(4), jnp.arange(2)),
                where=jnp.ones(4, bool),
            ),
            "z1 has 4 rows and z2 has 2, and where is for",
        ),
        (
            lambda: losses.infonce(A, A, temperature=1, positives=(jnp.arange(4),) * 3),
            "positives is",
        ),
        (lambda: losses.moco(A, A, jnp.ones((5, 2)), temperature=1), r"must be \[queue, 3\]"),
        (
            lambda: losses.enqueue(losses.make_queue(jax.random.key(0), 8, 2), A),
            r"keys has shape \(4, 3\); the queue takes \[batch, 2\]",
        ),
        (
            lambda: losses.enqueue(losses.make_queue(jax.random.key(0), 3, 3), A),
            "keys has 4 rows and the queue holds 3",
        ),
        (lambda: losses.make_queue(jax.random.key(0), 0, 3), "size is 0"),
    ],
)
def test_bad_rows_are_refused(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call()
