"""Scheduled sampling: replaces some input words of a captioner with its own predictions."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.captioners.base import Captioner
from models.decoding.sampling import draw_words
from models.layers import image_rows, tracing


def sampled_inputs(
    model: Captioner,
    memory: Any,
    tokens: tf.Tensor,
    *,
    probability: tf.Tensor,
    choices: tf.Tensor,
    draws: tf.Tensor,
) -> tf.Tensor:
    """Replaces words with draws from the model's predictions for them (Bengio et al. 2015).

    The first word, the start marker, is never replaced. The draws have no gradient: this pass only
    finds the words, and training then runs the model on all of them at once. Each of the two passes
    draws its own dropout masks.

    Args:
        model: a captioner.
        memory: from its `encode`, of B images.
        tokens: int32[N, T], words of N / B consecutive captions per image (start marker first).
        probability: float32[], probability of replacing a word.
        choices: float32[N, T] in 0..1, uniform: a word is replaced if its number is below
            `probability`.
        draws: float32[N, T] in 0..1, uniform, from which words are drawn.

    Returns:
        int32[N, T].
    """
    count, steps = tf.unstack(tf.shape(tokens))
    state = image_rows.repeat(model.initial_state(memory, steps), count)
    memory = model.expand_memory(memory, count)

    def body(
        t: tf.Tensor, state: Any, own: tf.Tensor, fed: tf.TensorArray
    ) -> tuple[tf.Tensor, Any, tf.Tensor, tf.TensorArray]:
        replaced = (choices[:, t] < probability) & (t > 0)
        words = tf.where(replaced, own, tokens[:, t])
        hidden, state = model.step(words, state, memory, training=True)
        own = draw_words(model.logits(hidden), draws[:, t])
        return t + 1, state, own, fed.write(t, words)

    fed = tf.TensorArray(tf.int32, steps, element_shape=[None])
    start = (tf.constant(0), state, tokens[:, 0], fed)
    *_, fed = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        start,
        shape_invariants=tracing.any_batch(start),
        maximum_iterations=steps,
    )
    return tf.stop_gradient(tf.transpose(fed.stack()))


def sampling_probability(
    epoch: tf.Tensor, *, start: int, every: int, increase: float, most: float
) -> tf.Tensor:
    """Returns min(increase * floor((epoch - start) / every), most), 0 before `start`: float32[].

    Source: self-critical.pytorch's schedule; epochs are counted from 0.
    """
    grown = increase * tf.cast(tf.math.floordiv(epoch - start, every), tf.float32)
    return tf.clip_by_value(grown, 0.0, most)
