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
        self._compiled = False
        self._bar = tqdm(
            total=steps,
            initial=first_step,
            desc=name,
            unit="step",
            disable=not show or not sys.stderr.isatty(),
        )

    def advance(self, steps: int, rows: float, seconds: float) -> None:
        """Counts steps on `rows` rows that took `seconds`.

        The first ones, which compile, do not count for the speed.
        """
        self._step += steps
        self._bar.update(steps)
        if self._compiled:
            self._seconds += seconds
            self._counted += steps
            self._rows += rows
            return
        self._compiled = True
        if self._show:
            logging.info("%s: first %d steps with compilation: %.1f s", self._name, steps, seconds)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Shows metrics of the training, and the speed of the steps since the last report."""
        seconds, steps, rows = self._seconds, self._counted, self._rows
        self._seconds, self._counted, self._rows = 0.0, 0, 0.0
        speed = f"  {rows / seconds:,.0f} {self._unit}/s" if seconds else ""
        if not self._bar.disable:
            self._bar.set_postfix_str(_text(metrics) + speed)
        elif self._show:
            if seconds:
                left = datetime.timedelta(
                    seconds=round((self._steps - self._step) * seconds / steps)
                )
                speed = f"  {steps / seconds:.2f} steps/s{speed}  {left} left"
            logging.info(
                "%s: step %d/%d  %s%s", self._name, self._step, self._steps, _text(metrics), speed
            )

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
