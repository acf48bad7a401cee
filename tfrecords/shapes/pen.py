"""Drawing in relative coordinates of a sprite, and the colors of the world."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

PAINTS: dict[str, Color] = {
    "red": (222, 50, 46),
    "blue": (40, 92, 214),
    "green": (38, 150, 66),
    "yellow": (250, 206, 36),
    "purple": (132, 62, 182),
    "pink": (246, 128, 182),
}
WHITE: Color = (252, 252, 250)
INK: Color = (52, 52, 64)


def mix(first: Color, second: Color, share: float) -> Color:
    """Returns `first` mixed with a share (0 to 1) of `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(color: Color, share: float = 0.35) -> Color:
    """Darkens a color, for edges and shadows."""
    return mix(color, (24, 20, 40), share)


def lighter(color: Color, share: float = 0.45) -> Color:
    """Lightens a color, for highlights."""
    return mix(color, WHITE, share)


class Pen:
    """Pen on a transparent sprite whose corners are (0, 0) and (1, 1).

    Shapes with a `line` color are outlined; outlines stay inside the sprite if the shape keeps a
    distance of about 0.02 from its border.
    """

    def __init__(self, width: int, height: int) -> None:
        """Creates an empty sprite, sizes in pixels."""
        self.image = Image.new("RGBA", (width, height))
        self._draw = ImageDraw.Draw(self.image)
        self._width, self._height = width, height
        self.stroke = max(2, round(min(width, height) * 0.035))

    def _at(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        wide, high = self._width - 1, self._height - 1
        return [(round(x * wide), round(y * high)) for x, y in points]

    def polygon(self, points: Sequence[Point], fill: Color, line: Color | None = None) -> None:
        """Draws a filled polygon."""
        corners = self._at(points)
        self._draw.polygon(corners, fill=fill)
        if line:
            self._draw.line([*corners, *corners[:2]], fill=line, width=self.stroke, joint="curve")

    def ellipse(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: Color | None,
        line: Color | None = None,
    ) -> None:
        """Draws an ellipse in its box."""
        box = [xy for point in self._at([(left, top), (right, bottom)]) for xy in point]
        self._draw.ellipse(box, fill=fill, outline=line, width=self.stroke if line else 0)

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: Color,
        line: Color | None = None,
        round_by: float = 0.0,
    ) -> None:
        """Draws a rectangle; `round_by` is the corner radius relative to the sprite's width."""
        box = [xy for point in self._at([(left, top), (right, bottom)]) for xy in point]
        self._draw.rounded_rectangle(
            box,
            radius=round_by * self._width,
            fill=fill,
            outline=line,
            width=self.stroke if line else 0,
        )

    def line(self, points: Sequence[Point], fill: Color, thickness: float = 1.0) -> None:
        """Draws a line through the points, `thickness` in strokes."""
        width = max(2, round(self.stroke * thickness))
        self._draw.line(self._at(points), fill=fill, width=width, joint="curve")

    def slice(
        self,
        box: tuple[float, float, float, float],
        start: float,
        end: float,
        fill: Color,
        line: Color | None = None,
    ) -> None:
        """Draws a chord of the ellipse in `box`, angles in degrees clockwise from the right."""
        left, top, right, bottom = box
        corners = [xy for point in self._at([(left, top), (right, bottom)]) for xy in point]
        self._draw.chord(
            corners, start, end, fill=fill, outline=line, width=self.stroke if line else 0
        )


def around(
    x: float, y: float, radius_x: float, radius_y: float, count: int, start: float = -90.0
) -> list[Point]:
    """Returns `count` points evenly on an ellipse, from angle `start` (degrees, clockwise)."""
    angles = (math.radians(start + 360.0 * i / count) for i in range(count))
    return [(x + radius_x * math.cos(a), y + radius_y * math.sin(a)) for a in angles]
