"""Sources of a corpus, their parts, and access to their files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tfrecords.core.errors import InputError
from tfrecords.core.files import open_unpacked, peek
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import decode_text, not_utf8, text_encoding


@dataclass(frozen=True)
class TextSource:
    """A file or folder with sentences, and the name of its reader.

    For reader `tfds` the path is a data set: `NAME[:FEATURE][@SPLIT]`.
    """

    path: Path
    reader: str = "auto"


@dataclass(frozen=True)
class TextPart:
    """A part of a source: the lines that begin in bytes [start, end), or a whole file.

    Attributes:
        path: the file.
        reader: name of the reader.
        start: first byte of the part.
        end: byte after the part.
        feature: name of the text feature in the records; `tfds` only.
        records: number of records the file must have; `tfds` only.
    """

    path: Path
    reader: str
    start: int
    end: int
    feature: str = ""
    records: int = 0

    @property
    def form(self) -> str:
        """Reader and feature; with the file's contents they determine the sentences."""
        return f"{self.reader}:{self.feature}" if self.feature else self.reader


def sentence_or_skip(value: object, place: str) -> str | Skip:
    """Returns the value if it is text, otherwise a `Skip` with the reason."""
    if not isinstance(value, str) or not value.strip():
        return Skip(place, "empty", f"{value!r}"[:80])
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        return Skip(place, "undecodable", "half of a surrogate pair, or no UTF-8")
    return value


# The kind of file in error messages.
SOURCE = "text source"
_HEAD_BYTES = 1 << 16


@contextmanager
def open_utf8(path: Path) -> Iterator[BinaryIO]:
    r"""Opens the bytes of a text file as UTF-8 with `\n` at the ends of its lines.

    Files that have both already are streamed, others are read completely into memory.

    Raises:
        InputError: the file is missing, unreadable, undecodable, or no complete gzip file.
    """
    with open_unpacked(path) as stream:
        if is_utf8_lines(peek(stream)):
            yield stream
        else:
            text = decode_text(stream.read(), path, SOURCE)
            yield io.BytesIO(text.replace("\r\n", "\n").replace("\r", "\n").encode())


def read_head(path: Path) -> bytes:
    """Returns the first bytes of a text file, read by `open_utf8`.

    Raises:
        InputError: see `open_utf8`; or the file is in another encoding: a line is not UTF-8, and no
            other line has a UTF-8 character beyond ASCII. Such lines are not just damaged, and must
            not be skipped. Names the command that converts the file.
    """
    with open_utf8(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if b"\0" in head:
        raise InputError(f"{path}: {not_utf8(head, path, SOURCE)}")
    lines = head.split(b"\n")
    if len(head) == _HEAD_BYTES:
        # The last character may be truncated.
        lines.pop()
    wrong = [number for number, line in enumerate(lines, start=1) if not _is_utf8(line)]
    if wrong and not any(not line.isascii() and _is_utf8(line) for line in lines):
        raise InputError(f"{path}:{wrong[0]}: {not_utf8(head, path, SOURCE)}")
    return head


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_utf8_lines(head: bytes) -> bool:
    """Returns whether ranges of bytes of a file can be read separately; see `open_utf8`."""
    return text_encoding(head) != "utf-16" and (b"\n" in head or b"\r" not in head)


def read_source_text(path: Path) -> str:
    """Reads a whole text file, optionally compressed.

    Raises:
        InputError: see `open_utf8`; names the command that converts the file.
    """
    with open_unpacked(path) as stream:
        return decode_text(stream.read(), path, SOURCE)
