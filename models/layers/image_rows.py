"""Operations on tensors with one row per caption and tensors with one row per image.

The captions of an image are consecutive and share the row of the image, so that a search reads it
once for all hypotheses.

Letters: B images, N captions, N / B per image.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def captions_per_image(nested: Any, captions: tf.Tensor) -> tf.Tensor:
    """Returns N / B for nested tensors [B, ...] and N; 0 without images."""
    return captions // tf.maximum(tf.shape(tf.nest.flatten(nested)[0])[0], 1)


def repeat(nested: Any, captions: int | tf.Tensor) -> Any:
    """Repeats each image's row for its captions: nested tensors [B, ...] and N -> [N, ...]."""
    if not tf.nest.flatten(nested):  # A captioner may have no state.
        return nested
    each = captions_per_image(nested, captions)
    return tf.nest.map_structure(lambda x: tf.repeat(x, each, axis=0), nested)


def group(x: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Reshapes [N, ...] to [B, N / B, ...] for tensors `images` [B, ...]."""
    shape = tf.shape(x)
    sizes = [tf.shape(images)[0], captions_per_image(images, shape[0])]
    grouped = tf.reshape(x, tf.concat([sizes, shape[1:]], axis=0))
    return tf.ensure_shape(grouped, [None, None, *x.shape[1:]])


def ungroup(x: tf.Tensor) -> tf.Tensor:
    """Reshapes [B, N / B, ...] back to [N, ...]."""
    rows = tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0))
    return tf.ensure_shape(rows, [None, *x.shape[2:]])


def add(x: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Adds each image's row to those of its captions: [N, D] + [B, D] -> [N, D]."""
    # Not [:, None]: the gradient of indexing is a copy, while that of a reshape is free.
    return ungroup(group(x, images) + tf.expand_dims(images, 1))
