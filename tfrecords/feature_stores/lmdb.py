"""LMDBs with the bytes of a .npy or .npz an image, as self-critical.pytorch reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.errors import InputError
from tfrecords.feature_stores.arrays import read_array


@dataclass(frozen=True)
class LmdbArrays:
    """The values of a database.

    Attributes:
        path: of its folder, or of its file.
    """

    path: Path

    def keys(self) -> list[str]:
        """The keys, but for those of the database itself (`__len__`, `__keys__`)."""
        with _opened(self.path).begin() as reading, reading.cursor() as cursor:
            keys = [bytes(key).decode(errors="replace") for key in cursor.iternext(values=False)]
        return [key for key in keys if not key.startswith("__")]

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        name = key.encode(errors="surrogatepass")
        environment = _opened(self.path)
        if not name or len(name) > environment.max_key_size():
            return None
        where = f"{self.path}, image {key!r}"
        try:
            with environment.begin() as reading:
                data = reading.get(name)
        except Exception as error:  # lmdb.Error, which is not known where lmdb is not imported
            raise InputError(f"{where} cannot be read: {error}") from error
        return None if data is None else read_array(data, where)


@lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    """The open database; once a process, because a handle cannot go to another."""
    try:
        import lmdb
    except ImportError as error:
        raise InputError(f"{path} needs the package lmdb: pip install 'r2m[lmdb]'") from error
    try:
        environment = lmdb.open(
            str(path),
            subdir=path.is_dir(),
            readonly=True,
            create=False,
            lock=False,
            readahead=False,
        )
    except lmdb.Error as error:
        raise InputError(f"cannot open {path} as an LMDB: {error}") from error
    file = path / "data.mdb" if path.is_dir() else path
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < needed:
        # Reading the missing pages of a mapped file would end the process.
        raise InputError(f"{file} was cut short: {file.stat().st_size} bytes, expected {needed}")
    return environment
