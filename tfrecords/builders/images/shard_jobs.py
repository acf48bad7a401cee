"""Records of `images` shards: reading, checks, encoding and optional features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecords.builders.features.descriptions import grid_shape, raw_features
from tfrecords.builders.images.image_concepts import ImageConcept
from tfrecords.core.examples import FeatureValue, encode_example
from tfrecords.core.shards import ShardItem, Skip
from tfrecords.pictures.feature_options import (
    DEFAULT_FEATURES,
    BackboneOptions,
    FeatureOptions,
)
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_files import ImageFolder
from tfrecords.pictures.orientation import boxes_as_shown


@dataclass(frozen=True)
class ImageEntry:
    """One image to write.

    Attributes:
        image_id: path relative to the folder of images.
        concepts: [K] concepts in ascending order of scores.
        concept_ids: [K] their ids in the vocabulary.
        texts: [S] reference captions.
        source_id: number in the source of the references, as text; empty if it has none.
    """

    image_id: str
    concepts: tuple[ImageConcept, ...]
    concept_ids: tuple[int, ...]
    texts: tuple[str, ...]
    source_id: str = ""


@dataclass(frozen=True)
class ImageShardJob:
    """Yields the records of some images, and a `Skip` for each unreadable one.

    Attributes:
        images: the folder of the image files.
        entries: the images, in the order of the records.
        backbone: network whose features are stored; None stores none.
        store_grid: whether to store the feature map in addition to its mean.
        store_pixels: whether to store the files' bytes.
        features: crops and features of the backbone.
    """

    images: ImageFolder
    entries: tuple[ImageEntry, ...]
    backbone: BackboneOptions | None
    store_grid: bool
    store_pixels: bool
    features: FeatureOptions = DEFAULT_FEATURES

    def __call__(self) -> Iterator[ShardItem]:
        """Reads, checks and encodes the images in batches."""
        # Import TensorFlow in the process that writes, not in the one that plans.
        from tfrecords.pictures.image_reading import read_images

        for item in read_images(
            self.images.read,
            [entry.image_id for entry in self.entries],
            backbone=self.backbone,
            features=self.features,
            store_grid=self.store_grid,
            max_pixels=self.images.max_pixels,
        ):
            if isinstance(item, Skip):
                yield item
            else:
                yield self._record(self.entries[item.place], item.data, item.features)

    def _record(self, entry: ImageEntry, data: bytes, extra: Mapping[str, FeatureValue]) -> bytes:
        concepts = entry.concepts
        values: dict[str, Any] = {
            "image_id": entry.image_id,
            "source_id": entry.source_id,
            "concepts": np.array(entry.concept_ids, np.int64),
            "concept_scores": np.array([c.score for c in concepts], np.float32),
            "concept_counts": np.array([c.count for c in concepts], np.int64),
            "boxes": _upright(entry, data),
            "texts": list(entry.texts) or np.array([], "S1"),
            **extra,
        }
        if self.store_pixels:
            values["image"] = data
        return encode_example(values)


def _upright(entry: ImageEntry, data: bytes) -> np.ndarray:
    """Returns the boxes of an image's concepts in its upright frame: float32 [K, 4]."""
    header = read_header(data)
    boxes = [
        boxes_as_shown(np.array([c.box]), header.orientation, c.image_size, header.stored_size)
        for c in entry.concepts
    ]
    return np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float32)


def record_features(
    backbone: BackboneOptions | None,
    *,
    store_grid: bool,
    store_pixels: bool,
    features: FeatureOptions = DEFAULT_FEATURES,
) -> Any:
    """Returns the TFDS description (`FeaturesDict`) of the records."""
    import tensorflow_datasets as tfds

    found: dict[str, Any] = {
        "image_id": tfds.features.Text(),
        "source_id": tfds.features.Text(),
        "concepts": tfds.features.Sequence(np.int64),
        "concept_scores": tfds.features.Sequence(np.float32),
        "concept_counts": tfds.features.Sequence(np.int64),
        "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        "texts": tfds.features.Sequence(tfds.features.Text()),
    }
    if store_pixels:
        found["image"] = tfds.features.Image(shape=(None, None, 3))
    if backbone:
        grid = grid_shape(backbone, features)
        shapes: dict[str, tuple[int | None, ...]] = {"global_feature": grid[-1:]}
        if store_grid:
            shapes["grid_feature"] = grid
        found |= raw_features(shapes, features, views_of=shapes)
    return tfds.features.FeaturesDict(found)
