"""Where a run's numbers come from: the machine and the code."""

import contextlib
import functools
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

import infonce_jax


def machine() -> dict[str, Any]:
    """What a reader needs to know to judge a run's timings."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "infonce_jax": code_version(),
    }


@functools.cache
def code_version() -> str:
    """The package's version, with the commit where it runs from a checkout."""
    folder = Path(__file__).parent
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return infonce_jax.__version__
    commit = git.stdout.strip()
    return f"{infonce_jax.__version__}+{commit}" if commit else infonce_jax.__version__
