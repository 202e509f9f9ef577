"""Checkpoints of a run. The only file that knows Orbax."""

import contextlib
import errno
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers as policies

from infonce_jax.files import is_disk_full


class Checkpoints:
    """The checkpoints of one run: written in the background, complete or absent.

    A class because the background writer has to be waited for; use it as a context manager.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep_newest: int = 1,
        keep_every_steps: int = 0,
        keep_steps: Collection[int] = (),
        read_only: bool = False,
    ):
        """Opens the checkpoints under `root`.

        Args:
            root: folder of the checkpoints, one subfolder per step.
            keep_newest: how many of the latest to keep.
            keep_every_steps: keep those at multiples of this as well; 0 for none.
            keep_steps: keep those at these steps as well.
            read_only: neither write nor clean up.
        """
        kept = [policies.LatestN(keep_newest), policies.CustomSteps(sorted(keep_steps))]
        if keep_every_steps:
            kept.append(policies.EveryNSteps(keep_every_steps))
        self._root = root
        self._manager = ocp.CheckpointManager(
            root.resolve(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(kept),
                # Removes checkpoints that a killed process left incomplete.
                cleanup_tmp_directories=not read_only,
                create=not read_only,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        with _disk_errors(self._root):
            self._manager.close()

    @property
    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree) -> None:
        """Starts writing `state`; returns once its arrays have been copied off the devices.

        A step that is already there is left as it is.
        """
        if step not in self._manager.all_steps():
            with _disk_errors(self._root):
                self._manager.save(step, args=ocp.args.StandardSave(state), force=True)

    def wait(self) -> None:
        """Waits until everything that was saved is on disk."""
        with _disk_errors(self._root):
            self._manager.wait_until_finished()

    def restore(self, step: int, abstract_state: PyTree) -> PyTree:
        """Reads the state of one step onto the devices of `abstract_state`'s shardings.

        The number of devices need not be the one that the checkpoint was saved with.

        Args:
            step: one of `steps`.
            abstract_state: the state's shapes, dtypes and shardings.

        Raises:
            ValueError: where the checkpoint is damaged, or of another shape.
        """
        try:
            state = self._manager.restore(step, args=ocp.args.StandardRestore(abstract_state))
        # Orbax passes on the errors of its storage layers, which share no narrower class.
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(
                f"The checkpoint {self._root / str(step)} cannot be restored; it is truncated or was "
                f"written by another configuration ({type(error).__name__}: {reason}). Delete that "
                "folder to continue from the one before it, or choose another --workdir."
            ) from error
        return jax.block_until_ready(state)

    def arrays(self, step: int) -> dict[str, np.ndarray]:
        """The arrays of one step on the host, by their path in the state; needs no program."""
        # The devices that it was saved from need not be there.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(fallback_sharding=here))
        leaves, _ = jax.tree.flatten_with_path(tree)
        return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@contextlib.contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    """Raises the system's own error when Orbax reports a full disk in another way."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root)) from error
