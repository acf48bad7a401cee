"""Reader of radiology reports: their findings, sentence by sentence.

IU X-ray is published in two forms: R2Gen's `annotation.json` (also for MIMIC-CXR), objects with a
`report` that contains the findings, and `indiana_reports.csv` with a column `findings` among
others. Names and some words are anonymized as XXXX.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import first_line
from tfrecords.formats.json_stream import stream_json
from tfrecords.formats.tables import SEPARATORS, header_cells, skip_separator_line
from tfrecords.formats.text.json_files import entry
from tfrecords.formats.text.sources import TextPart, open_utf8, read_source_text, sentence_or_skip

_COLUMN = "findings"
# Stops and closing quotes or brackets after them, before white space. Some reports lack the space:
# "the left lung apex.There are".
_END = re.compile(r"(?<![.!?])[.!?]+[\"')\]]*(?:\s+|$)|(?<=[a-zA-Z)])\.(?=[A-Z][a-z])")
_NUMBER = re.compile(r"\d{1,2}[.)]\s+")
_ABBREVIATIONS = {"dr", "mr", "mrs", "ms", "vs", "approx", "cf", "fig", "st", "e.g", "i.e"}
# Also ends of sentences, but not before a lower-case letter.
_UNITS = {"cm", "mm", "a.m", "p.m", "etc"}


def is_report_table(first: str) -> bool:
    """Returns whether the first line of a table names the column of findings."""
    return _separator(first) is not None


def read_reports(part: TextPart) -> Iterator[str | Skip]:
    """Yields the sentences of all findings of a file in order.

    Raises:
        InputError: the file or an entry is malformed; names `path:line`.
    """
    found = False
    for place, report in (_from_json if _is_json(part.path) else _from_csv)(part.path):
        found = True
        text = sentence_or_skip(report, place)
        if isinstance(text, Skip):
            yield text
        else:
            yield from split_report(text)
    if not found:
        raise InputError(f"{part.path} contains no reports; expected at least one")


def split_report(text: str) -> list[str]:
    """Splits findings into sentences.

    Numbers of a list ("1. Heart size is normal. 2. ...") and sentences without a letter or digit
    are omitted.
    """
    text = " ".join(text.split())
    sentences, begin = [], 0
    for end in _END.finditer(text):
        # The stop after a number at the beginning of a sentence does not end it.
        begin = _after_number(text, begin)
        if end.end() <= begin or (end.end() < len(text) and _continues(text, end)):
            continue
        sentences.append(text[begin : end.end()].strip())
        begin = end.end()
    sentences.append(text[_after_number(text, begin) :])
    return [sentence for sentence in sentences if any(map(str.isalnum, sentence))]


def _after_number(text: str, begin: int) -> int:
    number = _NUMBER.match(text, begin)
    return number.end() if number else begin


def _continues(text: str, end: re.Match[str]) -> bool:
    word = text[text.rfind(" ", 0, end.start()) + 1 : end.start()].lower().lstrip("([\"'")
    following = text[end.end()]
    return word in _ABBREVIATIONS or (word in _UNITS and following.islower())


def _from_json(path: Path) -> Iterator[tuple[str, object]]:
    for element in stream_json(path):
        place = f"{path}:{element.line}"
        yield place, entry(element.value, "report", place)


def _is_json(path: Path) -> bool:
    with open_utf8(path) as stream:
        return stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _from_csv(path: Path) -> Iterator[tuple[str, object]]:
    text = skip_separator_line(read_source_text(path))
    separator = _separator(first_line(text)) or ","
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    line = 1
    try:
        names = _names(next(rows, []))
        if _COLUMN not in names:
            raise InputError(
                f"{path}:1: expected a table with the column {_COLUMN!r}, found "
                f"{', '.join(names)[:200]!r}"
            )
        column = names.index(_COLUMN)
        line = rows.line_num + 1
        for row in rows:
            if row and len(row) != len(names):
                raise InputError(f"{path}:{line}: expected {len(names)} columns, found {len(row)}")
            if row:
                yield f"{path}:{line}", row[column]
            line = rows.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{line}: not a row of a CSV table: {error}") from None


def _separator(header: str) -> str | None:
    """Returns the separator of a table with a column of findings; None for other first lines."""
    for separator in SEPARATORS:
        if _COLUMN in _names(header_cells(header, separator)):
            return separator
    return None


def _names(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]
