"""Detected boxes that become regions: which ones, of which images, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource, ImageDetections
from tfrecords.formats.detections.regions import (
    RegionOptions,
    boxes_of_names,
    check_regions,
    most_certain,
    read_detected_boxes,
)
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions, ViewOptions
from tfrecords.pictures.headers import ImageHeader
from tfrecords.pictures.region_boxes import NO_DETECTED_BOXES, DetectedBoxes

SOURCE = DetectionSource(path=Path("boxes.json"))
NET = BackboneOptions(name="VGG16", weights="none", image_size=64)


def detections_file(folder: Path, boxes: dict[str, list[tuple[list[float], float]]]) -> Path:
    """Writes COCO results: file name -> boxes x, y, width, height in pixels and their scores."""
    names = list(boxes)
    annotations = [
        {"image_id": names.index(name), "category_id": 0, "bbox": box, "score": score}
        for name, found in boxes.items()
        for box, score in found
    ]
    images = [{"id": i, "file_name": n, "width": 40, "height": 20} for i, n in enumerate(names)]
    file = folder / "boxes.json"
    file.write_text(
        json.dumps(
            {
                "images": images,
                "annotations": annotations,
                "categories": [{"id": 0, "name": "dog"}],
            }
        )
    )
    return file


def test_the_most_certain_boxes_are_taken_once_each() -> None:
    boxes = np.array(
        [[0, 0, 0.5, 0.5], [0.2, 0.2, 1, 1], [0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.1, 0, 0.3, 0.9]],
        np.float32,
    )
    found = ImageDetections(
        sizes={0: (20, 40), 1: (0, 0)},
        boxes=boxes,
        class_names=tuple("abcde"),
        class_ids=np.arange(5),
        scores=np.array([0.4, 0.5, 0.99, 0.6, 0.3], np.float32),
        source_index=np.array([0, 0, 1, 0, 1]),
        is_tag=np.array([False, False, True, False, False]),
    )
    # The box of the second detector counts twice; the label of the whole image is none.
    second = DetectionSource(path=Path("other.json"), weight=2.0)
    options = RegionOptions(detections=(SOURCE, second))
    seen = most_certain(found, options)
    np.testing.assert_array_equal(seen.boxes, boxes[[3, 4, 1]])
    assert seen.sizes == ((20, 40), (0, 0), (20, 40))
    one = most_certain(found, RegionOptions(detections=(SOURCE, SOURCE), most=1))
    np.testing.assert_array_equal(one.boxes, boxes[[3]])


def test_regions_are_the_whole_image_and_upright_boxes() -> None:
    box = np.array([[0.0, 0.25, 0.5, 1.0]], np.float32)
    # A quarter turn, which the detector did not see: it saw the rows as they are stored.
    turned = ImageHeader(height=40, width=20, pixels=800, orientation=6)
    regions = DetectedBoxes(box, ((20, 40),)).regions(turned)
    np.testing.assert_allclose(regions, [[0, 0, 1, 1], [0.25, 0.5, 1, 1]])
    as_shown = DetectedBoxes(box, ((40, 20),)).regions(turned)
    np.testing.assert_array_equal(as_shown[1:], box)
    assert NO_DETECTED_BOXES.regions(turned).tolist() == [[0, 0, 1, 1]]


def test_boxes_are_read_by_the_names_of_images(tmp_path: Path) -> None:
    file = detections_file(
        tmp_path,
        {
            # Without area, outside the image, and uncertain ones are left out; overhang is clipped.
            "a.png": [([5, 5, 0, 9], 0.9), ([50, 5, 9, 9], 0.9), ([20, 10, 30, 10], 0.8)],
            "b.png": [([0, 0, 10, 10], 0.1)],
        },
    )
    options = RegionOptions(detections=(DetectionSource.parse(str(file)),))
    seen = read_detected_boxes(options, ["a.png", "b.png", "c.png"])
    assert seen is not None and list(seen) == ["a.png"]
    np.testing.assert_allclose(seen["a.png"].boxes, [[0.5, 0.5, 1, 1]])
    of_all = boxes_of_names(seen, ["b.png", "a.png"])
    assert of_all == (NO_DETECTED_BOXES, seen["a.png"])
    assert options.recorded == {"most": 36, "min_scores": [0.3]}
    assert read_detected_boxes(None, ["a.png"]) is None and boxes_of_names(None, ["a.png"]) is None
    with pytest.raises(InputError, match=r"contain none of the 1 images: they are of .*'a.png'"):
        read_detected_boxes(options, ["other.png"])


@pytest.mark.parametrize(
    ("backbone", "features", "message"),
    [
        (None, {}, "pooled from a feature map: give the backbone"),
        (NET, {"short_side": 80}, "leave short_side and crops out"),
        (NET, {"views": ViewOptions(count=2)}, "views have no regions"),
    ],
)
def test_what_has_no_regions(
    backbone: BackboneOptions | None, features: dict[str, Any], message: str
) -> None:
    options = RegionOptions(detections=(SOURCE,))
    with pytest.raises(InputError, match=message):
        check_regions(options, backbone, FeatureOptions(**features))
    check_regions(options, NET, FeatureOptions())
    check_regions(None, None, FeatureOptions(**features))


def test_impossible_numbers_of_regions() -> None:
    with pytest.raises(InputError, match="max_regions=0 must be at least 1"):
        RegionOptions(detections=(SOURCE,), most=0)
    with pytest.raises(InputError, match="regions need a file of detections"):
        RegionOptions(detections=())


def test_regions_are_the_same_whatever_the_number_of_files() -> None:
    whole, low = (DetectionSource(path=Path("all.json"), min_score=x) for x in (0.3, 0.1))
    parts = RegionOptions(detections=(SOURCE, whole))
    assert parts.recorded == RegionOptions(detections=(whole,)).recorded
    assert parts.recorded != RegionOptions(detections=(low,)).recorded
