"""Pixel sizes of images, for feature formats that do not contain them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.json_stream import stream_json
from tfrecords.pictures.name_index import name_forms

_NAME_KEYS = ("id", "cocoid", "imgid", "file_name", "filename", "file_path")
_LARGEST = 1 << 24


def read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Reads the height and width of images, by each of their names.

    Args:
        path: a JSON with `images: [{"width", "height", "id" or "file_name" or ...}]`: COCO's
            `instances_*.json` and `captions_*.json`, or upstream's `cocotalk.json` if it was built
            with access to the images.

    Raises:
        InputError: the file is missing, not JSON, or contains no size of an image.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot read the sizes of images {path}: {error}") from error
    return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, size: int, modified: int) -> dict[str, tuple[int, int]]:
    del size, modified
    sizes: dict[str, tuple[int, int]] = {}
    several: set[str] = set()
    for element in stream_json(path):
        if element.key != "images":
            # The elements after `images` are long and not needed.
            if sizes:
                break
            continue
        row = element.value
        if not isinstance(row, dict) or "width" not in row or "height" not in row:
            continue
        height, width = checked_size(row["height"], row["width"], f"{path}:{element.line}")
        for key in _NAME_KEYS:
            if isinstance(row.get(key), (str, int)):
                for form in name_forms(str(row[key])):
                    # The number of one image may be the file name of another.
                    if sizes.setdefault(form, (height, width)) != (height, width):
                        several.add(form)
    for form in several | {""}:
        sizes.pop(form, None)
    if not sizes:
        raise InputError(
            f"{path} contains no sizes of images: expected "
            '{"images": [{"id", "file_name", "width", "height"}]}'
        )
    return sizes


def find_size(path: Path, names: Sequence[str]) -> tuple[int, int]:
    """Returns the height and width of an image, by the most exact form of its names.

    Args:
        path: see `read_sizes`.
        names: names of one image.

    Raises:
        InputError: the file has no size for the image, or several; see `read_sizes`.
    """
    sizes = read_sizes(path)
    for forms in zip(*map(name_forms, names), strict=True):
        for form in forms:
            if form in sizes:
                return sizes[form]
    wanted = " or ".join(map(repr, dict.fromkeys(names)))
    some = describe_names(list(sizes), "name")
    raise InputError(f"{path} has no unique size for image {wanted}; it has {some}")


def checked_size(height: Any, width: Any, where: str) -> tuple[int, int]:
    """Checks and returns the height and width of an image.

    Raises:
        InputError: they are not whole numbers of at least 1; names `where`.
    """
    for side in (height, width):
        if type(side) is not int or not 1 <= side <= _LARGEST:
            raise InputError(
                f"{where}: an image of {width!r} x {height!r} pixels; expected whole numbers of "
                "at least 1"
            )
    return height, width
