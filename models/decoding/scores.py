"""Scores of captions: their log p, divided by a penalty of their length."""

from __future__ import annotations

import tensorflow as tf

from models.decoding.options import DecodingOptions

# log p of what cannot be.
IMPOSSIBLE = -1e9


def score(log_probs: tf.Tensor, lengths: tf.Tensor | int, options: DecodingOptions) -> tf.Tensor:
    """Divides log p by the penalty of the length, which grows with it.

    Args:
        log_probs: float32[...]; what cannot be keeps its value.
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

    log p only falls and the penalty only grows with the length: no continuation scores more than
    today's log p at the largest length.

    Args:
        log_probs: float32[...].
        options: options of the search.
    """
    return score(log_probs, options.max_length, options)


def possible(log_probs: tf.Tensor) -> tf.Tensor:
    """Returns where hypotheses are possible: bool[...]. `IMPOSSIBLE` may have been added to."""
    return log_probs > IMPOSSIBLE / 2
