"""Decoder of transformer captioners: maps words and encoded regions to hidden states.

Letters: B images, N captions (N / B consecutive ones per image), T words, P real words, L regions
of an image, D units, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.layers import grouped_rows
from models.layers.dropout import Dropout
from models.layers.grouped_rows import Groups
from models.layers.normalization import NormKind, build_norm
from models.layers.precision import at_least_float32
from models.layers.prepared_weights import product
from models.layers.sinusoids import sinusoid
from models.layers.transformer import Cache, mask_bias
from models.layers.transformer_layers import DecoderLayer
from models.layers.words import WordOutput

# Encoded images: `layers` contains, for each decoder layer, the nested tensors [B, ...] returned by
# `project` of its cross-attention. If images have padded regions, `bias` float32[B, 1, 1, L] is 0
# for real regions and `MASKED` for padding.
Projected = dict[str, Any]


class DecoderState(NamedTuple):
    """State of the decoder between words.

    Attributes:
        position: int32[N], position of the next word.
        bias: float32[N, T], 0 for previous words, `MASKED` for padding and future positions.
        caches: keys and values of each layer.
    """

    position: tf.Tensor
    bias: tf.Tensor
    caches: tuple[Cache, ...]


@keras.saving.register_keras_serializable("r2m")
class CaptionDecoder(keras.layers.Layer):
    """Word embedding and positions, decoder layers, a norm, and the softmax layer.

    Self-attention is causal, and padding (id 0) after the first word is masked.

    Shapes: tokens int32[N, T] and regions float[R, D] of B images -> hidden float[N, T, D].

    Example:
        ```python
        layers = [DecoderLayer(units=512, heads=8, inner_units=2_048) for _ in range(6)]
        decoder = CaptionDecoder(vocabulary_size=9_488, units=512, layers=layers)
        decoder.build((None, 512))
        projected = decoder.project(regions, grouped_rows.full(images, 36), mask=None)
        hidden, weights = decoder.all_words(tokens, lengths, projected)
        ```
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        units: int,
        layers: Sequence[DecoderLayer],
        dropout: float = 0.0,
        norm: NormKind = "layer",
        tie_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            vocabulary_size: V, markers included.
            units: D.
            layers: decoder layers, the first one first.
            dropout: dropout rate of the embedded words.
            norm: kind of the normalization after the last layer.
            tie_embeddings: whether the softmax layer uses the word embedding as weights.
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).
        """
        super().__init__(autocast=False, **kwargs)
        self._settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size, "units": units, "dropout": dropout, "norm": norm,
            "tie_embeddings": tie_embeddings,
        }  # fmt: skip
        self.units = units
        self.layers = list(layers)
        self.word_dropout = Dropout(dropout, name="word_dropout", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for regions float[R, D]."""
        policy, size = self.dtype_policy, self._settings["vocabulary_size"]
        self.embedding = keras.layers.Embedding(
            size,
            self.units,
            embeddings_initializer=keras.initializers.GlorotUniform(),
            name="embedding",
            dtype=policy,
        )
        self.embedding.build((None,))
        for layer in self.layers:
            layer.build(input_shape)
        self.norm = build_norm(self._settings["norm"], self.units, "norm", policy)
        self.word_output = None
        if self._settings["tie_embeddings"]:
            bound = self.units**-0.5
            self.output_bias = self.add_weight(
                name="output_bias",
                shape=(size,),
                initializer=keras.initializers.RandomUniform(-bound, bound),
            )
        else:
            self.word_output = WordOutput(
                vocabulary_size=size,
                units=self.units,
                initializer=keras.initializers.GlorotUniform(),
                name="word_output",
                dtype=policy,
            )

    def project(self, rows: tf.Tensor, groups: Groups, mask: tf.Tensor | None) -> Projected:
        """Projects encoded regions for the cross-attention of every layer.

        Args:
            rows: float[R, D], encoded regions.
            groups: groups of the regions by image.
            mask: bool[B, L], whether a region is real; None if all are real.
        """
        layers = tuple(layer.cross_attention.project(rows, groups) for layer in self.layers)
        projected: Projected = {"layers": layers}
        if mask is not None:
            projected["bias"] = mask_bias(mask)[:, None, None]
        return projected

    def all_words(
        self,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None,
        projected: Projected,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the hidden states for given words in parallel.

        Args:
            tokens: int32[N, T], start marker first.
            lengths: int32[N], number of real words; None if all words are real.
            projected: projections of B images.
            training: whether dropout is applied.

        Returns:
            Hidden states float[N, T, D], 0 at padding, and the last layer's cross-attention weights
            float32[N, T, h, L].
        """
        count, steps = tf.unstack(tf.shape(tokens))
        captions = (
            grouped_rows.full(count, steps)
            if lengths is None
            else grouped_rows.packed(lengths, steps)
        )
        images = captions.merged(_images(projected))
        position = tf.tile(tf.range(steps)[None], [count, 1])
        earlier = tf.range(steps) <= tf.range(steps)[:, None]
        real = (tokens != 0) | (position == 0)
        bias = mask_bias(earlier & real[:, None, None])
        words, position = tf.unstack(captions.unpad(tf.stack([tokens, position], axis=2)), axis=1)
        rows = self._embed(words, position, training)
        weights = None
        for layer, of_images in zip(self.layers, projected["layers"], strict=True):
            rows, weights = layer(
                rows,
                captions,
                images,
                of_images,
                bias=bias,
                cross_bias=projected.get("bias"),
                training=training,
            )
        weights = tf.transpose(weights, [0, 2, 1, 3])  # [B, N / B * T, h, L]
        shape = tf.concat([[count, steps], tf.shape(weights)[2:]], axis=0)
        return captions.pad(self.norm(rows)), tf.reshape(weights, shape)

    def initial_state(self, captions: tf.Tensor, max_length: int | tf.Tensor) -> DecoderState:
        """Returns the state before the first word, for N captions of at most T words."""
        caches = tuple(layer.attention.empty_cache(captions, max_length) for layer in self.layers)
        bias = mask_bias(tf.fill([captions, max_length], False))
        return DecoderState(tf.zeros([captions], tf.int32), bias, caches)

    def step(
        self, tokens: tf.Tensor, state: DecoderState, projected: Projected, training: bool = False
    ) -> tuple[tf.Tensor, DecoderState]:
        """Computes the hidden states for one word per caption.

        Args:
            tokens: int32[N].
            state: state before these words.
            projected: projections of B images.
            training: whether dropout is applied.

        Returns:
            Hidden states float[N, D] and the next state.
        """
        position, count, images = state.position, tf.shape(tokens)[0], _images(projected)
        groups = grouped_rows.full(images, count // tf.maximum(images, 1))
        indices = tf.stack([tf.range(count), position], axis=1)
        real = mask_bias((tokens != 0) | (position == 0))
        word_bias = tf.tensor_scatter_nd_update(state.bias, indices, real)
        bias = word_bias[:, None, None]
        rows = self._embed(tokens, position, training)
        caches = []
        for layer, cache, of_images in zip(
            self.layers, state.caches, projected["layers"], strict=True
        ):
            rows, cache = layer.step(
                rows,
                cache,
                position,
                bias,
                groups,
                of_images,
                cross_bias=projected.get("bias"),
                training=training,
            )
            caches.append(cache)
        return self.norm(rows), DecoderState(position + 1, word_bias, tuple(caches))

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns logits of the next word: float[N, D] -> float32[N, V]."""
        if self.word_output is not None:
            return self.word_output(hidden)
        logits = product(hidden, self.embedding.embeddings, transposed=True)
        return tf.cast(logits, tf.float32) + tf.cast(self.output_bias, tf.float32)

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The softmax weights float[V, D] and bias float[V]."""
        if self.word_output is not None:
            return self.word_output.kernel_and_bias
        return tuple(map(tf.convert_to_tensor, (self.embedding.embeddings, self.output_bias)))

    def _embed(self, tokens: tf.Tensor, position: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns embedded words plus position encodings: two int32[P] -> float32[P, D]."""
        words = at_least_float32(self.embedding(tokens)) * self.units**0.5
        words += tf.cast(sinusoid(position, self.units), words.dtype)
        return self.word_dropout(words, training=training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), **self._settings, "layers": layers}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CaptionDecoder:
        """Builds a decoder from the result of `get_config`."""
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


def _images(projected: Projected) -> tf.Tensor:
    """Returns B."""
    return tf.shape(tf.nest.flatten(projected["layers"])[0])[0]
