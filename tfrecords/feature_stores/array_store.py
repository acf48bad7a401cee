"""Features as arrays by image: what a folder of files, an HDF5 file and an LMDB have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from absl import logging

from tfrecords.errors import InputError
from tfrecords.feature_stores import StoredFeatures
from tfrecords.feature_stores.boxes import are_relative, from_pixels, from_relative
from tfrecords.feature_stores.sizes import read_sizes

Role = Literal["global_feature", "grid_feature", "region_feature", "boxes"]


class Arrays(Protocol):
    """One array an image. Picklable: files are opened when the first array is read."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    def keys(self) -> list[str]:
        """The names of all images, in the order of the file or sorted."""

    def get(self, key: str) -> np.ndarray | None:
        """The array of an image, finite float16 or float32; None if there is none.

        Raises:
            InputError: it is damaged; names file and image.
        """


@dataclass(frozen=True)
class _Part:
    """Arrays, what they are, and the shape they have; None varies."""

    role: Role
    arrays: Arrays
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class ArrayStore:
    """A `FeatureStore` of one or several `Arrays`; made by `open_arrays`."""

    parts: tuple[_Part, ...]
    sizes_file: Path | None
    boxes_in_pixels: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `FeatureStore.paths`."""
        sizes = () if self.sizes_file is None else (self.sizes_file,)
        return (*(part.arrays.path for part in self.parts), *sizes)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `FeatureStore.shapes`."""
        return {part.role: part.shape for part in self.parts if part.role != "boxes"}

    @property
    def has_boxes(self) -> bool:
        """See `FeatureStore.has_boxes`."""
        return any(part.role == "boxes" for part in self.parts)

    @property
    def dropped(self) -> dict[str, int]:
        """See `FeatureStore.dropped`."""
        return {}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return self.parts[0].arrays.keys()

    def get(self, *keys: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        for key in keys:
            if (first := self.parts[0].arrays.get(key)) is not None:
                return self._found(key, keys, first)
        return None

    def _found(self, key: str, keys: tuple[str, ...], first: np.ndarray) -> StoredFeatures:
        found: dict[str, Any] = {}
        for number, part in enumerate(self.parts):
            where = f"{part.arrays.path}, image {key!r}"
            array = first if number == 0 else part.arrays.get(key)
            if array is None:
                raise InputError(
                    f"{where}: it is not there, but in {self.parts[0].arrays.path} it is"
                )
            found[part.role] = _fitting(array, part, where)
        if self.sizes_file is not None:
            found["height"], found["width"] = self._size(self.sizes_file, keys)
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

    def _size(self, path: Path, keys: tuple[str, ...]) -> tuple[int, int]:
        sizes = read_sizes(path)
        for key in keys:
            if key in sizes:
                return sizes[key]
        raise InputError(f"{path} gives no size of image {' or '.join(map(repr, keys))}")


def open_arrays(every: list[Arrays], sizes_file: Path | None = None) -> ArrayStore:
    """A store of several arrays an image; what each is, is seen from the first of them.

    [D] is the vector of an image, [N, 4] boxes (x1, y1, x2, y2), any other [N, D] its regions, and
    [gh, gw, D] a feature map. Boxes are relative where the first of them lie in 0..1. In pixels
    they need the sizes of the images, and are left out without.

    Args:
        every: the arrays.
        sizes_file: see `read_sizes`.

    Raises:
        InputError: arrays of no such shape, two of a kind, boxes without regions, or no image.
    """
    parts: dict[str, _Part] = {}
    in_pixels = False
    for arrays in every:
        name, first = _first(arrays)
        where = f"{arrays.path}, image {name!r}"
        role, shape = _role(first, where)
        if role in parts:
            raise InputError(
                f"{arrays.path} holds {role} like {parts[role].arrays.path}: one of a kind is read"
            )
        if role == "boxes" and not are_relative(first):
            if sizes_file is None:
                logging.warning(
                    "%s holds boxes in pixels and the sizes of the images are not known: they are "
                    "left out (sizes=FILE names a COCO JSON with widths and heights)",
                    arrays.path,
                )
                continue
            in_pixels = True
        parts[role] = _Part(role, arrays, shape)
    if "boxes" in parts and "region_feature" not in parts:
        raise InputError(f"{parts['boxes'].arrays.path} holds boxes, but there are no regions")
    if not parts:
        raise InputError("boxes alone are no features")
    if sizes_file is not None:
        read_sizes(sizes_file)
    order = ("global_feature", "grid_feature", "region_feature", "boxes")
    return ArrayStore(tuple(parts[r] for r in order if r in parts), sizes_file, in_pixels)


def _first(arrays: Arrays) -> tuple[str, np.ndarray]:
    names = arrays.keys()
    for key in names:
        if (array := arrays.get(key)) is not None:
            return key, array
    raise InputError(f"{arrays.path} holds no image")


def _role(first: np.ndarray, where: str) -> tuple[Role, tuple[int | None, ...]]:
    if first.size == 0 or first.ndim not in (1, 2, 3):
        raise InputError(f"{where}: shape {first.shape}, expected [D], [N, D] or [gh, gw, D]")
    if first.ndim == 1:
        return "global_feature", first.shape
    if first.ndim == 3:
        return "grid_feature", first.shape
    return ("boxes" if first.shape[1] == 4 else "region_feature"), (None, first.shape[1])


def _fitting(array: np.ndarray, part: _Part, where: str) -> np.ndarray:
    if array.ndim != len(part.shape) or any(
        size != wanted and (wanted is not None or size == 0)
        for size, wanted in zip(array.shape, part.shape, strict=False)
    ):
        expected = ", ".join("N" if size is None else str(size) for size in part.shape)
        raise InputError(f"{where}: shape {array.shape}, expected [{expected}] like the others")
    return array
