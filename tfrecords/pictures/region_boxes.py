"""Boxes of the regions of an image: those of its detected objects, and the whole image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrecords.pictures.headers import ImageHeader
from tfrecords.pictures.orientation import boxes_as_shown


class DetectedBoxes(NamedTuple):
    """Detected boxes of an image, in descending order of scores.

    Attributes:
        boxes: float32[N, 4], ymin, xmin, ymax, xmax in 0..1.
        sizes: per box, height and width of the image according to its detector; zeros if unknown.
    """

    boxes: np.ndarray
    sizes: tuple[tuple[int, int], ...]

    def regions(self, header: ImageHeader) -> np.ndarray:
        """Returns the whole image and the boxes in the upright frame: float32[1 + N, 4]."""
        orientation, stored = header.orientation, header.stored_size
        shown = [
            boxes_as_shown(box[np.newaxis], orientation, size, stored)
            for box, size in zip(self.boxes, self.sizes, strict=True)
        ]
        return np.concatenate([WHOLE_IMAGE, *shown]).astype(np.float32)


WHOLE_IMAGE = np.array([[0, 0, 1, 1]], np.float32)
NO_DETECTED_BOXES = DetectedBoxes(np.zeros((0, 4), np.float32), ())
