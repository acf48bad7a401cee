"""Object relation transformer: attention of regions with a bias from their relative geometry."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.captioners.base import Inputs
from models.captioners.registry import register_captioner
from models.captioners.self_attentive import SelfAttentiveCaptioner
from models.layers import box_geometry
from models.layers.normalization import NormKind
from models.layers.spatial_position import RelationBias
from models.layers.transformer import Activation


@register_captioner("relation_transformer")
class RelationTransformer(SelfAttentiveCaptioner):
    """Transformer whose encoder adds a bias to attention scores, from the geometry of region pairs.

    score(m, n) = q_m k_n / sqrt(size) + ln max(relu(w e(m, n) + b), 1e-6). e contains sines and
    cosines of relative distances and sizes, and is the same in all encoder layers. Each layer and
    head has its own w and b. The decoder is that of `Transformer`.

    Shapes: `regions` float[B, L, F], `boxes` float32[B, L, 4], `region_lengths` int32[B]
    (optional).

    Example:
        ```python
        model = RelationTransformer(vocabulary_size=9_488, feature_size=2_048)
        images = {"regions": tf.zeros([8, 36, 2_048]), "boxes": tf.zeros([8, 36, 4])}
        hidden = model.teacher_forced(model.encode(images), tf.ones([8, 17], tf.int32))
        ```

    Source: Herdade et al. 2019 (arXiv 1906.05963) and its released code, which has norm `unbiased`.
    """

    inputs = Inputs(required=("regions", "boxes"))

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        units: int = 512,
        heads: int = 8,
        inner_units: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        box_trigonometric_embedding: bool = True,
        legacy_extra_skip: bool = False,
        dropout: float = 0.1,
        input_dropout: float = 0.5,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        tie_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        """Builds every weight.

        Args:
            vocabulary_size: V, markers included.
            feature_size: F.
            units: width of all rows.
            heads: number of heads of every attention.
            inner_units: inner width of every feed-forward.
            encoder_layers: number of layers over regions.
            decoder_layers: number of layers over words.
            box_trigonometric_embedding: whether e consists of 64 sines and cosines; otherwise of
                the 4 numbers of `box_geometry.relative_geometry`.
            legacy_extra_skip: whether the encoder's attention adds its input before the output
                map, as the published self-critical model does.
            dropout: dropout rate inside encoder and decoder.
            input_dropout: dropout rate of the regions.
            norm: `layer`, `unbiased` (layer normalization by the sample deviation) or `rms`.
            activation: activation of the feed-forwards, `relu` or `gelu`.
            tie_embeddings: whether the softmax layer uses the word embedding as weights.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(**kwargs)
        settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "units": units,
            "heads": heads, "inner_units": inner_units, "encoder_layers": encoder_layers,
            "decoder_layers": decoder_layers,
            "box_trigonometric_embedding": box_trigonometric_embedding,
            "legacy_extra_skip": legacy_extra_skip, "dropout": dropout,
            "input_dropout": input_dropout, "norm": norm, "activation": activation,
            "tie_embeddings": tie_embeddings,
        }  # fmt: skip
        self.box_trigonometric_embedding = box_trigonometric_embedding
        self.build_input(settings)
        self.relation_biases = [
            RelationBias(heads=heads, name=f"relation_bias_{i}", dtype=self.dtype_policy)
            for i in range(encoder_layers)
        ]
        for layer in self.relation_biases:
            layer.build((None, None, None, 64 if box_trigonometric_embedding else 4))
        self.build_stacks(skip_input=legacy_extra_skip)

    def score_biases(self, inputs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Returns a bias of the attention scores per encoder layer: float32[B, heads, L, L]."""
        geometry = box_geometry.relative_geometry(inputs["boxes"])
        if self.box_trigonometric_embedding:
            geometry = box_geometry.embed_geometry(geometry)
        return [layer(geometry) for layer in self.relation_biases]
