"""X-linear attention: second-order interactions between words and regions of an image.

Letters: P words, R regions, G images, Q words and L regions per image, D units.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.dropout import Dropout
from models.layers.grouped_rows import Groups
from models.layers.linear import xavier_dense
from models.layers.normalization import build_norm
from models.layers.pair_scores import PairWeights, score_pairs
from models.layers.precision import at_least_float32


@keras.saving.register_keras_serializable("r2m")
class XLinearAttention(keras.layers.Layer):
    """Attention of words to regions by elementwise products (a `CrossAttention`).

    With P_j(u) = layer norm(CELU(W_j u + b_j)), q = P_0(x), k = P_1(m), g = P_2(x) and v = P_3(m)
    for a word x and a region m:

        E_k = dropout(relu(W_e (q * k_k) + b_e))
        a = softmax over k of w_s . E_k + b_s,  b = sigmoid(W_c mean_k E_k + b_c)
        output = b * g * sum_k a_k v_k

    The published block computes g * v_k per pair before the sum, which is equivalent. There is one
    head.

    Shapes: words float[P, D], regions float[R, D] -> float[P, D].

    Example:
        ```python
        attention = XLinearAttention(units=512, hidden_units=256, dropout=0.1)
        attention.build((None, 512))
        projected = attention.project(regions, grouped_rows.full(images, 36))
        outputs, weights = attention(words, grouped_rows.full(images, 5), projected)
        ```

    Source: Pan et al. 2020 (arXiv 2003.14080), in the variant of
    sidharth5n/Spatial-Image-Captioning.
    """

    def __init__(
        self, *, units: int, hidden_units: int, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            hidden_units: size of E.
            dropout: dropout rate of E.
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).
        """
        # No autocast: the bias of scores must stay float32 under half precision.
        super().__init__(autocast=False, **kwargs)
        self._settings = {"units": units, "hidden_units": hidden_units, "dropout": dropout}
        self.units, self.hidden_units, policy = units, hidden_units, self.dtype_policy
        self.query_map, self.key_map, self.gate_map, self.value_map = (
            NormalizedMap(units=units, name=name, dtype=policy)
            for name in ("query_map", "key_map", "gate_map", "value_map")
        )
        self.pair_dropout = Dropout(dropout, name="pair_dropout", dtype=policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for words float[P, D]."""
        units, hidden, policy = self.units, self.hidden_units, self.dtype_policy
        for each in (self.query_map, self.key_map, self.gate_map, self.value_map):
            each.build(input_shape)
        self.pair_map = xavier_dense(hidden, units, "pair_map", policy)
        self.score = xavier_dense(1, hidden, "score", policy)
        self.channel_map = xavier_dense(units, hidden, "channel_map", policy)

    def project(self, rows: tf.Tensor, groups: Groups) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns keys and values of regions: float[R, D] -> two tensors float[G, L, D]."""
        return groups.pad(self.key_map(rows)), groups.pad(self.value_map(rows))

    def call(
        self,
        rows: tf.Tensor,
        groups: Groups,
        projected: tuple[tf.Tensor, tf.Tensor],
        bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes attention; see `CrossAttention`. The weights have a single head."""
        keys, values = projected
        compact = groups.compact()
        real = (
            tf.ones(tf.shape(keys)[:2]) if bias is None else tf.cast(bias[:, 0, 0] == 0, tf.float32)
        )
        count = tf.maximum(tf.reduce_sum(real, -1, keepdims=True), 1.0)
        rate = self.pair_dropout.rate if training else 0.0
        kernel, offset = self.pair_map.tensors()
        score_kernel, score_bias = self.score.tensors()
        scores, mean = score_pairs(
            compact.pad(self.query_map(rows)),
            keys,
            tf.cast(real / count, keys.dtype),
            PairWeights(kernel, offset, tf.squeeze(score_kernel, 1)),
            dropout=rate,
            seed=tf.cast(self.pair_dropout.seed_generator.next(), tf.int32) if rate else None,
        )
        scores = at_least_float32(scores + score_bias)
        if bias is not None:
            scores += tf.cast(tf.squeeze(bias, 1), scores.dtype)
        weights = tf.nn.softmax(scores)
        attended = compact.unpad(tf.matmul(tf.cast(weights, values.dtype), values))
        channels = tf.sigmoid(self.channel_map(compact.unpad(mean)))
        weights = groups.pad(compact.unpad(weights))
        return channels * self.gate_map(rows) * attended, tf.expand_dims(weights, 1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}


@keras.saving.register_keras_serializable("r2m")
class NormalizedMap(keras.layers.Layer):
    """A linear layer, CELU and layer normalization.

    The published block uses group normalization with one group per row, which is equivalent.

    Shapes: float[..., units] -> float[..., units].

    Example:
        ```python
        keys = NormalizedMap(units=512)(rows)
        ```
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Builds nothing yet; `units` is the size of inputs and outputs."""
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs float[..., units]."""
        del input_shape
        self.linear = xavier_dense(self.units, self.units, "linear", self.dtype_policy)
        self.norm = build_norm("layer", self.units, "norm", self.dtype_policy)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the layers: float[..., units] -> float[..., units]."""
        return self.norm(tf.nn.elu(self.linear(inputs)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units}
