"""Moving average of the weights, used for evaluations and the best checkpoint.

After each optimizer step `average += (1 - d) * (weights - average)` with

    d = min(decay, (1 + t) / (10 + t)),  t = steps done, this one included

as in `tf.train.ExponentialMovingAverage`. The average starts with the initial weights; the small
decay of the first steps, instead of a bias correction, removes their influence. Only trained
variables are averaged; all others have their values after the last step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf


class WeightAverage:
    """Moving average of variables; without a decay it does nothing."""

    def __init__(self, decay: float | None, variables: Mapping[str, Any]) -> None:
        """Creates the averages; call inside `strategy.scope()`, and `start` before the first step.

        Args:
            decay: `TrainingOptions.ema_decay`.
            variables: name -> trained variable.
        """
        self._decay = decay
        self._strategy = tf.distribute.get_strategy()
        self._variables = dict(variables) if decay is not None else {}
        self._averages = {
            name: keras.Variable(
                "zeros", shape=variable.shape, dtype=variable.dtype, trainable=False
            )
            for name, variable in self._variables.items()
        }

    @property
    def tensors(self) -> dict[str, Any]:
        """Averages by their names in a checkpoint, `ema/<name>`."""
        return {f"ema/{name}": average for name, average in self._averages.items()}

    def start(self) -> None:
        """Sets the averages to the current weights."""
        for name, variable in self._variables.items():
            self._averages[name].assign(variable.numpy())

    @tf.autograph.experimental.do_not_convert
    def update(self, steps: Any, taken: tf.Tensor) -> None:
        """Updates each replica's averages after a step; call it outside a replica context.

        Args:
            steps: int scalar, number of optimizer steps.
            taken: bool scalar, whether the step was taken; otherwise nothing is updated.
        """
        if self._decay is None:
            return
        t = tf.cast(tf.convert_to_tensor(steps), tf.float32)
        rest = 1.0 - tf.minimum((1.0 + t) / (10.0 + t), self._decay)
        rest = tf.where(taken, rest, 0.0)
        for name, variable in self._variables.items():
            self._strategy.extended.update(
                self._averages[name].value, _approach, args=(variable.value, rest), group=False
            )

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Sets the variables to their averages inside the context."""
        raw = {name: variable.numpy() for name, variable in self._variables.items()}
        for name, variable in self._variables.items():
            variable.assign(self._averages[name].numpy())
        try:
            yield
        finally:
            for name, variable in self._variables.items():
                variable.assign(raw[name])


def _approach(average: tf.Variable, weights: tf.Tensor, rest: tf.Tensor) -> tf.Operation:
    return average.assign_add(tf.cast(rest, average.dtype) * (weights - average))
