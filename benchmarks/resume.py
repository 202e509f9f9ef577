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
    from infonce_jax.training.checkpoint import Checkpoints

    files = [workdir / "metrics.jsonl", *sorted((workdir / "embeddings").rglob("*.npy"))]
    found = {str(f.relative_to(workdir)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.steps[-1]
        parameters = checkpoints.arrays(step)
    for name, array in parameters.items():
        found[f"checkpoint {step} {name}"] = hashlib.sha256(array.tobytes()).hexdigest()
    return found


def logged(workdir):
    metrics = workdir / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def kill_at(command_line, workdir, line, delay_s):
    """Starts the run and kills it `delay_s` after `line` lines of metrics are there.

    Returns the lines that it had written, or None where it finished first.
    """
    process = subprocess.Popen(
        command_line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and logged(workdir) < line:
        time.sleep(0.002)
    try:
        process.wait(delay_s)
        return None
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return logged(workdir)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = Path(folder, "undisturbed"), Path(folder, "disturbed")
        subprocess.run(
            command(undisturbed, options.steps), cwd=ROOT, check=True, capture_output=True
        )
        lines, kills = logged(undisturbed), 0
        # Moments of training, not of the clock: most of a short run's time is start-up, where
        # there is nothing to lose.
        for moment in sorted(rng.uniform(0, 0.95) for _ in range(options.kills)):
            delay_s = rng.uniform(0, 0.05)
            reached = kill_at(
                command(disturbed, options.steps), disturbed, int(moment * lines), delay_s
            )
            kills += reached is not None
            said = "finished first" if reached is None else f"killed at line {reached} of {lines}"
            print(f"{moment:.0%} of the way: {said}", flush=True)
        subprocess.run(command(disturbed, options.steps), cwd=ROOT, check=True, capture_output=True)
        one, other = digest(undisturbed), digest(disturbed)
        differing = [name for name in one | other if one.get(name) != other.get(name)]
        print(f"{kills} kills; {len(one)} files and arrays compared, {len(differing)} differ")
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
