"""Choice of a reader of sentences, division of its files into parts, and reading of a part."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.files import open_unpacked, peek
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import first_line
from tfrecords.formats.json_stream import JSON_LINES_SUFFIXES, stream_json
from tfrecords.formats.tables import CAPTION_NAMES, skip_separator_line
from tfrecords.formats.text.caption_tables import is_caption_table, read_table
from tfrecords.formats.text.json_files import JSON_READERS, detect_json, read_json
from tfrecords.formats.text.lines import LINE_PARSERS, detect_lines, read_lines
from tfrecords.formats.text.reports import is_report_table, read_reports
from tfrecords.formats.text.sources import TextPart, TextSource, is_utf8_lines, read_head
from tfrecords.formats.text.tfds_sets import plan_data_set, read_data_set

READERS = ("auto", *LINE_PARSERS, *JSON_READERS, "table", "iu_xray", "tfds")
_PART_BYTES = 8 << 20
_SUFFIXES = {".txt", ".token", ".tsv", ".csv", ".json", *JSON_LINES_SUFFIXES}


def parse_source(value: str) -> TextSource:
    """Parses a source of a command line: `path` or `reader:path`."""
    reader, colon, path = value.partition(":")
    if colon and reader in READERS:
        return TextSource(Path(path), reader)
    return TextSource(Path(value))


def plan_parts(source: TextSource, part_bytes: int = _PART_BYTES) -> list[TextPart]:
    """Divides a source into parts; `auto` is resolved here, for each file of a folder.

    Raises:
        InputError: the reader is unknown, or a file is missing, empty or not text.
    """
    if source.reader not in READERS:
        raise InputError(f"reader {source.reader!r} is not known; known: {', '.join(READERS)}")
    if source.reader == "tfds":
        return plan_data_set(str(source.path))
    files = _text_files(source.path) if source.path.is_dir() else [source.path]
    return [part for path in files for part in _plan_file(path, source.reader, part_bytes)]


def read_part(part: TextPart) -> Iterator[str | Skip]:
    """Yields the sentences of a part in file order, and a `Skip` for each unreadable one.

    A line that is not UTF-8 is skipped as `undecodable`, if other lines are UTF-8. An entry without
    text is skipped as `empty`.

    Raises:
        InputError: a line or an entry is malformed; names `path:line`.
    """
    if part.reader in LINE_PARSERS:
        yield from read_lines(part)
    elif part.reader in JSON_READERS:
        yield from read_json(part)
    elif part.reader == "table":
        yield from read_table(part)
    elif part.reader == "iu_xray":
        yield from read_reports(part)
    else:
        yield from read_data_set(part)


def _text_files(folder: Path) -> list[Path]:
    """Returns the files with text suffixes, sorted. Files of a running crawl are hidden."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and Path(path.name.removesuffix(".gz")).suffix.lower() in _SUFFIXES
        and path.is_file()
    ]
    if not files:
        raise InputError(
            f"{folder} is a folder without a text file ({', '.join(sorted(_SUFFIXES))}, perhaps "
            ".gz); name the files"
        )
    return files


def _plan_file(path: Path, reader: str, part_bytes: int) -> list[TextPart]:
    first = _checked_first_line(path)
    if reader == "auto":
        reader = _detect(path, first)
    size = path.stat().st_size
    divisible = reader in LINE_PARSERS and path.suffix != ".gz" and _is_utf8_lines(path)
    step = part_bytes if divisible else size
    return [
        TextPart(path, reader, start, end) for start, end in pairwise([*range(0, size, step), size])
    ]


def _is_utf8_lines(path: Path) -> bool:
    with open_unpacked(path) as stream:
        return is_utf8_lines(peek(stream))


def _checked_first_line(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; write its contents to one first")
    text = skip_separator_line(read_head(path).decode("utf-8-sig", errors="replace"))
    if first := first_line(text).strip():
        return first
    raise InputError(f"{path} is empty: expected at least one sentence")


def _detect(path: Path, first: str) -> str:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in (".json", *JSON_LINES_SUFFIXES) or first[0] in "{[":
        return detect_json(path, next(stream_json(path), None))
    if is_report_table(first):
        return "iu_xray"
    if (lines := detect_lines(first)) != "text":
        return lines
    if is_caption_table(path, first):
        return "table"
    if suffix != ".csv":
        return lines
    raise InputError(
        f"{path} is a table without a column of captions: found {first[:100]!r}; expected a first "
        f"row with one of the columns {', '.join(CAPTION_NAMES)} (or findings). Name the column "
        "so, or write its sentences to a text file, one per line"
    )
