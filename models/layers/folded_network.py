"""Convolutional networks with batch normalization folded into the convolutions.

With running statistics, batch normalization after a convolution multiplies every channel by one
number and adds another. The factor is folded into the kernel, the offset into the bias. This saves
two passes over the feature maps in the forward pass, and two in the backward pass.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from models.layers.depthwise import depthwise_convolution

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)

# Network -> its folded model.
_folded: WeakKeyDictionary[keras.Model, keras.Model] = WeakKeyDictionary()


def fold_batch_normalization(network: keras.Model) -> keras.Model:
    """Returns a model that shares the variables of a network and computes the same faster.

    Its batch normalization always uses running statistics.

    Args:
        network: network with weights. A model that is not functional is returned unchanged.

    Returns:
        The folded model. Calls with the same network return the same model.
    """
    # Only functional models have the attribute `operations`.
    if not hasattr(network, "operations"):
        return network
    if network not in _folded:
        with tf.init_scope():
            _folded[network] = _fold(network)
    return _folded[network]


def _fold(network: keras.Model) -> keras.Model:
    # id of the output of a convolution -> the convolution and its input.
    convolutions: dict[int, tuple[keras.layers.Layer, keras.KerasTensor]] = {}
    kept = []  # keeps these outputs alive, so that their ids are unique

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.BatchNormalization) and id(args[0]) in convolutions:
            convolution, inputs = convolutions[id(args[0])]
            if layer.axis in (-1, len(inputs.shape) - 1):
                return _FoldedConvolution(convolution, layer)(inputs)
        output = layer(*args, **kwargs)
        if _is_foldable(layer):
            convolutions[id(output)] = layer, args[0]
            kept.append(output)
        return output

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


def _is_foldable(layer: Any) -> bool:
    return (
        type(layer) in _CONVOLUTIONS
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
    )


class _FoldedConvolution(keras.layers.Layer):
    """A convolution and the batch normalization of its output."""

    def __init__(
        self, convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization
    ) -> None:
        # Statistics are float32 under every dtype policy, as in Keras.
        super().__init__(
            name=f"{convolution.name}_folded", dtype=convolution.dtype_policy, autocast=False
        )
        self.convolution, self.normalization = convolution, normalization
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        own, norm, dtype = self.convolution, self.normalization, self.compute_dtype
        scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
        if norm.scale:
            scale *= norm.gamma
        bias = -norm.moving_mean * scale
        if own.use_bias:
            bias += own.bias * scale
        if norm.center:
            bias += norm.beta
        depthwise = isinstance(own, keras.layers.DepthwiseConv2D)
        # The kernel of a depthwise convolution is [height, width, inputs, outputs per input].
        factor = tf.reshape(scale, own.kernel.shape[2:]) if depthwise else scale
        images, kernel = tf.cast(inputs, dtype), tf.cast(own.kernel * factor, dtype)
        if depthwise and _is_plain(own):
            outputs = depthwise_convolution(images, kernel, own.strides[0], own.padding)
        else:
            convolve = keras.ops.depthwise_conv if depthwise else keras.ops.conv
            outputs = convolve(
                images,
                kernel,
                strides=own.strides,
                padding=own.padding,
                data_format=own.data_format,
                dilation_rate=own.dilation_rate,
            )
        return tf.nn.bias_add(outputs, tf.cast(bias, dtype))


def _is_plain(depthwise: keras.layers.DepthwiseConv2D) -> bool:
    """Returns whether `depthwise_convolution` supports the settings of a layer."""
    return (
        depthwise.depth_multiplier == 1
        and set(depthwise.dilation_rate) == {1}
        and len(set(depthwise.strides)) == len(set(depthwise.kernel_size)) == 1
    )
