"""Reconstruction loss of alignment; the triplet loss is in `losses.ranking`."""

from __future__ import annotations

import tensorflow as tf

LossPair = tuple[tf.Tensor, tf.Tensor]


def mean_square(reconstructed: tf.Tensor, original: tf.Tensor) -> LossPair:
    """Computes the squared error between r and v (Guo et al. 2020).

    Args:
        reconstructed: float[B, H].
        original: float[B, H].

    Returns:
        The sum over all elements float32[] and their number float32[]: the quotient is upstream's
        mean over batch and features.
    """
    difference = tf.cast(reconstructed, tf.float32) - tf.cast(original, tf.float32)
    return tf.reduce_sum(tf.square(difference)), tf.cast(tf.size(difference), tf.float32)
