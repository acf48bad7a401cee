"""Convolutional network inside a model: trainable layers and feature maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from models.layers.folded_network import fold_batch_normalization


def train_from(network: keras.Model, layer: str | None) -> None:
    """Freezes the layers of a network before the first trained layer.

    Args:
        network: network, which is modified in place.
        layer: name of the first layer that is trained, with all layers after it; `all` trains every
            layer, None trains none.

    Raises:
        ValueError: the network has no such layer.
    """
    network.trainable = layer is not None
    if layer in (None, "all"):
        return
    names = [each.name for each in network.layers]
    if layer not in names:
        raise ValueError(
            f"{network.name} has no layer {layer!r}; its last layers: {', '.join(names[-12:])}"
        )
    for each in network.layers[: names.index(layer)]:
        each.trainable = False


def feature_maps(
    network: keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    pixels: tf.Tensor,
    *,
    average_mirrored: bool = False,
) -> tf.Tensor:
    """Returns the feature maps of images; batch normalization uses its running statistics.

    Args:
        network: float[B, S, S, 3] from `preprocess` -> [B, gh, gw, D].
        preprocess: float32[B, S, S, 3] in 0..255 -> the input range of the network.
        pixels: float32[B, S, S, 3] in 0..255.
        average_mirrored: whether to average the maps with the maps, mirrored back, of the mirror
            images.

    Returns:
        float[B, gh, gw, D].
    """
    count = tf.shape(pixels)[0]
    # A replica, or a part of a batch, may have no images. In this case TensorFlow leaves the
    # gradient of a depthwise convolution's filter uninitialized. So one unused image is added,
    # whose gradient is 0.
    padding = [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]]
    some = tf.ensure_shape(tf.pad(pixels, padding), [None, *pixels.shape[1:]])
    folded = fold_batch_normalization(network)

    def maps_of(images: tf.Tensor) -> tf.Tensor:
        return folded(preprocess(images), training=False)[:count]

    maps = maps_of(some)
    if not average_mirrored:
        return maps
    return (maps + tf.reverse(maps_of(tf.reverse(some, axis=[2])), axis=[2])) / 2


# Keras cannot deserialize the functions of this module, so they are stored as strings.
_APPLICATIONS = "keras.applications."


def serialize_preprocess(function: Callable[..., Any]) -> Any:
    """Returns the configuration of a function that preprocesses pixels for a network."""
    module = getattr(function, "__module__", "").rpartition(".")[2]
    public = getattr(keras.applications, module, None)
    if public is not None and getattr(public, "preprocess_input", None) is function:
        return f"{_APPLICATIONS}{module}"
    return keras.saving.serialize_keras_object(function)


def deserialize_preprocess(config: Any, custom_objects: Any) -> Callable[..., Any]:
    """Returns the function of a configuration from `serialize_preprocess`."""
    if isinstance(config, str):
        module = getattr(keras.applications, config.removeprefix(_APPLICATIONS))
        found: Callable[..., Any] = module.preprocess_input
        return found
    return keras.saving.deserialize_keras_object(config, custom_objects)
