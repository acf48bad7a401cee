"""Display of progress and speed during training."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping

from absl import logging
from tqdm import tqdm

from r2m.engine.monitoring.text_tables import four_digits

_TERM = "loss/"
# Only in metrics.jsonl and TensorBoard, not in log lines.
_NOT_SHOWN = ("gradient_norm", "learning_rate")


class Progress:
    """Progress of a training: one live line on a terminal, a log line per interval elsewhere.

    Evaluations get a log line in both cases.
    """

    def __init__(self, name: str, unit: str, first_step: int, steps: int, *, show: bool) -> None:
        """Starts at `first_step` of `steps`; `unit` is the name of the rows of a batch."""
        self._name, self._first, self._step, self._steps = name, first_step, first_step, steps
        self._show, self._unit = show, unit
        self._seconds, self._counted, self._rows = 0.0, 0, 0.0
        self._compiling, self._evaluating = 0.0, 0.0
        # From the last interval, if known.
        self._metrics, self._speed, self._per_step = "", "", 0.0
        self._line = tqdm(
            total=steps,
            initial=first_step,
            desc=name,
            disable=not show or not sys.stderr.isatty(),
            bar_format="{desc}: step {n_fmt}/{total_fmt}{postfix} |{bar}|",
            postfix="compiling the first step",
            dynamic_ncols=True,
            # Drawn by no other thread, and on the same line as evaluations.
            miniters=1,
            position=0,
            leave=True,
        )

    def advance(self, steps: int, rows: float, seconds: float, *, compiled: bool) -> None:
        """Counts steps on `rows` rows with a duration of `seconds`.

        Steps whose call `compiled` a program are excluded from the speed.
        """
        self._step += steps
        if compiled:
            self._compiling += seconds
        else:
            self._seconds += seconds
            self._counted += steps
            self._rows += rows
        if not self._line.disable:
            # Until the first interval ends, the speed is that of the steps so far.
            if not self._speed:
                self._measure()
            self._line.set_postfix_str(self._text(), refresh=False)
            self._line.update(steps)

    def report(self, metrics: Mapping[str, float], weights: Mapping[str, float]) -> None:
        """Shows metrics of the training, and the speed of the steps since the last report.

        Compile time is shown separately.

        Args:
            metrics: `loss`, `loss/TERM` and others. A single term with a weight equals the loss and
                is left out, as are the norm of the gradient and the learning rate.
            weights: weights of the terms of the loss, by name.
        """
        weighted = [name for name, weight in weights.items() if weight]
        hidden = {*_NOT_SHOWN, *(_TERM + name for name in weighted if len(weighted) == 1)}
        self._metrics = _shown(
            {
                name.removeprefix(_TERM): value
                for name, value in metrics.items()
                if name not in hidden
            }
        )
        self._measure()
        text = self._text() + (f"  compiling {self._compiling:.1f} s" if self._compiling else "")
        self._seconds, self._counted, self._rows, self._compiling = 0.0, 0, 0.0, 0.0
        if not self._line.disable:
            self._line.set_postfix_str(text)
        elif self._show:
            logging.info("%s: step %d/%d  %s", self._name, self._step, self._steps, text)

    def report_evaluation(self, metrics: Mapping[str, float], seconds: float = 0.0) -> None:
        """Shows metrics of an evaluation that took `seconds`, the loss under one name only.

        The estimate of the remaining time assumes the previous rate of evaluations per step.
        """
        self._evaluating += seconds
        if self._show and metrics:
            loss = metrics.get("loss")
            once = {n: v for n, v in metrics.items() if n == "loss" or v != loss}
            logging.info("%s: evaluation at %d: %s", self._name, self._step, _shown(once))

    def close(self) -> None:
        """Ends the display."""
        self._line.close()

    def _measure(self) -> None:
        if self._seconds:
            self._per_step = self._seconds / self._counted
            speed = f"{self._counted / self._seconds:.2f} steps/s"
            self._speed = f"{speed}  {self._rows / self._seconds:,.0f} {self._unit}/s"

    def _text(self) -> str:
        parts = [self._metrics]
        if self._speed:
            done = max(self._step - self._first, 1)
            left = (self._steps - self._step) * (self._per_step + self._evaluating / done)
            parts.append(self._speed)
            if left:
                parts.append(f"{datetime.timedelta(seconds=round(left))} left")
        return "  ".join(part for part in parts if part)


def _shown(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {four_digits(value)}" for name, value in metrics.items())
