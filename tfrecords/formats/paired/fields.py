"""Checks of the values in published files, with uniform error messages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import normalize_name, to_nfc
from tfrecords.formats.json_stream import Element, stream_json
from tfrecords.formats.paired.types import Caption

# The kind of file in error messages.
CAPTIONS = "file of captions"
_DRIVE = re.compile(r"[A-Za-z]:")
_LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")
_INT64 = 1 << 63
_MOST_PIXELS = (1 << 31) - 1
_SURROGATES = ("\ud800", "\udfff")


def json_elements(path: Path) -> Iterator[tuple[str, Element]]:
    """Yields the elements of a JSON file (see `stream_json`), each with its place.

    Yields:
        `path:line: key[number]` and the element. Published files are one long line, so the number
        is needed to find the element.

    Raises:
        InputError: the file cannot be read, or is not JSON.
    """
    numbers: Counter[str] = Counter()
    try:
        for element in stream_json(path):
            key = element.key
            yield f"{path}:{element.line}: {key}[{numbers[key]}]", element
            numbers[key] += 1
    except OSError as error:
        raise cannot_read(path, error) from error


def cannot_read(path: Path, error: OSError) -> InputError:
    """Returns the error for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no {CAPTIONS} {path}{describe_missing(path)}")
    return InputError(f"cannot read the {CAPTIONS} {path}: {error.strerror or error}")


def found(value: object) -> str:
    """Formats a value for a message, truncated."""
    if isinstance(value, dict):
        return f"the keys {', '.join(map(str, list(value)[:8]))[:80]}" if value else "{}"
    text = f"a list of {len(value)}" if isinstance(value, list) else repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


def object_of(value: object, place: str, what: str) -> dict[str, Any]:
    """Checks and returns a JSON object.

    Raises:
        InputError: the value is not an object.
    """
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected {what}, found {found(value)}")
    return value


def list_of(value: object, place: str, what: str) -> list[Any]:
    """Checks and returns a JSON array.

    Raises:
        InputError: the value is not an array.
    """
    if not isinstance(value, list):
        raise InputError(f"{place}: expected {what}, found {found(value)}")
    return value


def identifier(value: object, place: str, what: str) -> str:
    """Checks a number or a text that identifies something; returns it as text.

    Raises:
        InputError: the value is neither, empty, no int64, or a path out of its folder: it may
            become the name of a file of features.
    """
    if isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64:
        return str(value)
    if isinstance(value, str) and is_clean(value) and (name := normalize_name(value.strip())):
        path = PurePosixPath(name)
        if not path.is_absolute() and ".." not in path.parts:
            return name
    raise InputError(f"{place}: {what} must be a number or a name, found {found(value)}")


def caption_number(value: object) -> int | None:
    """Returns the number of a caption; None if it is not an int64."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and -_INT64 <= value < _INT64 else None  # type: ignore[operator, return-value]


def pixels(row: dict[str, Any], key: str, place: str) -> int | None:
    """Returns a height or width; None if it is not given.

    Raises:
        InputError: the value is not a whole number of pixels.
    """
    value = row.get(key)
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not 0 < value <= _MOST_PIXELS or value != int(value):
        raise InputError(f"{place}: {key} must be a number of pixels, found {found(value)}")
    return int(value)


def relative_file(value: object, place: str, what: str = "the file name") -> str:
    """Returns the path of a file below the folder of images.

    A path that leads out of its folder is reduced to the file name. An absolute path stays
    absolute, with a leading `/`, until all paths of a source are known (see `read_paired`).

    Raises:
        InputError: the value is not a file name.
    """
    if isinstance(value, str) and is_clean(value):
        path = PurePosixPath(normalize_name(value.strip()))
        # `C:/images/a.jpg` is absolute on Windows.
        if path.parts and _DRIVE.fullmatch(path.parts[0]):
            path = PurePosixPath("/", *path.parts[1:])
        if ".." in path.parts:
            path = PurePosixPath(path.name)
        if path.name not in ("", ".."):
            return str(path)
    raise InputError(f"{place}: {what} must be a relative path, found {found(value)}")


def caption(
    text: object, place: str, *, tokens: object = None, number: object = None
) -> Caption | Skip:
    """Makes a caption from the values of a source; returns a `Skip` if the text is empty.

    Args:
        text: the caption; None if only tokens are given.
        place: place of the caption, for messages.
        tokens: a list of its words; None if it is not split.
        number: its id; ignored unless it is an int64.

    Raises:
        InputError: the caption is not text, or the tokens are not a list of texts.
    """
    words: tuple[str, ...] | None = None
    if tokens is not None:
        rows = list_of(tokens, place, "a list of tokens")
        if not all(isinstance(token, str) for token in rows):
            wrong = next(token for token in rows if not isinstance(token, str))
            raise InputError(f"{place}: a token must be text, found {found(wrong)}")
        # A token with white space is several words.
        words = tuple(word for token in rows for word in token.split())
    if text in (None, "") and words is not None:
        text = " ".join(words)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{place}: a caption must be text, found {found(text)}")
    if not text or text.isspace() or words == ():
        return Skip(place, "empty", "a caption without text")
    if not is_clean(text) or not is_clean("".join(words or ())):
        return Skip(place, "undecodable", "zero bytes or half of a surrogate pair")
    if words is not None:
        words = tuple(map(normalize_text, words))
    return Caption(normalize_text(text.strip()), words, caption_number(number))


def normalize_text(text: str) -> str:
    """Returns a caption as one line in Unicode NFC, so that equal words are equal."""
    text = to_nfc(text)
    return _LINE_BREAKS.sub(" ", text) if "\n" in text or "\r" in text else text


def is_clean(text: str) -> bool:
    """Returns whether a text can be stored: no zero bytes, no half of a surrogate pair."""
    if "\0" in text:
        return False
    low, high = _SURROGATES
    return text.isascii() or not any(low <= c <= high for c in text)
