"""Dropout of whole rows: the size augmentation of visual-semantic embedding."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("r2m")
class RowDropout(keras.layers.Layer):
    """Removal of random rows of images in training; other rows keep their values and order.

    Shapes: rows float[B, L, D], lengths int32[B] (None if all rows are real) -> rows
    float[B, L', D], lengths int32[B].

    Example:
        ```python
        rows, lengths = RowDropout(0.2)(rows, lengths, training=True)
        ```

    Source: Chen et al. 2021, section 4 (VSE-infinity), and its code. Regions are removed with
    probability 0.2. For grids (`varies`), 80 % of the images draw u uniformly from 0.2..1, and each
    of their cells is removed with probability 0.2 u.
    """

    # If rates vary, the fraction of images that keep all rows. Draws u above it scale the rate.
    _UNCHANGED = 0.2

    def __init__(self, rate: float, *, varies: bool = False, **kwargs: Any) -> None:
        """Builds the seed generator.

        Args:
            rate: probability of removing a row.
            varies: whether each image draws its own rate; see the class.
            **kwargs: arguments of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.rate, self.varies = rate, varies
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(
        self, rows: tf.Tensor, lengths: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the remaining rows and their number per image, at least one."""
        if not training or not self.rate:
            return rows, lengths
        count, most = tf.unstack(tf.shape(rows)[:2])
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        draws = tf.random.stateless_uniform([count, most + 1], seed)
        rates = tf.fill([count, 1], self.rate)
        if self.varies:
            own = draws[:, -1:]
            rates = tf.where(own > self._UNCHANGED, self.rate * own, 0.0)
        real = tf.sequence_mask(tf.fill([count], most) if lengths is None else lengths, most)
        # If all rows would be removed, the row with the largest draw is kept.
        row_draws = tf.where(real, draws[:, :-1], -1.0)
        is_largest = row_draws >= tf.reduce_max(row_draws, axis=1, keepdims=True)
        kept = real & ((row_draws >= rates) | is_largest)
        numbers = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
        order = tf.argsort(tf.cast(~kept, tf.int32), axis=1, stable=True)
        return tf.gather(
            rows, order[:, : tf.maximum(tf.reduce_max(numbers), 1)], batch_dims=1
        ), numbers

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "varies": self.varies}
