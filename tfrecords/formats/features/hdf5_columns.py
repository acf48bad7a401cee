"""HDF5 files whose data sets are columns, with a row or a range of rows per image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.features.array_store import Field, whole_numbers
from tfrecords.formats.features.arrays import MOST_BYTES, finite
from tfrecords.formats.features.field_names import FEATURE_ROLES, field_role, fields_by_role
from tfrecords.formats.features.row_names import names_of_rows, read_row_names
from tfrecords.formats.hdf5_files import describe_contents, item_of, opened, read_rows, read_values

_MOST_COLUMNS = 64
# Columns with one row per region, if images have ranges of rows.
_PER_REGION = ("feature", "boxes", "relative_boxes")


@dataclass(frozen=True)
class Hdf5Column:
    """A column of a file.

    Attributes:
        path: path of the file.
        column: name of the data set.
        ids_column: name of the data set with the row names; None if `ids` contains them.
        ids: see `read_row_names`.
        ranges: name of the data set with the first and the last but one row of each image; None if
            each image has one row.
    """

    path: Path
    column: str
    ids_column: str | None
    ids: Path | None
    ranges: str | None

    @property
    def sources(self) -> tuple[Path, ...]:
        """See `Arrays.sources`."""
        return (self.path,) if self.ids is None else (self.path, self.ids)

    @property
    def has_row_numbers(self) -> bool:
        """See `Arrays.has_row_numbers`."""
        return False

    def keys(self) -> list[str]:
        """Returns the names of the images."""
        return list(self._rows())

    def has(self, key: str) -> bool:
        """See `Arrays.has`."""
        return key in self._rows()

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        row = self._rows().get(key)
        if row is None:
            return None
        where = f"{self.path}, {self.column} of image {key!r} (row {row})"
        try:
            begin, end = row, row + 1
            if self.ranges is not None:
                span = read_rows(opened(self.path), self.ranges, row, row + 1, MOST_BYTES)
                begin, end = whole_numbers(span, 2, f"{self.ranges}[{row}]")
            array = read_rows(opened(self.path), self.column, begin, end, MOST_BYTES)
        except InputError as error:
            raise InputError(f"{where} cannot be read: {error}") from error
        except Exception as error:  # the library raises many kinds
            raise InputError(f"{where} cannot be read: {error}") from error
        return finite(array if self.ranges is not None else array[0], where)

    def describe(self) -> str:
        """See `Arrays.describe`."""
        return describe_contents(self.path)

    def _rows(self) -> dict[str, int]:
        return _row_numbers(self.path, self.ids_column, self.ids)


def is_columns(group: Any, names: list[str], *, with_ids: bool, sure: bool = False) -> bool:
    """Returns whether the data sets of a file or a group are columns.

    They are columns if a data set with a usual name of features comes with a column or a list of
    image names. Unless `sure` is set, they also are if all names are usual names of columns.
    """
    if not names or len(names) > _MOST_COLUMNS:
        return False
    by_role = fields_by_role(names)
    features = [by_role[role] for role in FEATURE_ROLES if role in by_role]
    items = [item_of(group, name) for name in features]
    if not any(len(getattr(item, "shape", None) or ()) >= 1 for item in items):
        return False
    ids = getattr(item_of(group, by_role["ids"]), "shape", None) if "ids" in by_role else None
    return with_ids or bool(ids) or (not sure and all(map(field_role, names)))


def column_fields(path: Path, names: list[str], ids: Path | None) -> list[Field]:
    """Returns the fields of a file of columns.

    Raises:
        InputError: the rows have no names, or the columns differ in length.
    """
    by_role = fields_by_role(names)
    ids_column = by_role.get("ids") if ids is None else None
    if ids is None and ids_column is None:
        raise InputError(
            f"{path} contains columns, but none with the names of the images (`image_id`, `ids` or "
            f"similar); it contains {describe_contents(path)}. Give the names in the order of the "
            f"rows: h5:{path.name},ids=FILE (one name per line, JSON, .npy{_pickle_beside(path)})"
        )
    names_of_images = _row_numbers(path, ids_column, ids)
    ranges = by_role.get("ranges")
    found = []
    for role, name in by_role.items():
        if role in ("ids", "ranges", "other"):
            continue
        own = ranges if role in _PER_REGION else None
        length = _length(path, own or name)
        if length != len(names_of_images):
            raise InputError(
                f"{path}: {own or name!r} has {length} rows, but "
                f"{ids or ids_column} lists {describe_names(list(names_of_images))}; it contains "
                f"{describe_contents(path)}"
            )
        found.append(Field(role, Hdf5Column(path, name, ids_column, ids, own)))
    return found


def _pickle_beside(path: Path) -> str:
    """Suggests the pickle of bottom-up attention for VQA: `train36_imgid2idx.pkl`."""
    pickle = path.with_name(f"{path.stem}_imgid2idx.pkl")
    return f", or the pickle next to it: ids={pickle.name}" if pickle.is_file() else " or a pickle"


def _length(path: Path, name: str) -> int:
    shape = getattr(item_of(opened(path), name), "shape", None)
    if not shape:
        raise InputError(f"{path}: {name!r} is not a column; it contains {describe_contents(path)}")
    return int(shape[0])


@lru_cache(maxsize=8)
def _row_numbers(path: Path, ids_column: str | None, ids: Path | None) -> dict[str, int]:
    """Returns a mapping from image name to row; read once per process."""
    if ids is not None:
        return read_row_names(ids)
    assert ids_column is not None
    where = f"{path}, column {ids_column!r}"
    try:
        values = read_values(opened(path), ids_column, MOST_BYTES)
    except Exception as error:  # the library raises many kinds
        raise InputError(f"{where} cannot be read: {error}") from error
    return names_of_rows(values.reshape(-1).tolist(), where)
