"""SIGTERM and SIGINT: deferred until the state is saved, or forwarded to processes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from absl import logging

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Return codes of a process ended by SIGINT.
DIED_OF_SIGINT = (-signal.SIGINT, 128 + signal.SIGINT)
_outer: ContextVar[list[str] | None] = ContextVar("outer", default=None)


@contextlib.contextmanager
def deferred_signals() -> Iterator[list[str]]:
    """Yields a list that receives the name of SIGTERM or SIGINT when it arrives.

    A second signal takes effect immediately. A nested context yields the list of the outer one, so
    that a signal between two trainings is not lost. Outside the main thread, the only one that
    handles signals, the context does nothing.
    """
    if (outer := _outer.get()) is not None:
        yield outer
        return
    received: list[str] = []
    previous: dict[int, Any] = {}

    def note(number: int, _: Any) -> None:
        received.append(signal.Signals(number).name)
        logging.warning("%s: stopping as soon as everything is saved", received[-1])
        signal.signal(number, previous[number])

    with contextlib.suppress(ValueError):
        for number in _SIGNALS:
            previous[number] = signal.signal(number, note)
    token = _outer.set(received)
    try:
        yield received
    finally:
        _outer.reset(token)
        for handled, handler in previous.items():
            signal.signal(handled, handler)


@contextlib.contextmanager
def default_signals() -> Iterator[None]:
    """Lets SIGINT end the process immediately while it joins other workers, then restores handlers.

    TensorFlow may wait for other workers forever, and Python runs no handler meanwhile. It also
    replaces the handler of SIGTERM, which is restored as well.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError):
            for number in _SIGNALS:
                stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        yield


def interrupt(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Sends SIGINT to the processes that have not ended."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def forwarded_signals(processes: Sequence[subprocess.Popen[str]]) -> Iterator[list[str]]:
    """Forwards SIGTERM and SIGINT to processes, which save and end; yields the names received.

    Both are forwarded as SIGINT, the only signal that ends workers still waiting for each other.
    Start each process in its own session: otherwise Ctrl-C reaches it twice, and the second signal
    ends it without saving.

    Args:
        processes: processes; more may be added inside the context.
    """
    received: list[str] = []

    def forward(number: int, _: object) -> None:
        received.append(signal.Signals(number).name)
        interrupt(processes)

    previous = {n: signal.signal(n, forward) for n in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
