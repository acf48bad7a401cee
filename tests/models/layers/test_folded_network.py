"""Networks with folded batch normalization: equal outputs and gradients, and fewer operations."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from models.layers.folded_network import fold_batch_normalization
from models.layers.pixel_network import feature_maps


def _network() -> keras.Model:
    """Returns a network of all kinds of convolutions, some of which cannot be folded."""
    inputs = x = keras.Input((9, 9, 3))
    x = layers.Conv2D(6, 3, 2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(scale=False)(x))
    x = layers.DepthwiseConv2D(3, 2, depth_multiplier=2, padding="valid")(x)
    x = layers.BatchNormalization(center=False)(x)
    x = before = layers.Conv2D(12, 3, padding="same", dilation_rate=2, groups=3)(x)
    x = layers.BatchNormalization(epsilon=1e-2)(x)
    x = layers.Add()([x, before])  # reads the convolution itself, too
    x = layers.Conv2D(12, 1, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.BatchNormalization()(x))


def _random_weights(network: keras.Model) -> keras.Model:
    """Gives all weights random values; those of variances are positive."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        values = rng.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.1 if "variance" in weight.path else values * 0.3)
    return network


def _normalizations(network: keras.Model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in network.layers)


def _network_of(name: str) -> tuple[keras.Model, int]:
    """Returns a network, and the number of normalizations that remain after folding."""
    if name == "own":
        return _network(), 2
    build = getattr(keras.applications, name)
    alpha = {"alpha": 0.25} if name == "MobileNet" else {}
    return build(input_shape=(32, 32, 3), include_top=False, weights=None, **alpha), 0


@pytest.mark.parametrize("name", ["own", "MobileNet", "EfficientNetB0"])
def test_outputs_and_gradients_are_those_of_the_network(name: str) -> None:
    network, left = _network_of(name)
    _random_weights(network)
    folded = fold_batch_normalization(network)
    assert _normalizations(folded) == left
    assert {id(v) for v in network.trainable_variables} == {
        id(v) for v in folded.trainable_variables
    }
    rng = np.random.default_rng(1)
    images = tf.constant(rng.normal(size=(2, *network.input_shape[1:])), tf.float32)
    found = []
    for model in (network, folded):
        with tf.GradientTape() as tape:
            outputs = model(images, training=False)
            loss = tf.reduce_mean(outputs**2)
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
        found.append((outputs.numpy(), gradients))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-3, atol=1e-4)
    for variable, one, other in zip(
        network.trainable_variables, *(x[1] for x in found), strict=True
    ):
        scale = float(tf.norm(one)) + 1e-6
        assert float(tf.norm(one - other)) / scale < 1e-3, variable.path


def test_new_weights_reach_the_folded_network() -> None:
    network = _random_weights(_network())
    images = tf.ones((1, 9, 9, 3))
    folded = fold_batch_normalization(network)
    before = folded(images, training=False)
    for weight in network.weights:
        weight.assign(weight.value * 1.1)
    after = folded(images, training=False)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, network(images, training=False), rtol=1e-3, atol=1e-4)
    assert fold_batch_normalization(network) is folded


def test_half_precision_keeps_statistics_in_float32() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = _random_weights(_network())
    finally:
        keras.config.set_dtype_policy("float32")
    # bfloat16 rounds to three digits.
    network.layers[2].moving_mean.assign(tf.fill([6], 1.001))
    images = tf.random.stateless_normal((2, 9, 9, 3), (1, 2))
    found = fold_batch_normalization(network)(images, training=False)
    assert found.dtype == tf.bfloat16
    expected = network(images, training=False)
    difference = tf.norm(tf.cast(found - expected, tf.float32))
    assert float(difference / tf.norm(tf.cast(expected, tf.float32))) < 0.03


def test_the_network_itself_is_unchanged_and_other_models_are_returned() -> None:
    network = _random_weights(_network())
    config, names = network.get_config(), [weight.path for weight in network.weights]
    # Inside a graph, as in the first batch of a training.
    maps = tf.function(lambda x: feature_maps(network, lambda y: y, x))
    images = tf.ones((2, 9, 9, 3))
    np.testing.assert_allclose(maps(images), network(images, training=False), rtol=1e-3, atol=1e-4)
    assert network.get_config() == config
    assert [weight.path for weight in network.weights] == names

    class Own(keras.Model):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs

    own = Own()
    assert fold_batch_normalization(own) is own
