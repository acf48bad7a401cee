"""Reader of lists of images in JSON and JSON Lines: neuraltalk2's raw JSON and similar files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats import tables
from tfrecords.formats.paired import fields, karpathy
from tfrecords.formats.paired.types import PairedDataset, PairedImage

EXPECTED = (
    "a list of objects (or one per line) with `file_path`, `file_name`, `image`, `image_id` or "
    "`id`, and `captions`, `caption` or `text`; or one object of image -> captions"
)


def read_json_list(path: Path) -> PairedDataset:
    """Reads `[{"file_path", "id", "captions"}, ...]`, one such object per line, or an object.

    An object has names or ids of images as keys, and a caption or a list of captions as values.
    Names and captions have the keys of `karpathy`, or those of the columns of tables (`image`,
    `caption`, `text`; see `tfrecords.formats.tables`). An `image_id` may be a file name. Captions
    are a list or one text; objects of the same image need not be consecutive.

    Raises:
        InputError: the file is not JSON, or an object has no name or captions; names `path:line`.
    """
    images: dict[str, PairedImage] = {}
    skipped: list[Skip] = []
    words: dict[str, str] = {}
    for place, element in fields.json_elements(path):
        row = element.value
        if element.key:
            if not isinstance(row, str):
                raise InputError(f"{place}: expected {EXPECTED}, found {fields.found(row)}")
            row = {"image_id": element.key, "captions": [row]}
        row = fields.object_of(row, place, "an object for an image")
        image = karpathy.read_image(_with_known_keys(row, place), place, skipped, words)
        name = image.file or image.image_id
        known = images.setdefault(name, image)
        if known is not image:
            if (known.split, known.source_id) != (image.split, image.source_id):
                raise InputError(
                    f"{place}: image {name!r} has another id or split than in {known.place}"
                )
            images[name] = replace(known, captions=known.captions + image.captions)
    return PairedDataset(images=list(images.values()), files=(path,), skipped=skipped)


def is_image_row(key: str, value: object) -> bool:
    """Returns whether an element of a JSON file is an image with captions; see `Element`."""
    if key:
        return isinstance(value, str) and (key.isdigit() or tables.has_image_suffix(key))
    if not isinstance(value, dict):
        return False
    names = [tables.simple_name(name) for name in value]
    has_name = tables.find_name(names, (*tables.IMAGE_NAMES, *tables.ID_NAMES, "cocoid"))
    return has_name is not None and tables.find_name(names, tables.CAPTION_NAMES) is not None


def _with_known_keys(row: dict[str, Any], place: str) -> dict[str, Any]:
    """Returns the row with the keys that `karpathy` reads."""
    keys = list(row)
    names = [tables.simple_name(key) for key in keys]
    found = dict(row)
    if not row.keys() & karpathy.FILE_KEYS:
        image = tables.find_name(names, tables.IMAGE_NAMES)
        if image is not None:
            found["file_name"] = row[keys[image]]
    # If `image_id` exists, the key `id` is the caption's id, as in COCO's annotations.
    number = tables.find_name(names, ("cocoid", *tables.ID_NAMES))
    if number is not None:
        value = row[keys[number]]
        found.pop("id", None)
        # Keys of an object may be file names, and so may the ids that `r2m-caption` and
        # `r2m-select-captions` write.
        is_file = isinstance(value, str) and tables.has_image_suffix(value)
        has_file = found.keys() & karpathy.FILE_KEYS
        found["file_name" if is_file and not has_file else "id"] = value
    if not {"sentences", "captions"} & row.keys():
        caption = tables.find_name(names, tables.CAPTION_NAMES)
        if caption is None:
            raise InputError(f"{place}: expected {EXPECTED}, found {fields.found(row)}")
        value = row[keys[caption]]
        found["captions"] = value if isinstance(value, list) else [value]
    elif isinstance(row.get("captions"), str):
        found["captions"] = [row["captions"]]
    return found
