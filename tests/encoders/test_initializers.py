"""Initial values: their laws, their independence, and modules that start right by themselves."""

import doctest
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from small_encoders import images, make

from infonce_jax import encoders
from infonce_jax.encoders.initializers import conv_initializers, dense_initializers

FLAT = {"linear": {}, "resnet18": {"width": 16, "norm": "none"}, "vit": {"width": 48}}


def leaves(variables):
    found = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {jax.tree_util.keystr(path): np.asarray(leaf, np.float64) for path, leaf in found}


@functools.cache
def started(name, initializer, seed=0):
    encoder = make(name, initializer=initializer, head="mlp", **FLAT[name])
    return leaves(encoders.init(encoder, jax.random.key(seed), images()))


def fan_in(kernel):
    return math.prod(kernel.shape[:-1])


@pytest.mark.parametrize("name", FLAT)
def test_normal_kernels_have_their_variances_and_are_normal(name):
    start = started(name, "normal")
    random = {path: leaf for path, leaf in start.items() if "kernel" in path or "positions" in path}
    for path, leaf in start.items():
        if path not in random:
            np.testing.assert_array_equal(leaf, 1.0 if "scale" in path else 0.0)
    z = []
    for path, leaf in random.items():
        variance = 1 / fan_in(leaf)
        if leaf.ndim == 4:
            variance = 2 / (leaf.shape[0] * leaf.shape[1] * leaf.shape[3])
        z.append(leaf.ravel() / (0.02 if "positions" in path else math.sqrt(variance)))
        n = leaf.size
        assert abs(z[-1].mean()) < 4 / math.sqrt(n), path
        assert abs((z[-1] ** 2).mean() - 1) < 4 * math.sqrt(2 / n), path
    # Each layer, not only all of them together, passes as standard normal.
    assert min(stats.kstest(leaf, "norm").pvalue for leaf in z) > 1e-4
    assert stats.kstest(np.concatenate(z), "norm").pvalue > 1e-3


@pytest.mark.parametrize("name", FLAT)
def test_pytorch_s_kernels_and_biases_are_uniform_in_one_over_root_inputs(name):
    start = started(name, "pytorch")
    checked = 0
    for path, leaf in start.items():
        kernel = start.get(path.replace("'bias'", "'kernel'"))
        if kernel is None or not path.endswith(("['kernel']", "['bias']")):
            continue
        # torch.nn.Linear and Conv2d: kaiming_uniform_(a=√5), of bound √(6 / (1 + 5) / inputs).
        bound = math.sqrt(6 / (1 + 5) / fan_in(kernel))
        assert np.abs(leaf).max() <= bound * (1 + 1e-6), path
        assert stats.kstest(leaf.ravel() / bound, "uniform", (-1, 2)).pvalue > 1e-4, path
        if leaf.size > 500:
            assert np.abs(leaf).max() > 0.99 * bound, path
            assert leaf.var() == pytest.approx(bound**2 / 3, rel=5 / math.sqrt(leaf.size)), path
        checked += 1
    assert checked >= 6


@pytest.mark.parametrize("initializer", encoders.INITIALIZERS)
def test_leaves_and_seeds_are_independent(initializer):
    one, other = (started("resnet18", initializer, seed) for seed in (0, 1))
    kernels = [leaf.ravel() for path, leaf in one.items() if "kernel" in path]
    again = [leaf.ravel() for path, leaf in other.items() if "kernel" in path]
    pairs = [*zip(kernels, again, strict=True)]
    pairs += [(a, b) for i, a in enumerate(kernels) for b in kernels[:i]]
    for a, b in pairs:
        n = min(a.size, b.size)
        assert abs(np.corrcoef(a[:n], b[:n])[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize("initializer", encoders.INITIALIZERS)
def test_members_start_as_they_would_alone(initializer):
    encoder, x = make("resnet18", initializer=initializer, norm="none"), images()
    keys = jax.random.split(jax.random.key(3), 3)
    together = jax.jit(jax.vmap(lambda key: encoders.init(encoder, key, x)))(keys)
    for member, key in enumerate(keys):
        alone = encoders.init(encoder, key, x)
        jax.tree.map(
            lambda a, b, member=member: np.testing.assert_allclose(a[member], b, rtol=1e-6),
            together,
            alone,
        )


def test_a_module_starts_by_itself_as_in_an_encoder():
    encoder, x, key = make("mlp"), images(), jax.random.key(0)
    compiled, plain = encoders.init(encoder, key, x), encoder.init(key, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        compiled["params"],
        plain["params"],
    )
    # An untyped key, as much code outside of this package has.
    raw = encoder.init(jax.random.PRNGKey(0), x)
    jax.tree.map(np.testing.assert_array_equal, plain, raw)


def test_representations_start_near_unit_variance():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 200)), jnp.float32)
    encoder = encoders.make_encoder("linear", embedding_dim=200)
    z = encoders.init(encoder, jax.random.key(0), x)
    outputs, _ = encoders.apply(encoder, z, x, train=False)
    assert np.var(outputs.encoder) == pytest.approx(1, abs=0.05)


def test_a_module_trains_in_someone_else_s_loop():
    images = jax.random.normal(jax.random.key(0), (32, 8, 8, 3))
    labels = (images.mean(axis=(1, 2, 3)) > 0).astype(int)
    model = encoders.Encoder(encoders.ViT(depth=1, num_heads=2, width=32), embedding_dim=2)
    params = model.init(jax.random.key(1), images)
    optimizer = optax.adam(1e-2)

    def loss(params):
        logits = model.apply(params, images).encoder
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, values = optimizer.init(params), []
    for _ in range(30):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[0] < 2 and values[-1] < 0.5 * values[0]


def test_the_example_of_the_package_works():
    result = doctest.testmod(encoders)
    assert result.attempted > 0 and result.failed == 0


def test_unknown_initialisers_are_refused():
    message = "Unknown initializer 'he'; choose one of normal, pytorch"
    with pytest.raises(ValueError, match=message):
        encoders.make_encoder("mlp", initializer="he")
    with pytest.raises(ValueError, match=message):
        encoders.make_classifier(3, initializer="he")
    with pytest.raises(ValueError, match=message):
        dense_initializers("he", 3)
    with pytest.raises(ValueError, match=message):
        conv_initializers("he", 3, 4, 5)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (encoders.ResNet(stem="small"), "Unknown stem 'small'"),
        (encoders.ResNet(norm="layer"), "Unknown norm 'layer'"),
        (encoders.ViT(pool="max"), "Unknown pool 'max'"),
        (encoders.ViT(width=10), "num_heads 3 does not divide width 10"),
        (encoders.MLP(activation="rleu"), "Unknown activation 'rleu'"),
        (encoders.Encoder(encoders.MLP(), head="deep"), "Unknown head 'deep'"),
    ],
)
def test_modules_used_alone_refuse_unknown_options(module, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), images())
