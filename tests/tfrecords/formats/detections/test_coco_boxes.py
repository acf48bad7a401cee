"""COCO results and annotations: what is counted, what is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_files import annotation, coco, only_input_errors, read, read_json
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource, read_detections


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [math.nan, 1, 5, 5]}, "box_not_finite"),
        ({"bbox": [1e308, 1, 1e308, 5]}, "box_not_finite"),
        ({"bbox": [10**400, 1, 5, 5]}, "box_not_finite"),
        ({"score": math.nan}, "box_not_finite"),
        ({"bbox": [10, 10, -5, 5]}, "box_inverted"),
        ({"bbox": [10, 10, 5, 0]}, "box_inverted"),
        ({"bbox": [300, 10, 5, 5]}, "box_outside"),
        ({"bbox": [-20, -20, 20, 20]}, "box_outside"),
    ],
)
def test_boxes_that_cannot_be_right_are_counted(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    (image,) = read_json(tmp_path, coco([annotation(**change), annotation()]))
    assert dict(image.found.dropped) == {reason: 1}
    np.testing.assert_allclose(image.found.boxes, [[0.1, 0.05, 0.6, 0.3]])
    counted: Counter[str] = Counter()
    read_detections([DetectionSource(path=tmp_path / "d.json")], dropped=counted)
    assert counted == {reason: 1}
    read_json(tmp_path, coco([annotation(**change)] * 2))
    with pytest.raises(InputError, match=f"no valid detections: 2 {reason}"):
        read_detections([DetectionSource(path=tmp_path / "d.json")])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (coco([annotation(score=87.5)]), "annotation 0 has the score 87.5, expected 0..1"),
        (coco([annotation(score=-0.1)]), "expected 0..1"),
        (coco([annotation(score="0.5")]), "annotation 0 is malformed"),
        (coco([annotation(bbox=[1, 2, 3])]), "annotation 0 is malformed"),
        (coco([annotation(bbox=[1, 2, 3, True])]), "annotation 0 is malformed"),
        (coco([annotation(bbox={"x": 1})]), "annotation 0 is malformed"),
        (coco([annotation(), annotation(image_id=2)]), r"d\.json:1: annotation 1 is malformed"),
        (coco([annotation(image_id=[1])]), "annotation 0 is malformed"),
        (coco([annotation(image_id=True)]), "annotation 0 is malformed"),
        (coco([annotation(category_id=8)]), "its category_id 8 is not among those listed"),
        (coco([annotation(category_id=7.5)]), "annotation 0 is malformed"),
        (coco([annotation(category_id=2**70)]), "annotation 0 is malformed"),
        (coco(["x"]), "annotation 0 is malformed"),
        (coco([annotation()], images=[{"id": 1}]), "image is malformed"),
        (coco([annotation()], categories=[{"id": "7", "name": "dog"}]), "category is malformed"),
        (coco([annotation()], categories=[{"id": 7, "name": "\ud800"}]), "category is malformed"),
        (coco([annotation()], categories=[{"id": 7, "name": "d"}] * 2), "listed twice"),
        (coco([annotation()], images=coco([])["images"] * 2), "image id 1 is listed twice"),
        ("{}", "found nothing"),
        ("[", "not valid JSON"),
        ('{"images": ' + "[" * 100_000, "not valid JSON"),
        ('{"images": [' + "9" * 5000 + "]}", "not valid JSON"),
        ("\ufffe", "expected"),
    ],
)
def test_coco_faults_are_named(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_json(tmp_path, data)


@pytest.mark.parametrize(
    "change",
    [
        *({"file_name": name} for name in ("../a.jpg", "/etc/a", "", "a\0", 5, None, "\ud800.jpg")),
        *({"width": size} for size in (0, -5, 640.5, "640", None, math.nan, math.inf, 10**30)),
        {"id": 1.5},
    ],
)
def test_coco_images_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    image = {"id": 1, "file_name": "a.jpg", "height": 100, "width": 200, **change}
    with pytest.raises(InputError, match=r"d\.json:1: image is malformed"):
        read_json(tmp_path, coco([annotation()], images=[image]))


def test_two_coco_images_of_one_name(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": "a.jpg", "height": 9, "width": 9} for i in (1, "1")]
    with pytest.raises(InputError, match=r"images 1 and '1' have one file_name, 'a.jpg'"):
        read_json(tmp_path, coco([annotation()], images=images))


def test_the_order_of_the_keys_does_not_matter(tmp_path: Path) -> None:
    data = coco([annotation()])
    backwards = {key: data[key] for key in ("annotations", "categories", "images")}
    assert [image.name for image in read_json(tmp_path, backwards)] == ["a.jpg"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "name", "bbox", "score", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ANNOTATION = st.fixed_dictionaries(
    {"image_id": st.just(1) | JSON, "category_id": st.just(7) | JSON},
    optional={
        "bbox": st.lists(st.floats() | st.integers(), min_size=4, max_size=4) | JSON,
        "score": st.floats(0, 1) | JSON,
    },
)
COCO = st.fixed_dictionaries(
    {
        "images": st.just(coco([])["images"]) | JSON,
        "categories": st.just(coco([])["categories"]) | JSON,
        "annotations": st.lists(ANNOTATION, max_size=4) | JSON,
    }
)


@settings(deadline=None, max_examples=150)
@given(COCO, st.integers(0, 400) | st.none())
def test_any_coco_file(
    tmp_path_factory: pytest.TempPathFactory, data: Any, cut: int | None
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "d.json"
    path.write_text(json.dumps(data)[:cut])
    only_input_errors(lambda: read(path))
