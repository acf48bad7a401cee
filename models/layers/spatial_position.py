"""Positions of regions in their image: encodings for features, and biases for attention scores."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from models.layers import box_geometry
from models.layers.box_geometry import AreaNorm
from models.layers.linear import xavier_dense
from models.layers.sinusoids import sinusoid

PositionKind = Literal["gxg", "g2", "box-coord", "sinusoid"]
POSITIONS: tuple[PositionKind, ...] = get_args(PositionKind)
# Minimum weight of relations between regions, so that the logarithm is finite.
_MIN_RELATION = 1e-6


@keras.saving.register_keras_serializable("r2m")
class SpatialPosition(keras.layers.Layer):
    """Position encoding of regions on a grid of g x g cells, added to their features.

    v and h are the areas of the box per row and per column of the grid, A is the area per cell. The
    kinds are:

    - `gxg`: W_3 x + W_1 v + W_2 h, plus biases.
    - `g2`: x + W A + b.
    - `box-coord`: x + W_2 relu(W_1 (xmin, ymin, xmax, ymax) + b_1) + b_2.
    - `sinusoid`: x + sum_r v_r P_r + sum_c h_c Q_c. P_r has sines in even columns and cosines in
      odd columns, Q_c the reverse. The published code intends this, but fails when it is run.

    Shapes: rows float[..., D], boxes float32[..., 4] -> float[..., D].

    Example:
        ```python
        rows = SpatialPosition(kind="gxg", units=512)(rows, boxes)
        ```

    Source: sidharth5n/Spatial-Image-Captioning. v, h and A are a reconstruction; see
    `box_geometry`.
    """

    def __init__(
        self,
        *,
        kind: PositionKind,
        units: int,
        grid: int = 12,
        area_norm: AreaNorm = "share",
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            kind: one of `POSITIONS`.
            units: D, even.
            grid: g.
            area_norm: normalization of v, h and A: `share` or `coverage`, see
                `box_geometry.grid_areas`.
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).

        Raises:
            ValueError: the kind or norm is unknown, `units` is odd, or the grid has no cells.
        """
        # Half precision is too coarse for coordinates of boxes.
        super().__init__(autocast=False, **kwargs)
        if kind not in POSITIONS:
            raise ValueError(f"unknown position {kind!r}; known: {', '.join(POSITIONS)}")
        if area_norm not in get_args(AreaNorm):
            known = ", ".join(get_args(AreaNorm))
            raise ValueError(f"unknown area_norm {area_norm!r}; known: {known}")
        if grid < 1:
            raise ValueError(f"found a grid of {grid} cells per side; expected at least 1")
        if units % 2:
            raise ValueError(f"found {units} units of positions; expected an even number")
        self.kind = kind
        self.units = units
        self.grid = grid
        self.area_norm = area_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for rows float[..., D]."""
        del input_shape
        kind, units, grid, policy = self.kind, self.units, self.grid, self.dtype_policy
        if kind == "gxg":
            self.vertical_map = xavier_dense(units, grid, "vertical_map", policy)
            self.horizontal_map = xavier_dense(units, grid, "horizontal_map", policy)
            self.row_map = xavier_dense(units, units, "row_map", policy)
        elif kind == "g2":
            self.cell_map = xavier_dense(units, grid**2, "cell_map", policy)
        elif kind == "box-coord":
            self.corner_map = xavier_dense(units // 2, 4, "corner_map", policy)
            self.output_map = xavier_dense(units, units // 2, "output_map", policy)

    def call(self, rows: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        """Adds the position encodings: float[..., D] and float32[..., 4] -> float[..., D]."""
        if self.kind == "box-coord":
            ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
            corners = tf.stack([xmin, ymin, xmax, ymax], axis=-1)
            return rows + self.output_map(tf.nn.relu(self.corner_map(corners)))
        found = box_geometry.grid_areas(boxes, self.grid, self.area_norm)
        if self.kind == "g2":
            cells = box_geometry.grid_map(found)
            return rows + self.cell_map(
                tf.reshape(cells, tf.concat([tf.shape(cells)[:-2], [self.grid**2]], 0))
            )
        if self.kind == "gxg":
            position = self.vertical_map(found.vertical) + self.horizontal_map(found.horizontal)
            return self.row_map(rows) + position
        cells = tf.range(self.grid)
        position = tf.tensordot(found.vertical, sinusoid(cells, self.units), 1)
        rightward = sinusoid(cells, self.units, cosine_first=True)
        position += tf.tensordot(found.horizontal, rightward, 1)
        return rows + tf.cast(position, rows.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(), "kind": self.kind, "units": self.units, "grid": self.grid,
            "area_norm": self.area_norm,
        }  # fmt: skip


@keras.saving.register_keras_serializable("r2m")
class RelationBias(keras.layers.Layer):
    """Bias of the attention scores of each head, from the geometry of pairs of regions.

    bias = ln max(relu(W e + b), 1e-6) for the geometry e of a pair.

    Shapes: geometry float32[B, L, L, G] -> float32[B, heads, L, L].

    Example:
        ```python
        geometry = box_geometry.embed_geometry(box_geometry.relative_geometry(boxes))
        bias = RelationBias(heads=8)(geometry)
        ```

    Source: Herdade et al. 2019 (arXiv 1906.05963), equations 4 to 6.
    """

    def __init__(self, *, heads: int, **kwargs: Any) -> None:
        """Builds nothing yet."""
        # Half precision is too coarse for angles, and for logarithms that are added to scores.
        super().__init__(autocast=False, **kwargs)
        self.heads = heads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for geometry float32[B, L, L, G]."""
        size = int(input_shape[-1] or 0)
        # Initialized like one separate layer with a single output per head.
        bounds = {"kernel": (6 / (size + 1)) ** 0.5, "bias": size**-0.5}
        self.kernel, self.bias = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer=keras.initializers.RandomUniform(-bound, bound),
                autocast=False,
            )
            for (name, bound), shape in zip(
                bounds.items(), ((size, self.heads), (self.heads,)), strict=True
            )
        )

    def call(self, geometry: tf.Tensor) -> tf.Tensor:
        """Returns the biases: float32[B, L, L, G] -> float32[B, heads, L, L]."""
        kernel, bias = (tf.cast(own, tf.float32) for own in (self.kernel, self.bias))
        weights = tf.nn.relu(tf.tensordot(geometry, kernel, 1) + bias)
        return tf.transpose(tf.math.log(tf.maximum(weights, _MIN_RELATION)), [0, 3, 1, 2])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}
