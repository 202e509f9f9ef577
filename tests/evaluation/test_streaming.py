import numpy as np
import pytest

from infonce_jax import evaluation
from infonce_jax.evaluation import discrete, streaming

RNG = np.random.default_rng(0)
N = 6000
COLUMNS = np.column_stack(
    [
        RNG.standard_normal((N, 4)) * [1, 1e-3, 50, 2] + [0, 1, 1000, -3],
        RNG.standard_t(4, N),
        RNG.exponential(size=N),
        np.maximum(RNG.standard_normal(N), 0),
        np.full(N, 7.0),
    ]
).astype(np.float32)


def _stream(x, batch=250):
    stream = streaming.init(x.shape[1])
    for start in range(0, len(x), batch):
        stream = streaming.update(stream, x[start : start + batch])
    return stream


def _close(found, x):
    """What the docstring of `report` states."""
    exact = evaluation.anderson_darling(x).statistic
    assert np.array_equal(np.isnan(found.ad), np.isnan(exact))
    known = ~np.isnan(exact)
    share = np.where(np.arange(len(exact)) == 6, 0.03, 0.005)  # the ReLU repeats its zeros
    assert np.all(np.abs(found.ad - exact)[known] < (0.02 + share * exact)[known])
    assert found.norm_cv == pytest.approx(evaluation.norm_cv(x), rel=1e-9)
    pr = evaluation.participation_ratio(x)
    assert found.participation_ratio == pytest.approx(pr, rel=1e-9)
    assert found.mean_resultant == pytest.approx(evaluation.mean_resultant(x), rel=1e-9)


def test_the_report_is_that_of_all_rows_at_once():
    found = streaming.report(_stream(COLUMNS))
    _close(found, COLUMNS)
    tests = evaluation.univariate(COLUMNS, ("dp",), method="asymptotic")["dp"]
    p = tests.pvalue[~np.isnan(tests.pvalue)]
    assert found.dp_mean_p == pytest.approx(p.mean(), rel=1e-6)
    assert found.dp_pass == np.mean(p > 0.05)
    assert found.n == N and found.delta == (found.ad_mean - evaluation.AD_GAUSSIAN_MEAN) / N
    assert found.step < 0.02


def test_streams_of_processes_merge_in_any_order_and_survive_as_arrays(tmp_path):
    parts = [_stream(part) for part in np.array_split(COLUMNS, [1500, 1600, 4000])]
    np.savez(tmp_path / "stream.npz", **streaming.to_arrays(parts[2]))
    with np.load(tmp_path / "stream.npz") as stored:
        parts[2] = streaming.from_arrays(stored)
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        merged = streaming.init(COLUMNS.shape[1])
        for i in order:
            merged = streaming.merge(merged, parts[i])
        _close(streaming.report(merged), COLUMNS)
        assert merged.counts.sum() == pytest.approx(COLUMNS.size)


def test_rounding_to_bfloat16_does_not_show():
    x = RNG.standard_normal((20_000, 8)).astype(np.float32)
    rounded = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
    found = streaming.report(_stream(rounded))
    dithered = discrete.dithered(rounded, discrete.quantisation(rounded))
    exact = evaluation.anderson_darling(dithered).statistic
    assert found.ad_mean == pytest.approx(exact.mean(), abs=0.05)


def test_wrong_batches_are_named():
    stream = _stream(COLUMNS[:500])
    for call, message in [
        (lambda: streaming.update(stream, COLUMNS[:, :3]), "rows have 3 coordinates.* has 8"),
        (lambda: streaming.update(stream, COLUMNS * np.nan), "NaN or infinite"),
        (lambda: streaming.merge(stream, streaming.init(8, bins=64)), "both have to be equal"),
        (lambda: streaming.report(streaming.init(3)), "has 0 rows"),
        (lambda: streaming.init(0), "dim is 0"),
        (lambda: streaming.from_arrays({}), "'sums_n' is missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
