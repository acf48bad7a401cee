"""Positions of regions in their image and relative to each other, computed in the graph from boxes.

Boxes are ymin, xmin, ymax, xmax in 0..1; padding consists of rows of zeros.

Letters: B images, L boxes per image, g cells per side of a grid.

The grid-area vectors are a reconstruction. "Spatial" captioning
(sidharth5n/Spatial-Image-Captioning) describes a region by the fraction of each row and each column
of a g x g grid that it occupies. The script that computed those vectors (`prepro_areas.py`) was
never published. The model that reads them was published: it expects one value per cell, summed over
columns and over rows. The formula below is consistent with that.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf

# Numbers per box that `box_features` returns.
BOX_FEATURES = 5
AreaNorm = Literal["share", "coverage"]
# Embedding of relative geometry: base of the wavelengths, and factor of the embedded values.
_BASE, _SCALE = 1000.0, 100.0


class GridAreas(NamedTuple):
    """Positions of boxes on a grid of g x g cells.

    Attributes:
        horizontal: float32[B, L, g], area per column, left to right.
        vertical: float32[B, L, g], area per row, top to bottom.
    """

    horizontal: tf.Tensor
    vertical: tf.Tensor


def cell_boxes(height: int, width: int) -> tf.Tensor:
    """Returns the boxes of the cells of a grid, row by row: float32[height * width, 4]."""
    numbers = (tf.range(count, dtype=tf.float32) for count in (height, width))
    row, column = tf.meshgrid(*numbers, indexing="ij")
    corners = row / height, column / width, (row + 1) / height, (column + 1) / width
    return tf.reshape(tf.stack(corners, axis=-1), [height * width, 4])


def areas(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the fraction of the image in each box: float32[..., 4] -> [...]; 0 if inverted."""
    height = tf.nn.relu(boxes[..., 2] - boxes[..., 0])
    width = tf.nn.relu(boxes[..., 3] - boxes[..., 1])
    return height * width


def box_features(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the numbers that self-critical.pytorch appends to region features with `--use_box`.

    Args:
        boxes: float32[..., 4].

    Returns:
        float32[..., 5]: x1 / W, y1 / H, x2 / W, y2 / H, area / (W H).
    """
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([xmin, ymin, xmax, ymax, areas(boxes)], axis=-1)


def grid_areas(
    boxes: tf.Tensor, grid: int, norm: AreaNorm = "share", lengths: tf.Tensor | None = None
) -> GridAreas:
    """Returns the share of each row and column of a grid that every box covers (spec section 1.6).

    Let ox[c] be the fraction of column c's width within the box, and oy[r] the fraction of row r's
    height. The box covers the fraction oy[r] ox[c] of cell (r, c). `coverage` sums these fractions
    over a row or a column of cells. `share` first divides them by their sum over all cells, so that
    each vector sums to one: these are weights of a mean over position codes.

    Boxes are clipped to the image. A box without area, or an inverted one, is replaced by the cell
    that contains its center; a center of 1.0 lies in the last cell.

    Args:
        boxes: float32[B, L, 4].
        grid: g.
        norm: `share` or `coverage`.
        lengths: int[B], number of real boxes; None if all boxes are real.

    Returns:
        The vectors; zeros for padding.

    Raises:
        ValueError: the norm is unknown, or the grid has no cells.
    """
    if norm not in ("share", "coverage"):
        raise ValueError(f"unknown norm of areas {norm!r}; known: share, coverage")
    if grid < 1:
        raise ValueError(f"found a grid of {grid} cells per side; expected at least 1")
    ymin, xmin, ymax, xmax = tf.unstack(tf.clip_by_value(boxes, 0.0, 1.0), axis=-1)
    has_area = (ymax > ymin) & (xmax > xmin)
    down = _overlaps(ymin, ymax, has_area, grid)
    across = _overlaps(xmin, xmax, has_area, grid)
    if norm == "share":
        vertical = down / tf.reduce_sum(down, -1, keepdims=True)
        horizontal = across / tf.reduce_sum(across, -1, keepdims=True)
    else:
        vertical = down * tf.reduce_sum(across, -1, keepdims=True)
        horizontal = across * tf.reduce_sum(down, -1, keepdims=True)
    if lengths is not None:
        is_region = tf.sequence_mask(lengths, tf.shape(boxes)[1], dtype=tf.float32)[..., None]
        vertical, horizontal = vertical * is_region, horizontal * is_region
    return GridAreas(horizontal, vertical)


def grid_map(found: GridAreas) -> tf.Tensor:
    """Returns the value of every cell, from the sums over rows and columns; valid for both norms.

    Args:
        found: from `grid_areas`.

    Returns:
        float32[B, L, g, g], row by row from the top.
    """
    cells = found.vertical[..., :, None] * found.horizontal[..., None, :]
    return tf.math.divide_no_nan(cells, tf.reduce_sum(found.vertical, -1)[..., None, None])


def _overlaps(low: tf.Tensor, high: tf.Tensor, has_area: tf.Tensor, grid: int) -> tf.Tensor:
    """Returns the fraction of each of `grid` equal intervals of 0..1 in low..high: [B, L, g]."""
    # In units of cells: cell c is the interval c..c + 1, so an overlap is the fraction of a cell.
    starts = tf.range(grid, dtype=tf.float32)
    low_cells, high_cells = low[..., None] * grid, high[..., None] * grid
    overlap = tf.nn.relu(tf.minimum(high_cells, starts + 1.0) - tf.maximum(low_cells, starts))
    center = tf.cast((low + high) / 2 * grid, tf.int32)
    point = tf.one_hot(tf.minimum(center, grid - 1), grid)
    # The overlap of a very thin box may be 0 in float32.
    covers = has_area & (tf.reduce_sum(overlap, -1) > 0)
    return tf.where(covers[..., None], overlap, point)


def relative_geometry(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the geometry of each box m relative to each box n (Herdade et al. 2019).

    With centers (cx, cy) and sides w and h, each plus 1 (as published, although boxes are in 0..1),
    the geometry is ln max(|cx_m - cx_n| / w_m, 1e-3), ln max(|cy_m - cy_n| / h_m, 1e-3),
    ln(w_m / w_n) and ln(h_m / h_n).

    Args:
        boxes: float32[B, L, 4].

    Returns:
        float32[B, L, L, 4], m first.

    Source: Herdade et al. 2019 (arXiv 1906.05963), equation 3.
    """
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)

    def along(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        center, side = (low + high) / 2, (high - low + 1.0)[..., :, None]
        distance = tf.abs(center[..., :, None] - center[..., None, :]) / side
        ratio = side / tf.linalg.matrix_transpose(side)
        return tf.math.log(tf.maximum(distance, 1e-3)), tf.math.log(ratio)

    (across, width), (down, height) = along(xmin, xmax), along(ymin, ymax)
    return tf.stack([across, down, width, height], axis=-1)


def embed_geometry(relative: tf.Tensor, size: int = 64) -> tf.Tensor:
    """Returns sines and cosines of relative geometry at several frequencies.

    Args:
        relative: float32[..., 4], from `relative_geometry`.
        size: size of the embedding, a multiple of 8.

    Returns:
        float32[..., size]: the sines of each value at size / 8 frequencies, then the cosines.

    Raises:
        ValueError: the size is not a multiple of 8.
    """
    if size < 8 or size % 8:
        raise ValueError(f"found an embedding of size {size}; expected a multiple of 8")
    frequencies = _BASE ** (-tf.range(size // 8, dtype=tf.float32) / (size // 8))
    angles = _SCALE * relative[..., None] * frequencies
    shape = tf.concat([tf.shape(relative)[:-1], [size // 2]], axis=0)
    angles = tf.ensure_shape(tf.reshape(angles, shape), [*relative.shape[:-1], size // 2])
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)
