"""Crops of pictures for a network in the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from pipelines import pixels
from pipelines.pixels import PixelOptions

OPTIONS = PixelOptions(resize=12, crop=10, antialias=True)


def shown(options: PixelOptions, count: int = 40) -> np.ndarray:
    picture = np.random.default_rng(0).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    files = tf.fill([count], tf.io.encode_png(picture))
    seeds = pixels.crop_seeds(tf.constant([3, 7], tf.int64), files)
    return pixels.crops(files, options, seeds).numpy()


def test_half_of_the_pictures_are_mirrored_and_cropped_as_they_were() -> None:
    plain, mirrored = shown(OPTIONS), shown(dataclasses.replace(OPTIONS, mirror=True))
    turned = [bool((a == b[:, ::-1]).all()) for a, b in zip(plain, mirrored, strict=True)]
    for a, b, is_turned in zip(plain, mirrored, turned, strict=True):
        assert is_turned or (a == b).all()
    assert 8 < sum(turned) < 32
    # Whether one is mirrored says nothing of where it was cropped.
    places = {(tuple(a[0, 0]), t) for a, t in zip(plain, turned, strict=True)}
    assert len(places) > len({tuple(a[0, 0]) for a in plain})


def test_the_same_seeds_show_the_same_and_validation_is_not_mirrored() -> None:
    options = dataclasses.replace(OPTIONS, mirror=True)
    np.testing.assert_array_equal(shown(options), shown(options))
    files = tf.constant(
        [tf.io.encode_png(np.arange(432, dtype=np.uint8).reshape(12, 12, 3)).numpy()]
    )
    np.testing.assert_array_equal(
        pixels.crops(files, options, None), pixels.crops(files, OPTIONS, None)
    )
