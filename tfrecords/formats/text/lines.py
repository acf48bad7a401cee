"""Reader of formats with one sentence per line; any range of bytes can be read separately."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.text.sources import TextPart, open_utf8

FLICKR_LINE = re.compile(r"[^\t#]+#\d+\t")
_URL = re.compile(r"https?://\S+\s*", re.IGNORECASE)
# Longer than any sentence, so that a file without line ends does not fill the memory.
_LINE_BYTES = 1 << 20


def detect_lines(first: str) -> str:
    """Detects the reader of a file from its first line."""
    if FLICKR_LINE.match(first):
        return "flickr8k"
    begin, tab, rest = first.partition("\t")
    if tab and _URL.fullmatch(rest.split("\t")[0]):
        return "gcc"
    return "cc12m" if tab and _URL.fullmatch(begin) else "text"


def read_lines(part: TextPart) -> Iterator[str | Skip]:
    """Yields the sentences of the lines that begin in the part; a `.gz` file is one part.

    Raises:
        InputError: a line is malformed; names `path:line`.
    """
    parse = LINE_PARSERS[part.reader]
    first_number: int | None = None
    with open_utf8(part.path) as stream:
        # After decompression or decoding the number of bytes differs from the file size.
        is_whole = part.path.suffix == ".gz" or isinstance(stream, io.BytesIO)
        end = math.inf if is_whole else part.end
        if part.start:
            # A part owns the lines that begin in it: a line cut by its start belongs to its
            # neighbor.
            stream.seek(part.start - 1)
            while (cut := stream.readline(_LINE_BYTES)) and not cut.endswith(b"\n"):
                pass
        begin, index = stream.tell(), 0
        position = begin
        while position < end and (line := stream.readline(_LINE_BYTES)):
            if position == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            position += len(line)
            index += 1
            try:
                if len(line) == _LINE_BYTES:
                    raise ValueError(f"a line of less than {_LINE_BYTES} bytes")
                sentence = parse(line.decode())
            except ValueError as error:
                if first_number is None:
                    first_number = _lines_before(part.path, begin)
                place = f"{part.path}:{first_number + index}"
                if not isinstance(error, UnicodeDecodeError):
                    raise InputError(
                        f"{place}: not a line of reader {part.reader!r}: expected {error}, found "
                        f"{line[:100].decode(errors='replace')!r}; correct the line, or choose "
                        "another reader"
                    ) from None
                yield Skip(place, "undecodable", str(error))
                continue
            if sentence and not sentence.isspace():
                yield sentence


def _lines_before(path: Path, offset: int) -> int:
    count = 0
    with open_utf8(path) as stream:
        while offset > 0 and (block := stream.read(min(1 << 20, offset))):
            count += block.count(b"\n")
            offset -= len(block)
    return count


def _text_line(line: str) -> str:
    return line


def _flickr_line(line: str) -> str:
    if line.isspace():
        return ""
    if not (match := FLICKR_LINE.match(line)):
        raise ValueError("image#number<TAB>caption")
    return line[match.end() :]


def _gcc_line(line: str) -> str:
    if line.isspace():
        return ""
    sentence, tab, _ = line.partition("\t")
    # The larger sets of the family have the URL first; it is not a sentence.
    if not tab or _URL.fullmatch(sentence):
        raise ValueError("caption<TAB>url")
    return sentence


def _cc12m_line(line: str) -> str:
    if line.isspace():
        return ""
    url, tab, sentence = line.partition("\t")
    if not tab or not _URL.fullmatch(url):
        raise ValueError("url<TAB>caption")
    return sentence


LINE_PARSERS: dict[str, Callable[[str], str]] = {
    "text": _text_line,
    "flickr8k": _flickr_line,
    "gcc": _gcc_line,
    "cc12m": _cc12m_line,
}
