"""Reader of COCO's captions, `captions_{train,val}{2014,2017}.json`."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

_SPLIT_IN_NAME = re.compile(r"captions_(train|val|test)(?![a-z])")


def read_coco(path: Path) -> PairedDataset:
    """Reads `{"images": [...], "annotations": [...]}`; images keep the order of `images`.

    Returns:
        The images, including images without a caption. The split follows from the name of the file:
        `captions_val2014.json` contains `val`.

    Raises:
        InputError: the file is not JSON, an image or annotation is malformed, an image number is
            repeated, or a caption belongs to an image that is not listed; names `path:line`.
    """
    rows: dict[str, tuple[dict[str, Any], str]] = {}
    captions: dict[str, list[Caption]] = defaultdict(list)
    places: dict[str, str] = {}
    skipped: list[Skip] = []
    for place, element in fields.json_elements(path):
        if element.key == "images":
            row = fields.object_of(element.value, place, "an object for an image")
            number = fields.identifier(row.get("id"), place, "the image's `id`")
            if number in rows:
                raise InputError(f"{place}: image {number} is repeated, first at {rows[number][1]}")
            rows[number] = row, place
        elif element.key == "annotations":
            row = fields.object_of(element.value, place, "an object with `caption`")
            number = fields.identifier(row.get("image_id"), place, "the `image_id`")
            if "caption" not in row:
                raise InputError(
                    f"{place}: expected an annotation with `caption`, found {fields.found(row)}; "
                    "instances_*.json contains no captions: give captions_*.json"
                )
            places.setdefault(number, place)
            item = fields.caption(row["caption"], place, number=row.get("id"))
            if isinstance(item, Skip):
                skipped.append(item)
            else:
                captions[number].append(item)
    if unlisted := next((number for number in places if number not in rows), None):
        raise InputError(
            f"{places[unlisted]}: a caption of image {unlisted}, which `images` does not list"
        )
    name = _SPLIT_IN_NAME.search(path.name)
    return PairedDataset(
        images=[_image(number, *row, captions.get(number, [])) for number, row in rows.items()],
        files=(path,),
        skipped=skipped,
        default_split=name and name[1],
    )


def _image(number: str, row: dict[str, Any], place: str, captions: list[Caption]) -> PairedImage:
    name = row.get("file_name")
    file = None if name is None else fields.relative_file(name, place, "`file_name`")
    return PairedImage(
        image_id=number if file is None else file,
        place=place,
        captions=tuple(captions),
        source_id=number,
        file=file,
        height=fields.pixels(row, "height", place),
        width=fields.pixels(row, "width", place),
    )
