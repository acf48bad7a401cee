"""Arrays by image: the common base of stores in folders of files, HDF5 files and LMDBs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.formats.features.field_names import FieldRole
from tfrecords.formats.features.pixel_boxes import from_relative, place_boxes
from tfrecords.formats.features.pixel_sizes import checked_size, find_size
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.pictures.name_index import NameIndex, find_stored

Kind = Literal["global_feature", "grid_feature", "region_feature", "boxes"]


class Arrays(Hashable, Protocol):
    """One array per image. Picklable and hashable: files are opened when an array is read."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every file and folder that is read: `path`, and the list of row names if one is used."""

    @property
    def has_row_numbers(self) -> bool:
        """True if images are named by row numbers, which do not occur in any other file."""

    def keys(self) -> list[str]:
        """Returns the names of all images, in the order of the file or sorted."""

    def has(self, key: str) -> bool:
        """Returns whether an array has exactly this name."""

    def get(self, key: str) -> np.ndarray | None:
        """Returns the array of an image, finite float16 or float32; None if there is none.

        Raises:
            InputError: the array is damaged; names file and image.
        """

    def describe(self) -> str:
        """Describes some of the contents of the file, for error messages."""


@dataclass(frozen=True)
class Field:
    """Arrays and their role, which follows from their name."""

    role: FieldRole
    arrays: Arrays


@dataclass(frozen=True)
class Part:
    """Arrays, their kind and their shape; None is a variable size.

    `transposed`: the features of each region are a column (`x` of OpenVQA). `corners_first`: the
    four numbers of a box are followed by others (`spatial_features` of bottom-up attention for
    VQA).
    """

    kind: Kind
    arrays: Arrays
    shape: tuple[int | None, ...]
    transposed: bool = False
    corners_first: bool = False


@dataclass(frozen=True)
class ArrayStore:
    """A `FeatureStore` of one or several `Arrays`; created by `open_arrays` of `array_kinds.py`.

    Attributes:
        parts: the features, boxes last.
        size: the arrays with height and width, one for both or one each; or none.
        count: number of rows that are regions in the arrays of an image, if the arrays are padded.
        sizes_file: see `read_sizes`.
        boxes_in_pixels: whether boxes must be divided by the size of the image.
    """

    parts: tuple[Part, ...]
    size: tuple[Arrays, ...]
    count: Arrays | None
    sizes_file: Path | None
    boxes_in_pixels: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `FeatureStore.paths`."""
        found = [path for part in self.parts for path in part.arrays.sources]
        found += [path for arrays in self.size for path in arrays.sources]
        found += [] if self.sizes_file is None else [self.sizes_file]
        return tuple(dict.fromkeys(found))

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `FeatureStore.shapes`."""
        return {part.kind: part.shape for part in self.parts if part.kind != "boxes"}

    @property
    def has_boxes(self) -> bool:
        """See `FeatureStore.has_boxes`."""
        return any(part.kind == "boxes" for part in self.parts)

    @property
    def needs_sizes(self) -> bool:
        """See `FeatureStore.needs_sizes`."""
        sizes_known = bool(self.size) or self.sizes_file is not None
        return self.has_boxes and self.boxes_in_pixels and not sizes_known

    @property
    def dropped(self) -> dict[str, int]:
        """See `FeatureStore.dropped`."""
        return {}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return self.parts[0].arrays.keys()

    @property
    def has_row_numbers(self) -> bool:
        """True if images are named by row numbers; see `Arrays.has_row_numbers`."""
        return self.parts[0].arrays.has_row_numbers

    def find(self, *names: str) -> str | None:
        """Returns the name of an image in the store; see `FeatureStore.get`."""
        return _find(self.parts[0].arrays, names)

    def get(self, *names: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        key = self.find(*names)
        if key is None or (first := self.parts[0].arrays.get(key)) is None:
            return None
        found: dict[str, Any] = {}
        for number, part in enumerate(self.parts):
            where = f"{part.arrays.path}, image {key!r}"
            array = first if number == 0 else self._array(part.arrays, key)
            array = array.T if part.transposed and array.ndim == 2 else array
            if self.count is not None and part.kind in ("region_feature", "boxes"):
                array = without_padding(array, row_count(self.count, key), where)
            found[part.kind] = _fitting(array, part, where)
        if (size := self._size(key, names)) is not None:
            found["height"], found["width"] = size
        if "boxes" in found:
            where = f"the boxes of image {key!r} in {self.parts[-1].arrays.path}"
            if len(found["boxes"]) != len(found["region_feature"]):
                raise InputError(
                    f"{where}: {len(found['boxes'])} boxes for {len(found['region_feature'])} "
                    "regions"
                )
            if self.boxes_in_pixels:
                found["corners"] = found.pop("boxes")
            else:
                found["boxes"] = from_relative(found["boxes"], where)
        stored = StoredFeatures(**found)
        return stored if size is None else place_boxes(stored, *size, where)

    def _array(self, arrays: Arrays, key: str) -> np.ndarray:
        own = _find(arrays, (key,))
        array = None if own is None else arrays.get(own)
        if array is None:
            raise InputError(
                f"{arrays.path}, image {key!r}: not found, but "
                f"{self.parts[0].arrays.path} contains it"
            )
        return array

    def _size(self, key: str, names: Sequence[str]) -> tuple[int, int] | None:
        if self.sizes_file is not None:
            return find_size(self.sizes_file, (key, *names))
        if not self.size:
            return None
        where = f"{self.size[0].path}, image {key!r}"
        arrays = [self._array(part, key).reshape(-1) for part in self.size]
        height, width = whole_numbers(np.concatenate(arrays), 2, f"{where}: its size")
        return checked_size(height, width, where)


def row_count(count: Arrays, key: str) -> int | None:
    """Returns the number of rows of an image that are regions; None if it is not recorded."""
    array = count.get(key)
    return None if array is None else whole_numbers(array, 1, f"{count.path}, image {key!r}")[0]


def without_padding(array: np.ndarray, rows: int | None, where: str) -> np.ndarray:
    """Returns the rows of the regions: splits a flat array into rows, or removes padding."""
    if rows is None or array.ndim > 2:
        return array
    if array.ndim == 1:
        if rows < 1 or array.size % rows:
            raise InputError(f"{where}: {array.size} numbers for {rows} boxes")
        return array.reshape(rows, -1)
    return array[:rows]


def whole_numbers(array: np.ndarray, count: int, where: str) -> list[int]:
    """Returns the numbers of an array as integers.

    Raises:
        InputError: a number is not whole, or the count is another one; names `where`.
    """
    values = array.reshape(-1)
    if len(values) != count or not (np.abs(values) < 2**31).all() or (values % 1).any():
        raise InputError(f"{where}: {values[:4].tolist()}, expected whole numbers ({count})")
    return [int(value) for value in values]


@lru_cache(maxsize=16)
def _index(arrays: Arrays) -> NameIndex:
    """Returns the index of the image names; built once per process."""
    return NameIndex(arrays.keys(), str(arrays.path))


def _find(arrays: Arrays, names: Sequence[str]) -> str | None:
    if arrays.has_row_numbers:
        return next((name for name in names if arrays.has(name)), None)
    return find_stored(names, arrays.has, lambda: _index(arrays))


def _fitting(array: np.ndarray, part: Part, where: str) -> np.ndarray:
    if part.corners_first and array.ndim == 2:
        array = array[:, :4]
    if part.kind == "global_feature" and array.ndim and array.size == array.shape[-1]:
        array = array.reshape(-1)
    if part.kind == "grid_feature" and array.ndim == 2:
        # Flat maps are square, so one side is enough.
        side = part.shape[0] or 1
        array = array.reshape(side, side, -1) if len(array) == side * side else array
    if array.ndim != len(part.shape) or any(
        size != wanted and (wanted is not None or size == 0)
        for size, wanted in zip(array.shape, part.shape, strict=False)
    ):
        expected = ", ".join("N" if size is None else str(size) for size in part.shape)
        least = ", N at least 1," if None in part.shape else ""
        raise InputError(
            f"{where}: shape {array.shape}, expected [{expected}]{least} as for the other images"
        )
    return array
