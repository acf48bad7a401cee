"""Options and contexts that experiments of every kind derive from their configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any
from zlib import crc32

import keras
from absl import logging

from r2m.configuration.training_fields import PRECISIONS, option_values
from r2m.engine.durations import to_steps
from r2m.engine.options import TrainingOptions
from tfrecords.core.errors import InputError

TRAINING_SPLIT, VALIDATION_SPLIT = "train", "val"


@contextlib.contextmanager
def setting(name: str) -> Iterator[None]:
    """Converts a ValueError or TypeError of an options class to an `InputError` with `name`."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {error}") from error


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Sets the dtype policy of layers created in the context: `config.training.precision`."""
    if name not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise InputError(f"precision: unknown {name!r}; known: {known}")
    before = keras.config.dtype_policy()
    # A layer keeps the policy that was active when it was created.
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def stage_seed(config: Any, stage: str) -> int:
    """Derives a seed per stage, so that stages draw different random numbers."""
    seed: int = config.seed + crc32(stage.encode()) % 1_000
    return seed


def training_options(config: Any, stage: Any) -> TrainingOptions:
    """Returns the options to train a stage with, durations in steps.

    Args:
        config: configuration of the experiment with `seed`, `training` and `stages`.
        stage: the stage; `name`, `steps_per_epoch`, `best_metric` (name or None, `max` or `min`),
            `compiles` (whether XLA can compile its loss) and `compares_rows` (whether its loss
            requires the whole batch) are read.

    Raises:
        InputError: a setting is invalid.
    """
    own, training = config.stages[stage.name], config.training
    # All stages of an experiment share these settings; each stage uses those it supports.
    if training.jit and not stage.compiles:
        logging.warning("stage %s is not compiled: XLA cannot compile its loss", stage.name)
    micro_batches, at_once = training.micro_batches, training.at_once
    if micro_batches > 1 and stage.compares_rows:
        logging.warning(
            "stage %s does not divide batches into %d parts: its loss compares their rows",
            stage.name,
            micro_batches,
        )
        micro_batches = at_once = 1
    with setting(f"config.stages.{stage.name} or config.training"):
        steps = to_steps("steps", own.steps, steps_per_epoch=stage.steps_per_epoch)
        in_steps = partial(to_steps, steps_per_epoch=stage.steps_per_epoch, total=steps)
        options = option_values({**training, **own, "steps": steps}, in_steps)
        options |= {
            "jit": training.jit and stage.compiles,
            "micro_batches": micro_batches,
            "at_once": at_once,
            "checkpoint_every": options["evaluate_every"],
            "best_metric": stage.best_metric[0],
            "best_mode": stage.best_metric[1],
            "seed": stage_seed(config, stage.name),
        }
        return TrainingOptions(**options)
