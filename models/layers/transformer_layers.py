"""Encoder and decoder layers of transformers, pre-norm: x + Dropout(sublayer(norm(x))).

Under half precision, the sublayers compute in half precision and the residual stream x is float32.

Letters: G groups, P rows, D units, h heads, L regions of an image, N captions, T words.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.dropout import Dropout
from models.layers.grouped_rows import Groups
from models.layers.normalization import NormKind, build_norm
from models.layers.transformer import (
    Activation,
    Cache,
    CrossAttention,
    DotProductAttention,
    FeedForward,
    SelfAttention,
)


class _Layer(keras.layers.Layer):
    """Base of encoder and decoder layers: self-attention and feed-forward."""

    def __init__(
        self,
        *,
        units: int,
        heads: int,
        inner_units: int,
        dropout: float = 0.0,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        skip_input: bool = False,
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            heads: h.
            inner_units: inner width of the feed-forward.
            dropout: dropout rate of attention weights, of the hidden layer of the feed-forward, and
                of the output of each sublayer.
            norm: kind of normalization, see `models.layers.normalization`.
            activation: activation of the feed-forward.
            skip_input: see `SelfAttention`.
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).
        """
        # No autocast: the bias of scores must stay float32 under half precision.
        super().__init__(autocast=False, **kwargs)
        self._settings = {
            "units": units, "heads": heads, "inner_units": inner_units, "dropout": dropout,
            "norm": norm, "activation": activation, "skip_input": skip_input,
        }  # fmt: skip
        self.units, self.norm, policy = units, norm, self.dtype_policy
        self.attention = SelfAttention(
            units=units,
            heads=heads,
            dropout=dropout,
            skip_input=skip_input,
            name="attention",
            dtype=policy,
        )
        self.feed_forward = FeedForward(
            units=units,
            inner_units=inner_units,
            dropout=dropout,
            activation=activation,
            name="feed_forward",
            dtype=policy,
        )
        self.attention_dropout = Dropout(dropout, name="attention_dropout", dtype=policy)
        self.feed_forward_dropout = Dropout(dropout, name="feed_forward_dropout", dtype=policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for rows float[P, D]."""
        policy = self.dtype_policy
        self.attention_norm = build_norm(self.norm, self.units, "attention_norm", policy)
        self.attention.build(input_shape)
        self.feed_forward_norm = build_norm(self.norm, self.units, "feed_forward_norm", policy)
        self.feed_forward.build(input_shape)

    def _attend(
        self, rows: tf.Tensor, groups: Groups, bias: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """Adds the output of self-attention to the rows."""
        found = self.attention(self.attention_norm(rows), groups, bias, training=training)
        return _sum(rows, self.attention_dropout(found, training=training))

    def _feed_forward(self, rows: tf.Tensor, training: bool) -> tf.Tensor:
        """Adds the output of the feed-forward to the rows."""
        found = self.feed_forward(self.feed_forward_norm(rows), training=training)
        return _sum(rows, self.feed_forward_dropout(found, training=training))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}


@keras.saving.register_keras_serializable("r2m")
class EncoderLayer(_Layer):
    """Encoder layer: self-attention of the regions of an image, then feed-forward.

    Shapes: float32[P, D] -> float32[P, D].

    Example:
        ```python
        layer = EncoderLayer(units=512, heads=8, inner_units=2_048, dropout=0.1)
        layer.build((None, 512))
        rows = layer(rows, grouped_rows.full(images, regions))
        ```
    """

    def call(
        self,
        rows: tf.Tensor,
        groups: Groups,
        bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Encodes rows.

        Args:
            rows: float[P, D].
            groups: groups of the rows by image.
            bias: float32, broadcast to [G, h, L, L] and added to the scores, or None.
            training: whether dropout is applied.
        """
        return self._feed_forward(self._attend(rows, groups, bias, training), training)


@keras.saving.register_keras_serializable("r2m")
class DecoderLayer(_Layer):
    """Decoder layer: causal self-attention of words, cross-attention to the image, feed-forward.

    Shapes: float32[P, D] -> float32[P, D].

    Example:
        ```python
        layer = DecoderLayer(units=512, heads=8, inner_units=2_048, dropout=0.1)
        layer.build((None, 512))
        projected = layer.cross_attention.project(regions, grouped_rows.full(images, 36))
        ```
    """

    def __init__(
        self,
        *,
        units: int,
        heads: int,
        dropout: float = 0.0,
        norm: NormKind = "layer",
        cross_attention: CrossAttention | None = None,
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            heads: h.
            dropout: dropout rate.
            norm: kind of normalization, see `models.layers.normalization`.
            cross_attention: layer of cross-attention; None builds `DotProductAttention` with the
                same number of heads.
            **kwargs: arguments of `EncoderLayer`.
        """
        super().__init__(units=units, heads=heads, dropout=dropout, norm=norm, **kwargs)
        policy = self.dtype_policy
        self.cross_attention: Any = cross_attention or DotProductAttention(
            units=units, heads=heads, dropout=dropout, name="cross_attention", dtype=policy
        )
        self.cross_dropout = Dropout(dropout, name="cross_dropout", dtype=policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for rows float[P, D]."""
        super().build(input_shape)
        self.cross_norm = build_norm(self.norm, self.units, "cross_norm", self.dtype_policy)
        self.cross_attention.build(input_shape)

    def call(
        self,
        rows: tf.Tensor,
        captions: Groups,
        images: Groups,
        projected: Any,
        *,
        bias: tf.Tensor | None = None,
        cross_bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Processes all words of captions.

        Args:
            rows: float[P, D], words.
            captions: groups of the words by caption.
            images: groups of the words by image.
            projected: regions, from `cross_attention.project`.
            bias: float32, broadcast to [N, h, T, T]: the causal mask.
            cross_bias: float32[G, 1, 1, L], the mask of regions, or None.
            training: whether dropout is applied.

        Returns:
            float[P, D], and the cross-attention weights float32[G, h, Q, L].
        """
        rows = self._attend(rows, captions, bias, training)
        return self._after_words(rows, images, projected, cross_bias, training)

    def step(
        self,
        rows: tf.Tensor,
        cache: Cache,
        position: tf.Tensor,
        bias: tf.Tensor,
        images: Groups,
        projected: Any,
        *,
        cross_bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, Cache]:
        """Processes one word per caption.

        Args:
            rows: float[N, D].
            cache: cache of the previous words.
            position: int32[N], positions of the words.
            bias: float32[N, 1, 1, T], 0 for the words so far and `MASKED` for all other positions.
            images: groups of the captions by image.
            projected: regions, from `cross_attention.project`.
            cross_bias: float32[G, 1, 1, L], the mask of regions, or None.
            training: whether dropout is applied.

        Returns:
            float[N, D] and the updated cache.
        """
        normed = self.attention_norm(rows)
        found, cache = self.attention.step(normed, cache, position, bias, training=training)
        rows = _sum(rows, self.attention_dropout(found, training=training))
        rows, _ = self._after_words(rows, images, projected, cross_bias, training)
        return rows, cache

    def _after_words(
        self,
        rows: tf.Tensor,
        images: Groups,
        projected: Any,
        cross_bias: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the outputs of cross-attention and of the feed-forward to the rows."""
        found, weights = self.cross_attention(
            self.cross_norm(rows), images, projected, cross_bias, training=training
        )
        rows = _sum(rows, self.cross_dropout(found, training=training))
        return self._feed_forward(rows, training), weights

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        cross_attention = keras.saving.serialize_keras_object(self.cross_attention)
        return {**super().get_config(), "cross_attention": cross_attention}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DecoderLayer:
        """Builds a layer from the result of `get_config`."""
        cross_attention = keras.saving.deserialize_keras_object(config["cross_attention"])
        return cls(**{**config, "cross_attention": cross_attention})


def _sum(rows: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Adds the output of a sublayer, possibly in half precision, to float32 rows."""
    return rows + tf.cast(found, rows.dtype)
