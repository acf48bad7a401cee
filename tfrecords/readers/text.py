"""Sentences out of the published text formats, in parts that can be read in parallel.

| reader | file |
|---|---|
| `text` | a sentence a line |
| `flickr8k` | `image.jpg#0<TAB>caption` a line (Flickr8k.token.txt, results_20130124.token) |
| `gcc` | `caption<TAB>url` a line (Conceptual Captions) |
| `coco` | COCO captions JSON `{"annotations": [{"caption"}]}`, or Karpathy's `{"images": [{"captions"}]}` and `{"images": [{"sentences": [{"raw"}]}]}` |
| `shutterstock` | `{page: [{"description"}]}` |
| `auto` | finds out which from the first line |
"""  # noqa: E501 - a table row cannot be broken

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tfrecords.errors import InputError
from tfrecords.readers.json_stream import Element, stream_json
from tfrecords.shards import Skip

READERS = ("auto", "text", "coco", "flickr8k", "gcc", "shutterstock")
_JSON_READERS = ("coco", "shutterstock")
_PART_BYTES = 8 << 20
_COCO_KEYS = {"annotations", "images", "info", "licenses", "dataset", "categories", "type", "note"}
_FLICKR_LINE = re.compile(r"[^\t#]+#\d+\t")
_GCC_LINE = re.compile(r"[^\t]*\thttps?://\S+\s*")


@dataclass(frozen=True)
class TextSource:
    """A file with sentences and the name of the reader that understands it."""

    path: Path
    reader: str = "auto"


@dataclass(frozen=True)
class TextPart:
    """A part of a source: the lines that begin in bytes [start, end), or a whole JSON file."""

    path: Path
    reader: str
    start: int
    end: int


def parse_source(value: str) -> TextSource:
    """Makes a source of `path` or `reader:path`, the way it is written on a command line."""
    reader, colon, path = value.partition(":")
    if colon and reader in READERS:
        return TextSource(Path(path), reader)
    return TextSource(Path(value))


def plan_parts(source: TextSource, part_bytes: int = _PART_BYTES) -> list[TextPart]:
    """Divides a source into parts; `auto` is decided here.

    Raises:
        InputError: the reader is not known, or the file is missing, empty or not text.
    """
    if source.reader not in READERS:
        raise InputError(f"reader {source.reader!r} is not known; known: {', '.join(READERS)}")
    first = _first_line(source.path)
    reader = _detect(source.path, first) if source.reader == "auto" else source.reader
    size = source.path.stat().st_size
    step = size if reader in _JSON_READERS else part_bytes
    return [
        TextPart(source.path, reader, start, end)
        for start, end in pairwise([*range(0, size, step), size])
    ]


def read_part(part: TextPart) -> Iterator[str | Skip]:
    """Yields the sentences of a part in file order, and what could not be read as a `Skip`.

    Bytes that are no UTF-8 are a skip `undecodable`; an entry without any text a skip `empty`.

    Raises:
        InputError: a line or an entry does not have the form of the format; names `path:line`.
    """
    if part.reader in _JSON_READERS:
        yield from _read_json(part)
    else:
        yield from _read_lines(part)


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 16)
    except FileNotFoundError:
        raise InputError(f"there is no source file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name the text files in it") from None
    if b"\0" in head:
        raise InputError(
            f"{path} is not text: it holds zero bytes. Is it compressed or UTF-16? "
            "Expected UTF-8 text"
        )
    for line in head.decode("utf-8-sig", errors="replace").splitlines():
        if line.strip():
            return line.strip()
    raise InputError(f"{path} is empty: expected at least one sentence")


def _detect(path: Path, first: str) -> str:
    if path.suffix == ".json" or first[0] in "{[":
        key = next((element.key for element in stream_json(path)), "")
        return "coco" if key in _COCO_KEYS else "shutterstock"
    if _FLICKR_LINE.match(first):
        return "flickr8k"
    return "gcc" if _GCC_LINE.fullmatch(first) else "text"


def _read_lines(part: TextPart) -> Iterator[str | Skip]:
    parse = _LINE_PARSERS[part.reader]
    first_number: int | None = None
    with part.path.open("rb") as stream:
        if part.start:
            # A part owns the lines that begin in it: the one cut by its start is its neighbour's.
            stream.seek(part.start - 1)
            stream.readline()
        begin, index = stream.tell(), 0
        position = begin
        while position < part.end and (line := stream.readline()):
            if position == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            position += len(line)
            index += 1
            try:
                sentence = parse(line.decode())
            except ValueError as error:
                if first_number is None:
                    first_number = _lines_before(part.path, begin)
                place = f"{part.path}:{first_number + index}"
                if not isinstance(error, UnicodeDecodeError):
                    raise InputError(
                        f"{place}: not a line of reader {part.reader!r}: expected {error}, found "
                        f"{line[:100].decode(errors='replace')!r}; correct the line, or name "
                        "another reader"
                    ) from None
                yield Skip(place, "undecodable", str(error))
                continue
            if sentence and not sentence.isspace():
                yield sentence


def _lines_before(path: Path, offset: int) -> int:
    count = 0
    with path.open("rb") as stream:
        while offset > 0 and (block := stream.read(min(1 << 20, offset))):
            count += block.count(b"\n")
            offset -= len(block)
    return count


def _text_line(line: str) -> str:
    return line


def _flickr_line(line: str) -> str:
    if line.isspace():
        return ""
    if not (match := _FLICKR_LINE.match(line)):
        raise ValueError("image#number<TAB>caption")
    return line[match.end() :]


def _gcc_line(line: str) -> str:
    if line.isspace():
        return ""
    sentence, tab, _ = line.partition("\t")
    if not tab:
        raise ValueError("caption<TAB>url")
    return sentence


_LINE_PARSERS: dict[str, Callable[[str], str]] = {
    "text": _text_line,
    "flickr8k": _flickr_line,
    "gcc": _gcc_line,
}


def _read_json(part: TextPart) -> Iterator[str | Skip]:
    read = _coco_sentences if part.reader == "coco" else _shutterstock_sentences
    found, keys = False, set()
    for element in stream_json(part.path):
        keys.add(element.key)
        place = f"{part.path}:{element.line}"
        for sentence in read(element, place):
            found = True
            if not isinstance(sentence, str) or not sentence.strip():
                yield Skip(place, "empty", f"{sentence!r}"[:80])
            elif _has_surrogates(sentence):
                yield Skip(place, "undecodable", "half of a surrogate pair")
            else:
                yield sentence
    if not found:
        raise InputError(
            f"{part.path} holds no sentence for reader {part.reader!r}: its top level has "
            f"{', '.join(sorted(filter(None, keys))[:8]) or 'no keys'}; expected "
            + (
                '{"annotations": [{"caption"}]} or {"images": [{"captions"}]}'
                if part.reader == "coco"
                else '{page: [{"description"}]}'
            )
        )


def _has_surrogates(sentence: str) -> bool:
    return not sentence.isascii() and any("\ud800" <= c <= "\udfff" for c in sentence)


def _coco_sentences(element: Element, place: str) -> Iterator[object]:
    if element.key == "annotations":
        yield _entry(element.value, "caption", place)
    elif element.key == "images" and isinstance(element.value, dict):
        for sentence in (
            *element.value.get("captions", ()),
            *element.value.get("sentences", ()),
        ):
            yield _entry(sentence, "raw", place) if isinstance(sentence, dict) else sentence


def _shutterstock_sentences(element: Element, place: str) -> Iterator[object]:
    yield _entry(element.value, "description", place)


def _entry(value: object, key: str, place: str) -> object:
    if not isinstance(value, dict) or key not in value:
        found = f"the keys {', '.join(value)}" if isinstance(value, dict) else repr(value)[:80]
        raise InputError(f"{place}: expected an object with {key!r}, found {found}")
    return value[key]
