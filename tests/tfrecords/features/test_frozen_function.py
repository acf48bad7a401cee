"""Functions with constants for variables."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecords.features.frozen_function import frozen_function


def test_results_keep_their_structure_and_the_values_of_that_time() -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    def outputs(x: tf.Tensor) -> tuple[Any, ...]:
        found = network(x)
        return found, None, {"again": found, "none": None}, tf.reduce_sum(found)

    frozen = frozen_function(outputs, tf.TensorSpec([None, 4], tf.float32))
    images = tf.random.stateless_normal((5, 4), (1, 2))
    expected = network(images).numpy()
    for weight in network.weights:
        weight.assign(tf.zeros_like(weight))
    found = frozen(images)
    assert found[1] is None and found[2]["none"] is None
    for own in (found[0], found[2]["again"]):
        np.testing.assert_allclose(own, expected, rtol=1e-5)
    np.testing.assert_allclose(found[3], expected.sum(), rtol=1e-4)
    # Of any batch size.
    assert frozen(images[:2])[0].shape == (2, 3)
