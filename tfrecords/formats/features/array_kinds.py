"""Detection of vectors, maps, regions and boxes from the arrays of the first image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.formats.features.array_store import (
    Arrays,
    ArrayStore,
    Field,
    Part,
    row_count,
    without_padding,
)
from tfrecords.formats.features.field_names import FEATURE_ROLES, describe_fields
from tfrecords.formats.features.pixel_boxes import are_corners, are_relative
from tfrecords.formats.features.pixel_sizes import read_sizes


class _First(NamedTuple):
    """The array of the first image of a field, and the number of its rows that are regions."""

    field: Field
    array: np.ndarray
    rows: int | None
    where: str


def open_arrays(every: Sequence[Field], sizes_file: Path | None = None) -> ArrayStore:
    """Opens several arrays per image as one store and infers their kinds from the first image.

    An array [D] is the vector of an image, [N, 4] contains boxes (x1, y1, x2, y2), any other [N, D]
    contains regions, and [gh, gw, D] is a feature map. A map may be flat, [gh * gw, D], if its name
    marks it as a map. Boxes are relative if all boxes of the first image are within 0..1.

    Args:
        every: the arrays.
        sizes_file: see `read_sizes`.

    Raises:
        InputError: an array has none of these shapes, two arrays are of the same kind, boxes come
            without regions, or no image is found.
    """
    by_role = {field.role: field.arrays for field in every}
    sides = tuple(by_role[role] for role in ("height", "width") if role in by_role)
    size = (by_role["size"],) if "size" in by_role else sides if len(sides) == 2 else ()
    count = by_role.get("count")
    ordered = [f for role in (*FEATURE_ROLES, "boxes") for f in every if f.role == role]
    firsts = _first_arrays(ordered, count)
    parts: dict[str, Part] = {}
    in_pixels = False
    for first in firsts:
        part = _part(first, parts, transposed=_is_transposed(first, firsts))
        if part is None:
            continue
        if part.kind in parts:
            raise InputError(
                f"{part.arrays.path} and {parts[part.kind].arrays.path} both contain "
                f"{part.kind}: give only one of each kind"
            )
        if part.kind == "boxes":
            corners = without_padding(first.array, first.rows, first.where)
            if not _are_usable(first, corners):
                continue
            pixels = not are_relative(corners)
            without_size = not size and sizes_file is None
            if pixels and without_size and "relative_boxes" in by_role:
                continue
            in_pixels = pixels
        parts[part.kind] = part
    if "boxes" not in parts and "relative_boxes" in by_role and "region_feature" in parts:
        parts["boxes"] = Part("boxes", by_role["relative_boxes"], (None, 4), corners_first=True)
    if not parts.keys() - {"boxes"}:
        raise InputError(
            f"{every[0].arrays.path} contains only boxes: expected features with one of the names "
            f"{describe_fields()}{_contents(every[0].arrays)}"
        )
    if "boxes" in parts and "region_feature" not in parts:
        raise InputError(f"{parts['boxes'].arrays.path} contains boxes, but no region features")
    if sizes_file is not None:
        read_sizes(sizes_file)
    order = ("global_feature", "grid_feature", "region_feature", "boxes")
    found = tuple(parts[kind] for kind in order if kind in parts)
    return ArrayStore(found, size, count, sizes_file, in_pixels)


def _first_arrays(fields: Sequence[Field], count: Arrays | None) -> list[_First]:
    """Returns the fields with the array of the first image that has one."""
    found = []
    name = None
    for field in fields:
        arrays = field.arrays
        names = arrays.keys() if name is None or not arrays.has(name) else [name]
        for key in names:
            if (array := arrays.get(key)) is not None:
                break
        else:
            raise InputError(f"{arrays.path} contains no images{_contents(arrays)}")
        name = name or key
        padded = field.role in ("feature", "boxes")
        rows = row_count(count, key) if count is not None and padded else None
        found.append(_First(field, array, rows, f"{arrays.path}, image {key!r}"))
    return found


def _is_transposed(first: _First, firsts: Sequence[_First]) -> bool:
    """Returns whether the features of each region are a column, as OpenVQA stores them."""
    boxes = [
        len(other.array)
        for other in firsts
        if other.field.role == "boxes" and other.array.ndim == 2
    ]
    rows = boxes[0] if boxes else first.rows
    shape = first.array.shape
    return first.field.role == "feature" and len(shape) == 2 and shape[0] != rows == shape[1]


def _part(item: _First, parts: Mapping[str, Part], *, transposed: bool) -> Part | None:
    field, arrays = item.field, item.field.arrays
    first = item.array.T if transposed else item.array
    first = without_padding(first, item.rows, item.where)
    shape = first.shape
    if first.size == 0 or first.ndim not in (1, 2, 3):
        raise InputError(
            f"the first image in {arrays.path}: shape {shape}, expected [D], [N, D] or [gh, gw, D]"
            f"{_contents(arrays)}"
        )
    if field.role == "boxes":
        return Part("boxes", arrays, (None, 4))
    if field.role == "global_feature" and first.size == shape[-1]:
        return Part("global_feature", arrays, shape[-1:])
    if first.ndim == 1:
        return Part("global_feature", arrays, shape)
    if first.ndim == 3:
        return Part("grid_feature", arrays, shape)
    side = math.isqrt(shape[0])
    if field.role == "grid_feature" and side * side == shape[0]:
        return Part("grid_feature", arrays, (side, side, shape[1]))
    if field.role == "grid_feature" and "region_feature" in parts:
        logging.warning(
            "%s contains maps of %d cells, which do not form a square, and regions: the maps are "
            "omitted",
            arrays.path,
            shape[0],
        )
        return None
    if shape[1] == 4:
        return Part("boxes", arrays, (None, 4))
    return Part("region_feature", arrays, (None, shape[1]), transposed=transposed)


def _are_usable(first: _First, corners: np.ndarray) -> bool:
    """Returns whether boxes are given as corners; logs a warning if not."""
    if corners.ndim == 2 and corners.shape[1] == 4 and not are_corners(corners):
        logging.warning(
            "%s: the boxes are not x1, y1, x2, y2: many are inverted; they are left out",
            first.where,
        )
        return False
    return True


def _contents(arrays: Arrays) -> str:
    return f"; it contains {found}" if (found := arrays.describe()) else ""
