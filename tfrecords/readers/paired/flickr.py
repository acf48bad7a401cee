"""Captions a line by the name of their image: Flickr8k, Flickr30k and tables of them."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tfrecords.errors import InputError
from tfrecords.readers.paired import fields
from tfrecords.readers.paired.types import Caption, PairedDataset, PairedImage
from tfrecords.text_files import numbered_lines
from tfrecords.writing.shards import Skip

# In one line of the published results.csv of Flickr30k the second bar is missing.
_BARS = re.compile(r"\s*([^|]*[^|\s])\s*\|\s*\d+\s*(?:\||\s)(.*)")
_BAR_HEADER = re.compile(r"\s*image(?:_name)?\s*\|.*", re.IGNORECASE)
_IMAGE_COLUMNS = ("image", "image_name")
_CAPTION_COLUMNS = ("caption", "comment")

_Parse = Callable[[str], "tuple[str, str] | None"]


def read_flickr(path: Path) -> PairedDataset:
    """Reads `image.jpg#0<TAB>caption`, `image.jpg,caption` or `image.jpg| 0| caption` lines.

    A table may have more columns where its first line names `image` and `caption` (or
    `image_name` and `comment`). Captions of an image need not stand together; images keep the order
    of their first one. The files say nothing about splits.

    Raises:
        InputError: a line of another form; names `path:line`.
    """
    captions: dict[str, list[Caption]] = defaultdict(list)
    places: dict[str, str] = {}
    skipped: list[Skip] = []
    for number, row in _rows(path):
        place = f"{path}:{number}"
        file = fields.relative_file(row[0], place, "the image")
        places.setdefault(file, place)
        item = fields.caption(row[1], place)
        if isinstance(item, Skip):
            skipped.append(item)
        else:
            captions[file].append(item)
    return PairedDataset(
        images=[
            PairedImage(
                image_id=fields.file_key(file),
                place=place,
                captions=tuple(captions.get(file, ())),
                file=file,
            )
            for file, place in places.items()
        ],
        files=(path,),
        skipped=skipped,
    )


def is_table(path: Path, first_line: str) -> bool:
    """Whether a file is a table of this format, by its suffix or its first line."""
    return bool(
        path.suffix.lower() == ".csv" or _BAR_HEADER.fullmatch(first_line) or _columns(first_line)
    )


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    parse: _Parse | None = None
    expected = ""
    for number, line in numbered_lines(path, fields.CAPTIONS):
        if not line.strip():
            continue
        if parse is None:
            parse, expected, is_header = _parser(path, line)
            if is_header:
                continue
        row = parse(line)
        if row is None or not row[0].strip():
            raise InputError(f"{path}:{number}: expected {expected}, found {line[:80]!r}")
        yield number, row


def _parser(path: Path, first_line: str) -> tuple[_Parse, str, bool]:
    """How to read the lines of a file, what they should be, and whether the first is a header."""
    if _BAR_HEADER.fullmatch(first_line):
        return _bar_line, "`image| number| caption`", True
    if columns := _columns(first_line):
        width = first_line.count(",") + 1
        return (
            lambda line: _csv_line(line, *columns, width, open_end=True),
            f"`{first_line.strip()}` (a caption with a comma in quotes)",
            True,
        )
    if path.suffix.lower() == ".csv":
        return (
            lambda line: _csv_line(line, 0, 1, 2, open_end=False),
            "`image,caption` (a caption with a comma in quotes)",
            False,
        )
    return _token_line, "`name#number<TAB>caption`", False


def _columns(first_line: str) -> tuple[int, int] | None:
    names = [name.strip().lower() for name in first_line.split(",")]
    image = next((names.index(name) for name in _IMAGE_COLUMNS if name in names), None)
    caption = next((names.index(name) for name in _CAPTION_COLUMNS if name in names), None)
    return None if image is None or caption is None else (image, caption)


def _token_line(line: str) -> tuple[str, str] | None:
    key, tab, caption = line.partition("\t")
    return (key.rpartition("#")[0] or key, caption) if tab else None


def _bar_line(line: str) -> tuple[str, str] | None:
    match = _BARS.fullmatch(line)
    return match and (match[1], match[2])


def _csv_line(
    line: str, image: int, caption: int, width: int, *, open_end: bool
) -> tuple[str, str] | None:
    """Two cells of `width`; with `open_end` the last one may hold commas without quotes."""
    try:
        cells = next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None
    if open_end and len(cells) > width and caption == width - 1:
        cells[caption:] = [",".join(cells[caption:])]
    return (cells[image], cells[caption]) if len(cells) == width else None
