"""Runs one training command as several workers on this machine, to try training on many.

    r2m-local-workers --workers=2 -- r2m-train-curriculum --config=configs/r2m/shapes.py \\
        --workdir=workspace/runs/shapes --corpora=workspace/records/corpora/shapes \\
        --images=workspace/records/images/shapes

On several machines start the command itself on each, with TF_CONFIG set (see WORKSPACE.md). When a
worker ends with an error the others are stopped; the same command resumes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from absl import app, flags

from r2m.cli.common import run

_WORKERS = flags.DEFINE_integer("workers", 2, "How many processes.", lower_bound=1)
_PATIENCE = 20.0  # seconds that workers are given to save and end


def main(argv: Sequence[str]) -> int:
    """Runs the command as many times as asked, until all have ended."""
    command = argv[1:]
    if not command:
        raise app.UsageError("give the command to run after --, for example -- r2m-train-xe ...")
    workers = [_start(command, config, index) for index, config in enumerate(_configs())]
    with _forwarding_signals(workers):
        while any(worker.poll() is None for worker in workers):
            if any(worker.poll() for worker in workers):
                _stop(workers)
            time.sleep(0.2)
    failed = [(index, worker.returncode) for index, worker in enumerate(workers)]
    failed = [(index, code) for index, code in failed if code]
    for index, code in failed:
        print(f"worker {index} ended with exit code {code}", file=sys.stderr)
    return 1 if failed else 0


def _configs() -> list[str]:
    """TF_CONFIG of every worker, on free ports."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(_WORKERS.value)]
        for one in sockets:
            one.bind(("localhost", 0))
        cluster = {"worker": [f"localhost:{one.getsockname()[1]}" for one in sockets]}
    tasks = [{"type": "worker", "index": index} for index in range(_WORKERS.value)]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def _start(command: Sequence[str], config: str, index: int) -> subprocess.Popen[str]:
    try:
        worker = subprocess.Popen(
            command,
            env={**os.environ, "TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C reaches a worker once, from here: a second one would end it without saving.
            start_new_session=True,
        )
    except OSError as error:
        raise app.UsageError(f"cannot run {command[0]}: {error}") from error

    def show() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            print(f"[{index}] {line}", end="", flush=True)

    threading.Thread(target=show, daemon=True).start()
    return worker


def _stop(workers: Sequence[subprocess.Popen[str]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    deadline = time.monotonic() + _PATIENCE
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    for worker in workers:
        if worker.poll() is None:
            worker.kill()


@contextlib.contextmanager
def _forwarding_signals(workers: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """Hands SIGTERM and SIGINT on: the workers save, and end together."""

    def forward(number: int, _: object) -> None:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    previous = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def console() -> None:
    """Entry of the console script."""
    run(main, takes_command=True)


if __name__ == "__main__":
    console()
