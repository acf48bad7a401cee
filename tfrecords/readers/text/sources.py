"""What a corpus is read from: sources, their parts, and what counts as a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfrecords.writing.shards import Skip


@dataclass(frozen=True)
class TextSource:
    """A file or folder with sentences and the name of the reader that understands it.

    For reader `tfds` the path is a data set: `NAME[:FEATURE][@SPLIT]`.
    """

    path: Path
    reader: str = "auto"


@dataclass(frozen=True)
class TextPart:
    """A part of a source: the lines that begin in bytes [start, end), or a whole file.

    Attributes:
        path: the file.
        reader: which format it has.
        start: bytes into the file.
        end: likewise.
        feature: the name of the text in the records; `tfds` only.
        records: how many records the file must have; `tfds` only.
    """

    path: Path
    reader: str
    start: int
    end: int
    feature: str = ""
    records: int = 0

    @property
    def form(self) -> str:
        """Reader and feature: with the file's contents they decide what is read."""
        return f"{self.reader}:{self.feature}" if self.feature else self.reader


def sentence_or_skip(value: object, place: str) -> str | Skip:
    """The value if it is text, else why it is no sentence."""
    if not isinstance(value, str) or not value.strip():
        return Skip(place, "empty", f"{value!r}"[:80])
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        return Skip(place, "undecodable", "half of a surrogate pair, or no UTF-8")
    return value
