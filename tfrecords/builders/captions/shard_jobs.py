"""Records of `captions` shards: word ids, and optionally pictures and features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfrecords.builders.captions.image_sizes import image_size, upright_features
from tfrecords.builders.features.descriptions import raw_features
from tfrecords.builders.features.stored_values import stored_values
from tfrecords.builders.image_builds import Extraction
from tfrecords.core.errors import InputError
from tfrecords.core.examples import FeatureValue, encode_example
from tfrecords.core.records import SENTENCE_LENGTHS, SENTENCE_WORDS
from tfrecords.core.shards import ShardItem, Skip
from tfrecords.formats.features.types import FeatureStore
from tfrecords.pictures.feature_options import FeatureOptions
from tfrecords.pictures.headers import ImageHeader, read_header
from tfrecords.pictures.image_files import ImageFolder, check_image
from tfrecords.pictures.name_index import AmbiguousNameError
from tfrecords.pictures.region_boxes import DetectedBoxes


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """One image to write.

    Attributes:
        image_id: id of the record.
        values: features of the record that do not depend on its picture or its stored features.
        size: height and width according to the source, pixels; 0 if missing.
        names: names of the image in a feature store: its number in the source and its file name.
        file: file name of the picture, relative to the folder of images; None if the source does
            not name it.
        read: returns the picture, if the source of the captions contains it.
    """

    image_id: str
    values: Mapping[str, FeatureValue]
    size: tuple[int, int]
    names: tuple[str, ...]
    file: str | None
    read: Callable[[], bytes] | None

    @property
    def picture_name(self) -> str:
        """Name of the picture, as used in detections."""
        return self.file or self.image_id


@dataclass(frozen=True)
class CaptionShardJob:
    """Yields the records of some images, and a `Skip` for each without picture or features.

    Attributes:
        entries: the images, in the order of the records.
        pictures: whether the pictures are read.
        folders: folders of the image files, searched in this order; empty if every entry has
            `read`.
        extraction: how the pictures are read, and which of their features are stored.
        store_pixels: whether to store the pictures.
        store: precomputed features; None without a store.
        boxes: whether the boxes of the store are stored.
        regions: detected boxes of each entry whose features are stored; None stores none.
    """

    entries: tuple[CaptionEntry, ...]
    pictures: bool
    folders: tuple[ImageFolder, ...]
    extraction: Extraction
    store_pixels: bool
    store: FeatureStore | None
    boxes: bool
    regions: tuple[DetectedBoxes, ...] | None

    def __call__(self) -> Iterator[ShardItem]:
        """Reads, checks and encodes the images in batches."""
        if not self.pictures:
            for entry in self.entries:
                yield self._record(entry, {}, None)
            return
        by_id = {entry.image_id: entry for entry in self.entries}
        for item in self.extraction.read_images(
            lambda image_id: self._picture(by_id[image_id]), list(by_id), self.regions
        ):
            if isinstance(item, Skip):
                yield item
                continue
            picture: dict[str, FeatureValue] = {**item.features}
            if self.store_pixels:
                picture["image"] = item.data
            yield self._record(self.entries[item.place], picture, read_header(item.data))

    def _picture(self, entry: CaptionEntry) -> bytes | Skip:
        if not self.folders or entry.file is None:
            data = entry.read() if entry.read else b""
            return check_image(entry.image_id, data, self.extraction.max_pixels)
        details = []
        for folder in self.folders:
            found = folder.read(entry.file)
            if isinstance(found, bytes):
                return found
            if found.reason != "missing":
                return Skip(entry.image_id, found.reason, found.detail)
            details.append(found.detail)
        return Skip(entry.image_id, "missing", "; ".join(details))

    def _record(
        self,
        entry: CaptionEntry,
        picture: Mapping[str, FeatureValue],
        header: ImageHeader | None,
    ) -> bytes | Skip:
        height, width = image_size(entry.size, header)
        values = {
            "image_id": entry.image_id,
            **entry.values,
            "height": height,
            "width": width,
            **picture,
        }
        if self.store is not None:
            where = f"image {entry.image_id!r}"
            try:
                found = self.store.get(*entry.names)
                if found is None:
                    names = " or ".join(map(repr, entry.names))
                    raise InputError(f"the features contain no image named {names}")
                if not self.boxes:
                    found = replace(found, corners=None)
                found = upright_features(found, (height, width), header, where)
                values |= stored_values(
                    self.store, found, self.extraction.features, where, boxes=self.boxes
                )
            except AmbiguousNameError:
                raise
            except InputError as error:
                return Skip(entry.image_id, "no_features", str(error))
        return encode_example(values)


def caption_values(
    *,
    source_id: str | None,
    split: str,
    caption_ids: list[int],
    texts: list[str],
    sentences: list[list[int]],
) -> dict[str, FeatureValue]:
    """Returns the features of a record that encode its captions.

    Args:
        source_id: name of the image in the source in addition to its file name; None if missing.
        split: name of the split in the source.
        caption_ids: [S].
        texts: [S] as written; at least one.
        sentences: [S, (T)] word ids with start and end marker.
    """
    return {
        "source_id": source_id or "",
        "split": split,
        "caption_ids": np.array(caption_ids, np.int64),
        "texts": texts,
        SENTENCE_WORDS: np.array([word for sentence in sentences for word in sentence], np.int64),
        SENTENCE_LENGTHS: np.array([len(sentence) for sentence in sentences], np.int64),
    }


def record_features(
    shapes: Mapping[str, tuple[int | None, ...]],
    features: FeatureOptions,
    *,
    views_of: Collection[str],
    boxes: bool,
    pixels: bool,
) -> Any:
    """Returns the TFDS description (`FeaturesDict`) of the records.

    Args:
        shapes: shape of each stored kind of feature; None is a variable size.
        features: how features are stored.
        views_of: kinds computed by a backbone, which are stored for views too.
        boxes: whether boxes of the regions are stored.
        pixels: whether the pictures are stored.
    """
    import tensorflow_datasets as tfds

    found: dict[str, Any] = {
        "image_id": tfds.features.Text(),
        "source_id": tfds.features.Text(),
        "split": tfds.features.Text(),
        "caption_ids": tfds.features.Sequence(np.int64),
        "texts": tfds.features.Sequence(tfds.features.Text()),
        "sentences": tfds.features.Sequence(tfds.features.Sequence(np.int64)),
        "height": np.int64,
        "width": np.int64,
        **raw_features(shapes, features, views_of=views_of),
    }
    if pixels:
        found["image"] = tfds.features.Image(shape=(None, None, 3))
    if boxes:
        found["boxes"] = tfds.features.Tensor(shape=(None, 4), dtype=np.float32)
    return tfds.features.FeaturesDict(found)
