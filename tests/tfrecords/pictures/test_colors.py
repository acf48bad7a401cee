"""Colors of objects in pictures with known colors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.language.label_maps import SHIPPED, label_map_path, read_label_map
from tfrecords.pictures.colors import (
    COLOR_CLASSES,
    color_shares,
    colors_of_image,
    object_colors,
)

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
PAINTS = {
    "black": (15, 15, 18),
    "white": (245, 243, 240),
    "gray": (128, 128, 128),
    "red": (205, 30, 30),
    "orange": (250, 130, 20),
    "yellow": (240, 220, 40),
    "brown": (120, 75, 40),
    "green": (40, 140, 50),
    "blue": (40, 80, 190),
    "purple": (120, 50, 170),
    "pink": (250, 150, 190),
}


def painted(color: str, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), PAINTS[color], np.uint8)


@pytest.mark.parametrize("color", PAINTS)
def test_a_paint_has_its_color(color: str) -> None:
    shares = color_shares(painted(color))
    assert shares[color] == 1.0 and sum(shares.values()) == 1.0


def test_animals_have_coats_and_things_bright_colors() -> None:
    def colors(color: str, class_name: str) -> tuple[str, ...]:
        return object_colors(painted(color), WHOLE, [class_name]).class_names

    assert colors("brown", "Dog") == ("brown",) and colors("white", "polar bear") == ("white",)
    assert colors("green", "dog") == colors("gray", "cat") == ()
    assert colors("red", "person") == ("red",) and colors("blue", "car") == ("blue",)
    assert colors("black", "person") == colors("brown", "chair") == colors("gray", "car") == ()


def test_each_color_has_the_box_where_it_is_most_common() -> None:
    image = painted("gray", 100, 100)
    image[10:50, 10:50] = PAINTS["red"]
    image[60:90, 60:70] = PAINTS["red"]  # half of the middle of the second box
    image[60:90, 5:35] = PAINTS["brown"]
    boxes = np.array(
        [[0.1, 0.1, 0.5, 0.5], [0.6, 0.55, 0.9, 0.75], [0.6, 0.05, 0.9, 0.35]], np.float32
    )
    found = object_colors(image, boxes, ["car", "car", "dog"])
    assert found.class_names == ("red", "brown")
    np.testing.assert_array_equal(found.boxes, boxes[[0, 2]])
    np.testing.assert_array_equal(found.scores, [1.0, 1.0])
    assert found.class_ids.tolist() == [
        COLOR_CLASSES.index("red") + 1,
        COLOR_CLASSES.index("brown") + 1,
    ]
    second = object_colors(image, boxes[1:2], ["car"])
    assert second.class_names == ("red",) and 0.5 < second.scores[0] < 1.0


def test_the_smallest_of_four_objects_is_left_out() -> None:
    image = painted("gray", 100, 100)
    image[:10, :10] = PAINTS["red"]
    small = [[0.0, 0.0, 0.1, 0.1]]
    large = [[0.2, 0.2, 0.2 + side, 0.9] for side in (0.5, 0.6, 0.7)]
    assert object_colors(image, np.array(small, np.float32), ["car"]).class_names == ("red",)
    found = object_colors(image, np.array(small + large, np.float32), ["car"] * 4)
    assert found.class_names == () and found.boxes.shape == (0, 4)


def test_the_clothes_of_a_person_are_in_the_upper_body() -> None:
    image = painted("gray", 100, 40)
    image[20:60] = PAINTS["blue"]  # a shirt
    image[60:] = PAINTS["green"]
    assert object_colors(image, WHOLE, ["person"]).class_names == ("blue",)
    assert object_colors(image, WHOLE, ["person"]).scores[0] > 0.9


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.tuples(*[st.floats(0, 1, width=32)] * 4),
    st.sampled_from(["dog", "person", "car"]),
)
def test_any_box_has_pixels_and_shares_sum_to_at_most_one(
    height: int, width: int, edges: tuple[float, ...], class_name: str
) -> None:
    top, bottom = sorted(edges[:2])
    left, right = sorted(edges[2:])
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    found = object_colors(image, np.array([[top, left, bottom, right]], np.float32), [class_name])
    assert len(found.scores) <= 1 and (found.scores <= 1).all()
    assert sum(color_shares(image).values()) <= 1 + 1e-9


def test_the_shipped_label_map_has_these_colors() -> None:
    found = read_label_map(label_map_path("colors"))
    assert found.classes == dict(enumerate(COLOR_CLASSES, start=1))
    assert str(label_map_path("other.txt")) == "other.txt" and set(SHIPPED) == {"colors"}


def test_green_surroundings_are_grass_and_bright_ground_is_snow() -> None:
    image = painted("green", 100, 100)
    image[:40] = PAINTS["blue"]
    image[80:] = PAINTS["white"]
    dog = np.array([[0.5, 0.0, 0.8, 1.0]], np.float32)
    image[50:80] = PAINTS["brown"]
    found = colors_of_image(image, dog, ["dog"])
    assert found.class_names == ("brown", "grass", "snow")
    # Outside the dog are 70 rows, 10 of them green; in the lower half only the 20 white ones.
    np.testing.assert_allclose(found.scores, [1.0, 1 / 7, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(found.boxes[1:], np.repeat(WHOLE, 2, axis=0))
    assert [COLOR_CLASSES[number - 1] for number in found.class_ids] == ["brown", "grass", "snow"]


def test_surroundings_need_pixels_outside_the_boxes() -> None:
    green = painted("green", 100, 100)
    assert colors_of_image(green, WHOLE, ["dog"]).class_names == ()
    nearly = np.array([[0.0, 0.0, 0.995, 1.0]], np.float32)
    assert colors_of_image(green, nearly, ["dog"]).class_names == ()
    # Without any object, the whole image surrounds.
    none = colors_of_image(green, np.zeros((0, 4), np.float32), [])
    assert none.class_names == ("grass",) and none.scores == [1.0]
