"""The page of a whitening, the circle, and three faults of the published whitening scripts."""

import json

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from infonce_jax import embeddings
from infonce_jax.evaluation import circle, whitening
from infonce_jax.evaluation.__main__ import main
from infonce_jax.report.whitened import names_of

RNG = np.random.default_rng(0)


@pytest.fixture
def sets(tmp_path):
    """An embedding set with images, as infonce_jax.pretrained writes it, and a set farther out."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    names = [f"{i:03d}<b>.png" for i in range(120)]
    for name in names:
        Image.fromarray(RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)).save(pictures / name)
    z = RNG.standard_normal((120, 5)) @ RNG.standard_normal((5, 5)) + 3
    embeddings.write(
        tmp_path / "set",
        1,
        arrays={("image", "all", "clean"): z},
        labels={},
        members=[{"name": "image", "seed": None, "hyperparameters": {}}],
        metadata={"rows": {"all": names}, "plan": {"data": {"data": str(pictures)}}},
    )
    np.save(tmp_path / "far.npy", 3 * z)
    return tmp_path, z, names


def test_the_page_shows_typical_images_and_tells_sets_apart(sets, capsys):
    folder, z, names = sets
    array, model = folder / "set" / "1" / "image" / "all_clean.npy", folder / "white.npz"
    assert main(["whiten", str(array), "--output", str(model)]) == 0
    argv = ["score", model, array, "--against", folder / "far.npy", "--output", folder / "out"]
    assert main([*map(str, argv), "--report"]) == 0
    assert "whitened.html" in capsys.readouterr().out
    page = (folder / "out" / "whitened.html").read_text()
    fitted = whitening.load(model)
    lines = np.genfromtxt(folder / "out" / "scores_all_clean.csv", delimiter=",", names=True)
    # On the held-out half the scores are the Gaussian's own.
    law = scipy.stats.multivariate_normal(
        fitted.mean, fitted.components * fitted.variances @ fitted.components.T
    )
    np.testing.assert_allclose(lines["log_likelihood"], law.logpdf(z), rtol=1e-9, atol=1e-9)
    held_out = lines[lines["fitted"] == 0]
    likelihood = held_out["log_likelihood"]
    assert f"{likelihood.mean():.2f}" in page and "60 rows" in page.replace("> ", ">")
    for row in held_out["row"][np.argsort(likelihood)[[0, -1]]].astype(int):
        assert names[row].replace("<", "&lt;").replace(">", "&gt;") in page
    # Twelve images most and least typical, and twelve around the circle.
    assert page.count("data:image/jpeg;base64") == 36 and page.count("<svg") == 5
    assert "Once around a circle" in page and "330°" in page and "angle (degrees)" in page
    assert "AUROC" in page and "<b>.png" not in page and "default-src 'none'" in page
    assert "60 rows that the model has not seen" in page
    assert main([*map(str, argv), "--report", "--fitted", "include"]) == 0
    page = (folder / "out" / "whitened.html").read_text()
    assert "120 rows of which the model was fitted on 50%" in page
    assert "Some are rows that the model was fitted on" in page
    assert names_of(folder / "set" / "1", 120)[0] == names
    assert names_of(array, 119) == names_of(folder / "far.npy", 120) == (None, None)


def test_the_circle_passes_through_both_ends():
    z = RNG.standard_normal((500, 6)) @ RNG.standard_normal((6, 6)) + 2
    for kind in whitening.KINDS:
        model = whitening.fit(z, kind=kind, shrinkage=0.0)
        np.testing.assert_allclose(circle.unwhiten(model, whitening.apply(model, z)), z)
        points = circle.full_circle(model, z[0], z[1], steps=3600)
        np.testing.assert_allclose(points[0], z[0])
        white = whitening.apply(model, np.stack([*points, z[1]]))
        assert np.linalg.norm(white[:-1] - white[-1], axis=1).min() < 0.01
        norms = np.linalg.norm(white[:-1], axis=1)
        ends = sorted((norms[0], np.linalg.norm(white[-1])))
        assert ends[0] - 1e-9 <= norms.min() and norms.max() <= ends[1] + 1e-9
        assert np.linalg.norm(np.diff(white[:-1], axis=0), axis=1).max() < 0.05
        for wrong in (z[0], 2 * model.mean - z[0]):
            with pytest.raises(ValueError, match="on one line"):
                circle.full_circle(model, z[0], wrong)


def test_a_nonsymmetric_eigensolver_loses_what_the_symmetric_one_keeps():
    """Published scripts take numpy.linalg.eig of a covariance: axes need not be real or orthogonal."""
    z = RNG.standard_normal((200, 300))
    z[:, 150:] = z[:, :150] @ RNG.standard_normal((150, 150))
    covariance = np.cov(z.T)
    values, vectors = np.linalg.eig(covariance)
    published = vectors / np.sqrt(values.astype(complex))
    assert not np.isrealobj(published) or not np.isfinite(published).all()
    model = whitening.fit(z, shrinkage=0.0)
    assert len(model.variances) <= 150
    np.testing.assert_allclose(
        model.components.T @ model.components, np.eye(len(model.variances)), atol=1e-10
    )
    np.testing.assert_allclose(np.cov(whitening.apply(model, z).T, ddof=0).diagonal(), 1, rtol=1e-6)


def test_scores_of_the_rows_fitted_on_flatter_the_model():
    """Published scores are of the rows fitted on, where Mahalanobis² / d is 1 whatever they are."""
    heavy = RNG.standard_t(4, (300, 100))
    fitted = whitening.fit(heavy, shrinkage=0.0)
    assert whitening.mahalanobis(fitted, heavy).mean() / 100 == pytest.approx(1)
    unseen = RNG.standard_t(4, (300, 100))
    assert whitening.mahalanobis(fitted, unseen).mean() / 100 > 1.3
    judged = whitening.fit_and_judge(np.concatenate([heavy, unseen]))
    assert judged.held_out == pytest.approx(1, abs=0.15)


def test_near_duplicates_are_named_and_norms_have_the_width_of_their_law():
    """Published scripts put noise in place of near duplicates, and state 3.96 for a width of 0.707."""
    z = RNG.standard_normal((3000, 40))
    z[:, 7] = z[:, 3] + 0.1 * RNG.standard_normal(3000)
    model = whitening.fit(z)
    assert [(i, j) for i, j, _ in model.near_duplicates] == [(3, 7)]
    unseen = RNG.standard_normal((4000, 40))
    unseen[:, 7] = unseen[:, 3] + 0.1 * RNG.standard_normal(4000)
    norms = np.sqrt(whitening.mahalanobis(model, unseen))
    assert norms.std() == pytest.approx(scipy.stats.chi.std(40), rel=0.05)
    assert scipy.stats.chi.std(768) == pytest.approx(0.7069, abs=1e-4)
    assert json.dumps(model.near_duplicates[0][:2]) == "[3, 7]"
