"""State of a run apart from its variables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from absl import logging

from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.text_tables import four_digits
from r2m.engine.optimization.schedules import schedule_settings
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import Evaluation
from r2m.engine.step import StepResults

# Evaluation metric that breaks ties of the best metric; less is better.
TIE_BREAK = "loss"
# Consecutive evaluations with the same best metric before a warning.
_CONSTANT = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """Result of a run.

    Attributes:
        step: number of steps.
        last_metrics: metrics of the last evaluation.
        best_metrics: metrics of the evaluation of the best checkpoint; empty without one.
        best_step: step of the best checkpoint; None without one.
    """

    step: int
    last_metrics: Mapping[str, float]
    best_metrics: Mapping[str, float]
    best_step: int | None


@dataclasses.dataclass(kw_only=True)
class RunState:
    """State of a run apart from its variables, saved in every checkpoint."""

    step: int = 0
    last_metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best_metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best_step: int | None = None
    # Consecutive evaluations with the same value of the best metric.
    equal_evaluations: int = 0
    # State of the plateau schedule: the factor of the learning rate, the best value of the metric
    # (negative if less is better) with its tie break, and the evaluations since.
    learning_rate_factor: float = 1.0
    plateau_best: float | None = None
    plateau_tie_break: float | None = None
    plateau_evaluations: int = 0
    # Steps skipped because they were not finite: total number, and the latest consecutive ones.
    skipped: int = 0
    skipped_in_a_row: int = 0
    # Sums over the other steps since the last line of the log, by name.
    steps: int = 0
    objective: float = 0.0
    gradient_norm: float = 0.0
    totals: dict[str, float] = dataclasses.field(default_factory=dict)
    # Checkpoints use this spelling.
    normalisers: dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, results: StepResults) -> None:
        """Adds the results of steps to the sums."""
        # Added step by step, so that sums do not depend on the grouping of steps into graph calls.
        for i, objective in enumerate(results.objective):
            if not results.finite[i]:
                self.skipped += 1
                self.skipped_in_a_row += 1
                continue
            self.skipped_in_a_row = 0
            self.steps += 1
            self.objective += float(objective)
            self.gradient_norm += float(results.gradient_norm[i])
            for name in results.totals:
                total = self.totals.get(name, 0.0) + float(results.totals[name][i])
                normalizer = self.normalisers.get(name, 0.0) + float(results.normalizers[name][i])
                self.totals[name], self.normalisers[name] = total, normalizer

    def pop_means(self) -> dict[str, float]:
        """Returns the metrics since the last call: per step, and per normalizer for the terms.

        `skipped`, only if not 0, is the number of steps skipped since the start.
        """
        steps = self.steps or math.nan  # all were skipped
        metrics = {"loss": self.objective / steps, "gradient_norm": self.gradient_norm / steps}
        if self.skipped:
            metrics["skipped"] = float(self.skipped)
        for name, total in self.totals.items():
            normalizer = self.normalisers[name]
            metrics[f"loss/{name}"] = total / normalizer if normalizer else 0.0
        self.steps, self.objective, self.gradient_norm = 0, 0.0, 0.0
        self.totals, self.normalisers = {}, {}
        return metrics

    def record_evaluation(self, evaluation: Evaluation, options: TrainingOptions) -> bool:
        """Records an evaluation; returns whether it is the best one so far.

        The lower `TIE_BREAK` decides between equal values of the best metric. Without it the later
        evaluation is better, so that a constant metric does not keep the initial weights.
        """
        metrics = {name: float(value) for name, value in evaluation.metrics.items()}
        before, self.last_metrics = self.last_metrics, metrics
        key = options.best_metric
        if key is None:
            return False
        if key not in metrics:
            raise TrainingError(
                f"best_metric={key!r} is not among the evaluation's metrics: "
                f"{', '.join(sorted(metrics)) or 'none'}"
            )
        if not math.isfinite(metrics[key]):
            logging.warning("%s is %s at step %d: ignored for best", key, metrics[key], self.step)
            return False
        self._watch_for_constant(key, before.get(key))
        if self.best_step is not None:
            rank, best = _rank(metrics, options), _rank(self.best_metrics, options)
            undecided = rank == best and rank[1] is None
            if not (undecided or _exceeds(rank, best)):
                return False
        self.best_metrics, self.best_step = metrics, self.step
        return True

    def _watch_for_constant(self, key: str, before: float | None) -> None:
        """Warns once of a best metric that is constant across evaluations."""
        value = self.last_metrics[key]
        self.equal_evaluations = self.equal_evaluations + 1 if value == before else 1
        if self.equal_evaluations != _CONSTANT:
            return
        if key == TIE_BREAK:
            kept = "the first of them"
        elif TIE_BREAK in self.last_metrics:
            kept = f"the one with the lowest {TIE_BREAK}"
        else:
            kept = "the last of them"
        logging.warning(
            "%s was %s at each of the last %d evaluations: it cannot select the best weights, "
            "and best/ contains %s. If it stays constant, validate on more examples, and more "
            "varied ones",
            key, four_digits(value), _CONSTANT, kept,
        )  # fmt: skip

    def watch_plateau(self, options: TrainingOptions) -> None:
        """Reduces the learning rate's factor after an evaluation, if the schedule is `plateau`.

        Only evaluations every `evaluate_every` steps count, not one at the end of a run; otherwise
        an extended run would differ from a run that was long from the start.
        """
        if options.schedule.name != "plateau" or options.best_metric is None:
            return
        if self.step % options.evaluate_every:
            return
        rank = _rank(self.last_metrics, options)
        best = None if self.plateau_best is None else (self.plateau_best, self.plateau_tie_break)
        if math.isfinite(rank[0]) and (best is None or _exceeds(rank, best)):
            (self.plateau_best, self.plateau_tie_break), self.plateau_evaluations = rank, 0
            return
        self.plateau_evaluations += 1
        settings = schedule_settings(options)
        if self.plateau_evaluations > settings["patience"]:
            self.plateau_evaluations = 0
            least = settings["min_learning_rate"] / options.learning_rate
            reduced = max(self.learning_rate_factor * settings["factor"], least)
            self.learning_rate_factor = min(self.learning_rate_factor, reduced)
            logging.info(
                "no better %s: learning rate times %s from step %d on",
                options.best_metric, four_digits(self.learning_rate_factor), self.step,
            )  # fmt: skip

    def summary(self) -> TrainingSummary:
        """Returns the result for the caller of `train`."""
        return TrainingSummary(
            step=self.step,
            last_metrics=self.last_metrics,
            best_metrics=self.best_metrics,
            best_step=self.best_step,
        )


# Rank of an evaluation, more is better: the best metric, then the tie break or None.
_Rank = tuple[float, "float | None"]


def _rank(metrics: Mapping[str, float], options: TrainingOptions) -> _Rank:
    assert options.best_metric is not None
    sign = 1 if options.best_mode == "max" else -1
    tie_break = -metrics.get(TIE_BREAK, math.nan)
    return sign * metrics[options.best_metric], tie_break if math.isfinite(tie_break) else None


def _exceeds(rank: _Rank, other: _Rank) -> bool:
    if rank[0] != other[0] or rank[1] is None:
        return rank[0] > other[0]
    return other[1] is None or rank[1] > other[1]
