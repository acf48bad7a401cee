"""Scheduled sampling: some of the words a captioner is fed are its own."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.decoding.sampling import drawn_words
from models.layers import ops


def sampled_inputs(
    model: Any,
    memory: Any,
    tokens: tf.Tensor,
    *,
    probability: tf.Tensor,
    choices: tf.Tensor,
    draws: tf.Tensor,
) -> tf.Tensor:
    """Replaces words by draws from what the model said before them (Bengio et al. 2015).

    The first word, the start marker, stays. What is drawn carries no gradient, so the words can be
    found first and the model be run on all of them at once afterwards. Dropout masks are drawn in
    both passes: those that a word was drawn under are not those that it is learnt under.

    Args:
        model: a recurrent captioner.
        memory: of its `encode`, of the images that the N captions belong to, as many to each.
        tokens: int32[N, T], the words of the caption (start first).
        probability: float32[], of each replacement.
        choices: float32[N, T] in 0..1: a word is replaced where it is below `probability`.
        draws: float32[N, T] in 0..1, uniform: which word is drawn.

    Returns:
        int32[N, T].
    """
    steps = tf.shape(tokens)[1]

    def body(
        t: tf.Tensor, state: Any, own: tf.Tensor, fed: tf.TensorArray
    ) -> tuple[tf.Tensor, Any, tf.Tensor, tf.TensorArray]:
        replaced = (choices[:, t] < probability) & (t > 0)
        words = tf.where(replaced, own, tokens[:, t])
        hidden, state = model.step(words, state, memory, training=True)
        own = drawn_words(model.logits(hidden), draws[:, t])
        return t + 1, state, own, fed.write(t, words)

    fed = tf.TensorArray(tf.int32, steps, element_shape=[None])
    state = ops.per_caption(model.initial_state(memory), tf.shape(tokens)[0])
    start = (tf.constant(0), state, tokens[:, 0], fed)
    *_, fed = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        start,
        shape_invariants=ops.any_batch(start),
        maximum_iterations=steps,
    )
    return tf.stop_gradient(tf.transpose(fed.stack()))


def sampling_probability(
    epoch: tf.Tensor, *, start: int, every: int, increase: float, most: float
) -> tf.Tensor:
    """min(increase * floor((epoch - start) / every), most), 0 before `start`: int[] -> float32[].

    Source: self-critical.pytorch's schedule; epochs are counted from 0.
    """
    grown = increase * tf.cast(tf.math.floordiv(epoch - start, every), tf.float32)
    return tf.clip_by_value(grown, 0.0, most)
