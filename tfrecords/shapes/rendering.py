"""Rendering of scenes, with the exact box of every object."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image, ImageDraw

from tfrecords.shapes.layout import Scene
from tfrecords.shapes.sprites import WHITE, draw_sprite, mix
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import PAINTS, PLACES, Color

# Left, top, right and bottom of an object in whole pixels; right and bottom are exclusive.
Box = tuple[int, int, int, int]

# Everything is drawn larger by this factor and averaged, for anti-aliasing.
_OVERSAMPLING = 4
_DAY_SKIES: tuple[tuple[Color, Color], ...] = (
    ((120, 190, 240), (214, 238, 252)),
    ((158, 208, 232), (238, 244, 236)),
    ((150, 178, 226), (252, 222, 196)),
)
_NIGHT_SKIES: tuple[tuple[Color, Color], ...] = (
    ((20, 26, 66), (58, 68, 126)),
    ((34, 24, 70), (92, 70, 132)),
)
_NIGHT: Color = (22, 26, 66)


def render(scene: Scene, size: int, stream: Stream) -> tuple[Image.Image, list[Box]]:
    """Draws a scene.

    Args:
        scene: the objects and their positions.
        size: width and height of the picture in pixels.
        stream: varies the background.

    Returns:
        The RGB picture, and for every object of the scene, in order, the smallest box with all
        pixels of the object.
    """
    full = size * _OVERSAMPLING
    canvas = _background(scene, full, stream)
    boxes = []
    for placed in scene.objects:
        thing = scene.facts.things[placed.thing]
        width, height = (max(8, round(part * full)) for part in (placed.width, placed.height))
        paint = PAINTS[thing.color] if thing.color else WHITE
        sprite = draw_sprite(thing.kind, paint, width, height)
        left, top = round(placed.left * full), round(placed.top * full)
        canvas.paste(sprite, (left, top), sprite)
        drawn = sprite.getbbox()
        assert drawn is not None
        boxes.append(
            (
                max(0, (left + drawn[0]) // _OVERSAMPLING),
                max(0, (top + drawn[1]) // _OVERSAMPLING),
                min(size, -(-(left + drawn[2]) // _OVERSAMPLING)),
                min(size, -(-(top + drawn[3]) // _OVERSAMPLING)),
            )
        )
    return canvas.reduce(_OVERSAMPLING), boxes


def _background(scene: Scene, full: int, stream: Stream) -> Image.Image:
    """Draws the picture without objects, with `full` pixels per side."""
    place, night = scene.facts.place, scene.facts.night
    assert place is not None
    upper, lower = stream.pick(_NIGHT_SKIES if night else _DAY_SKIES)
    canvas = Image.new("RGB", (full, full))
    draw = ImageDraw.Draw(canvas)
    for row in range(full):
        color = mix(upper, lower, min(1.0, row / (PLACES[place].horizon * full)))
        draw.line([(0, row), (full, row)], fill=color)
    tint = stream.uniform(-0.06, 0.06)

    def shade(color: Color) -> Color:
        """Returns the color at this time of day, varied slightly per picture."""
        varied = mix(color, WHITE if tint > 0 else (0, 0, 0), abs(tint))
        return mix(varied, _NIGHT, 0.5) if night else varied

    def pixels(left: float, top: float, right: float, bottom: float) -> list[int]:
        """Converts fractions of the picture to pixels."""
        return [round(position * full) for position in (left, top, right, bottom)]

    def hill(low: float, high: float, width: float, top: float, color: Color) -> None:
        x = stream.uniform(low, high)
        draw.ellipse(pixels(x - width / 2, top, x + width / 2, top + 0.9), shade(color))

    def band(top: float, bottom: float, color: Color) -> None:
        draw.rectangle(pixels(0, top, 1, bottom), shade(color))

    def scatter(
        count: int, left: float, top: float, right: float, bottom: float
    ) -> Iterator[tuple[float, float]]:
        for _ in range(count):
            yield stream.uniform(left, right), stream.uniform(top, bottom)

    def waves(count: int, top: float, bottom: float, color: Color) -> None:
        for x, y in scatter(count, 0.0, top, 0.9, bottom):
            arc = pixels(x, y, x + 0.1, y + 0.04)
            draw.arc(arc, 200, 340, shade(color), max(2, full // 90))

    if place == "sea":
        band(0.46, 1.0, (66, 146, 196))
        band(0.76, 1.0, (48, 122, 178))
        waves(9, 0.5, 0.96, (126, 190, 224))
    elif place == "meadow":
        hill(0.0, 0.4, 1.1, 0.49, (150, 200, 120))
        hill(0.6, 1.0, 1.2, 0.52, (138, 192, 108))
        band(0.61, 1.0, (124, 184, 96))
        for x, y in scatter(12, 0.02, 0.66, 0.97, 0.96):
            for lean in (-0.012, 0.0, 0.012):
                blade = pixels(x, y, x + lean, y - 0.03)
                draw.line(blade, shade((96, 158, 74)), max(2, full // 110))
    elif place == "road":
        band(0.5, 1.0, (152, 196, 116))
        band(0.7, 0.97, (106, 108, 118))
        band(0.7, 0.72, (226, 226, 220))
        band(0.95, 0.97, (226, 226, 220))
        offset = stream.uniform(0.0, 0.2)
        for i in range(6):
            left, top, length, bottom = pixels(offset + 0.2 * i - 0.2, 0.825, 0.1, 0.84)
            draw.rectangle([left, top, left + length, bottom], shade((240, 226, 150)))
    elif place == "snow":
        hill(0.0, 0.4, 1.2, 0.5, (222, 232, 244))
        hill(0.6, 1.0, 1.0, 0.53, (230, 238, 247))
        band(0.61, 1.0, (242, 246, 251))
        waves(7, 0.68, 0.97, (216, 226, 240))
    elif place == "beach":
        band(0.54, 0.64, (92, 170, 208))
        band(0.625, 0.64, (236, 246, 248))
        band(0.64, 1.0, (240, 216, 158))
        for x, y in scatter(14, 0.0, 0.69, 0.97, 0.97):
            left, top, _, _ = pixels(x, y, x, y)
            grain = [left, top, left + full // 60, top + full // 90]
            draw.ellipse(grain, shade((218, 188, 128)))
    return canvas
