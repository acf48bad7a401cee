"""Feature store over records, with random access by image."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.examples import decode_example, find_feature, frame_span, read_frame
from tfrecords.core.name_examples import describe_names
from tfrecords.core.records import Records, open_records
from tfrecords.formats.features.types import FEATURE_KINDS, StoredFeatures
from tfrecords.pictures.name_index import NameIndex, find_stored
from tfrecords.pictures.orientation import predates_orientation

KINDS = ("features", "captions", "images")


@dataclass(frozen=True)
class RecordStore:
    """A `FeatureStore` of records; created by `open_feature_records`.

    Attributes:
        folder: folder of the records.
        digest: digest of the records, to detect other records in the same folder.
        shapes: see `FeatureStore.shapes`.
        dtype: type of the stored features.
        has_boxes: see `FeatureStore.has_boxes`.
    """

    folder: Path
    digest: str
    shapes: dict[str, tuple[int | None, ...]]
    dtype: str
    has_boxes: bool

    @property
    def needs_sizes(self) -> bool:
        """See `FeatureStore.needs_sizes`."""
        return False

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `FeatureStore.paths`: the manifest, which contains the checksum of every shard."""
        return (self.folder / "manifest.json",)

    @property
    def dropped(self) -> dict[str, int]:
        """See `FeatureStore.dropped`."""
        return {}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return list(_index(self.folder, self.digest).places)

    def keys_of(self, split: str) -> list[str]:
        """Returns the names of the images of a split; raises `InputError` if there is none."""
        index = _index(self.folder, self.digest)
        files = set(open_records(self.folder).shards(split))
        return [name for name, (shard, _) in index.places.items() if index.files[shard] in files]

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        """Reads the vectors float32[N, D] of images.

        Raises:
            InputError: the records have no vector per image, or do not contain an image.
        """
        if "global_feature" not in self.shapes:
            raise InputError(
                f"{self.folder}: these records do not contain the vector per image that finding "
                "similar images requires; build them with --backbone"
            )
        shape = self.shapes["global_feature"]
        vectors_only = replace(self, shapes={"global_feature": shape}, has_boxes=False)
        table = np.empty((len(names), shape[0] or 0), np.float32)
        missing = []
        for row, name in enumerate(names):
            stored = vectors_only.get(name)
            if stored is None or stored.global_feature is None:
                missing.append(name)
            else:
                table[row] = stored.global_feature
        if missing:
            raise InputError(f"{self.folder} does not contain {describe_names(missing)}")
        return table

    def get(self, *names: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        index = _index(self.folder, self.digest)
        name = find_stored(names, index.places.__contains__, lambda: index.names)
        return None if name is None else self._read(index, name)

    def _read(self, index: _Index, name: str) -> StoredFeatures:
        shard, offset = index.places[name]
        where = f"{index.files[shard]}: image {name!r}"
        try:
            record = read_frame(index.maps[shard], offset, where)
            values = decode_example(record, {*self.shapes, "boxes", "height", "width"})
            found: dict[str, Any] = {
                feature: np.frombuffer(values[feature][0], np.dtype(self.dtype).newbyteorder("<"))
                .astype(self.dtype)
                .reshape([-1 if size is None else size for size in shape])
                for feature, shape in self.shapes.items()
            }
            if self.has_boxes:
                found["boxes"] = np.asarray(values["boxes"]).reshape(-1, 4)
            # `images` records have no size.
            height, width = (int(values.get(side, [0])[0]) for side in ("height", "width"))
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(
                f"{where}: damaged ({error}); build the records again with --overwrite"
            ) from error
        return StoredFeatures(**found, height=height or None, width=width or None)


def open_feature_records(folder: Path) -> RecordStore:
    """Opens the features in `features`, `captions` or `images` records.

    Boxes are read if they belong to regions; the boxes of `images` records belong to concepts.

    Raises:
        InputError: the records are incomplete, of another kind, or without features.
    """
    records = open_records(folder)
    names = records.feature_names
    if records.kind not in KINDS or not set(FEATURE_KINDS) & set(names):
        raise InputError(
            f"{folder} contains {records.kind!r} records with {', '.join(names)}; expected "
            f"{', '.join(KINDS)} records with one of {', '.join(FEATURE_KINDS)}: "
            "build them with r2m-extract-features"
        )
    if predates_orientation(records.manifest):
        logging.warning(
            "%s was built before EXIF orientation was read: the features of rotated photographs "
            "are those of the unrotated picture. Build it again if it has such photographs",
            folder,
        )
    options = records.manifest["options"]
    dtype = options["feature_dtype"]
    sizes: dict[str, tuple[int | None, ...]] = {
        "grid_feature": tuple(options.get("grid_shape") or ()),
        "region_feature": (None, options.get("region_size")),
        "global_feature": (options.get("feature_size"),),
    }
    if "global_feature" in names and sizes["global_feature"] == (None,):
        # The manifest of `images` records does not contain the size.
        sizes["global_feature"] = (_vector_size(records, np.dtype(dtype).itemsize),)
    return RecordStore(
        folder=records.folder,
        digest=records.digest,
        shapes={name: sizes[name] for name in FEATURE_KINDS if name in names},
        dtype=dtype,
        has_boxes="boxes" in names and "region_feature" in names and records.kind != "images",
    )


def _vector_size(records: Records, itemsize: int) -> int:
    """Returns the size D of the vectors, from the first record."""
    path = next(path for path in _files(records) if Path(path).stat().st_size)
    with Path(path).open("rb") as stream:
        buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        span = frame_span(buffer, 0, path)
        return len(find_feature(buffer, *span, "global_feature")[0]) // itemsize
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: damaged ({error}); build the records again with --overwrite"
        ) from error


class _Index(NamedTuple):
    files: list[str]
    maps: list[mmap.mmap]
    places: dict[str, tuple[int, int]]
    names: NameIndex


@lru_cache(maxsize=4)
def _index(folder: Path, digest: str) -> _Index:
    """Finds the offset of the record of each image, once per process.

    Only the names are read: the features of an Example are sorted by name and length-prefixed, so
    that the large ones are skipped.
    """
    records = open_records(folder)
    if records.digest != digest:
        raise InputError(f"{folder} was rebuilt after it was opened")
    files = _files(records)
    maps: list[mmap.mmap] = []
    places: dict[str, tuple[int, int]] = {}
    for shard, path in enumerate(files):
        with Path(path).open("rb") as stream:
            # An empty file cannot be mapped.
            if not stream.seek(0, 2):
                maps.append(mmap.mmap(-1, 1))
                continue
            buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        maps.append(buffer)
        offset = 0
        try:
            while offset < len(buffer):
                start, end = frame_span(buffer, offset, path)
                name = bytes(find_feature(buffer, start, end, "image_id")[0]).decode()
                places[name] = (shard, offset)
                offset = end + 4
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{path}: damaged ({error}); build the records again with --overwrite"
            ) from error
    return _Index(files, maps, places, NameIndex(places, str(folder)))


def _files(records: Records) -> list[str]:
    return [path for split in records.splits for path in records.shards(split)]
