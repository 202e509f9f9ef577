import multiprocessing
import os
import shutil
import subprocess
import tempfile
from importlib import metadata

import jaxtyping
import pytest

from tests import launching, typechecking

# Every annotation of these rooms, array shapes and types among them, is checked at every call.
# Programs that tests start by launch.py run without, as a user's do.
CHECKED = (
    "config",
    "data",
    "draws",
    "embeddings",
    "encoders",
    "evaluation",
    "files",
    "losses",
    "pretrained",
    "report",
    "runs",
)
CHECKED += ("theory", "training")
jaxtyping.install_import_hook(
    [f"infonce_jax.{room}" for room in CHECKED], f"{typechecking.__name__}.check"
)

# Most of the suite's time would go into compiling programs that then run for a moment: they are not
# optimised, and those that several tests or processes need are compiled once. The runs that
# test_run.py kills are optimised, as a user's are.
_FLAGS = ["--xla_backend_optimization_level=0"]
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    # The newer generator of fused loops takes three times as long; later versions have no other.
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    # A module in one piece: cutting it up for several threads takes a third more of their time.
    _FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS]).strip()
# The matrices are small, and threads of OpenBLAS that wait for a busy core spin: beside other work,
# whitening 1,000 rows of 512 coordinates took 8.2 s of the processor with two threads, 0.7 s with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
_COMPILED = "JAX_COMPILATION_CACHE_DIR"
_OWN_CACHE = _COMPILED not in os.environ and tempfile.mkdtemp(prefix="infonce_jax_compiled_")
if _OWN_CACHE:
    # Before the workers start, which inherit it, and before jax is imported.
    os.environ[_COMPILED] = _OWN_CACHE
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

ROOT = launching.ROOT
TESTS = ROOT / "tests"

# Processes for launch.py that begin with its imports done, which take longer than most of its work here.
_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["infonce_jax.runs.sweep"])


def pytest_xdist_auto_num_workers():
    # One more than there are cores: tests that start processes leave theirs idle while they wait.
    return (os.cpu_count() or 1) + 1


# Workers take a file at a time, in this order and then by name: what takes longest is not left to the
# end, when the other workers have nothing to do.
LONGEST = (
    "losses/test_objectives.py",
    "runs/test_sweep.py",
    "training/test_training.py",
    "runs/test_processes.py",
    "losses/test_sharded.py",
    "runs/test_run.py",
    "experiments/test_results_pages.py",
    "losses/test_structure.py",
    "losses/test_rows.py",
    "losses/test_cases.py",
    "runs/test_streamed_run.py",
)


def pytest_collection_modifyitems(items):
    place = {TESTS / name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


def pytest_unconfigure():
    if _OWN_CACHE:
        shutil.rmtree(_OWN_CACHE, ignore_errors=True)


# A linear encoder on Laplace inputs that trains in a moment.
TINY = """\
from infonce_jax.config import default_config


def get_config():
    c = default_config()
    c.name = "tiny"
    c.seeds = (0, 1)
    c.data.dim, c.data.train_size, c.data.test_size = 24, 96, 64
    c.encoder.embedding_dim = 8
    c.train.batch_size, c.train.steps, c.train.epochs = 16, 12, 0.0
    c.log.every_steps, c.checkpoint.every_steps = 4, 5
    c.embed.steps = (6,)
    c.evaluate.sample_sizes = (32,)
    return c
"""


def make_tiny_config():
    names = {}
    exec(TINY, names)
    return names["get_config"]()


@pytest.fixture
def unchecked_types():
    """For tests that pass wrong types on purpose, to see the package's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def tiny_config():
    return make_tiny_config()


@pytest.fixture
def tiny_config_file(tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(TINY)
    return file


class Started:
    """A process of launch.py: `pid`, and `wait()` for its exit code and output."""

    def __init__(self, process, folder):
        self._process, self._folder = process, folder
        self.pid = process.pid

    @property
    def has_ended(self):
        return self._process.exitcode is not None

    def wait(self, check=False):
        self._process.join(timeout=300)
        code = self._process.exitcode
        self._process.kill()
        assert code is not None, "launch.py did not end within 300 s"
        output = [(self._folder / name).read_text() for name in ("stdout", "stderr")]
        if check:
            assert code == 0, output[1]
        return subprocess.CompletedProcess([], code, *output)


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts launch.py as a user would, after the code `before`, and returns at once."""

    def run(*arguments, devices=1, optimised=False, before=""):
        folder = tmp_path_factory.mktemp("launch")
        flags = f"--xla_force_host_platform_device_count={devices}"
        if not optimised:
            flags = f"{os.environ['XLA_FLAGS']} {flags}"
        process = _FORKSERVER.Process(
            target=launching.main, args=([*map(str, arguments)], flags, before, folder)
        )
        process.start()
        return Started(process, folder)

    return run


@pytest.fixture(scope="session")
def launch(start):
    """Runs launch.py as a user would; returns the finished process."""

    def run(*arguments, devices=1, check=False):
        return start(*arguments, devices=devices).wait(check)

    return run
