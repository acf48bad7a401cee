"""X-linear attention: second-order interactions of queries and rows of an image."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.layers import image_rows
from models.layers.linear import xavier_dense
from models.layers.normalization import LayerNorm
from models.layers.pair_scores import PairWeights, score_pairs


class XLinearMemory(NamedTuple):
    """Keys and values of the rows of images, made once per image.

    Attributes:
        keys: float[B, L, D].
        values: float[B, L, D].
    """

    keys: tf.Tensor
    values: tf.Tensor


@keras.saving.register_keras_serializable("r2m")
class XLinearAttention(keras.layers.Layer):
    """Attention by the elementwise products of queries and keys.

    With maps P_j(u) = layer norm(CELU(W_j u + b_j)), q = P_0(x), k = P_1(m), g = P_2(x) and
    v = P_3(m) for a query x and a row m, the attention of a pair is read from its products:

        E_k = dropout(relu(W_e (q * k_k) + b_e))
        a = softmax over k of w_s . E_k + b_s,  b = sigmoid(W_c mean_k E_k + b_c)
        output = b * g * sum_k a_k v_k

    The published block forms g * v_k per pair before the sum, which is the same. It has one head.

    Shapes: queries float[N, T, D], rows float[B, L, D], mask float32[B, L] -> outputs
    float[N, T, D], weights float32[N, T, L]; N / B consecutive captions per image.

    Example:
        ```python
        attention = XLinearAttention(units=512, dropout=0.1)
        attention.build((None, None, 512))
        outputs, weights = attention(words, attention.project(rows), mask=None)
        ```

    Source: Pan et al. 2020 (arXiv 2003.14080), as sidharth5n/Spatial-Image-Captioning uses it.
    """

    def __init__(
        self, *, units: int, hidden_units: int = 256, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            hidden_units: size of E.
            dropout: rate of E while training.
            **kwargs: of `keras.layers.Layer` (name, dtype).
        """
        super().__init__(**kwargs)
        self.units = units
        self.hidden_units = hidden_units
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights; queries and rows have size D."""
        units, hidden = self.units, self.hidden_units
        self.query_map, self.key_map, self.gate_map, self.value_map = (
            NormalizedMap(units=units, name=name, dtype=self.dtype_policy)
            for name in ("query_map", "key_map", "gate_map", "value_map")
        )
        for own in (self.query_map, self.key_map, self.gate_map, self.value_map):
            own.build((None, units))
        self.pair_map = xavier_dense(hidden, units, "pair_map", self.dtype_policy)
        self.score = xavier_dense(1, hidden, "score", self.dtype_policy)
        self.channel_map = xavier_dense(units, hidden, "channel_map", self.dtype_policy)

    def project(self, rows: tf.Tensor) -> XLinearMemory:
        """Returns keys and values of rows float[B, L, D]."""
        return XLinearMemory(self.key_map(rows), self.value_map(rows))

    def call(
        self,
        queries: tf.Tensor,
        memory: XLinearMemory,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attends to the rows of the images.

        Args:
            queries: float[N, T, D].
            memory: from `project`.
            mask: float32[B, L], 1 for real rows; None where all are.
            training: whether dropout is applied.

        Returns:
            Outputs float[N, T, D] and weights float32[N, T, L] that sum to 1.
        """
        keys, values = memory
        query, gate = (_per_image(own(queries), keys) for own in (self.query_map, self.gate_map))
        real = tf.ones(tf.shape(keys)[:2]) if mask is None else tf.cast(mask, tf.float32)
        count = tf.maximum(tf.reduce_sum(real, -1, keepdims=True), 1.0)
        rate = self.dropout.rate if training else 0.0
        kernel, bias = self.pair_map.tensors()
        score_kernel, score_bias = self.score.tensors()
        scores, mean = score_pairs(
            query,
            keys,
            tf.cast(real / count, keys.dtype),
            PairWeights(kernel, bias, tf.squeeze(score_kernel, 1)),
            dropout=rate,
            seed=tf.cast(self.dropout.seed_generator.next(), tf.int32) if rate else None,
        )
        scores = tf.cast(scores + score_bias, tf.float32)
        if mask is not None:
            scores = tf.where(tf.expand_dims(real, 1) > 0, scores, -1e9)
        weights = tf.nn.softmax(scores)
        channels = tf.sigmoid(self.channel_map(mean))
        outputs = channels * gate * tf.matmul(tf.cast(weights, values.dtype), values)
        outer = tf.shape(queries)[:2]
        return _per_caption(outputs, outer), _per_caption(weights, outer)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(), "units": self.units, "hidden_units": self.hidden_units,
            "dropout": self.dropout.rate,
        }  # fmt: skip


@keras.saving.register_keras_serializable("r2m")
class NormalizedMap(keras.layers.Layer):
    """A linear map, CELU and layer normalization.

    The published block has group normalization of one group per row, which is the same.

    Shapes: float[..., D] -> float[..., units].

    Example:
        ```python
        keys = NormalizedMap(units=512)(rows)
        ```
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Builds nothing yet."""
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs float[..., D]."""
        policy = self.dtype_policy
        self.linear = xavier_dense(self.units, int(input_shape[-1] or 0), "linear", policy)
        self.norm = LayerNorm(name="norm", dtype=policy)
        self.norm.build((None, self.units))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the map: float[..., D] -> float[..., units]."""
        return self.norm(tf.nn.elu(self.linear(inputs)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


def _per_image(x: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Reshapes [N, T, D] to [B, N / B * T, D] for tensors `images` [B, ...]."""
    captions, steps = tf.unstack(tf.shape(x)[:2])
    queries = image_rows.captions_per_image(images, captions) * steps
    return tf.reshape(x, [tf.shape(images)[0], queries, x.shape[-1]])


def _per_caption(x: tf.Tensor, outer: tf.Tensor) -> tf.Tensor:
    """Reshapes [B, N / B * T, D] back to [N, T, D], given N and T."""
    rows = tf.reshape(x, tf.concat([outer, tf.shape(x)[2:]], axis=0))
    return tf.ensure_shape(rows, [None, None, x.shape[2]])
