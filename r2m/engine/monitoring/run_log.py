"""Log of a run: metrics.jsonl and TensorBoard events.

Their contents do not depend on the clock, so that a resumed run writes the same files as an
uninterrupted one. Speed is only reported by `r2m.engine.monitoring.progress`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import tensorflow as tf

from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.hparams import write_hparams
from r2m.engine.monitoring.metrics_file import METRICS, read_metrics
from r2m.engine.persistence.durable_files import clear_write_errors, sync, write_bytes
from r2m.engine.stage import Evaluation


class RunLog:
    """Writer of a run's metrics from a given step on; a context manager.

    Lines and events of later steps, left by a run that was killed after its last checkpoint, are
    removed first.
    """

    def __init__(
        self, workdir: Path, first_step: int, hparams: Mapping[str, Any] | None = None
    ) -> None:
        """Opens the log of `workdir` to continue after `first_step` steps.

        Args:
            workdir: folder of the run.
            first_step: number of steps in the log; 0 starts a new one.
            hparams: settings for TensorBoard's HParams tab, written to a new log.
        """
        self._path = workdir / METRICS
        with clear_write_errors(workdir):
            self._open(workdir, first_step, hparams)

    def _open(self, workdir: Path, first_step: int, hparams: Mapping[str, Any] | None) -> None:
        # Data logged before the first step will be logged again.
        last_step = first_step or -1
        _cut_metrics(self._path, last_step)
        for path in sorted(workdir.glob("events.out.tfevents.*")):
            _cut_events(path, last_step)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._events = tf.summary.create_file_writer(str(workdir))
        if first_step == 0 and hparams is not None:
            with self._events.as_default():
                write_hparams(hparams, workdir)

    def __enter__(self) -> RunLog:
        """Returns self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the files."""
        os.close(self._file)
        try:
            with clear_write_errors(self._path.parent):
                self._events.close()
        except TrainingError:
            if value is None:  # otherwise the first error is reported
                raise

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of the steps up to `step`."""
        self._write("train", step, metrics)

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Adds an evaluation."""
        self._write("evaluation", step, evaluation.metrics)
        with self._writing_events(step):
            for tag, text in evaluation.texts.items():
                tf.summary.text(f"evaluation/{tag}", text)
            for tag, images in evaluation.images.items():
                tf.summary.image(f"evaluation/{tag}", images, max_outputs=len(images))
            for tag, values in evaluation.histograms.items():
                tf.summary.histogram(f"evaluation/{tag}", values)

    def best(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes, for TensorBoard only, the metrics of the best evaluation so far."""
        with self._writing_events(step):
            for name, value in metrics.items():
                tf.summary.scalar(f"best/{name}", value)

    def flush(self) -> None:
        """Waits until everything is on disk: a checkpoint must never be newer than the log."""
        with clear_write_errors(self._path.parent):
            self._events.flush()
            os.fsync(self._file)

    @contextlib.contextmanager
    def _writing_events(self, step: int) -> Iterator[None]:
        with clear_write_errors(self._path.parent), self._events.as_default(step):
            yield

    def _write(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        # JSON has no NaN.
        values = {name: float(v) if math.isfinite(v) else None for name, v in metrics.items()}
        line = json.dumps({"step": step, "kind": kind, **values}) + "\n"
        # One write call: a killed process leaves at most one incomplete line, which is removed on
        # resume.
        with clear_write_errors(self._path):
            unwritten = line.encode()
            while unwritten:  # an almost full disk accepts only a part at first
                unwritten = unwritten[os.write(self._file, unwritten) :]
        with self._writing_events(step):
            for name, value in metrics.items():
                tf.summary.scalar(f"{kind}/{name}", value)


class NoLog:
    """Log of the workers that write nothing, with the methods of `RunLog`."""

    def __enter__(self) -> NoLog:
        """Returns self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Does nothing."""

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Does nothing."""

    def best(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""


def _cut_metrics(path: Path, last_step: int) -> None:
    if path.is_file():
        kept = [line for line in read_metrics(path.parent) if line["step"] <= last_step]
        write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _cut_events(path: Path, last_step: int) -> None:
    kept = []
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if tf.compat.v1.Event.FromString(record).step <= last_step:
                kept.append(record)
    except tf.errors.DataLossError:
        # Only the last record of a killed process is incomplete.
        pass
    if len(kept) < 2:  # the first record contains only the format of the file
        path.unlink()
        return
    # TensorBoard treats every file with "tfevents" in its name as an event file.
    unfinished = path.with_name(".unfinished-events")
    with tf.io.TFRecordWriter(str(unfinished)) as writer:
        for record in kept:
            writer.write(record)
    sync(unfinished)
    unfinished.replace(path)
