"""Captions sampled word by word from a captioner."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.captioners.base import Captioner
from models.layers import image_rows, tracing
from models.layers.prepared_weights import prepare_weights


def draw_words(logits: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Draws a word of each row by inverting its cumulative distribution.

    Args:
        logits: float32[N, V].
        draws: float32[N] in 0..1, uniform.

    Returns:
        int32[N].
    """
    sums = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    # Compared with the whole sum, which rounding may keep from being 1.
    below = sums <= (draws * sums[:, -1])[:, None]
    return tf.reduce_sum(tf.cast(below, tf.int32), axis=-1)


def sample_captions(
    model: Captioner,
    memory: Any,
    draws: tf.Tensor,
    *,
    suppression: tf.Tensor,
    start_id: int,
    end_id: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws captions at temperature 1; no gradient goes through them.

    Args:
        model: a captioner.
        memory: from its `encode`, of B images.
        draws: float32[N, T] in 0..1, uniform: N / B consecutive captions per image, of T words at
            most.
        suppression: float32[V] from `ops.suppression`, which keeps words from being drawn.
        start_id: id fed in first.
        end_id: id that ends a caption.

    Returns:
        Tokens int32[N, T], 0 after the end marker, and lengths int32[N], the end marker included.
        A caption cut at T words has none.
    """
    count, limit = tf.unstack(tf.shape(draws))

    def step(words: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        hidden, state = model.step(words, state, memory)
        return model.logits(hidden) + suppression, state

    def body(
        t: tf.Tensor, words: tf.Tensor, state: Any, alive: tf.Tensor, tokens: tf.Tensor
    ) -> tuple[Any, ...]:
        logits, state = step(words, state, memory)
        words = draw_words(logits, draws[:, t])
        words = tf.where(alive, words, 0)
        tokens += words[:, None] * tf.one_hot(t, limit, dtype=tf.int32)
        return t + 1, words, state, alive & (words != end_id), tokens

    words = tf.fill([count], start_id)
    state = image_rows.repeat(model.initial_state(memory, limit), count)
    memory = model.expand_memory(memory, count)
    start = (
        tf.constant(0),
        words,
        state,
        tf.fill([count], True),
        tf.zeros_like(draws, tf.int32),
    )
    with prepare_weights(step, words, state, memory):
        *_, tokens = tf.while_loop(
            lambda t, words, state, alive, _: (t < limit) & tf.reduce_any(alive),
            body,
            start,
            shape_invariants=tracing.any_batch(start),
        )
    tokens = tf.stop_gradient(tokens)
    return tokens, tf.reduce_sum(tf.cast(tokens != 0, tf.int32), axis=1)
