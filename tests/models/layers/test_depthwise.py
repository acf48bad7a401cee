"""Depthwise convolutions: equal to TensorFlow's outputs and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.layers.depthwise import depthwise_convolution

CASES = [(5, 1, "same"), (7, 1, "same"), (5, 2, "same"), (5, 1, "valid"), (3, 1, "same")]


def _example(size: int, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    images = tf.random.stateless_normal((3, 8, 6, 4), (1, 2))
    kernel = tf.random.stateless_normal((size, size, 4, 1), (3, 4))
    return tf.cast(images, dtype), tf.cast(kernel, dtype)


def _gradients(outputs: tf.Tensor, tape: tf.GradientTape, *of: tf.Tensor) -> list[tf.Tensor]:
    upstream = tf.random.stateless_normal(tf.shape(outputs), (5, 6))
    return tape.gradient(outputs, of, output_gradients=tf.cast(upstream, outputs.dtype))


@pytest.mark.parametrize(("size", "strides", "padding"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float32, 1e-5), (tf.bfloat16, 2e-2)])
def test_outputs_and_gradients_are_those_of_tensorflow(
    size: int, strides: int, padding: str, dtype: tf.DType, tolerance: float
) -> None:
    images, kernel = _example(size, dtype)
    # bfloat16 results are compared with float32 results of the same rounded inputs.
    exact_images, exact_kernel = (tf.cast(x, tf.float32) for x in (images, kernel))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([images, kernel, exact_images, exact_kernel])
        found = tf.function(depthwise_convolution)(images, kernel, strides, padding)
        steps = [1, strides, strides, 1]
        expected = tf.nn.depthwise_conv2d(exact_images, exact_kernel, steps, padding.upper())
    assert found.dtype == dtype
    pairs = [
        (found, expected),
        *zip(
            _gradients(found, tape, images, kernel),
            _gradients(expected, tape, exact_images, exact_kernel),
            strict=True,
        ),
    ]
    for one, other in pairs:
        assert one.dtype == dtype
        difference = tf.norm(tf.cast(one, tf.float32) - other)
        assert float(difference / tf.norm(other)) < tolerance


def test_images_of_unknown_size() -> None:
    images, kernel = _example(5, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 4])])
    def gradient(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            outputs = depthwise_convolution(images, kernel, 1, "same")
        return tape.gradient(outputs, kernel)

    with tf.GradientTape() as tape:
        tape.watch(kernel)
        outputs = tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], "SAME")
    np.testing.assert_allclose(gradient(images), tape.gradient(outputs, kernel), rtol=1e-4)


def test_large_kernels_do_not_use_the_slow_gradient() -> None:
    def operations(size: int) -> set[str]:
        images, kernel = _example(size, tf.float32)

        @tf.function
        def gradient(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                outputs = depthwise_convolution(images, kernel, 1, "same")
            return tape.gradient(outputs, kernel)

        graph = gradient.get_concrete_function(images, kernel).graph.as_graph_def()
        nodes = [*graph.node, *(node for own in graph.library.function for node in own.node_def)]
        return {node.op for node in nodes}

    slow = "DepthwiseConv2dNativeBackpropFilter"
    assert slow in operations(3)
    assert slow not in operations(5)
