"""Attention of recurrent states over the rows of an image: grid cells or regions.

The N captions of B images (N / B consecutive ones per image) share the rows of their image.

Letters: B images, N captions, L rows of an image, H state, A attention units.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import image_rows
from models.layers.linear import torch_dense
from models.layers.precision import at_least_float32, at_least_float32_policy


def scaled_dot(query: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns softmax(rows q / sqrt(H)), computed in float32.

    Args:
        query: float[N, H].
        rows: float[B, L, H].

    Returns:
        Weights float32[N, L]. Source: Vaswani et al. 2017, with one query.
    """
    scores = tf.matmul(image_rows.group(query, rows), rows, transpose_b=True)
    scores *= query.shape[-1] ** -0.5
    return image_rows.ungroup(tf.nn.softmax(tf.cast(scores, tf.float32)))


def average(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Averages rows float[B, L, H] with weights float32[N, L] -> float[N, H]."""
    return image_rows.ungroup(tf.matmul(image_rows.group(tf.cast(weights, rows.dtype), rows), rows))


@keras.saving.register_keras_serializable("r2m")
class AdditiveAttention(keras.layers.Layer):
    """Additive attention: scores e = w . tanh(P + W h + b_h) + b, with P = W_r r + b_r.

    P is computed once per image, by `project`.

    Shapes: rows float[B, L, D], query float[N, H] -> weights float32[N, L].

    Example:
        ```python
        attention = AdditiveAttention(units=512)
        attention.build((None, None, 2_048), (None, 512))
        weights = attention(hidden, attention.project(rows), mask=None)
        ```

    Source: Xu et al. 2015. The mask is applied after the softmax, as in the published att2in2 and
    up-down.
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Builds nothing yet; `units` is A."""
        super().__init__(**kwargs)
        self.units = units

    def build(
        self, rows_shape: tuple[int | None, ...], query_shape: tuple[int | None, ...]
    ) -> None:
        """Creates the weights for rows float[B, L, D] and queries float[B, H]."""
        self.row_map = torch_dense(
            self.units, int(rows_shape[-1] or 0), "row_map", self.dtype_policy
        )
        self.query_map = torch_dense(
            self.units, int(query_shape[-1] or 0), "query_map", self.dtype_policy
        )
        # For a single output column, the cast to bfloat16 costs more than it saves.
        self.score = torch_dense(1, self.units, "score", at_least_float32_policy(self.dtype_policy))

    def project(self, rows: tf.Tensor) -> tf.Tensor:
        """Computes P of the scores: rows float[B, L, D] -> float[B, L, A]."""
        return self.row_map(rows)

    def call(self, query: tf.Tensor, projected: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Returns the weights of the rows.

        Args:
            query: float[N, H].
            projected: P, from `project`.
            mask: float32[B, L], 1 for real rows; None if all are real.

        Returns:
            float32[N, L] that sum to 1.
        """
        queries = image_rows.group(self.query_map(query), projected)
        # Not [:, None]: the gradient of indexing is a copy, that of a reshape is free.
        keys, queries = at_least_float32(projected), at_least_float32(queries)
        hidden = tf.tanh(tf.expand_dims(keys, 1) + tf.expand_dims(queries, 2))
        weights = tf.nn.softmax(tf.squeeze(self.score(hidden), axis=-1))
        if mask is not None:
            # Keras casts the inputs of a layer to its compute dtype.
            weights *= tf.cast(tf.expand_dims(mask, 1), tf.float32)
            total = tf.reduce_sum(weights, -1, keepdims=True)
            weights = tf.math.divide_no_nan(weights, total)
        return image_rows.ungroup(weights)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


def region_mask(rows: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tf.Tensor | None:
    """Returns float32[B, L], 1 for real rows, from `region_lengths` int32[B]; None without them."""
    lengths = inputs.get("region_lengths")
    return None if lengths is None else tf.sequence_mask(lengths, tf.shape(rows)[1], tf.float32)


def mean_row(rows: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Averages the real rows: float[B, L, D] -> float[B, D]."""
    mask = region_mask(rows, inputs)
    if mask is None:
        return tf.reduce_mean(rows, axis=1)
    count = tf.maximum(tf.reduce_sum(mask, -1, keepdims=True), 1.0)
    return average(rows, mask / count)


def attention_memory(
    rows: tf.Tensor, projected: tf.Tensor, inputs: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns a memory of `rows`, `projected` and, if rows are padded, `mask`."""
    mask = region_mask(rows, inputs)
    return {"rows": rows, "projected": projected} | ({} if mask is None else {"mask": mask})
