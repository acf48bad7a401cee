"""The records of `images` shards: read, checked, encoded, with features when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrecords.examples import encode_example
from tfrecords.readers.detections import ImageConcept
from tfrecords.writer import ShardItem, Skip

if TYPE_CHECKING:
    from tfrecords.features import BackboneOptions

_DECODED_AT_ONCE = 64


@dataclass(frozen=True)
class ImageEntry:
    """One image to write.

    Attributes:
        image_id: its file name in the folder of images.
        concepts: [K] most certain last.
        concept_ids: [K] their ids in the vocabulary.
        texts: [S] reference captions.
    """

    image_id: str
    concepts: tuple[ImageConcept, ...]
    concept_ids: tuple[int, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class ImageShardJob:
    """Yields the records of some images, and a `Skip` for each that cannot be read.

    Attributes:
        folder: of the image files.
        entries: the images, in the order of the records.
        backbone: whose features to store; None stores none.
        store_grid: whether to store the feature map beside its mean.
        store_pixels: whether to store the files' bytes.
    """

    folder: Path
    entries: tuple[ImageEntry, ...]
    backbone: BackboneOptions | None
    store_grid: bool
    store_pixels: bool

    def __call__(self) -> Iterator[ShardItem]:
        """Reads, checks and encodes the images in batches."""
        for item in read_images(
            partial(read_file, self.folder),
            [entry.image_id for entry in self.entries],
            backbone=self.backbone,
            store_grid=self.store_grid,
        ):
            if isinstance(item, Skip):
                yield item
            else:
                yield self._record(self.entries[item.position], item.data, item.features)

    def _record(self, entry: ImageEntry, data: bytes, extra: Mapping[str, bytes]) -> bytes:
        concepts = entry.concepts
        values: dict[str, Any] = {
            "image_id": entry.image_id,
            "concepts": np.array(entry.concept_ids, np.int64),
            "concept_scores": np.array([c.score for c in concepts], np.float32),
            "concept_counts": np.array([c.count for c in concepts], np.int64),
            "boxes": np.array([c.box for c in concepts], np.float32).reshape(-1, 4),
            "texts": list(entry.texts) or np.array([], "S1"),
            **extra,
        }
        if self.store_pixels:
            values["image"] = data
        return encode_example(values)


class ReadImage(NamedTuple):
    """An image that could be read whole.

    Attributes:
        position: in the list of names.
        data: the encoded picture.
        features: of this image, as records hold them; none without a backbone.
    """

    position: int
    data: bytes
    features: dict[str, bytes]


def read_images(
    read: Callable[[str], bytes | Skip],
    names: Sequence[str],
    *,
    backbone: BackboneOptions | None,
    store_grid: bool,
) -> Iterator[ReadImage | Skip]:
    """Reads and checks images, in order, and takes their features.

    Args:
        read: name of an image -> the encoded picture, or why there is none.
        names: of the images.
        backbone: whose features to take; None takes none.
        store_grid: whether the feature maps too.

    Yields:
        The images, and a `Skip` for each that cannot be read.
    """
    for start in range(0, len(names), _DECODED_AT_ONCE):
        yield from _read_batch(read, names, start, backbone, store_grid)


def _read_batch(
    read: Callable[[str], bytes | Skip],
    names: Sequence[str],
    first: int,
    backbone: BackboneOptions | None,
    store_grid: bool,
) -> Iterator[ReadImage | Skip]:
    # TensorFlow is imported in the process that writes, not in the one that plans.
    from tfrecords.features import cached_extractor, decode_all

    found: list[tuple[int, bytes]] = []
    for index, name in enumerate(names[first : first + _DECODED_AT_ONCE], start=first):
        data = read(name)
        if isinstance(data, Skip):
            yield data
        else:
            found.append((index, data))
    size = backbone.image_size if backbone else None
    readable, pixels = [], []
    for (index, data), item in zip(found, decode_all([d for _, d in found], size), strict=True):
        if isinstance(item, str):
            yield Skip(names[index], "unreadable", item[:300])
        else:
            readable.append(ReadImage(index, data, {}))
            pixels.append(item)
    if backbone is None:
        yield from readable
        return
    extractor, step = cached_extractor(backbone), backbone.batch_size
    for start in range(0, len(readable), step):
        features = extractor(np.stack(pixels[start : start + step]))
        for row, image in enumerate(readable[start : start + step]):
            image.features["global_feature"] = features.pooled[row].astype("<f2").tobytes()
            if store_grid:
                image.features["grid_feature"] = features.grid[row].astype("<f2").tobytes()
            yield image


def read_file(folder: Path, name: str) -> bytes | Skip:
    """The bytes of an image file, or why there are none: `missing`, `empty`, `unreadable`."""
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        return Skip(name, "missing", f"no such file in {folder.name}")
    except OSError as error:
        return Skip(name, "unreadable", str(error))
    return data or Skip(name, "empty", "the file has zero bytes")


def grid_shape(backbone: BackboneOptions) -> tuple[int, int, int]:
    """The shape (gh, gw, D) of a backbone's feature map."""
    from tfrecords.features import cached_extractor

    return cached_extractor(backbone).grid_shape


def record_features(
    backbone: BackboneOptions | None, *, store_grid: bool, store_pixels: bool
) -> Any:
    """The TFDS description (`FeaturesDict`) of the records."""
    import tensorflow_datasets as tfds

    features: dict[str, Any] = {
        "image_id": tfds.features.Text(),
        "concepts": tfds.features.Sequence(np.int64),
        "concept_scores": tfds.features.Sequence(np.float32),
        "concept_counts": tfds.features.Sequence(np.int64),
        "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        "texts": tfds.features.Sequence(tfds.features.Text()),
    }
    if store_pixels:
        features["image"] = tfds.features.Image(shape=(None, None, 3))
    if backbone:
        grid = grid_shape(backbone)
        features["global_feature"] = _raw_half(grid[-1:])
        if store_grid:
            features["grid_feature"] = _raw_half(grid)
    return tfds.features.FeaturesDict(features)


def _raw_half(shape: tuple[int, ...]) -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.Tensor(
        shape=shape, dtype=np.float16, encoding=tfds.features.Encoding.BYTES
    )
