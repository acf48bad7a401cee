"""Dropout whose masks are fast to generate on CPUs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# Odd multipliers and shifts of the hash function (Ellis 2018, "lowbias32").
_FACTORS = (0x7FEB352D, 0x846CA68B)
_SHIFTS = (16, 15, 16)
# Spreads consecutive numbers over all 32 bits (2**32 divided by the golden ratio).
_SPREAD = 0x9E3779B1


@keras.saving.register_keras_serializable("r2m")
class Dropout(keras.layers.Dropout):
    """A replacement of Keras' Dropout that is four times as fast on a CPU.

    Keras draws each mask from a cryptographic counter-based generator. On a CPU this takes as long
    as the matrix product whose output is dropped. Here, numbers of that generator only seed an
    integer hash of the position, which vectorizes. Each hash decides about two entries, with 16
    bits per entry. The rate is thus rounded to a multiple of 1/65,536, and the scale of the kept
    entries corresponds to the rounded rate, so that the mean is unchanged.

    Shapes: float[...] -> float[...], of the dtype of the inputs.

    Example:
        ```python
        outputs = Dropout(0.1)(inputs, training=True)
        ```

    Source: Srivastava et al. 2014.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        """Builds the seed generator; see `keras.layers.Dropout`."""
        super().__init__(rate, **kwargs)
        self.autocast = False

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Sets random entries to 0 and scales the others, if in training: float[...]."""
        if not training or not self.rate:
            return inputs
        mask = dropout_mask(tf.shape(inputs), self.rate, self.seed_generator.next(), inputs.dtype)
        return _multiply(inputs, mask)


def dropout_mask(shape: tf.Tensor, rate: float, seed: Any, dtype: tf.DType) -> tf.Tensor:
    """Returns a dropout mask: 0 with probability `rate`, else `kept_factor(rate)`.

    Args:
        shape: shape of the mask.
        rate: dropout rate in 0..1.
        seed: two integers.
        dtype: dtype of the mask.
    """
    halves = _random_halves(tf.reduce_prod(shape), seed)
    kept = tf.reshape(halves >= tf.constant(_threshold(rate), tf.uint16), shape)
    return tf.cast(kept, dtype) * tf.cast(kept_factor(rate), dtype)


def kept_factor(rate: float) -> float:
    """Returns the scale of kept inputs, with which dropout does not change the mean."""
    return 65_536 / (65_536 - _threshold(rate))


def _threshold(rate: float) -> int:
    return min(round(rate * 65_536), 65_535)


@tf.custom_gradient
def _multiply(inputs: tf.Tensor, mask: tf.Tensor) -> Any:
    """Multiplies by a mask, without a gradient of the mask."""
    return inputs * mask, lambda upstream: (upstream * mask, None)


def _random_halves(count: tf.Tensor, seed: Any) -> tf.Tensor:
    """Returns uniform random numbers uint16[count], from a seed of two integers."""
    start = tf.random.stateless_uniform(
        [2], tf.cast(seed, tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    start = tf.bitcast(start, tf.uint32)
    x = tf.cast(tf.range((count + 1) // 2), tf.uint32)
    x = (x + start[0]) * tf.constant(_SPREAD, tf.uint32) + start[1]
    for factor, shift in zip((*_FACTORS, None), _SHIFTS, strict=True):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        if factor is not None:
            x *= tf.constant(factor, tf.uint32)
    return tf.reshape(tf.bitcast(x, tf.uint16), [-1])[:count]
