"""Dynamic batching: requests that arrive at almost the same time are computed together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Columns = dict[str, np.ndarray]
Function = Callable[[Columns], Mapping[str, np.ndarray]]


class QueueFull(Exception):
    """Error of a request that arrives while too many others wait."""


@dataclass(frozen=True)
class BatchLimits:
    """Limits of batches.

    Attributes:
        size: items per batch; 1 computes each item alone.
        wait: maximum time in seconds that the first request of a batch waits for others.
        threads: batches that are computed at the same time.
        waiting: maximum number of waiting requests.
    """

    size: int = 32
    wait: float = 0.005
    threads: int = 2
    waiting: int = 256


@dataclass(eq=False)
class _Task:
    """A request: its rows are in one batch, one after the other."""

    function: Function
    inputs: Columns
    rows: int
    kind: Hashable
    answer: Future[Columns] = field(default_factory=Future)
    arrival: float = field(default_factory=time.monotonic)


class Batcher:
    """Threads that compute requests in batches.

    Requests for the same function with equal item shapes share a batch. If a batch fails, each of
    its requests is computed again alone, so that one request does not affect others.
    """

    def __init__(
        self, limits: BatchLimits, observe: Callable[[int, float], None] | None = None
    ) -> None:
        """Starts the threads.

        Args:
            limits: limits of the batches.
            observe: called with the number of items and the seconds of each batch.
        """
        self.limits = limits
        self._observe = observe
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()
        # One batch is assembled at a time, because two would compete for arriving requests.
        self._collecting = threading.Lock()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batches-{number}", daemon=True)
            for number in range(limits.threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Function, inputs: Columns) -> Future[Columns]:
        """Adds a request to the queue.

        Args:
            function: maps columns of any number of items to columns of the same number.
            inputs: columns by name, [B, ...], with no more items than a batch.

        Returns:
            The future columns of these items. A request that is canceled before its batch starts
            is not computed.

        Raises:
            QueueFull: too many requests wait, or the batcher is closed.
        """
        rows = len(next(iter(inputs.values())))
        assert 0 < rows <= self.limits.size, rows
        shapes = tuple((name, column.shape[1:]) for name, column in sorted(inputs.items()))
        task = _Task(function, inputs, rows, (function, shapes))
        with self._changed:
            if self._is_closed:
                raise QueueFull("the server is shutting down")
            if len(self._tasks) >= self.limits.waiting:
                raise QueueFull(f"{len(self._tasks)} requests wait already: try again later")
            self._tasks.append(task)
            self._changed.notify_all()
        return task.answer

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._tasks)

    def close(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Computes the waiting requests and ends the threads.

        Args:
            seconds: maximum time to wait for a computing thread.

        Returns:
            Whether all threads have ended.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while True:
            with self._collecting:
                tasks = self._collect()
            if tasks is None:
                return
            started = [task for task in tasks if task.answer.set_running_or_notify_cancel()]
            if started:
                self._compute(started)

    def _collect(self) -> list[_Task] | None:
        """Returns the requests of the next batch; None when the batcher is closed and empty."""
        with self._changed:
            while not self._tasks:
                if self._is_closed:
                    return None
                self._changed.wait()
            first = self._tasks.popleft()
            found, rows, deadline = [first], first.rows, first.arrival + self.limits.wait
            while True:
                for task in [task for task in self._tasks if task.kind == first.kind]:
                    if rows + task.rows > self.limits.size:
                        return found  # a later request must not overtake it
                    self._tasks.remove(task)
                    found.append(task)
                    rows += task.rows
                left = deadline - time.monotonic()
                if rows == self.limits.size or left <= 0 or self._is_closed:
                    return found
                self._changed.wait(left)

    def _compute(self, tasks: list[_Task]) -> None:
        try:
            outputs = self._outputs(tasks)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].answer.set_exception(error)
                return
            for task in tasks:
                self._compute([task])
            return
        start = 0
        for task in tasks:
            rows = slice(start, start + task.rows)
            task.answer.set_result({name: column[rows] for name, column in outputs.items()})
            start += task.rows

    def _outputs(self, tasks: list[_Task]) -> Mapping[str, np.ndarray]:
        first = tasks[0]
        inputs: Any = first.inputs
        if len(tasks) > 1:
            inputs = {
                name: np.concatenate([task.inputs[name] for task in tasks]) for name in inputs
            }
        start = time.monotonic()
        outputs = first.function(inputs)
        rows = sum(task.rows for task in tasks)
        for name, column in outputs.items():
            if column.shape[:1] != (rows,):
                raise ValueError(f"output {name} has shape {column.shape} for {rows} items")
        if self._observe is not None:
            self._observe(rows, time.monotonic() - start)
        return outputs
