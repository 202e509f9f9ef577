"""η₂: exact cases against each other, against draws, and the estimate against the exact."""

import numpy as np
import pytest

from infonce_jax.theory import mildness


@pytest.mark.parametrize("strength", [0.05, 0.3, 1.0, 2.0, 5.0])
def test_the_grid_recovers_gaussian_noise_on_a_gaussian(strength):
    got = mildness.additive_noise(lambda x: -(x**2) / 2, strength, support=(-12, 12))
    assert got == pytest.approx(1 / (1 + strength**2), abs=1e-8)
    assert mildness.gaussian_noise(strength) == 1 / (1 + strength**2)


@pytest.mark.parametrize("q", [0.5, 0.1, 1 / 32])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.45, 0.9])
def test_bits_agree_with_their_joint_law(q, p):
    flip = np.array([[(1 - q) * (1 - p), (1 - q) * p], [q * p, q * (1 - p)]])
    erased = np.array([[1 - q, 0], [q * p, q * (1 - p)]])
    marked = np.array([[(1 - q) * (1 - p), 0, (1 - q) * p], [0, q * (1 - p), q * p]])
    assert mildness.bernoulli_flip(q, p) == pytest.approx(mildness.finite(flip), abs=1e-8)
    assert mildness.bernoulli_erasure(q, p) == pytest.approx(mildness.finite(erased), abs=1e-8)
    assert mildness.erasure(p) == pytest.approx(mildness.finite(marked), abs=1e-8)


def test_independent_coordinates_have_the_largest_of_their_values():
    one = np.array([[0.4, 0.1], [0.1, 0.4]])
    two = np.array([[0.5, 0.2], [0.0, 0.3]])
    want = mildness.tensorised(mildness.finite(one), mildness.finite(two))
    assert mildness.finite(np.kron(one, two)) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(("q", "strength"), [(0.5, 0.5), (0.1, 0.3), (1 / 32, 1.0), (0.3, 3.0)])
def test_a_bit_under_noise_agrees_with_its_joint_law(q, strength):
    x = np.arange(-12.0, 13.0, 0.02) * max(strength, 1)
    joint = [w * np.exp(-0.5 * ((x - at) / strength) ** 2) for w, at in ((1 - q, 0), (q, 1))]
    want = mildness.finite(np.array(joint))
    assert mildness.bernoulli_noise(q, strength) == pytest.approx(want, abs=1e-8)


@pytest.mark.parametrize("strength", [1e-8, 1e-3, 0.02, 0.0251, 0.99, 1.01, 10.0, 1e4])
def test_channels_at_the_ends_of_the_strength(strength):
    linear = 1 / (1 + strength**2)
    for q in (1e-6, 0.5):
        # Var(X0) of a bit is q(1-q), in the units of the noise.
        bit_linear = q * (1 - q) / (q * (1 - q) + strength**2)
        got = mildness.bernoulli_noise(q, strength)
        assert bit_linear * (1 - 1e-9) <= got <= 1
        if strength == 1e4:
            assert got == pytest.approx(bit_linear, rel=1e-7)
    assert linear * (1 - 1e-12) <= mildness.laplace_noise(strength) <= 1
    for dim in (2, 4096):
        got = mildness.sphere_noise(dim, strength)
        assert linear * (1 - 1e-12) <= got <= 1 + 1e-12
        if strength == 1e4:
            assert got == pytest.approx(linear, rel=1e-7)


def test_laplace_tails_decide_below_a_noise_of_about_one():
    # Longer and longer grids come up to exp(-s²/2) and never reach it.
    grids = [
        mildness.additive_noise(
            lambda x: -np.sqrt(2) * np.abs(x), 0.8, support=(-end, end), breaks=(0.0,)
        )
        for end in (10.0, 20.0, 40.0, 80.0, 160.0)
    ]
    limit = np.exp(-0.32)
    short = limit - np.array(grids)
    assert (short > 0).all()
    # A particle in a box: what is missing falls as the square of its length.
    np.testing.assert_allclose(short[2:-1] / short[3:], 4, rtol=0.1)
    assert mildness.laplace_noise(0.8) == pytest.approx(limit)
    # An indicator-like feature of a stretch of tail does better than the linear one.
    assert mildness.laplace_noise(0.8) > 1 / 1.64


def test_laplace_eigenvalue_beyond():
    values = [mildness.laplace_noise(s) for s in (0.99, 1.0, 1.2, 1.3, 2.0, 3.0)]
    assert all(np.diff(values) < 0)
    # Converged: a shorter support gives the same.
    shorter = mildness.additive_noise(
        lambda x: -np.sqrt(2) * np.abs(x), 2.0, support=(-60, 60), breaks=(0.0,)
    )
    assert mildness.laplace_noise(2.0) == pytest.approx(shorter, abs=1e-8)
    assert mildness.laplace_noise(2.0) > max(1 / 5, np.exp(-2))


@pytest.mark.parametrize("dim", [2, 3, 20])
def test_sphere_under_noise_agrees_with_draws(dim):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, dim))
    x0 = np.sqrt(dim) * z / np.linalg.norm(z, axis=1, keepdims=True)
    views = [x0 + 0.7 * rng.standard_normal(x0.shape) for _ in range(2)]
    # The best feature is a coordinate of A(r)·direction; here with A learned, in bins of r.
    radii = [np.linalg.norm(view, axis=1) for view in views]
    edges = np.quantile(radii[0], np.linspace(0, 1, 81)[1:-1])
    bins = [np.digitize(radius, edges) for radius in radii]
    cosine = np.einsum("nd,nd->n", views[0], x0) / (radii[0] * np.sqrt(dim))
    shrink = np.array([cosine[bins[0] == b].mean() for b in range(80)])
    best = [
        view / radius[:, None] * shrink[b][:, None]
        for view, radius, b in zip(views, radii, bins, strict=True)
    ]
    got = np.sum(best[0] * best[1]) / np.sum(best[0] ** 2)
    assert mildness.sphere_noise(dim, 0.7) == pytest.approx(got, abs=5e-3)


def test_mixtures():
    two = np.zeros((2, 8))
    two[1, 3] = 3.0
    along = mildness.additive_noise(
        lambda x: np.logaddexp(-(x**2) / 2, -((x - 3) ** 2) / 2), 0.5, support=(-10, 13)
    )
    assert mildness.mixture_noise(two, 0.5) == pytest.approx(along, abs=1e-8)
    # Components that coincide leave a Gaussian; far apart they are told from any view.
    assert mildness.mixture_noise(np.zeros((2, 8)), 0.5) == pytest.approx(0.8)
    far = 2.0 * np.random.default_rng(0).standard_normal((10, 256))
    assert mildness.mixture_noise(far, 0.5) == 1
    near = 0.3 * np.random.default_rng(0).standard_normal((10, 4))
    assert mildness.mixture_noise(near, 0.5) is None


def test_known_pairs_by_name():
    assert mildness.synthetic("laplace", "gaussian_noise", 0.5, dim=4) == pytest.approx(
        np.exp(-0.125)
    )
    assert mildness.synthetic("gaussian", "erasure", 0.2, dim=4) == pytest.approx(0.8)
    assert mildness.synthetic("binary", "bit_flip", 0.1, dim=4, probability=0.5) == pytest.approx(
        0.64
    )
    assert mildness.synthetic("cifar10", "identity", 0.1, dim=4) == 1
    assert mildness.synthetic("sphere", "erasure", 0.1, dim=4) is None
    assert mildness.synthetic("cifar10", "simclr", 0.1, dim=4) is None


def pairs(name, strength, n, seed):
    """Two views of n samples, and η₂."""
    rng = np.random.default_rng(seed)

    def noisy(x0):
        return [x0 + strength * rng.standard_normal(x0.shape) for _ in range(2)]

    if name == "gaussian":
        return *noisy(rng.standard_normal((n, 4))), mildness.gaussian_noise(strength)
    if name == "mixture":
        means = np.zeros((2, 4))
        means[1] = 1.5
        x0 = means[rng.integers(0, 2, n)] + rng.standard_normal((n, 4))
        return *noisy(x0), mildness.mixture_noise(means, strength)
    bits = rng.random((n, 4)) < 0.3
    views = [bits ^ (rng.random((n, 4)) < strength) for _ in range(2)]
    return *(view.astype(float) for view in views), mildness.bernoulli_flip(0.3, strength)


@pytest.mark.parametrize(
    ("name", "strengths"),
    [("gaussian", (0.3, 0.7, 1.5)), ("mixture", (0.3, 0.7, 1.5)), ("bits", (0.05, 0.15, 0.3))],
)
def test_the_estimate_is_near_the_truth_and_its_bound_below(name, strengths):
    for seed, strength in enumerate(strengths):
        view1, view2, truth = pairs(name, strength, 20_000, seed)
        got = mildness.estimate(view1, view2)
        assert abs(got.estimate - truth) < 0.02
        assert got.lower < truth


def test_feature_correlation_by_hand():
    rng = np.random.default_rng(0)
    x0 = rng.standard_normal(50_000)
    got = mildness.feature_correlation(*(x0 + rng.standard_normal((2, 50_000))))
    # Fisher's standard error of a normal correlation of ½.
    assert got.standard_error == pytest.approx(0.75 / np.sqrt(50_000), rel=0.05)
    assert got.estimate == pytest.approx(0.5, abs=4 * got.standard_error)
    assert got.lower == pytest.approx(got.estimate - 1.96 * got.standard_error, abs=1e-4)


def test_bad_input_is_named(unchecked_types):
    with pytest.raises(ValueError, match="support"):
        mildness.additive_noise(np.zeros_like, 1.0, support=(1, 0))
    with pytest.raises(ValueError, match="nodes"):
        mildness.additive_noise(np.zeros_like, 1e-4, support=(0, 1))
    with pytest.raises(ValueError, match="strictly between"):
        mildness.bernoulli_flip(1.0, 0.1)
    with pytest.raises(ValueError, match="strength is -1"):
        mildness.laplace_noise(-1.0)
    with pytest.raises(ValueError, match="matrix of probabilities"):
        mildness.finite(np.array([[1.0, -1.0]]))
    with pytest.raises(ValueError, match="principal components"):
        mildness.estimate(np.zeros((200, 50)), np.zeros((200, 50)))
    with pytest.raises(ValueError, match="same sample"):
        mildness.estimate(np.zeros((200, 5)), np.zeros((200, 4)))
    with pytest.raises(ValueError, match="constant"):
        mildness.feature_correlation(np.ones(20), np.ones(20))
    with pytest.raises(ValueError, match="at least one"):
        mildness.tensorised()
