"""TensorFlow's profiler around a window of steps."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from r2m.engine.errors import TrainingError
from r2m.engine.persistence.durable_files import clear_write_errors


class ProfileWindow(NamedTuple):
    """Window of steps to profile: after step `first`, up to and including step `last`."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> ProfileWindow:
        """Reads "100:110"; raises TrainingError for anything else or an empty window."""
        match = re.fullmatch(r"(\d+):(\d+)", text.strip())
        if match is None or int(match[1]) >= int(match[2]):
            raise TrainingError(
                f"profile_steps={text!r}: expected FIRST:LAST with FIRST < LAST, such as 100:110 "
                "for the ten steps after step 100"
            )
        return cls(int(match[1]), int(match[2]))


class Profiler:
    """Profiler of the steps in a window; a context manager around the training loop.

    The result is written to `<workdir>/plugins/profile`, which TensorBoard's profile plugin reads.
    """

    def __init__(self, window: ProfileWindow | None, workdir: Path, step: int, steps: int) -> None:
        """Stores the window (None: no profile), the run folder, and its first and last step."""
        self._window, self._workdir = window, workdir
        self._on = False
        if window is not None and not (step < window.last and window.first < steps):
            logging.warning(
                "nothing is profiled: steps %d to %d are not among the remaining steps, %d to %d",
                window.first + 1, window.last, step + 1, steps,
            )  # fmt: skip

    def until_edge(self, step: int) -> int | None:
        """Returns the steps from `step` to the window's next edge; None if no edge remains."""
        ahead = [edge - step for edge in self._window or () if edge > step]
        return min(ahead, default=None)

    def before(self, step: int) -> None:
        """Starts the profiler at the window's first edge; call before the steps after `step`."""
        if self._window is not None and not self._on:
            if not self._window.first <= step < self._window.last:
                return
            with clear_write_errors(self._workdir / "plugins"):
                tf.profiler.experimental.start(str(self._workdir))
            self._on = True

    def after(self, step: int) -> None:
        """Stops the profiler at the window's last edge; call after step `step`."""
        if self._window is not None and self._on and step >= self._window.last:
            self._on = False
            with clear_write_errors(self._workdir / "plugins"):
                tf.profiler.experimental.stop()
            logging.info("profile: %s", self._workdir / "plugins" / "profile")

    def __enter__(self) -> Profiler:
        """Returns self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the profiler if the run ends within the window."""
        if self._on:
            tf.profiler.experimental.stop(save=kind is None)
