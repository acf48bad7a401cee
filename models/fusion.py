"""Fusion of the last word with the encoded concepts (R2M's fusion memory and its ablation)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models import ops
from models.normalization import LayerNorm


@keras.saving.register_keras_serializable("r2m")
class AttentionFusion(keras.layers.Layer):
    """Multi-head self-attention over the two rows [word; concepts], flattened.

    It has no recurrence, and of each row it needs only what `project` makes of it: once a sentence
    for the concepts, once for each word of the vocabulary that occurs.

    Shapes: vectors float[..., D], projected float[..., 3 * D], output float[B, ..., 2 * D].
    Source: Guo et al. 2020 (fusion memory).
    """

    def __init__(self, *, units: int, heads: int = 2, **kwargs: Any) -> None:
        """Args: `units` D of both rows, divisible by `heads`."""
        super().__init__(**kwargs)
        if units % heads:
            raise ValueError(f"units ({units}) must be divisible by heads ({heads})")
        self.units = units
        self.heads = heads

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        """Creates the joint query-key-value map and its layer norm."""
        self.qkv_map = ops.linear(3 * self.units, self.units, "qkv_map")
        self.qkv_norm = LayerNorm(name="qkv_norm")
        self.qkv_map.build((None, self.units))
        self.qkv_norm.build((None, 3 * self.units))

    def project(self, vectors: tf.Tensor) -> tf.Tensor:
        """Queries, keys and values of a row: float[..., D] -> float[..., 3 * D]."""
        return self.qkv_norm(self.qkv_map(vectors))

    def call(self, words: tf.Tensor, concepts: tf.Tensor) -> tf.Tensor:
        """Fuses each word with its sentence's concepts.

        Args:
            words: projected, float[B, 3 * D] or float[B, T, 3 * D].
            concepts: projected, float[B, 3 * D].

        Returns:
            float[B, 2 * D] or float[B, T, 2 * D].
        """
        if len(words.shape) == 3:
            concepts = concepts[:, None]
        word_query, *word_row = ops.split_heads(words, self.heads)
        concept_query, *concept_row = ops.split_heads(concepts, self.heads)
        rows = [
            ops.attend_two(query, tuple(word_row), tuple(concept_row))
            for query in (word_query, concept_query)
        ]
        shape = tf.concat([tf.shape(words)[:-1], [self.units]], axis=0)
        fused = tf.concat([tf.reshape(row, shape) for row in rows], axis=-1)
        fused.set_shape([*words.shape[:-1], 2 * self.units])
        return fused

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units, "heads": self.heads}


@keras.saving.register_keras_serializable("r2m")
class ConcatFusion(keras.layers.Layer):
    """The ablation: word and concepts side by side, without attention.

    Shapes: vectors float[..., D], projected the same, output float[B, ..., 2 * D].
    Source: Guo et al. 2020 (ablations).
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Args: `units` D of both rows."""
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        """Nothing to create."""

    def project(self, vectors: tf.Tensor) -> tf.Tensor:
        """The vectors themselves."""
        return vectors

    def call(self, words: tf.Tensor, concepts: tf.Tensor) -> tf.Tensor:
        """float[B, D] or float[B, T, D], and float[B, D] -> as the words, with 2 * D features."""
        if len(words.shape) == 3:
            concepts = tf.broadcast_to(concepts[:, None], tf.shape(words))
        return tf.concat([words, concepts], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units}
