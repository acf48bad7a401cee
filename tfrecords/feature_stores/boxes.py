"""Boxes of regions, from the corners in pixels that others write to what records hold."""

from __future__ import annotations

import numpy as np

from tfrecords.errors import InputError

# Rounding may put a corner a little outside of a relative box.
_MARGIN = 1e-3


def from_pixels(corners: np.ndarray, height: int, width: int, where: str) -> np.ndarray:
    """Boxes relative to their image.

    Args:
        corners: [N, 4], x1, y1, x2, y2 in pixels.
        height: of the image, pixels.
        width: likewise.
        where: what to call them in messages.

    Returns:
        float32 [N, 4]: ymin, xmin, ymax, xmax, clipped to 0..1.

    Raises:
        InputError: not an array of finite numbers of that shape.
    """
    return _relative(corners, np.array([width, height, width, height], np.float64), where)


def from_relative(corners: np.ndarray, where: str) -> np.ndarray:
    """Boxes that are relative already, x1, y1, x2, y2 in 0..1; see `from_pixels`.

    Raises:
        InputError: a corner outside of 0..1, too.
    """
    boxes = _relative(corners, np.ones(4), where)
    if not are_relative(corners):
        worst = float(corners.flat[np.argmax(np.abs(corners - 0.5))])
        raise InputError(
            f"{where}: a corner at {worst:g}, expected 0..1 as in the first boxes of these files"
        )
    return boxes


def are_relative(corners: np.ndarray) -> bool:
    """Whether all corners lie in 0..1: then they are relative to their image."""
    return bool(((corners >= -_MARGIN) & (corners <= 1 + _MARGIN)).all())


def _relative(corners: np.ndarray, size: np.ndarray, where: str) -> np.ndarray:
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise InputError(
            f"{where}: boxes of shape {corners.shape}, expected finite numbers [N, 4] (x1, y1, "
            "x2, y2)"
        )
    boxes = np.clip(corners / size, 0.0, 1.0).astype(np.float32)
    return boxes[:, [1, 0, 3, 2]]
