"""Reader of the captions of a table as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import first_line
from tfrecords.formats import tables
from tfrecords.formats.paired import flickr
from tfrecords.formats.text.sources import TextPart, read_source_text, sentence_or_skip


def is_caption_table(path: Path, first: str) -> bool:
    """Returns whether a file is a table of captions, according to first line and suffix."""
    return (
        flickr.has_bar_header(first)
        or tables.find_columns(first) is not None
        or _only_captions(path, first)
        or flickr.separator_of(first) is not None
    )


def read_table(part: TextPart) -> Iterator[str | Skip]:
    """Yields the captions of a table in order.

    Raises:
        InputError: a row is malformed, or the table has no row; names `path:line`.
    """
    path, found = part.path, False
    for line, captions in _rows(path):
        for caption in captions:
            found = True
            yield sentence_or_skip(caption.replace("\n", " "), f"{path}:{line}")
    if not found:
        raise InputError(f"{path} is a table without a row; expected at least one caption")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = tables.skip_separator_line(read_source_text(path))
    first = first_line(text)
    columns = None if flickr.has_bar_header(first) else tables.find_columns(first)
    if columns is None and _only_captions(path, first):
        columns = tables.Columns(separator=",", width=1, captions=(0,))
    if columns is None:
        for row in flickr.caption_rows(text, path):
            yield row.line, row.captions
    else:
        for line, cells in tables.read_cells(text, columns, path):
            yield line, tables.captions_of(cells, columns)


def _only_captions(path: Path, first: str) -> bool:
    """Returns whether a `.csv` or `.tsv` has a single column with a name of captions."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix in (".csv", ".tsv") and tables.simple_name(first) in tables.CAPTION_NAMES
