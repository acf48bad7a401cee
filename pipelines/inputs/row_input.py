"""Model inputs of several rows per image, each with a box."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import ClassVar

import tensorflow as tf

from models.layers.box_geometry import areas, box_features
from pipelines.batching import Rows
from pipelines.inputs.model_input import ModelInput

# How to build records with boxes.
BOXES_ADVICE = (
    "build them with --backbone and --store_grid (each cell of the grid has a box), with "
    "--backbone and --regions=DETECTIONS, or with --features of a store with boxes"
)


@dataclasses.dataclass(frozen=True)
class RowInput(ModelInput):
    """A kind of input with rows: `regions` float32[B, L, D].

    Attributes:
        feature_columns: columns of features, without boxes.
        box_columns: columns that `boxes` reads.
        sorts: whether rows differ in area, so that `use_box` sorts them.
        unit_norm: whether to divide every row by its L2 norm.
        use_box: whether to append `box_features` to every row, D + 5, after the division. Regions
            and their boxes are then sorted by decreasing area, as in self-critical.pytorch.
    """

    feature_columns: ClassVar[tuple[str, ...]]
    box_columns: ClassVar[tuple[str, ...]]
    sorts: ClassVar[bool] = False
    unit_norm: bool = False
    use_box: bool = False

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns of the features and, with `use_box`, of the boxes."""
        return self.box_columns if self.use_box else self.feature_columns

    def boxes(self, rows: Rows) -> tf.Tensor:
        """Returns the boxes in the order of the rows.

        Args:
            rows: parsed `box_columns`.

        Returns:
            float32[B, L, 4], ymin, xmin, ymax, xmax in 0..1, padded with zeros.
        """
        boxes = self._stored_boxes(rows)
        return self._arrange(boxes, boxes)

    def _stored_boxes(self, rows: Rows) -> tf.Tensor:
        """Returns the boxes in the order of the records."""
        raise NotImplementedError

    def _normalize(self, features: tf.Tensor, rows: Rows) -> tf.Tensor:
        """Applies `unit_norm` and `use_box` to features float32[B, L, D] of `rows`."""
        if self.unit_norm:
            norms = tf.norm(features, axis=-1, keepdims=True)
            features = tf.math.divide_no_nan(features, norms)
        if self.use_box:
            boxes = self._stored_boxes(rows)
            features = self._arrange(tf.concat([features, box_features(boxes)], axis=-1), boxes)
        return features

    def _arrange(self, rows: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        """Returns rows [B, L, D] with boxes [B, L, 4] in the order of this input."""
        if not (self.use_box and self.sorts):
            return rows
        # Stable: padding has area 0 and must remain after regions without area.
        order = tf.argsort(areas(boxes), direction="DESCENDING", stable=True)
        return tf.gather(rows, order, batch_dims=1)

    def advice(self, record_kind: str, available: Collection[str]) -> str:
        """Returns advice on how to build records with the columns."""
        return BOXES_ADVICE if self.use_box else super().advice(record_kind, available)
