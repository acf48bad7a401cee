"""Positions of regions: against plain NumPy, and golden values of the specification."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.layers.box_geometry import (
    areas,
    box_features,
    cell_boxes,
    embed_geometry,
    grid_areas,
    grid_map,
    relative_geometry,
)


def reference(box: np.ndarray, grid: int, norm: str) -> np.ndarray:
    """Computes the value of every cell, [g, g], by the definition of the specification."""
    ymin, xmin, ymax, xmax = np.clip(np.asarray(box, np.float64), 0, 1)
    cells = np.zeros((grid, grid))
    if ymax <= ymin or xmax <= xmin:
        row, column = (
            min(int((a + b) / 2 * grid), grid - 1) for a, b in ((ymin, ymax), (xmin, xmax))
        )
        cells[row, column] = 1
        return cells
    for row in range(grid):
        for column in range(grid):
            height = min(ymax, (row + 1) / grid) - max(ymin, row / grid)
            width = min(xmax, (column + 1) / grid) - max(xmin, column / grid)
            cells[row, column] = max(height, 0) * max(width, 0) * grid**2
    return cells / cells.sum() if norm == "share" else cells


def vectors(boxes, lengths, grid, norm="share"):
    found = grid_areas(tf.constant(boxes, tf.float32), grid, norm, tf.constant(lengths))
    return found.horizontal.numpy(), found.vertical.numpy(), grid_map(found).numpy()


# On a fine lattice, so that the cell of a corner is exact in float32; also outside the image.
LATTICE = arrays(np.float32, (2, 3, 4), elements=st.integers(-20, 148).map(lambda i: i / 128))


@settings(max_examples=50, deadline=None)
@given(LATTICE, st.sampled_from([1, 2, 4, 8, 12]), st.sampled_from(["share", "coverage"]))
def test_vectors_are_sums_over_the_cells(boxes, grid, norm):
    horizontal, vertical, cells = vectors(boxes, [3, 2], grid, norm)
    for image, count in ((0, 3), (1, 2)):
        for region in range(count):
            expected = reference(boxes[image, region], grid, norm)
            # A corner may lie on the boundary of two cells of width 1/12.
            tolerance = {"atol": 2e-5 * grid, "rtol": 1e-4}
            np.testing.assert_allclose(cells[image, region], expected, **tolerance)
            np.testing.assert_allclose(horizontal[image, region], expected.sum(0), **tolerance)
            np.testing.assert_allclose(vertical[image, region], expected.sum(1), **tolerance)
    assert not horizontal[1, 2].any() and not vertical[1, 2].any() and not cells[1, 2].any()


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (1, 20, 4), elements=st.floats(-1e6, 1e6, width=32)), st.integers(1, 40))
def test_shares_are_weights_of_a_mean_for_any_box(boxes, grid):
    for values in vectors(boxes, [20], grid):
        assert (values >= 0).all()
        whole = values.reshape(20, -1).sum(1)
        np.testing.assert_allclose(whole, 1, rtol=1e-4)
    for values in vectors(boxes, [20], grid, "coverage"):
        assert ((values >= 0) & np.isfinite(values)).all()
    assert (vectors(boxes, [20], grid, "coverage")[2] <= 1 + 1e-4).all()


def test_known_boxes():
    boxes = [
        [0.0, 0.0, 1.0, 1.0],  # the whole image
        [0.25, 0.5, 0.75, 1.0],  # two of the middle rows, right half
        [0.125, 0.0, 0.25, 0.25],  # the lower half of the first cell
    ]
    horizontal, vertical, cells = vectors([boxes], [3], 4)
    np.testing.assert_allclose(horizontal[0, 0], [0.25] * 4)
    np.testing.assert_allclose(horizontal[0, 1], [0, 0, 0.5, 0.5])
    np.testing.assert_allclose(vertical[0, 1], [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(cells[0, 1, 1:3, 2:], 0.25)
    np.testing.assert_allclose(vertical[0, 2], [1, 0, 0, 0])
    horizontal, vertical, cells = vectors([boxes], [3], 4, "coverage")
    np.testing.assert_allclose(cells[0, 0], 1)
    np.testing.assert_allclose(horizontal[0, 0], [4] * 4)
    np.testing.assert_allclose(cells[0, 2, 0, 0], 0.5)
    # All cells together: g * g times the area.
    np.testing.assert_allclose(cells.sum((2, 3)), 16 * areas(tf.constant([boxes])), rtol=1e-6)


@pytest.mark.parametrize("norm", ["share", "coverage"])
@pytest.mark.parametrize(
    ("box", "row", "column"),
    [
        ([0.5, 0.5, 0.5, 0.5], 2, 2),  # a point
        ([1.0, 1.0, 1.0, 1.0], 3, 3),  # a point at the far corner
        ([0.3, 0.1, 0.3, 0.9], 1, 2),  # a line
        ([0.9, 0.9, 0.1, 0.3], 2, 2),  # inverted
        ([0.2, 0.8, 0.4, 0.6], 1, 2),  # left and right exchanged
        ([1.5, -3.0, 2.0, -2.0], 3, 0),  # outside the image
        ([0.0, 0.0, 0.0, 0.0], 0, 0),
    ],
)
def test_boxes_without_area_are_the_cell_of_their_center(box, row, column, norm):
    horizontal, vertical, cells = vectors([[box]], [1], 4, norm)
    assert horizontal[0, 0].tolist() == np.eye(4)[column].tolist()
    assert vertical[0, 0].tolist() == np.eye(4)[row].tolist()
    assert np.argwhere(cells[0, 0]).tolist() == [[row, column]]


def test_in_a_graph_with_shapes_that_are_not_known():
    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 4), tf.float32),
            tf.TensorSpec((None,), tf.int64),
        ]
    )
    def run(boxes, lengths):
        found = grid_areas(boxes, 12, lengths=lengths)
        return found.horizontal, grid_map(found)

    boxes = np.random.RandomState(0).uniform(size=(2, 5, 4)).astype(np.float32)
    horizontal, cells = run(boxes, np.array([5, 1]))
    assert horizontal.shape == (2, 5, 12) and cells.shape == (2, 5, 12, 12)
    np.testing.assert_allclose(horizontal, vectors(boxes, [5, 1], 12)[0])
    np.testing.assert_array_equal(
        grid_areas(boxes, 12).vertical, grid_areas(boxes, 12, lengths=[5, 5]).vertical
    )


def test_invalid_arguments_are_refused():
    boxes = tf.zeros((1, 1, 4))
    with pytest.raises(ValueError, match="known: share, coverage"):
        grid_areas(boxes, 4, "sum")
    with pytest.raises(ValueError, match="a grid of 0 cells"):
        grid_areas(boxes, 0)
    with pytest.raises(ValueError, match="found an embedding of size 12; expected a multiple of 8"):
        embed_geometry(boxes, 12)


def test_features_of_boxes():
    boxes = tf.constant([[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 0.4, 0.6], [0, 0, 0, 0]], tf.float32)
    expected = [[0.2, 0.1, 0.6, 0.5, 0.16], [0.5, 0.5, 0.6, 0.4, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(box_features(boxes), expected, atol=1e-7)
    assert areas(boxes[None]).shape == (1, 3)


def test_golden_areas_on_a_grid_of_12() -> None:
    # x1, y1, x2, y2 = .1, .2, .5, .6
    found = grid_areas(tf.constant([[[0.2, 0.1, 0.6, 0.5]]]), 12, "coverage")
    across = np.array([0, 0.8, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    down = np.array([0, 0, 0.6, 1, 1, 1, 1, 0.2, 0, 0, 0, 0])
    np.testing.assert_allclose(found.horizontal[0, 0], across * down.sum(), atol=1e-5)
    np.testing.assert_allclose(found.vertical[0, 0], down * across.sum(), atol=1e-5)
    assert float(tf.reduce_sum(grid_map(found))) == pytest.approx(23.04, abs=1e-4)
    share = grid_areas(tf.constant([[[0.2, 0.1, 0.6, 0.5]]]), 12)
    np.testing.assert_allclose(share.horizontal[0, 0], across / 4.8, atol=1e-6)
    np.testing.assert_allclose(share.vertical[0, 0], down / 4.8, atol=1e-6)


def test_golden_relative_geometry() -> None:
    # x1, y1, x2, y2 = .1, .2, .5, .6 and .3, .1, .9, .8
    found = relative_geometry(tf.constant([[[0.2, 0.1, 0.6, 0.5], [0.1, 0.3, 0.8, 0.9]]]))
    assert found.shape == (1, 2, 2, 4)
    expected = [[-1.540445, -3.332205, -0.133531, -0.194156],
                [-1.673976, -3.526361, 0.133531, 0.194156],
                [-6.907755, -6.907755, 0, 0]]  # fmt: skip
    np.testing.assert_allclose(found[0, 0, 1], expected[0], atol=2e-6)
    np.testing.assert_allclose(found[0, 1, 0], expected[1], atol=2e-6)
    np.testing.assert_allclose(found[0, 0, 0], expected[2], atol=2e-6)
    embedded = embed_geometry(found)[0, 0, 1]
    assert embedded.shape == (64,)
    # Arguments of sines are float32 numbers of about 100, which limits the precision.
    np.testing.assert_allclose(embedded[:3], [0.106263, -0.848644, -0.771323], atol=1e-4)
    np.testing.assert_allclose(embedded[32:35], [-0.994338, -0.528964, -0.636444], atol=1e-4)


def test_boxes_of_cells() -> None:
    cells = cell_boxes(2, 4)
    assert cells.shape == (8, 4)
    np.testing.assert_allclose(cells[0], [0, 0, 0.5, 0.25])
    np.testing.assert_allclose(cells[6], [0.5, 0.5, 1, 0.75])
    np.testing.assert_allclose(areas(cells), 1 / 8)
    # On a grid of the same size each cell is itself.
    found = grid_map(grid_areas(cell_boxes(4, 4)[None], 4))
    np.testing.assert_allclose(tf.reshape(found, [16, 16]), np.eye(16), atol=1e-6)
