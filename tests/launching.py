"""What the fixtures `start` and `launch` run in a process of its own."""

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(arguments: list[str], xla_flags: str, before: str, folder: Path) -> None:
    """launch.py with its output in the files stdout and stderr of `folder`, after the code `before`."""
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(ROOT)
    # Read when JAX looks for devices, which an import does not do.
    os.environ |= {"XLA_FLAGS": xla_flags, "PYTHONPATH": str(ROOT)}
    sys.argv = [str(ROOT / "launch.py"), *arguments]
    exec(before, {})
    runpy.run_path(sys.argv[0], run_name="__main__")
