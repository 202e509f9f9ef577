"""What Gaussianity is good for: probes, neighbours and outliers."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from experiments.pages import (
    Drawn,
    finished_folders,
    interval,
    markdown,
)
from infonce_jax import data
from infonce_jax.config import from_plain
from infonce_jax.evaluation import anderson_darling, norm_cv, whitening
from infonce_jax.evaluation.controls import random_projection
from infonce_jax.evaluation.probe import linear_probe, nearest_neighbours
from infonce_jax.report.runs import load_run
from infonce_jax.runs import encode


def draw_downstream(runs: Path, outliers: int = 2000) -> Drawn:
    """Linear probe, nearest neighbours and Mahalanobis AUROC, with and without the regulariser."""
    folders = {folder.name: folder for folder in finished_folders(runs / "downstream")}
    any_run = load_run(next(iter(folders.values())))
    config = from_plain(any_run.config)
    images, held_out = data.load(config), config.data.held_out_class
    foreign = {
        "held-out class": images.test[images.test_labels == held_out],
        "uniform noise": np.random.default_rng(0).integers(0, 256, (outliers, 32, 32, 3), np.uint8),
        "textures": textures(outliers),
    }
    seen = images.test_labels != held_out
    sets = {"train": images.train, "test": images.test[seen], **foreign}
    labels = images.train_labels, images.test_labels[seen]
    ends = np.cumsum([len(x) for x in sets.values()])[:-1]

    heads = ["linear probe", "20 nearest neighbours", *(f"AUROC, {name}" for name in foreign)]
    rows = [["encoder", *heads, "CV", "AD, n = 10,000"]]

    def scores(z):
        model = whitening.fit(z["train"])
        inside = whitening.mahalanobis(model, z["test"])
        everything = np.concatenate([z["test"], z["held-out class"]])
        return [
            *(
                100 * f(z["train"], labels[0], z["test"], labels[1])
                for f in (linear_probe, nearest_neighbours)
            ),
            *(whitening.auroc(inside, whitening.mahalanobis(model, z[name])) for name in foreign),
            norm_cv(everything),
            anderson_darling(everything).statistic.mean(),
        ]

    def add(label, of_seeds):
        found = np.transpose([scores(z) for z in of_seeds])
        formats = [".1f", ".1f", *[".3f"] * len(foreign), ".3f", ".3g"]
        shown = [
            f"{interval(v):{f}}" if len(v) > 1 else f"{v[0]:{f}}"
            for v, f in zip(found, formats, strict=True)
        ]
        rows.append([label, *(f"{cell}%" for cell in shown[:2]), *shown[2:]])

    pixels = {name: x.reshape(len(x), -1) / np.float32(255) for name, x in sets.items()}
    # One map for all sets: the same seed gives the same entries.
    seeds = range(len(any_run.settings[0].members))
    add(
        "random projection of the pixels",
        [{n: random_projection(x, 128, seed=i) for n, x in pixels.items()} for i in seeds],
    )
    for name in ("contrastive", "supervised"):
        if name not in folders:
            continue
        run = load_run(folders[name])
        for step in (0, max(run.epochs)) if name == "contrastive" else (max(run.epochs),):
            # In one call: each restores the run and compiles its encoder.
            found = encode(folders[name], np.concatenate(list(sets.values())), step=step)
            for setting in run.settings:
                label = f"InfoNCE, {setting.label.replace('beta', 'β / β₀ =')}"
                if name == "supervised":
                    label = "supervised"
                if step == 0:
                    label = "untrained"
                of_seeds = (np.split(found[member], ends) for member in setting.members)
                add(label, [dict(zip(sets, parts, strict=True)) for parts in of_seeds])
                if step == 0:
                    break
    return Drawn("downstream", None, markdown(rows))


def textures(count: int, seed: int = 0) -> UInt8[np.ndarray, "count 32 32 3"]:
    """Images without objects: sums of eight gratings of random direction, wavelength and colour.

    Args:
        count: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32].reshape(2, 1, 1, 32, 32)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, count, 8, 1, 1))
    frequency = 2 * np.pi / np.exp(rng.uniform(np.log(3), np.log(32), (count, 8, 1, 1)))
    waves = np.cos(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    mixed = np.einsum("nkyx,nkc->nyxc", waves, rng.standard_normal((count, 8, 3)))
    mixed += rng.standard_normal((count, 1, 1, 3))
    return np.round(255 / (1 + np.exp(-mixed))).astype(np.uint8)
