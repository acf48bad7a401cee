"""Losses over words: (sum, normalizer) pairs on real positions only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

LossPair = tuple[tf.Tensor, tf.Tensor]


def real_positions(lengths: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Returns the indices of the positions that contain a word.

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
    """Computes the cross entropy of the next words (Guo et al. 2020).

    The softmax takes most of a training step, and more than half of the positions of a batch are
    padding. Therefore it is computed only for real positions.

    Args:
        hidden: float[B, T, H].
        weights: float[V, H] of the softmax.
        bias: float[V].
        targets: int32[B, T], right-padded.
        lengths: int32[B], real words per row.

    Returns:
        The summed cross entropy float32[] in nats, and the number of words float32[].
    """
    positions = real_positions(lengths, tf.shape(targets)[1])
    words = tf.gather_nd(targets, positions)
    losses = word_losses(tf.gather_nd(hidden, positions), weights, bias, words)
    return tf.reduce_sum(losses), tf.cast(tf.shape(words)[0], tf.float32)


@tf.custom_gradient
def word_losses(
    rows: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor, words: tf.Tensor
) -> tuple[tf.Tensor, Callable[..., Any]]:
    """Computes -log softmax(W h + b)[word] per word.

    It reads the N x V logits as few times as possible: on a CPU, TensorFlow's cross entropy takes
    six times as long as its softmax, and another pass scales its gradient.

    Args:
        rows: hidden states h float[N, H].
        weights: W float[V, H].
        bias: b float32[V].
        words: int32[N].

    Returns:
        float32[N], in nats.
    """
    cast_weights = tf.cast(weights, rows.dtype)
    logits = tf.cast(tf.matmul(rows, cast_weights, transpose_b=True), tf.float32)
    logits = tf.nn.bias_add(logits, bias)  # fused with the product, unlike a plain sum
    probabilities = tf.nn.softmax(logits)
    chosen = tf.gather(probabilities, words, batch_dims=1)

    def of_all() -> tf.Tensor:
        # The largest logit's probability is exp(largest - log sum exp), and never near 0.
        log_sum = tf.reduce_max(logits, 1) - tf.math.log(tf.reduce_max(probabilities, 1))
        return log_sum - tf.gather(logits, words, batch_dims=1)

    losses = tf.cond(tf.reduce_all(chosen > 1e-30), lambda: -tf.math.log(chosen), of_all)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, None]:
        # The gradient of the logits is p - 1 at the word and p elsewhere. In float32 the 1 is
        # subtracted from the products, which are smaller than p. Half-precision products would be
        # rounded first.
        late = rows.dtype == tf.float32
        places, errors = words[:, None], probabilities
        if not late:
            ones = tf.one_hot(words, tf.shape(probabilities)[1])
            errors = tf.cast(probabilities - ones, rows.dtype)
        scale = tf.cast(upstream, rows.dtype)[:, None]
        for_rows = tf.matmul(errors, cast_weights)
        for_weights = tf.matmul(errors, scale * rows, transpose_a=True)
        if late:
            for_rows -= tf.gather(cast_weights, words)
            for_weights = tf.tensor_scatter_nd_sub(for_weights, places, scale * rows)
        for_bias = tf.matmul(upstream[None], probabilities)[0]
        for_bias = tf.tensor_scatter_nd_sub(for_bias, places, upstream)
        return scale * for_rows, tf.cast(for_weights, weights.dtype), for_bias, None

    return losses, gradient
