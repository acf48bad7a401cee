"""Spatial transformer: regions with positions on a grid, and X-linear cross-attention."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from models.captioners.base import Inputs
from models.captioners.registry import register_captioner
from models.captioners.self_attentive import SelfAttentiveCaptioner
from models.layers.box_geometry import AreaNorm
from models.layers.dropout import Dropout
from models.layers.grouped_rows import Groups
from models.layers.normalization import NormKind
from models.layers.spatial_position import POSITIONS, PositionKind, SpatialPosition
from models.layers.transformer import Activation
from models.layers.xlinear import XLinearAttention

CROSS_ATTENTIONS = ("xlinear", "dot_product")


@register_captioner("spatial_transformer")
class SpatialTransformer(SelfAttentiveCaptioner):
    """Transformer that adds positions on a grid of the image to its regions.

    The encoder's input is x = Dropout(position(Dropout(relu(W r)), box)); see `SpatialPosition`.
    Encoder and decoder are those of `Transformer`, but words attend to regions by
    `XLinearAttention`.

    `attention` returns the weights of the last layer: for `dot_product` the mean over heads, for
    `xlinear` those of its single head. X-linear attention also scales the average of the regions
    per channel, which the weights do not show.

    Shapes: `regions` float[B, L, F], `boxes` float32[B, L, 4], `region_lengths` int32[B]
    (optional).

    Example:
        ```python
        model = SpatialTransformer(vocabulary_size=9_488, feature_size=2_048)
        images = {"regions": tf.zeros([8, 36, 2_048]), "boxes": tf.zeros([8, 36, 4])}
        hidden = model.teacher_forced(model.encode(images), tf.ones([8, 17], tf.int32))
        ```

    Source: sidharth5n/Spatial-Image-Captioning, `spatial_pe`. All its dropout rates are 0.5; the
    defaults here are those of the relation transformer.
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
        position: PositionKind | Literal["none"] = "gxg",
        grid_size: int = 12,
        area_norm: AreaNorm = "share",
        cross_attention: Literal["xlinear", "dot_product"] = "xlinear",
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
            heads: number of heads of every attention except the X-linear one.
            inner_units: inner width of every feed-forward.
            encoder_layers: number of layers over regions.
            decoder_layers: number of layers over words.
            position: position of the regions: `gxg`, `g2`, `box-coord`, `sinusoid` or `none`.
            grid_size: cells per side of the grid of the positions.
            area_norm: normalization of the area of a box in each cell: `share` or `coverage`.
            cross_attention: attention of words to regions: `xlinear` or `dot_product`.
            dropout: dropout rate inside encoder and decoder.
            input_dropout: dropout rate of the regions, before positions are added.
            norm: `layer`, `unbiased` (layer normalization by the sample deviation) or `rms`.
            activation: activation of the feed-forwards, `relu` or `gelu`.
            tie_embeddings: whether the softmax layer uses the word embedding as weights.
            **kwargs: arguments of `keras.Model` (name, dtype).

        Raises:
            ValueError: an unknown position or cross-attention.
        """
        super().__init__(**kwargs)
        if position not in (*POSITIONS, "none"):
            known = ", ".join((*POSITIONS, "none"))
            raise ValueError(f"unknown position {position!r}; known: {known}")
        if cross_attention not in CROSS_ATTENTIONS:
            known = ", ".join(CROSS_ATTENTIONS)
            raise ValueError(f"unknown cross_attention {cross_attention!r}; known: {known}")
        settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "units": units,
            "heads": heads, "inner_units": inner_units, "encoder_layers": encoder_layers,
            "decoder_layers": decoder_layers, "position": position,
            "grid_size": grid_size, "area_norm": area_norm,
            "cross_attention": cross_attention, "dropout": dropout,
            "input_dropout": input_dropout, "norm": norm, "activation": activation,
            "tie_embeddings": tie_embeddings,
        }  # fmt: skip
        policy = self.dtype_policy
        self.build_input(settings)
        self.position = None
        if position != "none":
            self.position = SpatialPosition(
                kind=position,
                units=units,
                grid=grid_size,
                area_norm=area_norm,
                name="position",
                dtype=policy,
            )
            self.position.build((None, units))
        self.position_dropout = Dropout(dropout, name="position_dropout", dtype=policy)

        def x_linear() -> XLinearAttention:
            return XLinearAttention(
                units=units,
                hidden_units=max(units // 2, 1),  # published: 256 for 512 units
                dropout=dropout,
                name="cross_attention",
                dtype=policy,
            )

        self.build_stacks(cross_attention=x_linear if cross_attention == "xlinear" else None)

    def add_positions(
        self,
        rows: tf.Tensor,
        groups: Groups,
        inputs: dict[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:
        """Adds the positions of regions to their features: float[R, D] -> float[R, D]."""
        if self.position is None:
            return rows
        rows = self.position(rows, groups.unpad(inputs["boxes"]))
        return self.position_dropout(rows, training=training)
