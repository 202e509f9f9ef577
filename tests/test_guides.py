"""The commands of the guides in docs/ run as they are shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The files that a guide has its reader write.
_FILE = re.compile(r'```python title="(\S+)"\n(.*?)```', re.DOTALL)
# The guides whose commands are run.
GUIDES = ("your_data", "your_parts")


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_does_what_it_shows(name, tmp_path):
    text = (ROOT / "docs" / f"{name}.md").read_text()
    # A reader's folder, from which launch.py is run.
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for file, content in _FILE.findall(text):
        (tmp_path / file).write_text(content)
    commands = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert commands
    script = "\n".join(commands).replace("python launch.py", f"python {ROOT / 'launch.py'}")
    done = subprocess.run(
        ["bash", "-e", "-c", script.replace("python ", f"{sys.executable} ")],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
