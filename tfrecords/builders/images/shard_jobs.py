"""Records of `images` shards: reading, checks, encoding and optional features.

Records of images without files contain only their concepts and references.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecords.builders.features.descriptions import raw_features
from tfrecords.builders.image_builds import Extraction
from tfrecords.core.examples import FeatureValue, encode_example
from tfrecords.core.shards import ShardItem, Skip
from tfrecords.formats.detections.image_concepts import ImageConcept
from tfrecords.pictures.feature_options import FeatureOptions
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_files import ImageFolder
from tfrecords.pictures.orientation import boxes_as_shown


@dataclass(frozen=True)
class ImageEntry:
    """One image to write.

    Attributes:
        image_id: path relative to the folder of images; without a folder, the name in the lists or
            the detections.
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
        extraction: how the files are read, and which features are stored.
        store_pixels: whether to store the files' bytes.
    """

    images: ImageFolder
    entries: tuple[ImageEntry, ...]
    extraction: Extraction
    store_pixels: bool

    def __call__(self) -> Iterator[ShardItem]:
        """Reads, checks and encodes the images in batches."""
        names = [entry.image_id for entry in self.entries]
        for item in self.extraction.read_images(self.images.read, names):
            if isinstance(item, Skip):
                yield item
                continue
            entry = self.entries[item.place]
            pixels = {"image": item.data} if self.store_pixels else {}
            yield _encode(entry, _upright(entry, item.data), {**item.features, **pixels})


@dataclass(frozen=True)
class ConceptShardJob:
    """Yields the records of some images whose files are not read.

    Attributes:
        entries: the images, in the order of the records.
    """

    entries: tuple[ImageEntry, ...]

    def __call__(self) -> Iterator[ShardItem]:
        """Encodes the images; their boxes stay as detected."""
        for entry in self.entries:
            yield _encode(entry, np.array([c.box for c in entry.concepts]).reshape(-1, 4), {})


def _encode(entry: ImageEntry, boxes: np.ndarray, more: Mapping[str, FeatureValue]) -> bytes:
    """Returns the record of an image with boxes [K, 4] and `more` features."""
    concepts = entry.concepts
    return encode_example(
        {
            "image_id": entry.image_id,
            "source_id": entry.source_id,
            "concepts": np.array(entry.concept_ids, np.int64),
            "concept_scores": np.array([c.score for c in concepts], np.float32),
            "concept_counts": np.array([c.count for c in concepts], np.int64),
            "boxes": boxes.astype(np.float32),
            "texts": list(entry.texts) or np.array([], "S1"),
            **more,
        }
    )


def _upright(entry: ImageEntry, data: bytes) -> np.ndarray:
    """Returns the boxes of an image's concepts in its upright frame: float [K, 4]."""
    header = read_header(data)
    boxes = [
        boxes_as_shown(np.array([c.box]), header.orientation, c.image_size, header.stored_size)
        for c in entry.concepts
    ]
    return np.concatenate([np.zeros((0, 4)), *boxes])


def record_features(
    shapes: Mapping[str, tuple[int | None, ...]], features: FeatureOptions, *, pixels: bool
) -> Any:
    """Returns the TFDS description (`FeaturesDict`) of the records.

    Args:
        shapes: shape of each stored kind of feature.
        features: how features are stored.
        pixels: whether the pictures are stored.
    """
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
    if pixels:
        found["image"] = tfds.features.Image(shape=(None, None, 3))
    return tfds.features.FeaturesDict(found | raw_features(shapes, features, views_of=shapes))
