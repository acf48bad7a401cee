"""Reading of users' text files and normalization of the names in them."""

from __future__ import annotations

import codecs
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing

_CURRENT_FOLDER = re.compile(r"(?:\./+)+")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARK = "\ufeff"
# Bytes that are control characters in Latin-1 and printable in Windows code pages.
_WINDOWS_BYTES = re.compile(rb"[\x80-\x9f]")
# Text in Western European languages has few letters beyond ASCII in a row.
_OTHER_SCRIPT = re.compile(rb"[\x80-\xff][\x40-\xff][\x80-\xff][\x40-\xff][\x80-\xff]")
# First bytes of files that are not text -> their type and the remedy.
_PACKED = {
    b"\x1f\x8b": "is compressed by gzip: unpack it (gunzip) and use the unpacked file",
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook: unpack it, or export the sheet as CSV "
    "in UTF-8",
}


def read_text(path: Path, what: str) -> str:
    """Reads a whole text file: UTF-8 with or without a byte-order mark, or UTF-16 with one.

    Args:
        path: the file.
        what: the kind of file in error messages: "label map".

    Returns:
        The text without byte-order marks, with the original line ends.

    Raises:
        InputError: the file is missing, unreadable or not text in these encodings; names
            `path:line` and the command that converts the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no {what} {path}{describe_missing(path)}") from None
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    return decode_text(data, path, what)


def decode_text(data: bytes, path: Path, what: str) -> str:
    """Decodes the bytes of a text file; see `read_text`.

    Raises:
        InputError: see `read_text`.
    """
    try:
        text = data.decode(text_encoding(data[:4]))
    except UnicodeDecodeError as error:
        raise not_text(data, error, path, what) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}:{line}: {not_utf8(data, path, what)}")
    # Concatenated files keep the byte-order marks of their parts.
    return text.replace("\n" + _MARK, "\n").removeprefix(_MARK)


def numbered_lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a text file with their numbers from 1, without line ends.

    A line ends with `\n` or `\r\n`; with `\r` in a file that has no `\n`.

    Args:
        path: see `read_text`.
        what: see `read_text`.

    Raises:
        InputError: see `read_text`.
    """
    lines = split_lines(read_text(path, what))
    yield from enumerate(lines, start=1)


def split_lines(text: str) -> list[str]:
    """Returns the lines of a text without their ends; see `numbered_lines`."""
    # Not str.splitlines(): captions contain its other line breaks.
    lines = text.replace("\r\n", "\n").split("\n") if "\n" in text else text.split("\r")
    if lines[-1] == "":
        lines.pop()
    return lines


def first_line(text: str) -> str:
    """Returns the first non-blank line of a text, without its end; "" if there is none."""
    end, at = "\n" if "\n" in text else "\r", 0
    while at < len(text):
        stop = text.find(end, at)
        line = text[at:] if stop < 0 else text[at:stop]
        if line.strip():
            return line if stop < 0 else line.removesuffix("\r")
        at += len(line) + 1
    return ""


def text_encoding(head: bytes) -> str:
    """Returns Python's name for the encoding of a text file that begins with these bytes."""
    return "utf-16" if head.startswith(_UTF16_MARKS) else "utf-8-sig"


def not_text(data: bytes, error: UnicodeDecodeError, path: Path, what: str) -> InputError:
    """Returns the error for a file that does not decode; names the line."""
    # `utf-8-sig` counts from the first byte after the mark.
    known = error.object[: error.start].decode(text_encoding(data[:4]), errors="replace")
    line = known.count("\n") + 1
    return InputError(f"{path}:{line}: {not_utf8(data, path, what)}")


def not_utf8(data: bytes, path: Path, what: str) -> str:
    """Describes why bytes are not UTF-8, and the command that converts them."""
    if data.startswith(_UTF16_MARKS):
        return f"the {what} is damaged UTF-16: copy or export it again, as UTF-8"
    for mark, found in _PACKED.items():
        if data.startswith(mark):
            return f"the {what} {found}"
    target = path.with_name(f"{path.stem}.utf8{path.suffix}")
    paths = f"{shlex.quote(str(path))} > {shlex.quote(str(target))}"
    if b"\0" in data:
        first = data.index(b"\0")
        encoding = "UTF-16LE" if first % 2 else "UTF-16BE"
        return (
            f"the {what} is not text: it contains zero bytes. Is it compressed? Expected UTF-8. "
            f"If it is UTF-16, convert it: iconv -f {encoding} -t UTF-8 {paths}"
        )
    hint = "Convert it from the encoding it was written in, and use the converted file"
    if _OTHER_SCRIPT.search(data):
        return (
            f"the {what} is not UTF-8. {hint}: iconv -f ENCODING -t UTF-8 {paths}; ENCODING is "
            "often GB18030 or BIG5 for Chinese, SHIFT_JIS or EUC-JP for Japanese, EUC-KR for "
            "Korean, WINDOWS-1251 for Cyrillic text"
        )
    encoding = "WINDOWS-1252" if _WINDOWS_BYTES.search(data) else "LATIN1"
    return f"the {what} is not UTF-8. {hint}: iconv -f {encoding} -t UTF-8 {paths}"


def to_nfc(text: str) -> str:
    """Returns a text in Unicode NFC, so that words and names that look equal are equal."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def normalize_name(name: str) -> str:
    r"""Returns the normalized form of a name in a file.

    Unicode NFC (macOS writes NFD), `/` for the `\` of Windows paths, no leading `./`.
    """
    name = to_nfc(name).replace("\\", "/")
    matched = _CURRENT_FOLDER.match(name)
    return name[matched.end() :] if matched and matched.end() < len(name) else name
