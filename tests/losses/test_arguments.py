"""Arguments that are not what they should be: one clear paragraph instead of JAX's or a wrong loss."""

import functools
import inspect
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import infonce_jax
from infonce_jax import losses

A = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
LABELS = jnp.array([0, 1, 0, 1])
PRIOR = {"positive_prior": 0.1, "hardness": 0.5}

# objective on its arrays, and all of its scalar parameters
OBJECTIVES = {
    "infonce": (functools.partial(losses.infonce, A, A), {"temperature": 0.5}),
    "infonce_terms": (functools.partial(losses.infonce_terms, A, A), {"temperature": 0.5}),
    "nt_xent": (functools.partial(losses.nt_xent, A, A), {"temperature": 0.5}),
    "nt_xent_terms": (functools.partial(losses.nt_xent_terms, A, A), {"temperature": 0.5}),
    "dcl": (functools.partial(losses.dcl, A, A), {"temperature": 0.5}),
    "debiased": (functools.partial(losses.debiased_infonce, A, A), {"temperature": 0.5, **PRIOR}),
    "sup_con": (functools.partial(losses.sup_con, A, LABELS), {"temperature": 0.5}),
    "moco": (functools.partial(losses.moco, A, A, A), {"temperature": 0.5}),
    "clip": (functools.partial(losses.clip, A, A), {"logit_scale": 2.0, "logit_bias": 0.0}),
    "siglip": (functools.partial(losses.siglip, A, A), {"logit_scale": 2.0, "logit_bias": -1.0}),
    "alignment": (functools.partial(losses.alignment, A, A), {"exponent": 2.0}),
    "uniformity": (functools.partial(losses.uniformity, A), {"t": 2.0}),
    "barlow_twins": (
        functools.partial(losses.barlow_twins, A, A),
        {"off_diagonal_weight": 5e-3, "epsilon": 1e-5},
    ),
    "vicreg": (
        functools.partial(losses.vicreg, A, A),
        {
            "invariance_weight": 25.0,
            "variance_weight": 25.0,
            "covariance_weight": 1.0,
            "epsilon": 1e-4,
        },
    ),
    "regulariser": (functools.partial(losses.norm_entropy_regulariser, A), {"norm_weight": 1.0}),
    "knn_entropy": (functools.partial(losses.knn_entropy, A), {"k": 3}),
    "kernel_entropy": (functools.partial(losses.kernel_entropy, A), {"bandwidth": 0.5}),
}
PARAMETERS = [
    (name, parameter) for name, (_, scalars) in OBJECTIVES.items() for parameter in scalars
]
# One per row, of the four rows of A.
BY_ROW = ("temperature", "logit_scale")
STATIC = ("positive_prior", "hardness", "exponent", "k", "bandwidth")

# What is passed here is wrong on purpose.
pytestmark = pytest.mark.usefixtures("unchecked_types")


@pytest.mark.parametrize("name, parameter", PARAMETERS)
def test_scalars_are_scalars(name, parameter):
    objective, scalars = OBJECTIVES[name]

    def call(value):
        return objective(**{**scalars, parameter: value})

    # Nothing is computed: the refusal comes with tracing.
    one_per_row = parameter in BY_ROW
    if one_per_row:
        jax.eval_shape(call, jnp.ones(4))
    for shape in ((1,), (3,) if one_per_row else (4,), (4, 1)):
        message = rf"{parameter} must be a scalar, it has shape {re.escape(str(shape))}.*jax\.vmap"
        with pytest.raises(ValueError, match=message):
            call(jnp.ones(shape))
    with pytest.raises(TypeError, match=f"{parameter} is '0.1', of type str"):
        call("0.1")
    with pytest.raises(TypeError, match=rf"{parameter} is \[0.1\], of type list"):
        call([0.1])
    with pytest.raises(TypeError, match=f"{parameter} has dtype complex64"):
        call(jnp.complex64(1))
    if parameter in STATIC:
        with pytest.raises(TypeError, match=f"(?s){parameter} is traced.*static_argnames"):
            jax.eval_shape(call, 0.5)
    else:
        with pytest.raises(ValueError, match=rf"{parameter} must be a scalar, it has shape \(2,\)"):
            jax.eval_shape(call, jnp.ones(2))
        jax.eval_shape(call, 0.5)
        for kind in (float, np.float32, np.asarray, jnp.bfloat16):
            jax.eval_shape(lambda kind=kind: call(kind(scalars[parameter])))


@pytest.mark.parametrize(
    "objective",
    [losses.infonce, losses.infonce_terms, losses.nt_xent, losses.moco, losses.sup_con],
)
def test_options_are_static(objective):
    arrays = {losses.moco: (A, A, A), losses.sup_con: (A, LABELS)}.get(objective, (A, A))
    options = {"normalize": True, "tile": (4, 4)}
    if "symmetric" in inspect.signature(objective).parameters:
        options["symmetric"] = False
    for name, value in options.items():
        with pytest.raises(TypeError, match=rf"(?s){name} is traced.*partial.*static_argnames"):
            jax.jit(objective)(*arrays, temperature=0.1, **{name: value})
        compiled = jax.jit(objective, static_argnames=name)
        compiled.eval_shape(*arrays, temperature=0.1, **{name: value})


@pytest.mark.parametrize("tile", [8, (8,), (8, 8, 8), (8.0, 8), "88", (0, 8)])
def test_a_tile_is_two_integers(tile):
    with pytest.raises(ValueError, match=rf"tile is {re.escape(repr(tile))}; .*two integers"):
        losses.infonce(A, A, temperature=0.1, tile=tile)


def test_a_flag_is_true_or_false():
    for value in ("no", None, 2):
        with pytest.raises(TypeError, match=f"symmetric is {value!r}; pass True or False"):
            losses.infonce(A, A, temperature=0.1, symmetric=value)


@pytest.mark.parametrize(
    "name, call",
    [
        ("z1", lambda z: losses.infonce(z, z, temperature=1)),
        ("z2", lambda z: losses.nt_xent_terms(A, z, temperature=1)),
        ("z1", lambda z: losses.dcl(z, z, temperature=1)),
        ("z1", lambda z: losses.debiased_infonce(z, z, temperature=1)),
        ("z", lambda z: losses.sup_con(z, LABELS, temperature=1)),
        ("positives", lambda z: losses.sup_con(A, [0, 1, 0, 1], temperature=1)),
        ("exclude", lambda z: losses.infonce(A, A, temperature=1, exclude=[0, 1, 0, 1])),
        ("negatives", lambda z: losses.moco(A, A, z, temperature=1)),
        ("text", lambda z: losses.clip(A, z, logit_scale=1.0)),
        ("image", lambda z: losses.siglip(z, A, logit_scale=1.0, logit_bias=0.0)),
        ("z", losses.uniformity),
        ("z", losses.safe_normalize),
        ("target", lambda z: losses.negative_cosine(A, z)),
        ("z", lambda z: losses.norm_entropy_regulariser(z, norm_weight=1.0)),
        ("z", losses.gaussian_entropy),
    ],
)
def test_lists_are_no_arrays(name, call):
    with pytest.raises(TypeError, match=rf"{name} is a list; pass an array.*jnp\.asarray"):
        call(A.tolist())


def test_a_queue_is_no_array_and_its_keys_are_named():
    queue = losses.make_queue(jax.random.key(0), size=4, dim=A.shape[1])
    with pytest.raises(TypeError, match=r"negatives is a Queue; .* such as its field 'keys'"):
        losses.infonce(A, A, temperature=0.1, negatives=queue)


def test_variables_of_flax_are_arrays():
    got = losses.clip(nnx.Param(A), A, logit_scale=nnx.Param(jnp.float32(2)))
    np.testing.assert_allclose(got, losses.clip(A, A, logit_scale=2.0), rtol=1e-6)
    with pytest.raises(ValueError, match=r"logit_scale is .*must be positive"):
        losses.clip(A, A, logit_scale=nnx.Param(jnp.float32(-2)))


def test_the_cosine_is_pointed_to():
    with pytest.raises(ValueError, match="'inner_product' with normalize=True, the default"):
        losses.infonce(A, A, temperature=0.1, similarity="cosine")


def test_second_derivatives_of_the_tiled_form_are_those_of_the_dense_one():
    # The rows of a triangle's end have no candidate above the diagonal.
    b = A[::-1] + 0.5

    def curvature(implementation):
        def loss(temperature):
            return losses.nt_xent(A, b, temperature=temperature, implementation=implementation)

        return jax.jit(jax.hessian(loss))

    tiled, dense = curvature("tiled"), curvature("dense")
    for temperature in (0.5, 0.02):
        np.testing.assert_allclose(tiled(temperature), dense(temperature), rtol=1e-3)


def test_public_names_exist():
    for name in infonce_jax.__all__:
        assert getattr(infonce_jax, name) is not None


@pytest.mark.parametrize("name, parameter", PARAMETERS)
def test_scalars_may_be_arrays_that_jit_closes_over(name, parameter):
    objective, scalars = OBJECTIVES[name]
    value = jnp.asarray(scalars[parameter])
    # A comparison of a known array is traced there as well.
    jax.eval_shape(lambda: objective(**{**scalars, parameter: value}))


def test_flags_may_be_arrays_that_jit_closes_over():
    a, yes = jnp.ones((4, 3)), jnp.array(True)
    for no in (jnp.array(False), np.array(False)):
        jax.eval_shape(
            lambda no=no: losses.infonce(a, a, temperature=1, normalize=yes, symmetric=no)
        )


def test_numpy_rows_in_float64_are_taken_in_the_precision_that_jax_has():
    rows = np.random.default_rng(0).normal(size=(4, 3))
    with warnings.catch_warnings(action="error"):
        assert losses.infonce(rows, rows, temperature=0.5).dtype == jnp.float32
