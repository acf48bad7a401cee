"""Builder of `features` records, from a backbone or from a feature store."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrecords.builders.base import check_at_least_one, spread, write_records
from tfrecords.builders.features.descriptions import extracted_shapes, raw_features
from tfrecords.builders.features.stored_values import (
    Shapes,
    recorded_shapes,
    stored_values,
    stores_boxes,
)
from tfrecords.builders.image_builds import (
    Extraction,
    FeatureBuildOptions,
    backbone_sources,
    extraction_of,
    open_images,
    recorded_pictures,
)
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.missing_paths import check_image_folder
from tfrecords.core.name_examples import describe_available
from tfrecords.core.records import Records
from tfrecords.core.shards import ShardItem, ShardJob, Skip
from tfrecords.formats.detections.regions import (
    RegionOptions,
    boxes_of_names,
    check_regions,
    read_detected_boxes,
    recorded_regions,
    region_sources,
)
from tfrecords.formats.features.types import FeatureStore
from tfrecords.pictures.feature_options import (
    FeatureOptions,
    recorded_backbone,
)
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_files import ImageFolder
from tfrecords.pictures.image_folders import ListedImages, list_images
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT, read_split_lists, readable_names
from tfrecords.pictures.name_index import AmbiguousNameError
from tfrecords.pictures.region_boxes import DetectedBoxes


@dataclass(frozen=True, kw_only=True)
class FeatureRecordsOptions(FeatureBuildOptions):
    """Options of `build_features`. Features come from a `backbone` or from a `store`.

    Attributes:
        images: folder with the image files; only with a backbone.
        store: precomputed features.
        regions: boxes over which the feature map is averaged; None stores no regions.
    """

    name: str = "features"
    images: Path | None = None
    store: FeatureStore | None = None
    regions: RegionOptions | None = None


def build_features(options: FeatureRecordsOptions, progress: bool = True) -> Records:
    """Writes one record per image: `image_id` (the file name, or the name in the store), `height`
    and `width` int64 (pixels; 0 if a store does not contain them), and of the following those that
    are available:

    - `global_feature` [D],
    - `grid_feature` [gh, gw, D],
    - `region_feature` [N, D] with `boxes` float32 [N, 4] (ymin, xmin, ymax, xmax in 0..1).

    Each feature is one string of little-endian bytes (`tf.io.decode_raw`). The options in the
    manifest contain `feature_dtype`, `feature_size` (D of the vector; without one, of the map or
    the regions), `grid_shape` and `region_size` (D of the regions).

    Unreadable images and damaged stored features are skipped and listed in the manifest.

    Args:
        options: what to build.
        progress: whether to log the progress.

    Returns:
        The finished records.

    Raises:
        InputError: options or inputs are invalid, or a split has no usable image.
    """
    _check(options)
    listed = _listed(options)
    boxes = options.regions is not None
    shapes: Shapes = extracted_shapes(options, regions=boxes)
    every_name = list(itertools.chain(*listed.splits.values()))
    converted: Counter[str] = Counter()
    detected = read_detected_boxes(options.regions, every_name, converted)
    if options.store is not None:
        shapes, boxes = options.store.shapes, stores_boxes(options.store, every_name)
    started = time.time()
    records = write_records(
        options,
        kind="features",
        progress=progress,
        splits={
            split: _jobs(options, rows, every_name, detected, boxes=boxes)
            for split, rows in listed.splits.items()
        },
        features=lambda: _record_features(shapes, options, boxes=boxes),
        recorded=_recorded_options(options, shapes, every_name),
        sources=_sources(options),
        skipped=listed.skipped,
        dropped=options.store.dropped if options.store else listed.passed_over,
        if_empty=lambda: describe_available(
            [options.images] if options.images else [],
            options.store.keys() if options.store else None,
        ),
        converted=converted,
    )
    _log_rate(records, started)
    return records


@dataclass(frozen=True)
class _ExtractionJob:
    """Yields the records of some image files, and a `Skip` for each unreadable one."""

    images: ImageFolder
    names: tuple[str, ...]
    extraction: Extraction
    regions: tuple[DetectedBoxes, ...] | None

    def __call__(self) -> Iterator[ShardItem]:
        for item in self.extraction.read_images(self.images.read, self.names, self.regions):
            if isinstance(item, Skip):
                yield item
                continue
            header = read_header(item.data)
            yield encode_example(
                {
                    "image_id": self.names[item.place],
                    "height": header.height,
                    "width": header.width,
                    **item.features,
                }
            )


@dataclass(frozen=True)
class _StoreJob:
    """Yields the records of some images of a store, and a `Skip` for each unavailable one."""

    store: FeatureStore
    names: tuple[str, ...]
    features: FeatureOptions
    boxes: bool

    def __call__(self) -> Iterator[ShardItem]:
        for name in self.names:
            try:
                found = self.store.get(name)
                if found is None:
                    yield Skip(name, "missing", "the store has no such image")
                else:
                    values = stored_values(
                        self.store, found, self.features, f"image {name!r}", boxes=self.boxes
                    )
                    yield encode_example({"image_id": name, "height": 0, "width": 0, **values})
            except AmbiguousNameError:
                raise
            except InputError as error:
                yield Skip(name, "damaged", str(error))


def _check(options: FeatureRecordsOptions) -> None:
    if (options.backbone is None) == (options.store is None):
        raise InputError("give either a backbone or stored features")
    check_at_least_one(options, "max_pixels", "shards")
    check_regions(options.regions, options.backbone, options.features)
    if options.store is not None:
        view = options.features
        if options.store_grid or view != FeatureOptions(unit_norm=view.unit_norm, dtype=view.dtype):
            raise InputError(
                "grid, crops, short_side and views require a backbone: stored "
                "features are not changed"
            )
        if options.images:
            raise InputError("stored features need no folder of images: leave images out")
        return
    if options.images is None:
        raise InputError("a backbone needs a folder of images")
    check_image_folder(options.images)
    if options.store_grid and options.features.crops > 1:
        raise InputError("the maps of 10 crops have no common grid: use 1 crop, or leave grid out")
    if options.features.grid and not options.store_grid:
        raise InputError("grid sets the size of stored maps: give store_grid too")


def _listed(options: FeatureRecordsOptions) -> ListedImages:
    if options.images is not None:
        return list_images(options.images, options.splits, recursive=options.recursive)
    if options.splits:
        return ListedImages(read_split_lists(options.splits))
    assert options.store is not None
    found, skipped = readable_names(options.store.keys())
    return ListedImages({ALL_IMAGES_SPLIT: found}, skipped)


def _jobs(
    options: FeatureRecordsOptions,
    names: Sequence[str],
    every_name: Collection[str],
    detected: Mapping[str, DetectedBoxes] | None,
    *,
    boxes: bool,
) -> list[ShardJob]:
    parts = spread(names, options.shards)
    if options.store is not None:
        return [_StoreJob(options.store, part, options.features, boxes) for part in parts]
    assert options.images is not None
    images = open_images(options, options.images, every_name)
    reading = extraction_of(options, views=True)
    return [_ExtractionJob(images, part, reading, boxes_of_names(detected, part)) for part in parts]


def _record_features(shapes: Shapes, options: FeatureRecordsOptions, *, boxes: bool) -> Any:
    """Returns the TFDS description (`FeaturesDict`) of the records."""
    import tensorflow_datasets as tfds

    features: dict[str, Any] = {
        "image_id": tfds.features.Text(),
        "height": tfds.features.Scalar(np.int64),
        "width": tfds.features.Scalar(np.int64),
        **raw_features(shapes, options.features),
    }
    if boxes:
        features["boxes"] = tfds.features.Tensor(shape=(None, 4), dtype=np.float32)
    return tfds.features.FeaturesDict(features)


def _recorded_options(
    options: FeatureRecordsOptions, shapes: Shapes, names: Collection[str]
) -> dict[str, Any]:
    """Returns the options that determine the records, for the manifest."""
    backbone = recorded_backbone(options.backbone, options.features)
    return {
        **backbone,
        **recorded_regions(options.regions, backbone),
        "feature_dtype": options.features.dtype,
        **recorded_shapes(shapes),
        "unit_norm": options.features.unit_norm,
        "splits": {split: path.name for split, path in options.splits.items()},
        "recursive": options.recursive,
        "max_pixels": options.max_pixels,
        **(recorded_pictures(names) if options.images else {}),
        "shards": options.shards,
    }


def _sources(options: FeatureRecordsOptions) -> list[Path]:
    return [
        *(options.store.paths if options.store else ()),
        *([options.images] if options.images else []),
        *options.splits.values(),
        *region_sources(options.regions),
        *backbone_sources(options.backbone),
    ]


def _log_rate(records: Records, started: float) -> None:
    """Logs the speed; shards that an earlier run wrote are not counted."""
    new, last = 0, started
    for split in records.splits:
        for shard in records.manifest["splits"][split]["shards"]:
            written = (records.folder / shard["file"]).stat().st_mtime
            if written >= started:
                new, last = new + shard["count"], max(last, written)
    if new:
        seconds = max(last - started, 1e-3)
        logging.info("%d images in %.1f s: %.1f images/s", new, seconds, new / seconds)
