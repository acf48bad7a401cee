"""Losses of human-written captions: (sum, normalizer) pairs on real positions only."""

from __future__ import annotations

import math

import tensorflow as tf

from losses import text
from losses.text import LossPair


def caption_loss(
    hidden: tf.Tensor,
    weights: tf.Tensor,
    bias: tf.Tensor,
    targets: tf.Tensor,
    lengths: tf.Tensor,
    *,
    smoothing: float = 0.0,
    drop_worst: tf.Tensor | float | None = None,
) -> LossPair:
    """Computes the cross entropy of the next words of captions, end marker included.

    Args:
        hidden: float[N, T, H].
        weights: float[V, H] of the softmax.
        bias: float[V].
        targets: int32[N, T], right-padded.
        lengths: int32[N], real words per caption.
        smoothing: epsilon; the target is 1 - epsilon on the word and epsilon / (V - 1) on the
            others, and the loss is the divergence from it.
        drop_worst: fraction of the captions, those with the largest mean losses, that is left out
            per replica. None keeps all.

    Returns:
        The sum float32[] in nats, and the number of words float32[].
    """
    steps = tf.shape(targets)[1]
    positions = text.real_positions(lengths, steps)
    words = tf.gather_nd(targets, positions)
    rows = tf.gather_nd(hidden, positions)
    if smoothing:
        losses = smoothed_losses(rows, weights, bias, words, smoothing)
    else:
        losses = text.word_losses(rows, weights, bias, words)
    if drop_worst is None:
        return tf.reduce_sum(losses), tf.cast(tf.shape(words)[0], tf.float32)
    captions = tf.shape(lengths)[0]
    sums = tf.math.unsorted_segment_sum(losses, positions[:, 0], captions)
    counts = tf.cast(lengths, tf.float32)
    means = tf.math.divide_no_nan(sums, counts)
    _, best = tf.math.top_k(-means, kept_captions(captions, drop_worst))
    return tf.reduce_sum(tf.gather(sums, best)), tf.reduce_sum(tf.gather(counts, best))


def kept_captions(captions: tf.Tensor, drop_worst: tf.Tensor | float) -> tf.Tensor:
    """Returns the number int32[] of captions that remain without the fraction `drop_worst`."""
    return tf.cast(tf.math.round((1.0 - drop_worst) * tf.cast(captions, tf.float32)), tf.int32)


def smoothed_losses(
    rows: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor, words: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """Computes KL(target || softmax(W h + b)) with label smoothing, per word.

    Args:
        rows: hidden states float[N, H].
        weights: float[V, H].
        bias: float[V].
        words: int32[N].
        smoothing: epsilon, above 0 and below 1.

    Returns:
        float32[N], in nats; 0 if the model's distribution equals the target.
    """
    product = tf.matmul(rows, tf.cast(weights, rows.dtype), transpose_b=True)
    log_p = tf.nn.log_softmax(tf.cast(product, tf.float32) + tf.cast(bias, tf.float32))
    size = tf.cast(tf.shape(log_p)[1], tf.float32)
    other = smoothing / (size - 1.0)
    entropy = (1.0 - smoothing) * math.log(1.0 - smoothing) + smoothing * tf.math.log(other)
    at_word = tf.gather(log_p, words, batch_dims=1)
    return entropy - (1.0 - smoothing - other) * at_word - other * tf.reduce_sum(log_p, -1)
