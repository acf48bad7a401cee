"""Rendering of scenes, with the exact box of every object."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageDraw

from tfrecords.shapes.layout import Scene
from tfrecords.shapes.sprites import PAINTS, WHITE, Color, draw_sprite, mix
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import PLACES

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


class Box(NamedTuple):
    """An object's box in whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


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
            Box(
                max(0, (left + drawn[0]) // _OVERSAMPLING),
                max(0, (top + drawn[1]) // _OVERSAMPLING),
                min(size, -(-(left + drawn[2]) // _OVERSAMPLING)),
                min(size, -(-(top + drawn[3]) // _OVERSAMPLING)),
            )
        )
    return canvas.reduce(_OVERSAMPLING), boxes


def _background(scene: Scene, full: int, stream: Stream) -> Image.Image:
    place, night = scene.facts.place, scene.facts.night
    assert place is not None
    upper, lower = stream.pick(_NIGHT_SKIES if night else _DAY_SKIES)
    horizon = PLACES[place].horizon
    canvas = Image.new("RGB", (full, full))
    draw = ImageDraw.Draw(canvas)
    for row in range(full):
        color = mix(upper, lower, min(1.0, row / (horizon * full)))
        draw.line([(0, row), (full, row)], fill=color)
    if place == "sky":
        return canvas

    tint = stream.uniform(-0.06, 0.06)

    def shade(color: Color) -> Color:
        """Returns the color at this time of day, varied slightly per picture."""
        varied = mix(color, WHITE if tint > 0 else (0, 0, 0), abs(tint))
        return mix(varied, _NIGHT, 0.5) if night else varied

    def flat(top: float, bottom: float, color: Color) -> None:
        draw.rectangle([0, round(top * full), full, round(bottom * full)], fill=shade(color))

    def hill(x: float, width: float, top: float, color: Color) -> None:
        left, right = round((x - width / 2) * full), round((x + width / 2) * full)
        draw.ellipse([left, round(top * full), right, round((top + 0.9) * full)], shade(color))

    if place == "sea":
        flat(horizon, 1.0, (66, 146, 196))
        flat(horizon + 0.3, 1.0, (48, 122, 178))
        for _ in range(9):
            x, y = stream.uniform(0.0, 0.9), stream.uniform(horizon + 0.04, 0.96)
            _wave(draw, x, y, full, shade((126, 190, 224)))
    elif place == "meadow":
        hill(stream.uniform(0.0, 0.4), 1.1, horizon - 0.07, (150, 200, 120))
        hill(stream.uniform(0.6, 1.0), 1.2, horizon - 0.04, (138, 192, 108))
        flat(horizon + 0.05, 1.0, (124, 184, 96))
        for _ in range(12):
            x, y = stream.uniform(0.02, 0.97), stream.uniform(horizon + 0.1, 0.96)
            _tuft(draw, x, y, full, shade((96, 158, 74)))
    elif place == "road":
        flat(horizon, 1.0, (152, 196, 116))
        flat(0.7, 0.97, (106, 108, 118))
        for top in (0.7, 0.95):
            flat(top, top + 0.02, (226, 226, 220))
        offset = stream.uniform(0.0, 0.2)
        for i in range(6):
            left = round((offset + 0.2 * i - 0.2) * full)
            draw.rectangle(
                [left, round(0.825 * full), left + round(0.1 * full), round(0.84 * full)],
                fill=shade((240, 226, 150)),
            )
    elif place == "snow":
        hill(stream.uniform(0.0, 0.4), 1.2, horizon - 0.06, (222, 232, 244))
        hill(stream.uniform(0.6, 1.0), 1.0, horizon - 0.03, (230, 238, 247))
        flat(horizon + 0.05, 1.0, (242, 246, 251))
        for _ in range(7):
            hollow_x, hollow_y = stream.uniform(0.0, 0.9), stream.uniform(horizon + 0.12, 0.97)
            _wave(draw, hollow_x, hollow_y, full, shade((216, 226, 240)))
    else:
        flat(horizon, horizon + 0.1, (92, 170, 208))
        flat(horizon + 0.085, horizon + 0.1, (236, 246, 248))
        flat(horizon + 0.1, 1.0, (240, 216, 158))
        for _ in range(14):
            x, y = stream.uniform(0.0, 0.97), stream.uniform(horizon + 0.15, 0.97)
            dot = [round(x * full), round(y * full)]
            draw.ellipse([*dot, dot[0] + full // 60, dot[1] + full // 90], shade((218, 188, 128)))
    return canvas


def _wave(draw: ImageDraw.ImageDraw, x: float, y: float, full: int, color: Color) -> None:
    box = [round(x * full), round(y * full), round((x + 0.1) * full), round((y + 0.04) * full)]
    draw.arc(box, 200, 340, fill=color, width=max(2, full // 90))


def _tuft(draw: ImageDraw.ImageDraw, x: float, y: float, full: int, color: Color) -> None:
    foot = (round(x * full), round(y * full))
    for lean in (-0.012, 0.0, 0.012):
        tip = (round((x + lean) * full), round((y - 0.03) * full))
        draw.line([foot, tip], fill=color, width=max(2, full // 110))
