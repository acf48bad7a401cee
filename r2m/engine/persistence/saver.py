"""Writing of checkpoints in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from r2m.engine.persistence import checkpoints

# A best and a latest one; more would fill the memory if the disk is slow.
_MOST_WAITING = 2


class Saver:
    """Background writer of checkpoints, one after the other; a context manager.

    The context ends when all checkpoints are on disk. Errors are raised by the next call, or at the
    end.
    """

    def __init__(self) -> None:
        """Starts with nothing to write."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Saver:
        """Returns self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Waits for pending checkpoints; raises their error unless another one is being raised."""
        self._thread.shutdown(wait=True)
        if value is None:
            self.wait()

    def save(
        self,
        parent: Path,
        step: int,
        *,
        tensors: Mapping[str, np.ndarray],
        sidecar: Mapping[str, Any],
        keep: int,
    ) -> None:
        """Queues `checkpoints.save`; the arguments must not change afterwards."""
        self.check()
        while len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(
            self._thread.submit(
                checkpoints.save, parent, step, tensors=tensors, sidecar=sidecar, keep=keep
            )
        )

    def check(self) -> None:
        """Raises the TrainingError of a checkpoint that could not be written."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()

    def wait(self) -> None:
        """Waits until all checkpoints are on disk; for errors see `check`."""
        while self._waiting:
            self._waiting.popleft().result()
