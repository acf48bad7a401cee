"""Boxes of the rows of images: of their regions, or of the cells of a grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from pipelines.batching import Batch, Rows
from pipelines.inputs.model_input import ModelInput, register_input
from pipelines.inputs.regions import Regions
from pipelines.inputs.row_input import BOXES_ADVICE, RowInput


@register_input("boxes")
@dataclasses.dataclass(frozen=True)
class Boxes(ModelInput):
    """Boxes of the rows that a captioner attends to, in the order of the rows.

    Returns `boxes` float32[B, L, 4]: ymin, xmin, ymax, xmax in 0..1, padded with zeros.

    Attributes:
        rows: input of the rows that the boxes belong to.
    """

    tensors = ("boxes",)
    rows: RowInput

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns of the rows and of their boxes."""
        return self.rows.box_columns

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns the boxes of regions, then of cells, or only those of `config.data.rows`."""
        return [cls(rows) for rows in Regions.candidates(config) if isinstance(rows, RowInput)]

    def assemble(self, rows: Rows) -> Batch:
        """Returns the boxes; see `ModelInput`."""
        return {"boxes": self.rows.boxes(rows)}

    def fits(self, other: ModelInput) -> bool:
        """Returns whether the boxes belong to the rows of another input."""
        return not isinstance(other, RowInput) or other == self.rows

    def evaluated(self) -> ModelInput:
        """Returns the boxes of the rows in evaluation."""
        rows = self.rows.evaluated()
        assert isinstance(rows, RowInput), "the rows stay of their kind"
        return dataclasses.replace(self, rows=rows)

    def advice(self, record_kind: str, available: Collection[str]) -> str:
        """Returns how to build records with boxes."""
        del record_kind, available
        return BOXES_ADVICE
