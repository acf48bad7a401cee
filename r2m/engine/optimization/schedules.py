"""Learning rate schedules: functions of the step.

`t` is the number of steps before the current one, 0 at the first step; skipped steps do not count.
With `w` steps of `warm_up`, every schedule except Noam's is multiplied by min(1, (t + 1) / w).

| schedule | learning rate | settings, with defaults |
|---|---|---|
| constant | lr | |
| step | lr * decay_rate^floor((t - decay_start) / decay_every), lr before decay_start | `decay_start` 0, `decay_every`, `decay_rate` 0.8 |
| noam | factor * d^-0.5 * min(s^-0.5, s * w^-1.5), s = t + 1, d = model_size; no lr | `factor` 1, `model_size` |
| cosine | lr * (f + (1 - f) * (1 + cos(pi * p)) / 2), p = (t - w) / (steps - w), f = final_fraction | `final_fraction` 0 |
| plateau | lr * factor^(reductions so far), not below min_learning_rate | `factor` 0.5, `patience` 3, `min_learning_rate` 0 |

`step` with periods in whole epochs changes at the start of an epoch, as in the self-critical
captioning code; Noam's is from Vaswani et al. 2017, section 5.3. `plateau` reduces the rate at the
first evaluation after `patience` consecutive ones that were not better than the best before them.
"""  # noqa: E501 (a table)

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from r2m.engine.errors import TrainingError
from r2m.engine.known_settings import SCHEDULES, chosen_settings
from r2m.engine.options import TrainingOptions


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of a run, for its optimizer (in the graph) and its log.

    Attributes:
        varies: whether it is not constant.
    """

    def __init__(self, options: TrainingOptions) -> None:
        """Reads the schedule of `options`; call it inside `strategy.scope()`.

        Raises:
            TrainingError: the schedule is unknown, has no such setting, lacks one, or contradicts
                the other options.
        """
        schedule = options.schedule
        self._settings = schedule_settings(options)
        self._name, self._warm_up = schedule.name, schedule.warm_up
        self._base, self._steps = options.learning_rate, options.steps
        self.varies = schedule.name != "constant" or schedule.warm_up > 0
        self._factor = tf.Variable(
            1.0,
            dtype=tf.float64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="learning_rate_factor",
        )

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate, a float64 scalar, of the step after `step` steps."""
        # In float64, so that the log shows the given numbers.
        t = tf.cast(tf.convert_to_tensor(step), tf.float64)
        if self._name == "noam":
            return self._noam(t)
        rate = self._base * self._curve(t)
        if self._warm_up:
            rate *= tf.minimum((t + 1.0) / self._warm_up, 1.0)
        return rate

    def set_factor(self, factor: float) -> None:
        """Sets the factor of the plateau schedule: `RunState.learning_rate_factor`."""
        self._factor.assign(factor)

    def last(self, steps: int) -> float:
        """Returns the learning rate of the last of `steps` steps, with the current factor.

        For zero steps it is that of the first step.
        """
        return float(self(max(steps - 1, 0)))

    def get_config(self) -> dict[str, Any]:
        """Returns the schedule and its settings, for display only."""
        return {"schedule": self._name, "warm_up": self._warm_up, **self._settings}

    def _curve(self, t: tf.Tensor) -> tf.Tensor:
        settings = self._settings
        if self._name == "step":
            periods = tf.floor((t - settings["decay_start"]) / settings["decay_every"])
            rate = tf.constant(settings["decay_rate"], tf.float64)
            return tf.pow(rate, tf.maximum(periods, 0.0))
        if self._name == "cosine":
            done = (t - self._warm_up) / (self._steps - self._warm_up)
            wave = (1.0 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0))) / 2.0
            final = settings["final_fraction"]
            return final + (1.0 - final) * wave
        if self._name == "plateau":
            return self._factor.read_value()
        return tf.ones([], tf.float64)

    def _noam(self, t: tf.Tensor) -> tf.Tensor:
        s = t + 1.0
        scale = self._settings["factor"] * self._settings["model_size"] ** -0.5
        return scale * tf.minimum(s**-0.5, s * self._warm_up**-1.5)


def schedule_settings(options: TrainingOptions) -> dict[str, Any]:
    """Returns all settings of the schedule of `options`, by name.

    Raises:
        TrainingError: see `LearningRate`.
    """
    schedule = options.schedule
    settings = chosen_settings("schedule", schedule.name, schedule, SCHEDULES)
    if schedule.name == "noam" and not schedule.warm_up:
        raise TrainingError("schedule 'noam' needs warm_up: the steps up to its peak")
    if schedule.name == "cosine" and schedule.warm_up >= options.steps:
        raise TrainingError(
            f"schedule 'cosine' with warm_up={schedule.warm_up} has no steps left to decay in, of "
            f"{options.steps}: choose a smaller config.training.schedule.warm_up"
        )
    if schedule.name == "plateau":
        if settings["factor"] >= 1:
            raise TrainingError(f"schedule 'plateau': factor={settings['factor']}, expected < 1")
        if options.best_metric is None or not options.evaluate_every:
            raise TrainingError(
                "schedule 'plateau' watches the best_metric of the evaluations, but "
                f"best_metric={options.best_metric!r} and evaluate_every={options.evaluate_every}; "
                "give it both, or choose another schedule"
            )
    return settings
