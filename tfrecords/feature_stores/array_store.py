"""Features as arrays by image: what a folder of files, an HDF5 file and an LMDB have in common."""

from __future__ import annotations

import math
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from absl import logging

from tfrecords.errors import InputError
from tfrecords.feature_stores.boxes import are_corners, are_relative, from_pixels, from_relative
from tfrecords.feature_stores.field_names import FEATURE_ROLES, FieldRole
from tfrecords.feature_stores.lookup import NameIndex, find_stored
from tfrecords.feature_stores.sizes import checked_size, find_size, read_sizes
from tfrecords.feature_stores.types import StoredFeatures

Kind = Literal["global_feature", "grid_feature", "region_feature", "boxes"]


class Arrays(Hashable, Protocol):
    """One array per image. Picklable and hashable: files are opened when an array is read."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every file and folder that is read: `path`, and a list of the names of its rows."""

    @property
    def has_row_numbers(self) -> bool:
        """Whether images are called by the numbers of their rows, as no other file calls them."""

    def keys(self) -> list[str]:
        """The names of all images, in the order of the file or sorted."""

    def has(self, key: str) -> bool:
        """Whether there is an array of exactly this name."""

    def get(self, key: str) -> np.ndarray | None:
        """The array of an image, finite float16 or float32; None if there is none.

        Raises:
            InputError: it is damaged; names file and image.
        """

    def describe(self) -> str:
        """Some of what the file holds, for errors."""


@dataclass(frozen=True)
class Field:
    """Arrays and the role that their name gives them."""

    role: FieldRole
    arrays: Arrays


@dataclass(frozen=True)
class _Part:
    """Arrays, their kind, and the shape they have; None varies.

    `transposed`: the features of a region are a column (`x` of OpenVQA). `corners_first`: more
    follows after the four numbers of a box (`spatial_features` of bottom-up attention for VQA).
    """

    kind: Kind
    arrays: Arrays
    shape: tuple[int | None, ...]
    transposed: bool = False
    corners_first: bool = False


class _First(NamedTuple):
    """The array of the first image of a field, and how many of its rows are regions."""

    field: Field
    array: np.ndarray
    rows: int | None
    where: str


@dataclass(frozen=True)
class ArrayStore:
    """A `FeatureStore` of one or several `Arrays`; made by `open_arrays`.

    Attributes:
        parts: the features, boxes last.
        size: the arrays that hold height and width, one for both or one each; or none.
        count: how many rows of the arrays of an image are regions, where they are padded.
        sizes_file: see `read_sizes`.
        boxes_in_pixels: whether boxes must be divided by the size of the image.
    """

    parts: tuple[_Part, ...]
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
    def dropped(self) -> dict[str, int]:
        """See `FeatureStore.dropped`."""
        return {}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return self.parts[0].arrays.keys()

    def get(self, *names: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        key = _find(self.parts[0].arrays, names)
        if key is None or (first := self.parts[0].arrays.get(key)) is None:
            return None
        found: dict[str, Any] = {}
        for number, part in enumerate(self.parts):
            where = f"{part.arrays.path}, image {key!r}"
            array = first if number == 0 else self._array(part.arrays, key)
            array = array.T if part.transposed and array.ndim == 2 else array
            if self.count is not None and part.kind in ("region_feature", "boxes"):
                array = _without_padding(array, _row_count(self.count, key), where)
            found[part.kind] = _fitting(array, part, where)
        if (size := self._size(key, names)) is not None:
            found["height"], found["width"] = size
        if "boxes" in found:
            where = f"the boxes of image {key!r} in {self.parts[-1].arrays.path}"
            found["boxes"] = (
                from_pixels(found["boxes"], found["height"], found["width"], where)
                if self.boxes_in_pixels
                else from_relative(found["boxes"], where)
            )
            if len(found["boxes"]) != len(found["region_feature"]):
                raise InputError(
                    f"{where}: {len(found['boxes'])} boxes for {len(found['region_feature'])} "
                    "regions"
                )
        return StoredFeatures(**found)

    def _array(self, arrays: Arrays, key: str) -> np.ndarray:
        own = _find(arrays, (key,))
        array = None if own is None else arrays.get(own)
        if array is None:
            raise InputError(
                f"{arrays.path}, image {key!r}: it is not there, but in "
                f"{self.parts[0].arrays.path} it is"
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


def open_arrays(every: Sequence[Field], sizes_file: Path | None = None) -> ArrayStore:
    """Opens several arrays per image as one store; their kinds follow from the first image.

    [D] is the vector of an image, [N, 4] boxes (x1, y1, x2, y2), any other [N, D] its regions, and
    [gh, gw, D] a feature map; a map may be flat [gh * gw, D] where its name says that it is one.
    Boxes are relative where the first of them lie in 0..1. In pixels they need the sizes of the
    images, and are left out without.

    Args:
        every: the arrays.
        sizes_file: see `read_sizes`.

    Raises:
        InputError: arrays of no such shape, two of a kind, boxes without regions, or no image.
    """
    by_role = {field.role: field.arrays for field in every}
    sides = tuple(by_role[role] for role in ("height", "width") if role in by_role)
    size = (by_role["size"],) if "size" in by_role else sides if len(sides) == 2 else ()
    count = by_role.get("count")
    ordered = [f for role in (*FEATURE_ROLES, "boxes") for f in every if f.role == role]
    firsts = _first_arrays(ordered, count)
    parts: dict[str, _Part] = {}
    in_pixels = False
    for first in firsts:
        part = _part(first, parts, transposed=_is_transposed(first, firsts))
        if part is None:
            continue
        if part.kind in parts:
            raise InputError(
                f"{part.arrays.path} holds {part.kind} like {parts[part.kind].arrays.path}: one of "
                "a kind is read"
            )
        if part.kind == "boxes" and first.array.ndim == 2:
            pixels = not are_relative(first.array)
            known = bool(size) or sizes_file is not None
            if not _are_usable(first, sizes_known=known or not pixels, others=by_role):
                continue
            in_pixels = pixels
        parts[part.kind] = part
    if "boxes" not in parts and "relative_boxes" in by_role and "region_feature" in parts:
        parts["boxes"] = _Part("boxes", by_role["relative_boxes"], (None, 4), corners_first=True)
    if "boxes" in parts and "region_feature" not in parts:
        raise InputError(f"{parts['boxes'].arrays.path} holds boxes, but there are no regions")
    if not parts:
        raise InputError("boxes alone are no features")
    if sizes_file is not None:
        read_sizes(sizes_file)
    order = ("global_feature", "grid_feature", "region_feature", "boxes")
    found = tuple(parts[kind] for kind in order if kind in parts)
    return ArrayStore(found, size, count, sizes_file, in_pixels)


def _first_arrays(fields: Sequence[Field], count: Arrays | None) -> list[_First]:
    """The fields with their array of the first image that has one."""
    found = []
    name = None
    for field in fields:
        arrays = field.arrays
        names = arrays.keys() if name is None or not arrays.has(name) else [name]
        for key in names:
            if (array := arrays.get(key)) is not None:
                break
        else:
            raise InputError(f"{arrays.path} holds no image{_held(arrays)}")
        name = name or key
        padded = field.role in ("feature", "boxes")
        rows = _row_count(count, key) if count is not None and padded else None
        found.append(_First(field, array, rows, f"{arrays.path}, image {key!r}"))
    return found


def _is_transposed(first: _First, firsts: Sequence[_First]) -> bool:
    """Whether the features of a region are a column, as OpenVQA stores them."""
    boxes = [
        len(other.array)
        for other in firsts
        if other.field.role == "boxes" and other.array.ndim == 2
    ]
    rows = boxes[0] if boxes else first.rows
    shape = first.array.shape
    return first.field.role == "feature" and len(shape) == 2 and shape[0] != rows == shape[1]


def _part(item: _First, parts: Mapping[str, _Part], *, transposed: bool) -> _Part | None:
    field, arrays = item.field, item.field.arrays
    first = item.array.T if transposed else item.array
    first = _without_padding(first, item.rows, item.where)
    shape = first.shape
    if first.size == 0 or first.ndim not in (1, 2, 3):
        raise InputError(
            f"the first image in {arrays.path}: shape {shape}, expected [D], [N, D] or [gh, gw, D]"
            f"{_held(arrays)}"
        )
    if field.role == "boxes":
        return _Part("boxes", arrays, (None, 4))
    if field.role == "global_feature" and first.size == shape[-1]:
        return _Part("global_feature", arrays, shape[-1:])
    if first.ndim == 1:
        return _Part("global_feature", arrays, shape)
    if first.ndim == 3:
        return _Part("grid_feature", arrays, shape)
    side = math.isqrt(shape[0])
    if field.role == "grid_feature" and side * side == shape[0]:
        return _Part("grid_feature", arrays, (side, side, shape[1]))
    if field.role == "grid_feature" and "region_feature" in parts:
        logging.warning(
            "%s holds maps of %d cells, which are no square, beside regions: they are left out",
            arrays.path,
            shape[0],
        )
        return None
    if shape[1] == 4:
        return _Part("boxes", arrays, (None, 4))
    return _Part("region_feature", arrays, (None, shape[1]), transposed=transposed)


def _are_usable(first: _First, *, sizes_known: bool, others: Container[FieldRole]) -> bool:
    """Whether boxes are taken; those that are not are logged, unless others replace them."""
    corners = first.array[: first.rows]
    if corners.shape[1] == 4 and not are_corners(corners):
        logging.warning(
            "%s: the boxes are no x1, y1, x2, y2, as many end before they begin, and are left out",
            first.where,
        )
        return False
    if not sizes_known and "relative_boxes" not in others:
        logging.warning(
            "%s holds boxes in pixels and the sizes of the images are not known: they are left out "
            "(sizes=FILE names a COCO JSON with widths and heights)",
            first.field.arrays.path,
        )
    return sizes_known


def _held(arrays: Arrays) -> str:
    return f"; it holds {held}" if (held := arrays.describe()) else ""


def _row_count(count: Arrays, key: str) -> int | None:
    array = count.get(key)
    return None if array is None else whole_numbers(array, 1, f"{count.path}, image {key!r}")[0]


def _without_padding(array: np.ndarray, rows: int | None, where: str) -> np.ndarray:
    """The rows of the regions: of those of all regions one after another, or of padded ones."""
    if rows is None or array.ndim > 2:
        return array
    if array.ndim == 1:
        if rows < 1 or array.size % rows:
            raise InputError(f"{where}: {array.size} numbers for {rows} boxes")
        return array.reshape(rows, -1)
    return array[:rows]


def whole_numbers(array: np.ndarray, count: int, where: str) -> list[int]:
    """The numbers of an array as integers.

    Raises:
        InputError: they are not whole, or not so many; names `where`.
    """
    values = array.reshape(-1)
    if len(values) != count or not (np.abs(values) < 2**31).all() or (values % 1).any():
        raise InputError(f"{where}: {values[:4].tolist()}, expected whole numbers ({count})")
    return [int(value) for value in values]


@lru_cache(maxsize=16)
def _index(arrays: Arrays) -> NameIndex:
    """The names of the images; listed once per process."""
    return NameIndex(arrays.keys(), str(arrays.path))


def _find(arrays: Arrays, names: Sequence[str]) -> str | None:
    if arrays.has_row_numbers:
        return next((name for name in names if arrays.has(name)), None)
    return find_stored(names, arrays.has, lambda: _index(arrays))


def _fitting(array: np.ndarray, part: _Part, where: str) -> np.ndarray:
    if part.corners_first and array.ndim == 2:
        array = array[:, :4]
    if part.kind == "global_feature" and array.ndim and array.size == array.shape[-1]:
        array = array.reshape(-1)
    if part.kind == "grid_feature" and array.ndim == 2:
        # One side is enough: maps by cell are square.
        side = part.shape[0] or 1
        array = array.reshape(side, side, -1) if len(array) == side * side else array
    if array.ndim != len(part.shape) or any(
        size != wanted and (wanted is not None or size == 0)
        for size, wanted in zip(array.shape, part.shape, strict=False)
    ):
        expected = ", ".join("N" if size is None else str(size) for size in part.shape)
        raise InputError(f"{where}: shape {array.shape}, expected [{expected}] like the others")
    return array
