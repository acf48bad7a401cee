"""Reader of boxes in the CSV format of Open Images: human annotations and detector results.

The file has a header line, then one line per box, with the boxes of an image together: `ImageID`,
`LabelName` (a code such as `/m/01g317`), `Confidence`, `XMin`, `XMax`, `YMin`, `YMax` (fractions of
the image) and any other columns. It does not contain the sizes of the images, and names them
without suffix. Other box formats read the four columns in the order XMin, YMin, XMax, YMax.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.files import peek
from tfrecords.core.text_files import normalize_name, not_utf8, text_encoding
from tfrecords.formats.detections.box_formats import AS_EXPECTED, BoxOptions, WrittenBoxes
from tfrecords.formats.detections.written_boxes import read_written
from tfrecords.language.label_maps import LabelMap
from tfrecords.pictures.boxes import ImageBoxes
from tfrecords.pictures.image_names import is_image_name

_NUMBERS = ("Confidence", "YMin", "XMin", "YMax", "XMax")
_XYXY = [2, 1, 4, 3]
_COLUMNS = ("ImageID", "LabelName", *_NUMBERS)
_UNKNOWN = -1


class _Box(NamedTuple):
    line: int
    image_id: str
    label: str
    numbers: list[float]


def read_open_images(
    path: Path,
    label_map: LabelMap,
    options: BoxOptions = AS_EXPECTED,
    converted: Counter[str] | None = None,
) -> Iterator[ImageBoxes]:
    """Yields every image of the file in order, with one image in memory at a time.

    Args:
        path: the CSV file.
        label_map: the classes with their codes.
        options: formats of boxes and scores.
        converted: see `read_written`.

    Raises:
        InputError: the file is not a CSV of this layout, a number is invalid, the boxes of an image
            are not together, the label map contains none of the codes, or boxes are in another
            format; names the line.
    """
    yield from read_written(
        _images(path, label_map),
        label_map.classes,
        path=path,
        native="relative_xyxy",
        options=options,
        converted=converted,
    )


def _images(path: Path, label_map: LabelMap) -> Iterator[WrittenBoxes]:
    if not label_map.codes:
        raise InputError(
            f"{path} has class codes such as /m/01g317, but {label_map.name} has none: give "
            "the class descriptions CSV of Open Images, or a .pbtxt with `name` and `display_name`"
        )
    # 8 bytes per image: the whole set has nine million images.
    seen: set[int] = set()
    known = False
    label = ""
    for image_id, group in groupby(_boxes(path), key=lambda box: box.image_id):
        boxes = list(group)
        if hash(image_id) in seen:
            raise InputError(
                f"{path}:{boxes[0].line}: image {image_id!r} is repeated after other images: sort "
                "the lines below the header by ImageID"
            )
        seen.add(hash(image_id))
        label = label or boxes[0].label
        ids = [label_map.codes.get(box.label, _UNKNOWN) for box in boxes]
        known = known or any(box.label in label_map.codes for box in boxes)
        numbers = np.array([box.numbers for box in boxes])
        lines = [box.line for box in boxes]

        def place(row: int, lines: list[int] = lines) -> str:
            return f"{path}:{lines[row]}: the box"

        yield WrittenBoxes(image_id, 0, 0, numbers[:, _XYXY], numbers[:, 0], np.array(ids), place)
    if not seen:
        raise InputError(f"{path} contains no detections: no line below its header")
    if not known:
        raise InputError(
            f"{path}: {label_map.name} contains none of its classes (the first is {label!r}): give "
            "the class descriptions of this data set"
        )


def _boxes(path: Path) -> Iterator[_Box]:
    with path.open("rb") as packed:
        stream = io.TextIOWrapper(packed, encoding=text_encoding(peek(packed)), newline="")
        reader = csv.reader(stream)
        try:
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in _COLUMNS if name not in header]:
                raise InputError(
                    f"{path}:1: expected the boxes of Open Images with the columns "
                    f"{', '.join(_COLUMNS)}; {', '.join(missing)} missing, found "
                    f"{', '.join(header)[:200] or 'an empty file'}"
                )
            image, label, *places = (header.index(name) for name in _COLUMNS)
            for row in reader:
                if not row:
                    continue
                place = f"{path}:{reader.line_num}"
                if len(row) != len(header):
                    raise InputError(
                        f"{place}: expected {len(header)} columns, found {len(row)}; is the file "
                        "cut short?"
                    )
                if not is_image_name(row[image]):
                    raise InputError(f"{place}: {row[image][:80]!r} is not a valid image name")
                numbers = _numbers([row[i] for i in places], place)
                yield _Box(reader.line_num, normalize_name(row[image]), row[label], numbers)
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from error
        except UnicodeDecodeError as error:
            what = not_utf8(error.object, path, "file of boxes")
            raise InputError(f"{path}:{reader.line_num + 1}: {what}") from error


def _numbers(cells: list[str], place: str) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        named = ", ".join(f"{n} {c[:20]!r}" for n, c in zip(_NUMBERS, cells, strict=True))
        raise InputError(f"{place}: expected numbers, found {named}") from None
    if numbers[0] < 0:
        raise InputError(f"{place}: Confidence {numbers[0]} is not in 0..1")
    return numbers
