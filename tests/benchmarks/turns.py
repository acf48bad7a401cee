"""Harness that compares implementations of the same work, which take turns in processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

# An interpreter with PyTorch, which the project does not install.
TORCH_PYTHON = os.environ.get("R2M_TORCH_PYTHON")
TURNS = 1 + 8  # the first compiles

# Runs one turn of an implementation; returns the amount of work done.
Way = Callable[[int], int]
# Runs one turn in a process; returns the work per second.
Turn = Callable[[int], float]


@contextlib.contextmanager
def apart(way: Callable[[], Way]) -> Iterator[Turn]:
    """Runs an implementation in a separate process; yields a function that takes a turn."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(way, there), daemon=True)
    process.start()
    there.close()

    def take(turn: int) -> float:
        here.send(turn)
        found: float = here.recv()
        return found

    try:
        yield take
        here.send(None)
        process.join()
    finally:
        process.kill()


def serve(way: Callable[[], Way], orders: Connection) -> None:
    """Runs a turn for each number that is received; sends the work per second."""
    run = way()
    while (turn := orders.recv()) is not None:
        started = time.perf_counter()
        done = run(turn)
        orders.send(done / (time.perf_counter() - started))


def serve_lines(run: Way) -> None:
    """Runs a turn for each input line; prints the work per second."""
    for turn, _ in enumerate(sys.stdin):
        started = time.perf_counter()
        done = run(turn)
        print(done / (time.perf_counter() - started), flush=True)


@contextlib.contextmanager
def by_script(script: str, *arguments: str) -> Iterator[Turn]:
    """Runs a script of this folder under TORCH_PYTHON, which takes a turn per input line."""
    assert TORCH_PYTHON is not None
    with subprocess.Popen(
        [TORCH_PYTHON, str(Path(__file__).with_name(script)), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def take(turn: int) -> float:
            print(turn, file=orders, flush=True)
            return float(answers.readline())

        yield take
        orders.close()


def compare(
    title: str, ways: Mapping[str, Callable[[], contextlib.AbstractContextManager[Turn]]]
) -> None:
    """Alternates the turns of all ways; prints their speeds and the ratio of the first to each."""
    with contextlib.ExitStack() as stack:
        takes = {name: stack.enter_context(start()) for name, start in ways.items()}
        found: dict[str, list[float]] = {name: [] for name in takes}
        for turn in range(TURNS):
            for name, take in takes.items():
                found[name].append(take(turn))
    speeds = {name: np.array(each[1:]) for name, each in found.items()}
    ours = np.median(next(iter(speeds.values())))
    for name, each in speeds.items():
        middle = np.median(each)
        print(
            f"\n{title}, {name}: median {middle:.1f}/s, best {each.max():.1f}/s; ours is "
            f"{ours / middle:.2f} times as fast",
            end="",
        )
