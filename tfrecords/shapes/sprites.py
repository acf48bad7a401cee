"""Drawings of all kinds of things, as strokes on sprites of their kinds' proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from PIL import Image, ImageDraw

from tfrecords.shapes.world import PAINTS, Color

Point = tuple[float, float]
# A color, or the share by which the thing's paint is lighter (positive) or darker (negative).
Tone = Color | float

WHITE: Color = (252, 252, 250)
_SHADOW: Color = (24, 20, 40)
_INK: Color = (52, 52, 64)
_BROWN: Color = (122, 74, 34)
_WOOD: Color = (138, 92, 54)
_GLASS: Color = (196, 228, 246)
_GOLD: Color = (255, 205, 52)
_LEAVES: Color = (62, 134, 62)
_STEM: Color = (46, 118, 52)
_GRAY: Color = (204, 204, 212)
_MIST: Color = (206, 214, 226)
_WING: Color = (78, 54, 48)
_BODY: Color = (112, 78, 62)
_STRIPE: Color = (204, 66, 58)
_SKIN: Color = (84, 106, 134)
_PAINT, _EDGE = 0.0, -0.35


def mix(first: Color, second: Color, share: float) -> Color:
    """Returns `first` mixed with a share (0 to 1) of `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _toned(color: Color, tone: Tone) -> Color:
    """Returns the tone itself if it is a color, or `color` lightened or darkened by it."""
    if isinstance(tone, tuple):
        return tone
    return mix(color, WHITE, tone) if tone > 0 else mix(color, _SHADOW, -tone)


class Stroke(NamedTuple):
    """One step of a drawing.

    Attributes:
        shape: a `polygon` or `line` through all points; or shapes in boxes, each of two points
            (left top and right bottom): `ellipse`, `box` or `chord` of an ellipse.
        points: positions as fractions of the sprite's width and height; or as text in percent, like
            the points of an SVG polygon: `"4,8 17,8 32,46"`.
        fill: color of the area, or of the line.
        edge: color of the outline.
        width: width of a `line` relative to outlines.
        radius: radius of a `box`'s corners as a fraction of the sprite's width.
        angles: start and end of a `chord` in degrees, clockwise from the right.
    """

    shape: Literal["polygon", "line", "ellipse", "box", "chord"]
    points: str | Sequence[Point]
    fill: Tone | None
    edge: Tone | None = None
    width: float = 1.0
    radius: float = 0.0
    angles: tuple[int, int] = (180, 360)


def draw_sprite(kind: str, paint: Color, width: int, height: int) -> Image.Image:
    """Draws a thing on a transparent picture.

    Args:
        kind: a key of `DRAWINGS`.
        paint: color of the thing, without effect on kinds that are not painted.
        width: width of the sprite in pixels.
        height: height of the sprite in pixels.

    Returns:
        An RGBA picture.
    """
    sprite = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(sprite)
    thin = max(2, round(min(width, height) * 0.035))
    for shape, points, fill_tone, edge_tone, thickness, radius, angles in DRAWINGS[kind]:
        if fill_tone == _GOLD and paint == PAINTS["yellow"]:
            fill_tone = _BROWN
        fill = None if fill_tone is None else _toned(paint, fill_tone)
        edge = None if edge_tone is None else _toned(paint, edge_tone)
        at = [
            (round(x * (width - 1)), round(y * (height - 1)))
            for x, y in (_parse(points) if isinstance(points, str) else points)
        ]
        if shape == "polygon":
            draw.polygon(at, fill=fill)
            if edge:
                draw.line([*at, *at[:2]], fill=edge, width=thin, joint="curve")
        elif shape == "line":
            draw.line(at, fill=fill, width=max(2, round(thin * thickness)), joint="curve")
        else:
            outline = thin if edge else 0
            for box in zip(at[::2], at[1::2], strict=True):
                if shape == "ellipse":
                    draw.ellipse(box, fill, edge, outline)
                elif shape == "box":
                    draw.rounded_rectangle(box, radius * width, fill, edge, outline)
                else:
                    draw.chord(box, *angles, fill, edge, outline)
    return sprite


def _parse(points: str) -> list[Point]:
    pairs = (pair.split(",") for pair in points.split())
    return [(float(x) / 100, float(y) / 100) for x, y in pairs]


def _around(
    x: float, y: float, radii: Sequence[Point], count: int, start: float = -90.0
) -> list[Point]:
    """Returns points evenly around a center.

    Args:
        x: horizontal position of the center, as a fraction.
        y: vertical position of the center, as a fraction.
        radii: horizontal and vertical radius, taken in turn by the points.
        count: number of points.
        start: angle of the first point in degrees, clockwise from the right.
    """
    points = []
    for i in range(count):
        angle = math.radians(start + 360.0 * i / count)
        across, down = radii[i % len(radii)]
        points.append((x + across * math.cos(angle), y + down * math.sin(angle)))
    return points


def _discs(centers: Sequence[Point], across: float, down: float) -> list[Point]:
    """Returns the boxes of equal ellipses, by their centers and radii."""
    return [
        corner for x, y in centers for corner in ((x - across, y - down), (x + across, y + down))
    ]


def _row(lefts: Sequence[float], top: float, width: float, bottom: float) -> list[Point]:
    """Returns equal boxes next to each other."""
    return [corner for x in lefts for corner in ((x, top), (x + width, bottom))]


def _band(index: int) -> list[Point]:
    """Returns the outline of a band of the rainbow, counted from outside."""
    width = 0.055
    inset = 0.01 + index * width
    outer = (0.5 - inset, 0.96 - 2 * inset)
    inner = (0.5 - inset - width, 0.96 - 2 * (inset + width))
    arcs = [_around(0.5, 0.98, [radii], 96, 180.0)[:49] for radii in (outer, inner)]
    return [*arcs[0], *reversed(arcs[1])]


def _stripe(top: float, bottom: float) -> list[Point]:
    """Returns the outline of a stripe on the lighthouse, which is narrower at the top."""
    slope = 0.16 / 0.69
    high, low = slope * (top - 0.24), slope * (bottom - 0.24)
    return [(0.3 - high, top), (0.7 + high, top), (0.7 + low, bottom), (0.3 - low, bottom)]


# Sums like 0.4 + 0.02 keep the rounding of pictures made before: 0.42 is a slightly smaller number.
DRAWINGS: dict[str, tuple[Stroke, ...]] = {
    "airplane": (
        Stroke("polygon", "4,8 17,8 32,46 12,52", _PAINT, _EDGE),
        Stroke("polygon", "40,46 50,6 60,6 66,46", 0.25, _EDGE),
        Stroke("ellipse", "6,34 97,74", _PAINT, _EDGE),
        Stroke("polygon", "40,58 30,96 42,96 68,58", 0.25, _EDGE),
        Stroke("ellipse", _row((0.3, 0.42, 0.54, 0.66), 0.43, 0.07, 0.55), _GLASS),
        Stroke("chord", "76,40 95,68", _GLASS, angles=(200, 360)),
    ),
    "ball": (
        Stroke("ellipse", "2,2 98,98", _PAINT, _EDGE),
        Stroke("chord", "5,5 95,95", -0.15, angles=(20, 160)),
        Stroke("polygon", "6,42 94,42 94,58 6,58", WHITE),
        Stroke("ellipse", "2,2 98,98", None, _EDGE),
        Stroke("ellipse", "24,14 42,30", 0.7),
    ),
    "balloon": (
        Stroke("line", "50,70 46,80 54,88 50,99", _INK),
        Stroke("polygon", "50,62 38,72 62,72", -0.2, _EDGE),
        Stroke("ellipse", "3,2 97,67", _PAINT, _EDGE),
        Stroke("ellipse", "22,10 42,26", 0.7),
    ),
    "bird": (
        Stroke("polygon", "2,38 30,50 24,68 2,66", _WING, _toned(_WING, _EDGE)),
        Stroke("ellipse", "16,40 80,86 62,26 90,66", _BODY, _toned(_BODY, _EDGE)),
        Stroke("polygon", "87,40 99,48 87,56", _GOLD),
        Stroke("polygon", "36,56 26,2 44,8 64,56", _WING, _toned(_WING, _EDGE)),
        Stroke("ellipse", "75,36 81,46", WHITE),
        Stroke("ellipse", "77,38 81,45", _INK),
    ),
    "boat": (
        Stroke("line", "47,4 47,72", _WOOD, width=1.3),
        Stroke("polygon", "52,5 52,62 92,62", WHITE, (176, 176, 190)),
        Stroke("polygon", "42,16 42,62 12,62", (236, 236, 240), (176, 176, 190)),
        Stroke("polygon", "2,68 98,68 82,97 18,97", _PAINT, _EDGE),
        Stroke("line", "8,77 92,77", 0.6),
    ),
    "bus": (
        Stroke("box", "2,3 98,86", _PAINT, _EDGE, radius=0.07),
        Stroke("box", _row((0.08, 0.27, 0.46, 0.65), 0.15, 0.15, 0.43), _GLASS, _EDGE),
        Stroke("box", "84,15 95,72", _GLASS, _EDGE),
        Stroke("line", "5,60 80,60", 0.6),
        Stroke("ellipse", _discs([(0.24, 0.82), (0.72, 0.82)], 0.09, 0.17), _INK),
        Stroke("ellipse", _discs([(0.24, 0.82), (0.72, 0.82)], 0.09 * 0.45, 0.17 * 0.45), _GRAY),
    ),
    "car": (
        Stroke("polygon", "22,46 34,5 68,5 82,46", _PAINT, _EDGE),
        Stroke("polygon", "30,42 38.5,13 49,13 49,42", _GLASS),
        Stroke("polygon", "54,42 54,13 64.5,13 74,42", _GLASS),
        Stroke("box", "2,42 98,83", _PAINT, _EDGE, radius=0.07),
        Stroke("ellipse", "89,50 96,62", (255, 246, 190)),
        Stroke("ellipse", _discs([(0.24, 0.8), (0.76, 0.8)], 0.1, 0.19), _INK),
        Stroke("ellipse", _discs([(0.24, 0.8), (0.76, 0.8)], 0.1 * 0.45, 0.19 * 0.45), _GRAY),
    ),
    "cloud": (
        Stroke("ellipse", "2,40 42,94 20,6 64,80 50,22 90,86 60,46 98,94", _MIST),
        Stroke("box", "20,60 80,94", _MIST),
        Stroke("ellipse", [(0.04, 0.4 + 0.02), (0.4, 0.84)], WHITE),
        Stroke("ellipse", [(0.22, 0.08), (0.62, 0.8 - 0.1)], WHITE),
        Stroke("ellipse", "52,24 88,76 62,48 96,84", WHITE),
        Stroke("box", "20,55 80,84", WHITE),
    ),
    "fish": (
        Stroke("polygon", "30,50 3,12 10,50 3,88", -0.15, _EDGE),
        Stroke("polygon", "42,24 50,3 74,24", -0.15, _EDGE),
        Stroke("ellipse", "20,12 98,90", _PAINT, _EDGE),
        Stroke("chord", "42,36 64,76", 0.5, angles=(40, 220)),
        Stroke("ellipse", "76,30 88,50", WHITE),
        Stroke("ellipse", "81,35 87,46", _INK),
    ),
    "flower": (
        Stroke("line", "50,50 50,99", _STEM, width=1.6),
        Stroke("ellipse", "8,68 50,82 50,76 92,90", _STEM),
        Stroke("ellipse", _discs(_around(0.5, 0.31, [(0.29, 0.18)], 6), 0.19, 0.12), _PAINT, _EDGE),
        Stroke("ellipse", "33,20.5 67,41.5", _GOLD),
    ),
    "house": (
        Stroke("box", "72,8 84,40", (150, 96, 84)),
        Stroke("box", "10,42 90,98", _PAINT, _EDGE),
        Stroke("polygon", "2,46 50,3 98,46", (112, 82, 78), (72, 52, 52)),
        Stroke("box", "42,64 60,98", _WOOD, _toned(_WOOD, _EDGE)),
        Stroke("box", _row((0.18, 0.67), 0.54, 0.16, 0.72), (255, 244, 196), _EDGE),
    ),
    "kite": (
        Stroke("line", "50,62 42,74 56,84 44,98", _INK),
        Stroke("polygon", "35,72 55,80 55,72 35,80", -0.15),
        Stroke(
            "polygon", [(0.52 - 0.1, 0.83), (0.62, 0.91), (0.62, 0.83), (0.52 - 0.1, 0.91)], -0.15
        ),
        Stroke("polygon", "50,3 95,26 50,68 5,26", _PAINT),
        Stroke("polygon", "50,3 95,26 50,26", 0.4),
        Stroke("polygon", "50,68 5,26 50,26", 0.4),
        Stroke("polygon", "50,3 50,3 50,3", _PAINT, _EDGE),  # a rounded tip
        Stroke("line", "50,3 95,26 50,68 5,26 50,3 95,26", _EDGE),
    ),
    "lighthouse": (
        Stroke("ellipse", "2,86 98,100", (128, 122, 118)),
        Stroke("polygon", "30,24 70,24 86,93 14,93", WHITE, (150, 150, 160)),
        Stroke("polygon", _stripe(0.34, 0.47), _STRIPE),
        Stroke("polygon", _stripe(0.6, 0.74), _STRIPE),
        Stroke("box", "34,11 66,22", (255, 236, 130), _INK),
        Stroke("box", "20,21 80,25", _INK),
        Stroke("polygon", "24,12 50,1 76,12", _STRIPE, _toned(_STRIPE, _EDGE)),
    ),
    "moon": (
        Stroke("ellipse", "2,2 98,98", (250, 240, 190), (226, 212, 150)),
        Stroke("ellipse", _discs([(0.34, 0.32)], 0.1, 0.1), (232, 220, 164)),
        Stroke("ellipse", _discs([(0.64, 0.56)], 0.13, 0.13), (232, 220, 164)),
        Stroke("ellipse", _discs([(0.36, 0.7)], 0.07, 0.07), (232, 220, 164)),
    ),
    "rainbow": (
        Stroke("polygon", _band(0), (226, 62, 56)),
        Stroke("polygon", _band(1), (246, 150, 50)),
        Stroke("polygon", _band(2), (252, 216, 60)),
        Stroke("polygon", _band(3), (72, 172, 84)),
        Stroke("polygon", _band(4), (60, 116, 216)),
        Stroke("polygon", _band(5), (138, 76, 186)),
    ),
    "snowman": (
        Stroke("line", "16,50 2,36", _WOOD),
        Stroke("line", "84,50 98,36", _WOOD),
        Stroke("ellipse", "8,56 92,99 18,33 82,67 27,13 73,41", WHITE, (148, 160, 184)),
        Stroke("box", "30,2 70,17 20,15 80,19", _INK),
        Stroke("ellipse", _row((0.4, 0.55), 0.22, 0.06, 0.26), _INK),
        Stroke("polygon", "48,27 78,31 48,32", (240, 130, 40)),
        Stroke("ellipse", "47,43 54,47.5 47,50 54,54.5 47,57 54,61.5", _INK),
    ),
    "star": (
        Stroke(
            "polygon",
            _around(0.5, 0.53, [(0.47, 0.5), (0.21, 0.22)], 10),
            (255, 222, 80),
            (222, 170, 30),
        ),
    ),
    "sun": (
        Stroke("polygon", _around(0.5, 0.5, [(0.48, 0.48), (0.35, 0.35)], 24), (252, 178, 38)),
        Stroke("ellipse", "20,20 80,80", (255, 216, 62), (246, 170, 32)),
    ),
    "tent": (
        Stroke("polygon", "50,6 97,96 3,96", _PAINT, _EDGE),
        Stroke("polygon", "50,6 97,96 76,96", -0.18, _EDGE),
        Stroke("polygon", "48,34 62,95 33,95", -0.6),
    ),
    "tree": (
        Stroke("polygon", "43,55 57,55 62,99 38,99", _WOOD, _toned(_WOOD, _EDGE)),
        Stroke("ellipse", "2,26 56,68 44,26 98,68 18,2 82,50", _LEAVES, _toned(_LEAVES, _EDGE)),
        Stroke("ellipse", "25,25 75,65", _LEAVES),
        Stroke("ellipse", _row([0.34], 0.16, 0.16, 0.26), _toned(_LEAVES, 0.25)),
        Stroke("ellipse", _row([0.18], 0.4, 0.16, 0.5), _toned(_LEAVES, 0.25)),
        Stroke("ellipse", _row([0.62], 0.36, 0.16, 0.36 + 0.1), _toned(_LEAVES, 0.25)),
    ),
    "umbrella": (
        Stroke("line", "50,8 50,98", _WOOD, width=1.6),
        Stroke("chord", "2,6 98,94", _PAINT, _EDGE),
        Stroke("chord", "20,6 80,94", WHITE, _EDGE),
        Stroke("chord", "38,6 62,94", _PAINT, _EDGE),
    ),
    "whale": (
        Stroke("line", "66,34 66,14 56,4", WHITE, width=1.4),
        Stroke("line", "66,34 66,14 76,4", WHITE, width=1.4),
        Stroke("polygon", "14,66 3,22 15,32 27,18 26,60", _SKIN, _toned(_SKIN, _EDGE)),
        Stroke("chord", "8,26 97,160", _SKIN, _toned(_SKIN, _EDGE)),
        Stroke("box", "8.5,86 96.5,98", _toned(_SKIN, 0.6)),
        Stroke("ellipse", "80,60 86,69", WHITE),
        Stroke("ellipse", "82,62 86,68", _INK),
    ),
}
