"""Losses against NumPy transcriptions of their formulas."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import alignment, text


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_cross_entropy_sums_real_positions_only(seed, lengths):
    random = np.random.RandomState(seed)
    rows, steps, units, vocabulary = len(lengths), 5, 4, 7
    hidden = random.randn(rows, steps, units).astype("f")
    weights, bias = random.randn(vocabulary, units).astype("f"), random.randn(vocabulary)
    targets = random.randint(0, vocabulary, (rows, steps)).astype(np.int32)
    total, count = text.cross_entropy(
        hidden, weights, bias.astype("f"), targets, tf.constant(lengths)
    )
    expected = 0.0
    for b, length in enumerate(lengths):
        for t in range(length):
            logits = weights.astype(np.float64) @ hidden[b, t] + bias
            expected += np.log(np.exp(logits).sum()) - logits[targets[b, t]]
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-6)
    assert float(count) == sum(lengths)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(0, 5), scale=st.sampled_from([0.1, 3.0, 1e3]))
def test_word_losses_and_their_gradients_are_those_of_tensorflow(seed, rows, scale):
    random = np.random.RandomState(seed)
    hidden = tf.constant(random.randn(rows, 4).astype("f"))
    weights, bias = (tf.constant(random.randn(*s).astype("f") * scale) for s in ((7, 4), (7,)))
    words = tf.constant(random.randint(0, 7, rows), tf.int32)
    factors = tf.constant(random.randn(rows).astype("f"))
    found = []
    for ours in (True, False):
        with tf.GradientTape() as tape:
            tape.watch([hidden, weights, bias])
            if ours:
                losses = text.word_losses(hidden, weights, bias, words)
            else:
                logits = tf.matmul(hidden, weights, transpose_b=True) + bias
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(words, logits)
            total = tf.reduce_sum(losses * factors)
        found.append([losses, *tape.gradient(total, [hidden, weights, bias])])
    for own, expected in zip(*found, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5 * scale)


def test_gradients_of_confident_words_survive_half_precision():
    random = np.random.RandomState(0)
    weights, bias = tf.constant(random.randn(7, 4).astype("f")), tf.zeros([7])
    words = tf.argmax(tf.matmul(weights, weights, transpose_b=True), 1, tf.int32)
    hidden = 4.0 * tf.gather(weights, words)
    found = []
    for dtype in (tf.bfloat16, tf.float32):
        rows = tf.cast(tf.cast(hidden, tf.bfloat16), dtype)
        with tf.GradientTape() as tape:
            tape.watch([rows, weights])
            total = tf.reduce_sum(text.word_losses(rows, weights, bias, words))
        found.append([tf.cast(x, tf.float32) for x in tape.gradient(total, [rows, weights])])
    for half, full in zip(*found, strict=True):
        assert np.linalg.norm(half - full) < 0.05 * np.linalg.norm(full)


def test_mean_square_is_a_mean_over_batch_and_features():
    r, v = np.random.RandomState(0).randn(2, 3, 4).astype("f")
    total, count = alignment.mean_square(tf.constant(r), tf.constant(v))
    np.testing.assert_allclose(total / count, np.square(r - v).mean(), rtol=1e-6)
