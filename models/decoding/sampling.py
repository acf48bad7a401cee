"""Captions drawn word by word from what a captioner says may come next."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.layers import ops
from models.layers.prepared_weights import ready


def drawn_words(logits: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Draws a word of each row by inverting its cumulative distribution.

    Args:
        logits: float32[N, V].
        draws: float32[N] in 0..1, uniform.

    Returns:
        int32[N].
    """
    sums = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    # Against the whole sum, which rounding keeps from being 1.
    below = sums <= (draws * sums[:, -1])[:, None]
    return tf.reduce_sum(tf.cast(below, tf.int32), axis=-1)


def sample_captions(
    model: Any,
    memory: Any,
    draws: tf.Tensor,
    *,
    suppression: tf.Tensor,
    start_id: int,
    end_id: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws captions at temperature 1; no gradient goes through them.

    Args:
        model: a captioner (design section 4).
        memory: of its `encode`, of B images.
        draws: float32[N, T] in 0..1, uniform: N captions, as many of each image and side by side,
            of T words at most.
        suppression: float32[V] of `ops.suppression`, which keeps words from being drawn.
        start_id: id fed in first.
        end_id: id that ends a caption.

    Returns:
        Tokens int32[N, T], 0 after the end marker, and lengths int32[N], the end marker included.
        A caption cut at T words has none.
    """
    count, limit = tf.unstack(tf.shape(draws))

    def body(
        t: tf.Tensor, words: tf.Tensor, state: Any, alive: tf.Tensor, tokens: tf.Tensor
    ) -> tuple[Any, ...]:
        hidden, state = model.step(words, state, memory)
        words = drawn_words(model.logits(hidden) + suppression, draws[:, t])
        words = tf.where(alive, words, 0)
        tokens += words[:, None] * tf.one_hot(t, limit, dtype=tf.int32)
        return t + 1, words, state, alive & (words != end_id), tokens

    start = (
        tf.constant(0),
        tf.fill([count], start_id),
        ops.per_caption(model.initial_state(memory), count),
        tf.fill([count], True),
        tf.zeros_like(draws, tf.int32),
    )
    with ready(model.loop_weights):
        *_, tokens = tf.while_loop(
            lambda t, words, state, alive, _: (t < limit) & tf.reduce_any(alive),
            body,
            start,
            shape_invariants=ops.any_batch(start),
        )
    tokens = tf.stop_gradient(tokens)
    return tokens, tf.reduce_sum(tf.cast(tokens != 0, tf.int32), axis=1)
