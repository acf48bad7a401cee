"""Random views of an image: crops, which may be mirrored."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrecords.pictures.feature_options import Interpolation, ViewOptions

# Ratios of width to height, relative to the ratio of the whole view.
_ASPECT_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10


class View(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def random_views(
    options: ViewOptions, name: str, height: int, width: int, *, squashed: bool
) -> list[View]:
    """Draws the views of an image.

    The fraction of the area is uniform in `least_area` to 1, the logarithm of the aspect ratio
    uniform in 3:4 to 4:3 (Szegedy et al. 2015). For a squashed image the ratio is relative to its
    square: the whole image has 1:1. A crop that exceeds the image is drawn again, at most ten
    times; then the largest center crop of ratio 1:1 is used.

    Args:
        options: number and distribution of the views.
        name: name of the image; together with the seed it determines the views. With a larger
            count, the first views are the same.
        height: height of the image, pixels.
        width: width of the image, pixels.
        squashed: whether the whole image is resized to a square, see `FeatureOptions`.
    """
    digest = hashlib.sha256(f"{options.seed} {name}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    whole = width / height if squashed else 1.0
    return [_random_view(options, random, height, width, whole) for _ in range(options.count)]


def _random_view(
    options: ViewOptions, random: np.random.Generator, height: int, width: int, whole: float
) -> View:
    # Every view makes the same number of draws, whether or not the first one fits.
    areas = random.uniform(options.least_area, 1, _ATTEMPTS) * height * width
    low, high = _ASPECT_RATIOS
    logs = random.uniform(math.log(low), math.log(high), _ATTEMPTS)
    place = random.uniform(size=2)
    mirrored = bool(random.uniform() < 0.5) and options.mirror
    sizes = [
        (round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio)))
        for area, ratio in zip(areas, np.exp(logs) * whole, strict=True)
    ]
    fitting = [(h, w) for h, w in sizes if 1 <= h <= height and 1 <= w <= width]
    if fitting:
        crop_height, crop_width = fitting[0]
        top = int(place[0] * (height - crop_height + 1))
        left = int(place[1] * (width - crop_width + 1))
        return View(top, left, crop_height, crop_width, mirrored)
    crop_height = max(1, min(height, round(width / whole)))
    crop_width = max(1, min(width, round(height * whole)))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return View(top, left, crop_height, crop_width, mirrored)


def cut_view(pixels: tf.Tensor, view: View, size: int, interpolation: Interpolation) -> tf.Tensor:
    """Cuts a view out of an image and resizes it with anti-aliasing.

    Args:
        pixels: uint8 [H, W, 3].
        view: a view inside the image.
        size: side of the result, pixels.
        interpolation: see `BackboneOptions`.

    Returns:
        float32 [size, size, 3] in 0..255.
    """
    part = pixels[view.top : view.top + view.height, view.left : view.left + view.width]
    part = tf.cast(part, tf.float32)
    resized = tf.image.resize(part, (size, size), method=interpolation, antialias=True)
    if view.mirrored:
        resized = tf.reverse(resized, [1])
    return tf.clip_by_value(resized, 0.0, 255.0)
