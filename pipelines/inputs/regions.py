"""Regions as rows of images, with different numbers per image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.batching import Batch, Rows
from pipelines.inputs.grid import Grid
from pipelines.inputs.model_input import ModelInput, register_input
from pipelines.inputs.row_input import RowInput


@register_input("regions")
@dataclasses.dataclass(frozen=True)
class Regions(RowInput):
    """Features of the regions of an image, padded with zeros.

    Returns `regions` float32[B, L, D] and `region_lengths` int32[B].
    """

    feature_columns = ("region_feature",)
    box_columns = ("region_feature", "boxes")
    tensors = ("regions", "region_lengths")
    sorts = True

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns regions, then the cells of a grid, or only the rows of `config.data.rows`."""
        rows = config.data.rows
        settings = config.data.unit_norm, config.data.use_box
        regions, grid = cls(*settings), Grid(*settings)
        forms: dict[str | None, list[ModelInput]] = {
            None: [regions, grid], "grid": [grid], "regions": [regions],
        }  # fmt: skip
        if rows not in forms:
            raise ValueError(f"unknown rows {rows!r}; known: grid, regions, None")
        return forms[rows]

    def assemble(self, rows: Rows) -> Batch:
        """Pads regions; see `ModelInput`."""
        ragged = rows["region_feature"]
        return {
            "regions": self._normalize(ragged.to_tensor(), rows),
            "region_lengths": tf.cast(ragged.row_lengths(), tf.int32),
        }

    def _stored_boxes(self, rows: Rows) -> tf.Tensor:
        return rows["boxes"].to_tensor()

    def sizes(self, signature: Mapping[str, tf.TensorSpec]) -> dict[str, int | None]:
        """Returns `region_size` D."""
        return {"region_size": signature["regions"].shape[-1]}
