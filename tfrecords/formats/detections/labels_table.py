r"""Reader of tables of labels of whole images: tags, keywords or findings in a CSV or TSV file.

The first row names the columns, in any order; other columns are ignored.

| column | names | content |
|---|---|---|
| images | those of tables of captions, except `id` and `name`: `image`, `filename`, `image_id`, ... | name of the image, in one or several rows |
| labels | `labels`, `tags`, `keywords`, `finding_labels`, `problems`, ... | the labels of the row, separated by `;` or `\|`; a blank cell has none |
| scores | `score`, `confidence` or `probability`; may be missing | score of the labels of the row; 1 without this column |

Names of columns are compared without case, spaces and punctuation. Labels are the names of the
classes; class ids are assigned from 1 in the order of first appearance. The rows of an image need
not be consecutive; if one of its labels is repeated, the highest score counts.
"""  # noqa: E501 - a table row cannot be broken

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import first_line, normalize_name, read_text, text_encoding, to_nfc
from tfrecords.formats.detections.box_formats import AS_EXPECTED, BoxOptions, WrittenBoxes
from tfrecords.formats.detections.written_boxes import read_written
from tfrecords.formats.tables import (
    IMAGE_NAMES,
    SEPARATORS,
    find_name,
    header_cells,
    read_rows,
    simple_name,
    skip_separator_line,
)
from tfrecords.language.label_maps import LabelMap, read_label_map
from tfrecords.pictures.boxes import ImageBoxes
from tfrecords.pictures.image_names import is_image_name

SUFFIXES = (".csv", ".tsv")
# Label maps have the columns `id` and `name`, which are therefore no names of images here.
_IMAGES = (*(name for name in IMAGE_NAMES if name != "name"), "imageindex", "imageid", "imgid")
_LABELS = (
    "labels", "label", "tags", "tag", "keywords", "keyword", "findinglabels", "problems", "problem",
    "subjects", "subject", "concepts", "concept", "classes", "class", "categories", "category",
)  # fmt: skip
_SCORES = ("score", "scores", "confidence", "probability")
# Columns of tables of boxes: their labels do not belong to the whole image.
_OF_BOXES = {"labelname", "xmin", "ymin", "xmax", "ymax"}
_HINT = (
    "a first row with a column of images (`image`, `filename`, `image_id`, ...) and one of labels "
    "(`labels`, `tags`, `keywords`, `problems`, ...)"
)
_END = re.compile(r"[;|]")
_HEAD_BYTES = 1 << 16
_WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Positions of the columns of a table.

    Attributes:
        separator: separator of the cells.
        width: number of columns.
        images: the column with names of images.
        labels: the column with labels.
        scores: the column with scores; None if there is none.
        repeated: a name of these columns that another column has, too; empty if none has.
    """

    separator: str
    width: int
    images: int
    labels: int
    scores: int | None
    repeated: str


class _Score(NamedTuple):
    score: float
    line: int


def has_labels(path: Path) -> bool:
    """Returns whether a CSV or TSV file contains labels of whole images, by its first row.

    Raises:
        OSError: the file cannot be read.
    """
    header = _header(path)
    return bool(header) and not any(_OF_BOXES & set(_names(header, mark)) for mark in SEPARATORS)


def read_class_names(path: Path) -> LabelMap:
    """Reads the classes of a detector from a label map, or of images from a table of labels.

    Args:
        path: a file of `read_label_map`, or a table of labels of images.

    Raises:
        InputError: see `read_label_map` and `read_labels`; or the table has no label.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file() or not _find(_header(path)):
        return read_label_map(path)
    _, classes = _read(path)
    if not classes:
        raise InputError(f"{path} contains no labels: its column of labels is blank")
    return LabelMap(name=path.name, classes={number: name for name, number in classes.items()})


def read_labels(
    path: Path, options: BoxOptions = AS_EXPECTED, converted: Counter[str] | None = None
) -> Iterator[ImageBoxes]:
    """Yields every image in the order of first appearance, with the whole image as every box.

    Args:
        path: the table.
        options: formats of boxes and scores; only `scores` may be set.
        converted: see `read_written`.

    Raises:
        InputError: a column is missing or repeated, a row has another width, the name of an image,
            a label or a score is invalid, scores are in another format, or formats of boxes are
            given; names `path:line`.
    """
    if options.boxes or options.sizes:
        raise InputError(
            f"{path} contains labels of whole images and no boxes: leave boxes= and sizes= out"
        )
    images, classes = _read(path)
    names = {number: name for name, number in classes.items()}
    yield from read_written(
        (_written(path, name, labels, classes) for name, labels in images.items()),
        names,
        path=path,
        native="relative_yxyx",
        options=options,
        converted=converted,
    )


def _written(
    path: Path, name: str, labels: dict[str, _Score], classes: dict[str, int]
) -> WrittenBoxes:
    places = [f"{path}:{found.line}: the label {label!r}" for label, found in labels.items()]
    return WrittenBoxes(
        name=name,
        height=0,
        width=0,
        boxes=np.array([_WHOLE_IMAGE] * len(labels), np.float64).reshape(-1, 4),
        scores=np.array([found.score for found in labels.values()], np.float64),
        class_ids=np.array([classes[label] for label in labels], np.int64),
        place=places.__getitem__,
    )


def _read(path: Path) -> tuple[dict[str, dict[str, _Score]], dict[str, int]]:
    """Returns image -> label -> score, and label -> class id, both in the order of the table."""
    text = skip_separator_line(to_nfc(read_text(path, "table of labels")))
    header = first_line(text)
    columns = _find(header)
    if columns is None:
        raise InputError(
            f"{path}:1: expected {_HINT}, or the boxes of Open Images; found "
            f"{header.strip()[:200] or 'an empty file'!r}"
        )
    if columns.repeated:
        raise InputError(
            f"{path}:1: two columns are named {columns.repeated!r}: rename one of them, or join "
            "their labels in one cell, separated by ;"
        )
    images: dict[str, dict[str, _Score]] = {}
    classes: dict[str, int] = {}
    rows = read_rows(text, columns.separator, path)
    next(rows)
    for line, cells in rows:
        place = f"{path}:{line}"
        if len(cells) != columns.width:
            raise InputError(
                f"{place}: expected {columns.width} columns as in the header, found {len(cells)}: "
                f"{columns.separator.join(cells)[:80]!r}; a cell that contains "
                f"{columns.separator!r} must be in quotes"
            )
        image = cells[columns.images].strip()
        if not is_image_name(image):
            raise InputError(f"{place}: {image[:80]!r} is not a valid image name")
        score = 1.0 if columns.scores is None else _score(cells[columns.scores], place)
        known = images.setdefault(normalize_name(image), {})
        for label in _labels(cells[columns.labels], place):
            classes.setdefault(label, len(classes) + 1)
            if label not in known or score > known[label].score:
                known[label] = _Score(score, line)
    return images, classes


def _labels(cell: str, place: str) -> list[str]:
    """Returns the labels of a cell, with single spaces; the last separator may be at its end."""
    labels = [" ".join(label.split()) for label in _END.split(cell)]
    if not labels[-1]:
        labels.pop()
    if "" in labels:
        raise InputError(
            f"{place}: a label is empty in {cell.strip()[:80]!r}: expected one ; or | between two"
        )
    return labels


def _score(cell: str, place: str) -> float:
    try:
        score = float(cell)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{place}: expected a number as the score, found {cell[:20]!r}")
    return score


def _header(path: Path) -> str:
    """Returns the first row of a file; empty if the file is empty or not text."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    text = head.decode(text_encoding(head), errors="ignore").replace("\0", "")
    return first_line(skip_separator_line(text))


def _find(header: str) -> _Columns | None:
    """Returns the columns of images, labels and scores; None if one of the first two is missing."""
    for separator in SEPARATORS:
        names = _names(header, separator)
        images, labels = find_name(names, _IMAGES), find_name(names, _LABELS)
        if images is None or labels is None:
            continue
        scores = find_name(names, _SCORES)
        used = [names[column] for column in (images, labels, scores) if column is not None]
        return _Columns(
            separator=separator,
            width=len(names),
            images=images,
            labels=labels,
            scores=scores,
            repeated=next((name for name in used if names.count(name) > 1), ""),
        )
    return None


def _names(header: str, separator: str) -> list[str]:
    return [simple_name(cell) for cell in header_cells(header, separator)]
