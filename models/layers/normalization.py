"""Normalizations of the last axis, with a custom gradient of few operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, get_args

import keras
import tensorflow as tf

from models.layers.precision import at_least_float32

NormKind = Literal["layer", "unbiased", "rms"]

# (mean square s float32[..., 1], D) -> the factor f(s) of the entries, and -2 f'(s) / f(s), which
# the gradient uses and which the code calls slope.
_Factor = Callable[[tf.Tensor, int], tuple[tf.Tensor, tf.Tensor]]


class _Norm(keras.layers.Layer):
    """Normalization with a scale and an optional offset; statistics in at least float32."""

    default_epsilon: ClassVar[float]
    centered: ClassVar[bool] = True

    def __init__(self, *, epsilon: float | None = None, **kwargs: Any) -> None:
        """Builds nothing yet; `epsilon` None is the default of the class."""
        super().__init__(**kwargs)
        self.epsilon = self.default_epsilon if epsilon is None else epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates scale (ones) and offset (zeros) float[D]."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = (
            self.add_weight(name="beta", shape=shape, initializer="zeros")
            if self.centered
            else None
        )

    def factor(self, square: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factor of the entries for a mean square, and its slope; see `_Factor`."""
        raise NotImplementedError

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes, scales and shifts: float[..., D] -> float[..., D]."""
        wide = at_least_float32(inputs)
        scale, *offset = (tf.cast(tf.convert_to_tensor(v), wide.dtype) for v in self.weights)
        outputs = _normalize(wide, scale, *offset, factor=self.factor, centered=self.centered)
        return tf.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("r2m")
class LayerNorm(_Norm):
    """Layer normalization, as in PyTorch and Keras: a (x - mean) / sqrt(variance + epsilon) + b.

    It has a custom gradient: the gradients of the single operations of Keras' layer take a fifth of
    the time of the backward pass of a recurrent memory.

    Shapes: float[..., D] -> float[..., D]; statistics in at least float32.

    Example:
        ```python
        outputs = LayerNorm(name="norm")(inputs)
        ```

    Source: Ba et al. 2016 (arXiv 1607.06450).
    """

    default_epsilon = 1e-5

    def factor(self, square: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factor of the entries for a mean square, and its slope; see `_Factor`."""
        del size
        factor = tf.math.rsqrt(square + self.epsilon)
        return factor, factor


@keras.saving.register_keras_serializable("r2m")
class UnbiasedLayerNorm(_Norm):
    """Layer normalization by the sample standard deviation: a (x - mean) / (s + epsilon) + b.

    s is the square root of the sum of squared deviations divided by D - 1. Epsilon is added to s,
    not to the variance.

    Shapes: float[..., D] -> float[..., D]; statistics in at least float32.

    Example:
        ```python
        outputs = UnbiasedLayerNorm(name="norm")(inputs)
        ```

    Source: "The Annotated Transformer" and self-critical.pytorch after it.
    """

    default_epsilon = 1e-6

    def factor(self, square: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factor of the entries for a mean square, and its slope; see `_Factor`."""
        unbiased = size / max(size - 1, 1)
        deviation = tf.sqrt(unbiased * square)
        return 1.0 / (deviation + self.epsilon), tf.math.divide_no_nan(unbiased, deviation)


@keras.saving.register_keras_serializable("r2m")
class RootMeanSquareNorm(_Norm):
    """Root mean square (RMS) normalization: a x / (rms + epsilon).

    Shapes: float[..., D] -> float[..., D]; statistics in at least float32.

    Example:
        ```python
        outputs = RootMeanSquareNorm(name="norm")(inputs)
        ```

    Source: Zhang and Sennrich 2019 (arXiv 1910.07467).
    """

    default_epsilon = 1e-8
    centered = False

    def factor(self, square: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factor of the entries for a mean square, and its slope; see `_Factor`."""
        del size
        root = tf.sqrt(square)
        return 1.0 / (root + self.epsilon), tf.math.divide_no_nan(1.0, root)


_CLASSES: dict[str, type[_Norm]] = {
    "layer": LayerNorm,
    "unbiased": UnbiasedLayerNorm,
    "rms": RootMeanSquareNorm,
}


def build_norm(kind: NormKind, units: int, name: str, dtype: Any = None) -> _Norm:
    """Returns a built normalization layer for float[..., units].

    Args:
        kind: `layer`, `unbiased` (layer normalization by the sample standard deviation) or `rms`.
        units: D.
        name: name of the layer.
        dtype: its Keras dtype policy.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in _CLASSES:
        raise ValueError(f"unknown norm {kind!r}; known: {', '.join(get_args(NormKind))}")
    norm = _CLASSES[kind](name=name, dtype=dtype)
    norm.build((None, units))
    return norm


def _normalize(
    x: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor | None = None,
    *,
    factor: _Factor,
    centered: bool,
) -> tf.Tensor:
    def run(x: tf.Tensor, scale: tf.Tensor, *offset: tf.Tensor) -> Any:
        deviations = x - _mean(x) if centered else x
        own, slope = factor(_mean(tf.square(deviations)), x.shape[-1])
        unit = deviations * own

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            batch = list(range(x.shape.rank - 1))
            products = unit * upstream
            scaled = upstream * scale
            if centered:
                scaled -= _mean(scaled)
            return (
                own * scaled - unit * (slope * _mean(products * scale)),
                tf.reduce_sum(products, batch),
                *(tf.reduce_sum(upstream, batch) for _ in offset),
            )

        outputs = unit * scale
        return (outputs + offset[0] if offset else outputs), gradient

    return tf.custom_gradient(run)(x, scale, *(() if offset is None else (offset,)))


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=-1, keepdims=True)
