"""Means of feature maps over boxes, against dense sampling of the interpolated map."""

from __future__ import annotations

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.pictures.feature_options import FeatureOptions
from tfrecords.pictures.region_pooling import axis_weights, pool_regions

SINGLE = FeatureOptions(dtype="float32")


def sampled(maps: np.ndarray, box: np.ndarray, count: int = 2_000) -> np.ndarray:
    """Returns the mean of `count` x `count` samples of the interpolation in a box."""
    places = (np.arange(count) + 0.5) / count
    weights = []
    for axis, (low, high) in enumerate(((box[0], box[2]), (box[1], box[3]))):
        cells = maps.shape[axis]
        at = (low + places * (high - low)) * cells - 0.5
        each = [np.interp(at, np.arange(cells), row) for row in np.eye(cells)]
        weights.append(np.mean(each, axis=1))
    return np.einsum("h,hwd,w->d", weights[0], maps, weights[1])


@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 1, 2), (2, 9, 1)])
def test_a_region_is_the_mean_of_the_map_in_its_box(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=shape).astype(np.float32)
    boxes = np.sort(rng.random((8, 2, 2)), axis=1).reshape(8, 4).astype(np.float32)
    boxes[0], boxes[1] = [0, 0, 1, 1], [0.4, 0.7, 0.401, 0.701]
    found = pool_regions(maps, boxes, SINGLE)
    assert found.shape == (8, shape[-1]) and found.dtype == np.float32
    for row, box in zip(found, boxes, strict=True):
        np.testing.assert_allclose(row, sampled(maps, box), atol=2e-3)
    # The whole image is the mean of the cells, as the stored vector of an image.
    np.testing.assert_allclose(found[0], maps.mean((0, 1)), rtol=1e-5, atol=1e-6)


def test_weights_of_cells() -> None:
    ends = np.array([0.0, 0.25, 0.5, 1.0, 0.6], np.float32)
    starts = np.array([0.0, 0.0, 0.25, 0.0, 0.6], np.float32)
    weights = axis_weights(starts, ends, 4)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights[0], [1, 0, 0, 0], atol=1e-6)  # a point on the border
    np.testing.assert_allclose(weights[1], [7 / 8, 1 / 8, 0, 0], atol=1e-6)
    np.testing.assert_allclose(weights[2], [1 / 8, 3 / 4, 1 / 8, 0], atol=1e-6)
    np.testing.assert_allclose(weights[3], [1 / 4] * 4, atol=1e-6)
    np.testing.assert_allclose(weights[4], [0, 0.1, 0.9, 0], atol=1e-3)  # at 1.9 of the centers


def test_unit_norm_and_numbers_that_are_not_finite() -> None:
    maps = np.full((2, 2, 3), 3.0, np.float32)
    maps[..., 1] = 0
    whole = np.array([[0, 0, 1, 1]], np.float32)
    unit = pool_regions(maps, whole, FeatureOptions(unit_norm=True))
    assert unit.dtype == np.float16
    np.testing.assert_allclose(unit, [[0.5**0.5, 0, 0.5**0.5]], rtol=1e-3)
    assert not pool_regions(0 * maps, whole, FeatureOptions(unit_norm=True)).any()
    maps[0, 0, 0] = 1e9
    with pytest.raises(
        InputError, match="not finite in float16; use float32, which has a larger range"
    ):
        pool_regions(maps, whole, FeatureOptions())
