"""Log lines of the scripts."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from absl import logging as absl_logging
from tqdm import tqdm

from r2m.cli.log_lines import use_short_lines


def test_lines_are_short_and_above_the_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = absl_logging.get_absl_handler().python_handler
    formatter, stream = handler.formatter, handler.stream
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    use_short_lines()
    try:
        with tqdm(total=2, bar_format="live line {n_fmt}", mininterval=0) as line:
            line.update()
            for level, text in ((logging.INFO, "built"), (logging.WARNING, "left out")):
                handler.emit(logging.LogRecord("absl", level, "x.py", 1, text, (), None))
    finally:
        handler.setFormatter(formatter)
        handler.setStream(stream)
    shown = [part for part in re.split(r"[\r\n]", screen.getvalue()) if part.strip()]
    logged = [part for part in shown if not part.startswith("live line")]
    times, texts = zip(*(part.split(" ", 1) for part in logged), strict=True)
    assert texts == ("built", "warning: left out")
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", time) for time in times)
    assert shown[-1] == "live line 1"
