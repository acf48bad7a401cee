"""Reading and decoding of image files, in parallel with the network."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tfrecords.core.examples import FeatureValue
from tfrecords.core.shards import Skip
from tfrecords.pictures.decoding import decode_or_fault
from tfrecords.pictures.extraction import FeatureExtractor, cached_extractor
from tfrecords.pictures.feature_options import (
    VIEWS,
    BackboneOptions,
    FeatureOptions,
    Interpolation,
    ViewOptions,
)
from tfrecords.pictures.headers import MAX_PIXELS, read_header
from tfrecords.pictures.named_images import ImageSource
from tfrecords.pictures.region_boxes import DetectedBoxes
from tfrecords.pictures.region_pooling import pool_regions

Item = TypeVar("Item")


class ReadImage(NamedTuple):
    """An image file that was read completely.

    Attributes:
        place: index in the list of names.
        data: the file's bytes.
        pixels: see `decode_or_fault`.
        features: encoded features of the image, of its regions (with boxes), and lists of the
            features of its views; empty without a backbone.
    """

    place: int
    data: bytes
    pixels: tf.Tensor
    features: dict[str, FeatureValue]


def read_images(
    read: Callable[[str], bytes | Skip],
    names: Sequence[str],
    *,
    backbone: BackboneOptions | None,
    features: FeatureOptions,
    store_grid: bool,
    max_pixels: int,
    regions: Sequence[DetectedBoxes] | None = None,
) -> Iterator[ReadImage | Skip]:
    """Reads image files, in order, with their features.

    Args:
        read: returns the bytes of the image with a given name, see `ImageFolder.read`.
        names: names of the images.
        backbone: network of the features; None computes no features.
        features: the features to compute.
        store_grid: whether to include the feature maps.
        max_pixels: see `tfrecords.pictures.headers`.
        regions: detected boxes of each image, over which the feature map is averaged; None computes
            no region features.

    Yields:
        The images, and a `Skip` for each unreadable file.

    Raises:
        InputError: see `FeatureExtractor`.
    """
    squares = features.crops * (1 + (features.views.count if features.views else 0))
    at_once = max(1, backbone.batch_size // squares) if backbone else 1
    batch: list[ReadImage] = []

    def flush(backbone: BackboneOptions) -> Iterator[ReadImage]:
        # Build the network only if an image can be read.
        extractor = cached_extractor(backbone, features)
        if regions is None:
            yield from _with_features(batch, extractor, store_grid, features.views)
        else:
            yield from _with_regions(batch, extractor, store_grid, regions)
        batch.clear()

    for item in decode_ahead(
        read,
        names,
        backbone.image_size if backbone else None,
        short_side=features.short_side,
        crops=features.crops,
        max_pixels=max_pixels,
        interpolation=backbone.interpolation if backbone else "bilinear",
        views=features.views,
        ahead=at_once,
    ):
        if isinstance(item, Skip) or backbone is None:
            yield item
            continue
        batch.append(item)
        if len(batch) == at_once:
            yield from flush(backbone)
    if batch and backbone is not None:
        yield from flush(backbone)


def _with_features(
    batch: Sequence[ReadImage],
    extractor: FeatureExtractor,
    store_grid: bool,
    views: ViewOptions | None,
) -> Iterator[ReadImage]:
    pixels = np.stack([item.pixels for item in batch])
    if views is None:
        extracted = extractor(pixels, with_grid=store_grid)
        for row, item in enumerate(batch):
            yield item._replace(features={**extracted.stored(row)})
        return
    each = 1 + views.count
    extracted = extractor(pixels.reshape(-1, *pixels.shape[2:]), with_grid=store_grid)
    for row, item in enumerate(batch):
        center, *others = (extracted.stored(row * each + view) for view in range(each))
        stored = {name + VIEWS: [view[name] for view in others] for name in center}
        yield item._replace(features={**center, **stored})


def _with_regions(
    batch: Sequence[ReadImage],
    extractor: FeatureExtractor,
    store_grid: bool,
    regions: Sequence[DetectedBoxes],
) -> Iterator[ReadImage]:
    extracted = extractor(
        np.stack([item.pixels for item in batch]), with_grid=store_grid, with_maps=True
    )
    assert extracted.maps is not None, "`extracted_shapes` rejects networks without maps"
    for row, item in enumerate(batch):
        boxes = regions[item.place].regions(read_header(item.data))
        vectors = pool_regions(extracted.maps[row], boxes, extractor.features)
        own: dict[str, FeatureValue] = {
            "region_feature": vectors.astype(vectors.dtype.newbyteorder("<")).tobytes(),
            "boxes": boxes.ravel(),
        }
        yield item._replace(features={**extracted.stored(row), **own})


def decode_files(
    images: Sequence[ImageSource],
    size: int | None,
    *,
    short_side: int | None = None,
    crops: int = 1,
    interpolation: Interpolation = "bilinear",
) -> Iterator[ReadImage | Skip]:
    """Reads and decodes images in order; see `decode_or_fault` for the arguments."""
    return decode_ahead(
        lambda image: image.read(),
        images,
        size,
        name=lambda image: image.name,
        short_side=short_side,
        crops=crops,
        interpolation=interpolation,
    )


def decode_ahead(
    read: Callable[[Item], bytes | Skip],
    items: Sequence[Item],
    size: int | None,
    *,
    name: Callable[[Item], str] = str,
    short_side: int | None = None,
    crops: int = 1,
    max_pixels: int = MAX_PIXELS,
    interpolation: Interpolation = "bilinear",
    views: ViewOptions | None = None,
    ahead: int = 0,
    threads: int = os.cpu_count() or 1,
) -> Iterator[ReadImage | Skip]:
    """Reads and decodes images in threads, ahead of their use.

    Args:
        read: returns the bytes of an image; called in threads.
        items: the images, usually their names.
        size: see `decode_or_fault`.
        name: returns the name of an image, for messages.
        short_side: see `decode_or_fault`.
        crops: see `decode_or_fault`.
        max_pixels: see `decode_or_fault`.
        interpolation: see `decode_or_fault`.
        views: see `decode_or_fault`.
        ahead: decoded images that wait in memory, in addition to one per thread. Full-size
            photographs (`size` of None) take much memory.
        threads: number of images read at the same time.

    Yields:
        The images without features, in order, and a `Skip` in place of each unreadable one.
    """

    def decode(place: int) -> ReadImage | Skip:
        data = read(items[place])
        if isinstance(data, Skip):
            return data
        found = decode_or_fault(
            data,
            size,
            short_side=short_side,
            crops=crops,
            max_pixels=max_pixels,
            interpolation=interpolation,
            views=views,
            name=name(items[place]),
        )
        if isinstance(found, str):
            return Skip(name(items[place]), "unreadable", found[:300])
        return ReadImage(place, data, found, {})

    waiting: deque[Future[ReadImage | Skip]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for place in range(len(items)):
                waiting.append(pool.submit(decode, place))
                if len(waiting) > threads + ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the caller may have stopped
            pool.shutdown(cancel_futures=True)
