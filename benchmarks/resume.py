"""Kills a run with SIGKILL at random moments, and compares what comes out with an undisturbed run.

python -m benchmarks.resume --kills=10
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def command(workdir, steps):
    settings = {
        "seeds": "(0,1)",
        "data.dim": 64,
        "data.train_size": 1024,
        "data.test_size": 500,
        "encoder.embedding_dim": 16,
        "train.batch_size": 64,
        "train.steps": steps,
        "checkpoint.every_steps": 100,
        "log.every_steps": 25,
        "embed.steps": f"({steps // 3},{2 * steps // 3})",
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    config = "--config=configs/paper/table1_synthetic.py"
    return [sys.executable, "launch.py", config, "--nosweep", f"--workdir={workdir}", *flags]


def digest(workdir):
    """A hash of each of the metrics, the embeddings and the final parameters."""
    from infonce_jax.checkpoint import Checkpoints

    files = [workdir / "metrics.jsonl", *sorted((workdir / "embeddings").rglob("*.npy"))]
    found = {str(f.relative_to(workdir)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.steps[-1]
        parameters = checkpoints.arrays(step)
    for name, array in parameters.items():
        found[f"checkpoint {step} {name}"] = hashlib.sha256(array.tobytes()).hexdigest()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = Path(folder, "undisturbed"), Path(folder, "disturbed")
        began = time.perf_counter()
        subprocess.run(
            command(undisturbed, options.steps), cwd=ROOT, check=True, capture_output=True
        )
        whole_s = time.perf_counter() - began
        kills = 0
        for attempt in range(options.kills):
            process = subprocess.Popen(
                command(disturbed, options.steps),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            # The first seconds go to start-up, where there is nothing to lose.
            moment_s = rng.uniform(whole_s / 3, whole_s)
            try:
                process.wait(moment_s)
                print(f"attempt {attempt}: finished before {moment_s:.1f} s")
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                metrics = disturbed / "metrics.jsonl"
                lines = len(metrics.read_text().splitlines()) if metrics.exists() else 0
                print(f"attempt {attempt}: killed after {moment_s:.1f} s, {lines} lines of metrics")
        subprocess.run(command(disturbed, options.steps), cwd=ROOT, check=True, capture_output=True)
        one, other = digest(undisturbed), digest(disturbed)
        differing = [name for name in one | other if one.get(name) != other.get(name)]
        print(f"{kills} kills; {len(one)} files and arrays compared, {len(differing)} differ")
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
