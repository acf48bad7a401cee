"""Decoding of captions: entry point for greedy search, beam search, constraints and sampling."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.captioners.base import Captioner
from models.decoding.beam import beam_search
from models.decoding.captions import Captions
from models.decoding.greedy import greedy_search
from models.decoding.options import DecodingOptions
from models.decoding.required_words import required_search
from models.decoding.sampling import sample_search
from models.layers.prepared_weights import prepare_weights

__all__ = ["Captions", "DecodingOptions", "decode"]


def decode(
    model: Captioner, memory: Any, options: DecodingOptions, keys: tf.Tensor | None = None
) -> Captions:
    """Generates captions for encoded images.

    Args:
        model: a captioner.
        memory: nested tensors [B, ...], from the model's `encode`.
        options: options of decoding.
        keys: int32[B], numbers that seed the draws of each image together with `options.seed`; only
            read by sampling. None for the indices in the batch.

    Returns:
        The captions of each image, best first.
    """
    state = model.initial_state(memory, options.max_length)
    batch = tf.shape(tf.nest.flatten(memory)[0])[0]

    def step(tokens: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        memory = model.expand_memory(memory, tf.shape(tokens)[0])
        hidden, state = model.step(tokens, state, memory)
        return model.logits(hidden), state

    with prepare_weights(step, tf.TensorSpec([None], tf.int32), state, memory):
        if options.samples:
            keys = tf.range(batch) if keys is None else keys
            return sample_search(step, state, memory, batch, options, keys)
        if options.required:
            return required_search(step, state, memory, batch, options)
        search = greedy_search if options.beam_size == 1 else beam_search
        return search(step, state, memory, batch, options)
