"""Positions of regions and the bias of relations, against the formulas in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import box_geometry
from models.layers.spatial_position import POSITIONS, RelationBias, SpatialPosition

B, L, D, GRID = 2, 3, 6, 4
ROWS = np.random.default_rng(0).normal(size=(B, L, D)).astype(np.float32)
BOXES = np.array(
    [
        [[0.1, 0.2, 0.5, 0.6], [0.3, 0.1, 0.9, 0.8], [0, 0, 1, 1]],
        [[0.2, 0.1, 0.3, 0.9], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]],
    ],
    np.float32,
)


def built(kind: Any, **arguments: Any) -> SpatialPosition:
    keras.utils.set_random_seed(0)
    layer = SpatialPosition(kind=kind, units=D, grid=GRID, **arguments)
    layer.build((None, D))
    return layer


def affine(layer: Any, x: np.ndarray) -> Any:
    return x @ layer.kernel.numpy() + layer.bias.numpy()


@pytest.mark.parametrize("norm", ["share", "coverage"])
@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_are_those_of_the_formulas(kind: Any, norm: Any) -> None:
    layer = built(kind, area_norm=norm)
    found = box_geometry.grid_areas(tf.constant(BOXES), GRID, norm)
    cells = box_geometry.grid_map(found).numpy()  # row by row
    vertical, horizontal = cells.sum(3), cells.sum(2)
    if kind == "gxg":
        wanted = affine(layer.row_map, ROWS) + affine(layer.vertical_map, vertical)
        wanted += affine(layer.horizontal_map, horizontal)
    elif kind == "g2":
        wanted = ROWS + affine(layer.cell_map, cells.reshape(B, L, GRID**2))
    elif kind == "box-coord":
        hidden = np.maximum(affine(layer.corner_map, BOXES[..., [1, 0, 3, 2]]), 0)
        wanted = ROWS + affine(layer.output_map, hidden)
    else:
        wanted = ROWS.copy()
        for cell in range(GRID):
            for number in range(D):
                angle = cell / 10_000 ** (2 * (number // 2) / D)
                waves = np.sin(angle), np.cos(angle)
                wanted[..., number] += vertical[..., cell] * waves[number % 2]
                wanted[..., number] += horizontal[..., cell] * waves[1 - number % 2]
    np.testing.assert_allclose(layer(ROWS, BOXES), wanted, rtol=1e-4, atol=1e-5)


def test_half_precision_reads_boxes_in_float32() -> None:
    """Boxes that are equal in bfloat16 have different positions."""
    layer = built("sinusoid", dtype="mixed_bfloat16")
    boxes = tf.constant([[[0.5, 0.5, 0.501, 0.501], [0.4999, 0.4999, 0.5, 0.5]]])
    first, second = layer(tf.zeros([1, 2, D], tf.bfloat16), boxes)[0].numpy()
    assert layer(tf.zeros([1, 2, D], tf.bfloat16), boxes).dtype == tf.bfloat16
    assert (first != second).any()


def test_relation_bias_is_the_logarithm_of_the_weights_of_heads() -> None:
    geometry = box_geometry.embed_geometry(box_geometry.relative_geometry(tf.constant(BOXES)))
    layer = RelationBias(heads=8)
    layer.build((None, None, None, 64))
    assert layer.count_params() == 8 * 65  # 3,120 in 6 layers
    weights = np.maximum(geometry.numpy() @ layer.kernel.numpy() + layer.bias.numpy(), 1e-6)
    assert (weights == 1e-6).any() and (weights > 1e-6).any()
    wanted = np.log(weights).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(layer(geometry), wanted, rtol=1e-4, atol=1e-4)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown position 'gxh'; known: gxg, g2, box-coord, sin"):
        SpatialPosition(kind="gxh", units=6)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found 7 units of positions; expected an even number"):
        SpatialPosition(kind="sinusoid", units=7)
    with pytest.raises(ValueError, match=r"unknown area_norm 'sum'; known: share, coverage"):
        SpatialPosition(kind="gxg", units=6, area_norm="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found a grid of 0 cells per side; expected at least 1"):
        SpatialPosition(kind="gxg", units=6, grid=0)
