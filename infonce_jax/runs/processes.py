"""The processes of a run on several hosts: how they join, agree, fail together, and leave.

All processes run the same code. The first one (index 0) alone writes files and prints; what it decides,
and what goes wrong on any of them, is made known to all, so that none waits for one that has stopped.
Where there is a single process, every function here does the obvious thing at no cost.
"""

import contextlib
import ctypes
import errno
import json
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Int

from infonce_jax.files import flatten
from infonce_jax.runs.messages import few, reason

T = TypeVar("T")

# The exit code where another process of the run is gone.
LOST = 3
# After this many seconds without a sign of life from a process, the others are ended.
_HEARTBEAT_S = 30
# How long a process that leaves waits for the others to leave too.
_LEAVE_S = 15
# What JAX, gRPC, gloo and NCCL say when another process is gone.
_SIGNS_OF_LOSS = ("Gloo", "coordination service", "UNAVAILABLE", "remote process exited")

_HANDLERS: list[Callable] = []


class Elsewhere(RuntimeError):
    """Another process failed; that process, or the first one, has printed why."""


def join(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    timeout_s: float = 300,
) -> None:
    """Joins the processes of this run, so that `jax.devices()` are the devices of all of them.

    Without arguments, JAX asks the cluster: Slurm, Open MPI, Cloud TPU, GKE. Where it finds none, or a
    single process, nothing happens. Must come before JAX looks for devices.

    A process that does not find the others within `timeout_s` prints why and ends with exit code 2.

    Args:
        coordinator: `host:port` of the first process.
        count: number of processes.
        index: of this process, from 0.
        timeout_s: how long to wait for the others.

    Raises:
        ValueError: where JAX has looked for devices already, or the coordinator's port is taken.
    """
    given = (coordinator, count, index)
    if coordinator is None:
        # JAX has no public way to ask how many processes there are. A single one must not join: two
        # such runs of one job would want the same port.
        try:
            from jax._src.clusters import ClusterEnv

            coordinator, count, index, _ = ClusterEnv.auto_detect_unset_distributed_params(
                None, None, None, None, None, round(timeout_s)
            )
        # Kubernetes, for one, passes on the errors of its own client.
        except Exception as error:
            print(
                f"The cluster does not say which processes belong to this run ({reason(error)}). This "
                "process goes on alone; name them by --coordinator, --num_processes and --process_id.",
                file=sys.stderr,
            )
            return
        if (count or 1) == 1:
            return
        if os.environ.get("CUDA_VISIBLE_DEVICES", "").isdigit():
            # JAX takes the GPU with the task's number on its node, but only one is to be seen.
            os.environ.setdefault("JAX_LOCAL_DEVICE_IDS", "0")
    if index == 0:
        _check_port(coordinator)
    # Signals are agreed on between chunks of steps (`everyones`); JAX's own service would take SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX aborts with a stack trace when its own time limit is reached, so ours comes first.
    late = threading.Timer(timeout_s, _give_up, (coordinator, count, index, timeout_s))
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            *given,
            cluster_detection_method=None if given[0] is None else "deactivate",
            initialization_timeout=round(timeout_s) + 60,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_LEAVE_S,
        )
        # Looking for devices waits for all processes as well.
        jax.devices()
        _explain_aborts()
    except RuntimeError as error:
        raise ValueError(
            f"The processes cannot join ({reason(error)}). If the config file computes with JAX, let it "
            "do so with NumPy."
        ) from error
    finally:
        late.cancel()


def _check_port(coordinator: str) -> None:
    """Checks that nothing listens on the coordinator's port. JAX would crash, or share the port."""
    port = int(coordinator.rpartition(":")[2])
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=dual).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ValueError(
            f"Port {port} of {platform.node()}, where the processes are to find process 0, is in use. "
            "Give another one in --coordinator or, where the cluster names the processes, in the "
            "environment variable JAX_COORDINATOR_PORT."
        ) from None


def _give_up(coordinator: str, count: int, index: int, timeout_s: float) -> NoReturn:
    if index == 0:
        what = f"Not all of the {count} processes have joined process 0 at {coordinator}"
    else:
        what = (
            f"Process {index} of {count} cannot reach the coordinator, process 0 at {coordinator},"
        )
    print(
        f"error: {what} within {timeout_s:g} s. Start the same command on all {count}, let the port "
        "through between the hosts, raise --join_timeout_s, or give --nojoin to run this process alone.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def is_joined() -> bool:
    """Whether this run has several processes."""
    return jax.distributed.is_initialized()


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    # The first question must not make JAX look for devices.
    return not is_joined() or jax.process_index() == 0


def everyones(values: Int[np.ndarray, " k"]) -> Int[np.ndarray, "processes k"]:
    """A few integers of every process, in the order of the processes."""
    if not is_joined():
        return values[None]
    return multihost_utils.process_allgather(values).astype(values.dtype)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Runs the block on every process; if it fails on one, it fails on all.

    Raises:
        Elsewhere: where it failed on another process.
    """
    error = None
    try:
        yield
    except Exception as caught:
        if not is_joined():
            raise
        error = caught
    _settle(None, error)


def first(function: Callable[[], T]) -> T:
    """Calls the function on the first process; all get its result, which has to be plain data.

    Raises:
        Elsewhere: on the other processes, where it failed on the first one.
    """
    if not is_joined():
        return function()
    result = error = None
    if is_first():
        try:
            result = function()
        except Exception as caught:
            error = caught
    return _settle(result, error)


def check_alike(facts: Callable[[], dict[str, Any]]) -> None:
    """Checks that every process was started for the same thing.

    Args:
        facts: makes nested plain data that must be the same everywhere, such as the configuration.

    Raises:
        ValueError: on the first process, naming the process and the facts that differ.
        Elsewhere: on the others.
    """
    if not is_joined():
        return
    ours, *others = map(flatten, _gather(facts()))

    def compare():
        for index, theirs in enumerate(others, start=1):
            changed = [
                f"{name} is {ours.get(name)!r} on process 0 and {theirs.get(name)!r} on process {index}"
                for name in {**ours, **theirs}
                if ours.get(name) != theirs.get(name)
            ]
            if changed:
                raise ValueError(
                    f"The processes were not started for the same thing: {few(changed, '; ')}. "
                    "Start the same command on every host, with the same files and versions."
                )

    first(compare)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process of the run is gone."""
    return is_joined() and any(sign in str(error) for sign in _SIGNS_OF_LOSS)


def stop_lost(why: object) -> NoReturn:
    """Ends this process at once where another one is gone, and says so."""
    print(
        f"error: Another process of this run has stopped ({why}). What is saved is complete: the same "
        "command on all hosts goes on from the newest checkpoint.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(LOST)


def _explain_aborts() -> None:
    """Ends the process by `stop_lost` where JAX would abort it, which it does when another is gone.

    Python's own handlers run too late for that: abort() ends the process when they return.
    """
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: stop_lost("JAX's own words are above"))
    # Must outlive this call.
    _HANDLERS.append(handler)
    ctypes.CDLL(None).signal(ctypes.c_int(signal.SIGABRT), handler)


def leave(code: int) -> NoReturn:
    """Ends this process with an exit code, together with the others if they leave as well."""
    sys.stdout.flush()
    sys.stderr.flush()
    if is_joined():
        # JAX aborts where the others do not leave in time; the exit code is to be ours.
        late = threading.Timer(_LEAVE_S - 1, os._exit, (code,))
        late.daemon = True
        late.start()
        jax.distributed.shutdown()
        late.cancel()
    sys.exit(code)


def _settle(result: T, error: Exception | None) -> T:
    """The first process's result, unless a process had an error."""
    if not is_joined():
        return result
    said = _gather({"result": result, "error": None if error is None else reason(error)})
    failed = [index for index, one in enumerate(said) if one["error"] is not None]
    if not failed:
        return said[0]["result"]
    if error is not None and failed[0] == jax.process_index():
        raise error
    raise Elsewhere(f"Process {failed[0]} failed: {said[failed[0]]['error']}") from error


def _gather(value: Any) -> list[Any]:
    """Plain data of every process, in their order."""
    text = json.dumps(value).encode()
    sizes = everyones(np.array([len(text)], np.int32))
    # Few lengths, so that few programs are compiled.
    length = 256
    while length < sizes.max():
        length *= 4
    padded = np.zeros(length, np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    texts = multihost_utils.process_allgather(padded)
    return [
        json.loads(bytes(row[:size].astype(np.uint8)))
        for row, (size,) in zip(texts, sizes, strict=True)
    ]
