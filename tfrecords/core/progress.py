"""Display of the progress of a running job."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TypeVar

from absl import logging
from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30.0

Item = TypeVar("Item")


class CountProgress:
    """Display of the number of finished items, the speed, and the time left.

    On a terminal it is one live line, removed at the end; elsewhere a log line every 30 seconds.
    Use it as a context manager.
    """

    def __init__(
        self, description: str, total: int, unit: str, *, done: int = 0, show: bool = True
    ) -> None:
        """Starts at `done` of `total`.

        Args:
            description: description of the job: "captioning val".
            total: total number of items.
            unit: name of the items, in the plural: "images".
            done: number of items that an earlier run finished.
            show: whether to show anything.
        """
        self._description, self._total, self._unit = description, total, unit
        self._first, self._done, self._show = done, done, show
        self._line = tqdm(
            total=total,
            initial=done,
            desc=description,
            unit=f" {unit}",
            disable=not show or not sys.stderr.isatty(),
            bar_format="{desc}: {n_fmt} of {total_fmt}{unit}{postfix} |{bar}|",
            dynamic_ncols=True,
            miniters=1,
            # Replaces the progress line of a training run that is waiting for this evaluation.
            position=0,
            leave=False,
        )
        self._started = time.monotonic()
        self._next_line = self._started + _SECONDS_BETWEEN_LINES

    def __enter__(self) -> CountProgress:
        """Returns self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the display."""
        self._line.close()

    def add(self, count: int = 1) -> None:
        """Adds finished items."""
        self._done += count
        if not self._line.disable:
            self._line.set_postfix_str(self._speed(), refresh=False)
            self._line.update(count)
        elif self._show and time.monotonic() >= self._next_line:
            logging.info(
                "%s: %d of %d %s  %s",
                self._description, self._done, self._total, self._unit, self._speed(),
            )  # fmt: skip
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    def _speed(self) -> str:
        new, seconds = self._done - self._first, time.monotonic() - self._started
        if not new or not seconds:
            return ""
        rate, left = new / seconds, (self._total - self._done) * seconds / new
        speed = (
            f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{60 * rate:,.0f} {self._unit}/min"
        )
        return f"{speed}  {datetime.timedelta(seconds=round(left))} left"


def shown_chunks(
    items: Sequence[Item], size: int, description: str, unit: str
) -> Iterator[Sequence[Item]]:
    """Yields `items` in chunks of `size`; a chunk is counted when the next one is requested.

    See `CountProgress` for `description` and `unit`.
    """
    with CountProgress(description, len(items), unit) as progress:
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            yield chunk
            progress.add(len(chunk))
