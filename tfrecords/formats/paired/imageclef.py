"""Reader of ImageCLEF caption 2017 and 2018: `id<TAB>caption`, and `id<TAB>concept,concept`."""

from __future__ import annotations

import re
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import numbered_lines
from tfrecords.formats import tables
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

_CONCEPTS = re.compile(r"C\d{7}(?:\s*[,;]\s*C\d{7})*[,;]?")


def read_imageclef(path: Path) -> PairedDataset:
    """Reads one caption per line, of the picture `id.jpg`.

    In a concept file the concepts of an image (UMLS identifiers, `C0040405,C0030705`) become the
    words of a sentence, in the order of the file, so that captioners learn to predict them. A file
    does not define splits: ImageCLEF has one file per split.

    Raises:
        InputError: a line is malformed, or an id is repeated; names `path:line`.
    """
    images: dict[str, PairedImage] = {}
    skipped: list[Skip] = []
    lines = [(n, line) for n, line in numbered_lines(path, fields.CAPTIONS) if line.strip()]
    has_header = bool(lines) and _is_header(lines[0][1])
    lines = lines[has_header:]
    check = tables.ColumnCheck()
    for number, line in lines:
        place = f"{path}:{number}"
        key, tab, text = line.partition("\t")
        if not tab:
            raise InputError(f"{place}: expected `id<TAB>caption`, found {line[:80]!r}")
        check.add(key, text)
        source_id = fields.identifier(key, place, "the image's id")
        if source_id in images:
            raise InputError(
                f"{place}: image {source_id!r} is repeated, first at {images[source_id].place}"
            )
        item = _caption(text, place)
        if isinstance(item, Skip):
            skipped.append(item)
        file = source_id if tables.has_image_suffix(source_id) else f"{source_id}.jpg"
        file = fields.relative_file(file, place, "the image's id")
        images[source_id] = PairedImage(
            image_id=file,
            place=place,
            captions=() if isinstance(item, Skip) else (item,),
            source_id=source_id,
            file=file,
        )
    if lines and not has_header:
        check.finish(f"{path}:{lines[0][0]}")
    return PairedDataset(images=list(images.values()), files=(path,), skipped=skipped)


def has_concepts(line: str) -> bool:
    """Returns whether a line belongs to a concept file."""
    return _CONCEPTS.fullmatch(line.partition("\t")[2].strip()) is not None


def _is_header(line: str) -> bool:
    name = tables.simple_name(line.partition("\t")[0])
    return "\t" in line and name in (*tables.ID_NAMES, *tables.IMAGE_NAMES)


def _caption(text: str, place: str) -> Caption | Skip:
    if _CONCEPTS.fullmatch(text.strip()):
        return fields.caption(None, place, tokens=re.findall(r"C\d{7}", text))
    return fields.caption(text, place)
