"""Progress of builds, evaluation and captioning, on a terminal and in a log."""

from __future__ import annotations

import io
import itertools
import sys
import time

import pytest
from absl import logging

from tfrecords.core import progress
from tfrecords.core.progress import CountProgress, shown_chunks


def test_a_live_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress.time, "monotonic", itertools.count(0, 2).__next__)
    with CountProgress("writing toys", 9, "parts", done=4) as shown:
        time.sleep(0.11)  # drawn ten times per second at most
        shown.add(3)
    text = screen.getvalue()
    assert "\rwriting toys: 4 of 9 parts |" in text
    assert "\rwriting toys: 7 of 9 parts, 90 parts/min  0:00:01 left |" in text
    assert "\n" not in text and text.rstrip(" \r").endswith("|")  # gone at the end


def test_lines_of_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
    seconds = iter([0.0, 10.0, 31.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    chunks = list(shown_chunks(range(700), 310, "captioning", "images"))
    assert [len(chunk) for chunk in chunks] == [310, 310, 80]
    assert lines == ["captioning: 620 of 700 images  20 images/s  0:00:04 left"]


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(logging, "info", lambda *_: pytest.fail("a line"))
    with CountProgress("writing toys", 9, "parts", show=False) as shown:
        shown.add(9)
