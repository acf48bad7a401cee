"""Sentence BLEU-4 of generated captions as TensorFlow operations."""

from __future__ import annotations

import tensorflow as tf

from losses.ngram_counts import MAX_ORDER, NgramCounts, Sentences

# As in the COCO caption evaluation: precisions are (correct + _TINY) / (guessed + _SMALL).
_TINY, _SMALL = 1e-15, 1e-9


def sentence_bleu(sentences: Sentences, counts: NgramCounts) -> tf.Tensor:
    """Computes BLEU-4 of each single caption, as in the COCO caption evaluation.

    The geometric mean of the clipped precisions of the orders 1 to 4, times exp(1 - r / c) for a
    caption of c words below the length r of its closest reference (the shorter of two equally close
    ones).

    Args:
        sentences: captions and references.
        counts: their n-grams, from `count_ngrams`.

    Returns:
        float32[B, S], 0 to 1; 0 without references.
    """
    captions = sentences.captions
    sizes, references = sentences.lengths[:, :captions], sentences.lengths[:, captions:]
    most = tf.reduce_max(tf.pad(counts.in_references, [[0, 0]] * 4 + [[1, 0]]), axis=-1)
    own = counts.own[:, :, :captions]
    orders = tf.range(1, MAX_ORDER + 1)[:, None, None]
    possible = tf.maximum(sizes - orders + 1, 0)  # n-grams of each caption
    # Each occurrence gets its share of the clipped count of its n-gram.
    there = tf.sequence_mask(possible, tf.shape(own)[3])
    correct = tf.reduce_sum(tf.where(there, tf.minimum(own, most) / own, 0.0), axis=3)
    guessed = tf.cast(possible, tf.float32)
    log_precision = tf.reduce_mean(tf.math.log((correct + _TINY) / (guessed + _SMALL)), axis=0)
    closest = tf.cast(_closest(sizes, references), tf.float32)
    ratio = (tf.cast(sizes, tf.float32) + _TINY) / (closest + _SMALL)
    brevity = tf.minimum(1.0 - 1.0 / ratio, 0.0)
    found = tf.exp(log_precision + brevity)
    return tf.where(tf.reduce_any(references > 0, axis=1, keepdims=True), found, 0.0)


def _closest(sizes: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Returns the length int32[B, S] of the closest of references int32[B, R], 0 for none."""
    theirs = references[:, None, :]
    absent = tf.fill(tf.shape(theirs), tf.int32.max)
    apart = tf.where(theirs > 0, tf.abs(theirs - sizes[:, :, None]), absent)
    nearest = apart == tf.reduce_min(apart, axis=2, keepdims=True)
    return tf.reduce_min(tf.where(nearest, theirs, absent), axis=2)
