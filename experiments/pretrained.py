"""Table 2 and Figures 6, 9 and 10 of the paper from its five models, for those who have the network.

    python -m experiments.pretrained --coco val2017 --captions captions_val2017.json \
        --imagenet_r imagenet-r

Each model is fetched by its name, or named as a local folder by --model (--model clip=./clip-vit-large).
The paper names DINO ViT-B/32, which was never published: ViT-B/16 stands for it. Embeddings stay in
--runs, where the command goes on after it was stopped. Writes table.csv, table.md, radii.svg (Figure 6)
and cosines.svg (Figures 9 and 10) into --output.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.pages import markdown
from experiments.real_encoders.command import statistics, write_csv
from infonce_jax import embeddings
from infonce_jax.evaluation import whitening
from infonce_jax.files import replacing
from infonce_jax.pretrained import TRAINED, UNTRAINED, extract, open_rows
from infonce_jax.report import canvas

MODELS = {
    "resnet34": "microsoft/resnet-34",
    "densenet": "timm/densenet121.ra_in1k",
    "dino": "facebook/dino-vitb16",
    "clip": "openai/clip-vit-large-patch14",
}
_STYLES = ("sketch", "painting")
Sets = dict[tuple[str, str], Float[np.ndarray, "n d"]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coco", type=Path, required=True, help="folder of val2017's images")
    parser.add_argument("--captions", type=Path, required=True, help="captions_val2017.json")
    parser.add_argument("--imagenet_r", type=Path, help="its folder, for sketches and paintings")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--runs", type=Path, default=Path("runs", "pretrained"))
    parser.add_argument("--output", type=Path, default=Path("runs", "pretrained", "figures"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch_size", type=int, default=32)
    arguments = parser.parse_args(argv)
    models = MODELS | dict(entry.split("=", 1) for entry in arguments.model)
    sets: Sets = {}
    for name, model in models.items():
        for step, weights in ((TRAINED, "trained"), (UNTRAINED, "untrained")):
            sets |= _embedded(arguments, name, model, step, weights)
    rows = []
    for (name, weights), z in sets.items():
        for representation in ("raw", "normalised"):
            if representation == "normalised":
                z = _normalised(z)
            rows.append(
                {
                    "encoder": name,
                    "training": weights,
                    "representation": representation,
                    "dim": z.shape[1],
                    "rows": len(z),
                    **statistics(z),
                }
            )
    write_csv(arguments.output / "table.csv", rows)
    table = _table(rows)
    print(table)
    trained = {name: z for (name, weights), z in sets.items() if weights == "trained"}
    with canvas.style():
        drawn = {
            "table.md": table,
            "radii.svg": canvas.to_svg(_radii(trained), "radii") + "\n",
            "cosines.svg": canvas.to_svg(_whitened_cosines(trained), "cosines") + "\n",
        }
    for name, text in drawn.items():
        with replacing(arguments.output / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return 0


def _embedded(arguments, name: str, model: str, step: int, weights: str) -> Sets:
    """One model's embeddings of COCO, and CLIP's of ImageNet-R too."""
    from infonce_jax.pretrained.models import load_encoder

    encoder = load_encoder(model, device=arguments.device, untrained=step == UNTRAINED)
    both = encoder.text is not None
    captions = arguments.captions if both else None
    tasks = {"coco": open_rows(arguments.coco, captions=captions)}
    if both and arguments.imagenet_r is not None and step == TRAINED:
        styles = open_rows(arguments.imagenet_r, split_by="style")
        tasks["imagenet_r"] = {style: styles[style] for style in _STYLES if style in styles}
    found: Sets = {}
    for task, data in tasks.items():
        folder = extract(
            encoder,
            data,
            arguments.runs / name / task,
            step=step,
            batch_size=arguments.batch_size,
            on_damaged="skip",
            progress=lambda line, task=task: print(
                f"{name}, {task}, {weights}: {line}", file=sys.stderr
            ),
        )
        stored = embeddings.read(folder)
        for member in stored.members:
            for split in stored.splits:
                kind = f" {member['name']}" if both else ""
                style = f", {split}" if task == "imagenet_r" else ""
                z = np.asarray(stored.array(member["name"], split), np.float64)
                found[f"{name}{kind}{style}", weights] = z
    return found


def _normalised(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)


def _table(rows: Sequence[dict]) -> str:
    head = [
        "encoder",
        "weights",
        "rows",
        "d",
        "norm CV",
        "AD, groups",
        "AD pass",
        "DP p",
        "DP pass",
    ]
    lines = [[*head, "AD, n = 2,000"]]
    for row in rows:
        name = f"{row['encoder']}, {row['representation']}"
        line = [name, row["training"], row["rows"], row["dim"], f"{row['norm_cv']:.3f}"]
        line += [f"{row['group_ad']:.3f}", f"{row['group_ad_pass']:.1%}"]
        line += [f"{row['group_dp_p']:.2g}", f"{row['group_dp_pass']:.1%}", f"{row['ad_2000']:.3f}"]
        lines.append(line)
    return markdown(lines)


def _radii(sets: dict[str, np.ndarray]):
    """Figure 6: the law of the norm, over its mean."""
    figure, (axes,) = canvas.panels(1.8, legend_lines=len(sets))
    for colour, (name, z) in zip(canvas.series_colours(len(sets)), sets.items(), strict=True):
        norms = np.linalg.norm(z, axis=1)
        ratio = norms / norms.mean()
        x, density = canvas.smooth_density(ratio)
        axes.plot(x, density, color=colour, label=f"{name}: CV {ratio.std():.3f}")
    axes.set(xlabel="norm ‖z‖ / mean ‖z‖", ylabel="density")
    axes.set_yticks([])
    canvas.legend_above(axes)
    return figure


def _whitened_cosines(sets: dict[str, np.ndarray]):
    """Figures 9 and 10: cosines of unmatched rows before and after whitening, on held-out rows."""
    figure, grid = canvas.panels(0.9, rows=len(sets), columns=2, legend_lines=3, gap_inch=0.3)
    for index, (name, z) in enumerate(sets.items()):
        for column, x in enumerate((z, _normalised(z))):
            half = len(x) // 2
            order = np.random.default_rng(0).permutation(len(x))
            model = whitening.fit(x[np.sort(order[:half])])
            unseen = x[order[half : half + 1000]]
            axes = grid[2 * index + column]
            for values, colour, label in (
                (unseen, canvas.UNTRAINED, "before"),
                (whitening.apply(model, unseen), canvas.TRAINED, "whitened"),
            ):
                u = _normalised(values)
                cosines = (u @ u.T)[np.triu_indices(len(u), 1)]
                axes.hist(cosines, 60, density=True, histtype="step", color=colour, label=label)
            axes.set_yticks([])
            axes.set_title(f"{name}, {('raw', 'normalised')[column]}", fontsize="small", loc="left")
    for axes in grid[-2:]:
        axes.set_xlabel("cosine")
    canvas.legend_above(grid[0], raise_inch=0.14)
    return figure


if __name__ == "__main__":
    sys.exit(main())
