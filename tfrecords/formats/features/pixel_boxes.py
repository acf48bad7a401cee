"""Conversion of region boxes from corners in pixels to the format of the records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.features.types import StoredFeatures

# Rounding may place a corner slightly outside a relative box.
_MARGIN = 1e-3
# An image with fewer boxes than this is not evidence of their format.
_LEAST_BOXES = 3
_LEAST_SIDE = 10
# Boxes of detectors that do not clip exceed the image by less than this fraction of its side.
_OVERHANG = 0.05


def from_pixels(corners: np.ndarray, height: int, width: int, where: str) -> np.ndarray:
    """Converts boxes from pixels to coordinates relative to their image.

    Args:
        corners: [N, 4], x1, y1, x2, y2 in pixels.
        height: height of the image, pixels.
        width: width of the image, pixels.
        where: name of the boxes in messages.

    Returns:
        float32 [N, 4]: ymin, xmin, ymax, xmax, clipped to 0..1.

    Raises:
        InputError: the array has another shape or contains non-finite numbers; or the boxes are in
            another format: most of them are inverted, or all of them are within the first pixel.
    """
    boxes = _relative(corners, np.array([width, height, width, height], np.float64), where)
    is_large = len(corners) >= _LEAST_BOXES and min(height, width) >= _LEAST_SIDE
    if is_large and corners.any() and are_relative(corners):
        raise InputError(
            f"{where}: all {len(corners)} boxes of an image of {width} x {height} pixels lie in "
            f"its first pixel, {_example(corners)}; expected x1, y1, x2, y2 in pixels. Multiply "
            "fractions by width and height"
        )
    return boxes


def place_boxes(found: StoredFeatures, height: int, width: int, where: str) -> StoredFeatures:
    """Replaces the corners of features by boxes, given the image size; see `from_pixels`."""
    if found.corners is None:
        return found
    boxes = from_pixels(found.corners, height, width, where)
    return replace(found, boxes=boxes, corners=None, height=height, width=width)


def from_relative(corners: np.ndarray, where: str) -> np.ndarray:
    """Converts boxes that are relative already, x1, y1, x2, y2 in 0..1; see `from_pixels`.

    Raises:
        InputError: see `from_pixels`; or a corner is outside 0..1.
    """
    boxes = _relative(corners, np.ones(4), where)
    if not are_relative(corners):
        worst = float(corners.flat[np.argmax(np.abs(corners - 0.5))])
        raise InputError(
            f"{where}: a corner at {worst:g}, expected 0..1 as in the first boxes of these files"
        )
    return boxes


def check_corners(corners: np.ndarray, where: str) -> None:
    """Raises InputError if boxes are not finite numbers [N, 4]."""
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise InputError(
            f"{where}: boxes of shape {corners.shape}, expected finite numbers [N, 4] (x1, y1, "
            "x2, y2)"
        )


def are_relative(corners: np.ndarray) -> bool:
    """Returns whether all corners are within 0..1, that is, relative to their image."""
    return bool(((corners >= -_MARGIN) & (corners <= 1 + _MARGIN)).all())


def are_corners(corners: np.ndarray) -> bool:
    """Returns whether boxes [N, 4] can be x1, y1, x2, y2: few of them are inverted."""
    # Rounding does not invert a detector's box; most boxes x, y, width, height look inverted.
    return bool(10 * _inverted(corners).sum() <= len(corners) or len(corners) < _LEAST_BOXES)


def fit_in(corners: np.ndarray, height: int, width: int) -> bool:
    """Returns whether boxes [N, 4] in pixels fit in an image of this size: few exceed it."""
    limit = (1 + _OVERHANG) * np.array([width, height])
    outside = (corners[:, 2:] > limit).any(axis=1)
    return bool(10 * outside.sum() <= len(corners))


def _inverted(corners: np.ndarray) -> np.ndarray:
    return np.asarray((corners[:, 2:] < corners[:, :2]).any(axis=1))


def _relative(corners: np.ndarray, size: np.ndarray, where: str) -> np.ndarray:
    check_corners(corners, where)
    if not are_corners(corners):
        inverted = _inverted(corners)
        raise InputError(
            f"{where}: {inverted.sum()} of {len(corners)} boxes are inverted, "
            f"{_example(corners[inverted])}; expected x1, y1, x2, y2. Are they x, y, width, height?"
        )
    boxes = np.clip(corners / size, 0.0, 1.0).astype(np.float32)
    return boxes[:, [1, 0, 3, 2]]


def _example(corners: np.ndarray) -> str:
    return f"for example [{', '.join(f'{number:g}' for number in corners[0])}]"
