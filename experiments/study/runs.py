"""Measures the runs of configs/study/, and keeps what was measured beside each run."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn.datasets
from jaxtyping import UInt8
from ml_collections import ConfigDict

from experiments.pages import Absent
from experiments.study import corruptions, measure
from infonce_jax import data, training
from infonce_jax.config import from_plain, members
from infonce_jax.data import Dataset
from infonce_jax.evaluation import probe
from infonce_jax.evaluation.controls import random_projection
from infonce_jax.files import write_json
from infonce_jax.runs import encode

FAMILIES = {
    "cifar10_mlp": "MLP on CIFAR-10",
    "cifar10_resnet": "ResNet on CIFAR-10",
    "mixture": "linear, mixture",
}
_FILE = "study.json"
_CORRUPTED_ROWS = 2000
_OUTLIERS = 2000


class Point(NamedTuple):
    """One run of the study: an encoder of one seed.

    Attributes:
        family: data and architecture.
        objective: what it was trained with, the name of the run; "untrained" or "random projection"
            for the controls.
        weight: of the regulariser, 0 where there is none.
        seed: of the run.
        values: its measures, by name.
    """

    family: str
    objective: str
    weight: float
    seed: int
    values: dict[str, float]


def read_points(runs: Path) -> list[Point]:
    """All finished runs, measured; those that were measured before are read.

    Encoders without a run in the folder come from its encoders.csv, if there is one (see `to_csv`).

    Raises:
        Absent: where there are none.
    """
    table = runs / "encoders.csv"
    kept = from_csv(table.read_text(encoding="utf-8")) if table.is_file() else []
    points = []
    for family in FAMILIES:
        found = []
        for folder in sorted(path.parent for path in (runs / family).glob("*/config.json")):
            found += _measured(family, folder)
        measured = {point.objective for point in found}
        points += found
        points += [p for p in kept if p.family == family and p.objective not in measured]
    if not points:
        raise Absent(
            f"{runs} holds neither finished runs nor encoders.csv; the commands are in configs/study/."
        )
    return points


def to_csv(points: Sequence[Point]) -> str:
    """A line for each encoder with all its measures, to six digits."""
    measures = list(dict.fromkeys(name for point in points for name in point.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*Point._fields[:-1], *measures])
    for *labels, values in points:
        cells = [f"{values[name]:.6g}" if name in values else "" for name in measures]
        writer.writerow([*labels, *cells])
    return text.getvalue()


def from_csv(text: str) -> list[Point]:
    """The points of a table of `to_csv`."""
    points = []
    for row in csv.DictReader(io.StringIO(text)):
        family, objective, weight, seed = (row.pop(name) for name in Point._fields[:-1])
        values = {name: float(value) for name, value in row.items() if value}
        points.append(Point(family, objective, float(weight), int(seed), values))
    return points


def _measured(family: str, folder: Path) -> list[Point]:
    """The points of one run folder; none where it is not finished."""
    content = json.loads((folder / "config.json").read_text())
    config = from_plain(content)
    steps = [int(path.name) for path in (folder / "embeddings").glob("[0-9]*")]
    last = max(steps, default=0)
    if not last or last != training.total_steps(config, data.describe(config)):
        return []
    file = folder / _FILE
    found = json.loads(file.read_text()) if file.is_file() else {}
    if found.get("step") != last or found.get("code") != _code():
        wanted: dict[str, int | None] = {folder.name: last}
        if folder.name == "infonce":
            # The controls, which are the same for all runs.
            wanted |= {"untrained": 0, "random projection": None}
        found = {"step": last, "code": _code(), "members": {}}
        for name, step in wanted.items():
            print(f"measuring {family}/{name}", flush=True)
            encoded = _encode(folder, config, step)
            found["members"][name] = {member: measure.measure(own) for member, own in encoded}
        write_json(file, found)
    of_member = {member["name"]: member for member in content["members"]}
    points = []
    for name, by_member in found["members"].items():
        for member, values in by_member.items():
            varied = of_member[member]["hyperparameters"]
            weight = varied.get("loss.beta", 0.0)
            points.append(Point(family, name, weight, of_member[member]["seed"], values))
    return points


def _encode(
    folder: Path, config: ConfigDict, step: int | None
) -> Iterator[tuple[str, measure.Encoded]]:
    """Each member's representations at a step; without one, random projections of the inputs."""
    images = data.load(config)
    test, labels, unknown, corrupted = test_rows(images, config.data.held_out_class)
    sets = {"train": images.train, "test": test, **unknown, **corrupted}
    ends = np.cumsum([len(rows) for rows in sets.values()])[:-1]
    rows = np.concatenate(list(sets.values()))
    # All rows in one call, which restores the run and compiles its encoder.
    encoded = _projected(rows, config) if step is None else encode(folder, rows, step=step)
    for member, z in encoded.items():
        parts = dict(zip(sets, np.split(z, ends), strict=True))
        yield (
            member,
            measure.Encoded(
                parts["train"],
                images.train_labels,
                parts["test"],
                labels,
                {name: parts[name] for name in unknown},
                {key: parts[key] for key in corrupted},
            ),
        )


def _projected(rows: np.ndarray, config: ConfigDict) -> dict[str, np.ndarray]:
    """Random projections to the encoder's dimension, one for each member."""
    scale = np.float32(1 / 255) if rows.dtype == np.uint8 else np.float32(1)
    flat = rows.reshape(len(rows), -1) * scale
    dim = config.encoder.embedding_dim
    return {m.name: random_projection(flat, dim, seed=m.seed) for m in members(config)}


class TestRows(NamedTuple):
    """Inputs that encoders are judged on; the names as in `measure.Encoded`."""

    test: np.ndarray
    test_labels: np.ndarray
    unknown: dict[str, np.ndarray]
    corrupted: dict[tuple[str, int], np.ndarray]


def test_rows(images: Dataset, held_out: int) -> TestRows:
    """Test rows of the known classes, and on images unknown and corrupted ones."""
    if not images.spec.is_image:
        return TestRows(images.test, images.test_labels, {}, {})
    known = images.test_labels != held_out
    test = images.test[known]
    noise = np.random.default_rng(0).integers(0, 256, (_OUTLIERS, 32, 32, 3), np.uint8)
    unknown = {
        "held-out class": images.test[~known],
        "uniform noise": noise,
        "textures": textures(_OUTLIERS),
        "digits": digits(),
    }
    corrupted = {
        (name, strength): corrupt(test[:_CORRUPTED_ROWS], strength)
        for name, corrupt in corruptions.CORRUPTIONS.items()
        for strength in corruptions.STRENGTHS
    }
    return TestRows(test, images.test_labels[known], unknown, corrupted)


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


def digits() -> UInt8[np.ndarray, "1797 32 32 3"]:
    """The handwritten digits of scikit-learn, 8×8 grey pixels, each pixel enlarged to 4×4."""
    grey = sklearn.datasets.load_digits().images
    large = np.round(grey * (255 / 16)).repeat(4, axis=1).repeat(4, axis=2)
    return np.stack([large] * 3, axis=-1).astype(np.uint8)


def _code() -> str:
    """A hash of the code that measures, so that a change of it measures anew."""
    files = [Path(module.__file__) for module in (measure, corruptions, probe)]
    files.append(Path(__file__))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
