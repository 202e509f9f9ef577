"""Jobs of a scheduler that share a sweep, through submitit: Slurm, or processes of this machine."""

import subprocess
import sys
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

_POLL_S = 1.0


class Share:
    """One job: a command in a folder. Preempted, it is queued again, and goes on where it stopped."""

    def __init__(self, command: Sequence[str], folder: Path):
        self._command, self._folder = list(command), str(folder)

    def __call__(self) -> None:
        done = subprocess.run(self._command, cwd=self._folder)
        if done.returncode:
            raise RuntimeError(f"{' '.join(self._command)} ended with exit code {done.returncode}.")

    def checkpoint(self):
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def without_flags(arguments: Sequence[str], names: Container[str]) -> list[str]:
    """The arguments without these flags and their values.

    A flag may have one dash or two, and its value behind an equals sign or as the next argument.
    """
    kept, rest = [], iter(arguments)
    for argument in rest:
        name, equals, _ = argument.removeprefix("-").removeprefix("-").partition("=")
        if not argument.startswith("-") or name not in names:
            kept.append(argument)
        elif not equals:
            next(rest, None)
    return kept


def submit_shares(
    command: Sequence[str],
    count: int,
    *,
    cluster: str,
    options: Mapping[str, Any],
    folder: Path,
) -> list[str]:
    """Submits `count` jobs, each of which does its share of a sweep, and follows them to the end.

    Args:
        command: what runs the whole sweep; every job adds its --sweep_index and --sweep_count.
        count: number of jobs.
        cluster: "slurm", or "local" for processes of this machine.
        options: submitit's parameters of a job, for example {"timeout_min": 60, "gpus_per_node": 1}.
        folder: where the jobs' logs go.

    Returns:
        The shares and logs of jobs that failed or died.

    Raises:
        ValueError: where submitit is not installed, or does not know an option.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError(
            "--submitit needs submitit; run `pip install submitit`, or start the shares yourself with "
            "--sweep_index and --sweep_count."
        ) from None
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    try:
        executor.update_parameters(name="infonce_jax", **options)
    except (TypeError, NameError) as error:
        raise ValueError(f"--submitit_options are not submitit's: {error}") from None
    with executor.batch():
        jobs = [
            executor.submit(
                Share([*command, f"--sweep_index={i}", f"--sweep_count={count}"], Path.cwd())
            )
            for i in range(count)
        ]
    shown = [""] * count
    try:
        while True:
            states = ["DONE" if job.done() else job.state for job in jobs]
            for index, (job, state) in enumerate(zip(jobs, states, strict=True)):
                if state != shown[index]:
                    print(f"share {index}: job {job.job_id} {state}", file=sys.stderr, flush=True)
            shown = states
            if all(state == "DONE" for state in states):
                break
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        for job in jobs:
            job.cancel()
        raise
    return [
        f"share {index} (log {job.paths.stderr})"
        for index, job in enumerate(jobs)
        if job.exception() is not None
    ]
