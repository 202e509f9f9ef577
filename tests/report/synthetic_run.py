"""Writes a run folder such as training and evaluation leave behind, in a second."""

import json
from pathlib import Path

import numpy as np

from infonce_jax import embeddings, evaluation


def write_run(
    folder: Path,
    *,
    title: str = "Laplace",
    source: str = "laplace",
    paper: str | None = None,
    full_epochs: float = 0.0,
    seeds: int = 3,
    epochs: dict[int, float] | None = None,
    temperatures: tuple[float, ...] = (0.5,),
    n: int = 1200,
    dim: int = 16,
    views: bool = True,
    untrained: str = "gaussian",
    sample_sizes: tuple[int, ...] = (100, 250, 500, 1000, 10_000),
    groups: tuple[int, int] | None = None,
) -> Path:
    """A run whose trained embeddings are Gaussian and whose untrained ones are of the kind named."""
    epochs = epochs or {0: 0.0, 100: 20.0}
    report = {"paper": source if paper is None else paper, "full_epochs": full_epochs}
    members = [
        {
            "name": f"seed{seed}" + (f",loss.temperature={t:g}" if len(temperatures) > 1 else ""),
            "seed": seed,
            "hyperparameters": {"loss.temperature": t} if len(temperatures) > 1 else {},
        }
        for t in temperatures
        for seed in range(seeds)
    ]
    config = {
        "name": source,
        "objective": "infonce",
        "seeds": list(range(seeds)),
        "data": {"source": source, "dim": 512},
        "loss": {"temperature": temperatures[0] if len(temperatures) == 1 else list(temperatures)},
        "report": {**report, "title": title, "sample_size": 1000},
        "members": members,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    last = max(epochs)
    for step, epoch in epochs.items():
        progress = step / last if last else 0.0
        arrays = {}
        for index, member in enumerate(members):
            rng = np.random.default_rng([index, step, *source.encode()])
            z = _embeddings(rng, untrained, progress, n, dim)
            noise = 0.3 * z.std()
            name = member["name"]
            arrays[name, "test", "clean"] = z
            if views:
                for view in ("view1", "view2"):
                    shaken = z + noise * rng.standard_normal(z.shape)
                    arrays[name, "test", view] = shaken.astype(np.float32)
        embeddings.write(
            folder / "embeddings",
            step,
            arrays=arrays,
            labels={},
            members=members,
            metadata={"run": source, "epoch": epoch},
        )
    rows = evaluation.evaluate_paths([folder], sample_sizes=sample_sizes, groups=groups)
    evaluation.write(rows, folder)
    _write_metrics(folder, epochs, len(members))
    record = {
        "command": f"python launch.py --config=configs/{source}.py",
        "machine": {
            "cpu": "Zeta <9>",
            "cores": 2,
            "devices": ["cpu"],
            "python": "3.12",
            "jax": "0.11",
        },
        "stages": {"train": {"wall_s": 12.34}, "embed": {"wall_s": 1.5}},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def _embeddings(rng, untrained: str, progress: float, n: int, dim: int) -> np.ndarray:
    z = rng.standard_normal((n, dim))
    if untrained == "mixture":
        centres = 6 * (1 - progress) * rng.standard_normal((3, dim))
        z += centres[rng.integers(0, 3, n)]
    elif untrained == "heavy":
        z *= np.exp((0.35 * (1 - progress)) * rng.standard_normal((n, 1)))
    return z.astype(np.float32)


def _write_metrics(folder: Path, epochs: dict[int, float], count: int) -> None:
    rng = np.random.default_rng(0)
    last = max(epochs)
    offsets = 0.05 * rng.standard_normal(count)
    with open(folder / "metrics.jsonl", "w") as stream:
        for step in range(0, last + 1, max(1, last // 50)):
            t = step / last if last else 0.0
            noise = 0.01 * rng.standard_normal((3, count))
            alignment = 0.97 - 0.3 * np.exp(-5 * t) + offsets / 5 + noise[0]
            uniformity = 0.1 + 1.2 * np.exp(-4 * t) + offsets + noise[1]
            line = {
                "step": step,
                "epoch": t * max(epochs.values()),
                "loss": (np.log(256) - 2 * alignment + uniformity).tolist(),
                "alignment": alignment.tolist(),
                "uniformity": uniformity.tolist(),
                "norm_cv": (0.2 + 0.1 * np.exp(-3 * t) + noise[2]).tolist(),
                "grad_norm": np.exp(-t + offsets).tolist(),
            }
            stream.write(json.dumps(line) + "\n")
    rates = (
        {"step": step, "steps_per_s": 10.0 + step, "images_per_s": 640.0} for step in (0, 1, 7)
    )
    (folder / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rates))
