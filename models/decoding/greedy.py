"""Greedy search: the most likely word at each step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.decoding.captions import Captions, append
from models.decoding.constraints import excluded_words, most_likely
from models.decoding.options import DecodingOptions
from models.decoding.scores import possible, score
from models.decoding.steps import StepFunction
from models.layers import tracing


def greedy_search(
    step: StepFunction, state: Any, memory: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Appends the most likely word at each step until all captions have ended.

    Args:
        step: one step of the model for B rows.
        state: nested initial state [B, ...].
        memory: nested tensors [B, ...], which `step` reads.
        batch: B.
        options: options of the search; `beam_size` is ignored.

    Returns:
        Captions with R = 1. A caption that is truncated at `max_length`, or stops because
        constraints exclude all words, has no end marker.
    """
    limit = options.max_length

    def body(
        t: tf.Tensor,
        tokens: tf.Tensor,
        state: Any,
        alive: tf.Tensor,
        log_probs: tf.Tensor,
        written: tf.Tensor,
    ) -> tuple[Any, ...]:
        logits, state = step(tokens, state, memory)
        excluded = excluded_words(lambda: written, t, options)
        best, words = (x[:, 0] for x in most_likely(logits, 1, options, excluded))
        if excluded is not None:
            alive &= possible(best)
        log_probs += tf.where(alive, best, 0.0)
        words = tf.where(alive, words, 0)
        written = append(written, words, t)
        return t + 1, words, state, alive & (words != options.end_id), log_probs, written

    start = (
        tf.constant(0),
        tf.fill([batch], options.start_id),
        state,
        tf.fill([batch], True),
        tf.zeros([batch]),
        tf.zeros([batch, limit], tf.int32),
    )
    *_, log_probs, tokens = tf.while_loop(
        lambda t, tokens, state, alive, *_: (t < limit) & tf.reduce_any(alive),
        body,
        start,
        shape_invariants=tracing.any_batch(start),
    )
    lengths = tf.reduce_sum(tf.cast(tokens != 0, tf.int32), -1)
    found = Captions(tokens, lengths, score(log_probs, lengths, options), log_probs)
    return Captions(*(x[:, None] for x in found))
