"""LMDBs with the bytes of a .npy or .npz per image, as self-critical.pytorch reads them.

The package `lmdb` reads them. It may end the process if a page is damaged, so its verifier, which
reads the file without mapping it, checks all pages of keys first.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.features.arrays import MOST_BYTES, read_array

if TYPE_CHECKING:
    import lmdb

_OPENING = threading.Lock()
# Only a writer uses the list of free pages and the numbers of pages of large values. The numbers
# are too high where a transaction replaced a value by a smaller one.
_HARMLESS = re.compile("freeDB|mp_pages|overflow pages,")


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
        every = _database(self.path).keys
        return [key for key in every if not key.startswith("__") and key != "keys"]

    def has(self, key: str) -> bool:
        """See `Arrays.has`."""
        return key in _database(self.path).keys

    def describe(self) -> str:
        """See `Arrays.describe`."""
        return describe_names(self.keys(), "key")

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        database = _database(self.path)
        if key not in database.keys:
            return None
        return read_array(database.value(key), f"{self.path}, image {key!r}")

    def value(self, key: str) -> bytes:
        """Reads the bytes stored under a key."""
        return _database(self.path).value(key)


class _Database(NamedTuple):
    """An open database, and its keys in order, by their text."""

    environment: lmdb.Environment
    keys: dict[str, bytes]

    def value(self, key: str) -> bytes:
        """Reads the bytes stored under a key."""
        with self.environment.begin(buffers=True) as transaction:
            return bytes(transaction.get(self.keys[key], b"")[: MOST_BYTES + 1])


def _database(path: Path) -> _Database:
    file = path / "data.mdb" if path.is_dir() else path
    # The library refuses to open a file twice in one process.
    with _OPENING:
        return _open(file.resolve())


@lru_cache(maxsize=8)
def _open(file: Path) -> _Database:
    try:
        import lmdb
        from lmdb.verify import verify
    except ImportError as error:
        raise InputError(
            f"{file}: an LMDB needs the package lmdb ({error}): pip install 'r2m[lmdb]'"
        ) from error
    try:
        damage = [found for found in verify(file, subdir=False) if not _HARMLESS.search(found)]
        if damage:
            raise ValueError(f"{damage[0]}: is the file damaged?")
        environment = lmdb.open(
            str(file), subdir=False, readonly=True, create=False, lock=False, readahead=False
        )
        size = file.stat().st_size
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if size < needed:
            environment.close()
            raise ValueError(f"it was cut short: {size} bytes, expected {needed}")
        with environment.begin() as transaction:
            keys = list(transaction.cursor().iternext(values=False))
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"cannot read {file} as an LMDB: {error or repr(error)}") from error
    return _Database(environment, {key.decode(errors="surrogateescape"): key for key in keys})
