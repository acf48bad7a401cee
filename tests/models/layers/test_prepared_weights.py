"""Weights prepared for a loop."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.linear import Linear
from models.layers.prepared_weights import prepare_weights, product


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("columns", [5, 256, 512])
def test_products_are_the_same(columns: int, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(6, columns)).astype("f")
    inputs = rng.normal(size=(4, 6)).astype("f")
    variable = keras.Variable(kernel.T if transposed else kernel)

    @tf.function(autograph=False)
    def run(inputs: tf.Tensor) -> tf.Tensor:
        def step(inputs: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
            return product(inputs, variable, transposed=transposed), state

        with prepare_weights(step, inputs, ()):
            # Prepared here, and used in the loop.
            _, found = tf.while_loop(
                lambda i, _: i < 2,
                lambda i, _: (i + 1, step(inputs, ())[0]),
                (0, tf.zeros([4, columns])),
            )
        return found

    np.testing.assert_allclose(run(inputs), inputs @ kernel, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        product(tf.constant(inputs), variable, transposed=transposed),
        inputs @ kernel,
        rtol=1e-5,
        atol=1e-5,
    )
    # Prepared weights are not cached between calls, so new values are used.
    variable.assign(2 * variable)
    np.testing.assert_allclose(run(inputs), 2 * inputs @ kernel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
def test_linear_equals_dense(use_bias: bool) -> None:
    ours, keras_own = (
        kind(256, use_bias=use_bias, bias_initializer="ones")
        for kind in (Linear, keras.layers.Dense)
    )
    x = tf.random.stateless_normal([3, 8], [0, 1])
    wanted = keras_own(x)
    ours.build(x.shape)
    ours.set_weights(keras_own.get_weights())

    @tf.function(autograph=False)
    def prepared(x: tf.Tensor) -> tf.Tensor:
        with prepare_weights(lambda x, state: (ours(x), state), x, ()):
            return ours(x)

    np.testing.assert_allclose(prepared(x), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(x), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(x[:, None]), wanted[:, None], rtol=1e-5, atol=1e-6)
