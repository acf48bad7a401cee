"""Feature maps of images as rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from models.layers.box_geometry import cell_boxes
from pipelines.batching import Batch, Rows
from pipelines.inputs.model_input import ModelInput, register_input
from pipelines.inputs.row_input import RowInput


@register_input("grid")
@dataclasses.dataclass(frozen=True)
class Grid(RowInput):
    """The cells of a feature map, row by row.

    Returns `regions` float32[B, gh * gw, D].
    """

    feature_columns = ("grid_feature",)
    box_columns = ("grid_feature",)
    tensors = ("regions",)

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns the grid; raises `ValueError` if `config.data.rows` names other rows."""
        if config.data.rows not in (None, "grid"):
            raise ValueError(f"rows {config.data.rows!r}: the captioner reads a grid, not regions")
        return [cls(config.data.unit_norm, config.data.use_box)]

    def assemble(self, rows: Rows) -> Batch:
        """Lists the cells; see `ModelInput`."""
        grid = rows["grid_feature"]
        _, height, width, size = grid.shape
        cells = tf.reshape(grid, [-1, height * width, size])
        return {"regions": self._normalize(cells, rows)}

    def _stored_boxes(self, rows: Rows) -> tf.Tensor:
        grid = rows["grid_feature"]
        cells = cell_boxes(*grid.shape[1:3])
        return tf.tile(cells[tf.newaxis], [tf.shape(grid)[0], 1, 1])

    def sizes(self, signature: Mapping[str, tf.TensorSpec]) -> dict[str, int | None]:
        """Returns `region_size` D and `grid_cells` gh * gw."""
        _, cells, size = signature["regions"].shape
        return {"region_size": size, "grid_cells": cells}
