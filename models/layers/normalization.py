"""Layer normalisation with a gradient of few operations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("r2m")
class LayerNorm(keras.layers.Layer):
    """Layer normalisation over the last axis, as Keras', for use inside a recurrence.

    The gradient is written out: differentiated one by one, the operations of Keras' layer take a
    fifth of the backward pass of a recurrent memory.

    Shapes: float[..., D] -> float[..., D]; statistics in float32. Source: Ba et al. 2016
    (arXiv 1607.06450).
    """

    def __init__(self, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        """Args: `epsilon`, added to the variance."""
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates scale (ones) and offset (zeros) float[D]."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises, scales and shifts."""
        scale, offset = (tf.cast(tf.convert_to_tensor(v), tf.float32) for v in self.weights)
        outputs = _normalise(tf.cast(inputs, tf.float32), scale, offset, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


def _normalise(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    @tf.custom_gradient
    def run(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> Any:
        centred = x - _mean(x)
        factor = tf.math.rsqrt(_mean(tf.square(centred)) + epsilon)
        unit = centred * factor

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = list(range(x.shape.rank - 1))
            products = unit * upstream
            wanted = upstream * scale
            along = unit * _mean(products * scale)
            return (
                factor * (wanted - _mean(wanted) - along),
                tf.reduce_sum(products, batch),
                tf.reduce_sum(upstream, batch),
            )

        return unit * scale + offset, gradient

    return run(x, scale, offset)


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=-1, keepdims=True)
