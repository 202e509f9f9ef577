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
    "resnet18": {"width": 4},
    "vit": {"width": 12, "depth": 2, "num_heads": 3, "patch_size": 4},
}


def images(batch=4, size=8, seed=0):
    return jax.random.normal(jax.random.key(seed), (batch, size, size, 3))


def initialised(name, x, seed=0, **options):
    encoder = encoders.make_encoder(name, **{"embedding_dim": 6, **TINY.get(name, {}), **options})
    return encoder, jax.jit(lambda key: encoders.init(encoder, key, x))(jax.random.key(seed))


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
    x = jax.random.normal(jax.random.key(0), (4, 5))
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
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (32, 5))
    encoder, variables = initialised("linear", x, head="mlp", head_hidden=7, head_norm="batch")
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])

    def expected(outputs, moments):
        hidden = np.asarray(outputs.encoder, np.float64) @ params["head_hidden"]["kernel"]
        hidden = hidden + params["head_hidden"]["bias"]
        mean, var = moments or (hidden.mean(0), hidden.var(0))
        normal = np.maximum((hidden - mean) / np.sqrt(var + 1e-5), 0)
        head = normal @ params["head_out"]["kernel"] + params["head_out"]["bias"]
        return head, hidden.mean(0), hidden.var(0)

    trained, stats = encoders.apply(encoder, variables, x, train=True)
    head, mean, var = expected(trained, None)
    np.testing.assert_allclose(trained.head, head, atol=1e-4)
    (found,) = stats.values()
    np.testing.assert_allclose(found["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * var, rtol=1e-4)

    variables = {**variables, "batch_stats": stats}
    evaluated, kept = encoders.apply(encoder, variables, x, train=False)
    head, _, _ = expected(evaluated, (np.asarray(found["mean"]), np.asarray(found["var"])))
    np.testing.assert_allclose(evaluated.head, head, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, kept, stats)


@functools.cache
def tiny_resnet(norm):
    x = images(batch=6)
    encoder, variables = initialised("resnet18", x, norm=norm)
    return x, variables, jitted(encoder, train=True)


def test_batchnorm_couples_the_batch_and_groupnorm_does_not():
    coupled = {}
    for norm in ("batch", "group"):
        x, variables, run = tiny_resnet(norm)
        whole = run(variables, x)[0].encoder
        other = run(variables, x.at[3:].multiply(3.0))[0].encoder
        coupled[norm] = not np.allclose(whole[:3], other[:3], atol=1e-4)
    assert coupled == {"batch": True, "group": False}


def test_evaluation_does_not_depend_on_the_rest_of_the_batch():
    x = images(batch=6)
    encoder, variables = initialised("resnet18", x)
    run = jitted(encoder, train=False)
    whole = run(variables, x)[0].encoder
    other = run(variables, x.at[3:].multiply(3.0))[0].encoder
    np.testing.assert_allclose(whole[:3], other[:3], atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_is_close_to_float32(name):
    x = images(batch=16)
    found = []
    for dtype in (jnp.float32, jnp.bfloat16):
        encoder, variables = initialised(name, x, head="linear", norm="group", dtype=dtype)
        found.append(jitted(encoder, train=False)(variables, x)[0])
    for single, half in zip(*found, strict=True):
        assert half.dtype == jnp.float32
        assert np.linalg.norm(single - half) < 0.05 * np.linalg.norm(single)
        assert (single != half).any()


def test_bfloat16_embeddings_are_summed_in_float32():
    x = jax.random.normal(jax.random.key(0), (64, 512))
    encoder, variables = initialised("linear", x, dtype=jnp.bfloat16)
    z = np.asarray(encoders.apply(encoder, variables, x, train=False)[0].encoder)
    assert (z != z.astype(jnp.bfloat16).astype(np.float32)).mean() > 0.9


def test_vmapped_members_equal_separate_ones():
    x, _, _ = tiny_resnet("batch")
    encoder, _ = initialised("resnet18", x)
    keys = jax.random.split(jax.random.key(5), 2)
    members = jax.jit(jax.vmap(lambda key: encoders.init(encoder, key, x)))(keys)

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
    [((8, 8), 3, 1), ((8, 9), 3, 2), ((7, 10), 3, 2), ((8, 8), 1, 2), ((13, 12), 7, 2)],
)
def test_convolutions_on_the_cpu_agree_with_xla_s(shape, size, stride):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 3, *shape, 4))
    kernel = jax.random.normal(keys[1], (2, size, size, 4, 5))
    padding = ((size // 2,) * 2,) * 2

    def reference(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def fast(x, kernel):
        return encoders._conv_on_cpu(x, kernel, (stride, stride), padding)

    def curvature(conv, x, kernel):
        """Products of the Hessian, for derivatives of second order."""

        def gradient(x, kernel):
            return jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel) ** 3), (0, 1))(x, kernel)

        return jax.jvp(gradient, (x, kernel), (x, kernel))

    for i in range(2):
        np.testing.assert_allclose(
            fast(x[i], kernel[i]), reference(x[i], kernel[i]), rtol=1e-5, atol=1e-4
        )
    mapped = jax.jit(jax.vmap(functools.partial(curvature, fast)))(x, kernel)
    expected = jax.jit(jax.vmap(functools.partial(curvature, reference)))(x, kernel)
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))


def test_zero_initialised_residual_blocks_start_as_the_identity():
    block = encoders.ResidualBlock(
        channels=4,
        stride=1,
        bottleneck=False,
        norm="batch",
        zero_init_residual=True,
        dtype=jnp.float32,
    )
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    variables = block.init(jax.random.key(1), x, train=False)
    out = block.apply(variables, x, train=False)
    np.testing.assert_array_equal(out, jnp.maximum(x, 0))


def test_convolutions_start_from_he_and_dense_layers_from_lecun():
    encoder = encoders.make_encoder("resnet18", width=32, embedding_dim=64)
    params = encoders.init(encoder, jax.random.key(0), images(batch=1))["params"]
    kernel = params["backbone"]["ResidualBlock_7"]["Conv_1"]["kernel"]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.01)
    assert np.std(params["embedding"]["kernel"]) == pytest.approx(np.sqrt(1 / 256), rel=0.03)


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
    encoder = encoders.make_encoder(name, **TINY[name])
    with pytest.raises(ValueError, match=message):
        encoders.init(encoder, jax.random.key(0), jnp.zeros(shape))


def test_integer_inputs_and_single_classes_are_refused():
    encoder = encoders.make_encoder("mlp")
    with pytest.raises(ValueError, match=r"takes floating-point .* uint8\[2, 8, 8, 3\]"):
        encoders.init(encoder, jax.random.key(0), jnp.zeros((2, 8, 8, 3), jnp.uint8))
    with pytest.raises(ValueError, match="num_classes is 1"):
        encoders.make_classifier(1)
