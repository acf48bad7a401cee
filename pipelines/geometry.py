"""Positions of regions in their image, as numbers for a captioner.

Boxes are those of `features` and `captions` records: ymin, xmin, ymax, xmax in 0..1, padded with
rows of zeros. Everything here is computed in the graph from the four numbers of a box.

The grid-area vectors are a reconstruction. "Spatial" captioning (sidharth5n/Spatial-Image-Captioning)
adds to a region how much of each row and each column of a g x g grid it occupies, but the script
that made those numbers (`prepro_areas.py`) was never published. What is known is how they are read:
one value a cell, summed over columns and over rows. The formula below fits that; it is ours.
"""  # noqa: E501 - a name cannot be broken

from __future__ import annotations

from typing import Literal, NamedTuple

import tensorflow as tf

AreaNorm = Literal["share", "coverage"]


class GridAreas(NamedTuple):
    """Returns the positions of boxes on a grid of g x g cells.

    Attributes:
        horizontal: float32 [B, N, g], of each column, left to right.
        vertical: float32 [B, N, g], of each row, top to bottom.
    """

    horizontal: tf.Tensor
    vertical: tf.Tensor


def areas(boxes: tf.Tensor) -> tf.Tensor:
    """The part of the image that each box covers: [..., 4] -> [...], in 0..1; 0 where inverted."""
    height = tf.nn.relu(boxes[..., 2] - boxes[..., 0])
    width = tf.nn.relu(boxes[..., 3] - boxes[..., 1])
    return height * width


def box_features(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the numbers that self-critical.pytorch appends to region features with `--use_box`.

    Args:
        boxes: float32 [..., 4].

    Returns:
        float32 [..., 5]: x1 / W, y1 / H, x2 / W, y2 / H, area / (W H).
    """
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([xmin, ymin, xmax, ymax, areas(boxes)], axis=-1)


def grid_areas(
    boxes: tf.Tensor, lengths: tf.Tensor, grid: int, norm: AreaNorm = "share"
) -> GridAreas:
    """Returns the share of each row and column of a grid that every box covers (spec section 1.6).

    With ox[c] the part of column c's width that lies within the box, and oy[r] that of row r's
    height, cell (r, c) is covered by oy[r] ox[c]. `coverage` sums that over a row or a column of
    cells; `share` first divides it by its sum over all cells, so that each vector sums to one: the
    mean position of the box, which is what weights of a mean over position codes must be.

    Boxes are clipped to the image. One without area, or upside down, counts as the whole cell that
    its centre lies in; the centre 1.0 lies in the last cell.

    Args:
        boxes: float32 [B, N, 4].
        lengths: int [B], how many of the N are regions; it must be that of the region features.
        grid: g, cells a side.
        norm: `share` or `coverage`.

    Returns:
        The vectors; zeros from `lengths` on.

    Raises:
        ValueError: an unknown norm, or a grid without cells.
        tf.errors.InvalidArgumentError: more regions than boxes (not under XLA).
    """
    if norm not in ("share", "coverage"):
        raise ValueError(f"unknown norm of areas {norm!r}; known: share, coverage")
    if grid < 1:
        raise ValueError(f"a grid of {grid} cells a side; expected at least 1")
    most = tf.shape(boxes)[1]
    lengths = tf.cast(lengths, most.dtype)
    check = tf.debugging.assert_less_equal(
        lengths, most, message="an image has more regions than boxes"
    )
    with tf.control_dependencies([check] if check is not None else []):
        boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    has_area = (ymax > ymin) & (xmax > xmin)
    down = _overlaps(ymin, ymax, has_area, grid)
    across = _overlaps(xmin, xmax, has_area, grid)
    if norm == "share":
        vertical = down / tf.reduce_sum(down, -1, keepdims=True)
        horizontal = across / tf.reduce_sum(across, -1, keepdims=True)
    else:
        vertical = down * tf.reduce_sum(across, -1, keepdims=True)
        horizontal = across * tf.reduce_sum(down, -1, keepdims=True)
    is_region = tf.sequence_mask(lengths, most, dtype=tf.float32)[..., None]
    return GridAreas(horizontal * is_region, vertical * is_region)


def grid_map(found: GridAreas) -> tf.Tensor:
    """The value of every cell, from the sums over rows and columns, either way they are normed.

    Args:
        found: from `grid_areas`.

    Returns:
        float32 [B, N, g, g], row by row from the top; g * g values where the vectors are 2 g, so
        make it where it is used and store the boxes.
    """
    cells = found.vertical[..., :, None] * found.horizontal[..., None, :]
    return tf.math.divide_no_nan(cells, tf.reduce_sum(found.vertical, -1)[..., None, None])


def _overlaps(low: tf.Tensor, high: tf.Tensor, has_area: tf.Tensor, grid: int) -> tf.Tensor:
    """The part of each of `grid` equal intervals of 0..1 that lies in low..high: [B, N, g]."""
    # Times g: cell c is c..c + 1, and the overlap is a part of a cell at once.
    starts = tf.range(grid, dtype=tf.float32)
    low_cells, high_cells = low[..., None] * grid, high[..., None] * grid
    overlap = tf.nn.relu(tf.minimum(high_cells, starts + 1.0) - tf.maximum(low_cells, starts))
    centre = tf.cast((low + high) / 2 * grid, tf.int32)
    point = tf.one_hot(tf.minimum(centre, grid - 1), grid)
    # A box may be so thin that its overlap vanishes in float32.
    covers = has_area & (tf.reduce_sum(overlap, -1) > 0)
    return tf.where(covers[..., None], overlap, point)
