import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Most of the suite's time would go into compiling programs that then run for a moment: they are not
# optimised, and those that several tests or processes need are compiled once. The runs that
# test_run.py kills are optimised, as a user's are.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
).strip()
_COMPILED = "JAX_COMPILATION_CACHE_DIR"
_OWN_CACHE = _COMPILED not in os.environ and tempfile.mkdtemp(prefix="infonce_jax_compiled_")
if _OWN_CACHE:
    # Before the workers start, which inherit it, and before jax is imported.
    os.environ[_COMPILED] = _OWN_CACHE
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

ROOT = Path(__file__).parent.parent


def pytest_xdist_auto_num_workers():
    # One more than there are cores: tests that start processes leave theirs idle while they wait.
    return (os.cpu_count() or 1) + 1


def pytest_unconfigure():
    if _OWN_CACHE:
        shutil.rmtree(_OWN_CACHE, ignore_errors=True)


@pytest.fixture
def tiny_config():
    """A linear encoder on Laplace inputs that trains in a moment."""
    from infonce_jax.config import default_config

    config = default_config()
    config.name = "tiny"
    config.seeds = (0, 1)
    config.data.dim = 24
    config.data.train_size = 96
    config.data.test_size = 64
    config.encoder.embedding_dim = 8
    config.train.batch_size = 16
    config.train.epochs = 0.0
    config.train.steps = 12
    config.log.every_steps = 4
    config.checkpoint.every_steps = 5
    config.embed.steps = (6,)
    config.evaluate.sample_sizes = (32,)
    return config


@pytest.fixture
def tiny_config_file(tmp_path):
    """The same as a config file, for launch.py."""
    file = tmp_path / "tiny.py"
    file.write_text(
        "from infonce_jax.config import default_config\n\n\n"
        "def get_config():\n"
        "    c = default_config()\n"
        "    c.name = 'tiny'\n"
        "    c.seeds = (0, 1)\n"
        "    c.data.dim, c.data.train_size, c.data.test_size = 24, 96, 64\n"
        "    c.encoder.embedding_dim = 8\n"
        "    c.train.batch_size, c.train.steps = 16, 12\n"
        "    c.log.every_steps, c.checkpoint.every_steps = 4, 5\n"
        "    c.embed.steps = (6,)\n"
        "    c.evaluate.sample_sizes = (32,)\n"
        "    return c\n"
    )
    return file


@pytest.fixture
def launch():
    """Runs launch.py as a user would; returns the finished process."""

    def run(*arguments, devices=1, check=False):
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        environment["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
        done = subprocess.run(
            [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run
