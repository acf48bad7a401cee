"""The options of a training run."""

from __future__ import annotations

import dataclasses
import math
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
    # A step that is not finite changes nothing, and 'stop' never gets past it.
    "on_nonfinite",
    "max_skipped",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a stage is trained. Periods are in steps.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: constant.
        optimizer: a name of `r2m.engine.optimizers.OPTIMIZERS`.
        weight_decay: L2 factor; `weight_decay * variable` is added to each clipped gradient.
        clip_global_norm: largest global norm of the gradient; None does not clip.
        steps_per_loop: steps in one graph call. The host works only between loops.
        log_every: steps between lines of metrics.jsonl.
        evaluate_every: steps between evaluations; 0 evaluates only at the end.
        checkpoint_every: steps between checkpoints; 0 saves only at the end.
        keep_checkpoints: how many of the latest are kept.
        best_metric: the evaluation metric that the best checkpoint is chosen by; None keeps none.
        best_mode: 'max' or 'min'.
        seed: of the Keras random layers (dropout) of the model.
        on_nonfinite: what to do when a loss or gradient is not finite: 'stop', or 'skip' the step's
            batch (nothing is updated) and go on.
        max_skipped: how many steps in a row may be skipped.
        show_progress: a progress bar on a terminal, a log line per interval elsewhere.
    """

    steps: int
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip_global_norm: float | None = None
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
    show_progress: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("steps", "steps_per_loop", "log_every", "keep_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("evaluate_every", "checkpoint_every", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "above 0")
        if self.clip_global_norm is not None:
            self._require("clip_global_norm", self.clip_global_norm > 0, "above 0 or None")
        self._require("best_mode", self.best_mode in ("max", "min"), "'max' or 'min'")
        self._require("on_nonfinite", self.on_nonfinite in ("stop", "skip"), "'stop' or 'skip'")
        self._require("max_skipped", self.max_skipped >= 1, "at least 1")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ValueError(f"training option {name}={value!r}: expected {expected}")

    def fixed(self) -> dict[str, Any]:
        """The options that must not differ when a run is resumed."""
        options = dataclasses.asdict(self)
        return {name: value for name, value in options.items() if name not in CHANGEABLE}
