"""Encoder of sentences: a GRU or a bag of words, then pooling."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers import packed_steps
from models.layers.gru import GRUWeights, PackedGRU
from models.layers.pooling import (
    GeneralizedPooling,
    Pooling,
    max_pool,
    mean_pool,
)
from models.layers.words import WordInput

SentenceKind = Literal["gru", "bow"]


@keras.saving.register_keras_serializable("r2m")
class SentenceEncoder(keras.layers.Layer):
    """Encoder of sentences for visual-semantic embedding.

    Shapes: tokens int32[N, T], lengths int32[N] -> float[N, units].

    Example:
        ```python
        encoder = SentenceEncoder(vocabulary_size=8_000, word_size=300, units=1_024)
        vectors = encoder(tokens, lengths)
        ```

    Sources: Kiros et al. 2014; Faghri et al. 2018; pooling over words: Chen et al. 2021.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        word_size: int,
        units: int,
        kind: SentenceKind = "gru",
        layers: int = 1,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        weights: GRUWeights = "torch",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            vocabulary_size: V.
            word_size: E, size of the word vectors.
            units: D.
            kind: `gru`; or `bow`, which pools the word vectors directly.
            layers: number of layers of the GRU.
            bidirectional: whether the GRU is bidirectional; the outputs of the two directions are
                averaged.
            pooling: pooling of the outputs of all words. For `bow`, the mean is equivalent to the
                published sum, because vectors are normalized afterwards.
            weights: initial weights of the GRU.
            dropout: dropout rate of the word vectors.
            **kwargs: arguments of `keras.layers.Layer`.

        Raises:
            ValueError: the kind is unknown, or a bag of words has `word_size` other than `units` or
                pooling `last`.
        """
        super().__init__(**kwargs)
        if kind not in ("gru", "bow"):
            raise ValueError(f"unknown sentence_encoder {kind!r}; known: gru, bow")
        if kind == "bow" and word_size != units:
            raise ValueError(
                f"word_size={word_size}: a bag of words needs word vectors of size {units}, the "
                "size of the embedding"
            )
        if kind == "bow" and pooling == "last":
            raise ValueError("sentence_pooling=last: a bag of words has no last word; use mean")
        self._settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size, "word_size": word_size, "units": units,
            "kind": kind, "layers": layers, "bidirectional": bidirectional, "pooling": pooling,
            "weights": weights, "dropout": dropout,
        }  # fmt: skip
        self._pooling = pooling

    def build(self, *_: Any) -> None:
        """Creates all weights; the input shape is ignored."""
        own, policy = self._settings, self.dtype_policy
        self.words = WordInput(
            vocabulary_size=own["vocabulary_size"],
            units=own["word_size"],
            initializer=keras.initializers.RandomUniform(-0.1, 0.1),
            dropout=own["dropout"],
            name="words",
            dtype=policy,
        )
        self.gru = self.pool = None
        if own["kind"] == "gru":
            self.gru = PackedGRU(
                units=own["units"],
                layers=own["layers"],
                bidirectional=own["bidirectional"],
                weights=own["weights"],
                name="gru",
                dtype=policy,
            )
            self.gru.build((None, own["word_size"]))
        if self._pooling == "gpo":
            self.pool = GeneralizedPooling(name="pool", dtype=policy)
            self.pool.build()

    def call(self, tokens: tf.Tensor, lengths: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes sentences: tokens int32[N, T], lengths int32[N], at least 1 -> float[N, D]."""
        packing = packed_steps.pack(lengths, tf.shape(tokens)[1])
        outputs = self.words(tf.gather_nd(tokens, packing.indices), training=training)
        if self.gru is not None:
            outputs = self.gru(outputs, packing, lengths)
        if self._pooling == "last":
            return tf.gather(outputs, packed_steps.last_positions(packing, lengths))
        shape = tf.concat([tf.shape(tokens), [outputs.shape[-1]]], axis=0)
        rows = tf.scatter_nd(packing.indices, outputs, tf.cast(shape, tf.int64))
        rows = tf.ensure_shape(rows, [None, None, outputs.shape[-1]])
        if self.pool is not None:
            return self.pool(rows, lengths)
        return (mean_pool if self._pooling == "mean" else max_pool)(rows, lengths)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
