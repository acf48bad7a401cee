"""Features of regions: means of a feature map over boxes."""

from __future__ import annotations

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.pictures.feature_options import FeatureOptions

# Boxes have at least this fraction of a side, so that their mean is defined.
LEAST_SIDE = 1e-4


def pool_regions(maps: np.ndarray, boxes: np.ndarray, features: FeatureOptions) -> np.ndarray:
    """Computes the exact mean of a bilinearly interpolated feature map over boxes.

    This is the limit of cropping, resizing and averaging for large crops. The value of a cell is at
    its center; the mean over the whole image is the mean of the cells.

    Args:
        maps: float32[gh, gw, D], of the whole image.
        boxes: float32[N, 4], ymin, xmin, ymax, xmax in 0..1.
        features: `unit_norm` and `dtype`.

    Returns:
        [N, D] of the dtype.

    Raises:
        InputError: a number is not finite in the dtype.

    Source: precise RoI pooling, Jiang et al. 2018 (arXiv 1807.11590).
    """
    height, width, _ = maps.shape
    down = axis_weights(boxes[:, 0], boxes[:, 2], height)
    across = axis_weights(boxes[:, 1], boxes[:, 3], width)
    rows = np.einsum("nh,hwd->nwd", down, maps, optimize=True)
    vectors = np.einsum("nw,nwd->nd", across, rows)
    if features.unit_norm:
        norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = np.divide(vectors, norms, where=norms > 0, out=np.zeros_like(vectors))
    with np.errstate(over="ignore"):
        stored = vectors.astype(features.dtype)
    if not np.isfinite(stored).all():
        raise InputError(
            f"features of regions are not finite in {features.dtype}; use float32, which has a "
            "larger range"
        )
    return stored


def axis_weights(low: np.ndarray, high: np.ndarray, cells: int) -> np.ndarray:
    """Returns the weight of each cell of an axis in the mean over intervals.

    Args:
        low: float[N], starts of the intervals in 0..1.
        high: float[N], their ends.
        cells: number of cells of equal length.

    Returns:
        float32[N, cells]; each row sums to 1.
    """
    # Widen short intervals around the same center.
    grown = np.maximum(LEAST_SIDE - (high - low), 0.0) / 2
    low, high = ((x.astype(np.float64) * cells) - 0.5 for x in (low - grown, high + grown))
    weights = (_integrals(high, cells) - _integrals(low, cells)) / (high - low)[:, np.newaxis]
    return np.asarray(weights, np.float32)


def _integrals(ends: np.ndarray, cells: int) -> np.ndarray:
    """Returns the integral up to `ends` of the interpolation weight of each cell: [N, cells].

    Cell c is at c; before the first and after the last cell the interpolation is constant.
    """
    distance = ends[:, np.newaxis] - np.arange(cells)
    rising, falling = np.clip(distance, -1, 0) + 1, 1 - np.clip(distance, 0, 1)
    found = np.where(distance < 0, rising**2 / 2, 1 - falling**2 / 2)
    found[:, 0] = np.where(distance[:, 0] < 0, 0.5 + distance[:, 0], found[:, 0])
    found[:, -1] = np.where(distance[:, -1] > 0, 0.5 + distance[:, -1], found[:, -1])
    return found
