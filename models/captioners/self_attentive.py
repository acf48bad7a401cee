"""Base of transformer captioners: encoder over regions, decoder over words with caches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Captioner, Memory
from models.layers import attention, grouped_rows
from models.layers.caption_decoder import CaptionDecoder, DecoderState
from models.layers.dropout import Dropout
from models.layers.linear import Linear, torch_dense
from models.layers.normalization import build_norm
from models.layers.precision import at_least_float32
from models.layers.transformer import CrossAttention, mask_bias
from models.layers.transformer_layers import DecoderLayer, EncoderLayer


class SelfAttentiveCaptioner(Captioner):
    """A captioner with transformer encoder layers over regions and decoder layers over words.

    The constructor of a subclass calls `build_input`, builds additional layers, if any, and calls
    `build_stacks`. A subclass may override `add_positions` and `score_biases`, which give the
    positions of regions to the encoder.

    Letters: B images, N captions (N / B consecutive ones per image), T words, L regions of an
    image, R real regions of all images, D units, h heads.

    Attributes:
        row_map: float[R, F] -> float[R, D].
        row_dropout: dropout after `row_map` and ReLU.
        encoder_layers: encoder layers, the first one first.
        encoder_norm: normalization after the last encoder layer.
        decoder: decoder of the words.
    """

    has_attention = True
    shares_memory = True

    _settings: dict[str, Any]
    row_map: Linear
    row_dropout: Dropout
    encoder_layers: list[EncoderLayer]
    encoder_norm: keras.layers.Layer
    decoder: CaptionDecoder

    def build_input(self, settings: Mapping[str, Any]) -> None:
        """Builds the dense layer of region features; called before a subclass builds its layers.

        Args:
            settings: all arguments of the constructor; see `Transformer`.
        """
        self._settings = dict(settings)
        units, policy = settings["units"], self.dtype_policy
        self.row_map = torch_dense(units, settings["feature_size"], "row_map", policy)
        self.row_dropout = Dropout(settings["input_dropout"], name="row_dropout", dtype=policy)

    def build_stacks(
        self,
        *,
        skip_input: bool = False,
        cross_attention: Callable[[], CrossAttention] | None = None,
    ) -> None:
        """Builds the encoder and decoder layers; called at the end of a constructor.

        Args:
            skip_input: argument `skip_input` of the self-attention of encoder layers.
            cross_attention: builds the cross-attention of a decoder layer; None builds
                `DotProductAttention`.
        """
        settings = self._settings
        shared = ("units", "heads", "inner_units", "dropout", "norm", "activation")
        units, norm, policy = settings["units"], settings["norm"], self.dtype_policy
        arguments = {name: settings[name] for name in shared} | {"dtype": policy}
        self.encoder_layers = [
            EncoderLayer(name=f"encoder_{i}", skip_input=skip_input, **arguments)
            for i in range(settings["encoder_layers"])
        ]
        self.encoder_norm = build_norm(norm, units, "encoder_norm", policy)
        self.decoder = CaptionDecoder(
            vocabulary_size=settings["vocabulary_size"],
            units=units,
            layers=[
                DecoderLayer(
                    name=f"layer_{i}",
                    cross_attention=cross_attention and cross_attention(),
                    **arguments,
                )
                for i in range(settings["decoder_layers"])
            ],
            dropout=settings["dropout"],
            norm=norm,
            tie_embeddings=settings["tie_embeddings"],
            name="decoder",
            dtype=policy,
        )
        for layer in self.encoder_layers:
            layer.build((None, units))
        self.decoder.build((None, units))
        self.built = True

    def add_positions(
        self, rows: tf.Tensor, groups: grouped_rows.Groups, inputs: dict[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:  # fmt: skip
        """Adds positions of regions to their features; by default returns them unchanged.

        Args:
            rows: float[R, D], regions.
            groups: groups of the regions by image.
            inputs: inputs of `encode`.
            training: whether dropout is applied.

        Returns:
            float[R, D].
        """
        del groups, inputs, training
        return rows

    def score_biases(self, inputs: dict[str, tf.Tensor]) -> list[tf.Tensor | None]:
        """Returns a bias of the attention scores per encoder layer; by default none.

        Args:
            inputs: inputs of `encode`.

        Returns:
            float32[B, h, L, L] or None per layer.
        """
        del inputs
        return [None] * len(self.encoder_layers)

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Encodes the real regions, without padding, and projects them for each decoder layer.

        Returns:
            `Projected` of B images.
        """
        regions = inputs["regions"]
        images, regions_per_image = tf.unstack(tf.shape(regions)[:2])
        mask = attention.region_mask(regions, inputs)
        groups, padding = grouped_rows.full(images, regions_per_image), None
        if mask is not None:
            groups = grouped_rows.packed(inputs["region_lengths"], regions_per_image)
            mask = mask > 0
            padding = mask_bias(mask)[:, None, None]
        rows = self.row_dropout(tf.nn.relu(self.row_map(groups.unpad(regions))), training=training)
        # The residual stream is float32, also under half precision.
        rows = at_least_float32(self.add_positions(rows, groups, inputs, training))
        for layer, bias in zip(self.encoder_layers, self.score_biases(inputs), strict=True):
            if bias is None or padding is None:
                bias = padding if bias is None else bias
            else:
                bias += padding
            rows = layer(rows, groups, bias, training=training)
        return self.decoder.project(self.encoder_norm(rows), groups, mask)

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> DecoderState:
        """Returns empty caches for `max_length` words."""
        images = tf.shape(tf.nest.flatten(memory)[0])[0]
        return self.decoder.initial_state(images, max_length)

    def step(
        self, tokens: tf.Tensor, state: DecoderState, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, DecoderState]:
        """Computes one step: tokens int32[N], state, memory of B -> hidden float[N, D], state."""
        return self.decoder.step(tokens, state, memory, training=training)

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns hidden states float[N, T, D] for given words, in parallel; see `Captioner`."""
        hidden, _ = self.decoder.all_words(tokens, lengths, memory, training=training)
        return hidden

    def attention(self, memory: Memory, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the last layer's cross-attention weights, mean over heads: float32[N, T, L]."""
        _, weights = self.decoder.all_words(tokens, None, memory)
        return tf.reduce_mean(weights, axis=2)

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns logits of the next word: float[N, D] -> float32[N, V]."""
        return self.decoder.logits(hidden)

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The softmax weights float[V, D] and bias float[V]."""
        return self.decoder.output_layer

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
