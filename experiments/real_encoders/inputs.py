"""Inputs for the encoders, from packages and CIFAR-10: receptors, sentences, places and pictures."""

import ast
import csv
import importlib.util
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infonce_jax.pretrained import Rows, open_rows


def folder_of(package: str) -> Path:
    """Where a package lies, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(found.submodule_search_locations[0])


def receptors(rows: int, seed: int = 0) -> Rows:
    """T-cell receptors drawn from OLGA's model of human V(D)J recombination.

    A row is the V gene and the CDR3 of the alpha and of the beta chain, with tabs between them. The
    receptors of a blood sample have passed selection besides; these have not.
    """
    chains = [_chain(chain, rows, seed) for chain in ("human_T_alpha", "human_T_beta")]
    texts = ["\t".join([*alpha, *beta]) for alpha, beta in zip(*chains, strict=True)]
    return Rows(texts, texts=texts)


def _chain(chain: str, rows: int, seed: int) -> list[tuple[str, str]]:
    from olga import load_model, sequence_generation

    kind = "VDJ" if chain.endswith("beta") else "VJ"
    folder = folder_of("olga") / "default_models" / chain
    genes = getattr(load_model, f"GenomicData{kind}")()
    genes.load_igor_genomic_data(
        *(
            str(folder / name)
            for name in (
                "model_params.txt",
                "V_gene_CDR3_anchors.csv",
                "J_gene_CDR3_anchors.csv",
            )
        )
    )
    model = getattr(load_model, f"GenerativeModel{kind}")()
    model.load_and_process_igor_model(str(folder / "model_marginals.txt"))
    draw = getattr(sequence_generation, f"SequenceGeneration{kind}")(model, genes)
    # OLGA draws from NumPy's global generator.
    np.random.seed(seed)
    found = []
    while len(found) < rows:
        _, cdr3, v, _ = draw.gen_rnd_prod_CDR3()
        if 5 <= len(cdr3) <= 25:
            found.append((genes.genV[v][0], cdr3))
    return found


def sentences(rows: int) -> Rows:
    """First sentences of docstrings, evenly spaced among those of `docstrings`."""
    texts = [first for first, _ in docstrings()]
    chosen = np.linspace(0, len(texts) - 1, min(rows, len(texts))).round().astype(int)
    texts = [texts[i] for i in chosen]
    return Rows(texts, texts=texts)


def docstrings() -> list[tuple[str, str]]:
    """(first sentence, following paragraph) of the docstrings of Python, NumPy and SciPy, each once."""
    roots = [Path(sysconfig.get_path("stdlib")), folder_of("numpy"), folder_of("scipy")]
    found: dict[str, str] = {}
    for root in roots:
        for text in _docstrings_below(root):
            first, _, rest = text.partition("\n\n")
            first = " ".join(first.split())
            rest = " ".join(rest.partition("\n\n")[0].split())
            is_prose = len(first.split()) >= 5 and re.search(r"[a-z]\.$", first)
            if is_prose and len(rest.split()) >= 5 and not rest.startswith(("Param", ">>>", "-")):
                found.setdefault(first, rest)
    return list(found.items())


def _docstrings_below(root: Path) -> Iterator[str]:
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).parts
        if {"site-packages", "tests", "test", "idlelib", "lib2to3"} & set(parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text:
                    yield text


def places(rows: int) -> Rows:
    """Latitude and longitude of photographs: GeoCLIP's gallery of 100,000, evenly spaced."""
    file = folder_of("geoclip") / "model" / "gps_gallery" / "coordinates_100K.csv"
    with open(file, newline="") as stream:
        texts = [f"{row['LAT']},{row['LON']}" for row in csv.DictReader(stream)]
    chosen = np.linspace(0, len(texts) - 1, rows).round().astype(int)
    texts = [texts[i] for i in chosen]
    return Rows(texts, texts=texts)


def pictures(rows: int, cifar10: Path) -> Rows:
    """Test images of CIFAR-10, from the folder that tensorflow_datasets has prepared."""
    return open_rows(cifar10, split="test", max_rows=rows)["test"]
