import json

import numpy as np
import pytest
import scipy.stats

from infonce_jax.evaluation import pair, uniformity
from infonce_jax.evaluation.__main__ import main


def views(n, rho, seed=0, maps=None):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, len(rho)))
    b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal(a.shape)
    return (a, b) if maps is None else (a @ maps[0], b @ maps[1])


RHO = np.array([0.9, 0.8, 0.5, 0.2, 0.0, 0.0])
EXACT = -0.5 * np.log1p(-(RHO**2)).sum()


def test_constructed_pairs_have_their_mutual_information():
    maps = np.random.default_rng(1).standard_normal((2, 6, 6))
    x, y = views(40_000, RHO, maps=maps)
    # Another modality has other units and another dimension.
    y = np.concatenate([1000 * y, np.random.default_rng(2).standard_normal((40_000, 3))], axis=1)
    found = pair.compare(x + 5, y)
    assert found.information == pytest.approx(EXACT, rel=0.02)
    by_rows = found.rows["joint"] - found.rows["own_first"] - found.rows["own_second"]
    assert by_rows.mean() == pytest.approx(EXACT, rel=0.02)
    # Each row under the Gaussian of the half that it is not in.
    halves = np.array_split(np.random.default_rng(0).permutation(len(x)), 2)
    for seen, unseen in (halves, halves[::-1]):
        of = x[seen] + 5
        law = scipy.stats.multivariate_normal(of.mean(0), np.cov(of.T, ddof=0))
        np.testing.assert_allclose(
            found.rows["own_first"][unseen], law.logpdf(x[unseen] + 5), rtol=1e-9
        )
    assert found.shared is None and found.components == (6, 9)
    assert "no shared space: 6 and 9" in pair.format_pair(found)


def test_few_rows_are_compared_on_leading_components():
    x, y = views(400, np.full(3, 0.9), seed=3)
    rng = np.random.default_rng(4)
    wide = [np.concatenate([10 * z, rng.standard_normal((400, 150))], axis=1) for z in (x, y)]
    found = pair.compare(*wide)
    assert found.components == (20, 20)
    assert found.information == pytest.approx(-1.5 * np.log1p(-0.81), rel=0.25)
    assert found.information_in_sample > 1.2 * found.information


def test_the_shared_space_by_brute_force():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((200, 5)) + 1
    y = x + rng.standard_normal((200, 5))
    y[7] = 2 * y[3]  # a tie
    found = pair.compare(x, y, alpha=4.0)
    u, v = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    s = u @ v.T
    off = ~np.eye(200, dtype=bool)
    shared = found.shared
    np.testing.assert_allclose(found.rows["cosine"], np.diag(s))
    assert shared.matched.mean == pytest.approx(uniformity.alignment(x, y))
    assert shared.unmatched.mean == pytest.approx(s[off].mean())
    assert shared.unmatched.std == pytest.approx(s[off].std())
    np.testing.assert_allclose(
        shared.unmatched[2:], np.quantile(s[off], [0.05, 0.5, 0.95]), atol=1e-3
    )
    expected = scipy.stats.mannwhitneyu(np.diag(s), s[off]).statistic / (200 * off.sum())
    assert shared.auroc == pytest.approx(expected, abs=1e-9)
    assert shared.gap == pytest.approx(np.linalg.norm(u.mean(0) - v.mean(0)))
    centred = [z - z.mean(0) for z in (u, v)]
    share = np.mean(np.sum(centred[0] * centred[1], axis=1))
    share /= np.sqrt(np.prod([np.mean(np.sum(z**2, axis=1)) for z in centred]))
    assert shared.alignment_share == pytest.approx(share)
    for scores, ranks, recalls in (
        (s, found.rows["rank_first"], shared.recall_first),
        (s.T, found.rows["rank_second"], shared.recall_second),
    ):
        higher = (scores > np.diag(s)[:, None] + 1e-12).sum(1)
        tied = (np.abs(scores - np.diag(s)[:, None]) <= 1e-12).sum(1) - 1
        np.testing.assert_array_equal(ranks, higher + 0.5 * tied)
        assert recalls == tuple(np.mean(ranks < k) for k in pair.RECALLS)
    inner = np.log(np.exp(4 * np.where(off, s, -np.inf)).sum(1) / 199).mean()
    assert shared.uniformity_across == pytest.approx(inner)
    assert found.first.uniformity == pytest.approx(uniformity.uniformity_potential(x, 4.0))
    same = pair.compare(x, x).shared
    assert same.alignment_share == pytest.approx(1) and same.recall_first == (1.0, 1.0, 1.0)


def test_the_command_writes_the_pair(tmp_path, capsys):
    x, y = views(400, RHO, seed=6)
    rng = np.random.default_rng(7)
    np.save(tmp_path / "image.npy", x)
    np.save(tmp_path / "text.npy", y)
    np.save(tmp_path / "wide.npy", np.concatenate([y, rng.standard_normal((400, 2))], axis=1))
    np.save(tmp_path / "short.npy", y[:300])
    for other in ("text.npy", "wide.npy"):
        argv = ["evaluate", "--pair", tmp_path / "image.npy", tmp_path / other]
        argv += ["--sample_sizes", "all", "--output", tmp_path / other[:-4]]
        assert main([*map(str, argv)]) == 0
        out = capsys.readouterr().out
        assert "mutual information (CCA)" in out
        assert ("recall" in out) == (other == "text.npy")
        stored = json.loads((tmp_path / other[:-4] / "pair.json").read_text())
        assert set(stored["names"]) == {str(tmp_path / other), str(tmp_path / "image.npy")}
        lines = (tmp_path / other[:-4] / "pair_rows.csv").read_text().splitlines()
        assert lines[0].startswith("row,cosine,rank_first") and len(lines) == 401
    argv = ["evaluate", "--pair", tmp_path / "image.npy", tmp_path / "short.npy"]
    assert main([*map(str, argv), "--output", str(tmp_path / "none")]) == 2
    assert "300 rows and" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_what_cannot_be_compared_is_named(unchecked_types):
    x, y = views(100, RHO)
    zero = x.copy()
    zero[4] = 0
    for arguments, options, message in [
        ((x, y[:50]), {}, "100 rows and the second 50"),
        ((x[:20], y[:20]), {}, "20 rows"),
        ((zero, y), {}, "row 4 of the first modality is zero"),
        ((x, y), {"alpha": 0.0}, "alpha is 0.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            pair.compare(*arguments, **options)
