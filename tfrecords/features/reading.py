"""Image files read and decoded while the network looks at those before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features.decoding import decode_all
from tfrecords.features.extraction import ImageFeatures, cached_extractor
from tfrecords.images.files import read_image
from tfrecords.writing.shards import Skip

_DECODED_AT_ONCE = 64


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
    source: Path | Callable[[str], bytes | Skip],
    names: Sequence[str],
    *,
    backbone: BackboneOptions | None,
    features: FeatureOptions,
    store_grid: bool,
    max_pixels: int,
) -> Iterator[ReadImage | Skip]:
    """Reads image files, in order, with their features.

    Args:
        source: folder of the files; or what gives the bytes of an image of that name, checked as
            by `check_image`.
        names: of the files, relative to the folder.
        backbone: whose features to take; None takes none.
        features: which of them.
        store_grid: whether the feature maps too.
        max_pixels: see `tfrecords.images.files.read_image`.

    Yields:
        The images, and a `Skip` for each file that cannot be read.

    Raises:
        InputError: see `FeatureExtractor`.
    """
    for chunk in _decoded_chunks(source, names, backbone, features, max_pixels):
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


def _decoded_chunks(
    source: Path | Callable[[str], bytes | Skip],
    names: Sequence[str],
    backbone: BackboneOptions | None,
    features: FeatureOptions,
    max_pixels: int,
) -> Iterator[list[ReadImage | Skip]]:
    read = (
        partial(read_image, source, max_pixels=max_pixels) if isinstance(source, Path) else source
    )
    size = backbone.image_size if backbone else None
    step = max(_DECODED_AT_ONCE, backbone.batch_size if backbone else 0)
    step = max(1, step // features.crops)

    def decode(start: int) -> list[ReadImage | Skip]:
        found = [read(name) for name in names[start : start + step]]
        pixels = iter(
            decode_all(
                [data for data in found if isinstance(data, bytes)],
                size,
                short_side=features.short_side,
                crops=features.crops,
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
        for start in range(0, len(names), step):
            following = pool.submit(decode, start)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
