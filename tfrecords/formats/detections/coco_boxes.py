"""Reader of detections in COCO's format: results of detectors, and human annotations.

A JSON object with `images` (id, file_name, width, height), `annotations` (image_id, category_id,
bbox [x, y, width, height] in pixels or the format of the options, score) and `categories` (id,
name); or, in COCO's results format, a plain list of annotations, accompanied by a JSON with the
other two. An annotation without `score` gets the maximum score, also if scores are percents.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import normalize_name
from tfrecords.formats.detections.box_formats import AS_EXPECTED, BoxOptions, WrittenBoxes
from tfrecords.formats.detections.written_boxes import read_written
from tfrecords.formats.json_stream import Element, stream_json
from tfrecords.pictures.boxes import ImageBoxes
from tfrecords.pictures.image_names import is_image_name, is_unicode

# Ids are stored as float64 with the boxes; float64 represents integers up to here exactly.
_MOST = 1 << 53
# Number types of JSON; true and false are not numbers.
_NUMBERS = frozenset((int, float))
_COLUMNS = 7


@dataclass
class _Content:
    """Content of a file; one row per annotation: box (four numbers), score, category, number."""

    images: dict[Any, tuple[str, int, int]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    rows: dict[Any, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    # Image or category id -> its first annotation, for errors about unknown ids.
    first_of_image: dict[Any, str] = field(default_factory=dict)
    first_of_category: dict[int, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    annotations: int = 0
    # Score of an annotation without one.
    certain: float = 1.0


def read_coco(
    path: Path,
    companion: Path | None = None,
    options: BoxOptions = AS_EXPECTED,
    converted: Counter[str] | None = None,
) -> Iterator[ImageBoxes]:
    """Yields every image of the file in order, including images without annotations.

    Args:
        path: a JSON object, or the plain list of annotations.
        companion: the JSON with `images` and `categories` for a plain list.
        options: formats of boxes and scores.
        converted: see `read_written`.

    Raises:
        InputError: the file is not a JSON of this layout, has no annotation, lists an image or
            category twice, has an annotation of an unknown one, a value of the wrong type, or
            boxes in another format; names line and number.
    """
    content = _Content(certain=100.0 if options.scores == "percent" else 1.0)
    for element in stream_json(path):
        _add(content, element, path)
    if "" in content.keys:
        if companion is None:
            raise InputError(
                f"{path} is a plain list of detections: also give the JSON with its `images` and "
                "`categories` (FILE+JSON)"
            )
        for element in stream_json(companion):
            if element.key != "annotations":
                _add(content, element, companion)
    if not (content.images and content.categories):
        raise InputError(
            f"{path}: expected the keys `images`, `annotations` and `categories` of a COCO file, "
            f"none of them empty; found {', '.join(sorted(content.keys)[:8]) or 'nothing'}"
        )
    if not content.annotations:
        raise InputError(f"{path} contains no detections (its `annotations` are empty)")
    _check_ids(content, path)
    yield from read_written(
        _images(content, path),
        content.categories,
        path=path,
        native="xywh",
        options=options,
        converted=converted,
    )


def _images(content: _Content, path: Path) -> Iterator[WrittenBoxes]:
    none = array("d")
    for image_id, (name, height, width) in content.images.items():
        rows = np.asarray(content.rows.get(image_id, none)).reshape(-1, _COLUMNS)
        _, _, _, _, scores, categories, numbers = rows.T

        def place(row: int, numbers: np.ndarray = numbers) -> str:
            return f"{path}: annotation {int(numbers[row])}"

        yield WrittenBoxes(
            name, height, width, rows[:, :4], scores, categories.astype(np.int64), place
        )


def _add(content: _Content, element: Element, path: Path) -> None:
    """Adds one element of the file's top level."""
    key, value = element.key, element.value
    content.keys.add(key)
    place = f"{path}:{element.line}"
    if key == "images":
        _add_image(content, value, place)
    elif key == "categories":
        category, name = _fields(value, ("id", "name"), place, "category")
        if not _is_id(category) or not _is_name(name):
            raise _malformed("category", place, value, "a number as id and a text as name")
        if category in content.categories:
            raise InputError(f"{place}: category {category} is listed twice")
        content.categories[category] = name
    elif key in ("annotations", ""):
        _add_annotation(content, value, place)
        content.annotations += 1


def _add_image(content: _Content, value: Any, place: str) -> None:
    expected = "id, file_name (a path inside the folder of images), and width and height in pixels"
    image_id, name, *size = _fields(value, ("id", "file_name", "height", "width"), place, "image")
    height, width = (_size(pixels) for pixels in size)
    if not _is_key(image_id) or not is_image_name(name) or not (height and width):
        raise _malformed("image", place, value, expected)
    if image_id in content.images:
        raise InputError(
            f"{place}: image id {image_id!r} is listed twice: {content.images[image_id][0]!r} "
            f"and {name!r}"
        )
    content.images[image_id] = (normalize_name(name), height, width)


def _add_annotation(content: _Content, value: Any, place: str) -> None:
    number = f"annotation {content.annotations}"
    image_id, category, bbox = _fields(value, ("image_id", "category_id", "bbox"), place, number)
    score = value.get("score", content.certain)
    if (
        not _is_key(image_id)
        or not _is_id(category)
        or not isinstance(bbox, list)
        or len(bbox) != 4
        or not _NUMBERS.issuperset(map(type, (*bbox, score)))
    ):
        raise _malformed(
            number,
            place,
            value,
            "image_id and category_id that the file lists, bbox [x, y, width, height], and score "
            "a number",
        )
    # NaN scores are dropped and counted later, with the boxes.
    if score < 0:
        raise InputError(
            f"{place}: {number} has the score {_short(score)}, expected 0..1. Convert logits to "
            "probabilities"
        )
    if image_id not in content.first_of_image:
        content.first_of_image[image_id] = f"{place}: {number}"
    if category not in content.first_of_category:
        content.first_of_category[category] = f"{place}: {number}"
    content.rows[image_id].extend((*map(_float, (*bbox, score)), category, content.annotations))


def _check_ids(content: _Content, path: Path) -> None:
    """Checks that the ids of all annotations are listed and that file names are unique."""
    firsts: tuple[tuple[str, Mapping[Any, str], Mapping[Any, Any]], ...] = (
        ("image_id", content.first_of_image, content.images),
        ("category_id", content.first_of_category, content.categories),
    )
    for key, first, known in firsts:
        for found, place in first.items():
            if found not in known:
                raise InputError(
                    f"{place} is malformed: its {key} {_short(found)} is not among those listed"
                )
    names: dict[str, Any] = {}
    for image_id, (name, _, _) in content.images.items():
        if name in names:
            raise InputError(
                f"{path}: images {names[name]!r} and {image_id!r} have one file_name, {name!r}"
            )
        names[name] = image_id


def _fields(value: Any, keys: tuple[str, ...], place: str, what: str) -> list[Any]:
    if not isinstance(value, dict) or not all(key in value for key in keys):
        raise _malformed(what, place, value, f"an object with {', '.join(keys)}")
    return [value[key] for key in keys]


def _malformed(what: str, place: str, value: Any, expected: str) -> InputError:
    return InputError(f"{place}: {what} is malformed: {_short(value)}; expected {expected}")


def _short(value: Any) -> str:
    return json.dumps(value)[:200]


def _is_key(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_MOST < value < _MOST


def _size(value: Any) -> int:
    """Returns the pixels of an image's side; 0 for an invalid value."""
    if type(value) not in _NUMBERS or not 1 <= value < 1 << 31 or value != int(value):
        return 0
    return int(value)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
