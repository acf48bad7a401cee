r"""Reader of tables of captions: columns by their usual names, cells by the rules of CSV.

| separator | cells in quotes |
|---|---|
| `,` and `;` | may contain separators, line breaks and doubled quotes; a cell that begins with a quote must end with one |
| tab and `|` | the same if well-formed, otherwise taken literally |

The last column of a table may contain its separator without quotes (`captions.txt` of Flickr8k).
"""  # noqa: E501 - a table row cannot be broken

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import split_lines

# In order of preference; compared without case, spaces and punctuation: "Image Name" is imagename.
IMAGE_NAMES = (
    "image", "imagename", "imagefile", "imagefilename", "imagefilepath", "imagepath", "filename",
    "file", "filepath", "path", "img", "imgname", "imgfile", "imgfilename", "imgpath", "picture",
    "photo", "name",
)  # fmt: skip
ID_NAMES = ("imageid", "imgid", "id")
CAPTION_NAMES = (
    "caption", "comment", "captions", "text", "sentence", "sentences", "description",
    "imagecaption", "imagedescription", "captiontext", "raw", "alttext", "alt", "report", "title",
)  # fmt: skip
HEADER_HINT = "`image` (or filename, file, image_id, ...) and `caption` (or text, comment, ...)"
_NUMBERED_CAPTION = re.compile(r"(?:caption|comment|text|sentence|description)\d+")
SEPARATORS = (",", "\t", ";", "|")
_EXCEL_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
_IMAGE_SUFFIX = re.compile(
    r".*\.(?:jpe?g|jpe|jfif|png|bmp|gif|webp|tiff?|heic|heif|avif|ppm|pgm)(?:#\d+)?", re.IGNORECASE
)
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
# Longer cells are not lists of captions; this limits the input of `ast`.
_LIST_CHARACTERS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Positions of the columns of a table.

    Attributes:
        separator: separator of the cells.
        width: number of columns.
        captions: the columns with captions, at least one.
        image: the column with names of images; None if there is none.
        split: the column with the splits of the images; None if there is none.
        is_id: whether the column of images contains ids instead of file names.
    """

    separator: str
    width: int
    captions: tuple[int, ...]
    image: int | None = None
    split: int | None = None
    is_id: bool = False


def find_columns(header: str) -> Columns | None:
    """Returns the columns named in a first line; None if it names no column of captions.

    Args:
        header: the line, without its end.
    """
    for separator in SEPARATORS:
        if separator not in header:
            continue
        names = [simple_name(cell) for cell in header_cells(header, separator)]
        captions = tuple(i for i, name in enumerate(names) if _NUMBERED_CAPTION.fullmatch(name))
        if not captions:
            caption = find_name(names, CAPTION_NAMES)
            captions = () if caption is None else (caption,)
        if not captions:
            continue
        image = find_name(names, (*IMAGE_NAMES, *ID_NAMES))
        return Columns(
            separator=separator,
            width=len(names),
            captions=captions,
            image=image,
            split=find_name(names, ("split",)),
            is_id=image is not None and names[image] in ID_NAMES,
        )
    return None


def header_cells(header: str, separator: str) -> list[str]:
    """Returns the cells of a first line; empty if it is not a row of a table."""
    try:
        return next((cells for _, cells in read_rows(header, separator)), [])
    except InputError:
        return []


def find_name(names: list[str], wanted: Iterable[str]) -> int | None:
    """Returns the position of the first wanted name in the list; None if there is none."""
    return next((names.index(name) for name in wanted if name in names), None)


def simple_name(name: str) -> str:
    """Returns a column name or key in the form of `IMAGE_NAMES`."""
    return re.sub(r"[\W_]+", "", name).lower()


def has_image_suffix(name: str) -> bool:
    """Returns whether a cell ends with the suffix of an image file."""
    return _IMAGE_SUFFIX.fullmatch(name.strip()) is not None


def skip_separator_line(text: str) -> str:
    """Returns a table without Excel's line `sep=;`; an empty line remains."""
    first = split_lines(text[:16])[:1]
    return text[5:] if first and _EXCEL_SEPARATOR.fullmatch(first[0]) else text


def read_rows(text: str, separator: str, path: Path | str = "") -> Iterator[tuple[int, list[str]]]:
    """Yields the non-blank rows of a table, each with the number of its first line.

    Args:
        text: text of the table.
        separator: separator of the cells.
        path: path of the file, for messages.

    Raises:
        InputError: a quoted cell has no end; names `path:line`.
    """
    text = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    end = re.escape(separator)
    quoted = re.compile(rf' *"([^"]*(?:""[^"]*)*)" *(?=[{end}\n]|\Z)')
    plain = re.compile(rf"[^{end}\n]*")
    strict = separator in ",;"
    at, line = 0, 1
    while at < len(text):
        first_line, cells = line, []
        while True:
            match = quoted.match(text, at)
            # A match over both separators pairs a stray quote with one in a later row.
            if match and not strict and "\n" in match[1] and separator in match[1]:
                match = None
            if match:
                cells.append(match[1].replace('""', '"'))
                line += match[1].count("\n")
            else:
                match = plain.match(text, at)
                assert match
                if strict and match[0].startswith('"'):
                    raise InputError(
                        f"{path}:{line}: a cell in quotes that has no end, or quotes that are not "
                        f"doubled inside of it: {match[0][:80]!r}"
                    )
                cells.append(match[0])
            at = match.end()
            if text[at : at + 1] != separator:
                break
            at += 1
        at += 1
        line += 1
        if any(cell.strip() for cell in cells):
            yield first_line, cells


def read_cells(text: str, columns: Columns, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows below the header of a table, each with the number of its first line.

    Args:
        text: text of the table, including the header; see `skip_separator_line`.
        columns: from `find_columns`.
        path: path of the file, for messages.

    Raises:
        InputError: a row has another width; names `path:line`.
    """
    rows = read_rows(text, columns.separator, path)
    _, header = next(rows, (0, []))
    last = columns.width - 1
    for line, cells in rows:
        if len(cells) > columns.width and columns.captions[-1] == last:
            cells[last:] = [columns.separator.join(cells[last:])]
        if len(cells) != columns.width:
            raise InputError(
                f"{path}:{line}: expected {columns.width} columns as in the header "
                f"`{columns.separator.join(header).strip()}`, found {len(cells)}: "
                f"{columns.separator.join(cells)[:80]!r}; a cell that contains "
                f"{columns.separator!r} must be in quotes"
            )
        yield line, cells


def captions_of(cells: list[str], columns: Columns) -> list[str]:
    """Returns the captions of a row; a cell may contain a JSON or Python list of captions."""
    found = [text for column in columns.captions for text in _listed(cells[column])]
    # Wide tables leave the cells of missing captions blank.
    return [text for text in found if text.strip()] or found[:1]


def _listed(cell: str) -> list[str]:
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _LIST_CHARACTERS:
        return [cell]
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return value
    return [cell]


class ColumnCheck:
    """A check of tables without a header: for an unknown header row, and for swapped columns.

    Rows are added one by one, so that large tables are not held in memory.
    """

    def __init__(self) -> None:
        """Starts without a row."""
        self._first: str | None = None
        self._first_has_suffix = self._first_has_digit = False
        self._others = 0
        self._others_have_suffix = self._others_have_digit = True
        self._first_text_is_name = False
        self._other_texts_are_names = True

    def add(self, image: str, text: str) -> None:
        """Adds the image and the caption of the next row."""
        if self._first is None:
            self._first = image
            self._first_has_suffix, self._first_has_digit = has_image_suffix(image), _digits(image)
            self._first_text_is_name = _is_name(text)
            return
        self._others += 1
        # The first rows decide nearly all tables.
        if self._others_have_suffix and not self._first_has_suffix:
            self._others_have_suffix = has_image_suffix(image)
        if self._others_have_digit and not self._first_has_digit:
            self._others_have_digit = _digits(image)
        self._other_texts_are_names = self._other_texts_are_names and _is_name(text)

    def finish(self, place: str) -> None:
        """Checks the added rows.

        Args:
            place: place of the first row.

        Raises:
            InputError: the captions are names of images or addresses, or the first row differs from
                all others: its image has no suffix, or no digit, but all others have one.
        """
        if self._first is None:
            return
        if self._other_texts_are_names and (self._others or self._first_text_is_name):
            raise InputError(
                f"{place}: expected captions after the names of images, found names of images or "
                "addresses in all rows: put the columns in the order image, caption, or name them "
                f"in a first row: {HEADER_HINT}"
            )
        suffix = not self._first_has_suffix and self._others_have_suffix and self._others > 0
        digit = not self._first_has_digit and self._others_have_digit and self._others > 1
        if suffix or digit:
            raise InputError(
                f"{place}: the first row looks like a header ({self._first.strip()[:80]!r} is not "
                f"named like the images of the other rows), but its columns are not known: name "
                f"them {HEADER_HINT}, or delete the row"
            )


def _digits(name: str) -> bool:
    return any(map(str.isdigit, name))


def _is_name(text: str) -> bool:
    """Returns whether a caption is the name of an image file or an address."""
    text = text.strip()
    return " " not in text and bool(has_image_suffix(text) or _ADDRESS.fullmatch(text))
