"""A page with the pictures of records, their boxes and their texts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from r2m.evaluation.comparison.comparison_tables import ReportTable
from r2m.evaluation.pages.gallery import write_gallery
from r2m.evaluation.pages.gallery_items import GalleryItem
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, read_split
from tfrecords.core.shards import Skip
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_files import ImageFolder, open_folder
from tfrecords.pictures.image_names import is_image_name
from tfrecords.pictures.orientation import boxes_as_shown, is_upright


def write_records_page(
    records: Records,
    folder: Path,
    *,
    split: str,
    pictures: int,
    images: Path | None,
    recursive: bool = True,
    tables: Sequence[ReportTable] = (),
) -> Path:
    """Writes `index.html` and `gallery.png` of the first pictures of a split.

    Args:
        records: records of a kind that contains images.
        folder: output folder; created if it does not exist.
        split: split whose records are shown.
        pictures: maximum number of pictures.
        images: folder of the image files; None uses the pictures in the records.
        recursive: whether to search subfolders for image files.
        tables: tables above the pictures.

    Returns:
        The path of the page.

    Raises:
        InputError: the records do not describe images, or contain no pictures and no folder is
            given.
    """
    if "image_id" not in records.feature_names:
        raise InputError(f"{records.folder}: {records.kind} records have no pictures to show")
    if images is None and "image" not in records.feature_names:
        raise InputError(
            f"{records.folder} contains no pictures: give the folder of the image files with "
            "--images"
        )
    words = records.vocabulary().words if records.vocabulary_sha256 else ()
    examples = list(itertools.islice(read_split(records, split), pictures))
    names = [_name(example) for example in examples]
    files = open_folder(images, names, recursive=recursive) if images else None
    return write_gallery(
        folder,
        (_item(example, words, files, records) for example in examples),
        title=f"{records.kind} {records.name}: {split}",
        settings={"records": records.count(split), "identity": records.digest},
        template="comparison.html" if tables else "gallery.html",
        tables=tables,
    )


def _name(example: Mapping[str, Any]) -> str:
    name: str = example["image_id"][0].decode()
    return name


def _item(
    example: Mapping[str, Any],
    words: tuple[str, ...],
    images: ImageFolder | None,
    records: Records,
) -> GalleryItem:
    name = _name(example)
    data: bytes | Skip = b""
    if images is None:
        data = example["image"][0]
    elif is_image_name(name):  # untrusted names must not lead out of the folder
        data = images.read(name)
    labels = [text.decode() for text in example.get("class_names", ())]
    labels = labels or [words[int(number)] for number in example.get("concepts", ())]
    scores = example.get("scores", example.get("concept_scores", np.zeros(0)))
    boxes = _boxes(example, data, records).tolist()
    texts = [text.decode() for text in example.get("texts", ())]
    named: dict[tuple[float, ...], list[str]] = {}  # an object may have several
    for number, box in enumerate(boxes):
        named.setdefault(tuple(box), []).append(labels[number] if labels else str(number))
    known = itertools.zip_longest(labels, map(float, scores[: len(labels)]))
    return GalleryItem(
        image_id=name,
        image=data if isinstance(data, bytes) else b"",
        concepts=list(known),
        references=texts,
        boxes=[(", ".join(names), box) for box, names in named.items()],
    )


def _boxes(example: Mapping[str, Any], data: bytes | Skip, records: Records) -> np.ndarray:
    """Returns the boxes of a record in the frame of the upright picture: float [N, 4]."""
    boxes = np.reshape(example.get("boxes", np.zeros(0)), (-1, 4))
    if isinstance(data, Skip) or not len(boxes) or is_upright(records.manifest):
        return boxes
    try:
        header = read_header(data)
    except InputError:  # the page shows that the picture cannot be read
        return boxes
    sides = (example.get(side, np.zeros(1))[0] for side in ("height", "width"))
    height, width = map(int, sides)
    # Records of versions that ignored orientation contain no picture size, and boxes in the stored
    # frame.
    seen = (height, width) if height and width else header.stored_size
    return boxes_as_shown(boxes, header.orientation, seen, header.stored_size)
