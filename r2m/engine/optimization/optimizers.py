"""Optimizers by name, gradient clipping and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from r2m.engine.known_settings import OPTIMIZERS, chosen_settings
from r2m.engine.optimization.schedules import LearningRate
from r2m.engine.options import TrainingOptions


@keras.saving.register_keras_serializable(package="r2m")
class Adam(keras.optimizers.Adam):
    """Keras' Adam with one fused operation per variable and its two moments.

    Keras' implementation passes over every variable about thirteen times, which takes a twentieth
    of a training step with a large vocabulary. Source: Kingma and Ba 2014, with the epsilon of
    section 2.1.
    """

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the two moments of each variable; raises ValueError for `amsgrad`."""
        if self.amsgrad:
            raise ValueError("amsgrad is not supported: use keras.optimizers.Adam")
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable by one step."""
        index = self._get_variable_index(variable)
        steps = tf.cast(tf.convert_to_tensor(self.iterations) + 1, variable.dtype)
        powers = [tf.pow(tf.cast(base, variable.dtype), steps) for base in self._correction_bases]
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )

    @property
    def _correction_bases(self) -> tuple[float, float]:
        """Decay per step of each moment that the bias correction assumes."""
        return self.beta_1, self.beta_2


@keras.saving.register_keras_serializable(package="r2m")
class KirosAdam(Adam):
    """Adam as in the released code of the visual-semantic embedding (Kiros et al. 2014).

    The moments decay as in Adam, but the bias correction assumes a decay of `1 - beta`, and so has
    almost no effect:

        step = lr * sqrt(1 - (1 - beta_2)^t) / (1 - (1 - beta_1)^t) * m / (sqrt(v) + epsilon)

    so that the first few hundred steps are several times the learning rate (6.6 times at the 12th
    step with a constant gradient).
    """

    @property
    def _correction_bases(self) -> tuple[float, float]:
        return 1 - self.beta_1, 1 - self.beta_2


def _handle(variable: Any) -> tf.Tensor:
    """Returns the resource handle of a variable, on the current replica if there are several."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


_CLASSES: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": Adam,
    "adamw": Adam,  # with decoupled weight decay, see `_DECOUPLED`
    "kiros_adam": KirosAdam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
    "adagrad": keras.optimizers.Adagrad,
}

# These keep the weight decay out of the gradient and scale it only by the learning rate.
_DECOUPLED = ("adamw",)


def make_optimizer(
    options: TrainingOptions,
    variables: Sequence[Any],
    learning_rate: LearningRate | None = None,
    factors: Sequence[float] | None = None,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer, built for `variables`; call it inside `strategy.scope()`.

    Args:
        options: optimizer and its settings, learning rate and its schedule.
        variables: variables to be trained.
        learning_rate: learning rate that `options` describe, kept by the caller; None makes one.
        factors: factors of the learning rate per variable; None is 1 for all. They do not apply to
            a decoupled weight decay.

    Raises:
        TrainingError: the optimizer is unknown or has no such setting; or see `LearningRate`.
    """
    settings = chosen_settings(
        "optimizer", options.optimizer, options.optimizer_settings, OPTIMIZERS
    )
    if options.optimizer in _DECOUPLED:
        settings["weight_decay"] = options.weight_decay
    learning_rate = learning_rate or LearningRate(options)
    # Keras converts a plain number to a variable, which is part of the checkpoint layout.
    rate = learning_rate if learning_rate.varies else options.learning_rate
    optimizer = _CLASSES[options.optimizer](rate, **settings)
    # A lazy build inside the replica function fails under a strategy.
    optimizer.build(variables)
    if factors is not None and set(factors) != {1.0}:
        _scale_updates(optimizer, factors)
    return optimizer


def _scale_updates(optimizer: keras.optimizers.Optimizer, factors: Sequence[float]) -> None:
    """Makes the optimizer scale the learning rate by a factor per variable."""
    plain = optimizer.update_step

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = factors[optimizer._get_variable_index(variable)]
        plain(gradient, variable, learning_rate * factor)

    optimizer.update_step = update_step


def clip_and_decay(
    gradients: Sequence[tf.Tensor],
    variables: Sequence[Any],
    norm: tf.Tensor,
    options: TrainingOptions,
) -> list[tf.Tensor]:
    """Clips gradients, then adds the L2 term of the weight decay.

    Args:
        gradients: gradients of the global batch, dense.
        variables: variables that the gradients belong to.
        norm: global norm of all gradients.
        options: clipping by global norm, by value or none; a decoupled weight decay is not added
            here.

    Returns:
        As many tensors, of the same shapes.
    """
    gradients = list(gradients)
    if options.clip_global_norm is not None:
        scale = options.clip_global_norm / tf.maximum(norm, options.clip_global_norm)
        gradients = [gradient * scale for gradient in gradients]
    if options.clip_value is not None:
        bound = options.clip_value
        # tf.clip_by_value passes over the gradients twice.
        gradients = [
            tf.raw_ops.ClipByValue(
                t=gradient,
                clip_value_min=tf.constant(-bound, gradient.dtype),
                clip_value_max=tf.constant(bound, gradient.dtype),
            )
            for gradient in gradients
        ]
    if options.weight_decay and options.optimizer not in _DECOUPLED:
        gradients = [
            gradient + options.weight_decay * tf.cast(variable.value, gradient.dtype)
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
    return gradients
