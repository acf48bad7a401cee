"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from r2m.engine.errors import TrainingError
from r2m.engine.options import TrainingOptions

# Epsilon as in TensorFlow 1's Adam, which the published runs used (Keras' own default is 1e-7).
OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adam": lambda learning_rate: keras.optimizers.Adam(learning_rate, epsilon=1e-8),
}


def make_optimizer(
    options: TrainingOptions, variables: Sequence[Any]
) -> keras.optimizers.Optimizer:
    """The optimiser, built for `variables`; call it inside `strategy.scope()`.

    Raises:
        TrainingError: the optimiser is unknown.
    """
    if options.optimizer not in OPTIMIZERS:
        known = ", ".join(sorted(OPTIMIZERS))
        raise TrainingError(f"unknown optimizer {options.optimizer!r}; the known ones: {known}")
    optimizer = OPTIMIZERS[options.optimizer](options.learning_rate)
    # A lazy build inside the replica function fails under a strategy.
    optimizer.build(variables)
    return optimizer
