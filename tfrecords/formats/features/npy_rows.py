"""Store in one .npy with a row per image: `*_ims.npy` of Kiros et al. and VSE++, [M, 36, D]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.features.arrays import finite, npy_header
from tfrecords.formats.features.row_names import read_row_names


@dataclass(frozen=True)
class NpyRows:
    """The rows of a memory-mapped file.

    Attributes:
        path: path of the file: [M, D], [M, N, D] or [M, gh, gw, D].
        ids: a list of the row names, see `read_row_names`; with None, images are named by their row
            numbers, from 0.
    """

    path: Path
    ids: Path | None = None

    @property
    def sources(self) -> tuple[Path, ...]:
        """See `Arrays.sources`."""
        return (self.path,) if self.ids is None else (self.path, self.ids)

    @property
    def has_row_numbers(self) -> bool:
        """See `Arrays.has_row_numbers`."""
        return self.ids is None

    def keys(self) -> list[str]:
        """Returns the names of the rows, or their numbers."""
        if self.ids is not None:
            return list(_names(self.path, self.ids))
        return [str(number) for number in range(len(_mapped(self.path)))]

    def has(self, key: str) -> bool:
        """See `Arrays.has`."""
        return self._row(key) is not None

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        row = self._row(key)
        if row is None:
            return None
        return finite(np.array(_mapped(self.path)[row]), f"{self.path}, row {row}")

    def describe(self) -> str:
        """See `Arrays.describe`."""
        return f"an array of shape {list(_mapped(self.path).shape)}"

    def _row(self, key: str) -> int | None:
        rows = _mapped(self.path)
        if self.ids is not None:
            return _names(self.path, self.ids).get(key)
        if not (key.isascii() and key.isdigit()) or len(key) > 18 or int(key) >= len(rows):
            return None
        return int(key)


@lru_cache(maxsize=4)
def _names(path: Path, ids: Path) -> dict[str, int]:
    names, rows = read_row_names(ids), len(_mapped(path))
    if len(names) != rows:
        raise InputError(
            f"{ids} lists {describe_names(list(names))}, but {path} has {rows} rows: expected one "
            "name per row"
        )
    return names


@lru_cache(maxsize=8)
def _mapped(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype, start = npy_header(stream, path.stat().st_size)
        if len(shape) < 2 or 0 in shape or fortran:
            raise ValueError(f"shape {shape}{' in columns' * fortran}, expected rows [M, D]")
        return np.memmap(path, dtype, "r", start, shape)
    except Exception as error:  # a damaged header can fail in any way
        raise InputError(f"{path} cannot be read as an array of rows: {error}") from error
