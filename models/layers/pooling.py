"""Pooling of the rows of an image, or of the words of a sentence, to one vector.

Letters: B images or sentences, L rows, D features.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers import packed_steps
from models.layers.gru import PackedGRU
from models.layers.linear import Linear
from models.layers.sinusoids import sinusoid

Pooling = Literal["mean", "max", "last", "gpo"]
POOLINGS: tuple[Pooling, ...] = ("mean", "max", "last", "gpo")
# Value of padding: sorted after all features, and with weight 0 in a softmax.
_PADDING = -1e4


def mean_pool(rows: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """Averages the real rows: float[B, L, D], int32[B] (None: all are real) -> float[B, D]."""
    if lengths is None:
        return tf.reduce_mean(rows, axis=1)
    real = tf.sequence_mask(lengths, tf.shape(rows)[1], rows.dtype)
    weights = real / tf.cast(tf.maximum(lengths, 1), rows.dtype)[:, tf.newaxis]
    return tf.squeeze(tf.matmul(weights[:, tf.newaxis], rows), axis=1)


def max_pool(rows: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """Returns the maximum of the real rows: float[B, L, D], int32[B] (None: all) -> float[B, D].

    Without real rows, the maximum is 0.
    """
    if lengths is None:
        return tf.reduce_max(rows, axis=1)
    real = tf.sequence_mask(lengths, tf.shape(rows)[1])
    found = tf.reduce_max(tf.where(real[..., tf.newaxis], rows, rows.dtype.min), axis=1)
    return tf.where(lengths[:, tf.newaxis] > 0, found, tf.zeros_like(found))


@keras.saving.register_keras_serializable("r2m")
class GeneralizedPooling(keras.layers.Layer):
    """Weighted sum of the sorted values of each feature, with learned weights per rank (GPO).

    The weights are a softmax of scores, which a bidirectional GRU and a linear layer compute from
    sinusoids of the ranks. The weights depend only on the number of rows, so they are computed once
    per distinct number.

    Shapes: rows float[B, L, D], lengths int32[B] or None -> float[B, D].

    Example:
        ```python
        pooled = GeneralizedPooling()(rows, lengths)
        ```

    Source: Chen et al. 2021, section 3 (VSE-infinity).
    """

    def __init__(
        self, *, position_size: int = 32, units: int = 32, temperature: float = 0.1, **kwargs: Any
    ) -> None:
        """Builds nothing yet.

        Args:
            position_size: size of the sinusoids.
            units: units of the GRU, per direction.
            temperature: temperature of the softmax.
            **kwargs: arguments of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self._settings: dict[str, Any] = {
            "position_size": position_size, "units": units, "temperature": temperature
        }  # fmt: skip

    def build(self, *_: Any) -> None:
        """Creates the weights; the input shape is ignored."""
        units = self._settings["units"]
        # Always float32, because of the low temperature of the softmax. The tensors are small.
        self.gru = PackedGRU(units=units, bidirectional=True, name="gru", dtype="float32")
        self.gru.build((None, self._settings["position_size"]))
        bound = units**-0.5
        self.score = Linear(
            1,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
            name="score",
            dtype="float32",
        )
        self.score.build((None, units))

    def call(self, rows: tf.Tensor, lengths: tf.Tensor | None = None) -> tf.Tensor:
        """Pools rows float[B, L, D] with `lengths` int32[B] real rows -> float[B, D]."""
        steps = tf.shape(rows)[1]
        if lengths is None:
            ordered = tf.sort(rows, axis=1, direction="DESCENDING")
            weights = self.rank_weights(steps[tf.newaxis], steps)
            return tf.tensordot(ordered, tf.cast(weights[0], rows.dtype), [[1], [0]])
        real = tf.sequence_mask(lengths, steps)[..., tf.newaxis]
        ordered = tf.sort(tf.where(real, rows, _PADDING), axis=1, direction="DESCENDING")
        ordered = tf.where(real, ordered, tf.zeros_like(ordered))
        numbers, indices = tf.unique(lengths)
        weights = tf.gather(self.rank_weights(numbers, steps), indices)
        weights = tf.cast(weights, rows.dtype)[:, tf.newaxis]
        return tf.squeeze(tf.matmul(weights, ordered), axis=1)

    def rank_weights(self, numbers: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """Returns the weights of the ranks for different numbers n of rows.

        Args:
            numbers: n, int32[U].
            steps: L, the maximum of n.

        Returns:
            float32[U, L]; the first n weights of a row sum to 1, the others are 0.
        """
        packing = packed_steps.pack(numbers, steps)
        ranks = sinusoid(packing.indices[:, 1], self._settings["position_size"])
        found = self.score(self.gru(ranks, packing, numbers)) / self._settings["temperature"]
        shape = tf.stack([tf.size(numbers), steps])
        scores = tf.fill(shape, _PADDING / self._settings["temperature"])
        scores = tf.tensor_scatter_nd_update(scores, packing.indices, found[:, 0])
        weights = tf.nn.softmax(scores)
        return weights * tf.sequence_mask(numbers, steps, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
