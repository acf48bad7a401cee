"""Crops of pictures, for a network inside the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipelines.inputs import pixels
from pipelines.inputs.pixels import Pixels

OPTIONS = Pixels(resize=12, crop=10, antialias=True)


def shown(options: Pixels, count: int = 40) -> np.ndarray:
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
    # Mirroring is independent of the crop position.
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


def test_crops_of_many_sizes_show_no_less_than_their_area() -> None:
    # Brightness encodes the position, so that the crop shows its own position and size.
    side, options = 40, Pixels(resize=40, crop=20, antialias=True, least_area=0.5)
    y, x = np.mgrid[:side, :side].astype(np.uint8)
    files = tf.fill([200], tf.io.encode_png(np.stack([5 * y, 5 * x, 0 * x], axis=-1)))
    seeds = pixels.crop_seeds(tf.constant([3, 7], tf.int64), files)
    found = pixels.crops(files, options, seeds).numpy()
    assert found.shape == (200, 20, 20, 3)
    # The distance between the centers of the outermost cells is 19/20 of the crop.
    height, width = ((found[:, -1, -1, i] - found[:, 0, 0, i]) / 5 * 20 / 19 for i in (0, 1))
    areas = height * width / side**2
    assert 0.45 < areas.min() < 0.6 and 0.85 < areas.max() < 1.05
    # Rounding to whole pixels, at least 24 per side, changes the aspect ratio by a few percent.
    shapes = width / height
    assert 0.7 < shapes.min() < 0.85 and 1.2 < shapes.max() < 1.43
    np.testing.assert_array_equal(found, pixels.crops(files, options, seeds))
    center = pixels.crops(files[:1], options, None)
    whole = pixels.crops(files[:1], dataclasses.replace(options, least_area=1.0), None)
    np.testing.assert_array_equal(center, whole)


@pytest.mark.parametrize("bad", [{"least_area": 0.0}, {"least_area": 1.5}, {"crop": 13}])
def test_impossible_crops_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        dataclasses.replace(OPTIONS, **bad)
