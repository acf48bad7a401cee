"""Custom gradients against those that TensorFlow derives."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import ops


@pytest.mark.parametrize("wide", [(True, True, True), (False, True, False), (True, False, True)])
def test_attention_over_two_rows(wide):
    """With the query, the first or the second row broadcast over all steps."""
    random = np.random.RandomState(0)
    query, *rows = (
        tf.constant(random.randn(2, 5 if steps else 1, 3, 4).astype("f"))
        for steps in (wide[0], wide[1], wide[1], wide[2], wide[2])
    )
    factors = tf.constant(random.randn(2, 5, 3, 4).astype("f"))
    found = []
    for ours in (True, False):
        with tf.GradientTape() as tape:
            tape.watch([query, *rows])
            if ours:
                output = ops.attend_two(query, tuple(rows[:2]), tuple(rows[2:]))
            else:
                keys = tf.stack([key + tf.zeros_like(factors) for key in rows[::2]])
                values = tf.stack([value + tf.zeros_like(factors) for value in rows[1::2]])
                weights = tf.nn.softmax(tf.reduce_sum(query * keys, -1, keepdims=True), axis=0)
                output = tf.reduce_sum(weights * values, 0)
            total = tf.reduce_sum(output * factors)
        found.append([output, *tape.gradient(total, [query, *rows])])
    for own, expected in zip(*found, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    # Few distinct values, so that many are equal; the row size is not a multiple of the group size.
    arrays.arrays(np.float32, (2, 331), elements=st.sampled_from([-np.inf, -1e9, 0.0, 1.0, 2.0])),
    st.integers(1, 5),
)
def test_top_k_is_that_of_tensorflow(x: np.ndarray, count: int) -> None:
    for found, wanted in zip(ops.top_k(x, count), tf.math.top_k(x, count), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("columns", [3, 32, 33, 10_000])
def test_top_k_of_rows_of_any_length(columns: int) -> None:
    x = tf.random.stateless_normal([7, columns], [1, 2])
    for found, wanted in zip(ops.top_k(x, 3), tf.math.top_k(x, 3), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert ops.top_k(x[:0], 3)[0].shape == (0, 3)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e9])
def test_top_log_probs_are_those_of_a_log_softmax(scale: float) -> None:
    logits = tf.random.stateless_normal([7, 1_000], [1, 2]) * scale
    log_probs, ids = ops.top_log_probs(logits, 3)
    wanted = tf.math.top_k(tf.nn.log_softmax(logits), 3)
    np.testing.assert_allclose(log_probs, wanted[0], rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(ids, tf.math.top_k(logits, 3)[1])
