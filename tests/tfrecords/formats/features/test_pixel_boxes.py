"""Boxes of regions in another format than corners."""

from __future__ import annotations

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.features.pixel_boxes import from_pixels, from_relative

CORNERS = np.array([[30, 20, 90, 80], [200, 100, 640, 480], [0, 0, 64, 48]], np.float32)
XYWH = np.concatenate([CORNERS[:, :2], CORNERS[:, 2:] - CORNERS[:, :2]], axis=1)
SIZE = np.array([640, 480, 640, 480])


def test_corners_in_pixels_and_in_fractions_are_the_same_boxes() -> None:
    boxes = from_pixels(CORNERS, 480, 640, "boxes")
    np.testing.assert_allclose(boxes[2], [0, 0, 0.1, 0.1], atol=1e-7)
    np.testing.assert_allclose(boxes, from_relative(CORNERS / SIZE, "boxes"), atol=1e-6)
    assert from_pixels(np.zeros((36, 4)), 480, 640, "boxes").shape == (36, 4)  # padding


def test_other_formats_are_refused() -> None:
    wide = np.concatenate([XYWH, [[500, 400, 100, 50]] * 3])
    with pytest.raises(
        InputError, match=r"3 of 6 boxes are inverted, .*\[500, 400, 100, 50\].* width"
    ):
        from_pixels(wide, 480, 640, "boxes")
    with pytest.raises(InputError, match="3 of 6 boxes are inverted"):
        from_relative(wide / SIZE, "boxes")
    with pytest.raises(InputError, match="all 3 boxes of an image of 640 x 480 pixels lie in"):
        from_pixels(CORNERS / SIZE, 480, 640, "boxes")
    assert len(from_pixels(CORNERS[:1] / SIZE, 480, 640, "boxes")) == 1  # one proves nothing
