"""What the README and the docstrings show works as shown."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("index", range(len(SNIPPETS)))
def test_snippet_runs(index, tmp_path):
    # In a process of its own, with the compiler's defaults, as a reader would run it.
    environment = dict(os.environ, PYTHONPATH=str(ROOT), XLA_FLAGS="")
    done = subprocess.run(
        [sys.executable, "-c", SNIPPETS[index]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_snippets_for_the_losses_and_the_evaluation():
    assert any("jax.grad(loss)" in snippet for snippet in SNIPPETS)
    assert any("anderson_darling(" in snippet for snippet in SNIPPETS)


def test_files_that_the_readme_names_exist():
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    named += re.findall(r"--config=(configs/\S+\.py)", README)
    assert named
    for file in named:
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize(
    "name",
    [
        "infonce_jax.losses.contrastive",
        "infonce_jax.losses.infonce",
        "infonce_jax.losses.jepa",
        "infonce_jax.losses.measures",
        "infonce_jax.losses.queue",
        "infonce_jax.losses.regulariser",
        "infonce_jax.losses.sliced",
        "infonce_jax.theory.uniformity",
    ],
)
def test_docstring_examples(name):
    # By name: the package's attribute infonce is the function, not the module.
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0
