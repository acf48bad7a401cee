"""Execution of independent jobs in this process, in several, or in an Apache Beam pipeline.

Every pass of a build is a list of independent jobs. A job stores its result in files. If it is
called again, it finds them and returns immediately. This makes interrupted builds resumable, and
lets the planning process find the results of Beam workers on other machines.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from typing import TypeVar

from tfrecords.core.beam import Beam, run_in_beam
from tfrecords.core.errors import InputError
from tfrecords.core.progress import CountProgress

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Local:
    """Processes on this machine.

    They are spawned, not forked, because TensorFlow's threads may be running in this process. The
    main module must be importable (guard scripts with `__name__`). The processes end when this
    process dies, even if it is killed.

    Attributes:
        workers: number of processes; 1 runs everything in this process.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        """Raises InputError for less than one worker."""
        if self.workers < 1:
            raise InputError(f"workers must be at least 1, found {self.workers}")


Runner = Local | Beam
IN_THIS_PROCESS = Local()


def run_jobs(
    job: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    *,
    runner: Runner,
    description: str,
    progress: bool = True,
    already_done: int = 0,
) -> list[Result]:
    """Calls `job` on every argument and returns the results in the order of the arguments.

    Job, arguments and results must be picklable, unless they stay in this process.

    Args:
        job: the function to run; with Beam it is called again here, to find the results.
        arguments: arguments of the calls, one each.
        runner: local processes or Beam.
        description: text of the progress line: "writing flickr8k".
        progress: whether to show a live line on a terminal and log lines elsewhere.
        already_done: number of parts finished by an earlier run.

    Raises:
        InputError: a worker process was killed, or Beam or its runner cannot be used.
        Exception: the first error of a job; running jobs are finished first, waiting jobs are not
            started.
    """
    if isinstance(runner, Beam):
        if arguments:
            run_in_beam(job, arguments, runner, description)
        return [job(argument) for argument in arguments]
    workers = min(runner.workers, len(arguments))
    total = len(arguments) + already_done
    with CountProgress(description, total, "parts", done=already_done, show=progress) as shown:
        if workers > 1:
            return _run_in_processes(job, arguments, workers, shown)
        results = []
        for argument in arguments:
            results.append(job(argument))
            shown.add()
        return results


def _run_in_processes(
    job: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    workers: int,
    shown: CountProgress,
) -> list[Result]:
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        futures: list[Future[Result]] = [executor.submit(job, argument) for argument in arguments]
        for future in as_completed(futures):
            future.result()
            shown.add()
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed or could not start (out of memory? a script without an "
            '`if __name__ == "__main__"` guard?). Use fewer workers and run the same command '
            "again: finished parts are kept"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # Control-C is sent to the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with_parent, args=(parent.sentinel,), daemon=True).start()


def _end_with_parent(sentinel: int) -> None:
    # Otherwise a worker of a killed parent would wait for work forever.
    wait_for([sentinel])
    os._exit(1)
