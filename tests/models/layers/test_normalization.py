"""Our layer normalization against Keras'."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.normalization import LayerNorm


@pytest.mark.parametrize("shape", [(4, 7), (2, 3, 7)])
def test_value_and_gradients_are_those_of_keras(shape):
    random = np.random.RandomState(0)
    inputs = tf.constant(3 * random.randn(*shape) + 1, tf.float32)
    upstream = tf.constant(random.randn(*shape), tf.float32)
    found = []
    for layer in (LayerNorm(), keras.layers.LayerNormalization(epsilon=1e-5)):
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2, 7))
        layer.beta.assign(np.linspace(-1, 1, 7))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            total = tf.reduce_sum(outputs * upstream)
        found.append([outputs, *tape.gradient(total, [inputs, layer.gamma, layer.beta])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_half_precision_is_normalized_in_float32():
    layer = LayerNorm(dtype="mixed_bfloat16")
    values = tf.constant([[1000.0, 1001.0, 1002.0, 1003.0]])
    outputs = layer(values)
    assert outputs.dtype == tf.bfloat16
    # bfloat16 has 1000 and 1004 but nothing between, so only the rounding of the input is lost.
    expected = LayerNorm()(tf.cast(tf.cast(values, tf.bfloat16), tf.float32))
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.01)


def test_configuration_round_trip():
    layer = LayerNorm(epsilon=1e-3, name="norm")
    assert LayerNorm.from_config(layer.get_config()).epsilon == 1e-3
