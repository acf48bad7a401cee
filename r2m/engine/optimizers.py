"""Optimisers by name, and what happens to a gradient before it reaches one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from r2m.engine.options import TrainingOptions, chosen_settings
from r2m.engine.schedules import LearningRate


@keras.saving.register_keras_serializable(package="r2m")
class KirosAdam(keras.optimizers.Optimizer):
    """Adam as the visual-semantic embedding's released code has it (Kiros et al. 2014).

    The moments decay as Adam's, but their start at 0 is corrected as if they decayed by
    `1 - beta`, which is to say hardly at all:

        step = lr * sqrt(1 - (1 - beta_2)^t) / (1 - (1 - beta_1)^t) * m / (sqrt(v) + epsilon)

    so that the first few hundred steps are several times the learning rate (6.6 times at the
    12th of a constant gradient).
    """

    def __init__(
        self,
        learning_rate: Any = 2e-4,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **others: Any,
    ) -> None:
        """Takes what `keras.optimizers.Adam` takes, but `amsgrad`."""
        super().__init__(learning_rate=learning_rate, **others)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the two moments of each variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        correction = ops.sqrt(1 - ops.power(1 - self.beta_2, step))
        correction /= 1 - ops.power(1 - self.beta_1, step)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * gradient)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * ops.square(gradient))
        rate = ops.cast(learning_rate, variable.dtype) * correction
        self.assign_sub(variable, rate * m / (ops.sqrt(v) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


@dataclasses.dataclass(frozen=True)
class _Kind:
    make: Callable[..., keras.optimizers.Optimizer]
    settings: Mapping[str, Any]  # with their defaults


# Epsilon as in TensorFlow 1's Adam, which the published runs used (Keras' own default is 1e-7).
_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

OPTIMIZERS: dict[str, _Kind] = {
    "adam": _Kind(keras.optimizers.Adam, _ADAM),
    "adamw": _Kind(keras.optimizers.AdamW, _ADAM),
    "kiros_adam": _Kind(KirosAdam, _ADAM),
    # As Keras has them: epsilon is added below the root, Adagrad's sum begins with 0.1.
    "rmsprop": _Kind(keras.optimizers.RMSprop, {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7}),
    "sgd": _Kind(keras.optimizers.SGD, {"momentum": 0.0, "nesterov": False}),
    "adagrad": _Kind(keras.optimizers.Adagrad, {"epsilon": 1e-7}),
}

# These take the weights' decay out of the gradient and scale it by the learning rate alone.
_DECOUPLED = ("adamw",)


def make_optimizer(
    options: TrainingOptions,
    variables: Sequence[Any],
    learning_rate: LearningRate | None = None,
) -> keras.optimizers.Optimizer:
    """The optimiser, built for `variables`; call it inside `strategy.scope()`.

    Args:
        options: optimiser and its settings, learning rate and its schedule.
        variables: to be trained.
        learning_rate: as `options` say, for the caller to keep; None makes one.

    Raises:
        TrainingError: the optimiser is unknown or has no such setting, or as `LearningRate` does.
    """
    kinds = {name: kind.settings for name, kind in OPTIMIZERS.items()}
    settings = chosen_settings("optimizer", options.optimizer, options.optimizer_settings, kinds)
    if options.optimizer in _DECOUPLED:
        settings["weight_decay"] = options.weight_decay
    learning_rate = learning_rate or LearningRate(options)
    # Keras makes a plain number a variable, which belongs to the checkpoints' layout.
    rate = learning_rate if learning_rate.varies else options.learning_rate
    optimizer = OPTIMIZERS[options.optimizer].make(rate, **settings)
    # A lazy build inside the replica function fails under a strategy.
    optimizer.build(variables)
    return optimizer


def clip_and_decay(
    gradients: Sequence[tf.Tensor],
    variables: Sequence[Any],
    norm: tf.Tensor,
    options: TrainingOptions,
) -> list[tf.Tensor]:
    """Gradients as the optimiser takes them: clipped, then with the L2 term of the weight decay.

    Args:
        gradients: of the global batch, dense.
        variables: what each is the gradient of.
        norm: global norm of all gradients.
        options: clips by global norm, by value or not at all; a decoupled weight decay is not
            added here.

    Returns:
        As many tensors, of the same shapes.
    """
    gradients = list(gradients)
    if options.clip_global_norm is not None:
        scale = options.clip_global_norm / tf.maximum(norm, options.clip_global_norm)
        gradients = [gradient * scale for gradient in gradients]
    if options.clip_value is not None:
        bound = options.clip_value
        gradients = [tf.clip_by_value(gradient, -bound, bound) for gradient in gradients]
    if options.weight_decay and options.optimizer not in _DECOUPLED:
        gradients = [
            gradient + options.weight_decay * tf.cast(variable.value, gradient.dtype)
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
    return gradients
