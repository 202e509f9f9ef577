"""All that waits for an accelerator, cheapest first, in one go of at most nine minutes.

    make gpu
    python -m benchmarks.gpu --data_dir=~/tensorflow_datasets
    python -m benchmarks.gpu --size=tiny          # does it run? on a CPU in under three minutes

1. InfoNCE, value and gradients, of 65,536 pairs of 512-dimensional bfloat16 rows.
2. A sweep of 200 linear encoders trained side by side.
3. InfoNCE of 1,048,576 pairs.
4. The paper's ResNet-18 on CIFAR-10 by InfoNCE, at the settings of appendix E.1, for as many of its 100
   epochs as there is time for; its representations are measured as in Table 1 on the way.
5. The same on the labels.

Results are written to gpu.json and gpu.md in benchmarks/results (with --size=tiny in runs/gpu_tiny)
after each part and each epoch that is measured, so that what ends early leaves what it has. A part that
fails says why, and the next one starts. Needs the repository and JAX with flax, optax and jaxtyping.
Without CIFAR-10, or what reads it, the images are synthetic; the results say so, and their normality is
then of no interest.
"""

import argparse
import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import losses as of_losses
from infonce_jax import encoders, evaluation, losses
from infonce_jax.evaluation.groups import GROUP_SIZE, GROUPS, grouped, summary

ROOT = Path(__file__).parent.parent
# Appendix E.1.
TEMPERATURE, LEARNING_RATE, WEIGHT_DECAY, EPOCHS = 0.1, 1e-3, 1e-4, 100
MEASURED_EPOCHS = (0, 1, 2, 5, 10, 15, 20, 30, 40, 50, 75, 100)
EMBEDDING_DIM, CLASSES = 128, 10


class Size(NamedTuple):
    """How large everything is.

    Attributes:
        pairs: of the losses' benchmark.
        dim: of its rows.
        most_pairs: of the largest loss.
        members: of the sweep: seeds, temperatures and strengths.
        inputs: of its encoders.
        images: to train on and to test on.
        width: channels of the ResNet's first stage.
        batch: of the ResNet's training.
        dtype: in which the losses' rows are and the ResNet computes.
        seconds: limit for everything.
    """

    pairs: int
    dim: int
    most_pairs: int
    members: tuple[int, int, int]
    inputs: int
    images: tuple[int, int]
    width: int
    batch: int
    dtype: str
    seconds: float


SIZES = {
    "full": Size(65_536, 512, 2**20, (10, 5, 4), 512, (50_000, 10_000), 64, 256, "bfloat16", 530.0),
    "tiny": Size(512, 32, 2048, (2, 2, 2), 32, (256, 600), 4, 64, "float32", 150.0),
}
OUT = {"full": Path(__file__).with_name("results"), "tiny": ROOT / "runs" / "gpu_tiny"}
# Of the whole time: when the contrastive training has to end, and when everything has.
_CONTRASTIVE_SHARE, _END_SHARE = 0.68, 0.98


class Clock(NamedTuple):
    """When everything began, and how long it may take, in seconds."""

    start: float
    limit: float

    def left(self, share: float = 1.0) -> float:
        return self.start + share * self.limit - time.monotonic()


# --- the parts: each takes (size, clock, data, say) and returns what it found, plain data -----------


def measure_losses(size: Size, clock: Clock, data, say) -> dict:
    dtype = jnp.dtype(size.dtype)
    cases = {
        "symmetric tiled": of_losses.ours(losses.infonce, "tiled"),
        "one-way tiled": of_losses.ours(losses.infonce, "tiled", symmetric=False),
        "NT-Xent tiled": of_losses.ours(losses.nt_xent, "tiled"),
    }
    limit = of_losses.product_limit_gflops(10, dtype, 8192 if size.dtype == "bfloat16" else 512)
    found = {"product_gflops": limit, "pairs": size.pairs, "dim": size.dim, "dtype": size.dtype}
    rows = of_losses.measure(cases, *of_losses.unit_rows(size.pairs, size.dim, dtype), 5)
    for row in rows:
        row["of_product_limit"] = of_losses.share_of_limit(row, size.pairs, size.dim, limit)
    found["rows"] = rows
    say(found)
    # The dense form holds N x N numbers, so it is compared at a quarter of the pairs.
    pairs = size.pairs // 4
    smaller = {
        "symmetric tiled": cases["symmetric tiled"],
        "symmetric dense": of_losses.ours(losses.infonce, "dense"),
    }
    rows = of_losses.measure(smaller, *of_losses.unit_rows(pairs, size.dim, dtype), 5)
    found["rows"] = found["rows"] + [row | {"n": pairs} for row in rows]
    return found


def measure_sweep(size: Size, clock: Clock, data, say) -> dict:
    seeds, temperatures, strengths = size.members
    grid = np.meshgrid(
        np.arange(seeds), np.geomspace(0.05, 1, temperatures), np.linspace(0.25, 1, strengths)
    )
    seed, tau, strength = (jnp.asarray(axis.ravel()) for axis in grid)
    optimizer = optax.adam(3e-3)
    batch, dim = 256, min(128, size.inputs)

    def start(seed):
        weights = jax.random.normal(jax.random.key(seed), (size.inputs, dim)) / size.inputs**0.5
        return weights, optimizer.init(weights)

    def step(index, state, seed, tau, strength):
        weights, opt = state
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 2)
        x = jax.random.laplace(keys[0], (batch, size.inputs)) / jnp.sqrt(2.0)
        noise = strength * jax.random.normal(keys[1], (2, *x.shape))

        def loss(weights):
            return losses.infonce(*((x + noise) @ weights), temperature=tau, implementation="dense")

        gradient = jax.grad(loss)(weights)
        updates, opt = optimizer.update(gradient, opt)
        return optax.apply_updates(weights, updates), opt

    @jax.jit
    def advance(state, first, last):
        def one(state, seed, tau, strength):
            body = functools.partial(step, seed=seed, tau=tau, strength=strength)
            return jax.lax.fori_loop(first, last, body, state)

        return jax.vmap(one)(state, seed, tau, strength)

    state = jax.block_until_ready(advance(jax.vmap(start)(seed), 0, 1))
    steps, seconds = 5, 0.0
    while seconds < 3 and steps < 4000:
        steps *= 2
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, 1, 1 + steps))
        seconds = time.perf_counter() - began
    per_step = 1e3 * seconds / steps
    return {
        "members": len(seed),
        "steps": steps,
        "ms_per_step": per_step,
        "microseconds_per_step_and_member": 1e3 * per_step / len(seed),
        "finite": bool(jnp.all(jnp.isfinite(state[0]))),
    }


def measure_million(size: Size, clock: Clock, data, say) -> dict:
    rows = of_losses.unit_rows(size.most_pairs, size.dim, jnp.dtype(size.dtype))
    call, temporaries = of_losses.compiled(of_losses.ours(losses.infonce, "tiled"), *rows)
    seconds = of_losses.fastest_s({"": call}, 1)[""]
    return {
        "pairs": size.most_pairs, "dim": size.dim, "seconds": seconds, "temporary_mb": temporaries,
    }  # fmt: skip


def train_contrastive(size: Size, clock: Clock, data, say) -> dict:
    return _train(size, clock, data, say, supervised=False, until=_CONTRASTIVE_SHARE)


def train_supervised(size: Size, clock: Clock, data, say) -> dict:
    return _train(size, clock, data, say, supervised=True, until=_END_SHARE)


PARTS: dict[str, Callable] = {
    "losses": measure_losses,
    "sweep": measure_sweep,
    "million": measure_million,
    "contrastive": train_contrastive,
    "supervised": train_supervised,
}


# --- ResNet-18 at E.1 --------------------------------------------------------------------------------


class Images(NamedTuple):
    """uint8 images with labels, and where they are from."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    source: str


def load_images(size: Size, data_dir: str) -> Images:
    """CIFAR-10 where it can be read, otherwise textures in ten colours."""
    train, test = size.images
    try:
        from infonce_jax.data import cifar10, tfds

        folder = Path(data_dir).expanduser() / "cifar10" / cifar10.VERSION
        if not tfds.is_prepared(folder):
            raise FileNotFoundError(f"{folder} holds no prepared CIFAR-10")
        found = cifar10.load_cifar10(Path(data_dir).expanduser())
        labels = found.train_labels[:train]
        return Images(found.train_images[:train], labels, found.test_images[:test], "CIFAR-10")
    except (ImportError, OSError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, train + test)
    colours = rng.uniform(60, 190, (CLASSES, 1, 1, 3))
    coarse = rng.normal(0, 40, (train + test, 8, 8, 3)).astype(np.float32)
    images = coarse.repeat(4, axis=1).repeat(4, axis=2) + colours[labels].astype(np.float32)
    images = np.clip(images, 0, 255).astype(np.uint8)
    source = f"synthetic images ({why})"
    return Images(images[:train], labels[:train].astype(np.int32), images[train:], source)


def _image_views():
    """infonce_jax.data.image_views, also where what its package's face imports is not installed."""
    try:
        from infonce_jax.data import image_views

        return image_views
    except ImportError:
        file = ROOT / "infonce_jax" / "data" / "image_views.py"
        spec = importlib.util.spec_from_file_location("image_views", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module


def _train(size: Size, clock: Clock, data: Images, say, *, supervised: bool, until: float) -> dict:
    views = _image_views()
    settings = views.scale_jitter(views.ViewSettings(), 2.0)
    encoder = encoders.make_encoder(
        "resnet18", width=size.width, embedding_dim=EMBEDDING_DIM, initializer="pytorch",
        dtype=jnp.dtype(size.dtype),
    )  # fmt: skip
    images, labels = jnp.asarray(data.train), jnp.asarray(data.train_labels)
    scaled = np.asarray(data.train, np.float32)[:5000] / 255
    mean, std = scaled.mean(axis=(0, 1, 2)), scaled.std(axis=(0, 1, 2))
    per_epoch = len(images) // size.batch
    optimizer = optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.adam(LEARNING_RATE))

    def encode(params, stats, x, train):
        variables = {"params": params["encoder"], "batch_stats": stats}
        outputs, stats = encoders.apply(encoder, variables, (x - mean) / std, train=train)
        return outputs.encoder, stats

    def start():
        key = jax.random.key(0)
        variables = encoders.init(encoder, key, jnp.zeros((2, *images.shape[1:])))
        params = {"encoder": variables["params"]}
        if supervised:
            bound = EMBEDDING_DIM**-0.5
            shape = (EMBEDDING_DIM, CLASSES)
            params["classifier"] = jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        return params, variables["batch_stats"], optimizer.init(params)

    def loss_of(params, stats, x, y):
        z, stats = encode(params, stats, x, train=True)
        if supervised:
            logits = z @ params["classifier"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), stats
        one, other = jnp.split(z, 2)
        return losses.infonce(one, other, temperature=TEMPERATURE, symmetric=False), stats

    @jax.jit
    def run_epoch(state, epoch):
        key = jax.random.fold_in(jax.random.key(1), epoch)
        order = jax.random.permutation(key, len(images))[: per_epoch * size.batch]

        def step(state, inputs):
            params, stats, opt = state
            rows, index = inputs
            x = images[rows] if supervised else jnp.concatenate([images[rows]] * 2)
            x = views.simclr_views(jax.random.fold_in(key, index), x, settings)
            (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(
                params, stats, x, labels[rows]
            )
            updates, opt = optimizer.update(gradient, opt, params)
            return (optax.apply_updates(params, updates), stats, opt), loss

        inputs = order.reshape(per_epoch, size.batch), jnp.arange(per_epoch)
        state, seen = jax.lax.scan(step, state, inputs)
        return state, seen.mean()

    embed = jax.jit(lambda state, x: encode(*state[:2], x, train=False)[0])

    def measured(state):
        blocks = np.array_split(np.asarray(data.test, np.float32) / 255, len(data.test) // 200)
        return _table_1(np.concatenate([np.asarray(embed(state, x)) for x in blocks]))

    count = size.batch * (1 if supervised else 2)
    step_flops = _model_flops(encoder, (count, *images.shape[1:]))
    found = {"images": data.source, "batch": size.batch, "dtype": size.dtype, "epochs": {}}
    state = start()
    found["epochs"]["0"] = measured(state)
    seconds, timed, epoch = 0.0, 0, 0
    while epoch < EPOCHS and clock.left(until) > 1.3 * (seconds / timed if timed else 0):
        began = time.perf_counter()
        state, loss = jax.block_until_ready(run_epoch(state, epoch))
        epoch += 1
        if epoch > 1:
            # The first epoch includes the compilation.
            seconds, timed = seconds + time.perf_counter() - began, timed + 1
            rate = timed * per_epoch / seconds
            found |= {"images_per_s": rate * size.batch} | _utilisation(rate * step_flops)
        found |= {"epoch": epoch, "loss": float(loss)}
        if not np.isfinite(found["loss"]):
            raise FloatingPointError(f"the loss is {found['loss']} in epoch {epoch}")
        if epoch in MEASURED_EPOCHS:
            found["epochs"][str(epoch)] = measured(state)
            say(found)
    found["epochs"][str(epoch)] = measured(state)
    return found


def _table_1(z: np.ndarray) -> dict:
    """CV, and AD and DP by as many groups of 250 as there are rows for, and at n = 1,000 and all."""
    z = z.astype(np.float64)
    groups = min(GROUPS, len(z) // GROUP_SIZE)
    found = {"norm_cv": evaluation.norm_cv(z)} | summary(grouped(z, groups=groups))
    for n in sorted({min(1000, len(z)), len(z)}):
        statistic = evaluation.univariate(z[:n], ["ad"], method="asymptotic")["ad"].statistic
        found[f"ad_mean_{n}"] = float(np.nanmean(statistic))
    return found


def _model_flops(encoder, shape: tuple[int, ...]) -> float:
    """Operations of the encoder in one step: three times its forward pass, as in PaLM's appendix B."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: encoders.init(encoder, jax.random.key(0), x), x)
    forward = jax.jit(lambda v, x: encoders.apply(encoder, v, x, train=False)[0].encoder)
    cost = forward.lower(variables, x).cost_analysis() or {}
    return 3 * cost.get("flops", float("nan"))


def _utilisation(flops: float) -> dict[str, float]:
    found = {"model_tflops_per_s": flops / 1e12}
    try:
        from infonce_jax.training.throughput import peak_flops
    except ImportError as error:
        return found | {"mfu": f"the table of peaks needs {error.name}"}
    peak = peak_flops(jax.devices()[0].device_kind)
    return found | ({"mfu": flops / peak} if peak else {})


# --- writing -----------------------------------------------------------------------------------------


def page(results: dict) -> str:
    """What was found, for a reader."""
    machine = results["machine"]
    lines = [
        "# On an accelerator",
        "",
        f"{machine['device']}, JAX {machine['jax']}, {machine['date']}",
    ]
    for name in PARTS:
        part = results.get(name)
        if part is None:
            continue
        lines += ["", f"## {name}", ""]
        plain = {k: v for k, v in part.items() if k not in ("rows", "epochs")}
        lines += [
            f"- {k}: {v:.4g}" if isinstance(v, float) else f"- {k}: {v}" for k, v in plain.items()
        ]
        if "rows" in part:
            lines += ["", of_losses.table(part)]
        if "epochs" in part:
            lines += [
                "",
                "| epoch | CV | AD, groups | AD pass | DP p, groups | DP pass |",
                "|" + " --- |" * 6,
            ]
            for epoch, of in part["epochs"].items():
                shown = (
                    "norm_cv",
                    "group_ad_mean",
                    "group_ad_pass",
                    "group_dp_mean_p",
                    "group_dp_pass",
                )
                lines.append(f"| {epoch} | " + " | ".join(f"{of[k]:.3f}" for k in shown) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> dict:
    """Runs the command line and returns the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--seconds", type=float, default=0, help="limit [default: by the size]")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data_dir", default=str(ROOT.parent / "shared" / "data" / "tfds"))
    parser.add_argument("--out", type=Path, help="folder of the results [default: by the size]")
    arguments = parser.parse_args(argv)
    arguments.out = arguments.out or OUT[arguments.size]
    size = SIZES[arguments.size]
    clock = Clock(time.monotonic(), arguments.seconds or size.seconds)
    if arguments.size == "full" and jax.default_backend() == "cpu":
        parser.error("JAX sees no accelerator; --size=tiny tries everything on a CPU.")
    results = {"machine": of_losses.machine(), "size": arguments.size}
    arguments.out.mkdir(parents=True, exist_ok=True)

    def say(name, found):
        results[name] = found
        (arguments.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (arguments.out / "gpu.md").write_text(page(results))
        shown = {k: v for k, v in found.items() if k not in ("rows", "epochs")}
        print(f"{time.monotonic() - clock.start:5.0f} s  {name}: {json.dumps(shown)}", flush=True)

    data = None
    for name in arguments.only:
        if clock.left() < 1:
            say(name, {"left out": "no time left"})
            continue
        try:
            if data is None and name in ("contrastive", "supervised"):
                data = load_images(size, arguments.data_dir)
            say(name, PARTS[name](size, clock, data, functools.partial(say, name)))
        except (RuntimeError, ValueError, TypeError, FloatingPointError, MemoryError) as error:
            # Out of memory is a RuntimeError; what is left may still fit.
            say(
                name,
                results.get(name, {}) | {"failed": f"{type(error).__name__}: {str(error)[:500]}"},
            )
    print(page(results))
    return results


if __name__ == "__main__":
    main()
