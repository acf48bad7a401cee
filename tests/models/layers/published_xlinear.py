"""X-linear block as published, with a value projection per pair of a query and a row."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.layers.xlinear import XLinearAttention


def published(
    layer: XLinearAttention, queries: tf.Tensor, rows: tf.Tensor, mask: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns outputs [N, T, D] and weights [N, T, L] of queries [N, T, D] and rows [B, L, D].

    Rows and their mask [B, L] are repeated for the captions of an image.
    """
    captions, units = tf.shape(queries)[0], queries.shape[2]
    each = captions // tf.shape(rows)[0]
    rows = tf.repeat(rows, each, axis=0)
    real = tf.ones(tf.shape(rows)[:2]) if mask is None else tf.repeat(mask, each, axis=0)

    def normalized(part: Any, x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(x, [-1, units]) @ part.linear.kernel + part.linear.bias
        x = tf.where(x > 0, x, tf.exp(x) - 1)
        mean, variance = tf.nn.moments(x, axes=[1], keepdims=True)
        x = (x - mean) / tf.sqrt(variance + 1e-5) * part.norm.gamma + part.norm.beta
        return tf.reshape(x, [captions, -1, units])

    query, gate = normalized(layer.query_map, queries), normalized(layer.gate_map, queries)
    key, value = normalized(layer.key_map, rows), normalized(layer.value_map, rows)
    pairs = query[:, :, None] * key[:, None]
    hidden = tf.nn.relu(pairs @ layer.pair_map.kernel + layer.pair_map.bias)
    scores = tf.reduce_sum(hidden * layer.score.kernel[:, 0], -1) + layer.score.bias
    weights = tf.nn.softmax(tf.where(real[:, None] > 0, scores, -1e9))
    mean = tf.reduce_sum(hidden * real[:, None, :, None], 2)
    mean /= tf.reduce_sum(real, 1)[:, None, None]
    channels = tf.sigmoid(mean @ layer.channel_map.kernel + layer.channel_map.bias)
    values = gate[:, :, None] * value[:, None]
    return channels * tf.reduce_sum(weights[..., None] * values, 2), weights
