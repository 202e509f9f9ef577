"""Command line: `infonce-jax pretrained MODEL DATA --output DIR`.

Exit codes: 0 done; 2 with one paragraph on stderr, where something is wrong with the arguments, the
model or the data; 130 after Ctrl-C: the same command goes on where it stopped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from infonce_jax.pretrained.extract import ON_DAMAGED, TRAINED, UNTRAINED, extract
from infonce_jax.pretrained.rows import SPLIT_BY, open_rows


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise ValueError(f"{message}. Run with --help for the usage.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; see the module."""
    try:
        return _run(_parser().parse_args(list(sys.argv[1:] if argv is None else argv)))
    except (ImportError, MemoryError, OSError, ValueError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.list_layers:
        for tower, name, shape in _models().list_layers(
            arguments.model, revision=arguments.revision
        ):
            print(f"{tower}\t{name}\t{shape}")
        return 0
    if arguments.data is None or arguments.output is None:
        raise ValueError("name the DATA to encode and the folder --output to write to.")
    if arguments.output.exists() and not arguments.output.is_dir():
        raise NotADirectoryError(f"--output {arguments.output} is a file: name a folder.")
    data = open_rows(
        arguments.data,
        captions=arguments.captions,
        split_by=arguments.split_by,
        split=arguments.split,
        max_rows=arguments.max_rows,
    )
    encoder = _models().load_encoder(
        arguments.model,
        revision=arguments.revision,
        layer=arguments.layer,
        pooling=arguments.pooling,
        device=arguments.device,
        dtype=arguments.dtype,
        untrained=arguments.untrained,
        seed=arguments.seed,
    )
    facts = {"data": str(arguments.data)}
    if arguments.captions is not None:
        facts["captions"] = str(arguments.captions)
    written = extract(
        encoder,
        data,
        arguments.output,
        step=UNTRAINED if arguments.untrained else TRAINED,
        batch_size=arguments.batch_size,
        on_damaged=arguments.on_damaged,
        random_projection=arguments.random_projection,
        normalize=arguments.normalize,
        seed=arguments.seed,
        facts=facts,
        overwrite=arguments.overwrite,
        progress=lambda line: print(line, file=sys.stderr),
    )
    _summarise(written)
    return 0


def _summarise(written: Path) -> None:
    from infonce_jax import embeddings

    stored = embeddings.read(written)
    for split, skipped in stored.manifest["skipped"].items():
        print(f"left out of {split}: {len(skipped)} damaged")
        for entry in skipped[:10]:
            print(f"  {entry['reason']}")
        if len(skipped) > 10:
            print(f"  and {len(skipped) - 10} more, all named in {written / 'manifest.json'}")
    for entry in stored.manifest["arrays"]:
        print(f"{written / entry['file']}: {entry['shape'][0]:,} × {entry['shape'][1]:,}")
    files = {(e["member"], e["split"]): written / e["file"] for e in stored.manifest["arrays"]}
    print(f"\nnext: infonce-jax evaluate {written} --output report --report")
    for split in stored.splits:
        if ("image", split) in files and ("text", split) in files:
            print(
                f"      infonce-jax evaluate --pair {files['image', split]} {files['text', split]}"
            )


def _models():
    try:
        from infonce_jax.pretrained import models
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"pretrained models need {error.name}, which is not installed: "
            f"pip install 'infonce_jax[pretrained]'."
        ) from None
    return models


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="infonce-jax pretrained",
        description="Writes the embeddings that a pretrained model gives of images or texts.",
        epilog="Stopped or killed, the same command goes on from the last block.",
    )
    parser.add_argument("model", metavar="MODEL", help="a Hugging Face id, or a local folder")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="a folder of images (subfolders are classes), a .txt file with one text a line, a .json "
        "file of COCO's captions, or a folder that tensorflow_datasets has prepared",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="DIR/1 is written, DIR/0 with --untrained"
    )
    parser.add_argument(
        "--captions",
        metavar="FILE.json",
        help="COCO's captions of the images of DATA: writes images and texts, row by row",
    )
    parser.add_argument(
        "--split_by",
        choices=SPLIT_BY,
        default="none",
        help="one split for all, for each subfolder, or for each style of ImageNet-R (sketch_12.jpg)",
    )
    parser.add_argument("--split", default="test", help="of a TFDS dataset (default: test)")
    parser.add_argument(
        "--max_rows",
        type=int,
        default=0,
        metavar="N",
        help="of each split, evenly spaced; 0 for all",
    )
    parser.add_argument(
        "--layer", help="a hidden state's number or a module's name; see --list_layers"
    )
    parser.add_argument(
        "--pooling",
        choices=("auto", "cls", "mean", "projected"),
        default="auto",
        help="how tokens or pixels become a row; auto: what the model's own head sees",
    )
    parser.add_argument("--list_layers", action="store_true", help="print the layers and stop")
    parser.add_argument("--revision", help="of the Hugging Face id: branch, tag or commit")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, mps, … (default: a GPU if any)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="to compute in; rows are float32 in any case",
    )
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument(
        "--on_damaged",
        choices=ON_DAMAGED,
        default="refuse",
        help="images that cannot be decoded: stop at the first (default), or count, name and leave out",
    )
    parser.add_argument(
        "--untrained", action="store_true", help="the same architecture with random weights"
    )
    parser.add_argument(
        "--random_projection",
        type=int,
        default=0,
        metavar="DIM",
        help="also write a random linear map of the embeddings to DIM coordinates, as a control",
    )
    parser.add_argument("--normalize", action="store_true", help="divide rows by their norm")
    parser.add_argument(
        "--seed", type=int, default=0, help="of --untrained and --random_projection"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
