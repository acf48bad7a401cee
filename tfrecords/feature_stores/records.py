"""`features` records as a store: any image of them without reading the others."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from tfrecords.errors import InputError
from tfrecords.feature_stores import StoredFeatures
from tfrecords.records import Records, open_records
from tfrecords.writing.examples import decode_example, find_feature, frame_span, read_frame


@dataclass(frozen=True)
class RecordStore:
    """A `FeatureStore` of `features` records; made by `open_feature_records`.

    An image is known by its `image_id`, and by that without its folder where only one is called so.

    Attributes:
        folder: of the records.
        digest: of the records, so that others under the same name are not taken for them.
        shapes: see `FeatureStore.shapes`.
        dtype: of the stored features.
        has_boxes: see `FeatureStore.has_boxes`.
    """

    folder: Path
    digest: str
    shapes: dict[str, tuple[int | None, ...]]
    dtype: str
    has_boxes: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `FeatureStore.paths`: the manifest, which names the checksum of every shard."""
        return (self.folder / "manifest.json",)

    @property
    def dropped(self) -> dict[str, int]:
        """See `FeatureStore.dropped`."""
        return {}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return list(_index(self.folder, self.digest).places)

    def get(self, *keys: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        index = _index(self.folder, self.digest)
        for key in keys:
            name = key if key in index.places else index.aliases.get(key, "")
            if name in index.places:
                return self._read(index, name)
        return None

    def _read(self, index: _Index, name: str) -> StoredFeatures:
        shard, offset = index.places[name]
        where = f"{index.files[shard]}: image {name!r}"
        try:
            record = read_frame(index.maps[shard], offset, where)
            values = decode_example(record)
            found: dict[str, Any] = {
                feature: np.frombuffer(values[feature][0], np.dtype(self.dtype).newbyteorder("<"))
                .astype(self.dtype)
                .reshape([-1 if size is None else size for size in shape])
                for feature, shape in self.shapes.items()
            }
            if self.has_boxes:
                found["boxes"] = np.asarray(values["boxes"]).reshape(-1, 4)
            height, width = int(values["height"][0]), int(values["width"][0])
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(f"{where}: damaged ({error}); build the records again") from error
        return StoredFeatures(**found, height=height or None, width=width or None)


def open_feature_records(folder: Path) -> RecordStore:
    """Opens `features` records.

    Raises:
        InputError: the folder holds no whole `features` records.
    """
    records = open_records(folder, kind="features")
    options = records.manifest["options"]
    sizes = {
        "global_feature": (options["feature_size"],),
        "grid_feature": tuple(options["grid_shape"] or ()),
        "region_feature": (None, options["region_size"]),
    }
    return RecordStore(
        folder=records.folder,
        digest=records.digest,
        shapes={name: shape for name, shape in sizes.items() if name in records.feature_names},
        dtype=options["feature_dtype"],
        has_boxes="boxes" in records.feature_names,
    )


class _Index(NamedTuple):
    files: list[str]
    maps: list[mmap.mmap]
    places: dict[str, tuple[int, int]]
    aliases: dict[str, str]


@lru_cache(maxsize=4)
def _index(folder: Path, digest: str) -> _Index:
    """Where the record of each image lies; found once a process.

    Only the names are read: the features of an Example are sorted by name and say how long they
    are, so that the large ones are leapt over.
    """
    records = open_records(folder, kind="features")
    if records.digest != digest:
        raise InputError(f"{folder} was built anew since it was opened")
    index = _Index(_files(records), [], {}, {})
    for shard, path in enumerate(index.files):
        with Path(path).open("rb") as stream:
            # An empty file cannot be mapped.
            if not stream.seek(0, 2):
                index.maps.append(mmap.mmap(-1, 1))
                continue
            buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        index.maps.append(buffer)
        offset = 0
        try:
            while offset < len(buffer):
                start, end = frame_span(buffer, offset, path)
                name = bytes(find_feature(buffer, start, end, "image_id")[0]).decode()
                index.places[name] = (shard, offset)
                offset = end + 4
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: damaged ({error}); build the records again") from error
    names = [PurePosixPath(name).name for name in index.places]
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    for full, name in zip(index.places, names, strict=True):
        if full != name and counts[name] == 1:
            index.aliases[name] = full
    return index


def _files(records: Records) -> list[str]:
    return [path for split in records.splits for path in records.shards(split)]
