"""What the README, the site and the docstrings show works as shown."""

import doctest
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infonce_jax import evaluation

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# Code, and the output that is shown below it, where there is one.
_SNIPPET = re.compile(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", re.DOTALL)
SNIPPETS = [
    pytest.param(*found.groups(), id=f"{file.name}-{index}")
    # Other pages show parts of programs; where these can run, tests of their own run them.
    for file in [ROOT / "README.md", *sorted((ROOT / "docs" / "api").glob("*.md"))]
    for index, found in enumerate(_SNIPPET.finditer(file.read_text()))
]


@pytest.mark.parametrize(("code", "shown"), SNIPPETS)
def test_snippet_runs_and_prints_what_is_shown(code, shown, tmp_path):
    # In a process of its own, as a reader would run it.
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert shown is None or done.stdout.split() == shown.split()


def test_calls_in_the_text_of_the_tutorials_run():
    # The site runs their cells; calls that the text names stand in none of them.
    z = np.random.default_rng(0).standard_normal((200, 4))
    calls = []
    for file in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        for cell in json.loads(file.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                calls += re.findall(r"`(evaluation\.[\w.]+\(.*?\)[\w.]*)`", "".join(cell["source"]))
    assert calls
    for call in calls:
        assert len(eval(call, {"evaluation": evaluation, "z": z})) == z.shape[1], call


def test_readme_opens_the_three_doors_in_150_lines():
    assert len(README.splitlines()) <= 150
    code = "\n".join(snippet.values[0] for snippet in SNIPPETS if "README" in snippet.id)
    assert "jax.grad(loss)" in code and "evaluate_arrays(" in code
    assert "make reproduce" in README


def test_files_that_the_pages_name_exist():
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "RESULTS.md"]:
        text = file.read_text()
        named = re.findall(r"\]\((?!http)([^)#]+)\)", text)
        named += re.findall(r"--config=(configs/\S+\.py)", text)
        assert named, file
        for name in named:
            assert (ROOT / name).exists(), name


# What an example of a docstring may use without importing it, besides its own module; docs/api says so.
_GIVEN = (
    "jax",
    "jax.numpy",
    "numpy",
    "infonce_jax",
    "infonce_jax.evaluation",
    "infonce_jax.theory",
)
_ALIASES = {"jax.numpy": "jnp", "numpy": "np"}
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted((ROOT / "infonce_jax").rglob("*.py"))
    if ">>> " in file.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    # By name: the package's attribute infonce is the function, not the module.
    given = {
        _ALIASES.get(module, module.rsplit(".", 1)[-1]): importlib.import_module(module)
        for module in _GIVEN
    }
    result = doctest.testmod(importlib.import_module(name), extraglobs=given)
    assert result.attempted > 0 and result.failed == 0
