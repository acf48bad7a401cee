"""Random views of images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.pictures.feature_options import FeatureOptions, ViewOptions
from tfrecords.pictures.views import View, cut_view, random_views


@settings(max_examples=100, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    name=st.text(max_size=5),
    squashed=st.booleans(),
    least=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_views_lie_inside_and_are_as_large_as_asked(height, width, name, squashed, least):
    options = ViewOptions(count=3, least_area=least)
    found = random_views(options, name, height, width, squashed=squashed)
    assert found == random_views(options, name, height, width, squashed=squashed)
    more = ViewOptions(count=5, least_area=least)
    assert found == random_views(more, name, height, width, squashed=squashed)[:3]
    for view in found:
        assert 0 <= view.top <= height - view.height and view.height >= 1
        assert 0 <= view.left <= width - view.width and view.width >= 1
        if squashed and min(height, width) > 50:
            # Half a pixel of rounding on each side.
            assert (view.height + 1) * (view.width + 1) >= least * height * width
            ratio = view.width / view.height * height / width
            assert 0.72 <= ratio <= 1.39


def test_what_is_drawn():
    options = ViewOptions(count=4)
    views = [
        view
        for number in range(250)
        for view in random_views(options, f"{number}.jpg", 400, 600, squashed=True)
    ]
    areas = np.array([view.height * view.width / 240_000 for view in views])
    assert 0.495 < areas.min() < 0.52 and areas.max() > 0.95 and 0.66 < areas.mean() < 0.78
    logs = [math.log(view.width / view.height / 1.5) for view in views]
    assert abs(np.mean(logs)) < 0.03
    assert 0.42 < np.mean([view.mirrored for view in views]) < 0.58
    other = ViewOptions(count=4, seed=1, mirror=False)
    seeded = random_views(other, "0.jpg", 400, 600, squashed=True)
    assert not any(view.mirrored for view in seeded)
    assert {view[:4] for view in seeded}.isdisjoint(view[:4] for view in views[:4])


def test_of_a_strip_the_middle_square_is_taken():
    for view in random_views(ViewOptions(count=4), "x", 10, 400, squashed=False):
        assert view[:4] == (0, 195, 10, 10)


def test_a_view_is_cut_resized_and_mirrored():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    view = View(3, 5, 8, 8, False)
    cut = cut_view(tf.constant(image), view, 8, "bilinear").numpy()
    np.testing.assert_array_equal(cut, image[3:11, 5:13])
    mirrored = cut_view(tf.constant(image), view._replace(mirrored=True), 8, "bilinear")
    np.testing.assert_array_equal(mirrored, cut[:, ::-1])
    assert cut_view(tf.constant(image), View(0, 0, 20, 30, False), 12, "bicubic").shape[:2] == (
        12,
        12,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "views=0 must be at least 1"),
        ({"count": 1, "least_area": 0.0}, "view_area=0.0 must be above 0"),
        ({"count": 1, "least_area": 1.5}, "view_area=1.5 must be above 0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        ViewOptions(**options)
    with pytest.raises(InputError, match="views require single crops"):
        FeatureOptions(crops=10, short_side=80, views=ViewOptions(count=1))
