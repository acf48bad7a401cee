"""Image files read and decoded while the network looks at those before them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features.decoding import decode_all
from tfrecords.features.extraction import ImageFeatures, cached_extractor
from tfrecords.images.entries import ImageFile
from tfrecords.images.headers import MAX_PIXELS
from tfrecords.writing.shards import Skip

# Images per chunk: squares for a network are small, photographs at their full size are not.
_SQUARES_AT_ONCE, _PHOTOGRAPHS_AT_ONCE = 64, 16


class ReadImage(NamedTuple):
    """An image file that could be read whole.

    Attributes:
        place: its place in the list of names.
        data: the file's bytes.
        pixels: see `decode_all`.
        features: of this image, as records hold them; none without a backbone.
    """

    place: int
    data: bytes
    pixels: tf.Tensor
    features: dict[str, bytes]


def read_images(
    read: Callable[[str], bytes | Skip],
    names: Sequence[str],
    *,
    backbone: BackboneOptions | None,
    features: FeatureOptions,
    store_grid: bool,
    max_pixels: int,
) -> Iterator[ReadImage | Skip]:
    """Reads image files, in order, with their features.

    Args:
        read: returns the bytes of the image of a name, as `ImageFolder.read`.
        names: of the images.
        backbone: whose features to take; None takes none.
        features: which of them.
        store_grid: whether the feature maps too.
        max_pixels: see `tfrecords.images.headers`.

    Yields:
        The images, and a `Skip` for each file that cannot be read.

    Raises:
        InputError: see `FeatureExtractor`.
    """
    for chunk in decode_ahead(
        read,
        names,
        backbone.image_size if backbone else None,
        short_side=features.short_side,
        crops=features.crops,
        max_pixels=max_pixels,
        at_once=backbone.batch_size if backbone else 1,
    ):
        found: list[ReadImage] = []
        for item in chunk:
            if isinstance(item, Skip):
                yield item
            else:
                found.append(item)
        if backbone is None:
            yield from found
            continue
        extractor = cached_extractor(backbone, features)
        at_once = max(1, backbone.batch_size // features.crops)
        for start in range(0, len(found), at_once):
            batch = found[start : start + at_once]
            pixels = np.stack([item.pixels for item in batch])
            seen: ImageFeatures = extractor(pixels, with_grid=store_grid)
            for row, item in enumerate(batch):
                yield item._replace(features=seen.stored(row))


def decode_files(
    files: Sequence[ImageFile], size: int | None, *, short_side: int | None = None, crops: int = 1
) -> Iterator[ReadImage | Skip]:
    """Reads and decodes image files in order; arguments are those of `decode_all`."""
    by_name = {file.name: file for file in files}
    chunks = decode_ahead(
        lambda name: by_name[name].read(), list(by_name), size, short_side=short_side, crops=crops
    )
    return itertools.chain.from_iterable(chunks)


def decode_ahead(
    read: Callable[[str], bytes | Skip],
    names: Sequence[str],
    size: int | None,
    *,
    short_side: int | None = None,
    crops: int = 1,
    max_pixels: int = MAX_PIXELS,
    at_once: int = 1,
) -> Iterator[list[ReadImage | Skip]]:
    """Reads and decodes image files in chunks, one chunk ahead of the one that is used.

    Args:
        read: see `read_images`.
        names: see `read_images`.
        size: see `decode_all`.
        short_side: see `decode_all`.
        crops: see `decode_all`.
        max_pixels: see `decode_all`.
        at_once: images (or crops of them) that a chunk holds at least. Two chunks are in memory
            together.

    Yields:
        The images of a chunk without features, in order, a `Skip` in place of each that cannot be
        read.
    """
    least = _PHOTOGRAPHS_AT_ONCE if size is None else _SQUARES_AT_ONCE
    at_once = max(1, max(least, at_once) // crops)

    def decode(start: int) -> list[ReadImage | Skip]:
        found = [read(name) for name in names[start : start + at_once]]
        pixels = iter(
            decode_all(
                [data for data in found if isinstance(data, bytes)],
                size,
                short_side=short_side,
                crops=crops,
                max_pixels=max_pixels,
            )
        )
        chunk: list[ReadImage | Skip] = []
        for index, data in enumerate(found, start):
            if isinstance(data, Skip):
                chunk.append(data)
            elif isinstance(item := next(pixels), str):
                chunk.append(Skip(names[index], "unreadable", item[:300]))
            else:
                chunk.append(ReadImage(index, data, item, {}))
        return chunk

    with ThreadPoolExecutor(1) as pool:
        ahead: Future[list[ReadImage | Skip]] | None = None
        for start in range(0, len(names), at_once):
            following = pool.submit(decode, start)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
