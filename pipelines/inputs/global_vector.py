"""One vector per image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from models.layers import attention
from pipelines.batching import Batch, Rows
from pipelines.inputs.model_input import ModelInput, register_input
from pipelines.inputs.regions import Regions


class _Vector(ModelInput):
    tensors = ("global",)

    def sizes(self, signature: Mapping[str, tf.TensorSpec]) -> dict[str, int | None]:
        """Returns `global_size` D."""
        return {"global_size": signature["global"].shape[-1]}


@register_input("global")
@dataclasses.dataclass(frozen=True)
class GlobalVector(_Vector):
    """The stored vector of an image: `global` float32[B, D]."""

    columns = ("global_feature",)

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns the vector."""
        del config
        return [cls()]

    @classmethod
    def substitutes(cls, config: Any) -> list[ModelInput]:
        """Returns the means of regions and of the cells of a grid."""
        return [MeanOfRows(rows) for rows in Regions.candidates(config)]

    def assemble(self, rows: Rows) -> Batch:
        """Returns the vector; see `ModelInput`."""
        return {"global": rows["global_feature"]}


@dataclasses.dataclass(frozen=True)
class MeanOfRows(_Vector):
    """The mean of the regions or cells of an image: `global` float32[B, D].

    Attributes:
        rows: input of the rows that are averaged.
    """

    rows: ModelInput

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns of the rows."""
        return self.rows.columns

    def assemble(self, rows: Rows) -> Batch:
        """Averages rows; see `ModelInput`."""
        assembled = self.rows.assemble(rows)
        return {"global": attention.mean_row(assembled["regions"], assembled)}

    def signature(self, saved: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
        """Returns the signature of `global`; runs of earlier versions saved that of the rows."""
        rows = saved.get("regions")
        if "global" in saved or rows is None:
            return super().signature(saved)
        return {"global": tf.TensorSpec([None, rows.shape[-1]], rows.dtype)}
