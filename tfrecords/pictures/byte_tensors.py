"""Conversion of bytes in string tensors to numbers, inside a TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf


def bytes_at(encoded: tf.Tensor, position: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """Returns `count` bytes of a string scalar, starting at `position`.

    Returns:
        int32 [count], zeros after the end of the string.
    """
    place = tf.clip_by_value(position, 0, tf.strings.length(encoded))
    piece = tf.io.decode_raw(tf.strings.substr(encoded, place, count), tf.uint8)
    return tf.pad(tf.cast(piece, tf.int32), [[0, count - tf.size(piece)]])


def starts_with(data: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Returns whether bytes int32 [N], N >= len(magic), begin with `magic`: bool scalar."""
    return tf.reduce_all(data[: len(magic)] == tf.constant(list(magic)))


def number_of_two(pair: tf.Tensor, little: tf.Tensor | bool) -> tf.Tensor:
    """Returns the numbers of pairs of bytes int32 [..., 2], the lower byte first if `little`."""
    low, high = pair[..., 0], pair[..., 1]
    return tf.where(little, low + 256 * high, 256 * low + high)


def number_of_four(four: tf.Tensor, little: tf.Tensor | bool) -> tf.Tensor:
    """Returns the number of four bytes int32 [4]: int32; negative on overflow."""
    ordered = tf.where(little, four[:4], tf.reverse(four[:4], [0]))
    return tf.reduce_sum(ordered * tf.constant([1, 1 << 8, 1 << 16, 1 << 24], tf.int32))
