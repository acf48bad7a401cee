"""`detections` records of the colors of objects."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrecords.builders.detections.build import DetectionsOptions, build_detections
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import read_boxes


def test_colors_of_detected_objects(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    paints = {"a.png": (205, 30, 30), "b.png": (120, 75, 40), "c.png": (40, 80, 190)}
    for name, paint in paints.items():
        Image.fromarray(np.full((40, 40, 3), paint, np.uint8)).save(pictures / name)
    (pictures / "broken.png").write_bytes(b"\x89PNG")
    classes = {1: "car", 2: "dog"}
    file = tmp_path / "objects.json"
    rows = [(1, 1, 0.9), (2, 2, 0.8), (3, 1, 0.2)]  # image, class, score
    file.write_text(
        json.dumps(
            {
                "images": [
                    {"id": number, "file_name": name, "width": 40, "height": 40}
                    for number, name in enumerate(paints, 1)
                ],
                "categories": [{"id": i, "name": name} for i, name in classes.items()],
                "annotations": [
                    {"image_id": i, "category_id": c, "bbox": [4, 4, 20, 20], "score": s}
                    for i, c, s in rows
                ],
            }
        )
    )
    options = DetectionsOptions(
        folder=tmp_path / "colors", detector=f"colors:{file},0.4", images=pictures, shards=2
    )
    records = build_detections(options, progress=False)
    found = {image.name: image.found for image in read_boxes(records.folder, None)}
    assert {name: own.class_names for name, own in found.items()} == {
        "a.png": ("red",), "b.png": ("brown",), "c.png": (),
    }  # fmt: skip
    np.testing.assert_allclose(found["a.png"].boxes, [[0.1, 0.1, 0.6, 0.6]], atol=1e-6)
    assert records.manifest["skipped"]["counts"] == {"unreadable": 1}
    assert records.manifest["options"]["model"] == "objects.json,0.4"
    # The ground below the car is green.
    meadow = np.full((40, 40, 3), paints["a.png"], np.uint8)
    meadow[30:] = (60, 160, 50)
    Image.fromarray(meadow).save(pictures / "a.png")
    grassy = build_detections(replace(options, folder=tmp_path / "grassy"), progress=False)
    on_grass = {image.name: image.found for image in read_boxes(grassy.folder, None)}["a.png"]
    assert on_grass.class_names == ("red", "grass")
    # 400 green pixels of the 1,200 outside the box.
    np.testing.assert_allclose(on_grass.scores, [1.0, 1 / 3], rtol=1e-6)
    with pytest.raises(InputError, match="colors have fixed names: leave label_map out"):
        build_detections(replace(options, label_map=file, folder=tmp_path / "x"))
    with pytest.raises(InputError, match="detector colors needs the folder of images"):
        build_detections(replace(options, images=None, folder=tmp_path / "x"))
    tags = json.loads(file.read_text())
    for row in tags["annotations"]:
        row["bbox"] = [0, 0, 40, 40]
    file.write_text(json.dumps(tags))
    with pytest.raises(InputError, match="only labels of whole images: colors require the boxes"):
        build_detections(replace(options, folder=tmp_path / "x"))
