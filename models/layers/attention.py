"""Attention of recurrent states over the rows of an image: grid cells or regions.

The captions of an image stand together, and may share its rows: a search reads them once for all
hypotheses. Teacher forcing sorts captions by length and gathers rows for each (B = N there).

Letters: B images, N captions (as many of each image), L rows of an image, H state, A attention
units.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import ops
from models.layers.packed_steps import Linear


def scaled_dot(query: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """softmax(rows q / sqrt(H)) in float32.

    Args:
        query: float[N, H].
        rows: float[B, L, H].

    Returns:
        Weights float32[N, L]. Source: Vaswani et al. 2017, with one query.
    """
    scores = tf.matmul(ops.by_image(query, rows), rows, transpose_b=True) * query.shape[-1] ** -0.5
    return ops.by_caption(tf.nn.softmax(tf.cast(scores, tf.float32)))


def average(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The rows float[B, L, H] averaged by weights float32[N, L] -> float[N, H]."""
    return ops.by_caption(tf.matmul(ops.by_image(tf.cast(weights, rows.dtype), rows), rows))


@keras.saving.register_keras_serializable("r2m")
class AdditiveAttention(keras.layers.Layer):
    """e = w . tanh(P + W h + b_h) + b over rows whose P = W_r r + b_r is made once an image.

    Source: Xu et al. 2015; masked after the softmax, as the published att2in2 and up-down are.
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Args: `units` A."""
        super().__init__(**kwargs)
        self.units = units

    def build(
        self, rows_shape: tuple[int | None, ...], query_shape: tuple[int | None, ...]
    ) -> None:
        """Creates the weights for rows float[B, L, D] and queries float[B, H]."""
        self.row_map = torch_dense(self.units, int(rows_shape[-1] or 0), "row_map")
        self.query_map = torch_dense(self.units, int(query_shape[-1] or 0), "query_map")
        self.score = torch_dense(1, self.units, "score")

    def project(self, rows: tf.Tensor) -> tf.Tensor:
        """What the scores need of the rows: float[B, L, D] -> float[B, L, A]."""
        return self.row_map(rows)

    def call(self, query: tf.Tensor, projected: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """The weights of the rows.

        Args:
            query: float[N, H].
            projected: what `project` gave.
            mask: float32[B, L], 1 for real rows; None where all are.

        Returns:
            float32[N, L] that sum to 1.
        """
        asked = ops.by_image(self.query_map(query), projected)
        # Not [:, None]: the gradient of an index is a copy, that of a reshape is none.
        hidden = tf.tanh(tf.expand_dims(projected, 1) + tf.expand_dims(asked, 2))
        scores = tf.squeeze(self.score(hidden), axis=-1)
        weights = tf.nn.softmax(tf.cast(scores, tf.float32))
        if mask is not None:
            # Keras casts what a layer is given to what it computes in.
            weights *= tf.cast(tf.expand_dims(mask, 1), tf.float32)
            total = tf.reduce_sum(weights, -1, keepdims=True)
            weights = tf.math.divide_no_nan(weights, total)
        return ops.by_caption(weights)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units}

    @property
    def recurrent_layers(self) -> list[Linear]:
        """What a step gives float[n, H]."""
        return [self.query_map]

    @property
    def wide_layers(self) -> list[Linear]:
        """What a step gives float[n, 1, L, A]."""
        return [self.score]


def torch_dense(units: int, fan_in: int, name: str) -> Linear:
    """A built dense layer that starts as PyTorch's do: weights, bias in +-1/sqrt(fan-in)."""
    bound = fan_in**-0.5
    layer = Linear(
        units,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        name=name,
    )
    layer.build((None, fan_in))
    return layer


def region_mask(rows: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tf.Tensor | None:
    """float32[B, L], 1 for real rows: of `region_lengths` int32[B]; None without them."""
    lengths = inputs.get("region_lengths")
    return None if lengths is None else tf.sequence_mask(lengths, tf.shape(rows)[1], tf.float32)


def mean_row(rows: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """The mean of the real rows: float[B, L, D] -> float[B, D]."""
    mask = region_mask(rows, inputs)
    if mask is None:
        return tf.reduce_mean(rows, axis=1)
    count = tf.maximum(tf.reduce_sum(mask, -1, keepdims=True), 1.0)
    return average(rows, mask / count)


def encoded(
    rows: tf.Tensor, projected: tf.Tensor, inputs: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """The memory of a captioner with attention: `rows`, `projected`, and `mask` if it has one."""
    mask = region_mask(rows, inputs)
    return {"rows": rows, "projected": projected} | ({} if mask is None else {"mask": mask})
