"""How far a training is and how fast, shown while it runs; nothing of it is kept."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping

from absl import logging
from tqdm import tqdm


class Progress:
    """Shows how far the training is: a bar on a terminal, a log line per interval elsewhere."""

    def __init__(self, name: str, unit: str, first_step: int, steps: int, *, show: bool) -> None:
        """Starts at `first_step` of `steps`; `unit` is what the rows of a batch are called."""
        self._name, self._step, self._steps, self._show = name, first_step, steps, show
        self._unit = unit
        self._seconds, self._counted, self._rows = 0.0, 0, 0.0
        self._compiling = 0.0
        self._bar = tqdm(
            total=steps,
            initial=first_step,
            desc=name,
            unit="step",
            disable=not show or not sys.stderr.isatty(),
        )

    def advance(self, steps: int, rows: float, seconds: float, *, compiled: bool) -> None:
        """Counts steps on `rows` rows that took `seconds`.

        Those that were `compiled` first do not count for the speed.
        """
        self._step += steps
        self._bar.update(steps)
        if compiled:
            self._compiling += seconds
        else:
            self._seconds += seconds
            self._counted += steps
            self._rows += rows

    def report(self, metrics: Mapping[str, float]) -> None:
        """Shows metrics of the training, and the speed of the steps since the last report.

        What steps took that were compiled first is told apart.
        """
        seconds, steps, rows = self._seconds, self._counted, self._rows
        compiling = f"  compiling {self._compiling:.1f} s" if self._compiling else ""
        self._seconds, self._counted, self._rows, self._compiling = 0.0, 0, 0.0, 0.0
        speed = f"  {rows / seconds:,.0f} {self._unit}/s" if seconds else ""
        if not self._bar.disable:
            self._bar.set_postfix_str(_text(metrics) + speed + compiling)
        elif self._show:
            if seconds:
                left = datetime.timedelta(
                    seconds=round((self._steps - self._step) * seconds / steps)
                )
                speed = f"  {steps / seconds:.2f} steps/s{speed}  {left} left"
            text = _text(metrics) + speed + compiling
            logging.info("%s: step %d/%d  %s", self._name, self._step, self._steps, text)

    def report_evaluation(self, metrics: Mapping[str, float]) -> None:
        """Shows metrics of an evaluation."""
        if self._show:
            with tqdm.external_write_mode(sys.stderr):  # not into the bar
                logging.info("%s: evaluation at %d: %s", self._name, self._step, _text(metrics))

    def close(self) -> None:
        """Ends the display."""
        self._bar.close()


def _text(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
