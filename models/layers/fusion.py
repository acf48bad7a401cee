"""Fusion of the previous word with the encoded concepts: R2M's fusion memory and its ablation."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import ops
from models.layers.normalization import LayerNorm

Projected = tuple[tf.Tensor, ...]


@keras.saving.register_keras_serializable("r2m")
class AttentionFusion(keras.layers.Layer):
    """Multi-head self-attention over the two rows [word; concepts], flattened.

    The projections of the two rows do not depend on the recurrent state: `project` runs once per
    image for its concepts, and once per distinct word of a batch.

    Shapes: vectors float[..., D], projected 3 x float[..., heads, D/heads], output
    float[B, ..., 2 * D].

    Example:
        ```python
        fusion = AttentionFusion(units=512)
        fused = fusion(fusion.project(words), fusion.project(concepts))
        ```

    Source: Guo et al. 2020 (fusion memory).
    """

    def __init__(self, *, units: int, heads: int = 2, **kwargs: Any) -> None:
        """Builds nothing yet; `units` is D, which must be divisible by `heads`."""
        super().__init__(**kwargs)
        if units % heads:
            raise ValueError(f"units ({units}) must be divisible by heads ({heads})")
        self.units = units
        self.heads = heads

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        """Creates the joint query-key-value map and its layer norm."""
        self.qkv_map = ops.linear(3 * self.units, self.units, "qkv_map", dtype=self.dtype_policy)
        self.qkv_norm = LayerNorm(name="qkv_norm", dtype=self.dtype_policy)
        self.qkv_map.build((None, self.units))
        self.qkv_norm.build((None, 3 * self.units))

    def project(self, vectors: tf.Tensor) -> Projected:
        """Returns query, key, value of rows: float[..., D] -> 3 x float[..., heads, D/heads]."""
        return ops.split_heads(self.qkv_norm(self.qkv_map(vectors)), self.heads)

    def call(self, words: Projected, concepts: Projected) -> tf.Tensor:
        """Fuses each word with the concepts of its sentence.

        Args:
            words: projections of B or of B x T vectors.
            concepts: projections of B vectors.

        Returns:
            float[B, 2 * D] or float[B, T, 2 * D].
        """
        word_query, *word_row = words
        steps = word_query.shape[:-2]  # [B] or [B, T]
        if len(steps) == 2:
            concepts = tuple(x[:, None] for x in concepts)
        concept_query, *concept_row = concepts
        rows = [
            ops.attend_two(query, tuple(word_row), tuple(concept_row))
            for query in (word_query, concept_query)
        ]
        shape = tf.concat([tf.shape(word_query)[:-2], [self.units]], axis=0)
        fused = tf.concat([tf.reshape(row, shape) for row in rows], axis=-1)
        fused.set_shape([*steps, 2 * self.units])
        return fused

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units, "heads": self.heads}


@keras.saving.register_keras_serializable("r2m")
class ConcatFusion(keras.layers.Layer):
    """Concatenation of word and concepts, without attention: the ablation of `AttentionFusion`.

    Shapes: vectors float[..., D], projected 1 x float[..., D], output float[B, ..., 2 * D].

    Example:
        ```python
        fusion = ConcatFusion(units=512)
        fused = fusion(fusion.project(words), fusion.project(concepts))
        ```

    Source: Guo et al. 2020 (ablations).
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Builds nothing; `units` is D."""
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        """Creates no weights."""

    def project(self, vectors: tf.Tensor) -> Projected:
        """Returns the vectors unchanged."""
        return (vectors,)

    def call(self, words: Projected, concepts: Projected) -> tf.Tensor:
        """Concatenates float[B, (T,) D] and float[B, D] -> float[B, (T,) 2 * D]."""
        (word,), (concept,) = words, concepts
        if len(word.shape) == 3:
            concept = tf.broadcast_to(concept[:, None], tf.shape(word))
        return tf.concat([word, concept], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units}
