"""Makes the embeddings and the tables; see the package."""

import argparse
import csv
import io
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.pages import markdown, set_table
from experiments.real_encoders import inputs
from experiments.real_encoders.encoders import ENCODERS, Known
from infonce_jax import embeddings
from infonce_jax.evaluation import (
    AD_CRITICAL_5_PERCENT,
    anderson_darling,
    concentration,
    norm_cv,
    shape,
)
from infonce_jax.evaluation.groups import grouped, summary
from infonce_jax.files import replacing
from infonce_jax.pretrained import TRAINED, UNTRAINED, extract

ROWS, SAMPLE, PROJECTED = 5000, 2000, 64
_WEIGHTS = {"trained": TRAINED, "untrained": UNTRAINED}
_COLUMNS = (
    *("encoder", "training", "contrastive", "embeddings", "representation", "dim", "rows"),
    *("norm_cv", "norm_cv_gaussian", "group_ad", "group_ad_pass", "group_dp_p", "group_dp_pass"),
    *("ad_2000", "ad_pass_2000"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description="Table 2 for encoders that ship in packages.")
    parser.add_argument("--runs", type=Path, default=Path("runs", "real_encoders"))
    parser.add_argument("--page", type=Path, default=Path("docs", "real_encoders.md"))
    parser.add_argument("--table", type=Path, default=Path("docs", "real_encoders", "table.csv"))
    parser.add_argument(
        "--cifar10", type=Path, help="its folder, as tensorflow_datasets prepares it"
    )
    parser.add_argument(
        "--only", nargs="*", metavar="WORD", help="embed those whose name has a word"
    )
    arguments = parser.parse_args(argv)
    chosen = [
        known
        for known in ENCODERS
        if not arguments.only or any(word in known.name for word in arguments.only)
    ]
    makers: dict[str, Callable[[], inputs.Rows]] = {
        "receptors": lambda: inputs.receptors(ROWS),
        "sentences": lambda: inputs.sentences(ROWS),
        "places": lambda: inputs.places(ROWS),
    }
    if arguments.cifar10 is not None:
        makers["pictures"] = lambda: inputs.pictures(ROWS, arguments.cifar10)
    made: dict[str, inputs.Rows] = {}
    for known in chosen:
        for weights in ("trained", "untrained") if known.twin is None else ("trained",):
            try:
                _embed(known, weights, makers, made, arguments.runs)
            except ModuleNotFoundError as error:
                print(
                    f"{known.name}: left out, {error.name} is not installed; see "
                    f"docs/real_encoders.md",
                    file=sys.stderr,
                )
            except KeyError:
                print(f"{known.name}: left out, give --cifar10", file=sys.stderr)
    # Every encoder that has been embedded, so that `--only` adds to the page and takes nothing away.
    rows = [row for known in ENCODERS for row in _tested(known, arguments.runs)]
    write_csv(arguments.table, rows)
    for name, table in tables(rows).items():
        print(f"\n{name}\n{table}")
        set_table(arguments.page, name, table)
    return 0


def _folder(runs: Path, name: str) -> Path:
    return runs / re.sub(r"\W+", "_", name.lower())


def _embed(known: Known, weights: str, makers, made, runs: Path) -> None:
    step = _WEIGHTS[weights]
    folder = _folder(runs, known.name)
    if (folder / str(step)).is_dir():
        return
    if known.inputs not in made:
        made[known.inputs] = makers[known.inputs]()
    started_s = time.monotonic()
    extract(
        known.make(weights == "untrained"),
        {"all": made[known.inputs]},
        folder,
        step=step,
        random_projection=PROJECTED,
    )
    print(f"{known.name}, {weights}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)


def _tested(known: Known, runs: Path) -> list[dict]:
    found = []
    places = {
        "trained": (known.name, TRAINED, ""),
        "projected": (known.name, TRAINED, "_projected"),
        "untrained": (known.twin or known.name, UNTRAINED, ""),
    }
    for kind, (name, step, suffix) in places.items():
        folder = _folder(runs, name) / str(step)
        if not folder.is_dir():
            continue
        stored = embeddings.read(folder)
        tower = stored.members[0]["name"]
        z = np.asarray(stored.array(f"{tower}{suffix}", "all"), np.float64)
        for representation in ("raw", "normalised"):
            if representation == "normalised":
                z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)
            found.append(
                {
                    "encoder": known.name,
                    "training": known.training,
                    "contrastive": known.contrastive,
                    "embeddings": kind,
                    "representation": representation,
                    "dim": z.shape[1],
                    "rows": len(z),
                    **statistics(z),
                }
            )
    return found


def statistics(z: Float[np.ndarray, "n d"]) -> dict[str, float]:
    """The columns of the table: norms, the paper's 20 groups of 250 rows, and n = 2,000."""
    # Coordinates that never change have nothing to test: in all rows, or in the sample.
    z = z[:, z.std(axis=0) > 0]
    size = min(250, len(z) // 20)
    groups = summary(grouped(z, groups=20, size=size))
    chosen = np.random.default_rng(0).permutation(len(z))[:SAMPLE]
    statistic = anderson_darling(z[np.sort(chosen)]).statistic
    statistic = statistic[~np.isnan(statistic)]
    return {
        "norm_cv": norm_cv(z),
        "norm_cv_gaussian": concentration.shell(z, shape.spectrum(z)).expected,
        "group_ad": groups["group_ad_mean"],
        "group_ad_pass": groups["group_ad_pass"],
        "group_dp_p": groups["group_dp_mean_p"],
        "group_dp_pass": groups["group_dp_pass"],
        "ad_2000": float(statistic.mean()),
        "ad_pass_2000": float(np.mean(statistic < AD_CRITICAL_5_PERCENT)),
    }


def tables(rows: Sequence[Mapping]) -> dict[str, str]:
    """The page's two tables: every encoder trained, untrained and projected, raw and normalised."""
    found = {}
    for representation in ("raw", "normalised"):
        head = ["encoder", "trained by", "d", "CV", "CV, Gaussian"]
        head += ["AD, 250", "AD pass", "DP pass", "AD, 2,000", "AD pass, 2,000"]
        head += ["untrained: AD, 250", "AD, 2,000", "projected: AD, 250", "AD, 2,000"]
        lines = [head]
        for name in dict.fromkeys(row["encoder"] for row in rows):
            of = {
                row["embeddings"]: row
                for row in rows
                if row["encoder"] == name and row["representation"] == representation
            }
            if "trained" not in of:
                continue
            z = of["trained"]
            line = [name, z["training"], z["dim"], f"{z['norm_cv']:.3f}"]
            line += [f"{z['norm_cv_gaussian']:.3f}", f"{z['group_ad']:.2f}"]
            line += [f"{z[k]:.0%}" for k in ("group_ad_pass", "group_dp_pass")]
            line += [f"{z['ad_2000']:.2f}", f"{z['ad_pass_2000']:.0%}"]
            for kind in ("untrained", "projected"):
                other = of.get(kind)
                keys = ("group_ad", "ad_2000")
                line += [f"{other[k]:.2f}" if other else "–" for k in keys]
            lines.append(line)
        found[representation] = markdown(lines)
    return found


def write_csv(path: Path, rows: Sequence[Mapping]) -> None:
    """Writes the table; columns that a row lacks are empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        scratch.write_text(stream.getvalue(), encoding="utf-8")
