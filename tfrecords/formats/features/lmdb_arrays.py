"""LMDBs with the bytes of a .npy or .npz per image, as self-critical.pytorch reads them.

This module reads the pages itself, because the `lmdb` library aborts the process if a page is
damaged. A database is a tree of pages; the pages with the keys are read once.

| page | bytes |
|---|---|
| every page | number u64, unused u16, kind u16, end of its table of nodes u16, unused u16 |
| the first two | the metadata below, of the last two transactions |
| branch and leaf | a table of the offsets of its nodes, u16 each; the nodes |

A node begins with a size u32, flags u16 and the length of its key u16; the key and the value
follow. In a branch the first six bytes are the number of a page. A large value is stored in
separate pages (after a header), and the number of the first of them replaces the value.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.features.arrays import MOST_BYTES, read_array

_PAGE = struct.Struct("<QHHHH")
_BRANCH, _LEAF, _LARGE = 1, 2, 4
_NODE = struct.Struct("<IHH")
_LARGE_VALUE = 1
# Magic, version, address, size of the map; two databases (the one of free pages gives the page
# size, the main one the number of entries and the root page); last page, transaction.
_META = struct.Struct("<IIQQ" + "IHHQQQQQ" * 2 + "QQ")
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_NO_PAGE = (1 << 64) - 1


@dataclass(frozen=True)
class LmdbArrays:
    """The values of a database.

    Attributes:
        path: path of its folder or its file.
    """

    path: Path

    @property
    def sources(self) -> tuple[Path, ...]:
        """See `Arrays.sources`."""
        return (self.path,)

    @property
    def has_row_numbers(self) -> bool:
        """See `Arrays.has_row_numbers`."""
        return False

    def keys(self) -> list[str]:
        """Returns the keys, except those of the database itself (`__len__`, `__keys__`, `keys`)."""
        every = _index(self.path).values
        return [key for key in every if not key.startswith("__") and key != "keys"]

    def has(self, key: str) -> bool:
        """See `Arrays.has`."""
        return key in _index(self.path).values

    def describe(self) -> str:
        """See `Arrays.describe`."""
        return describe_names(self.keys(), "key")

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        if not self.has(key):
            return None
        return read_array(self.value(key), f"{self.path}, image {key!r}")

    def value(self, key: str) -> bytes:
        """Reads the bytes stored under a key.

        Raises:
            InputError: the bytes cannot be read.
        """
        index = _index(self.path)
        offset, size = index.values[key]
        try:
            with index.file.open("rb", buffering=0) as stream:
                return os.pread(stream.fileno(), min(size, MOST_BYTES + 1), offset)
        except OSError as error:
            raise InputError(f"{self.path}, image {key!r} cannot be read: {error}") from error


class _Index(NamedTuple):
    """The file, and the offset and length of the value of each key."""

    file: Path
    values: dict[str, tuple[int, int]]


class _Head(NamedTuple):
    page_size: int
    entries: int
    root: int
    last_page: int
    transaction: int


@lru_cache(maxsize=8)
def _index(path: Path) -> _Index:
    """Finds the offsets of all entries, once per process."""
    file = path / "data.mdb" if path.is_dir() else path
    try:
        with file.open("rb", buffering=0) as stream:
            return _Index(file, _values(stream.fileno()))
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"cannot read {file} as an LMDB: {error}") from error


def _values(file: int) -> dict[str, tuple[int, int]]:
    head = _head(file)
    size, needed = os.fstat(file).st_size, (head.last_page + 1) * head.page_size
    if size < needed:
        raise ValueError(f"it was cut short: {size} bytes, expected {needed}")
    found: dict[str, tuple[int, int]] = {}
    waiting = [] if head.root == _NO_PAGE else [head.root]
    seen = set(waiting)
    while waiting:
        number = waiting.pop()
        page, kind, nodes = _page(file, number, head)
        if kind == _LEAF:
            for node in nodes:
                key, place = _entry(file, page, node, number, head)
                found[key] = place
            continue
        # Reversed, so that the first child is read next and keys stay in order.
        children = [_child(page, node) for node in reversed(nodes)]
        if not seen.isdisjoint(children) or len(set(children)) < len(children):
            raise ValueError(f"page {number} is part of a cycle: is the file damaged?")
        seen.update(children)
        waiting += children
    if len(found) != head.entries:
        raise ValueError(f"{len(found)} keys, expected {head.entries}: is the file damaged?")
    return found


def _head(file: int) -> _Head:
    """Returns the header of the newer of the two transactions."""
    first = _read_head(file, 0)
    if first is None:
        raise ValueError("it does not begin with an LMDB header")
    second = _read_head(file, first.page_size)
    if second is None or second.page_size != first.page_size:
        raise ValueError("its second page has no valid header: is the file damaged?")
    return max(first, second, key=lambda head: head.transaction)


def _read_head(file: int, offset: int) -> _Head | None:
    data = os.pread(file, _META.size, offset + _PAGE.size)
    if len(data) < _META.size:
        return None
    magic, version, _, _, *rest = _META.unpack(data)
    page_size, entries, root, last_page, transaction = rest[0], rest[14], rest[15], *rest[16:]
    known = (magic, version) == (_MAGIC, _VERSION)
    if not known or not 256 <= page_size <= 1 << 16 or page_size & (page_size - 1):
        return None
    return _Head(page_size, entries, root, last_page, transaction)


def _page(file: int, number: int, head: _Head) -> tuple[bytes, int, tuple[int, ...]]:
    """Reads a page of keys; returns its bytes, its kind and the offsets of its nodes."""
    page = os.pread(file, head.page_size, number * head.page_size) if _is_in(number, head) else b""
    if len(page) < head.page_size:
        raise ValueError(f"there is no page {number}: is the file damaged?")
    own, _, kind, end, _ = _PAGE.unpack_from(page)
    # Additional flags belong to a transaction that was being written.
    if own != number or kind not in (_BRANCH, _LEAF) or not _PAGE.size <= end <= len(page):
        raise ValueError(f"page {number} is not a page of keys: is the file damaged?")
    return page, kind, struct.unpack_from(f"<{(end - _PAGE.size) // 2}H", page, _PAGE.size)


def _child(page: bytes, node: int) -> int:
    low, high, _ = _NODE.unpack_from(page, node)
    return low | high << 32


def _entry(
    file: int, page: bytes, node: int, number: int, head: _Head
) -> tuple[str, tuple[int, int]]:
    """Returns a key, and the offset and length of its value."""
    size, flags, length = _NODE.unpack_from(page, node)
    begin = node + _NODE.size
    key = page[begin : begin + length].decode(errors="surrogateescape")
    begin += length
    if not flags & _LARGE_VALUE:
        if begin + size > len(page):
            raise ValueError(f"the value of {key!r} exceeds page {number}: is the file damaged?")
        return key, (number * head.page_size + begin, size)
    (large,) = struct.unpack_from("<Q", page, begin)
    offset = large * head.page_size
    end = (head.last_page + 1) * head.page_size
    header = os.pread(file, _PAGE.size, offset) if _is_in(large, head) else b""
    if len(header) < _PAGE.size or offset + _PAGE.size + size > end:
        raise ValueError(f"the value of {key!r} exceeds the file: is it damaged?")
    own, _, kind, _, _ = _PAGE.unpack(header)
    if own != large or kind != _LARGE:
        raise ValueError(f"page {large} is not the value of {key!r}: is the file damaged?")
    return key, (offset + _PAGE.size, size)


def _is_in(number: int, head: _Head) -> bool:
    return number <= head.last_page
