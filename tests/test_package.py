"""The package as others install it: its metadata, its wheel, its command, and the pages of its API."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import infonce_jax
from infonce_jax.__main__ import COMMANDS, main
from infonce_jax.evaluation import __main__ as evaluation

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
URL = PROJECT["urls"]["Repository"]

# Modules whose public names have an entry in docs/api.
FACES = (
    "infonce_jax",
    "infonce_jax.config",
    "infonce_jax.data",
    "infonce_jax.draws",
    "infonce_jax.embeddings",
    "infonce_jax.encoders",
    "infonce_jax.evaluation",
    "infonce_jax.evaluation.closer",
    "infonce_jax.evaluation.pair",
    "infonce_jax.evaluation.streaming",
    "infonce_jax.evaluation.whitening",
    "infonce_jax.files",
    "infonce_jax.losses",
    "infonce_jax.pretrained",
    "infonce_jax.registry",
    "infonce_jax.report",
    "infonce_jax.runs",
    "infonce_jax.theory",
    "infonce_jax.theory.mildness",
    "infonce_jax.theory.sphere",
    "infonce_jax.theory.stationary",
    "infonce_jax.theory.vmf",
    "infonce_jax.training",
)
# Beyond the losses' own dependencies: what a core installation lacks.
NOT_CORE = ("flax", "matplotlib", "ml_collections", "optax", "orbax", "tensorflow_datasets")


def test_version_and_addresses_stand_in_one_place():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {infonce_jax.__version__}\n" in citation
    assert f"repository-code: {URL}\n" in citation
    site = (ROOT / "mkdocs.yml").read_text()
    assert f"repo_url: {URL}\n" in site
    assert f"site_url: {PROJECT['urls']['Documentation']}" in site
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
    for page in pages:
        for owner in re.findall(r"github\.com/([\w-]+/infonce_jax)", page.read_text()):
            assert URL.endswith(owner), page
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()


def test_tutorials_have_no_outputs_and_name_their_own_address():
    notebooks = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
    assert len(notebooks) == 5
    for notebook in notebooks:
        cells = json.loads(notebook.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)
        path = notebook.relative_to(ROOT).as_posix()
        assert f"{URL.split('github.com/')[1]}/blob/main/{path}" in "".join(cells[0]["source"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's contents in a folder, and the names of its files."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    source = tmp_path_factory.mktemp("source")
    for name in ("infonce_jax", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    build = [*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
        return folder / "site", archive.namelist()


def test_wheel_imports_with_its_core_dependencies_alone(installed, tmp_path):
    site, names = installed
    assert "infonce_jax/py.typed" in names
    assert "infonce_jax/evaluation/_precompute/calibration.npz" in names
    assert not any(name.startswith(("tests", "experiments", "configs", "docs")) for name in names)
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_CORE!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import numpy as np, infonce_jax
from infonce_jax import evaluation, infonce, theory
assert infonce_jax.__file__.startswith({str(site)!r})
z = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
print(float(infonce(z, z, temperature=0.5)), float(theory.phi_sigma(8, 2.0)))
print(evaluation.anderson_darling(z).statistic.mean())
from infonce_jax.__main__ import main
sys.exit(main(["evaluate", "--help"]))
"""
    environment = dict(os.environ, PYTHONPATH=str(site))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "embeddings" in done.stdout


def test_wheel_states_its_version_and_command(installed):
    site, _ = installed
    (folder,) = site.glob("*.dist-info")
    metadata = (folder / "METADATA").read_text()
    assert f"\nVersion: {infonce_jax.__version__}\n" in metadata
    module, function = re.search(
        r"infonce-jax = (\S+):(\S+)", (folder / "entry_points.txt").read_text()
    ).groups()
    assert callable(getattr(importlib.import_module(module), function))


def test_command_lists_its_tools_and_refuses_others(capsys):
    assert main([]) == 2
    listed = capsys.readouterr().out
    assert all(f"infonce-jax {name} " in listed for name in COMMANDS)
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == listed
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == infonce_jax.__version__
    assert main(["evalute", "z.npy"]) == 2
    assert f"choose from {', '.join(COMMANDS)}." in capsys.readouterr().err
    # The evaluation's own commands are those of the list.
    evaluation.main(["none"])
    offered = re.findall(r"\w+", capsys.readouterr().err.split("choose from")[1].split(")")[0])
    assert offered == [name for name in COMMANDS if name != "pretrained"]


def _public(face):
    module = importlib.import_module(face)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == face
        ]
    for name in names:
        value = getattr(module, name)
        # Constants and types are described where they are used.
        if getattr(value, "__module__", "").startswith("infonce_jax"):
            yield f"{value.__module__}.{value.__qualname__}"


def test_every_public_function_and_class_has_a_page():
    documented = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        documented |= set(re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE))
    assert not sorted({name for face in FACES for name in _public(face)} - documented)


# They need a run's folder, a pretrained model, or a file of the user's own: the guides show them.
NO_EXAMPLE = {
    "infonce_jax.data.batches.make_host_index",
    "infonce_jax.data.channels.clean",
    "infonce_jax.data.channels.view_shape",
    "infonce_jax.data.synthetic.law_parameters",
    "infonce_jax.encoders.weights.carry_over",
    "infonce_jax.encoders.weights.read_weights",
    "infonce_jax.evaluation.registry.own_statistics",
    "infonce_jax.evaluation.whitening.mean_mahalanobis",
    "infonce_jax.pretrained.extract.extract",
    "infonce_jax.pretrained.images.read_image",
    "infonce_jax.pretrained.models.list_layers",
    "infonce_jax.pretrained.models.load_encoder",
    "infonce_jax.pretrained.rows.open_rows",
    "infonce_jax.registry.code_hash",
    "infonce_jax.registry.file_of",
    "infonce_jax.registry.fit",
    "infonce_jax.registry.folder_of",
    "infonce_jax.registry.hashable",
    "infonce_jax.report.embedding.write_embedding_figures",
    "infonce_jax.report.embedding.write_embedding_report",
    "infonce_jax.report.page.write_report",
    "infonce_jax.report.runs.load_runs",
    "infonce_jax.report.table.build_table",
    "infonce_jax.report.text.format_terminal",
    "infonce_jax.runs.rows.encode",
    "infonce_jax.runs.stages.run",
    "infonce_jax.training.blocks.encode_blocks",
    "infonce_jax.training.blocks.encode_view_blocks",
}


def test_every_other_public_function_has_an_example():
    names = sorted({name for face in FACES for name in _public(face)})
    without = set()
    for name in names:
        module, _, attribute = name.rpartition(".")
        value = getattr(importlib.import_module(module), attribute)
        if not inspect.isclass(value) and ">>> " not in (inspect.getdoc(value) or ""):
            without.add(name)
    assert len(names) > 200
    assert without == NO_EXAMPLE & without
