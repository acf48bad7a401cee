"""The records of `captions` shards: word ids, and pictures and features when asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords.examples import FeatureValue, encode_example
from tfrecords.feature_stores import FeatureStore
from tfrecords.feature_values import UnusableFeatures, describe_features, stored_values
from tfrecords.image_shards import grid_shape, read_file, read_images
from tfrecords.shards import ShardItem, Skip

if TYPE_CHECKING:
    from tfrecords.features import BackboneOptions

# TFDS' names for a sequence of sequences; `tf.io.RaggedFeature` reads them too.
WORDS, LENGTHS = "sentences/ragged_flat_values", "sentences/ragged_row_lengths_0"


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """One image to write.

    Attributes:
        image_id: of the record.
        values: the rest of the record, but for what comes from its picture and its features.
        keys: what a feature store may call the image.
        file: of the picture, relative to the folder of images; None where none is named.
        read: gives the picture where the source of the captions holds it.
    """

    image_id: str
    values: Mapping[str, FeatureValue]
    keys: tuple[str, ...]
    file: str | None
    read: Callable[[], bytes] | None


@dataclass(frozen=True)
class CaptionShardJob:
    """Yields the records of some images, and a `Skip` for each that lacks picture or features.

    Attributes:
        entries: the images, in the order of the records.
        pictures: whether the pictures are looked at.
        folders: of the image files, looked through in this order; none where every entry has
            `read`.
        backbone: whose features of the pictures to store; None stores none.
        store_grid: whether to store its feature map beside the mean.
        store_pixels: whether to store the pictures.
        store: features that exist already; None for none.
    """

    entries: tuple[CaptionEntry, ...]
    pictures: bool
    folders: tuple[Path, ...]
    backbone: BackboneOptions | None
    store_grid: bool
    store_pixels: bool
    store: FeatureStore | None

    def __call__(self) -> Iterator[ShardItem]:
        """Reads, checks and encodes the images in batches."""
        if not self.pictures:
            for entry in self.entries:
                yield self._record(entry, {})
            return
        by_id = {entry.image_id: entry for entry in self.entries}
        for item in read_images(
            lambda image_id: self._picture(by_id[image_id]),
            list(by_id),
            backbone=self.backbone,
            store_grid=self.store_grid,
        ):
            if isinstance(item, Skip):
                yield item
            else:
                picture = {"image": item.data} if self.store_pixels else {}
                yield self._record(self.entries[item.position], {**item.features, **picture})

    def _picture(self, entry: CaptionEntry) -> bytes | Skip:
        if not self.folders or entry.file is None:
            data = entry.read() if entry.read else b""
            return data or Skip(entry.image_id, "empty", "the source has no picture")
        # Published lists name folders (val2014/) that many people have unpacked into one.
        names = dict.fromkeys((entry.file, PurePosixPath(entry.file).name))
        for folder, name in itertools.product(self.folders, names):
            found = read_file(folder, name)
            if isinstance(found, bytes):
                return found
            if found.reason != "missing":
                return Skip(entry.image_id, found.reason, found.detail)
        folders = ", ".join(folder.name for folder in self.folders)
        return Skip(entry.image_id, "missing", f"no such file in {folders}")

    def _record(self, entry: CaptionEntry, picture: Mapping[str, bytes]) -> bytes | Skip:
        values = {"image_id": entry.image_id, **entry.values, **picture}
        if self.store is not None:
            try:
                values |= stored_values(self.store, entry.keys)
            except UnusableFeatures as error:
                return Skip(entry.image_id, "no_features", str(error))
        return encode_example(values)


def caption_values(
    *,
    split: str,
    caption_ids: list[int],
    texts: list[str],
    sentences: list[list[int]],
    height: int | None,
    width: int | None,
) -> dict[str, FeatureValue]:
    """The features of a record that speak of its captions.

    Args:
        split: as the source calls it.
        caption_ids: [S].
        texts: [S] as they were written; at least one.
        sentences: [S, (T)] word ids with start and end marker.
        height: pixels; None where it is not known.
        width: likewise.
    """
    return {
        "split": split,
        "caption_ids": np.array(caption_ids, np.int64),
        "texts": texts,
        WORDS: np.array([word for sentence in sentences for word in sentence], np.int64),
        LENGTHS: np.array([len(sentence) for sentence in sentences], np.int64),
        "height": height or 0,
        "width": width or 0,
    }


def record_features(
    *,
    backbone: BackboneOptions | None,
    store_grid: bool,
    pixels: bool,
    store: FeatureStore | None,
) -> Any:
    """The TFDS description (`FeaturesDict`) of the records."""
    import tensorflow_datasets as tfds

    features: dict[str, Any] = {
        "image_id": tfds.features.Text(),
        "split": tfds.features.Text(),
        "caption_ids": tfds.features.Sequence(np.int64),
        "texts": tfds.features.Sequence(tfds.features.Text()),
        "sentences": tfds.features.Sequence(tfds.features.Sequence(np.int64)),
        "height": np.int64,
        "width": np.int64,
    }
    if pixels:
        features["image"] = tfds.features.Image(shape=(None, None, 3))
    if backbone:
        grid = grid_shape(backbone)
        features |= describe_features({"global_feature": grid[-1:]})
        if store_grid:
            features |= describe_features({"grid_feature": grid})
    if store:
        features |= describe_features(store.shapes)
    return tfds.features.FeaturesDict(features)
