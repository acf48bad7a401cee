"""Execution of jobs in an Apache Beam pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from absl import logging

from tfrecords.core.errors import InputError


@dataclass(frozen=True)
class Beam:
    """An Apache Beam pipeline for each pass (extra `[beam]`), which may run on many machines.

    All machines need this package, and access to sources and records under the same paths.

    Attributes:
        runner: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...
        options: options of the pipeline, as on Beam's command line: `--direct_num_workers=4`.
    """

    runner: str = "DirectRunner"
    options: tuple[str, ...] = ()


def run_in_beam(
    job: Callable[[Any], Any], arguments: Sequence[Any], runner: Beam, description: str
) -> None:
    """Calls `job` on every argument in a Beam pipeline and waits for its completion.

    The results are not returned: see `tfrecords.core.runners`.

    Raises:
        InputError: Beam is not installed, the runner is unknown, an option is wrong, or a job
            failed (with the message of that job).
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"--runner={runner.runner} needs Apache Beam ({error}): pip install 'r2m[beam]'"
        ) from error
    logging.info("%s: %d jobs by Beam's %s", description, len(arguments), runner.runner)
    try:
        options = PipelineOptions(list(runner.options), runner=runner.runner)
        with beam.Pipeline(options=options) as pipeline:
            (
                pipeline
                | "jobs" >> beam.Create(list(enumerate(arguments)))
                # Otherwise a runner may fuse all jobs into one bundle, on one worker.
                | "spread" >> beam.Reshuffle()
                | description >> beam.Map(_call, job)
            )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"Beam's {runner.runner} did not finish {description!r}: {_cause(error)}. The same "
            "command resumes after the finished parts"
        ) from error


def _call(numbered: tuple[int, Any], job: Callable[[Any], Any]) -> int:
    number, argument = numbered
    job(argument)
    return number


def _cause(error: BaseException) -> str:
    """Returns the line with the cause: Beam's message contains the whole trace of its worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
