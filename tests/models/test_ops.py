"""Gradients that are written out, against those that TensorFlow derives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import ops


@pytest.mark.parametrize("wide", [(True, True, True), (False, True, False), (True, False, True)])
def test_attention_over_two_rows(wide):
    """With the query, the first or the second row the same at all steps."""
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
