"""Kills a sweep of 200 runs with SIGKILL at random moments, and compares its table with that of one
that was left alone.

    python -m benchmarks.sweep_resume --kills=3
"""

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

# 5 folders of 40 members each.
CONFIG = """
from infonce_jax.config import default_config
from infonce_jax.runs import grid


def get_config():
    config = default_config()
    config.data.dim = 256
    config.data.train_size = 2560
    config.data.test_size = 500
    config.encoder.embedding_dim = 32
    config.train.batch_size = 128
    config.train.steps = {steps}
    config.log.every_steps = 20
    config.checkpoint.every_steps = 100
    config.evaluate.sample_sizes = (250,)
    return config


def sweep():
    return grid({{
        "data.seed": (0, 1, 2, 3, 4),
        "seeds": (0, 1, 2, 3, 4, 5, 6, 7),
        "loss.temperature": (0.05, 0.1, 0.2, 0.5, 1.0),
    }})
"""


def start(config, workdir):
    command = [sys.executable, "launch.py", f"--config={config}", f"--workdir={workdir}"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finished(workdir):
    return len(list(workdir.glob("*/evaluation.json")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.py")
        config.write_text(CONFIG.format(steps=options.steps))
        undisturbed, disturbed = Path(folder, "undisturbed"), Path(folder, "disturbed")
        began = time.perf_counter()
        process = start(config, undisturbed)
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(errors)
        whole_s = time.perf_counter() - began
        table = (undisturbed / "sweep.csv").read_bytes()
        rows = list(csv.DictReader(table.decode().splitlines()))
        folders = len({row["run"] for row in rows})
        print(f"{len(rows)} runs in {folders} folders, undisturbed: {whole_s:.0f} s", flush=True)
        for moment in sorted(rng.uniform(0.05, 0.95) for _ in range(options.kills)):
            process = start(config, disturbed)
            # Moments of the sweep, not of the clock, and then anywhere within a run.
            while process.poll() is None and finished(disturbed) < int(moment * folders):
                time.sleep(0.01)
            try:
                process.wait(rng.uniform(0, whole_s / folders))
                print("finished before it was killed")
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                print(f"killed with {finished(disturbed)} of {folders} finished", flush=True)
        process = start(config, disturbed)
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(errors)
        same = (disturbed / "sweep.csv").read_bytes() == table
        print(f"the table is {'the same, byte for byte' if same else 'ANOTHER'}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
