"""Base of transformer captioners: layers over regions, layers over words, decoding with caches."""

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
    """A captioner with transformer layers over regions and over words.

    The constructor of a subclass calls `build_input`, builds layers of its own, if any, and calls
    `build_stacks`. `locate` and `score_biases` may be overridden: they pass the places of regions
    to the encoder.

    Letters: B images, N captions (N / B consecutive ones per image), T words, L regions of an
    image, R real regions of all images, D units, h heads.

    Attributes:
        row_map: float[R, F] -> float[R, D].
        row_dropout: after it and ReLU.
        encoder_layers: from the regions up.
        encoder_norm: after the last one.
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
        """Builds the map of region features, before other layers that a subclass has.

        Args:
            settings: all arguments of the constructor, as `Transformer` has them.
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
        """Builds the layers over regions and over words, at the end of a constructor.

        Args:
            skip_input: `skip_input` of the attention of encoder layers.
            cross_attention: builds the attention of a decoder layer to regions; None is
                `DotProductAttention`.
        """
        settings = self._settings
        shared = ("units", "heads", "inner_units", "dropout", "norm", "activation")
        units, norm, policy = settings["units"], settings["norm"], self.dtype_policy
        of_layers = {name: settings[name] for name in shared} | {"dtype": policy}
        self.encoder_layers = [
            EncoderLayer(name=f"encoder_{i}", skip_input=skip_input, **of_layers)
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
                    **of_layers,
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

    def locate(
        self, rows: tf.Tensor, groups: grouped_rows.Groups, inputs: dict[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:  # fmt: skip
        """Adds the places of regions to their features; by default nothing.

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
        """Returns the addend of each encoder layer's scores; by default none.

        Args:
            inputs: inputs of `encode`.

        Returns:
            float32[B, h, L, L], or None, of each layer.
        """
        del inputs
        return [None] * len(self.encoder_layers)

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Encodes regions, padding left out, and projects them for each decoder layer.

        Returns:
            `Projected` of B images.
        """
        regions = inputs["regions"]
        images, places = tf.unstack(tf.shape(regions)[:2])
        mask = attention.region_mask(regions, inputs)
        groups, padding = grouped_rows.full(images, places), None
        if mask is not None:
            groups = grouped_rows.packed(inputs["region_lengths"], places)
            mask = mask > 0
            padding = mask_bias(mask)[:, None, None]
        rows = self.row_dropout(
            tf.nn.relu(self.row_map(groups.collect(regions))), training=training
        )
        # Sums of layers stay float32 under half precision.
        rows = at_least_float32(self.locate(rows, groups, inputs, training))
        for layer, bias in zip(self.encoder_layers, self.score_biases(inputs), strict=True):
            if bias is None or padding is None:
                bias = padding if bias is None else bias
            else:
                bias += padding
            rows = layer(rows, groups, bias, training=training)
        return self.decoder.project(self.encoder_norm(rows), groups, mask)

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> DecoderState:
        """Returns empty caches of `max_length` words."""
        images = tf.shape(tf.nest.flatten(memory)[0])[0]
        return self.decoder.initial_state(images, max_length)

    def step(
        self, tokens: tf.Tensor, state: DecoderState, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, DecoderState]:
        """Takes one step: tokens int32[N], state, memory of B -> hidden float[N, D], state."""
        return self.decoder.step(tokens, state, memory, training=training)

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns hidden states float[N, T, D] for given words, all at once; see `Captioner`."""
        hidden, _ = self.decoder.all_words(tokens, lengths, memory, training=training)
        return hidden

    def attention(self, memory: Memory, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the last layer's weights of regions, mean over heads: float32[N, T, L]."""
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
