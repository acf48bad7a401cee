"""Model inputs of several rows per image, each with a box."""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from pipelines.batching import Rows
from pipelines.inputs.model_input import ModelInput


class RowInput(ModelInput):
    """A kind of input with rows: `regions` float32[B, L, D].

    Attributes:
        box_columns: columns that `boxes` reads.
    """

    box_columns: ClassVar[tuple[str, ...]]

    def boxes(self, rows: Rows) -> tf.Tensor:
        """Returns the boxes of the rows in their order.

        Args:
            rows: parsed `box_columns`.

        Returns:
            float32[B, L, 4], ymin, xmin, ymax, xmax in 0..1, padded with zeros.
        """
        raise NotImplementedError
