"""The records of `images` shards: read, checked, encoded, with features when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords.examples import encode_example
from tfrecords.image_concepts import ImageConcept
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
        for start in range(0, len(self.entries), _DECODED_AT_ONCE):
            yield from self._batch(self.entries[start : start + _DECODED_AT_ONCE])

    def _batch(self, entries: Sequence[ImageEntry]) -> Iterator[ShardItem]:
        # TensorFlow is imported in the process that writes, not in the one that plans.
        from tfrecords.features import cached_extractor, decode_all

        found: list[tuple[ImageEntry, bytes]] = []
        for entry in entries:
            data = read_image_file(self.folder, entry.image_id)
            if isinstance(data, Skip):
                yield data
            else:
                found.append((entry, data))
        size = self.backbone.image_size if self.backbone else None
        readable, pixels = [], []
        for (entry, data), item in zip(found, decode_all([d for _, d in found], size), strict=True):
            if isinstance(item, str):
                yield Skip(entry.image_id, "unreadable", item[:300])
            else:
                readable.append((entry, data))
                pixels.append(item)
        if self.backbone is None:
            for entry, data in readable:
                yield self._record(entry, data, {})
            return
        extractor, step = cached_extractor(self.backbone), self.backbone.batch_size
        for start in range(0, len(readable), step):
            features = extractor(np.stack(pixels[start : start + step]))
            for row, (entry, data) in enumerate(readable[start : start + step]):
                extra = {"global_feature": features.pooled[row].astype("<f2").tobytes()}
                if self.store_grid:
                    extra["grid_feature"] = features.grid[row].astype("<f2").tobytes()
                yield self._record(entry, data, extra)

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


def read_image_file(folder: Path, name: str) -> bytes | Skip:
    """The bytes of an image file, or why there are none."""
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
