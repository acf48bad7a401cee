"""GPU implementation of a plain LSTM, run on the CPU: it must equal the loop."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from models.captioners.registry import build_captioner
from models.layers import cudnn_lstm


def test_all_steps_at_once_are_the_loop() -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = build_captioner(
        "lstm",
        vocabulary_size=11,
        global_size=None,
        region_size=5,
        grid_cells=4,
        units=6,
        word_size=3,
    )
    weights = len(model.weights)
    grid = tf.constant(rng.normal(size=(2, 4, 5)), tf.float32)
    tokens = tf.constant(rng.integers(3, 11, (6, 7)), tf.int32)
    lengths = tf.constant([7, 1, 3, 7, 5, 2])
    counted = tf.sequence_mask(lengths, 7, tf.float32)[:, :, tf.newaxis]
    upstream = tf.constant(rng.normal(size=(6, 7, 6)), tf.float32) * counted
    found = []
    for keras_lstm in (None, cudnn_lstm.build_keras_lstm(6, 3, model.dtype_policy)):
        model.cell._keras_lstm = keras_lstm
        with tf.GradientTape() as tape:
            hidden = model.teacher_forced(model.encode({"regions": grid}), tokens, lengths=lengths)
            loss = tf.reduce_sum(hidden * upstream)
        # The gradient of the embedding is sparse, and its slices may be ordered differently.
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_variables[:-2]))
        found.append([hidden, *gradients])
    for loop, at_once in zip(*found, strict=True):
        np.testing.assert_allclose(loop, at_once, rtol=1e-5, atol=1e-6)
    assert len(model.weights) == weights
