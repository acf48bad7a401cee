"""Placement of the labels of boxes on a picture without overlap."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, ...]
"""ymin, xmin, ymax, xmax as fractions of a picture's height and width."""

COLORS = ((214, 39, 40), (31, 119, 180), (44, 130, 44), (190, 90, 0), (120, 80, 170))
"""RGB colors of boxes and their labels, used in turn; white text is readable on each."""

_FARTHEST = 2.5  # maximum distance of a label from its box's corner, in label heights


def place_labels(
    boxes: Sequence[Box], sizes: Sequence[tuple[float, float]], picture: tuple[float, float]
) -> list[tuple[float, float] | None]:
    """Places the label of each box near the top left corner of the box.

    If labels keep their size and their places are fractions of the picture, labels that do not
    overlap here do not overlap on a larger picture either.

    Args:
        boxes: boxes of one picture; labels of earlier ones are placed first.
        sizes: width and height of each label, in pixels.
        picture: width and height of the picture, in pixels.

    Returns:
        The left and top edge of each label, in pixels; None if there is no room for it.
    """
    taken: list[tuple[float, float, float, float]] = []
    places: list[tuple[float, float] | None] = []
    for (ymin, xmin, _, _), (width, height) in zip(boxes, sizes, strict=True):
        most_left, most_top = picture[0] - width, picture[1] - height
        corner = _clamp(xmin * picture[0], most_left), _clamp(ymin * picture[1], most_top)
        places.append(None)
        for left, top in _near(corner, width, height, most_left, most_top):
            edges = (left, top, left + width, top + height)
            if not any(_overlap(edges, other) for other in taken):
                taken.append(edges)
                places[-1] = (left, top)
                break
    return places


def _near(
    corner: tuple[float, float], width: float, height: float, most_left: float, most_top: float
) -> list[tuple[float, float]]:
    """Yields places inside the picture from the corner outwards."""
    reach = int(2 * _FARTHEST)
    shifts_down = [height / 2 * step for step in range(-reach, reach + 1)]
    shifts_right = [width / 4 * step for step in range(-4, 5)]
    farthest = _FARTHEST * height
    shifts = [(x, y) for y in shifts_down for x in shifts_right if x * x + y * y <= farthest**2]
    shifts.sort(key=lambda shift: (shift[0] ** 2 + shift[1] ** 2, shift[1] < 0, shift))
    found = ((_clamp(corner[0] + x, most_left), _clamp(corner[1] + y, most_top)) for x, y in shifts)
    return list(dict.fromkeys(found))


def _clamp(value: float, most: float) -> float:
    return max(0.0, min(value, most))


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
