"""Encoders: published parameter counts, shapes, normalisation, precision, and error messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infonce_jax import encoders

TINY = {
    "linear": {},
    "mlp": {"width": 16, "depth": 3},
    "resnet18": {"width": 8},
    "vit": {"width": 12, "depth": 1, "num_heads": 3, "patch_size": 4},
}


def normal(*shape, seed=0):
    """Drawn by NumPy, because compiling JAX's draws takes longer than the tests."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def images():
    return normal(4, 8, 8, 3)


def make(name, **options):
    """A small encoder; of a ResNet, two stages of one block, because the CPU compiles it sooner."""
    encoder = encoders.make_encoder(name, **{"embedding_dim": 6, **TINY[name], **options})
    if name == "resnet18":
        encoder = encoder.clone(backbone=encoder.backbone.clone(stages=(1, 1)))
    return encoder


def initialised(name, x, seed=0, **options):
    """A small encoder and variables as they could be after some steps."""
    encoder = make(name, **options)
    abstract = jax.eval_shape(lambda key: encoders.init(encoder, key, x), jax.random.key(0))

    def draw(path, leaf):
        if leaf.ndim == 1:
            return (path[-1].key in ("scale", "var")) + 0.1 * jnp.abs(
                normal(*leaf.shape, seed=seed)
            )
        return normal(*leaf.shape, seed=seed) / np.sqrt(np.prod(leaf.shape[:-1]))

    return encoder, jax.tree_util.tree_map_with_path(draw, abstract)


def jitted(encoder, *, train):
    return jax.jit(lambda variables, x: encoders.apply(encoder, variables, x, train=train))


def parameters(name, shape, **options):
    encoder = encoders.make_encoder(name, **options)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda key, x: encoders.init(encoder, key, x), jax.random.key(0), x)
    return encoders.count_parameters(variables)


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


def test_vit_has_the_published_number_of_parameters():
    options = {"width": 768, "depth": 12, "num_heads": 12, "patch_size": 16}
    assert parameters("vit", (1, 224, 224, 3), embedding_dim=1000, **options) == 86_567_656


def test_linear_and_mlp_count_their_layers():
    assert parameters("linear", (1, 100), embedding_dim=10) == 1010
    assert parameters("linear", (1, 4, 4, 3), embedding_dim=10) == 490
    two = 100 * 20 + 20 + 20 * 10 + 10
    assert parameters("mlp", (1, 100), embedding_dim=10, width=20) == two
    assert parameters("mlp", (1, 100), embedding_dim=10, width=20, depth=3) == two + 420
    head = {"head": "mlp", "head_hidden": 7, "head_dim": 3}
    assert parameters("linear", (1, 100), embedding_dim=10, **head) == 1010 + 77 + 24


@pytest.mark.parametrize("name", TINY)
def test_outputs_are_float32_of_the_sizes_asked_for(name):
    x = images()
    encoder, variables = initialised(name, x, head="mlp", head_hidden=5, head_dim=3)
    outputs, batch_stats = jitted(encoder, train=False)(variables, x)
    assert outputs.encoder.shape == (4, 6)
    assert outputs.head.shape == (4, 3)
    assert outputs.encoder.dtype == outputs.head.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jax.tree.structure(batch_stats) == jax.tree.structure(variables["batch_stats"])


def test_shapes_of_the_larger_networks():
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

    def shapes(name, **options):
        encoder = encoders.make_encoder(name, embedding_dim=None, **options)

        def run(key, x):
            return encoders.apply(encoder, encoders.init(encoder, key, x), x, train=True)[0]

        return jax.eval_shape(run, jax.random.key(0), x).encoder.shape

    assert shapes("resnet34", stem="imagenet", width=16) == (2, 128)
    assert shapes("resnet50", stem="imagenet") == (2, 2048)
    assert shapes("resnet50", norm="none", zero_init_residual=True) == (2, 2048)
    assert shapes("vit", pool="mean", patch_size=8) == (2, 192)


def test_without_a_head_both_outputs_are_the_representation():
    x = normal(4, 5)
    encoder, variables = initialised("mlp", x)
    outputs, _ = encoders.apply(encoder, variables, x, train=True)
    np.testing.assert_array_equal(outputs.encoder, outputs.head)


@pytest.mark.parametrize("activation", sorted(encoders.ACTIVATIONS))
def test_mlp_agrees_with_numpy(activation):
    x = images()
    encoder, variables = initialised("mlp", x, activation=activation, head="linear", head_dim=3)
    outputs, _ = encoders.apply(encoder, variables, x, train=True)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    function = {
        "elu": lambda t: np.where(t > 0, t, np.expm1(np.minimum(t, 0))),
        "gelu": lambda t: 0.5 * t * (1 + np.tanh(np.sqrt(2 / np.pi) * (t + 0.044715 * t**3))),
        "identity": lambda t: t,
        "relu": lambda t: np.maximum(t, 0),
        "silu": lambda t: t / (1 + np.exp(-t)),
        "tanh": np.tanh,
    }[activation]

    def dense(layer, t):
        return t @ layer["kernel"] + layer["bias"]

    hidden = np.asarray(x, np.float64).reshape(4, -1)
    for layer in ("Dense_0", "Dense_1"):
        hidden = function(dense(params["backbone"][layer], hidden))
    expected = dense(params["embedding"], hidden)
    np.testing.assert_allclose(outputs.encoder, expected, atol=1e-5)
    np.testing.assert_allclose(outputs.head, dense(params["head_out"], expected), atol=1e-5)


def test_batchnorm_agrees_with_numpy_in_training_and_evaluation():
    x = 3 + 2 * normal(32, 5)
    encoder, variables = initialised("linear", x, head="mlp", head_hidden=7, head_norm="batch")
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])

    def expected(outputs, moments):
        hidden = np.asarray(outputs.encoder, np.float64) @ params["head_hidden"]["kernel"]
        hidden = hidden + params["head_hidden"]["bias"]
        mean, var = moments or (hidden.mean(0), hidden.var(0))
        normal = (hidden - mean) / np.sqrt(var + 1e-5)
        normal = normal * params["BatchNorm_0"]["scale"] + params["BatchNorm_0"]["bias"]
        head = np.maximum(normal, 0) @ params["head_out"]["kernel"] + params["head_out"]["bias"]
        return head, hidden.mean(0), hidden.var(0)

    trained, stats = encoders.apply(encoder, variables, x, train=True)
    head, mean, var = expected(trained, None)
    np.testing.assert_allclose(trained.head, head, atol=1e-4)
    (found,) = stats.values()
    (before,) = variables["batch_stats"].values()
    np.testing.assert_allclose(found["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(found["var"], 0.9 * before["var"] + 0.1 * var, rtol=1e-4)

    variables = {**variables, "batch_stats": stats}
    evaluated, kept = encoders.apply(encoder, variables, x, train=False)
    head, _, _ = expected(evaluated, (np.asarray(found["mean"]), np.asarray(found["var"])))
    np.testing.assert_allclose(evaluated.head, head, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, kept, stats)


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


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_is_close_to_float32(name):
    x = images()
    head = {"head": "mlp", "head_hidden": 64, "head_dim": 16}
    single, variables = initialised(name, x, **head)
    half = make(name, dtype=jnp.bfloat16, **head)
    found = [jitted(encoder, train=False)(variables, x)[0] for encoder in (single, half)]
    for single, half in zip(*found, strict=True):
        assert half.dtype == jnp.float32
        assert np.linalg.norm(single - half) < 0.05 * np.linalg.norm(single)
        assert (single != half).any()


def test_bfloat16_embeddings_are_summed_in_float32():
    x = normal(64, 512)
    encoder, variables = initialised("linear", x, dtype=jnp.bfloat16)
    z = np.asarray(encoders.apply(encoder, variables, x, train=False)[0].encoder)
    assert (z != z.astype(jnp.bfloat16).astype(np.float32)).mean() > 0.9


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


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [((8, 8), 3, 1), ((8, 9), 3, 2), ((8, 8), 1, 2), ((13, 12), 7, 2)],
)
def test_convolutions_on_the_cpu_agree_with_xla_s(shape, size, stride):
    x, kernel = normal(2, 3, *shape, 4), normal(2, size, size, 4, 5, seed=1)
    padding = ((size // 2,) * 2,) * 2

    def reference(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def fast(x, kernel):
        return encoders._conv_on_cpu(x, kernel, (stride, stride), padding)

    def gradient(conv, x, kernel):
        return jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel) ** 3), (0, 1))(x, kernel)

    def curvature(conv, x, kernel):
        return jax.jvp(functools.partial(gradient, conv), (x, kernel), (x, kernel))

    def close(found, expected):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))

    for i in range(2):
        close(fast(x[i], kernel[i]), reference(x[i], kernel[i]))
    compared = gradient if size != 3 or stride != 2 else curvature
    found = jax.jit(jax.vmap(functools.partial(compared, fast)))(x, kernel)
    one = jax.jit(functools.partial(compared, reference))
    alone = [one(x[i], kernel[i]) for i in range(2)]
    close(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))


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


def test_convolutions_start_from_he_and_dense_layers_from_lecun():
    encoder = make("resnet18", width=32, embedding_dim=256)
    variables = encoders.init(encoder, jax.random.key(0), images())
    params = variables["params"]
    kernel = params["backbone"]["ResidualBlock_1"]["Conv_0"]["kernel"]
    assert kernel.shape == (3, 3, 32, 64)
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    assert np.std(params["embedding"]["kernel"]) == pytest.approx(np.sqrt(1 / 64), rel=0.03)
    assert set(variables) == {"params", "batch_stats"}
    constant = {"bias": 0, "mean": 0, "scale": 1, "var": 1}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if path[-1].key in constant:
            np.testing.assert_array_equal(leaf, constant[path[-1].key])


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


def test_classifier_is_a_linear_layer():
    classifier = encoders.make_classifier(10)
    z = jnp.ones((4, 6))
    variables = classifier.init(jax.random.key(0), z)
    assert classifier.apply(variables, z).shape == (4, 10)
    assert encoders.count_parameters(variables) == 70


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "Unknown encoder 'resnet19'; choose one of linear, mlp, resnet18"),
        ("mlp", {"activation": "rleu"}, "Unknown activation 'rleu'; choose one of elu, gelu"),
        ("resnet18", {"norm": "layer"}, "Unknown norm 'layer'; choose one of batch, group, none"),
        ("resnet18", {"stem": "small"}, "Unknown stem 'small'; choose one of cifar, imagenet"),
        ("vit", {"pool": "max"}, "Unknown pool 'max'; choose one of mean, token"),
        ("mlp", {"head": "deep"}, "Unknown head 'deep'; choose one of none, linear, mlp"),
        ("mlp", {"head_norm": "x"}, "Unknown head norm 'x'"),
        ("mlp", {"width": 0}, "width is 0, but must be at least 1"),
        ("mlp", {"embedding_dim": -1}, "embedding_dim is -1, but must be at least 1"),
        ("vit", {"width": 10, "num_heads": 4}, "num_heads 4 does not divide width 10"),
        ("linear", {"embedding_dim": None}, "embedding_dim cannot be None"),
        ("mlp", {"embedding_dim": None, "depth": 1}, "embedding_dim cannot be None"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        encoders.make_encoder(name, **options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vit", (2, 10, 8, 3), "height 10 and width 8 are not both multiples of patch_size 4"),
        ("vit", (2, 12), r"A ViT takes images .* but its input has the shape \[2, 12\]"),
        ("resnet18", (2, 12), r"A ResNet takes images .* but its input has the shape \[2, 12\]"),
        ("mlp", (8,), r"but its input is float32\[8\]"),
    ],
)
def test_impossible_inputs_are_refused(name, shape, message):
    encoder = make(name)
    with pytest.raises(ValueError, match=message):
        encoders.init(encoder, jax.random.key(0), jnp.zeros(shape))


def test_integer_inputs_and_single_classes_are_refused():
    encoder = encoders.make_encoder("mlp")
    with pytest.raises(ValueError, match=r"takes floating-point .* uint8\[2, 8, 8, 3\]"):
        encoders.init(encoder, jax.random.key(0), jnp.zeros((2, 8, 8, 3), jnp.uint8))
    with pytest.raises(ValueError, match="num_classes is 1"):
        encoders.make_classifier(1)
