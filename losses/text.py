"""Losses over words: (sum, normaliser) pairs on real positions only."""

from __future__ import annotations

import tensorflow as tf

LossPair = tuple[tf.Tensor, tf.Tensor]


def real_positions(lengths: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Indices of the positions that hold a word.

    Args:
        lengths: int32[B].
        steps: T.

    Returns:
        int64[N, 2] of (row, step), row by row; N = sum of the lengths.
    """
    return tf.where(tf.sequence_mask(lengths, steps))


def cross_entropy(
    hidden: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor, lengths: tf.Tensor
) -> LossPair:
    """Cross entropy of the next words (Guo et al. 2020).

    The softmax is the greater part of a training step, and more than half of the positions of a
    batch are padding: only real positions reach it.

    Args:
        hidden: float[B, T, H].
        weights: float[V, H] of the softmax.
        bias: float[V].
        targets: int32[B, T], right-padded.
        lengths: int32[B], real words a row.

    Returns:
        The summed cross entropy float32[] in nats, and the number of words float32[].
    """
    positions = real_positions(lengths, tf.shape(targets)[1])
    rows = tf.gather_nd(hidden, positions)
    words = tf.gather_nd(targets, positions)
    logits = tf.cast(tf.matmul(rows, tf.cast(weights, rows.dtype), transpose_b=True), tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(words, logits + bias)
    return tf.reduce_sum(losses), tf.cast(tf.shape(words)[0], tf.float32)
