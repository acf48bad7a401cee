"""Colors of detected objects and of what surrounds them, by simple statistics of their pixels.

Captions mention the color of an animal's coat ("a brown dog") and striking colors of clothes and
things ("a red shirt"), rarely others: few say that a jacket is gray. Therefore animals have the
colors of coats, and all other objects have bright colors only. Surroundings that are green are
mostly grass, and bright ground without color is mostly snow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.region_boxes import WHOLE_IMAGE

COAT_COLORS = ("black", "white", "brown")
BRIGHT_COLORS = ("red", "green", "blue", "yellow", "pink", "purple")
# `orange` in captions is mostly the fruit.
COLORS = (*COAT_COLORS, *BRIGHT_COLORS)
_UNNAMED = ("gray", "orange")
GRASS, SNOW = "grass", "snow"
# Classes of `colors_of_image`, in the order of their ids, which start at 1.
COLOR_CLASSES = (*COLORS, GRASS, SNOW)
# Classes of COCO and Open Images.
ANIMALS = frozenset(
    (
        *("alpaca", "animal", "bear", "bird", "brown bear", "bull", "camel", "cat"),
        *("cattle", "chicken", "cow", "dog", "donkey", "duck", "elephant", "fox"),
        *("goat", "goose", "hamster", "horse", "kangaroo", "lion", "monkey", "mouse"),
        *("mule", "otter", "owl", "panda", "penguin", "pig", "polar bear", "rabbit"),
        *("raccoon", "sheep", "squirrel", "swan", "tiger", "turkey", "zebra"),
    )
)
# Surroundings that are a smaller part of the image are ignored.
_LEAST_SURROUNDINGS = 0.01
# Only the largest objects of an image are described by color.
_LARGEST = 3
# Part of a box whose pixels count: ymin, xmin, ymax, xmax as fractions of the box. Of a person the
# clothes of the upper body, of others the middle.
_MIDDLE = (0.25, 0.25, 0.75, 0.75)
_UPPER_BODY = (0.2, 0.3, 0.6, 0.7)
_PEOPLE = frozenset(("person", "man", "woman", "boy", "girl"))


class _Hsv(NamedTuple):
    """Pixels: hue in degrees, saturation and value in 0..1, float32[H, W] each."""

    hue: np.ndarray
    saturation: np.ndarray
    value: np.ndarray


class _Range(NamedTuple):
    """A color as ranges of hue (degrees, may wrap around 360), saturation and value (0..1)."""

    color: str
    hue: tuple[float, float] = (0, 360)
    saturation: tuple[float, float] = (0, 1)
    value: tuple[float, float] = (0, 1)

    def contains(self, pixels: _Hsv) -> np.ndarray:
        """Returns bool[H, W], whether the pixels have the color."""
        (low, high), hue = self.hue, pixels.hue
        inside = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
        inside &= (pixels.saturation >= self.saturation[0]) & (
            pixels.saturation <= self.saturation[1]
        )
        return inside & (pixels.value >= self.value[0]) & (pixels.value <= self.value[1])


# In this order: a pixel has the first color whose ranges contain it.
_RANGES = (
    _Range("black", value=(0, 0.2)),
    _Range("black", saturation=(0, 0.35), value=(0, 0.3)),
    _Range("white", saturation=(0, 0.18), value=(0.72, 1)),
    _Range("gray", saturation=(0, 0.15)),
    _Range("pink", hue=(300, 345), saturation=(0.2, 1), value=(0.4, 1)),
    _Range("pink", hue=(340, 12), saturation=(0.2, 0.5), value=(0.7, 1)),
    _Range("red", hue=(345, 12), saturation=(0.5, 1), value=(0.3, 1)),
    _Range("orange", hue=(12, 40), saturation=(0.7, 1), value=(0.6, 1)),
    _Range("yellow", hue=(40, 68), saturation=(0.5, 1), value=(0.55, 1)),
    _Range("brown", hue=(0, 50), saturation=(0.2, 1), value=(0.2, 0.75)),
    _Range("brown", hue=(0, 50), saturation=(0.3, 1), value=(0.75, 1)),
    _Range("green", hue=(65, 170), saturation=(0.2, 1)),
    _Range("blue", hue=(170, 262), saturation=(0.25, 1)),
    _Range("purple", hue=(262, 300), saturation=(0.25, 1)),
)
_NAMED = (*COLORS, *_UNNAMED)
# Not contained: a saturation of exactly 0.2, which is 51 of 255.
_GRASS = _Range(GRASS, hue=(40, 160), saturation=(0.201, 1), value=(0.15, 1))
_SNOW = _Range(SNOW, saturation=(0, 0.199), value=(0.75, 1))


def color_shares(pixels: np.ndarray) -> dict[str, float]:
    """Returns the share of each color in pixels uint8[H, W, 3] (RGB); the rest has no color."""
    hsv = _to_hsv(pixels)
    found = np.full(hsv.hue.shape, -1)
    for own in _RANGES:
        found[own.contains(hsv) & (found < 0)] = _NAMED.index(own.color)
    counts = np.bincount(found[found >= 0], minlength=len(_NAMED))
    return dict(zip(_NAMED, (counts / found.size).tolist(), strict=True))


def _to_hsv(pixels: np.ndarray) -> _Hsv:
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV"), np.float32) / 255
    return _Hsv(hsv[..., 0] * 360, hsv[..., 1], hsv[..., 2])


def colors_of_image(image: np.ndarray, boxes: np.ndarray, class_names: Sequence[str]) -> Detections:
    """Finds the colors of the largest objects of an image, and grass and snow around all objects.

    Args:
        image: uint8[H, W, 3], RGB.
        boxes: float[N, 4], ymin, xmin, ymax, xmax in 0..1.
        class_names: [N] names of the classes.

    Returns:
        The colors of `object_colors`; then, with the whole image as the box, `grass` with the
        share of green among the pixels outside the boxes as the score, and `snow` with the share of
        bright pixels without color in the lower half of the image outside the boxes.
    """
    objects = object_colors(image, boxes, class_names)
    shares = {name: share for name, share in _surroundings(image, boxes).items() if share}
    return Detections(
        boxes=np.concatenate([objects.boxes, np.repeat(WHOLE_IMAGE, len(shares), axis=0)]),
        class_ids=np.concatenate(
            [objects.class_ids, np.array([COLOR_CLASSES.index(n) + 1 for n in shares], np.int64)]
        ),
        class_names=(*objects.class_names, *shares),
        scores=np.concatenate([objects.scores, np.array([*shares.values()], np.float32)]),
    )


def _surroundings(image: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Returns the shares of grass and snow among the pixels outside the boxes."""
    height, width = image.shape[:2]
    outside = np.ones((height, width), bool)
    for ymin, xmin, ymax, xmax in boxes.tolist():
        rows = slice(round(ymin * height), round(ymax * height))
        outside[rows, round(xmin * width) : round(xmax * width)] = False
    lower = outside.copy()
    lower[: height // 2] = False
    hsv, found = _to_hsv(image), {}
    for own, part in ((_GRASS, outside), (_SNOW, lower)):
        if part.sum() >= _LEAST_SURROUNDINGS * part.size:
            found[own.color] = float(own.contains(hsv)[part].mean())
    return found


def object_colors(image: np.ndarray, boxes: np.ndarray, class_names: Sequence[str]) -> Detections:
    """Finds the colors of the three largest objects of an image.

    Args:
        image: uint8[H, W, 3], RGB.
        boxes: float[N, 4], ymin, xmin, ymax, xmax in 0..1.
        class_names: [N] names of the classes.

    Returns:
        Each color once, with the box of the object that it is most common in and, as the score, its
        share of the pixels in the middle of that box. An object has at most one color, the one with
        the largest share; none if its class is not described by that color.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    best: dict[str, tuple[float, int]] = {}
    for place in np.argsort(-areas, kind="stable")[:_LARGEST].tolist():
        name = class_names[place].lower()
        shares = color_shares(_middle(image, boxes[place], name))
        color = max(shares, key=lambda color: shares[color])
        allowed = COAT_COLORS if name in ANIMALS else BRIGHT_COLORS
        if color in allowed and shares[color] > best.get(color, (0.0, 0))[0]:
            best[color] = shares[color], place
    found = sorted(best.items(), key=lambda item: -item[1][0])
    return Detections(
        boxes=np.asarray(boxes[[place for _, (_, place) in found]], np.float32).reshape(-1, 4),
        class_ids=np.array([COLORS.index(color) + 1 for color, _ in found], np.int64),
        class_names=tuple(color for color, _ in found),
        scores=np.array([share for _, (share, _) in found], np.float32),
    )


def _middle(image: np.ndarray, box: np.ndarray, class_name: str) -> np.ndarray:
    """Returns the pixels of the part of a box that counts, at least one."""
    part = _UPPER_BODY if class_name in _PEOPLE else _MIDDLE
    edges = []
    for axis, size in enumerate(image.shape[:2]):
        low, high = float(box[axis]), float(box[axis + 2])
        first = min(int((low + part[axis] * (high - low)) * size), size - 1)
        last = int((low + part[axis + 2] * (high - low)) * size)
        edges.append(slice(first, max(last, first) + 1))
    return np.ascontiguousarray(image[tuple(edges)])
