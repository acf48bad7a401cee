"""One .npy with a row an image: `*_ims.npy` of Kiros et al. and of VSE++."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tfrecords.errors import InputError
from tfrecords.feature_stores.arrays import finite, npy_header


@dataclass(frozen=True)
class NpyRows:
    """The rows of a file, which stays on disk; an image's name is its row number from 0.

    Attributes:
        path: of the file: [N, D], [N, L, D] or [N, gh, gw, D].
    """

    path: Path

    def keys(self) -> list[str]:
        """The row numbers."""
        return [str(number) for number in range(len(_mapped(self.path)))]

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        rows = _mapped(self.path)
        if not (key.isascii() and key.isdigit()) or len(key) > 18 or int(key) >= len(rows):
            return None
        return finite(np.array(rows[int(key)]), f"{self.path}, row {key}")


@lru_cache(maxsize=8)
def _mapped(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype, start = npy_header(stream, path.stat().st_size)
        if len(shape) < 2 or 0 in shape or fortran:
            raise ValueError(f"shape {shape}{' in columns' * fortran}, expected rows [N, D]")
        return np.memmap(path, dtype, "r", start, shape)
    except Exception as error:  # a damaged header can fail in any way
        raise InputError(f"{path} cannot be read as an array of rows: {error}") from error
