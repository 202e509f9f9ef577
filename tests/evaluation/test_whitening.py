import numpy as np
import pytest
import scipy.stats

from infonce_jax.evaluation import whitening as wh

RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((6, 6))
X = RNG.standard_normal((2000, 6)) @ MIX + 5


def test_log_likelihood_equals_scipys():
    for shrinkage in (0.0, 0.3, "ledoit_wolf"):
        model = wh.fit(X, shrinkage=shrinkage)
        covariance = model.components * model.variances @ model.components.T
        reference = scipy.stats.multivariate_normal(model.mean, covariance)
        np.testing.assert_allclose(
            wh.log_likelihood(model, X), reference.logpdf(X), rtol=1e-9, atol=1e-9
        )
        assert wh.entropy(model) == pytest.approx(reference.entropy(), rel=1e-12)
    exact = wh.fit(X, shrinkage=0.0)
    np.testing.assert_allclose(
        exact.components * exact.variances @ exact.components.T, np.cov(X.T, ddof=0), rtol=1e-9
    )


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_rows_are_white(kind):
    model = wh.fit(X, kind=kind, shrinkage=0.0)
    y = wh.apply(model, X)
    np.testing.assert_allclose(np.cov(y.T, ddof=0), np.eye(6), atol=1e-10)
    np.testing.assert_allclose(np.square(y).sum(axis=1), wh.mahalanobis(model, X), rtol=1e-9)
    if kind == "zca":
        # Of all whitenings the one whose outputs go with their own inputs.
        assert np.all(np.diag(np.cov(y.T, X.T)[:6, 6:]) > 0)


def test_ledoit_wolf_by_its_definition():
    x = RNG.standard_normal((40, 15)) * np.linspace(0.5, 2, 15)
    c = x - x.mean(axis=0)
    s = c.T @ c / 40
    target = np.trace(s) / 15 * np.eye(15)
    noise = np.mean([np.sum((np.outer(r, r) - s) ** 2) for r in c]) / 40
    expected = min(1.0, noise / np.sum((s - target) ** 2))
    assert wh.fit(x).shrinkage == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_held_out_distance_is_one_at_n_near_2d(decay):
    z = RNG.standard_normal((1000, 512)) * np.arange(1, 513) ** -decay
    judged = wh.fit_and_judge(z)
    assert judged.held_out == pytest.approx(1, abs=0.05)
    assert judged.in_sample < judged.held_out


def test_without_shrinkage_in_sample_says_nothing():
    z = RNG.standard_normal((1000, 512))
    raw = wh.fit_and_judge(z[:, :200], shrinkage=0.0)
    assert raw.in_sample == pytest.approx(1, abs=1e-6)  # whatever the data are
    assert raw.held_out > 1.3


def test_deficient_rank_and_duplicates_are_named():
    wide = np.column_stack([X, X[:, 0], -X[:, 1] + 0.01 * RNG.standard_normal(2000), X[:, 2:3] * 0])
    model = wh.fit(wide, shrinkage=0.0)
    assert len(model.variances) == 7  # six, and the small difference of the near duplicates
    named = {(i, j): r for i, j, r in model.near_duplicates if abs(r) > 0.999}
    assert set(named) == {(0, 6), (1, 7)}
    assert named[0, 6] > 0 > named[1, 7]
    assert np.isfinite(wh.log_likelihood(model, wide)).all()
    assert len(wh.fit(wide).variances) == 9


def test_auroc_and_outliers():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 9, 300), rng.integers(2, 12, 200)
    expected = scipy.stats.mannwhitneyu(b, a).statistic / (300 * 200)
    assert wh.auroc(a, b) == pytest.approx(expected)
    model = wh.fit(X)
    inside = rng.standard_normal((500, 6)) @ MIX + 5
    outside = inside + 3 * np.linalg.norm(MIX)
    assert wh.auroc(wh.mahalanobis(model, X), wh.mahalanobis(model, inside)) == pytest.approx(
        0.5, abs=0.06
    )
    assert wh.auroc(wh.mahalanobis(model, X), wh.mahalanobis(model, outside)) > 0.95
    with pytest.raises(ValueError, match="given 0 and 2"):
        wh.auroc(np.empty(0), np.ones(2))


def test_mutual_information_of_constructed_views():
    rng = np.random.default_rng(2)
    rho = np.array([0.9, 0.6, 0.3, 0.0])
    a = rng.standard_normal((40_000, 4))
    b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal((40_000, 4))
    exact = -0.5 * np.log1p(-(rho**2)).sum()
    maps = rng.standard_normal((2, 4, 4))
    found = wh.mutual_information(a @ maps[0] + 3, b @ maps[1])
    assert found.nats == pytest.approx(exact, rel=0.02)
    assert found.in_sample == pytest.approx(exact, rel=0.02)
    nothing = wh.mutual_information(a[:400], rng.standard_normal((400, 80)))
    assert nothing.in_sample > 0.3  # overfitted
    assert nothing.nats < 0.05
    # The closed form on the sample's own covariance, through determinants.
    joint = np.cov(a.T, b.T)
    slogdet = np.linalg.slogdet
    by_determinants = 0.5 * (
        slogdet(joint[:4, :4])[1] + slogdet(joint[4:, 4:])[1] - slogdet(joint)[1]
    )
    assert wh.mutual_information(a, b).in_sample == pytest.approx(by_determinants, rel=1e-9)


def test_a_model_survives_its_file(tmp_path):
    model = wh.fit(np.column_stack([X, X[:, 0]]), kind="zca")
    wh.save(model, tmp_path / "new" / "model.npz")
    again = wh.load(tmp_path / "new" / "model.npz")
    for before, after in zip(model, again, strict=True):
        np.testing.assert_array_equal(before, after)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model.npz"]
    whole = (tmp_path / "new" / "model.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-50])
    np.savez(tmp_path / "other.npz", a=X)
    for name in ("cut.npz", "other.npz"):
        with pytest.raises(ValueError, match="not a whitening, or it is damaged"):
            wh.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="whiten"):
        wh.load(tmp_path / "absent.npz")


def test_bad_inputs_are_named(unchecked_types):
    model = wh.fit(X)
    for call, message in [
        (lambda: wh.fit(X, kind="svd"), "'svd'.*pca, zca"),
        (lambda: wh.fit(X, shrinkage=1.5), "shrinkage is 1.5"),
        (lambda: wh.fit(X, floor=-1.0), "floor is -1.0"),
        (lambda: wh.fit(np.ones((20, 3))), "all equal"),
        (lambda: wh.apply(model, X[:, :5]), "5 coordinates.*fitted on 6"),
        (lambda: wh.fit_and_judge(X[:20], held_out=0.9), "held_out is 0.9 of 20"),
        (lambda: wh.fit_and_judge(X, held_out=1.0), "held_out is 1.0"),
        (lambda: wh.mutual_information(X, X[:100]), "2000 rows and view2 100"),
        (lambda: wh.mutual_information(X[:20], X[:20]), "20 rows of 6"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
