"""Stored features of one image: what is encoded, and what is refused."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from tfrecords.builders.features.stored_values import stored_values
from tfrecords.core.errors import InputError
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.pictures.feature_options import FeatureOptions


class Store:
    """A store of regions of three numbers, with boxes."""

    shapes: ClassVar = {"region_feature": (None, 3)}
    has_boxes = True
    needs_sizes = False


def values(regions: Any, boxes: Any) -> dict[str, Any]:
    found = StoredFeatures(
        region_feature=np.asarray(regions, np.float32), boxes=np.asarray(boxes, np.float32)
    )
    store: Any = Store()
    return stored_values(store, found, FeatureOptions(), "image 'a.jpg'", boxes=True)


def test_regions_and_their_boxes_are_stored() -> None:
    found = values(np.ones((2, 3)), [[0, 0, 1, 1], [0, 0, 0.5, 0.5]])
    assert np.frombuffer(found["region_feature"], "<f2").tolist() == [1] * 6
    assert found["boxes"].tolist() == [[0, 0, 1, 1], [0, 0, 0.5, 0.5]]


@pytest.mark.parametrize(
    ("regions", "boxes", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 4)), r"boxes have the shape \(3, 4\), expected \(2, 4\)"),
        (np.ones((2, 3)), np.ones((1, 4)), r"boxes have the shape \(1, 4\), expected \(2, 4\)"),
        (np.ones((0, 3)), np.ones((0, 4)), "region_feature has no row: the image has no region"),
        ([[1, np.nan, 1]], np.ones((1, 4)), "region_feature has NaN or infinite numbers"),
        ([[1, 1e6, 1]], np.ones((1, 4)), r"numbers up to 1e\+06, which are not finite in float16"),
        (np.ones((2, 4)), np.ones((2, 4)), r"shape \(2, 4\), expected \(None, 3\)"),
    ],
)
def test_what_is_refused(regions: Any, boxes: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"image 'a.jpg': .*{message}"):
        values(regions, boxes)
