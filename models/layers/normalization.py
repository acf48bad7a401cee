"""Layer normalization with a gradient of few operations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("r2m")
class LayerNorm(keras.layers.Layer):
    """Layer normalization over the last axis, as Keras', for use inside a recurrence.

    The gradient is written out: differentiated one by one, the operations of Keras' layer take a
    fifth of the backward pass of a recurrent memory.

    Shapes: float[..., D] -> float[..., D]; statistics in float32.

    Example:
        ```python
        outputs = LayerNorm(name="norm")(inputs)
        ```

    Source: Ba et al. 2016 (arXiv 1607.06450).
    """

    def __init__(self, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        """Builds nothing yet; `epsilon` is added to the variance."""
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates scale (ones) and offset (zeros) float[D]."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes, scales and shifts: float[..., D] -> float[..., D]."""
        scale, offset = (tf.cast(tf.convert_to_tensor(v), tf.float32) for v in self.weights)
        outputs = _normalize(tf.cast(inputs, tf.float32), scale, offset, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


def _normalize(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    @tf.custom_gradient
    def run(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> Any:
        centered = x - _mean(x)
        factor = tf.math.rsqrt(_mean(tf.square(centered)) + epsilon)
        unit = centered * factor

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = list(range(x.shape.rank - 1))
            products = unit * upstream
            scaled = upstream * scale
            along = unit * _mean(products * scale)
            return (
                factor * (scaled - _mean(scaled) - along),
                tf.reduce_sum(products, batch),
                tf.reduce_sum(upstream, batch),
            )

        return unit * scale + offset, gradient

    return run(x, scale, offset)


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=-1, keepdims=True)
