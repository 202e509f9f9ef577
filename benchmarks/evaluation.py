"""The evaluation's calibration, power, speed and memory, each one command.

    python -m benchmarks.evaluation verdicts                   # ten embeddings: seconds
    python -m benchmarks.evaluation calibration                # 3e9 values: some ten minutes
    python -m benchmarks.evaluation calibration_multivariate   # up to d = 512: a quarter of an hour
    python -m benchmarks.evaluation power                      # likewise
    python -m benchmarks.evaluation intervals                  # coverage: some minutes
    python -m benchmarks.evaluation speed
    python -m benchmarks.evaluation memory
    python -m benchmarks.evaluation rounded                    # levels on float16, bfloat16, 8 bits
    python -m benchmarks.evaluation out_of_core                # 10,000,000 × 64: 8 GB of disk
    python -m benchmarks.evaluation out_of_core_wide           # 10,000,000 × 768: 24 GB of disk
    python -m benchmarks.evaluation streaming                  # a minute

`--scale 0.1` takes a tenth of the repetitions. Writes evaluation_<command>.md and .json to `--out`
and prints the table. The studies keep every finished case in `--out`/evaluation_<command>_<scale>, so
that a command that was stopped goes on when it is given again; remove that folder to begin anew.
Every figure comes with its number of repetitions; a false-positive rate more than 3 binomial
standard errors from its level, and as improbable under the binomial law, is marked with an asterisk.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy
import scipy.special
import scipy.stats

from infonce_jax import evaluation
from infonce_jax.evaluation import aggregate, discrete, multivariate, shape, sphere, whitening
from infonce_jax.evaluation import streaming as stream
from infonce_jax.evaluation.commands import strict_code
from infonce_jax.evaluation.verdict import PARTS

LEVELS = (0.1, 0.05, 0.01, 0.001)
SIZES = (50, 57, 100, 200, 500, 1000, 2000, 5000, 20_000, 50_000)
# n, d, repetitions and draws of the null.
MULTIVARIATE = (
    (50, 2, 4000, 3999),
    (200, 2, 4000, 3999),
    (200, 8, 4000, 3999),
    (500, 32, 500, 999),
    (500, 128, 300, 499),
    (2000, 512, 40, 99),
)
# The tests whose null is not drawn at n, d itself: n, d and repetitions.
ALL_ROWS = (
    (50, 2, 10_000),
    (200, 8, 5000),
    (500, 32, 2000),
    (500, 128, 1000),
    (600, 512, 1000),
    (5000, 2, 1000),
    (5000, 32, 500),
    (5000, 128, 200),
    (5000, 512, 200),
    (50_000, 2, 300),
    (50_000, 32, 100),
    (50_000, 512, 20),
)
# The global test: n, d, repetitions and draws.
GLOBAL = ((50, 8, 300, 99), (200, 32, 200, 99), (1000, 8, 100, 99), (100, 512, 50, 99))
POWER_SIZES = (200, 1000, 2000, 5000, 50_000)
SEED = 7_000


# --- verdicts -------------------------------------------------------------------------------------


def ten_embeddings():
    """Ten embeddings that differ from an isotropic Gaussian in one way each."""
    rng = np.random.default_rng(0)
    n = rng.standard_normal

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    outlier = n((5000, 64))
    outlier[:, 7] = 30 + 10 * outlier[:, 7]
    rows = n((2500, 8))
    return {
        "isotropic Gaussian": n((5000, 64)),
        "narrow cone": unit(np.ones(32) / 32**0.5 + 0.07 * n((5000, 32))),
        "4 of 64 dimensions": n((5000, 4)) @ n((4, 64)),
        "two clusters": n((5000, 32)) + 3 * rng.choice([-1, 1], (5000, 1)),
        "Student t3": rng.standard_t(3, (5000, 32)),
        "sphere, d = 8": unit(n((5000, 8))),
        "ReLU features": np.maximum(n((5000, 32)) @ n((32, 64)), 0),
        "one outlier dimension": outlier,
        "10 rows": n((10, 32)),
        "repeated rows": rows[np.concatenate([np.arange(2500), rng.integers(0, 2500, 9500)])],
    }


def verdicts(scale, folder):
    """The sentence for each of ten constructed embeddings: the table of docs/evaluation.md."""
    lines, record = [], {}
    for name, z in ten_embeddings().items():
        rows = evaluation.evaluate_arrays(
            z.astype(np.float32), sample_sizes=["all"], tests=("ad",), representations=["raw"]
        )
        found = evaluation.verdicts(evaluation.summarise(rows))
        record[name] = found[0].sentence
        lines.append([name, found[0].sentence, strict_code(found, PARTS)])
    return record, _table(["embeddings", "verdict", "`--strict`"], lines)


# --- calibration ----------------------------------------------------------------------------------


def calibration(scale, folder):
    """False-positive rates of the univariate tests on columns of exact Gaussians."""

    def at(n):
        columns = max(500, round(scale * min(200_000, 4e8 / n)))
        pvalues = {
            method: {test: [] for test in evaluation.TESTS}
            for method in ("calibrated", "asymptotic")
        }
        batch = max(16, 2**24 // n)
        for start in range(0, columns, batch):
            rng = np.random.default_rng([SEED, n, start])
            x = rng.standard_normal((n, min(batch, columns - start)))
            for method, found in pvalues.items():
                tests = evaluation.TESTS if method == "calibrated" else ("dp",)
                for test, result in evaluation.univariate(x, tests, method=method).items():
                    found[test].append(result.pvalue)
        return [
            _rates(f"{test} {method}", n, 1, np.concatenate(p))
            for method, found in pvalues.items()
            for test, p in found.items()
            if p
        ]

    rows = [row for n in SIZES for row in _kept(folder, f"n{n}", at, n)]
    return rows, _rates_table(rows)


def calibration_multivariate(scale, folder):
    """False-positive rates of the multivariate and spherical tests on exact Gaussian samples.

    Three tables: of the tests whose null is drawn at n and d itself, of those on all rows, whose null
    is a formula or drawn at fewer rows, and of the global test of `aggregate`.
    """

    def drawn(n, d, repeats, draws):
        def one(x):
            found = multivariate.multivariate(x, draws=draws, slices=16)
            return found | sphere.sphere(x, draws=draws)

        return _multivariate_rates(one, n, d, repeats, draws)

    def all_rows(n, d, repeats):
        draws = 399 if d <= 128 else 99

        def approximated(x):
            return {
                "mardia_kurtosis of all rows": multivariate.mardia_kurtosis(x),
                "cosine_law": sphere.cosine_law(x),
            }

        def sliced(x):
            return {
                f"{test} of all rows": multivariate.sliced_test(x, test, slices=16, draws=draws)
                for test in ("sliced_ad", "sliced_ep")
            }

        rows = _multivariate_rates(approximated, n, d, repeats)
        if n > 2000:
            most = 300 if d <= 128 else 40
            rows += _multivariate_rates(sliced, n, d, min(repeats, most), draws)
        return rows

    def global_test(n, d, repeats, draws):
        # Neighbouring coordinates correlate at 0.9: the law must come from the covariance.
        root = np.linalg.cholesky(0.9 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d))))
        found = [
            aggregate.global_test(
                np.random.default_rng([SEED, n, d, k]).standard_normal((n, d)) @ root.T,
                draws=draws,
                seed=k,
            )
            for k in range(repeats)
        ]
        return [
            _rates(f"global test, {name}", n, d, np.array(p), shared=False, draws=draws)
            for name, p in (
                ("mean A²", [f.mean_pvalue for f in found]),
                ("smallest p", [f.smallest_pvalue for f in found]),
            )
        ]

    parts = []
    for name, case, cases in (
        ("", drawn, MULTIVARIATE),
        ("all_", all_rows, ALL_ROWS),
        ("global_", global_test, GLOBAL),
    ):
        rows = []
        for n, d, repeats, *draws in cases:
            rows += _kept(folder, f"{name}n{n}_d{d}", case, n, d, _scaled(repeats, scale), *draws)
        parts.append(rows)
    return [row for rows in parts for row in rows], "\n\n".join(map(_rates_table, parts))


def _multivariate_rates(one, n, d, repeats, draws=None):
    found = []
    for index in range(repeats):
        x = np.random.default_rng([SEED, n, d, index]).standard_normal((n, d))
        found.append({test: result.pvalue for test, result in one(x).items()})
    return [_rates(t, n, d, np.array([p[t] for p in found]), draws=draws) for t in found[0]]


def _scaled(repeats, scale):
    return max(20, round(scale * repeats))


def _kept(folder, name, compute, *arguments):
    """What `compute` gave when this case was finished before, or gives now."""
    file = folder / f"{name}.json"
    if not file.is_file():
        started = time.perf_counter()
        rows = compute(*arguments)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(".part")
        scratch.write_text(json.dumps(rows))
        scratch.replace(file)
    return json.loads(file.read_text())


def _rates_table(rows):
    """One row for each n, d; in a cell the rates in percent at `LEVELS`, – where draws are too few."""
    tests = list(dict.fromkeys(row["test"] for row in rows))
    cells = {(row["n"], row["d"], row["test"]): "/".join(_marked(row)) for row in rows}
    repetitions = {}
    for row in rows:
        repetitions.setdefault((row["n"], row["d"]), set()).add(row["repetitions"])
    lines = [
        [n, d, "/".join(map(str, sorted(counts))), *(cells.get((n, d, test), "") for test in tests)]
        for (n, d), counts in repetitions.items()
    ]
    head = ["n", "d", "repetitions", *tests]
    least = min(rows, key=lambda row: row["ks"])
    note = (
        f"Percent of p-values at most {'/'.join(f'{100 * level:g}' for level in LEVELS)}%. The least "
        f"of the {len(rows)} KS p-values is {least['ks']:.2g} ({least['test']}, n = {least['n']})."
    )
    return f"{_table(head, lines)}\n\n{note}"


def _rates(test, n, d, pvalue, *, draws=None, shared=True):
    """Rates at the levels that p-values of so many draws can reach, with their standard errors."""
    m = len(pvalue)
    levels = [level for level in LEVELS if draws is None or level * (draws + 1) >= 1]
    rates = [float(np.mean(pvalue <= level)) for level in levels]
    # Draws that all repetitions share add their own scatter to that of the repetitions.
    scatter = 1 / m + (1 / draws if draws and shared else 0.0)
    errors = [float(np.sqrt(level * (1 - level) * scatter)) for level in levels]
    # Uniform on multiples of 1/(draws + 1): smoothed so that KS applies.
    step = 1 / (draws + 1) if draws else 0.0
    smooth = pvalue - step * np.random.default_rng(0).uniform(size=m)
    distance = scipy.stats.kstest(smooth, "uniform").statistic
    ks = float(scipy.special.kolmogorov(distance / np.sqrt(scatter)))
    return {
        "test": test, "n": n, "d": d, "repetitions": m, "rates": rates, "errors": errors, "ks": ks,
    }  # fmt: skip


def _marked(row):
    marked = []
    for rate, error, level in zip(row["rates"], row["errors"], LEVELS, strict=False):
        # Of few repetitions one rejection is many standard errors, and no surprise.
        law = scipy.stats.binom(row["repetitions"], level)
        found = round(rate * row["repetitions"])
        surprising = min(law.cdf(found), law.sf(found - 1)) < scipy.stats.norm.sf(3)
        far = surprising and abs(rate - level) > 3 * error
        marked.append(f"{100 * rate:.3g}" + ("\\*" if far else ""))
    return marked + ["–"] * (len(LEVELS) - len(marked))


# --- power ----------------------------------------------------------------------------------------


def sphere_coordinates(dim):
    def draw(rng, n):
        z = rng.standard_normal((n, dim))
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    return draw


def scale_mixture(cv, dim=32):
    """z = s g with log-normal s of this coefficient of variation."""
    width = np.sqrt(np.log1p(cv**2))
    return lambda rng, n: (
        np.exp(width * rng.standard_normal((n, 1))) * rng.standard_normal((n, dim))
    )


def class_mixture(share, dim=32, classes=10):
    def draw(rng, n):
        centres = rng.standard_normal((classes, dim))
        centres = (centres - centres.mean(axis=0)) / centres.std(axis=0)
        noise = rng.standard_normal((n, dim))
        return np.sqrt(share) * centres[rng.integers(0, classes, n)] + np.sqrt(1 - share) * noise

    return draw


def relu_features(dim=32, projected=False):
    """ReLU of 64 Gaussian inputs mixed at random; or a random linear map of 256 of them."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((64, 256 if projected else dim))
    onto = rng.standard_normal((256, dim))

    def draw(rng, n):
        features = np.maximum(rng.standard_normal((n, 64)) @ mix, 0)
        return features @ onto if projected else features

    return draw


ALTERNATIVES = {
    "Gaussian": lambda rng, n: rng.standard_normal((n, 32)),
    **{f"sphere, d = {d}": sphere_coordinates(d) for d in (8, 32, 128, 512)},
    "scale mixture, CV 0.09": scale_mixture(0.09),
    "scale mixture, CV 0.2": scale_mixture(0.2),
    "Student t20": lambda rng, n: rng.standard_t(20, (n, 32)),
    **{f"10 classes, {s:.0%} of variance": class_mixture(s) for s in (0.1, 0.5, 0.8)},
    "ReLU features": relu_features(),
    "ReLU features, projected": relu_features(projected=True),
}


def power(scale, folder):
    """Share of coordinates, or of samples for the multivariate tests, rejected at 5%."""
    rows = []
    for index, (name, draw) in enumerate(ALTERNATIVES.items()):
        for n in POWER_SIZES:
            case = f"{index:02d}_n{n}"
            rows.append({"alternative": name} | _kept(folder, case, _powers, draw, n, scale))
    tables = [
        _power_table(rows, head, tests)
        for head, tests in (
            ("of coordinates", evaluation.TESTS),
            ("of samples", multivariate.TESTS),
            ("of samples", (*sphere.TESTS, "cosine_law")),
        )
    ]
    return rows, "\n\n".join(tables)


def _powers(draw, n, scale):
    """Rejections by test at one n: of 400 to 2,000 coordinates, and of 8 to 100 samples.

    Pairwise and spherical tests are taken at up to 2,000 rows, above that the two that use all rows.
    """
    dim = draw(np.random.default_rng(0), 2).shape[1]
    rejected = {}

    def add(test, values):
        rejected.setdefault(test, []).extend(np.atleast_1d(values <= 0.05).tolist())

    wanted = _scaled(400 if n > 5000 else 1000 if n > 1000 else 2000, scale)
    repeats = -(-wanted // dim)
    for k in range(repeats):
        x = draw(np.random.default_rng([SEED, n, k]), n)[:, :wanted]
        for test, result in evaluation.univariate(x).items():
            add(test, result.pvalue)
    samples = 0
    if n > 2 * dim:
        many = 8 if dim > 128 else 100 if n < 1000 else 50 if n == 1000 else 20
        samples = max(4, round(scale * many))
    for k in range(samples):
        x = draw(np.random.default_rng([SEED, n, 10_000 + k]), n)
        found = {"cosine_law": sphere.cosine_law(x)}
        if n <= 2000:
            found |= multivariate.multivariate(x, draws=99, slices=16)
            found |= sphere.sphere(x, draws=99)
        else:
            found["mardia_kurtosis"] = multivariate.mardia_kurtosis(x)
            for test in ("sliced_ad", "sliced_ep"):
                found[test] = multivariate.sliced_test(x, test, slices=16, draws=99)
        for test, result in found.items():
            add(test, np.array(result.pvalue))
    return {
        "n": n,
        "coordinates": repeats * min(dim, wanted),
        "samples": samples,
        "rates": {test: float(np.mean(values)) for test, values in rejected.items()},
    }


def _power_table(rows, what, tests):
    """One row for each alternative; in a cell the rates in percent at the sizes of `POWER_SIZES`."""
    by_name = {}
    for row in rows:
        by_name.setdefault(row["alternative"], []).append(row)
    sizes = "/".join(map(str, POWER_SIZES))
    lines = [
        [name, *("/".join(_percent(r["rates"].get(t)) for r in found) for t in tests)]
        for name, found in by_name.items()
    ]
    return _table([f"% {what} rejected at 5%, n = {sizes}", *tests], lines)


def _percent(rate):
    return "–" if rate is None else f"{100 * rate:.0f}"


# --- intervals ------------------------------------------------------------------------------------


def intervals(scale, folder):
    """Coverage of the effect sizes' 95% intervals: of the population's value, and of the mean at n.

    The second is the estimate's own expectation at this n, about which it scatters; where the two
    differ, the estimate is biased, as all distances are that cannot be negative. Beside it, the
    bootstrap with repetition, centred in the same way.
    """
    mix = 0.4 * np.random.default_rng(0).standard_normal((8, 8)) + np.eye(8)
    laws = {
        "Gaussian": lambda rng, n: rng.standard_normal((n, 8)) @ mix,
        "Student t10, mixed": lambda rng, n: rng.standard_t(10, (n, 8)) @ mix,
        "gamma(4)": lambda rng, n: rng.gamma(4.0, size=(n, 8)),
    }
    n, draws = 1000, 60
    rows = []
    for index, (name, law) in enumerate(laws.items()):

        def one(repeats, law=law):
            population = shape.effect_sizes(law(np.random.default_rng(SEED), 400_000))
            half, bootstrap = [], []
            for k in range(repeats):
                rng = np.random.default_rng([SEED, k])
                z = law(rng, n)
                half.append(shape.intervals(z, draws=draws, seed=k))
                taken = [z[np.sort(rng.integers(0, n, n))] for _ in range(draws)]
                drawn = [shape.effect_sizes(x) for x in taken]
                ends = {}
                for statistic, interval in half[-1].items():
                    values = np.array([d[statistic] for d in drawn])
                    q = np.quantile(values - values.mean(), [0.025, 0.975], method="weibull")
                    ends[statistic] = interval._replace(
                        low=interval.value + q[0], high=interval.value + q[1]
                    )
                bootstrap.append(ends)
            found = {}
            for statistic, value in population.items():
                mean = float(np.mean([h[statistic].value for h in half]))
                found[statistic] = [
                    float(np.mean([h[statistic].low <= t <= h[statistic].high for h in kind]))
                    for kind in (half, bootstrap)
                    for t in (value, mean)
                ]
            return found

        repeats = _scaled(150, scale)
        coverage = _kept(folder, f"law{index}", one, repeats)
        rows.append({"law": name, "n": n, "repetitions": repeats, "coverage": coverage})
    statistics = list(rows[0]["coverage"])
    lines = [
        [row["law"], *("/".join(f"{100 * c:.0f}" for c in row["coverage"][s]) for s in statistics)]
        for row in rows
    ]
    head = f"% covered, n = {n}, {rows[0]['repetitions']} repetitions"
    return rows, _table([head, *statistics], lines)


# --- speed and memory -----------------------------------------------------------------------------


def speed(scale, folder):
    """Seconds and ratios, interleaved, the fastest of five turns each."""
    rng = np.random.default_rng(0)
    x32 = rng.standard_normal((50_000, 128)).astype(np.float32)
    x64 = x32.astype(np.float64)

    def loop():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [scipy.stats.anderson(column, "norm").statistic for column in x64.T]

    cases = {
        "np.sort float32": lambda: np.sort(x32, axis=0),
        "np.sort float64": lambda: np.sort(x64, axis=0),
        "AD float32": lambda: evaluation.anderson_darling(x32),
        "AD float64": lambda: evaluation.anderson_darling(x64),
        "DP float32": lambda: evaluation.dagostino_pearson(x32),
        "DP float64": lambda: evaluation.dagostino_pearson(x64),
        "scipy.stats.anderson in a loop, float64": loop,
        "all seven, float32": lambda: evaluation.univariate(x32),
    }
    best = dict.fromkeys(cases, np.inf)
    for _ in range(max(2, round(5 * scale))):
        for name, run in cases.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started)
    ratios = {
        "AD / np.sort, float32": (best["AD float32"] / best["np.sort float32"], "≤ 1.5"),
        "AD / np.sort, float64": (best["AD float64"] / best["np.sort float64"], "≤ 2.5"),
        "DP / np.sort, float32": (best["DP float32"] / best["np.sort float32"], "≤ 0.5"),
        "DP / np.sort, float64": (best["DP float64"] / best["np.sort float64"], "≤ 0.5"),
        "scipy loop / AD, float64": (
            best["scipy.stats.anderson in a loop, float64"] / best["AD float64"],
            "≥ 5",
        ),
    }
    lines = [[name, f"{seconds:.3f} s", ""] for name, seconds in best.items()]
    lines += [[name, f"{ratio:.2f}", target] for name, (ratio, target) in ratios.items()]
    record = {"seconds": best, "ratios": {k: v for k, (v, _) in ratios.items()}}
    return record, _table(["50,000 × 128", "measured", "target"], lines)


_WIDE = """
import resource, time, numpy as np
from infonce_jax.evaluation import evaluate_arrays
x = np.load(r"{path}", mmap_mode="r")
started = time.perf_counter()
rows = evaluate_arrays(x, sample_sizes=["all"], representations=["raw"])
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
print(seconds, used.ru_utime + used.ru_stime, _peak_gib())
"""
_LONG = """
import resource, time, numpy as np
from infonce_jax.evaluation import multivariate, shape, sphere, univariate
x = np.load(r"{path}", mmap_mode="r")
started = time.perf_counter()
found = univariate(x)
found |= shape.effect_sizes(x)
found["mardia"] = multivariate.mardia_kurtosis(x)
found["sliced_ad"] = multivariate.sliced_test(x)
found["sliced_ep"] = multivariate.sliced_test(x, "sliced_ep")
found["cosine_law"] = sphere.cosine_law(x)
found |= multivariate.multivariate(x, draws=99, rows=2000)
found |= sphere.sphere(x, draws=99, rows=2000)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
print(seconds, used.ru_utime + used.ru_stime, _peak_gib())
"""
_COMMAND = """
import contextlib, io, resource, time
from infonce_jax.evaluation.__main__ import main
started = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    code = main(["evaluate", r"{path}", "--output", r"{path}.out", "--deep", "--sample_sizes", "all"])
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
print(seconds, used.ru_utime + used.ru_stime, _peak_gib())
"""


def memory(scale, folder):
    """Wall and processor time and peak memory of a wide and a long array, each in a process."""
    lines, record = [], {}
    for name, size, script, target in (
        ("50,000 × 2,048 float32, everything but --deep", (50_000, 2048), _WIDE, "60 s, 4 GiB"),
        ("1,000,000 × 64 float32, mapped: all tests", (1_000_000, 64), _LONG, "3 GiB"),
        ("the same: evaluate --deep", (1_000_000, 64), _COMMAND, "3 GiB"),
    ):
        rows = max(1000, round(size[0] * min(scale, 1.0)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.npy"
            out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, size[1]))
            rng = np.random.default_rng(0)
            for start in range(0, rows, 10_000):
                part = out[start : start + 10_000]
                part[:] = rng.standard_normal(part.shape, dtype=np.float32)
            del out
            code = _PEAK + script.format(path=path)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        seconds, core, gib = map(float, done.stdout.split())
        record[name] = {"rows": rows, "seconds": seconds, "core_seconds": core, "peak_gib": gib}
        lines.append(
            [name, f"{rows:,}", f"{seconds:.1f} s", f"{core:.1f} s", f"{gib:.2f} GiB", target]
        )
        print(*lines[-1], sep=", ", flush=True)
    return record, _table(["array", "rows", "time", "on all cores", "peak memory", "target"], lines)


_MODEL = """
import contextlib, io, resource, sys, time
from infonce_jax.evaluation.__main__ import main
started = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()) as text:
    code = main(sys.argv[1:])
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
print(code, seconds, used.ru_utime + used.ru_stime, _peak_gib())
"""


# The peak of this program's own memory: ru_maxrss counts what the process was before it began.
_PEAK = """
def _peak_gib():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20
"""


def out_of_core(scale, folder):
    """Time and peak memory of `whiten`, `score` and `apply` on files larger than they may hold."""
    rows, d = max(10_000, round(10_000_000 * scale)), 64
    with tempfile.TemporaryDirectory(dir=folder.parent if folder.parent.is_dir() else None) as name:
        at = Path(name)
        (at / "shards").mkdir()
        cuts = np.linspace(0, rows, 101).astype(int)
        out = np.lib.format.open_memmap(at / "x.npy", "w+", np.float32, (rows, d))
        for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
            out[start:stop] = _correlated(i, stop - start, d)
            np.save(at / "shards" / f"part-{i}.npy", out[start:stop])
        del out
        record, lines = _model_commands(
            f"{rows:,} × {d} float32",
            {
                "whiten, one file": ["whiten", at / "x.npy", "--output", at / "x.npz"],
                "whiten, 100 shards": ["whiten", at / "shards", "--output", at / "shards.npz"],
                "score, one file": ["score", at / "x.npz", at / "x.npy", "--output", at / "scores"],
                "apply, one file": ["apply", at / "x.npz", at / "x.npy", "--output", at / "w.npy"],
            },
        )
        models = [whitening.load(at / f"{name}.npz") for name in ("x", "shards")]
    gap = max(
        float(np.abs(a / b - 1.0).max())
        for a, b in zip(_moments_of(models[0]), _moments_of(models[1]), strict=True)
    )
    record["relative difference of the fits"] = gap
    table = _table(_MODEL_HEAD, lines)
    return record, f"{table}\n\nThe fit on shards and on the file differ by {gap:.1g}, relatively."


def out_of_core_wide(scale, folder):
    """The same at the width of language models, in float16; `apply` on a fifth of the rows."""
    rows, d = max(10_000, round(10_000_000 * scale)), 768
    with tempfile.TemporaryDirectory(dir=folder.parent if folder.parent.is_dir() else None) as name:
        at = Path(name)
        out = np.lib.format.open_memmap(at / "x.npy", "w+", np.float16, (rows, d))
        cuts = np.linspace(0, rows, 101).astype(int)
        for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
            out[start:stop] = _correlated(i, stop - start, d)
        del out
        record, lines = _model_commands(
            f"{rows:,} × {d} float16",
            {
                "whiten, one file": ["whiten", at / "x.npy", "--output", at / "x.npz"],
                "score, one file": ["score", at / "x.npz", at / "x.npy", "--output", at / "scores"],
            },
        )
        part = np.lib.format.open_memmap(at / "part.npy", "w+", np.float16, (rows // 5, d))
        part[:] = np.load(at / "x.npy", mmap_mode="r")[: rows // 5]
        del part
        (at / "x.npy").unlink()
        applied = _model_commands(
            f"{rows // 5:,} × {d} float16",
            {"apply": ["apply", at / "x.npz", at / "part.npy", "--output", at / "w.npy"]},
        )
    return record | applied[0], _table(_MODEL_HEAD, lines + applied[1])


_MODEL_HEAD = ["command", "array", "time", "on all cores", "peak memory"]


def _correlated(seed, rows, d):
    mixing = np.random.default_rng(0).standard_normal((d, d)).astype(np.float32) / np.sqrt(d)
    return np.random.default_rng([1, seed]).standard_normal((rows, d), np.float32) @ mixing


def _model_commands(array, commands):
    """Every command in a process of its own: what it took, as a record and as lines."""
    record, lines = {}, []
    for what, arguments in commands.items():
        command = [sys.executable, "-c", _PEAK + _MODEL, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not done.stdout.startswith("0 "):
            raise RuntimeError(done.stderr)
        _, seconds, core, gib = map(float, done.stdout.split())
        record[what] = {"array": array, "seconds": seconds, "core_seconds": core, "peak_gib": gib}
        lines.append([what, array, f"{seconds:.0f} s", f"{core:.0f} s", f"{gib:.2f} GiB"])
        print(*lines[-1], sep=", ", flush=True)
    return record, lines


def _moments_of(model):
    # Eigenvectors have no sign, the covariance has.
    yield np.linalg.norm(model.mean)
    yield model.variances
    yield np.einsum("ij,j,ij->i", model.components, model.variances, model.components)


def streaming(scale, folder):
    """Errors of the streaming report against the exact one, on 50,000 × 512 in batches of 256."""
    lines, record = [], {}
    rows = max(2000, round(50_000 * scale))
    rng = np.random.default_rng(SEED)
    drift = np.linspace(0.5, 2.0, 512)
    for name, draw in (
        ("Gaussian", lambda: rng.standard_normal((rows, 512)) * drift + drift),
        ("Student t5", lambda: rng.standard_t(5, (rows, 512))),
        ("ReLU features", lambda: np.maximum(rng.standard_normal((rows, 512)) + drift, 0)),
        ("Gaussian, bfloat16", lambda: _bfloat16(rng.standard_normal((rows, 512)))),
    ):
        x = draw().astype(np.float32)
        started = time.perf_counter()
        streams = [stream.init(512), stream.init(512)]
        for i, start in enumerate(range(0, rows, 256)):
            streams[i % 2] = stream.update(streams[i % 2], x[start : start + 256])
        found = stream.report(stream.merge(*streams))
        seconds = time.perf_counter() - started
        exact = evaluation.anderson_darling(x).statistic
        if name.endswith("bfloat16"):
            exact = evaluation.anderson_darling(discrete.dithered(x, discrete.quantisation(x)))
            exact = exact.statistic
        off = found.ad - exact
        row = {
            "ad_mean": float(np.nanmean(exact)),
            "ad_mean_error": float(np.nanmean(off)),
            "ad_worst_error": float(np.nanmax(np.abs(off))),
            "worst_of_bound": float(np.nanmax(np.abs(off) / (0.02 + 0.005 * exact))),
            "norm_cv_error": found.norm_cv / evaluation.norm_cv(x) - 1.0,
            "pr_error": found.participation_ratio / evaluation.participation_ratio(x) - 1.0,
            "mean_resultant_error": found.mean_resultant / evaluation.mean_resultant(x) - 1.0,
            "seconds": seconds,
        }
        record[name] = row
        lines.append([name, *(f"{v:.3g}" for v in row.values())])
        print(*lines[-1], sep=", ", flush=True)
    head = ["A² exact", "error of the average", "worst error", "of the bound", "norm CV", "PR"]
    head += ["mean resultant", "seconds"]
    return record, _table([f"{rows:,} × 512", *head], lines)


def _bfloat16(x):
    return (x.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def rounded(scale, folder):
    """False-positive rates on Gaussians rounded to float16, bfloat16 and 8 bits, through `evaluate`."""
    lines, record = [], {}
    for n in (1000, 10_000, 100_000):
        repeats = max(2, round(scale * 4e7 / (n * 64)))
        for name, rounding in (
            ("float32", lambda x: x),
            ("float16", lambda x: x.astype(np.float16).astype(np.float32)),
            ("bfloat16", _bfloat16),
            ("int8 times 1/32", lambda x: np.clip(np.rint(32 * x), -127, 127) / np.float32(32)),
        ):
            rates = {test: [] for test in ("ad", "dp", "ep", "cvm", "sf", "lilliefors", "jb")}
            for k in range(repeats):
                x = np.random.default_rng([SEED, n, k]).standard_normal((n, 64)).astype(np.float32)
                x = rounding(x).astype(np.float32)
                grid = discrete.quantisation(x)
                z = x if grid is None else discrete.dithered(x, grid, seed=k)
                for test, result in evaluation.univariate(z, tuple(rates)).items():
                    rates[test].append(np.mean(result.pvalue <= 0.05))
            found = {test: float(np.mean(v)) for test, v in rates.items()}
            record[f"{name}, {n}"] = found | {"coordinates": 64 * repeats}
            cells = [f"{100 * v:.2f}" for v in found.values()]
            lines.append([name, f"{n:,}", f"{64 * repeats:,}", *cells])
            print(*lines[-1], sep=", ", flush=True)
    head = ["rounded to", "n", "coordinates", *(f"{test} %" for test in found)]
    return record, _table(head, lines)


# --- the command ----------------------------------------------------------------------------------


def _table(head, lines):
    return "\n".join(
        "| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *lines]
    )


def _machine():
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
        name = next(line for line in text.splitlines() if line.startswith("model name"))
        name = name.split(":", 1)[1].strip()
    except (OSError, StopIteration):
        pass
    return (
        f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    functions = (
        verdicts,
        calibration,
        calibration_multivariate,
        rounded,
        power,
        intervals,
        speed,
        memory,
        out_of_core,
        out_of_core_wide,
        streaming,
    )
    commands = {f.__name__: f for f in functions}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--scale", type=float, default=1.0, help="of the repetitions")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    started = time.perf_counter()
    folder = arguments.out / f"evaluation_{arguments.command}_{arguments.scale:g}"
    record, table = commands[arguments.command](arguments.scale, folder)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = f"{_machine()}; scale {arguments.scale:g}, {seconds:.0f} s, peak {peak:.2f} GiB"
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"evaluation_{arguments.command}"
    stem.with_suffix(".md").write_text(f"{table}\n\n{note}\n")
    stem.with_suffix(".json").write_text(json.dumps({"machine": note, "record": record}) + "\n")
    print(table, note, sep="\n\n")


if __name__ == "__main__":
    main()
