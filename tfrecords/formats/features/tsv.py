"""TSVs of bottom-up attention and similar layouts (see `tsv_rows.py`), with one line per image.

Features are base64 of float32 arrays: a line takes hundreds of kilobytes, and the files of COCO
take tens of gigabytes. They stay on disk: one pass records the offset of the line of each image. In
the layout of bottom-up attention the pass skips the arrays, whose length follows from the number of
boxes. It searches for the end of the line only if the skip does not lead there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.formats.features.arrays import MOST_BYTES
from tfrecords.formats.features.pixel_boxes import place_boxes
from tfrecords.formats.features.pixel_sizes import find_size, read_sizes
from tfrecords.formats.features.tsv_rows import BOTTOM_UP, Columns, layout_of, parse_row
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.pictures.name_index import NameIndex, find_stored

_HEADINGS = (b"image_id\t", b"img_id\t")
_BLOCK = 1 << 20
# Bytes read for the first four columns, which are much shorter.
_HEAD = 512
_LISTED = 5


@dataclass(frozen=True)
class TsvStore:
    """A `FeatureStore` of one or several files; created by `open_tsv`.

    Attributes:
        files: the files with the features.
        sizes_file: see `read_sizes`.
        feature_size: D of the regions.
        has_boxes: see `FeatureStore.has_boxes`.
        needs_sizes: see `FeatureStore.needs_sizes`.
        dropped: `differs_from_first`: repeated lines of an image with other features than the
        first.
    """

    files: tuple[Path, ...]
    sizes_file: Path | None
    feature_size: int
    has_boxes: bool
    needs_sizes: bool
    dropped: dict[str, int]

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `FeatureStore.paths`."""
        return self.files if self.sizes_file is None else (*self.files, self.sizes_file)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `FeatureStore.shapes`."""
        return {"region_feature": (None, self.feature_size)}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return list(_index(self.files).lines)

    def get(self, *names: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        index = _index(self.files)
        lines = index.lines
        key = find_stored(names, lines.__contains__, lambda: _name_index(self.files))
        if key is None:
            return None
        line = lines[key]
        path = self.files[line.file]
        where = f"{path}:{line.number}: image {key!r}"
        found = parse_row(_read(path, line, where), index.columns, self.feature_size, where)
        if self.sizes_file is not None and found.corners is not None:
            found = place_boxes(found, *find_size(self.sizes_file, (key, *names)), where)
        if self.has_boxes and found.boxes is None and found.corners is None:
            raise InputError(f"{where}: no boxes, but the first image has boxes")
        return found


def open_tsv(paths: tuple[Path, ...], sizes_file: Path | None = None) -> TsvStore:
    """Opens files as published: `karpathy_train_resnet101_faster_rcnn_genome.tsv.0`, ...

    A repeated line of an image is skipped. If it differs from the first line of the image, it is
    logged and counted.

    Args:
        paths: the files, in the order in which they are read.
        sizes_file: sizes of the images whose lines do not contain them; see `read_sizes`.

    Raises:
        InputError: a file is missing or empty, or a line begins wrongly; names the line.
    """
    if not paths:
        raise InputError("no bottom-up TSV file was given")
    index = _index(paths)
    dropped = {"differs_from_first": len(index.differing)} if index.differing else {}
    if index.differing:
        logging.warning(
            "%d images are repeated with different features; the first ones are kept: %s",
            len(index.differing),
            "; ".join(index.differing[:_LISTED]),
        )
    if not index.lines:
        raise InputError(f"{', '.join(map(str, paths))}: no image")
    first = next(iter(index.lines.values()))
    where = f"{paths[first.file]}:{first.number}"
    found = parse_row(_read(paths[first.file], first, where), index.columns, None, where)
    assert found.region_feature is not None
    if sizes_file is not None:
        read_sizes(sizes_file)
    return TsvStore(
        files=paths,
        sizes_file=sizes_file,
        feature_size=found.region_feature.shape[1],
        has_boxes=found.boxes is not None or found.corners is not None,
        needs_sizes=found.corners is not None and sizes_file is None,
        dropped=dropped,
    )


class _Line(NamedTuple):
    file: int
    offset: int
    length: int
    number: int


class _Index(NamedTuple):
    columns: Columns
    lines: dict[str, _Line]
    differing: list[str]


def _index(paths: tuple[Path, ...]) -> _Index:
    """Finds the offset of the line of each image, once per process."""
    try:
        states = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
        return _make_index(paths, states)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error


@lru_cache(maxsize=2)
def _name_index(paths: tuple[Path, ...]) -> NameIndex:
    return NameIndex(_index(paths).lines, ", ".join(map(str, paths)))


@lru_cache(maxsize=2)
def _make_index(paths: tuple[Path, ...], states: tuple[tuple[int, int], ...]) -> _Index:
    lines: dict[str, _Line] = {}
    differing: list[str] = []
    columns: Columns | None = None
    for file, (path, (size, _)) in enumerate(zip(paths, states, strict=True)):
        with path.open("rb", buffering=0) as stream:
            offset, number, feature_bytes = 0, 0, 0
            while offset < size:
                number += 1
                where = f"{path}:{number}"
                head = os.pread(stream.fileno(), _HEAD, offset)
                if head[:1] in (b"\n", b"\r") or (number == 1 and head.startswith(_HEADINGS)):
                    offset = _end_of_line(stream, offset, size)
                    continue
                if columns is None:
                    columns = _columns(stream, head, offset, size)
                name, boxes, start = _line_head(head, columns, where)
                end = _skip_line(stream, offset + start, boxes, feature_bytes, size)
                if end is None:
                    end = _end_of_line(stream, offset, size)
                    feature_bytes = _feature_bytes(end - offset - start, boxes)
                line = _Line(file, offset, end - offset, number)
                if name not in lines:
                    lines[name] = line
                elif not _same(paths, lines[name], line):
                    first = lines[name]
                    differing.append(f"{where}: {name!r}, as in {paths[first.file]}:{first.number}")
                offset = end
    return _Index(columns or BOTTOM_UP, lines, differing)


def _columns(stream: BinaryIO, head: bytes, offset: int, size: int) -> Columns:
    """Returns the layout of a file, which follows from its first line."""
    fields = head.split(b"\t", 4)
    if len(fields) == 5 and all(field.isdigit() for field in fields[1:4]):
        return BOTTOM_UP
    end = _end_of_line(stream, offset, min(size, offset + MOST_BYTES))
    return layout_of(os.pread(stream.fileno(), end - offset, offset))


def _line_head(head: bytes, columns: Columns, where: str) -> tuple[str, int, int]:
    """Returns the id of an image, the number of its boxes and their offset; 0 if unknown."""
    fields = head.split(b"\t", 4)
    if columns != BOTTOM_UP:
        name = fields[0].decode(errors="replace").strip()
        if len(fields) < 2 or not name or b"\n" in fields[0]:
            raise InputError(
                f"{where}: not a line of {', '.join(columns)}, with tabs between them: "
                f"{head[:80]!r}. Was the file cut short?"
            )
        return name, 0, 0
    try:
        if len(fields) < 5 or b"\n" in b"\t".join(fields[:4]):
            raise ValueError(f"{len(fields)} columns")
        name = fields[0].decode().strip()
        if not name:
            raise ValueError("no image_id")
        count = int(fields[3]) if len(fields[3]) < 10 else -1
        return name, max(count, 0), sum(len(field) + 1 for field in fields[:4])
    except ValueError as error:
        raise InputError(
            f"{where}: not a line of a bottom-up TSV: {error} in {head[:80]!r}; expected "
            f"{', '.join(BOTTOM_UP)} with tabs between them. Was the file cut short?"
        ) from None


def _base64_length(count: int) -> int:
    return -(-count // 3) * 4


def _feature_bytes(rest: int, boxes: int) -> int:
    """Returns the bytes of features per box, given the number of characters after `boxes`."""
    characters = rest - _base64_length(16 * boxes) - 1
    return characters // 4 * 3 // boxes // 4 * 4 if boxes and characters > 0 else 0


def _skip_line(
    stream: BinaryIO, start: int, boxes: int, feature_bytes: int, size: int
) -> int | None:
    """Returns the end of the line whose boxes begin at `start`; None if its length differs."""
    tab = start + _base64_length(16 * boxes)
    end = tab + 1 + _base64_length(feature_bytes * boxes)
    if not (boxes and feature_bytes) or end > size:
        return None
    if os.pread(stream.fileno(), 1, tab) != b"\t":
        return None
    after = os.pread(stream.fileno(), 2, end)
    if after.startswith(b"\n") or not after:
        return end + len(after[:1])
    return end + 2 if after == b"\r\n" else None


def _end_of_line(stream: BinaryIO, offset: int, size: int) -> int:
    while offset < size and (block := os.pread(stream.fileno(), _BLOCK, offset)):
        found = block.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(block)
    return size


def _same(paths: tuple[Path, ...], a: _Line, b: _Line) -> bool:
    first, second = (
        _read(paths[line.file], line, f"{paths[line.file]}:{line.number}").rstrip(b"\r\n")
        for line in (a, b)
    )
    return first == second


def _read(path: Path, line: _Line, where: str) -> bytes:
    if line.length > MOST_BYTES:
        raise InputError(f"{where}: a line of {line.length} bytes, more than allowed per image")
    try:
        with path.open("rb", buffering=0) as stream:
            return os.pread(stream.fileno(), line.length, line.offset)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from error
