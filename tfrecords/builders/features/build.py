"""Builder of `features` records, from a backbone or from a feature store."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrecords.builders.features.descriptions import raw_feature
from tfrecords.builders.features.regions import (
    RegionOptions,
    boxes_of_names,
    check_regions,
    read_seen_boxes,
    recorded_regions,
    region_shape,
    region_sources,
)
from tfrecords.builders.features.stored_values import (
    Shapes,
    recorded_shapes,
    stored_values,
    stores_boxes,
)
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.missing_paths import check_image_folder
from tfrecords.core.name_examples import describe_held
from tfrecords.core.records import Records
from tfrecords.core.runners import IN_THIS_PROCESS, Runner
from tfrecords.core.shards import ShardItem, ShardJob, Skip
from tfrecords.core.writer import write_dataset
from tfrecords.formats.features.types import FeatureStore
from tfrecords.pictures.feature_options import (
    DEFAULT_FEATURES,
    BackboneOptions,
    FeatureOptions,
    recorded_backbone,
)
from tfrecords.pictures.headers import MAX_PIXELS, read_header
from tfrecords.pictures.image_files import ImageFolder, open_folder
from tfrecords.pictures.image_folders import ListedImages, list_images
from tfrecords.pictures.image_formats import recorded_plugins
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT, read_split_lists, readable_names
from tfrecords.pictures.name_index import AmbiguousNameError
from tfrecords.pictures.orientation import RECORDED
from tfrecords.pictures.region_boxes import SeenBoxes


@dataclass(frozen=True, kw_only=True)
class FeatureRecordsOptions:
    """Options of `build_features`. Features come from a `backbone` or from a `store`.

    Attributes:
        folder: output folder of the records.
        name: first part of the shard names.
        images: folder with the image files; only with a backbone.
        recursive: whether to include images in subfolders, named `folder/file`.
        splits: split -> file with its image names, one per line; if empty, every image of the
            folder or the store is in a single split `all`.
        backbone: the network that encodes the images.
        store: precomputed features.
        features: crops and features of the network; with a store, only `unit_norm` and `dtype`
            apply.
        store_grid: stores the feature map in addition to its mean; only with a backbone.
        regions: boxes over which the feature map is averaged; None stores no regions.
        max_pixels: images with more declared pixels are skipped.
        shards: shards per split (at most one per image). An interrupted build resumes at the first
            missing shard.
        runner: local processes or Apache Beam; the records do not depend on it.
        overwrite: replaces records built with other options.
        strict: raises an error for an image that would be skipped.
    """

    folder: Path
    name: str = "features"
    images: Path | None = None
    recursive: bool = True
    splits: Mapping[str, Path] = field(default_factory=dict)
    backbone: BackboneOptions | None = None
    store: FeatureStore | None = None
    features: FeatureOptions = DEFAULT_FEATURES
    store_grid: bool = False
    regions: RegionOptions | None = None
    max_pixels: int = MAX_PIXELS
    shards: int = 8
    runner: Runner = IN_THIS_PROCESS
    overwrite: bool = False
    strict: bool = False


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
    shapes = _shapes(options)
    every_name = list(itertools.chain(*listed.splits.values()))
    converted: Counter[str] = Counter()
    seen = read_seen_boxes(options.regions, every_name, converted)
    boxes = options.regions is not None
    if options.store is not None:
        boxes = stores_boxes(options.store, every_name)
    started = time.time()
    records = write_dataset(
        folder=options.folder,
        kind="features",
        name=options.name,
        splits={
            split: _jobs(options, rows, every_name, seen, boxes=boxes)
            for split, rows in listed.splits.items()
        },
        features=lambda: _record_features(shapes, options, boxes=boxes),
        options={
            **_recorded_options(options, shapes),
            **(recorded_plugins(every_name) if options.images else {}),
        },
        sources=_sources(options),
        skipped=listed.skipped,
        dropped=options.store.dropped if options.store else listed.passed_over,
        if_empty=lambda: describe_held(
            [options.images] if options.images else [],
            options.store.keys() if options.store else None,
        ),
        converted=converted,
        runner=options.runner,
        progress=progress,
        overwrite=options.overwrite,
        strict=options.strict,
    )
    _log_rate(records, started)
    return records


@dataclass(frozen=True)
class _ExtractionJob:
    """Yields the records of some image files, and a `Skip` for each unreadable one."""

    images: ImageFolder
    names: tuple[str, ...]
    backbone: BackboneOptions
    features: FeatureOptions
    store_grid: bool
    regions: tuple[SeenBoxes, ...] | None

    def __call__(self) -> Iterator[ShardItem]:
        # Import TensorFlow in the process that writes, not in the one that plans.
        from tfrecords.pictures.image_reading import read_images

        for item in read_images(
            self.images.read,
            self.names,
            backbone=self.backbone,
            features=self.features,
            store_grid=self.store_grid,
            max_pixels=self.images.max_pixels,
            regions=self.regions,
        ):
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
        raise InputError("features come from a backbone or from stored ones: give one of the two")
    for name in ("max_pixels", "shards"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}={getattr(options, name)} must be at least 1")
    check_regions(options.regions, options.backbone, options.features)
    if options.store is not None:
        view = options.features
        if options.store_grid or view != FeatureOptions(unit_norm=view.unit_norm, dtype=view.dtype):
            raise InputError(
                "stored features are taken as they are: grid, crops, short_side and "
                "views are for a backbone"
            )
        if options.images:
            raise InputError("stored features need no folder of images")
        return
    if options.images is None:
        raise InputError("a backbone needs a folder of images")
    check_image_folder(options.images)
    if options.store_grid and options.features.crops > 1:
        raise InputError("the maps of 10 crops have no common grid: take 1 crop, or no grid")
    if options.features.grid and not options.store_grid:
        raise InputError("grid is the size of stored maps: give store_grid too")


def _listed(options: FeatureRecordsOptions) -> ListedImages:
    if options.images is not None:
        return list_images(options.images, options.splits, recursive=options.recursive)
    if options.splits:
        return ListedImages(read_split_lists(options.splits))
    assert options.store is not None
    found, skipped = readable_names(options.store.keys())
    return ListedImages({ALL_IMAGES_SPLIT: found}, skipped)


def _shapes(options: FeatureRecordsOptions) -> Shapes:
    """Returns the shape of each kind of feature to be stored; None is a variable size."""
    if options.store is not None:
        return options.store.shapes
    assert options.backbone is not None
    from tfrecords.pictures.extraction import cached_extractor

    extractor = cached_extractor(options.backbone, options.features)
    shapes: dict[str, tuple[int | None, ...]] = {"global_feature": (extractor.feature_size,)}
    if options.store_grid:
        if extractor.grid_shape is None:
            raise InputError(
                f"{options.backbone.name} (layer {options.backbone.layer or 'last'}) gives vectors "
                "and no feature map: leave store_grid out"
            )
        shapes["grid_feature"] = extractor.grid_shape
    if options.regions is not None:
        shapes["region_feature"] = region_shape(extractor)
    return shapes


def _jobs(
    options: FeatureRecordsOptions,
    names: Sequence[str],
    every_name: Collection[str],
    seen: Mapping[str, SeenBoxes] | None,
    *,
    boxes: bool,
) -> list[ShardJob]:
    shards = min(options.shards, len(names))
    parts = [tuple(names[shard::shards]) for shard in range(shards)]
    if options.store is not None:
        return [_StoreJob(options.store, part, options.features, boxes) for part in parts]
    assert options.images is not None and options.backbone is not None
    images = open_folder(
        options.images, every_name, recursive=options.recursive, max_pixels=options.max_pixels
    )
    return [
        _ExtractionJob(
            images,
            part,
            options.backbone,
            options.features,
            options.store_grid,
            boxes_of_names(seen, part),
        )
        for part in parts
    ]


def _record_features(shapes: Shapes, options: FeatureRecordsOptions, *, boxes: bool) -> Any:
    """Returns the TFDS description (`FeaturesDict`) of the records."""
    import tensorflow_datasets as tfds

    features: dict[str, Any] = {
        "image_id": tfds.features.Text(),
        "height": tfds.features.Scalar(np.int64),
        "width": tfds.features.Scalar(np.int64),
        **{kind: raw_feature(shape, options.features.dtype) for kind, shape in shapes.items()},
    }
    if boxes:
        features["boxes"] = tfds.features.Tensor(shape=(None, 4), dtype=np.float32)
    return tfds.features.FeaturesDict(features)


def _recorded_options(options: FeatureRecordsOptions, shapes: Shapes) -> dict[str, Any]:
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
        **(RECORDED if options.images else {}),
        "shards": options.shards,
    }


def _sources(options: FeatureRecordsOptions) -> list[Path]:
    sources = [*options.splits.values(), *region_sources(options.regions)]
    if options.store is not None:
        return [*options.store.paths, *sources]
    if options.images is not None:
        sources.insert(0, options.images)
    if options.backbone and options.backbone.weights_file:
        sources.append(options.backbone.weights_file)
    preset = Path(options.backbone.preset) if options.backbone and options.backbone.preset else None
    if preset is not None and preset.is_dir():
        sources.append(preset)
    return sources


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
