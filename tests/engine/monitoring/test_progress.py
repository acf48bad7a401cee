"""Progress of a training, on a terminal and in a log."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from absl import logging
from engine_toys import run

from r2m.engine.monitoring.progress import Progress


class TestProgress:
    def report(self, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> str:
        lines: list[str] = []
        monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
        screen = io.StringIO()
        screen.isatty = lambda: terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stderr", screen)
        progress = Progress("toy", "sentences", 10, 40, show=True)
        progress.advance(2, 999.0, 100.0, compiled=True)
        progress.advance(4, 64.0, 0.5, compiled=False)
        progress.advance(2, 999.0, 20.0, compiled=True)  # another shape of batch
        progress.advance(2, 36.0, 0.5, compiled=False)
        progress.report({"loss": 0.25}, {})
        progress.close()
        return screen.getvalue() if terminal else lines[-1]

    def test_log_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        speed = "6.00 steps/s  100 sentences/s  0:00:03 left  compiling 120.0 s"
        assert self.report(monkeypatch, False) == f"toy: step 20/40  loss 0.25  {speed}"

    def test_bar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = self.report(monkeypatch, True)
        speed = "6.00 steps/s  100 sentences/s  0:00:03 left  compiling 120.0 s"
        assert f"\rtoy: step 20/40, loss 0.25  {speed} |" in shown
        assert shown.count("\n") == 1  # one line, at its end

    def lines(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[Progress], None]) -> list[str]:
        lines: list[str] = []
        monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
        with contextlib.closing(Progress("toy", "words", 0, 40, show=True)) as progress:
            act(progress)
        return lines

    def test_the_loss_is_shown_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        metrics = {"loss": 2.5, "gradient_norm": 1.0, "loss/xe": 2.51, "loss/words": 9.0}

        def act(progress: Progress) -> None:
            progress.report(metrics | {"learning_rate": 0.1}, {"xe": 1.0, "words": 0.0})
            progress.report(metrics, {"xe": 1.0, "words": 0.5})
            progress.report_evaluation({"loss": 2.5, "xe": 2.5, "bleu_4": 8.057e-15})

        assert self.lines(monkeypatch, act) == [
            "toy: step 0/40  loss 2.5  words 9",
            "toy: step 0/40  loss 2.5  xe 2.51  words 9",
            "toy: evaluation at 0: loss 2.5  bleu_4 0",
        ]

    def test_evaluations_count_for_the_time_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def act(progress: Progress) -> None:
            progress.advance(10, 10.0, 10.0, compiled=False)
            progress.report_evaluation({}, 20.0)
            progress.report({"loss": 1.0}, {})

        assert self.lines(monkeypatch, act)[-1].endswith("1.00 steps/s  1 words/s  0:01:30 left")


def test_rows_of_a_global_batch_are_counted_over_replicas(
    mirrored: tf.distribute.Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[float] = []
    monkeypatch.setattr(Progress, "advance", lambda self, _, rows, *__, **___: counted.append(rows))
    run(mirrored, tmp_path)
    assert sum(counted) == 24 // 4 * (4 + 3 + 1 + 5)
