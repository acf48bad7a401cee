"""HDF5 files with a data set an image, as self-critical.pytorch reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.errors import InputError
from tfrecords.feature_stores.arrays import MOST_BYTES, finite


@dataclass(frozen=True)
class Hdf5Arrays:
    """The data sets of a file.

    Attributes:
        path: of the file.
    """

    path: Path

    def keys(self) -> list[str]:
        """The names of the data sets."""
        file = _opened(self.path)
        try:
            return list(file)
        except Exception as error:  # the library raises many kinds
            raise InputError(f"the names in {self.path} cannot be read: {error}") from error

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        from tfrecords.readers.hdf5 import read_values

        file = _opened(self.path)
        where = f"{self.path}, image {key!r}"
        try:
            if not key or key not in file:
                return None
            array = read_values(file, key, MOST_BYTES)
        except UnicodeEncodeError:
            return None
        except Exception as error:  # the library raises many kinds
            raise InputError(f"{where} cannot be read: {error}") from error
        return finite(array, where)


@lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    """The open file; once a process, because a handle cannot go to another."""
    import h5py

    try:
        return h5py.File(path, "r")
    except Exception as error:
        raise InputError(f"cannot open {path} as HDF5: {error}") from error
