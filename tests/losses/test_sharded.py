"""Batches sharded over four virtual devices give what one device gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def lines():
    script = Path(__file__).with_name("on_four_devices.py")
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    path = os.pathsep.join([str(script.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_value_and_gradients_equal_those_of_one_device(lines):
    cases = [line for line in lines if "case" in line]
    assert len(cases) == 56
    assert not {c["case"]: c["error"] for c in cases if not c["error"] < c["tolerance"]}


def test_a_ragged_micro_batch_of_explicit_shards_is_refused(lines):
    (message,) = (line["refused"] for line in lines if "refused" in line)
    assert "size is 5, and the batch of 16 examples has 4 shards" in message


def test_memory_per_device_falls_with_their_number(lines):
    (memory,) = (line["memory_bytes"] for line in lines if "memory_bytes" in line)
    # One device sends nothing; from two on, what is sent and received lies beside what is kept.
    assert memory["4"] < 0.55 * memory["2"] < 0.55 * memory["1"]
