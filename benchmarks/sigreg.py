"""SIGReg beside its peers in one run, and the means of its two statistics over batches.

    python -m benchmarks.sigreg               # both, about a minute on two cores
    python -m benchmarks.sigreg --only speed  # N = 1,024, d = 512, 1,024 directions
    python -m benchmarks.sigreg --only means  # the table in the docstring of `sigreg`

The peers are lightly's SIGReg, and the formula as it is usually written in JAX. Every case runs
forward and backward in float32 and is compiled or warmed up beforehand; the cases are run in turn,
`--repeats` times, and the fastest run of each counts. Errors are those of the value and the gradient
relative to the formula in float64, with the same directions. A peer that is not installed is named
as such.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from infonce_jax import losses


def as_usually_written(z, directions):
    """The formula with all cosines and sines at once: [batch, directions, knots]."""
    t = jnp.linspace(0, 3, 17)
    target = jnp.exp(-(t**2) / 2)
    weights = jnp.full(17, 2 * t[1]).at[jnp.array([0, -1])].set(t[1]) * target
    angle = (z @ directions)[:, :, None] * t
    cosine, sine = jnp.mean(jnp.cos(angle), axis=0), jnp.mean(jnp.sin(angle), axis=0)
    return len(z) * jnp.mean(((cosine - target) ** 2 + sine**2) @ weights)


def jax_case(loss, z, directions):
    step = jax.jit(jax.value_and_grad(loss)).lower(z, directions).compile()

    def run():
        return jax.block_until_ready(step(z, directions))

    return run, step.memory_analysis().temp_size_in_bytes / 1e6


def lightly_case(z, directions):
    """lightly's SIGReg with the directions given; drawing them is not timed."""
    import torch
    from lightly.loss import SIGReg

    module, rows = SIGReg(num_vectors=directions.shape[1]), torch.tensor(np.array(z))
    given = torch.tensor(np.array(directions))
    module._generate_unit_vectors = lambda *_, **__: given

    def run():
        rows.requires_grad_(True)
        rows.grad = None
        value = module(rows)
        value.backward()
        return value.detach().numpy(), rows.grad.numpy()

    return run, None


def speed(repeats, n=1024, dim=512, count=1024):
    """Rows of dictionaries: name, seconds, megabytes of temporaries, error."""
    z = jax.random.normal(jax.random.key(0), (n, dim)) * 1.1
    directions = losses.random_directions(jax.random.key(1), dim, count)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(x, np.float64)) for x in (z, directions)]
        # Block by block, as float64 needs twice the memory.
        truth = jax.value_and_grad(as_usually_written)
        parts = [truth(wide[0], wide[1][:, i : i + 64]) for i in range(0, count, 64)]
        exact = [np.mean([np.asarray(part[i]) for part in parts], axis=0) for i in (0, 1)]
    cases = {
        f"ours, block of {block}": functools.partial(
            jax_case, lambda z, a, block=block: losses.sigreg(z, directions=a, block=block)
        )
        for block in (128, count)
    }
    cases["as usually written, in JAX"] = functools.partial(jax_case, as_usually_written)
    cases["lightly's SIGReg"] = lightly_case
    rows, runs = [], {}
    for name, make in cases.items():
        try:
            run, megabytes = make(z, directions)
        except ImportError as error:
            rows.append({"name": name, "note": f"not installed ({error})"})
            continue
        found = run()
        errors = [
            np.max(np.abs(np.asarray(got) - want)) / np.max(np.abs(want))
            for got, want in zip(found, exact, strict=True)
        ]
        runs[name] = run
        rows.append({"name": name, "seconds": np.inf, "megabytes": megabytes, "errors": errors})
    for _ in range(repeats):
        for row in rows:
            if row["name"] in runs:
                start = time.perf_counter()
                runs[row["name"]]()
                row["seconds"] = min(row["seconds"], time.perf_counter() - start)
    return rows


def means(count=2**18, dim=8, n_directions=64):
    """Mean over batches, and its standard error, by statistic, law and batch size."""
    directions = losses.random_directions(jax.random.key(1), dim, n_directions)
    draws = {"Gaussian": jax.random.normal, "Laplace": jax.random.laplace}
    table = {}
    for unbiased in (False, True):
        loss = functools.partial(losses.sigreg, directions=directions, unbiased=unbiased)
        for law, draw in draws.items():
            rows = draw(jax.random.key(0), (count, dim)) / (1 if law == "Gaussian" else np.sqrt(2))
            for n in (16, 64, 256):
                each = jax.jit(lambda z, loss=loss: jax.lax.map(loss, z, batch_size=64))(
                    rows.reshape(-1, n, dim)
                )
                error = jnp.std(each) / np.sqrt(len(each))
                table[unbiased, law, n] = float(jnp.mean(each)), float(error)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("speed", "means"))
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}")
    if args.only != "means":
        print("| case | time (ms) | temporaries (MB) | error of value, gradient |")
        print("| --- | ---: | ---: | --- |")
        for row in speed(args.repeats):
            if "note" in row:
                print(f"| {row['name']} | {row['note']} | | |")
                continue
            memory = "" if row["megabytes"] is None else f"{row['megabytes']:.1f}"
            errors = ", ".join(f"{error:.0e}" for error in row["errors"])
            print(f"| {row['name']} | {1e3 * row['seconds']:.0f} | {memory} | {errors} |")
    if args.only != "speed":
        print("| mean over batches | n = 16 | n = 64 | n = 256 |")
        print("| --- | ---: | ---: | ---: |")
        table = means()
        for unbiased, law in dict.fromkeys(key[:2] for key in table):
            cells = [
                f"{m:.5f} ± {e:.5f}" for k, (m, e) in table.items() if k[:2] == (unbiased, law)
            ]
            kind = "unbiased" if unbiased else "published"
            print(f"| {kind}, {law} rows | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
