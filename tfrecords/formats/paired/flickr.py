"""Reader of captions with image names: Flickr8k, Flickr30k and tables of captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import first_line, read_text, split_lines
from tfrecords.formats import tables
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

# One line of the published results.csv of Flickr30k lacks the second bar.
_BARS = re.compile(r"\s*([^|]*[^|\s])\s*\|\s*\d+\s*(?:\||\s)(.*)")
_BAR_HEADER = re.compile(r"\s*image(?:_name)?\s*\|[^|]*num[^|]*\|[^|]*", re.IGNORECASE)
_TOKEN_LINE = re.compile(r"[^\t]+#\d+\t.*")
_NUMBER = re.compile(r"#\d+$")

_Parse = Callable[[str], "tuple[str, str] | None"]


@dataclass
class CaptionRow:
    """One row of a file.

    Attributes:
        line: number of its first line.
        image: name in the row, without `#number`.
        captions: at least one, may be blank.
        split: split in the row; None if it has none.
        is_id: whether `image` is an id instead of a file name.
    """

    line: int
    image: str
    captions: list[str]
    split: str | None = None
    is_id: bool = False


@dataclass
class _Image:
    """An image with the captions of all its rows."""

    place: str
    source_id: str | None
    split: str | None
    captions: list[Caption] = field(default_factory=list)


def read_flickr(path: Path) -> PairedDataset:
    """Reads `image.jpg#0<TAB>caption` or `image.jpg| 0| caption` lines, and tables.

    A table has a first line that names a column of images and a column of captions (see
    `tfrecords.formats.tables`), or two columns without a header. The captions of an image need not
    be consecutive; images keep the order of their first caption. Only a column `split` defines
    splits. Ids without suffixes refer to the pictures `id.jpg`.
    Raises:
        InputError: a row is malformed; names `path:line`.
    """
    images: dict[str, _Image] = {}
    # Image name in the file -> its entry of `images`.
    written: dict[str, tuple[str, _Image]] = {}
    skipped: list[Skip] = []
    text = read_text(path, fields.CAPTIONS)
    ids = _are_ids(text, path)
    for row in caption_rows(text, path):
        place = f"{path}:{row.line}"
        if row.image not in written:
            source_id = fields.identifier(row.image, place, "the image's id") if ids else None
            name = f"{source_id}.jpg" if ids else row.image
            file = fields.relative_file(name, place, "the image")
            image = images.setdefault(file, _Image(place, source_id, row.split))
            written[row.image] = file, image
        file, image = written[row.image]
        if image.split != row.split:
            raise InputError(
                f"{place}: image {file!r} is in split {row.split!r} here and in {image.split!r} in "
                f"{image.place}"
            )
        for caption in row.captions:
            item = fields.caption(caption, place)
            if isinstance(item, Skip):
                skipped.append(item)
            else:
                image.captions.append(item)
    return PairedDataset(
        images=[
            PairedImage(
                image_id=file,
                place=image.place,
                captions=tuple(image.captions),
                source_id=image.source_id,
                file=file,
                split=image.split,
            )
            for file, image in images.items()
        ],
        files=(path,),
        skipped=skipped,
    )


def is_table(path: Path, first: str) -> bool:
    """Returns whether a file is of this format, by its suffix or its first line."""
    return (
        _is_csv(path)
        or _TOKEN_LINE.fullmatch(first) is not None
        or has_bar_header(first)
        or _header(first) is not None
        or separator_of(first) is not None
    )


def has_bar_header(first: str) -> bool:
    """Returns whether a line is the header of `results.csv` of Flickr30k."""
    return _BAR_HEADER.fullmatch(first) is not None


def caption_rows(text: str, path: Path) -> Iterator[CaptionRow]:
    """Yields the rows of a file; see `read_flickr`.

    Args:
        text: text of the file.
        path: path of the file, for messages and for its suffix.

    Raises:
        InputError: see `read_flickr`.
    """
    text = tables.skip_separator_line(text)
    first = first_line(text)
    if has_bar_header(first):
        yield from _line_rows(path, text, _bar_line, "`image| number| caption`", has_header=True)
    elif columns := _header(first):
        assert columns.image is not None
        for line, cells in tables.read_cells(text, columns, path):
            yield CaptionRow(
                line=line,
                image=_image(cells[columns.image], f"{path}:{line}"),
                captions=tables.captions_of(cells, columns),
                split=None if columns.split is None else cells[columns.split].strip() or None,
                is_id=columns.is_id,
            )
    elif (separator := separator_of(first) or ("," if _is_csv(path) else "\t")) != "\t":
        yield from _checked(_rows_without_header(path, text, separator), path)
    else:
        lines = _line_rows(path, text, _token_line, "`name#number<TAB>caption`")
        yield from _checked(lines, path)


def _is_csv(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".csv")


def _are_ids(text: str, path: Path) -> bool:
    """Returns whether the images of all rows are ids, according to header and rows."""
    columns = _header(first_line(tables.skip_separator_line(text)))
    if columns is None or not columns.is_id:
        return False
    return not any(tables.has_image_suffix(row.image) for row in caption_rows(text, path))


def separator_of(first: str) -> str | None:
    """Returns the separator after the first cell, if that is the name of an image."""
    # Captions may contain commas, so only the text before the first separator is checked.
    return next(
        (
            separator
            for separator in ",;\t|"
            if separator in first
            and tables.has_image_suffix(first.partition(separator)[0].strip(' "'))
        ),
        None,
    )


def _header(first: str) -> tables.Columns | None:
    columns = tables.find_columns(first)
    return None if columns is None or columns.image is None else columns


def _line_rows(
    path: Path, text: str, parse: _Parse, expected: str, *, has_header: bool = False
) -> Iterator[CaptionRow]:
    lines = ((n, line) for n, line in enumerate(split_lines(text), start=1) if line.strip())
    if has_header:
        next(lines, None)
    for number, line in lines:
        row = parse(line)
        if row is None:
            raise InputError(f"{path}:{number}: expected {expected}, found {line[:80]!r}")
        yield CaptionRow(number, _image(row[0], f"{path}:{number}"), [row[1]])


def _rows_without_header(path: Path, text: str, separator: str) -> Iterator[CaptionRow]:
    for line, cells in tables.read_rows(text, separator, path):
        if len(cells) != 2:
            shown = separator.join(cells)[:80]
            raise InputError(
                f"{path}:{line}: expected `image{separator}caption` (a caption with "
                f"{separator!r} in quotes), or a first row that names the columns "
                f"{tables.HEADER_HINT}; found {shown!r}"
            )
        yield CaptionRow(line, _image(cells[0], f"{path}:{line}"), [cells[1]])


def _checked(rows: Iterator[CaptionRow], path: Path) -> Iterator[CaptionRow]:
    """Yields the rows of a table without a header; see `ColumnCheck`."""
    check, line = tables.ColumnCheck(), 0
    for row in rows:
        check.add(row.image, row.captions[0])
        line = line or row.line
        yield row
    check.finish(f"{path}:{line}")


def _image(cell: str, place: str) -> str:
    name = cell.strip()
    if not name:
        raise InputError(f"{place}: expected the name of an image, found a blank cell")
    return _NUMBER.sub("", name) if tables.has_image_suffix(name) else name


def _token_line(line: str) -> tuple[str, str] | None:
    key, tab, caption = line.partition("\t")
    return (key.rpartition("#")[0] or key, caption) if tab else None


def _bar_line(line: str) -> tuple[str, str] | None:
    match = _BARS.fullmatch(line)
    return match and (match[1], match[2])
