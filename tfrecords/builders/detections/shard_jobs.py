"""Records of `detections` shards, from a detector or from a file of detections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecords.core.examples import encode_example
from tfrecords.core.shards import Dropped, ShardItem, Skip
from tfrecords.detectors.options import DetectorOptions
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.colors import colors_of_image
from tfrecords.pictures.image_files import ImageFolder

# Limits for the images in memory at the same time: their number and their pixels.
_DECODED_AT_ONCE, _PIXELS_AT_ONCE = 32, 100_000_000


@dataclass(frozen=True)
class DetectShardJob:
    """Yields the detections in some images, and a `Skip` for each unreadable image.

    Attributes:
        images: the folder of the image files.
        names: names of the images, in the order of the records.
        detector: options of the detector.
    """

    images: ImageFolder
    names: tuple[str, ...]
    detector: DetectorOptions

    def __call__(self) -> Iterator[ShardItem]:
        """Reads, detects and encodes the images in batches."""
        # Import TensorFlow in the process that detects, not in the one that plans.
        from tfrecords.pictures.image_reading import decode_ahead

        batch: list[tuple[str, np.ndarray]] = []
        pixels = 0
        for item in decode_ahead(
            self.images.read, self.names, None, max_pixels=self.images.max_pixels
        ):
            if isinstance(item, Skip):
                yield item
                continue
            batch.append((self.names[item.place], item.pixels.numpy()))
            pixels += batch[-1][1].shape[0] * batch[-1][1].shape[1]
            if len(batch) == _DECODED_AT_ONCE or pixels >= _PIXELS_AT_ONCE:
                yield from self._batch(batch)
                batch, pixels = [], 0
        if batch:
            yield from self._batch(batch)

    def _batch(self, batch: Sequence[tuple[str, np.ndarray]]) -> Iterator[ShardItem]:
        from tfrecords.detectors.opening import open_detector

        found = open_detector(self.detector).detect([pixels for _, pixels in batch])
        for (name, pixels), objects in zip(batch, found, strict=True):
            if isinstance(objects, str):
                yield Skip(name, "undetectable", objects)
                continue
            height, width, _ = pixels.shape
            yield encode_detections(name, height, width, objects)
            yield from (Dropped(reason, count) for reason, count in objects.dropped.items())


@dataclass(frozen=True)
class ColorsShardJob:
    """Yields the colors of objects and surroundings, and a `Skip` for each unreadable image.

    Attributes:
        images: the folder of the image files.
        names: names of the images, in the order of the records.
        boxes: float32 [N, 4] of the objects of each image.
        class_names: their classes.
    """

    images: ImageFolder
    names: tuple[str, ...]
    boxes: tuple[np.ndarray, ...]
    class_names: tuple[tuple[str, ...], ...]

    def __call__(self) -> Iterator[ShardItem]:
        """Reads the images one by one."""
        from tfrecords.pictures.image_reading import decode_ahead

        for item in decode_ahead(
            self.images.read, self.names, None, max_pixels=self.images.max_pixels
        ):
            if isinstance(item, Skip):
                yield item
                continue
            pixels = item.pixels.numpy()
            height, width, _ = pixels.shape
            found = colors_of_image(pixels, self.boxes[item.place], self.class_names[item.place])
            yield encode_detections(self.names[item.place], height, width, found)


@dataclass(frozen=True)
class EncodedShardJob:
    """Yields records that are already encoded.

    Attributes:
        records: serialized examples.
    """

    records: tuple[bytes, ...]

    def __call__(self) -> Iterator[ShardItem]:
        """Yields the records in order."""
        yield from self.records


def encode_detections(name: str, height: int, width: int, found: Detections) -> bytes:
    """Encodes the record of one image."""
    return encode_example(
        {
            "image_id": name,
            "height": height,
            "width": width,
            "boxes": found.boxes,
            "classes": found.class_ids,
            "class_names": list(found.class_names) or np.array([], "S1"),
            "scores": found.scores,
        }
    )


def record_features() -> Any:
    """Returns the TFDS description (`FeaturesDict`) of the records."""
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image_id": tfds.features.Text(),
            "height": tfds.features.Scalar(np.int64),
            "width": tfds.features.Scalar(np.int64),
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
            "classes": tfds.features.Sequence(np.int64),
            "class_names": tfds.features.Sequence(tfds.features.Text()),
            "scores": tfds.features.Sequence(np.float32),
        }
    )
