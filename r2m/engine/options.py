"""Options of a training run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

# What may differ when a run is resumed: none of these changes the weights after a given step.
CHANGEABLE = (
    "steps",
    "steps_per_loop",
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "keep_checkpoints",
    "show_progress",
    "at_once",
    "data_service",
    # A step that is not finite changes nothing, and 'stop' never gets past it.
    "on_nonfinite",
    "max_skipped",
)

# What a schedule of the learning rate depends on, which then may not differ either.
_FIXED_BY_SCHEDULE = {"cosine": ("steps",), "plateau": ("evaluate_every",)}


def _require(options: Any, name: str, holds: Callable[[Any], bool], expected: str) -> None:
    value = getattr(options, name)
    optional = type(options).__dataclass_fields__[name].default is None
    if not (optional and value is None) and not holds(value):
        raise ValueError(f"training option {name}={value!r}: expected {expected}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Settings of the optimizer; None is the optimizer's own default.

    Attributes:
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squared gradients.
        epsilon: added to the root of that mean, or below the root, as the optimizer has it.
        rho: decay of the mean of squared gradients, of RMSprop.
        momentum: decay of the sum of steps.
        nesterov: looks one step of the momentum ahead.
    """

    beta_1: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    rho: float | None = None
    momentum: float | None = None
    nesterov: bool | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("beta_1", "beta_2", "rho", "momentum"):
            _require(self, name, lambda value: 0 <= value < 1, "0 or more and below 1")
        _require(self, "epsilon", lambda value: 0 < value < math.inf, "above 0")
        if self.nesterov and not self.momentum:
            raise ValueError("training option nesterov=True needs a momentum above 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """Settings of the learning rate schedule; see `r2m.engine.optimization.schedules`.

    Attributes:
        name: a name of `r2m.engine.optimization.known_settings.SCHEDULES`.
        warm_up: steps that the learning rate rises in; 0 for none.
        decay_start: steps before the first decay.
        decay_every: steps between decays.
        decay_rate: factor of each decay.
        factor: of the whole schedule (noam), or of each reduction (plateau).
        model_size: width of the model.
        final_fraction: of the learning rate, where the schedule ends.
        patience: evaluations without a new best that are passed over.
        min_learning_rate: is not reduced further.
    """

    name: str = "constant"
    warm_up: int = 0
    decay_start: int | None = None
    decay_every: int | None = None
    decay_rate: float | None = None
    factor: float | None = None
    model_size: int | None = None
    final_fraction: float | None = None
    patience: int | None = None
    min_learning_rate: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("warm_up", "decay_start", "patience", "min_learning_rate"):
            _require(self, name, lambda value: 0 <= value < math.inf, "0 or more")
        for name in ("decay_every", "model_size"):
            _require(self, name, lambda value: value >= 1, "at least 1")
        _require(self, "factor", lambda value: 0 < value < math.inf, "above 0")
        _require(self, "decay_rate", lambda value: 0 < value <= 1, "above 0 and at most 1")
        _require(self, "final_fraction", lambda value: 0 <= value <= 1, "0 to 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options that a stage is trained with.

    Periods are in steps (`r2m.engine.optimization.durations` reads others).

    Attributes:
        steps: optimizer steps in all.
        learning_rate: what the schedule starts from; the one of name 'noam' does not use it.
        schedule: how the learning rate changes.
        optimizer: a name of `r2m.engine.optimization.known_settings.OPTIMIZERS`.
        optimizer_settings: of that optimizer.
        weight_decay: L2 factor; `weight_decay * variable` is added to each clipped gradient. With
            'adamw' it is decoupled: `learning_rate * weight_decay * variable` is taken off each
            variable instead.
        clip_global_norm: largest global norm of the gradient; None does not clip by it.
        clip_value: largest magnitude of each entry of the gradient; None does not clip by it.
        ema_decay: of the moving average of the weights, which evaluations and the best checkpoint
            then use (`r2m.engine.optimization.averaging`); None keeps no average.
        micro_batches: parts that each replica's share of a batch is computed in; the objective
            stays the same. One after the other they save memory.
        at_once: how many of these parts are computed side by side.
        jit: compiles loss and gradients with XLA.
        steps_per_loop: steps in one graph call. The host works only between loops.
        log_every: steps between lines of metrics.jsonl.
        evaluate_every: steps between evaluations; 0 evaluates only at the end.
        checkpoint_every: steps between checkpoints; 0 saves only at the end.
        keep_checkpoints: how many of the latest are kept.
        best_metric: the evaluation metric that the best checkpoint is chosen by, ties by the lower
            `loss`; None keeps none.
        best_mode: 'max' or 'min'.
        seed: of the Keras random layers (dropout) of the model.
        on_nonfinite: what to do when a loss or gradient is not finite: 'stop', or 'skip' the step's
            batch (nothing is updated) and go on.
        max_skipped: how many steps in a row may be skipped.
        data_service: address of a process that makes the batches
            (`r2m.engine.distribution.batch_service`); None makes them here.
        show_progress: a progress bar on a terminal, a log line per interval elsewhere.
    """

    steps: int
    learning_rate: float = 1e-3
    schedule: ScheduleOptions = ScheduleOptions()
    optimizer: str = "adam"
    optimizer_settings: OptimizerSettings = OptimizerSettings()
    weight_decay: float = 0.0
    clip_global_norm: float | None = None
    clip_value: float | None = None
    ema_decay: float | None = None
    micro_batches: int = 1
    at_once: int = 1
    jit: bool = False
    steps_per_loop: int = 10
    log_every: int = 100
    evaluate_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    best_metric: str | None = "cider"
    best_mode: str = "max"
    seed: int = 0
    on_nonfinite: str = "stop"
    max_skipped: int = 3
    data_service: str | None = None
    show_progress: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("steps", "micro_batches", "at_once", "steps_per_loop", "log_every",
                     "keep_checkpoints"):  # fmt: skip
            _require(self, name, lambda value: value >= 1, "at least 1")
        most = self.micro_batches
        _require(self, "at_once", lambda value: value <= most, f"at most micro_batches={most}")
        for name in ("evaluate_every", "checkpoint_every", "seed"):
            _require(self, name, lambda value: value >= 0, "0 or more")
        _require(self, "weight_decay", lambda value: 0 <= value < math.inf, "0 or more")
        _require(self, "learning_rate", lambda value: 0 < value < math.inf, "above 0")
        for name in ("clip_global_norm", "clip_value"):
            _require(self, name, lambda value: value > 0, "above 0 or None")
        if self.clip_global_norm is not None and self.clip_value is not None:
            raise ValueError(
                f"training options clip_global_norm={self.clip_global_norm!r} and "
                f"clip_value={self.clip_value!r}: expected one of them, the other None"
            )
        _require(self, "ema_decay", lambda value: 0 < value < 1, "above 0 and below 1, or None")
        _require(self, "best_mode", lambda value: value in ("max", "min"), "'max' or 'min'")
        _require(self, "on_nonfinite", lambda value: value in ("stop", "skip"), "'stop' or 'skip'")
        _require(self, "max_skipped", lambda value: value >= 1, "at least 1")

    def fixed(self) -> dict[str, Any]:
        """The options that must not differ when a run is resumed.

        Of the optimizer's settings and of the schedule only what is not at its default is named.
        """
        changeable = set(CHANGEABLE).difference(_FIXED_BY_SCHEDULE.get(self.schedule.name, ()))
        options = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in changeable
        }
        for name in ("optimizer_settings", "schedule"):
            options[name] = _changed(options[name])
        return options


def _changed(options: Any) -> dict[str, Any] | None:
    fields = ((field, getattr(options, field.name)) for field in dataclasses.fields(options))
    return {field.name: value for field, value in fields if value != field.default} or None
