"""Streaming reader of large JSON files, with line numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from tfrecords.core.errors import InputError
from tfrecords.core.files import open_unpacked, peek
from tfrecords.core.text_files import not_utf8, text_encoding

JSON_LINES_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
_BLOCK = 1 << 20
# Number of characters that are searched for the first object of JSON Lines.
_HEAD = 1 << 20
_DECODER = json.JSONDecoder()


class Element(NamedTuple):
    """One value of the top level.

    Attributes:
        key: the key of the value; "" if the top level is an array.
        value: an element of the array under that key, or the value itself if it is not an array.
        line: the line where it begins, counted from 1.
    """

    key: str
    value: Any
    line: int


def stream_json(path: Path) -> Iterator[Element]:
    """Yields the elements of the arrays at the top of a JSON file, one in memory at a time.

    Args:
        path: a JSON file in UTF-8 or in UTF-16 with a byte-order mark, optionally `.gz`, whose top
            level is an object or an array; or JSON Lines (consecutive objects), yielded like the
            elements of an array.

    Raises:
        InputError: the file is missing, not JSON, not UTF-8 or truncated; names `path:line`.
    """
    lines = is_json_lines(path)
    with open_unpacked(path) as packed:
        cursor = _Cursor(path, _text_stream(packed))
        start = cursor.peek()
        while lines and start == "{":
            yield Element("", *cursor.value())
            if not (start := cursor.peek()):
                return
        if start == "[":
            yield from _array(cursor, "")
        elif start == "{":
            yield from _object(cursor)
        else:
            raise cursor.error(f"expected {{ or [, found {start!r}")
        if rest := cursor.peek():
            raise cursor.error(f"expected the end of the file, found {rest!r}")


def is_json_lines(path: Path) -> bool:
    """Returns whether a file is JSON Lines, by its suffix or its first two lines.

    Raises:
        InputError: the file cannot be read.
    """
    with open_unpacked(path) as packed:
        try:
            head = _text_stream(packed).read(_HEAD).lstrip()
            if Path(path.name.removesuffix(".gz")).suffix.lower() in JSON_LINES_SUFFIXES:
                return head.startswith("{")
            value, end = _DECODER.raw_decode(head)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, dict) and head[end:].lstrip().startswith("{")


def _text_stream(packed: BinaryIO) -> TextIO:
    return io.TextIOWrapper(packed, encoding=text_encoding(peek(packed)), newline="")


def _object(cursor: _Cursor) -> Iterator[Element]:
    for _ in _items(cursor, "{", "}"):
        key = cursor.value()[0]
        if not isinstance(key, str):
            raise cursor.error(f"expected a key in quotes, found {key!r}")
        cursor.take(":")
        if cursor.peek() == "[":
            yield from _array(cursor, key)
        else:
            value, line = cursor.value()
            yield Element(key, value, line)


def _array(cursor: _Cursor, key: str) -> Iterator[Element]:
    for _ in _items(cursor, "[", "]"):
        value, line = cursor.value()
        yield Element(key, value, line)


def _items(cursor: _Cursor, opening: str, closing: str) -> Iterator[None]:
    cursor.take(opening)
    if cursor.peek() == closing:
        cursor.take(closing)
        return
    while True:
        yield None
        if cursor.peek() == closing:
            cursor.take(closing)
            return
        cursor.take(",")


class _Cursor:
    """A position in a text that is read in blocks."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path, self._stream = path, stream
        self._text, self._at, self._ended = "", 0, False
        # The line number at an offset of the text, from which counting continues.
        self._line, self._counted = 1, 0

    def error(self, what: str, ahead: int = 0) -> InputError:
        first = self._line_here()
        line = first + self._text.count("\n", self._at, self._at + ahead)
        begun = f" (in the value that begins in line {first})" if line > first else ""
        return InputError(
            f"{self._path}:{line}: not valid JSON: {what}{begun}; is the file cut short or damaged?"
        )

    def _not_text(self, data: bytes) -> InputError:
        what = not_utf8(data, self._path, "JSON file")
        return InputError(f"{self._path}:{self._line_here()}: {what}")

    def peek(self) -> str:
        """Returns the next non-space character, "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._read_on()

    def take(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise self.error(f"expected {character!r}, found {found or 'the end of the file'!r}")
        self._at += 1

    def value(self) -> tuple[Any, int]:
        """Reads the next complete value; returns it with its first line."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Far from the end of the text it is an error; near it, the value may continue.
                open_string = error.msg.startswith("Unterminated string")
                if self._ended or (error.pos < len(self._text) - 64 and not open_string):
                    raise self.error(error.msg, ahead=error.pos - self._at) from None
            except ValueError:
                raise self.error("a number with thousands of digits") from None
            except RecursionError:
                raise self.error("lists are nested too deeply") from None
            else:
                # A number at the very end may continue in the next block.
                if end < len(self._text) or self._ended:
                    line, self._at = self._line_here(), end
                    return value, line
            self._read_on()

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _read_on(self) -> None:
        pending = len(self._text) - self._at
        try:
            # Doubling keeps the cost of one huge value linear.
            block = self._stream.read(max(_BLOCK, pending))
        except UnicodeDecodeError as error:
            raise self._not_text(error.object) from None
        if "\0" in block:
            raise self._not_text(block.encode(errors="replace"))
        self._line_here()
        self._text, self._at, self._counted = self._text[self._at :] + block, 0, 0
        self._ended = not block
