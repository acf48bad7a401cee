"""Small tensor functions shared by the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# Number of columns per group in `top_k`.
_GROUP = 32


def unit_norm(x: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """L2-normalizes `x`; a zero vector stays zero and has a zero gradient.

    `tf.math.l2_normalize` clamps the norm, which gives zero vectors gradients of 1e6. Zero vectors
    do occur: an image without detections has no concepts and is encoded as zero.

    Args:
        x: float[..., D].
        axis: the axis to normalize.

    Returns:
        float[..., D], of norm 1 or 0 along `axis`.
    """
    wide = tf.cast(x, tf.float32)
    square = tf.reduce_sum(tf.square(wide), axis=axis, keepdims=True)
    usable = square > 1e-24
    normal = wide * tf.math.rsqrt(tf.where(usable, square, 1.0))
    return tf.cast(tf.where(usable, normal, tf.zeros_like(wide)), x.dtype)


def last_real(sequence: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Selects the output at the last real step of each row.

    Args:
        sequence: float[B, T, H].
        lengths: int32[B], 1..T.

    Returns:
        float[B, H]: `sequence[b, lengths[b] - 1]`.
    """
    return tf.gather(sequence, tf.maximum(lengths - 1, 0), batch_dims=1)


def suppression(ids: Sequence[int], vocabulary_size: int) -> tf.Tensor:
    """Returns float32[V] that, added to logits, makes the words `ids` impossible."""
    return -1e9 * tf.reduce_sum(tf.one_hot(list(ids), vocabulary_size), axis=0)


def top_k(x: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the result of `tf.math.top_k`; several times faster for long rows.

    Searches only the `count` groups of columns with the largest maxima. At least `count` of their
    values precede any value of another group: they are larger, or equal and further to the left.

    Args:
        x: float[N, V], no NaN.
        count: k, at most V.

    Returns:
        The k largest values of each row, largest first, and their columns int32[N, k]; of equal
        values the leftmost comes first.
    """
    columns = x.shape[-1]
    groups = -(-columns // _GROUP)
    if groups <= 2 * count:
        found: tuple[tf.Tensor, tf.Tensor] = tf.math.top_k(x, count)
        return found
    padding = [[0, 0], [0, groups * _GROUP - columns]]
    grouped = tf.pad(x, padding, constant_values=-math.inf)
    grouped = tf.reshape(grouped, [-1, groups, _GROUP])
    _, chosen = tf.math.top_k(tf.reduce_max(grouped, axis=-1), count)
    chosen = tf.sort(chosen, axis=-1)
    candidates = tf.gather(grouped, chosen, batch_dims=1)
    best, places = tf.math.top_k(tf.reshape(candidates, [-1, count * _GROUP]), count)
    of_group = tf.gather(chosen, places // _GROUP, batch_dims=1)
    return best, of_group * _GROUP + places % _GROUP


def top_log_probs(logits: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log softmax of the `count` largest logits, largest first, and their columns.

    Args:
        logits: float32[N, V], no NaN.
        count: k, at most V.

    Returns:
        float32[N, k] and int32[N, k].
    """
    best, ids = top_k(logits, count)
    # The largest probability is at least 1 / V, so its log is accurate, and TensorFlow's softmax
    # takes a third of the time of its logsumexp.
    likeliest = tf.gather(tf.nn.softmax(logits), ids[:, :1], batch_dims=1)
    return best - best[:, :1] + tf.math.log(likeliest), ids


def linear(
    units: int, fan_in: int, name: str, use_bias: bool = True, dtype: Any = None
) -> keras.layers.Dense:
    """Returns a dense layer with Sonnet's initialization.

    The weights are drawn from a truncated normal distribution of stddev 1/sqrt(fan-in), the bias is
    0. `dtype` is the Keras dtype policy of the layer.
    """
    return keras.layers.Dense(
        units,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=1.0 / math.sqrt(fan_in)),
        name=name,
        dtype=dtype,
    )


def split_heads(qkv: tf.Tensor, heads: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Splits a joint projection into queries, keys and values per head (head-major layout).

    Args:
        qkv: float[..., heads * 3 * D].
        heads: number of heads.

    Returns:
        Three float[..., heads, D]; the queries are already scaled by 1/sqrt(D).
    """
    size = qkv.shape[-1] // (3 * heads)
    shape = tf.concat([tf.shape(qkv)[:-1], [heads, 3 * size]], axis=0)
    query, key, value = tf.split(tf.reshape(qkv, shape), 3, axis=-1)
    return query * (size**-0.5), key, value


def attend_two(
    query: tf.Tensor,
    first: tuple[tf.Tensor, tf.Tensor],
    second: tuple[tf.Tensor, tf.Tensor],
) -> tf.Tensor:
    """Attends to exactly two rows, where the softmax is a sigmoid of the score difference.

    Args:
        query: float[..., heads, D], scaled.
        first: (key, value) of the first row.
        second: (key, value) of the second row. If one of the three arguments is broadcast on an
            axis, its static size on that axis must be 1.

    Returns:
        float[..., heads, D].
    """
    return _attend_two(query, *first, *second)


@tf.custom_gradient
def _attend_two(
    query: tf.Tensor,
    first_key: tf.Tensor,
    first_value: tf.Tensor,
    second_key: tf.Tensor,
    second_value: tf.Tensor,
) -> Any:
    keys, values = second_key - first_key, second_value - first_value
    # Scores in float32: in half precision, the small difference of two large scores is lost.
    weight = tf.sigmoid(tf.reduce_sum(tf.cast(query * keys, tf.float32), -1, keepdims=True))
    share = tf.cast(weight, values.dtype)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for_second = share * upstream
        for_weight = tf.reduce_sum(tf.cast(upstream * values, tf.float32), -1, keepdims=True)
        for_score = tf.cast(for_weight * weight * (1.0 - weight), query.dtype)
        for_key = for_score * query
        return (
            _sum_to(for_score * keys, query),
            -_sum_to(for_key, first_key),
            _sum_to(upstream - for_second, first_value),
            _sum_to(for_key, second_key),
            _sum_to(for_second, second_value),
        )

    return first_value + share * values, gradient


def _sum_to(gradient: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Sums over the axes on which `like` was broadcast, which must have static size 1."""
    axes = [axis for axis, size in enumerate(like.shape) if size == 1 != gradient.shape[axis]]
    return tf.reduce_sum(gradient, axes, keepdims=True) if axes else gradient
