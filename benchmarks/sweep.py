"""A sweep of 200 small runs: ours side by side, ours one after another, and PyTorch.

    python -m benchmarks.sweep                            # training alone, at both sizes
    python -m benchmarks.sweep --size small --pipeline    # and from launch to rows

200 runs = 10 seeds x 5 temperatures x 4 noise strengths of a linear encoder on Laplace inputs, fixed
or drawn anew at every step, symmetric InfoNCE, Adam. The same training loop in PyTorch is measured
three ways: as it is usually written, one run after another; the same in two processes side by side;
and by hand as one batched model of all 200, which is what a PyTorch expert could do. Every one of
them trains without logging anything but the loss; ours computes all of its metrics.

Everything runs in a process of its own, so that the peak memory is its own. Rates do not depend on how
many steps are taken: a few are timed, after those that compile. PyTorch is taken where it is
installed: `pip install torch`.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEEDS, TEMPERATURES, STRENGTHS = 10, (0.05, 0.1, 0.2, 0.5, 1.0), (0.25, 0.5, 0.75, 1.0)
RUNS = SEEDS * len(TEMPERATURES) * len(STRENGTHS)
LEARNING_RATE, TRAIN_SIZE = 3e-3, 12_800
# Inputs, embedding dimension, batch.
SIZES = {
    "small": (256, 32, 128),
    "medium": (512, 128, 256),
}


def config_of(size, *, fresh, source="laplace", alone=False, steps=1000):
    from infonce_jax.config import default_config

    config = default_config()
    config.data.dim, config.encoder.embedding_dim, config.train.batch_size = SIZES[size]
    config.data.source = source
    config.data.fresh = fresh
    config.data.train_size = TRAIN_SIZE
    config.optimizer.learning_rate = LEARNING_RATE
    config.train.steps = steps
    config.seeds = (0,) if alone else tuple(range(SEEDS))
    if not alone:
        config.loss.temperature = TEMPERATURES
        config.channel.strength = STRENGTHS
    return config


# --- what is measured: each returns milliseconds per step and run -----------------------------------


def ours(size, seconds, *, fresh, alone):
    import jax

    from infonce_jax import data as data_lib
    from infonce_jax import training
    from infonce_jax.config import members

    config = config_of(size, fresh=fresh, alone=alone)
    runs = members(config)
    program = training.make_program(config, data_lib.load(config), runs)
    began = time.perf_counter()
    state = program.init()

    def advance(count):
        nonlocal state
        state, failed = program.advance(state, int(state.step) + count)
        assert int(failed) < 0
        jax.block_until_ready(state)

    advance(1)
    compile_s = time.perf_counter() - began
    return {"ms": _step_ms(advance, seconds) / len(runs), "compile_s": compile_s}


def torch_one(size, seconds, *, fresh, threads, compiled=False):
    """One run, as a PyTorch user would write it."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    dim, embedding_dim, n = SIZES[size]
    temperature, strength, total = 0.2, 0.5, 1000
    torch.manual_seed(0)
    law = torch.distributions.Laplace(0.0, 2**-0.5)
    rows = law.sample((TRAIN_SIZE, dim))
    model = torch.nn.Linear(dim, embedding_dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    labels = torch.arange(n)
    sums = torch.zeros(())

    def objective(x):
        views = torch.cat([x, x])
        views = views + strength * torch.randn_like(views)
        u, v = F.normalize(model(views)).chunk(2)
        logits = u @ v.T / temperature
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    if compiled:
        objective = torch.compile(objective)

    def batches():
        while True:
            for index in torch.randperm(TRAIN_SIZE).split(n):
                yield law.sample((n, dim)) if fresh else rows[index]

    source = batches()

    def advance(count):
        nonlocal sums
        for _ in range(count):
            loss = objective(next(source))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            sums = sums + loss.detach()
        assert torch.isfinite(sums)

    advance(20)
    return {"ms": _step_ms(advance, seconds)}


def torch_all(size, seconds, *, fresh, threads):
    """All 200 as one batched model: what the seed decides is drawn once for its 20 settings."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    dim, embedding_dim, n = SIZES[size]
    settings = [(t, s) for t in TEMPERATURES for s in STRENGTHS]
    temperature = torch.tensor([t for t, _ in settings]).view(1, -1, 1, 1)
    strength = torch.tensor([s for _, s in settings]).view(1, -1, 1, 1)
    torch.manual_seed(0)
    law = torch.distributions.Laplace(0.0, 2**-0.5)
    rows = law.sample((TRAIN_SIZE, dim))
    bound = dim**-0.5
    shape = (SEEDS, len(settings), dim, embedding_dim)
    weight = torch.nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
    bias = torch.nn.Parameter(torch.zeros(SEEDS, len(settings), 1, embedding_dim))
    optimizer = torch.optim.Adam([weight, bias], lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)

    def one():
        index = torch.randint(TRAIN_SIZE, (SEEDS, n))
        x = law.sample((SEEDS, n, dim)) if fresh else rows[index]
        views = torch.cat([x, x], 1)[:, None]
        views = views + strength * torch.randn(SEEDS, 1, 2 * n, dim)
        u, v = F.normalize(views @ weight + bias, dim=-1).chunk(2, -2)
        logits = u @ v.mT / temperature
        positive = torch.diagonal(logits, dim1=-2, dim2=-1)
        row, column = torch.logsumexp(logits, -1), torch.logsumexp(logits, -2)
        loss = ((row + column) / 2 - positive).mean(-1)
        optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimizer.step()
        schedule.step()
        return loss.detach()

    def advance(count):
        sums = sum(one() for _ in range(count))
        assert torch.isfinite(sums).all()

    advance(1)
    return {"ms": _step_ms(advance, seconds) / RUNS}


def pipeline(size, steps, *, source, fresh):
    """Seconds per stage of the 200 runs as a user launches them."""
    from infonce_jax import runs

    config = config_of(size, fresh=fresh, source=source, steps=steps)
    config.data.test_size = 2000
    config.evaluate.sample_sizes = (500, 1000)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "sweep")
        began = time.perf_counter()
        runs.run(config, workdir, stages=("train", "embed", "evaluate"))
        whole_s = time.perf_counter() - began
        stages = json.loads((workdir / "run.json").read_text())["stages"]
        stages = {name: stage["wall_s"] for name, stage in stages.items()}
        size_mb = sum(f.stat().st_size for f in workdir.rglob("*") if f.is_file()) / 1e6
    return {"whole_s": whole_s, "size_mb": size_mb, **stages}


CASES = {"ours": ours, "torch_one": torch_one, "torch_all": torch_all, "pipeline": pipeline}


def _step_ms(advance, seconds):
    """Milliseconds per step: the best of many short stretches, which others' work disturbs least."""
    count, took_s = 1, 0.0
    while took_s < 0.1:
        count = max(1, min(10 * count, int(0.15 * count / max(took_s, 1e-3))))
        began = time.perf_counter()
        advance(count)
        took_s = time.perf_counter() - began
    best_s, end = took_s / count, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        advance(count)
        best_s = min(best_s, (time.perf_counter() - began) / count)
    return 1e3 * best_s


# --- processes of their own -----------------------------------------------------------------------


def start(case, size, budget, **options):
    command = [sys.executable, "-m", "benchmarks.sweep", "--case", case, "--size", size]
    command += ["--budget", str(budget), "--options", json.dumps(options)]
    threads = {"OMP_NUM_THREADS": str(options["threads"])} if "threads" in options else {}
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{process.args} failed")
    return json.loads(output.splitlines()[-1])


def measure(case, size, budget, **options):
    return finish(start(case, size, budget, **options))


def measure_size(size, seconds, fresh):
    """Rows of the table: name, milliseconds per step and run, peak memory in MB."""
    ours_all = measure("ours", size, seconds, fresh=fresh, alone=False)
    ours_one = measure("ours", size, seconds, fresh=fresh, alone=True)
    rows = [
        ("200 side by side", ours_all["ms"], ours_all["peak_mb"]),
        ("one after another", ours_one["ms"], ours_one["peak_mb"]),
    ]
    print(f"# compilation: {ours_all['compile_s']:.1f} s, {ours_one['compile_s']:.1f} s")
    try:
        version = f"PyTorch {importlib.metadata.version('torch').split('+')[0]}"
    except importlib.metadata.PackageNotFoundError:
        print("PyTorch is not installed; `pip install torch` to compare with it.")
        return rows
    for threads in (1, 2):
        one = measure("torch_one", size, seconds, fresh=fresh, threads=threads)
        name = f"{version}, {threads} thread{'s' * (threads > 1)}"
        rows.append((name, one["ms"], one["peak_mb"]))
    pair = [start("torch_one", size, seconds, fresh=fresh, threads=1) for _ in range(2)]
    pair = [finish(process) for process in pair]
    rate = sum(1 / result["ms"] for result in pair)
    rows.append((f"{version}, 2 processes", 1 / rate, sum(r["peak_mb"] for r in pair)))
    if not fresh:
        one = measure("torch_one", size, seconds, fresh=fresh, threads=1, compiled=True)
        rows.append((f"{version}, torch.compile, 1 thread", one["ms"], one["peak_mb"]))
    one = measure("torch_all", size, seconds, fresh=fresh, threads=os.cpu_count())
    rows.append((f"{version}, batched by hand", one["ms"], one["peak_mb"]))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--data", nargs="*", choices=("fixed", "fresh"), default=("fixed", "fresh"))
    parser.add_argument("--pipeline", action="store_true")
    parser.add_argument("--steps", type=int, default=1000, help="of the pipeline")
    # One case in this process, for the process that compares them.
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        budget = int(options.budget) if options.case == "pipeline" else options.budget
        result = CASES[options.case](options.size[0], budget, **options.options)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        print(json.dumps(result | {"peak_mb": peak_mb}))
        return

    from infonce_jax.runs.provenance import machine

    print(f"# {machine()}")
    for size in options.size:
        dim, embedding_dim, n = SIZES[size]
        for data in options.data:
            rows = measure_size(size, options.seconds, data == "fresh")
            print(f"\n{dim} -> {embedding_dim}, batch {n}, {data} data\n")
            print("| | ms per step and run | runs of 1,000 steps a minute | times ours | peak MB |")
            print("| --- | ---: | ---: | ---: | ---: |")
            for name, ms, peak_mb in rows:
                ratio = ms / rows[0][1]
                print(f"| {name} | {ms:.3f} | {60 / ms:,.1f} | {ratio:.1f} | {peak_mb:,.0f} |")
            sys.stdout.flush()
    if options.pipeline:
        for source in ("laplace", "mixture"):
            result = measure("pipeline", "small", options.steps, source=source, fresh=False)
            print(f"\n{source}, {options.steps} steps, launch to rows: {result}", flush=True)


if __name__ == "__main__":
    main()
