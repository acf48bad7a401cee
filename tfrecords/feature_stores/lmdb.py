"""LMDBs with the bytes of a .npy or .npz an image, as self-critical.pytorch reads them.

The pages are read here, one by one: the library of that name ends the whole process where a page is
damaged. A database is a tree of pages; those that hold the keys are looked through once.

| page | bytes |
|---|---|
| every one | number u64, unused u16, kind u16, then the end of its table of nodes u16, unused u16 |
| the first two | what is below, of the last two transactions |
| branch and leaf | a table of the places of its nodes, u16 each; the nodes |

A node begins with a size u32, flags u16 and the length of its key u16; the key follows, and the
value. In a branch the first six bytes are the number of a page. A large value lies in pages of its
own (behind a header), whose number stands in its place.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrecords.errors import InputError
from tfrecords.feature_stores.arrays import MOST_BYTES, read_array
from tfrecords.name_examples import describe_names

_PAGE = struct.Struct("<QHHHH")
_BRANCH, _LEAF, _LARGE = 1, 2, 4
_NODE = struct.Struct("<IHH")
_LARGE_VALUE = 1
# Magic, version, address, size of the map; two databases (that of free pages says how large a page
# is, ours how many entries it has and where its root lies); last page, transaction.
_META = struct.Struct("<IIQQ" + "IHHQQQQQ" * 2 + "QQ")
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_NO_PAGE = (1 << 64) - 1


@dataclass(frozen=True)
class LmdbArrays:
    """The values of a database.

    Attributes:
        path: of its folder, or of its file.
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
        """The keys, but for those of the database itself (`__len__`, `__keys__`, `keys`)."""
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
        """The bytes that the database has under a key.

        Raises:
            InputError: they cannot be read.
        """
        index = _index(self.path)
        offset, size = index.values[key]
        try:
            with index.file.open("rb", buffering=0) as stream:
                return os.pread(stream.fileno(), min(size, MOST_BYTES + 1), offset)
        except OSError as error:
            raise InputError(f"{self.path}, image {key!r} cannot be read: {error}") from error


class _Index(NamedTuple):
    """The file, and where in it the value of each key begins and how long it is."""

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
    """Offsets of all entries, found once per process."""
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
        # The first is to be the next one: keys come in their order.
        children = [_child(page, node) for node in reversed(nodes)]
        if not seen.isdisjoint(children) or len(set(children)) < len(children):
            raise ValueError(f"page {number} leads in a circle: is the file damaged?")
        seen.update(children)
        waiting += children
    if len(found) != head.entries:
        raise ValueError(f"{len(found)} keys, but it counts {head.entries}: is the file damaged?")
    return found


def _head(file: int) -> _Head:
    """Returns the header of the newer of the two transactions."""
    first = _read_head(file, 0)
    if first is None:
        raise ValueError("it does not begin as one")
    second = _read_head(file, first.page_size)
    if second is None or second.page_size != first.page_size:
        raise ValueError("its second page does not begin as it must: is the file damaged?")
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
    """A page of keys, what kind it is, and where in it its nodes begin."""
    page = os.pread(file, head.page_size, number * head.page_size) if _is_in(number, head) else b""
    if len(page) < head.page_size:
        raise ValueError(f"there is no page {number}: is the file damaged?")
    own, _, kind, end, _ = _PAGE.unpack_from(page)
    # Flags beside the kind are of a transaction that was being written.
    if own != number or kind not in (_BRANCH, _LEAF) or not _PAGE.size <= end <= len(page):
        raise ValueError(f"page {number} is none of keys: is the file damaged?")
    return page, kind, struct.unpack_from(f"<{(end - _PAGE.size) // 2}H", page, _PAGE.size)


def _child(page: bytes, node: int) -> int:
    low, high, _ = _NODE.unpack_from(page, node)
    return low | high << 32


def _entry(
    file: int, page: bytes, node: int, number: int, head: _Head
) -> tuple[str, tuple[int, int]]:
    """A key, and where its value begins and how long it is."""
    size, flags, length = _NODE.unpack_from(page, node)
    begin = node + _NODE.size
    key = page[begin : begin + length].decode(errors="surrogateescape")
    begin += length
    if not flags & _LARGE_VALUE:
        if begin + size > len(page):
            raise ValueError(f"the value of {key!r} leaves page {number}: is the file damaged?")
        return key, (number * head.page_size + begin, size)
    (large,) = struct.unpack_from("<Q", page, begin)
    offset = large * head.page_size
    end = (head.last_page + 1) * head.page_size
    header = os.pread(file, _PAGE.size, offset) if _is_in(large, head) else b""
    if len(header) < _PAGE.size or offset + _PAGE.size + size > end:
        raise ValueError(f"the value of {key!r} leaves the file: is it damaged?")
    own, _, kind, _, _ = _PAGE.unpack(header)
    if own != large or kind != _LARGE:
        raise ValueError(f"page {large} is no value, of {key!r}: is the file damaged?")
    return key, (offset + _PAGE.size, size)


def _is_in(number: int, head: _Head) -> bool:
    return number <= head.last_page
