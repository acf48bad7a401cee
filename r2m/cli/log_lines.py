"""Log lines of the commands: `09:31:28 message`, above the live line of progress."""

from __future__ import annotations

import logging
import sys

from absl import logging as absl_logging
from tqdm import tqdm


def use_short_lines() -> None:
    """Makes absl prefix log lines only with the time of day and, from warnings on, the level.

    absl's own prefix also has date, microseconds, thread and source line, which is longer than most
    messages.
    """
    handler = absl_logging.get_absl_handler().python_handler
    handler.setFormatter(_Formatter(datefmt="%H:%M:%S"))
    handler.setStream(_AboveProgress())


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{self.formatTime(record, self.datefmt)} {level}{super().format(record)}"


class _AboveProgress:
    """Stream to standard error that clears the live line of progress first."""

    def write(self, text: str) -> None:
        with tqdm.external_write_mode(sys.stderr):
            sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def close(self) -> None:
        """Leaves standard error open."""
