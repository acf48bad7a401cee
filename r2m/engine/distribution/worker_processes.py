"""Several workers on this machine: one command in several processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from r2m.engine.errors import TrainingError, TrainingInterrupted
from r2m.engine.signals import DIED_OF_SIGINT, forwarded_signals, interrupt

_PATIENCE = 20.0  # seconds for workers to save and end

Process = subprocess.Popen[str]


def run_workers(command: Sequence[str], count: int, environment: Mapping[str, str]) -> None:
    """Runs a command as `count` workers until all have ended; shows their output with numbers.

    SIGTERM and SIGINT are forwarded. If a worker ends with an error, the others are stopped.

    Args:
        command: command of every worker.
        count: number of workers.
        environment: further environment variables of the workers, in addition to TF_CONFIG.

    Raises:
        TrainingError: the command cannot be run, or a worker ended with an error.
        TrainingInterrupted: SIGTERM or SIGINT arrived, and all workers ended without error.
    """
    workers: list[Process] = []
    shown: list[threading.Thread] = []
    with forwarded_signals(workers) as received:
        for index, config in enumerate(_configs(count)):
            workers.append(_start(command, {**environment, "TF_CONFIG": config}))
            shown.append(threading.Thread(target=_show, args=(workers[-1], index), daemon=True))
            shown[-1].start()
        while any(worker.poll() is None for worker in workers):
            if any(_failed(worker, received) for worker in workers):
                _stop(workers)
            time.sleep(0.1)
        for thread in shown:
            thread.join(timeout=_PATIENCE)
    failed = [
        f"worker {index} of {count} ended with exit code {worker.returncode}"
        for index, worker in enumerate(workers)
        if _failed(worker, received)
    ]
    if failed:
        raise TrainingError(f"{', '.join(failed)}; see the last lines of its output")
    if received:
        raise TrainingInterrupted(f"{count} workers: stopped by {received[0]}")


def _configs(count: int) -> list[str]:
    """Returns TF_CONFIG of every worker, on free ports."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        cluster = {"worker": [f"localhost:{one.getsockname()[1]}" for one in sockets]}
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def _start(command: Sequence[str], environment: Mapping[str, str]) -> Process:
    try:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            # Ctrl-C reaches a worker only from here, because a second one would end it without
            # saving.
            start_new_session=True,
        )
    except OSError as error:
        raise TrainingError(
            f"cannot run {command[0]}: {error.strerror}; give a command, or its path"
        ) from error


def _show(worker: Process, index: int) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        print(f"[{index}] {line}", end="", flush=True)


def _failed(worker: Process, received: Sequence[str]) -> bool:
    """Returns whether a worker failed; ending by a signal that was sent to it is not a failure."""
    return bool(worker.poll()) and not (received and worker.returncode in DIED_OF_SIGINT)


def _stop(workers: Sequence[Process]) -> None:
    interrupt(workers)
    deadline = time.monotonic() + _PATIENCE
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
