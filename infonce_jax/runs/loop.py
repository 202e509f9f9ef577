"""The training loop of a run: chunks of compiled steps, and between them what is logged and saved."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import config_dict
from threadpoolctl import threadpool_limits

from infonce_jax import data, embeddings, training
from infonce_jax.runs import nonfinite, processes
from infonce_jax.runs.online import make_online
from infonce_jax.runs.sets import OpenRun, embed_steps, open_checkpoints, open_run, write_set
from infonce_jax.runs.writers import Silent, Writers, open_writers, say
from infonce_jax.training import TrainState, throughput
from infonce_jax.training.checkpoint import Checkpoints

# How long the compiled loop runs before the host looks at signals and the progress bar. The loop's
# end is an argument, so this changes neither the program nor its result.
_CHUNK_S = 1.0


class Interrupted(Exception):
    """A signal to one of its processes stopped the run after it had been saved."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"{signal.Signals(signum).name} received: saved at step {step}.")
        self.signum = signum


def train(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Trains up to the last step, from the newest checkpoint if there is one.

    Embedding sets are written on the way. Resuming gives the same bits as never having stopped,
    wherever it stopped, on the same devices.

    Raises:
        NonFiniteLoss: where the loss or a gradient stopped being finite.
        Interrupted: after SIGINT or SIGTERM, with a checkpoint written.
    """
    spec = data.describe(config)
    total = training.total_steps(config, spec)
    sets = embed_steps(config, spec)
    with open_checkpoints(config, workdir, sets) as checkpoints:
        saved = processes.first(lambda: checkpoints.steps)
        if total in saved:
            say(f"{workdir}: trained already ({total} steps).")
            return
        run = open_run(config, workdir)
        if saved:
            state = checkpoints.restore(saved[-1], run.program.abstract_state)
            say(f"{workdir}: resuming at step {int(state.step)} of {total}.")
        else:
            state = run.program.init()
        processes.first(lambda: embeddings.remove_leftovers(workdir / "embeddings"))
        with contextlib.ExitStack() as stack:
            writers = open_writers(config, workdir, run.members, total, int(state.step))
            stack.enter_context(contextlib.closing(writers))
            # LAPACK on the small matrices of the entropy estimate: its own threads beside those of the
            # compiled program make it up to 60 times slower.
            stack.enter_context(threadpool_limits(1))
            received = stack.enter_context(_held_signals())
            _advance_to(run, state, total, sets, checkpoints, writers, received)


def _advance_to(
    run: OpenRun,
    state: TrainState,
    total: int,
    sets: list[int],
    checkpoints: Checkpoints,
    writers: Writers | Silent,
    received: list[int],
) -> None:
    config, step = run.config, int(state.step)
    per_epoch = training.steps_per_epoch(config, run.data.spec)
    every = {"log": config.log.every_steps, "checkpoint": config.checkpoint.every_steps}
    with processes.together():
        held_out = make_online(run)
    step_flops = throughput.model_flops(config, run.data.spec, len(run.members))

    def write(state: TrainState) -> None:
        write_set(run, state)
        writers.say(f"{config.name}  step {step}/{total}  embedding set written")

    # A set is written before the checkpoint of its step, so a kill between the two costs time but
    # leaves no gap.
    if step == 0:
        write(state)
        checkpoints.save(0, state)
    pace = _Pace.start(step)
    chunk_steps = pace.chunk_steps
    while step < total:
        stop = min(
            total,
            step + chunk_steps,
            *(n for n in sets if n > step),
            *(step + n - step % n for n in every.values()),
        )
        started = time.perf_counter()
        state, failed = run.program.advance(state, stop)
        if int(failed) >= 0:
            _save_last_good(run, int(failed), checkpoints)
            with processes.together():
                raise nonfinite.explain(config, run.members, run.workdir, state)
        pace = pace.after_chunk(stop, started)
        step = stop
        # All processes stop at the same step, and their next chunks are of the same length.
        signum, chunk_steps = _agree(received, pace)
        writers.advance(step)
        if step % every["log"] == 0 or step == total:
            rate = pace.steps_per_s()
            metrics, state = _take_metrics(state)
            timing = throughput.rates(rate, config, step_flops)
            if held_out is not None:
                online = held_out(state)
                metrics = {**metrics, **online.values}
                timing |= {f"held_out_{name}_s": s for name, s in online.seconds.items()}
            writers.log(step, step / per_epoch, metrics, timing)
            pace = pace.after_log()
        if step in sets:
            write(state)
        if step % every["checkpoint"] == 0 or step in sets or signum:
            checkpoints.save(step, state)
        if signum:
            checkpoints.wait()
            raise Interrupted(signum, step)
    checkpoints.wait()
    # A signal that came while the last set was written: what follows this run must not begin.
    signum, _ = _agree(received, pace)
    if signum:
        raise Interrupted(signum, step)


def _agree(received: list[int], pace: "_Pace") -> tuple[int, int]:
    """The signal that any process has received, or 0; the first process's most steps of a chunk."""
    said = processes.everyones(np.array([received[0] if received else 0, pace.chunk_steps]))
    return int(said[:, 0].max()), int(said[0, 1])


class _Pace(NamedTuple):
    """How fast training goes, and so how many steps make a chunk.

    Attributes:
        chunk_steps: the most steps of the next chunk.
        step: steps taken.
        time_s: when the last chunk ended.
        log_step: the step from which the logged rate counts.
        log_time_s: the time from which it counts.
        is_first: whether the next chunk is the first, whose rate includes compiling the program.
    """

    chunk_steps: int
    step: int
    time_s: float
    log_step: int
    log_time_s: float
    is_first: bool

    @classmethod
    def start(cls, step: int) -> "_Pace":
        now = time.perf_counter()
        return cls(1, step, now, step, now, True)

    def after_chunk(self, step: int, started_s: float) -> "_Pace":
        """The pace after a chunk that began at the time `started_s` and has ended at `step`."""
        now = time.perf_counter()
        if self.is_first:
            return _Pace(1, step, now, step, now, False)
        fitting = int((step - self.step) / (now - started_s) * _CHUNK_S)
        chunk_steps = max(1, min(fitting, 2 * self.chunk_steps))
        return self._replace(chunk_steps=chunk_steps, step=step, time_s=now)

    def steps_per_s(self) -> float:
        """The rate since the last logging step."""
        return (self.step - self.log_step) / max(self.time_s - self.log_time_s, 1e-9)

    def after_log(self) -> "_Pace":
        return self._replace(log_step=self.step, log_time_s=self.time_s)


def _take_metrics(
    state: TrainState,
) -> tuple[Mapping[str, Float[np.ndarray, " members"]], TrainState]:
    """Means since the last logging step, and the state with the sums set back to zero."""
    count = int(state.metric_steps)
    sums = jax.device_get(state.members.metric_sums)
    zeros = jax.tree.map(lambda leaf: leaf * 0, state.members.metric_sums)
    cleared = state._replace(
        metric_steps=state.metric_steps * 0, members=state.members._replace(metric_sums=zeros)
    )
    return {name: np.atleast_1d(total / count) for name, total in sums.items()}, cleared


def _save_last_good(run: OpenRun, failed: int, checkpoints: Checkpoints) -> None:
    """Saves the state before the step that failed.

    No second copy of the state is kept while training. The last good one is computed again from the
    newest checkpoint, as a resumed run computes it, so it is the same to the bit.
    """
    checkpoints.wait()
    newest = checkpoints.steps[-1]
    state = checkpoints.restore(newest, run.program.abstract_state)
    every = run.config.log.every_steps
    for stop in [*range(newest + every - newest % every, failed, every), failed]:
        state, _ = run.program.advance(state, stop)
        if stop % every == 0 and stop > newest:
            _, state = _take_metrics(state)
    checkpoints.save(failed, state)
    checkpoints.wait()


@contextlib.contextmanager
def _held_signals() -> Iterator[list[int]]:
    """Collects the first SIGINT or SIGTERM instead of ending the process; a second one ends it."""
    received: list[int] = []
    previous = {}

    def remember(signum, frame):
        del frame
        received.append(signum)
        for number, handler in previous.items():
            signal.signal(number, handler)
        print(
            f"{signal.Signals(signum).name} received: saving. Once more to stop at once.",
            file=sys.stderr,
            flush=True,
        )

    try:
        # Only the main thread may set handlers; elsewhere (a notebook, a test) the caller's stay.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                previous[number] = signal.signal(number, remember)
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
