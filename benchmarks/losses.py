"""The losses side by side with one another and with their peers, in one run.

    python -m benchmarks.losses                  # everything, about fifteen minutes on two cores
    python -m benchmarks.losses --only headline  # the ratios alone
    python -m benchmarks.losses --only gpu       # on an accelerator: bfloat16, N = 65,536, d = 512

Beside PyTorch on a GPU set XLA_PYTHON_CLIENT_PREALLOCATE=false, or JAX takes most of its memory.

Every case runs forward and backward and is compiled beforehand; the cases of a table are run in
turn, `--repeats` times, and the fastest run of each counts, so that a disturbance of the machine
meets them all. Times are put in relation to the machine's own matrix product, measured in the same
run. Errors are relative to float64; of gradient caching, to the batch encoded whole. Writes a table
(losses.md), the numbers (losses.json) and a figure (losses.png) to `--out`. A peer that is not
installed is named as such.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from infonce_jax import losses

TEMPERATURE = 0.1
FLOPS = {"symmetric": 8, "one-way": 6, "NT-Xent": 16}  # of the tiled forms, times N²d


def unit_rows(n, dim, dtype=jnp.float32):
    a, b = jax.random.normal(jax.random.key(0), (2, n, dim))
    return tuple(losses.safe_normalize(z).astype(dtype) for z in (a, a + b))


# --- what is compared: functions of two arrays of unit rows ---------------------------------------


def ours(objective, implementation, temperature=TEMPERATURE, **options):
    def loss(a, b):
        how = {"normalize": False, "implementation": implementation, **options}
        return objective(a, b, temperature=temperature, **how)

    return loss


def textbook_nt_xent(a, b):
    """The [2N, 2N] matrix with its diagonal masked."""
    z = jnp.concatenate([a, b])
    logits = jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, z @ z.T / TEMPERATURE)
    positive = jnp.sum(a * b, axis=1) / TEMPERATURE
    return jnp.mean(jax.nn.logsumexp(logits, axis=1)) - jnp.mean(positive)


def big_vision(a, b, temperature=TEMPERATURE):
    """big_vision's bidirectional contrastive loss."""
    logits = jnp.dot(a, b.T) / temperature
    rows = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1))
    columns = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0))
    return jnp.mean(rows + columns) / 2


def textbook_one_way(a, b):
    """Log-sum-exps of the rows less the diagonal."""
    logits = a @ b.T / TEMPERATURE
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits))


def textbook_symmetric(a, b):
    """The same, and by columns."""
    logits = a @ b.T / TEMPERATURE
    both = jax.nn.logsumexp(logits, axis=1) + jax.nn.logsumexp(logits, axis=0)
    return jnp.mean(both / 2 - jnp.diagonal(logits))


# What a case's errors are measured against, computed in float64.
REFERENCES = {
    "symmetric": textbook_symmetric,
    "big_vision": textbook_symmetric,
    "one-way": textbook_one_way,
    "NT-Xent": textbook_nt_xent,
}


def optax_nt_xent(a, b):
    import optax

    labels = jnp.tile(jnp.arange(len(a)), 2)
    return optax.losses.ntxent(jnp.concatenate([a, b]), labels, temperature=TEMPERATURE)


def torch_peers():
    """Name → function that makes the loss of two tensors, or raises where it is not installed."""

    def open_clip():
        from open_clip.loss import ClipLoss

        loss = ClipLoss()
        return lambda a, b: loss(a, b, 1 / TEMPERATURE)

    def lightly():
        from lightly.loss import NTXentLoss

        return NTXentLoss(temperature=TEMPERATURE)

    def metric_learning():
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

        return SelfSupervisedLoss(NTXentLoss(temperature=TEMPERATURE))

    def info_nce():
        from info_nce import InfoNCE

        return InfoNCE(temperature=TEMPERATURE)

    def inf_cl():
        from inf_cl import cal_flash_loss

        def loss(a, b):
            both = (cal_flash_loss(*pair, scale=1 / TEMPERATURE) for pair in ((a, b), (b, a)))
            return sum(per_row.mean() for per_row in both) / 2

        return loss

    def plain():
        import torch

        labels = {}

        def loss(a, b):
            n = len(a)
            labels.setdefault(n, torch.arange(n))
            logits = a @ b.T / TEMPERATURE
            entropy = torch.nn.functional.cross_entropy
            return (entropy(logits, labels[n]) + entropy(logits.T, labels[n])) / 2

        return loss

    if jax.default_backend() != "cpu":
        return {"Inf-CL, both ways": inf_cl}
    return {
        "PyTorch, cross_entropy both ways": plain,
        "open_clip ClipLoss": open_clip,
        "lightly NTXentLoss": lightly,
        "pytorch-metric-learning NTXentLoss": metric_learning,
        "info-nce-pytorch (one-way)": info_nce,
    }


# --- measuring ------------------------------------------------------------------------------------


def compiled(loss, a, b, argnums=(0, 1)):
    """A call that waits for value and gradients, and its temporary memory in MB."""
    step = jax.jit(jax.value_and_grad(loss, argnums)).lower(a, b).compile()
    return lambda: jax.block_until_ready(step(a, b)), temporaries_mb(step)


def temporaries_mb(step):
    return step.memory_analysis().temp_size_in_bytes / 1e6


def torch_call(make, a, b):
    import torch

    loss, device = make(), "cpu" if jax.default_backend() == "cpu" else "cuda"
    tensors = [
        torch.tensor(np.asarray(z, np.float32), device=device)
        .to(getattr(torch, z.dtype.name))
        .requires_grad_()
        for z in (a, b)
    ]

    def call():
        torch.autograd.grad(loss(*tensors), tensors)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def fastest_s(calls, repeats, most_s=30.0):
    """Fastest of `repeats` rounds for every call, the calls taking turns.

    A call that has taken `most_s` in all has had its rounds.
    """
    best, spent = dict.fromkeys(calls, float("inf")), dict.fromkeys(calls, 0.0)
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            if spent[name] > most_s:
                continue
            start = time.perf_counter()
            call()
            seconds = time.perf_counter() - start
            spent[name] += seconds
            best[name] = min(best[name], seconds)
    return best


def product_limit_gflops(repeats, dtype=jnp.float32, n=2048):
    a = jnp.ones((n, n), dtype)
    product = jax.jit(jnp.matmul)
    seconds = fastest_s({"product": lambda: jax.block_until_ready(product(a, a))}, repeats)
    return 2 * n**3 / seconds["product"] / 1e9


def share_of_limit(row, n, dim, limit_gflops):
    """The time that a tiled form's operations take at the product limit, over the time it took."""
    return FLOPS[row["name"].split()[0]] * n**2 * dim / limit_gflops / 1e9 / row["seconds"]


def error_against_float64(name, loss, n=1300, dim=128, dtype=jnp.float32):
    """Largest relative error of the value and of the gradients; n leaves ragged tiles."""
    reference = next(f for kind, f in REFERENCES.items() if name.startswith(kind))
    return max(errors_against_float64(loss, reference, *unit_rows(n, dim, dtype))[1])


def errors_against_float64(loss, reference, a, b):
    """The reference's value, and relative errors of the value and of both gradients."""
    got = jax.jit(jax.value_and_grad(loss, (0, 1)))(a, b)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(z.astype(jnp.float32)), jnp.float64) for z in (a, b)]
        expected = jax.jit(jax.value_and_grad(reference, (0, 1)))(*wide)
    errors = [
        float(
            np.max(np.abs(np.asarray(g.astype(jnp.float32), np.float64) - np.asarray(e)))
            / np.max(np.abs(e))
        )
        for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    ]
    return float(expected[0]), errors


def measure(cases, a, b, repeats, peers=()):
    """Rows of a table: name, seconds, temporary MB."""
    calls, memory = {}, {}
    for name, loss in cases.items():
        calls[name], memory[name] = compiled(loss, a, b)
    missing = []
    for name, make in dict(peers).items():
        try:
            call = torch_call(make, a, b)
        except (ImportError, RuntimeError) as error:
            why = f"not installed ({getattr(error, 'name', None) or error})"
            missing.append({"name": name, "note": why})
            continue
        try:
            call()
            calls[name] = call
        except RuntimeError as error:
            missing.append({"name": name, "note": f"fails ({str(error).splitlines()[0]})"})
    seconds = fastest_s(calls, repeats)
    rows = [{"name": k, "seconds": seconds[k], "temporary_mb": memory.get(k)} for k in calls]
    return rows + missing


# --- the tables -----------------------------------------------------------------------------------


def headline(repeats, n=8192, dim=128):
    """N = 8,192, d = 128: the objectives, dense and tiled, and their peers."""
    infonce, nt_xent = losses.infonce, losses.nt_xent
    cases = {
        "symmetric textbook": textbook_symmetric,
        "symmetric dense": ours(infonce, "dense"),
        "symmetric tiled": ours(infonce, "tiled"),
        "one-way textbook": textbook_one_way,
        "one-way dense": ours(infonce, "dense", symmetric=False),
        "one-way tiled": ours(infonce, "tiled", symmetric=False),
        "NT-Xent textbook": textbook_nt_xent,
        "NT-Xent dense": ours(nt_xent, "dense"),
        "NT-Xent tiled": ours(nt_xent, "tiled"),
        "big_vision": big_vision,
    }
    limit = product_limit_gflops(10 * repeats)
    rows = measure(cases, *unit_rows(n, dim), repeats, torch_peers())
    seconds = {row["name"]: row.get("seconds") for row in rows}
    for row in rows:
        if row["name"].endswith("tiled"):
            row["of_product_limit"] = share_of_limit(row, n, dim, limit)
        if row["name"] in cases:
            row["error"] = error_against_float64(row["name"], cases[row["name"]], min(n, 1300), dim)
    ratios = {
        f"{kind} {slower} / tiled": seconds[f"{kind} {slower}"] / seconds[f"{kind} tiled"]
        for kind in ("symmetric", "one-way", "NT-Xent")
        for slower in ("textbook", "dense")
    } | {
        "big_vision / symmetric tiled": seconds["big_vision"] / seconds["symmetric tiled"],
    }
    return {"n": n, "dim": dim, "product_gflops": limit, "rows": rows, "ratios": ratios}


def small(repeats):
    """N <= 1,024: auto against dense, optax's NT-Xent, and at N = 256 the other peers."""
    out = {"rows": [], "ratios": {}}
    for n in (128, 256, 512, 1024):
        cases = {
            f"{name} {implementation}, N = {n}": ours(objective, implementation)
            for name, objective in (("symmetric", losses.infonce), ("NT-Xent", losses.nt_xent))
            for implementation in ("dense", "auto", "tiled")
        }
        if n == 1024 and importlib.util.find_spec("optax"):
            cases["optax.losses.ntxent, N = 1024"] = optax_nt_xent
        peers = torch_peers() if n == 256 else {}
        peers = {f"{name}, N = {n}": make for name, make in peers.items()}
        times = 20 * repeats if n < 1024 else 5 * repeats
        rows = measure(cases, *unit_rows(n, 128), times, peers)
        seconds = {row["name"]: row.get("seconds") for row in rows}
        for name in ("symmetric", "NT-Xent"):
            ratio = seconds[f"{name} auto, N = {n}"] / seconds[f"{name} dense, N = {n}"]
            out["ratios"][f"{name} auto / dense, N = {n}"] = ratio
        if "optax.losses.ntxent, N = 1024" in seconds:
            ratio = seconds["optax.losses.ntxent, N = 1024"] / seconds["NT-Xent auto, N = 1024"]
            out["ratios"]["optax.losses.ntxent / NT-Xent auto, N = 1024"] = ratio
        out["rows"] += rows
    return out


def near_zero(repeats):
    """Relative errors as the loss goes to zero: aligned pairs, N = 256, d = 64, ever colder."""
    del repeats
    rows = []
    a, noise = (
        losses.safe_normalize(jax.random.normal(k, (256, 64)))
        for k in jax.random.split(jax.random.key(0))
    )
    for temperature, dtype in itertools.product((0.1, 0.05, 0.03), (jnp.float32, jnp.bfloat16)):
        views = [losses.safe_normalize(z).astype(dtype) for z in (a, a + 0.7 * noise)]
        cases = {
            "symmetric dense": ours(losses.infonce, "dense", temperature),
            "symmetric tiled": ours(losses.infonce, "tiled", temperature),
            "big_vision": functools.partial(big_vision, temperature=temperature),
        }
        reference = cases["big_vision"]
        for name, loss in cases.items():
            value, (of_value, *of_gradients) = errors_against_float64(loss, reference, *views)
            label = f"{name}, {dtype.__name__}, loss {value:.1e}"
            errors = {"value_error": of_value, "gradient_error": max(of_gradients)}
            rows.append({"name": label} | errors)
    return {"rows": rows}


def gradient_caching(repeats):
    """InfoNCE of an encoder, the batch whole and in 16 micro-batches; ResNet-18 is compiled alone."""
    from infonce_jax import encoders

    rows = []
    for label, shape, batch, options in (
        ("MLP 3072-4096-128", (3072,), 4096, {"name": "mlp", "width": 4096}),
        ("ResNet-18 with GroupNorm", (32, 32, 3), 1024, {"name": "resnet18", "norm": "group"}),
    ):
        encoder = encoders.make_encoder(**options)
        views = jax.random.normal(jax.random.key(1), (2, batch, *shape))
        params = encoders.init(encoder, jax.random.key(0), views[0][:1])["params"]
        encode = functools.partial(representation, encoder)
        ways = {"whole": encode, "16 micro-batches": losses.microbatched(encode, batch // 16)}
        calls, found = {}, {}
        for way, f in ways.items():
            loss = functools.partial(loss_of_encoder, f)
            calls[way], memory_mb = compiled(loss, params, views, argnums=0)
            found[way] = {"name": f"{label}, batch {batch:,}, {way}", "temporary_mb": memory_mb}
        if options["name"] == "mlp":
            for way, seconds in fastest_s(calls, repeats).items():
                found[way]["seconds"] = seconds
            whole, parts = (jax.tree.leaves(call()) for call in calls.values())
            found["16 micro-batches"]["error"] = max(
                float(jnp.max(jnp.abs(p - w)) / jnp.max(jnp.abs(w)))
                for p, w in zip(parts, whole, strict=True)
            )
        rows += found.values()
    return {"rows": rows}


def representation(encoder, params, x):
    return encoder.apply({"params": params}, x, train=False).encoder


def loss_of_encoder(encode, params, views):
    a, b = (encode(params, view) for view in views)
    return losses.infonce(a, b, temperature=TEMPERATURE)


def scaling(repeats):
    """Time and memory against N, for the figure."""
    rows = []
    for n in (1024, 2048, 4096, 8192, 16384):
        cases = {"tiled": ours(losses.infonce, "tiled"), "dense": ours(losses.infonce, "dense")}
        rows += [row | {"n": n} for row in measure(cases, *unit_rows(n, 128), max(repeats // 2, 1))]
    return {"rows": rows}


def large():
    """N = 65,536, d = 256 in a process of its own: its largest resident memory."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.losses", "--only", "large-child"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr[-500:]}


def large_child():
    a, b = unit_rows(65536, 256)
    start = time.perf_counter()
    value, _ = jax.block_until_ready(
        jax.jit(jax.value_and_grad(ours(losses.infonce, "tiled"), (0, 1)))(a, b)
    )
    # Not getrusage's maximum, which a process inherits from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_gb = next(int(x.split()[1]) * 1024 / 1e9 for x in lines if x.startswith("VmHWM"))
    seconds = time.perf_counter() - start
    return {"value": float(value), "seconds_with_compilation": seconds, "process_gb": peak_gb}


def gpu(repeats):
    """bfloat16 on an accelerator: N = 65,536, d = 512, and 1,048,576; against dense at 16,384."""
    if jax.default_backend() == "cpu":
        return {"note": "unmeasured: JAX sees no accelerator"}
    n, dim, dtype = 65_536, 512, jnp.bfloat16
    limit = product_limit_gflops(10 * repeats, dtype, 8192)
    cases = {"symmetric tiled": ours(losses.infonce, "tiled")}
    for tile in ((1024, 8192), (2048, 2048), (4096, 4096), (4096, 8192), (8192, 8192)):
        cases[f"symmetric tiled {tile}"] = ours(losses.infonce, "tiled", tile=tile)
    cases["one-way tiled"] = ours(losses.infonce, "tiled", symmetric=False)
    cases["NT-Xent tiled"] = ours(losses.nt_xent, "tiled")
    rows = measure(cases, *unit_rows(n, dim, dtype), repeats, torch_peers())
    for row in rows:
        if row["name"] not in cases:
            continue
        row["of_product_limit"] = share_of_limit(row, n, dim, limit)
        row["error"] = error_against_float64(row["name"], cases[row["name"]], 9000, dim, dtype)
    smaller = {
        "symmetric tiled": ours(losses.infonce, "tiled"),
        "symmetric dense": ours(losses.infonce, "dense"),
        "big_vision": big_vision,
        "NT-Xent tiled": ours(losses.nt_xent, "tiled"),
        "NT-Xent dense": ours(losses.nt_xent, "dense"),
    }
    found = measure(smaller, *unit_rows(16_384, dim, dtype), repeats)
    seconds = {row["name"]: row["seconds"] for row in found}
    ratios = {
        f"{slower} / {faster}, N = 16,384": seconds[slower] / seconds[faster]
        for slower, faster in (
            ("symmetric dense", "symmetric tiled"),
            ("big_vision", "symmetric tiled"),
            ("NT-Xent dense", "NT-Xent tiled"),
        )
    }
    call, million_mb = compiled(cases["symmetric tiled"], *unit_rows(2**20, dim, dtype))
    return {
        "product_gflops": limit,
        "rows": rows + [row | {"n": 16_384} for row in found],
        "ratios": ratios,
        "million_rows_temporary_mb": million_mb,
        "million_rows_seconds": fastest_s({"million": call}, 1)["million"],
    }


# --- the report -----------------------------------------------------------------------------------


def machine():
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "date": time.strftime("%Y-%m-%d"),
    }


def table(result):
    if "value_error" in result["rows"][0]:
        lines = ["| case | error of the value | of the gradients |", "| --- | ---: | ---: |"]
        for row in result["rows"]:
            lines.append(
                f"| {row['name']} | {row['value_error']:.0e} | {row['gradient_error']:.0e} |"
            )
        return "\n".join(lines)
    lines = [
        "| case | time (ms) | temporaries (MB) | of the product limit | error |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        if "note" in row:
            lines.append(f"| {row['name']} | {row['note']} | | | |")
            continue
        name = row["name"] + (f", N = {row['n']:,}" if "n" in row else "")
        memory = "" if row.get("temporary_mb") is None else f"{row['temporary_mb']:,.1f}"
        share = f"{row['of_product_limit']:.0%}" if "of_product_limit" in row else ""
        error = f"{row['error']:.1e}" if "error" in row else ""
        took = f"{1e3 * row['seconds']:,.1f}" if "seconds" in row else ""
        lines.append(f"| {name} | {took} | {memory} | {share} | {error} |")
    ratios = [f"- {name}: {value:.2f}" for name, value in result.get("ratios", {}).items()]
    return "\n".join([*lines, "", *ratios])


def figure(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for name in ("dense", "tiled"):
        own = [row for row in rows if row["name"] == name]
        n = [row["n"] for row in own]
        axes[0].loglog(n, [1e3 * row["seconds"] for row in own], "o-", label=name)
        axes[1].loglog(n, [row["temporary_mb"] for row in own], "o-", label=name)
    axes[0].set(xlabel="N", ylabel="time (ms)", title="symmetric InfoNCE, d = 128")
    axes[1].set(xlabel="N", ylabel="temporaries (MB)", title="forward and backward")
    axes[0].legend()
    fig.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tables = ("headline", "small", "near_zero", "gradient_caching", "scaling", "large", "gpu")
    parser.add_argument("--only", nargs="+", choices=(*tables, "large-child"), default=tables)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    args = parser.parse_args()
    if args.only == ["large-child"]:
        print(json.dumps(large_child()))
        return
    results = {"machine": machine()}
    page = ["# Losses", "", "```", json.dumps(results["machine"], indent=2), "```"]
    for name in args.only:
        function = globals()[name]
        results[name] = function() if name == "large" else function(args.repeats)
        shown = {k: v for k, v in results[name].items() if k not in ("rows", "ratios")}
        page += ["", f"## {function.__doc__}", "", f"`{json.dumps(shown)}`", ""]
        if "rows" in results[name]:
            page.append(table(results[name]))
        print("\n".join(page[-3:]), flush=True)
        # After each, so that what ends early leaves what it has measured.
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "losses.md").write_text("\n".join(page) + "\n")
        (args.out / "losses.json").write_text(json.dumps(results, indent=1) + "\n")
    if "scaling" in results and importlib.util.find_spec("matplotlib"):
        figure(results["scaling"]["rows"], args.out / "losses.png")


if __name__ == "__main__":
    main()
