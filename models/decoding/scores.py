"""Scores of captions: log p divided by a length penalty."""

from __future__ import annotations

import tensorflow as tf

from models.decoding.options import DecodingOptions

# log p of impossible words and of empty places.
IMPOSSIBLE = -1e9


def score(log_probs: tf.Tensor, lengths: tf.Tensor | int, options: DecodingOptions) -> tf.Tensor:
    """Divides log p by a penalty that increases with the length.

    Args:
        log_probs: float32[...]; impossible values are returned unchanged.
        lengths: lengths of the captions, end markers included; broadcast to `log_probs`.
        options: `length_penalty` and `length_normalization` are read.

    Returns:
        float32[...].
    """
    alpha = options.length_normalization
    if not alpha:
        return log_probs
    words = tf.cast(tf.maximum(lengths, 1), tf.float32)
    base = (5.0 + words) / 6.0 if options.length_penalty == "wu" else words
    return tf.where(possible(log_probs), log_probs / base**alpha, log_probs)


def best_reachable(log_probs: tf.Tensor, options: DecodingOptions) -> tf.Tensor:
    """Returns an upper bound of the scores of all continuations of living hypotheses.

    With the length, log p only decreases and the penalty only increases. The current log p at the
    maximum length is thus an upper bound.

    Args:
        log_probs: float32[...].
        options: options of the search.
    """
    return score(log_probs, options.max_length, options)


def possible(log_probs: tf.Tensor) -> tf.Tensor:
    """Returns whether hypotheses are possible, bool[...]; log p may be added to `IMPOSSIBLE`."""
    return log_probs > IMPOSSIBLE / 2
