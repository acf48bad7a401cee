"""Small files of detections in every format, and what any reader may do with a damaged one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tfrecords.builders.detections.shard_jobs import encode_detections
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import read_boxes
from tfrecords.pictures.boxes import ImageBoxes

CODES = {"/m/01": "Person", "/m/02": "Dog", "/m/03": "Sports ball"}
HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"
ROWS = (
    "a1,xclick,/m/02,1,0.25,0.5,0.125,0.75,0",
    "a1,xclick,/m/01,0.5,0,1,0,1,0",
    "b2,xclick,/m/03,0.9,-0.1,0.5,0.5,1.2,1",
)


def read(path: Path, companion: Path | None = None) -> list[ImageBoxes]:
    return list(read_boxes(path, companion))


def write_csv(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


Content = dict[str, dict[str, Any]]


def write_hdf5(path: Path, content: Content) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            for key, value in values.items():
                file.create_dataset(f"{name}/{key}", data=value)
    return path


def of_image(boxes: Any, scores: Any, classes: Any) -> dict[str, Any]:
    return {
        "detection_boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "detection_scores": np.array(scores, np.float32),
        "detection_classes": np.array(classes, np.float32),
    }


GOOD = of_image([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], [0.9, 0.8], [2, 3])


def coco(annotations: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 100, "width": 200}],
        "categories": [{"id": 7, "name": "dog"}],
        "annotations": annotations,
        **changes,
    }


def annotation(**changes: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 7, "bbox": [10, 10, 50, 50], "score": 0.5, **changes}


def read_json(folder: Path, data: Any) -> list[ImageBoxes]:
    path = folder / "d.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return read(path)


def only_input_errors(job: Callable[[], list[ImageBoxes]]) -> None:
    """Runs a reader: what it yields can be right, and what it raises is an `InputError`."""
    try:
        images = job()
    except InputError as error:
        assert str(error)
        return
    for image in images:
        boxes, scores = image.found.boxes, image.found.scores
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((scores >= 0) & (scores <= 1)).all()
        assert len(boxes) == len(scores) == len(image.found.class_names)
        assert encode_detections(image.name, image.height, image.width, image.found)
