"""Batches of images that do not fit in memory, decoded before the step that needs them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt8

from infonce_jax.data.images import Images

Rows = UInt8[np.ndarray, "seeds batch height width 3"]


class Stream:
    """The batch of each step, read and decoded in threads while earlier steps are computed.

    A batch depends on the step alone, so any step may be asked for at any time. When steps are asked
    for in order, the next batches are ready.
    """

    def __init__(
        self,
        images: Images,
        labels: Int32[np.ndarray, " n"] | None,
        index: Callable[[int], Int[np.ndarray, "seeds batch"]],
        place: Callable[[Rows, Int32[np.ndarray, "seeds batch"] | None], Any],
        ahead: int,
        own: Sequence[slice] = (slice(None),),
    ):
        """Starts the threads.

        Args:
            images: the training images.
            labels: their classes, or None.
            index: `(step) -> [seeds, batch]`, the rows of each seed's batch.
            place: called with decoded images and labels; brings them to the devices.
            ahead: how many batches to prepare beyond the one that is asked for.
            own: the rows of a batch to decode, on several hosts those of this one. The others stay 0.
        """
        self._images, self._labels, self._index = images, labels, index
        self._place, self._ahead, self._own = place, ahead, own
        self._decoders = ThreadPoolExecutor(images.workers)
        # One batch after the other: all decoders work on the batch that is needed first.
        self._assembler = ThreadPoolExecutor(1)
        self._waiting: dict[int, Future] = {}

    def __call__(self, step: int) -> Any:
        """The batch of a step, as `place` returns it.

        Raises:
            ValueError: where an image cannot be decoded; the message names it.
        """
        if step not in self._waiting:
            for future in self._waiting.values():
                future.cancel()
            self._waiting = {}
        for wanted in range(step, step + self._ahead + 1):
            if wanted not in self._waiting:
                self._waiting[wanted] = self._assembler.submit(self._assemble, wanted)
        return self._waiting.pop(step).result()

    def _assemble(self, step: int) -> Any:
        index = self._index(step)
        rows = np.zeros((*index.shape, *self._images.shape[1:]), np.uint8)
        for some in self._own:
            for seed_rows, seed_index in zip(rows, index, strict=True):
                self._images.decode_into(seed_rows[some], seed_index[some], self._decoders)
        labels = None if self._labels is None else self._labels[index]
        return self._place(rows, labels)
