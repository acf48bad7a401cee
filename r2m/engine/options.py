"""Options of a training run."""

from __future__ import annotations

import dataclasses
from typing import Any

from r2m.engine.known_settings import OPTIMIZERS, SCHEDULES
from r2m.engine.value_rules import (
    Rule,
    address,
    choice,
    duration,
    number,
    optional,
    switch,
    whole,
)
from r2m.engine.value_rules import name as any_name

# Options that may differ when a run is resumed: none changes the weights after a given step.
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
    # A nonfinite step changes nothing, and 'stop' never continues after it.
    "on_nonfinite",
    "max_skipped",
)

# Options that learning rate schedules depend on, which therefore must not differ either.
_FIXED_BY_SCHEDULE = {"cosine": ("steps",), "plateau": ("evaluate_every",)}


def _option(
    rule: Rule, default: Any = dataclasses.MISSING, *, in_config: Rule | None = None
) -> Any:
    """Defines an option.

    Args:
        rule: rule that its value must satisfy.
        default: its value where it is not given.
        in_config: rule of the same setting in a configuration, where that is another one.
    """
    metadata = {"rule": rule, "config_rule": in_config or rule}
    return dataclasses.field(default=default, metadata=metadata)


def _steps(
    least: int, default: Any = dataclasses.MISSING, *, none: bool = False, percent: bool = True
) -> Any:
    """Defines an option in steps, which a configuration may give as text such as "2 epochs".

    Args:
        least: smallest number of steps.
        default: its value where it is not given.
        none: whether it may be None.
        percent: whether a configuration may give it as "10%" of the stage's steps.
    """
    rule, in_config = whole(least), duration(least, percent=percent)
    if none:
        rule, in_config = optional(rule), optional(in_config)
    metadata = {"rule": rule, "config_rule": in_config, "in_steps": True}
    return dataclasses.field(default=default, metadata=metadata)


def _check(options: Any) -> None:
    """Raises ValueError if a value violates its option's rule."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if "rule" in field.metadata and (expected := field.metadata["rule"](value)):
            raise ValueError(f"training option {field.name}={value!r}: expected {expected}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Settings of the optimizer; None is the optimizer's own default.

    Attributes:
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squared gradients.
        epsilon: added to the square root of that mean or under it, depending on the optimizer.
        rho: decay of the mean of squared gradients in RMSprop.
        momentum: decay of the sum of steps.
        nesterov: whether to use Nesterov momentum.
    """

    beta_1: float | None = _option(optional(number(least=0, below=1)), None)
    beta_2: float | None = _option(optional(number(least=0, below=1)), None)
    epsilon: float | None = _option(optional(number(above=0)), None)
    rho: float | None = _option(optional(number(least=0, below=1)), None)
    momentum: float | None = _option(optional(number(least=0, below=1)), None)
    nesterov: bool | None = _option(optional(switch), None)

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        _check(self)
        if self.nesterov and not self.momentum:
            raise ValueError("training option nesterov=True needs a momentum above 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """Settings of the learning rate schedule; see `r2m.engine.optimization.schedules`.

    Attributes:
        name: a name of `r2m.engine.known_settings.SCHEDULES`.
        warm_up: steps during which the learning rate rises; 0 for none.
        decay_start: steps before the first decay.
        decay_every: steps between decays.
        decay_rate: factor of each decay.
        factor: factor of the whole schedule (noam), or of each reduction (plateau).
        model_size: width of the model.
        final_fraction: fraction of the learning rate at the end of the schedule.
        patience: evaluations without a new best before the learning rate is reduced.
        min_learning_rate: lower bound of the learning rate.
    """

    # The schedule itself rejects unknown names.
    name: str = _option(any_name, "constant", in_config=choice(*SCHEDULES))
    warm_up: int = _steps(0, 0)
    decay_start: int | None = _steps(0, None, none=True)
    decay_every: int | None = _steps(1, None, none=True)
    decay_rate: float | None = _option(optional(number(above=0, most=1)), None)
    factor: float | None = _option(optional(number(above=0)), None)
    model_size: int | None = _option(optional(whole(1)), None)
    final_fraction: float | None = _option(optional(number(least=0, most=1)), None)
    patience: int | None = _option(optional(whole(0)), None)
    min_learning_rate: float | None = _option(optional(number(least=0)), None)

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        _check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options that a stage is trained with.

    Each option has a rule for its values. The same rule applies to the option in a configuration,
    except that durations are in steps here (`r2m.engine.durations` converts others).

    Attributes:
        steps: total number of optimizer steps.
        learning_rate: initial learning rate of the schedule; schedule 'noam' does not use it.
        schedule: settings of the learning rate schedule.
        optimizer: a name of `r2m.engine.known_settings.OPTIMIZERS`.
        optimizer_settings: settings of that optimizer.
        weight_decay: L2 factor; `weight_decay * variable` is added to each clipped gradient. With
            'adamw' it is decoupled: `learning_rate * weight_decay * variable` is subtracted from
            each variable instead.
        clip_global_norm: largest global norm of the gradient; None disables this clipping.
        clip_value: largest magnitude of each entry of the gradient; None disables this clipping.
        ema_decay: decay of the moving average of the weights, which evaluations and the best
            checkpoint then use (`r2m.engine.optimization.averaging`); None keeps no average.
        micro_batches: number of parts that each replica's share of a batch is divided into; the
            objective stays the same. Computed one after the other, they save memory.
        at_once: number of these parts computed in parallel.
        jit: whether to compile loss and gradients with XLA.
        steps_per_loop: steps per graph call. The host works only between calls.
        log_every: steps between lines of metrics.jsonl.
        evaluate_every: steps between evaluations; 0 evaluates only at the end.
        checkpoint_every: steps between checkpoints; 0 saves only at the end.
        keep_checkpoints: number of latest checkpoints to keep.
        best_metric: evaluation metric that selects the best checkpoint; the lower `loss` breaks
            ties. None keeps no best checkpoint.
        best_mode: 'max' or 'min'.
        seed: seed of the Keras random layers (dropout) of the model.
        on_nonfinite: reaction to a loss or gradient that is not finite: 'stop', or 'skip' the
            step's batch (nothing is updated) and continue.
        max_skipped: maximum number of consecutive skipped steps.
        data_service: address of a process that makes the batches
            (`r2m.engine.distribution.batch_service`); None makes them here.
        show_progress: whether to show a progress bar on a terminal, or a log line per interval
            elsewhere.
    """

    steps: int = _steps(1, percent=False)
    learning_rate: float = _option(number(above=0), 1e-3)
    schedule: ScheduleOptions = ScheduleOptions()
    # `make_optimizer` rejects unknown names.
    optimizer: str = _option(any_name, "adam", in_config=choice(*OPTIMIZERS))
    optimizer_settings: OptimizerSettings = OptimizerSettings()
    weight_decay: float = _option(number(least=0), 0.0)
    clip_global_norm: float | None = _option(optional(number(above=0, most=1e30)), None)
    clip_value: float | None = _option(optional(number(above=0, most=1e30)), None)
    ema_decay: float | None = _option(optional(number(above=0, below=1)), None)
    micro_batches: int = _option(whole(1, 1_024), 1)
    at_once: int = _option(whole(1, 1_024), 1)
    jit: bool = _option(switch, False)
    steps_per_loop: int = _option(whole(1, 1_000_000), 10)
    log_every: int = _steps(1, 100)
    evaluate_every: int = _steps(0, 1000)
    checkpoint_every: int = _steps(0, 1000)
    keep_checkpoints: int = _option(whole(1), 2)
    best_metric: str | None = _option(optional(any_name), "cider")
    best_mode: str = _option(choice("max", "min"), "max")
    seed: int = _option(whole(0), 0)
    on_nonfinite: str = _option(choice("stop", "skip"), "stop")
    max_skipped: int = _option(whole(1), 3)
    # Other addresses are rejected when connecting to the service.
    data_service: str | None = _option(optional(any_name), None, in_config=optional(address))
    show_progress: bool = _option(switch, True)

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range, or values that contradict each other."""
        _check(self)
        if self.at_once > self.micro_batches:
            raise ValueError(
                f"training option at_once={self.at_once!r}: expected at most "
                f"micro_batches={self.micro_batches}"
            )
        if self.clip_global_norm is not None and self.clip_value is not None:
            raise ValueError(
                f"training options clip_global_norm={self.clip_global_norm!r} and "
                f"clip_value={self.clip_value!r}: expected one of them, the other None"
            )

    def fixed(self) -> dict[str, Any]:
        """Returns the options that must not differ when a run is resumed.

        Of the settings of optimizer and schedule, only those that differ from their defaults are
        included.
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
