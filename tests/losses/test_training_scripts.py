"""The training scripts of docs/examples run as shown, on two devices, and learn."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["train_nnx.py", "train_equinox.py"])
def test_script_trains_on_two_devices(name):
    script = ROOT / "docs" / "examples" / name
    assert len(script.read_text().splitlines()) < 60
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, after = map(float, done.stdout.split(" -> "))
    assert after < 0.75 * before
