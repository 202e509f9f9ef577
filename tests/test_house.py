"""The rooms of the package: which may import which, how large a file or function may grow."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "infonce_jax"

# What each room may import, beside itself and the base that all share. Read from the bottom up.
BASE = {"files", "draws", "registry"}
ROOMS = {
    "config": set(),
    "embeddings": set(),
    "losses": set(),
    "theory": set(),
    "encoders": set(),
    "data": set(),
    "evaluation": {"embeddings"},
    "pretrained": {"data", "embeddings"},
    "report": {"embeddings", "evaluation"},
    "training": {"config", "data", "encoders", "losses", "theory"},
    "runs": {"config", "data", "embeddings", "evaluation", "losses", "report", "training"},
    "__init__": {"evaluation", "losses", "report", "theory"},
    "__main__": set(),  # starts the command lines of rooms by name
}
# The evaluation's own command draws a page on request.
EXCEPTIONS = {
    ("evaluation/__main__.py", "report"),
    ("evaluation/commands.py", "report"),
    ("evaluation/model_commands.py", "report"),
}

# One library, one door: the only files that may import it, lazily or not.
DOORS = {
    "orbax": {"training/checkpoint.py"},
    "tensorflow_datasets": {"data/tfds.py"},
    "datasets": {"data/hf.py"},
    "matplotlib": {"report"},
    "submitit": {"runs/submit.py"},
    "torch": {"pretrained/models.py", "pretrained/forward.py"},
    "transformers": {"pretrained/models.py", "pretrained/forward.py"},
    "timm": {"pretrained/models.py", "pretrained/forward.py"},
    "tensorboardX": {"runs/writers.py"},
    "wandb": {"runs/writers.py"},
    "absl": set(),
}

# Files beyond 500 lines that have one subject, and functions beyond 100 lines that are one list.
LONG_FILES = {
    "config.py",  # every setting, its default and its bounds
    "losses/tiles.py",  # the tiled sums over pairs, forward and backward
    "losses/common.py",  # what every objective checks and shares
    "losses/contrastive.py",  # one function an objective, mostly documentation
    "evaluation/_precompute/calibrate.py",  # a script
    "theory/mildness.py",  # η₂ of every channel, a closed form each
    "theory/sphere.py",  # exact laws of a uniform direction
}
LONG_FUNCTIONS = {
    "config.py:default_config",
    "evaluation/__main__.py:_add_evaluation",  # lists every argument of two commands
    "encoders/make.py:make_encoder",  # documents and checks every option
    "evaluation/evaluate.py:evaluate_arrays",  # documents every option
    "losses/infonce.py:infonce",  # documents every option
}

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(file):
    return str(file.relative_to(PACKAGE))


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imported(file):
    """The dotted names that a file imports anywhere, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def rooms_imported(file):
    for name in imported(file):
        parts = name.split(".")
        if parts[0] == "infonce_jax" and len(parts) > 1:
            yield parts[1]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_one_way(file):
    room = room_of(file)
    allowed = ROOMS.get(room, set()) | BASE | {room}
    for other in rooms_imported(file):
        if (name_of(file), other) in EXCEPTIONS or not hasattr_room(other):
            continue
        assert other in allowed, f"{name_of(file)} imports infonce_jax.{other}"


def hasattr_room(name):
    """Whether infonce_jax.NAME is a room, not a function or __version__ of the package."""
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


def test_no_two_files_of_a_room_import_each_other():
    graph = {}
    for file in FILES:
        dotted = ".".join(("infonce_jax", *file.relative_to(PACKAGE).with_suffix("").parts))
        graph[dotted.removesuffix(".__init__")] = set(imported(file))
    modules = set(graph)
    edges = {
        name: {
            found
            for target in targets
            for found in (target, target.rpartition(".")[0])
            # A package's face imports its files, and they import each other, not the face.
            if found in modules and found != name and not name.startswith(f"{found}.")
        }
        for name, targets in graph.items()
        if not (PACKAGE / Path(*name.split(".")[1:])).is_dir()
    }
    seen, path = set(), []

    def visit(name):
        assert name not in path, " imports ".join([*path[path.index(name) :], name])
        if name in seen or name not in edges:
            return
        path.append(name)
        for other in sorted(edges[name]):
            visit(other)
        path.pop()
        seen.add(name)

    for name in sorted(edges):
        visit(name)


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library):
    for file in FILES:
        if name_of(file) in DOORS[library] or room_of(file) in DOORS[library]:
            continue
        assert not any(name.split(".")[0] == library for name in imported(file)), name_of(file)


def test_the_losses_need_jax_and_nothing_heavier():
    allowed = {"jax", "jaxtyping", "numpy", "infonce_jax", "collections", "functools", "inspect"}
    allowed |= {"math", "operator", "statistics", "typing", "warnings"}
    for file in (PACKAGE / "losses").glob("*.py"):
        assert {name.split(".")[0] for name in imported(file)} <= allowed, file.name


def test_few_modules_lie_loose_at_the_top():
    loose = [file.name for file in PACKAGE.glob("*.py") if file.name != "__init__.py"]
    assert len(loose) <= 6, loose


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_stay_readable(file):
    # Examples in docstrings do not count.
    text = re.sub(r"\n *Examples:\n(?: +(?!\"{3})\S.*\n)+", "\n", file.read_text())
    assert len(text.splitlines()) <= 500 or name_of(file) in LONG_FILES
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.FunctionDef)
            and f"{name_of(file)}:{node.name}" not in LONG_FUNCTIONS
        ):
            assert node.end_lineno - node.lineno < 100, node.name
