"""Drawings of all kinds of things; each function fills a sprite of its kind's proportions."""

from __future__ import annotations

from collections.abc import Callable

from tfrecords.shapes.pen import INK, WHITE, Color, Pen, around, darker, lighter

_WOOD: Color = (138, 92, 54)
_GLASS: Color = (196, 228, 246)
_GOLD: Color = (255, 205, 52)
_LEAVES: Color = (62, 134, 62)


def _airplane(pen: Pen, paint: Color) -> None:
    edge = darker(paint)
    pen.polygon([(0.04, 0.08), (0.17, 0.08), (0.32, 0.46), (0.12, 0.52)], paint, edge)
    pen.polygon([(0.4, 0.46), (0.5, 0.06), (0.6, 0.06), (0.66, 0.46)], lighter(paint, 0.25), edge)
    pen.ellipse(0.06, 0.34, 0.97, 0.74, paint, edge)
    pen.polygon([(0.4, 0.58), (0.3, 0.96), (0.42, 0.96), (0.68, 0.58)], lighter(paint, 0.25), edge)
    for x in (0.3, 0.42, 0.54, 0.66):
        pen.ellipse(x, 0.43, x + 0.07, 0.55, _GLASS)
    pen.slice((0.76, 0.4, 0.95, 0.68), 200, 360, _GLASS)


def _ball(pen: Pen, paint: Color) -> None:
    pen.ellipse(0.02, 0.02, 0.98, 0.98, paint, darker(paint))
    pen.slice((0.05, 0.05, 0.95, 0.95), 20, 160, darker(paint, 0.15))
    pen.polygon([(0.06, 0.42), (0.94, 0.42), (0.94, 0.58), (0.06, 0.58)], WHITE)
    pen.ellipse(0.02, 0.02, 0.98, 0.98, None, darker(paint))
    pen.ellipse(0.24, 0.14, 0.42, 0.3, lighter(paint, 0.7))


def _balloon(pen: Pen, paint: Color) -> None:
    pen.line([(0.5, 0.7), (0.46, 0.8), (0.54, 0.88), (0.5, 0.99)], INK)
    pen.polygon([(0.5, 0.62), (0.38, 0.72), (0.62, 0.72)], darker(paint, 0.2), darker(paint))
    pen.ellipse(0.03, 0.02, 0.97, 0.67, paint, darker(paint))
    pen.ellipse(0.22, 0.1, 0.42, 0.26, lighter(paint, 0.7))


def _bird(pen: Pen, _: Color) -> None:
    body, wing = (112, 78, 62), (78, 54, 48)
    pen.polygon([(0.02, 0.38), (0.3, 0.5), (0.24, 0.68), (0.02, 0.66)], wing, darker(wing))
    pen.ellipse(0.16, 0.4, 0.8, 0.86, body, darker(body))
    pen.ellipse(0.62, 0.26, 0.9, 0.66, body, darker(body))
    pen.polygon([(0.87, 0.4), (0.99, 0.48), (0.87, 0.56)], _GOLD)
    pen.polygon([(0.36, 0.56), (0.26, 0.02), (0.44, 0.08), (0.64, 0.56)], wing, darker(wing))
    pen.ellipse(0.75, 0.36, 0.81, 0.46, WHITE)
    pen.ellipse(0.77, 0.38, 0.81, 0.45, INK)


def _boat(pen: Pen, paint: Color) -> None:
    pen.line([(0.47, 0.04), (0.47, 0.72)], _WOOD, 1.3)
    pen.polygon([(0.52, 0.05), (0.52, 0.62), (0.92, 0.62)], WHITE, (176, 176, 190))
    pen.polygon([(0.42, 0.16), (0.42, 0.62), (0.12, 0.62)], (236, 236, 240), (176, 176, 190))
    hull = [(0.02, 0.68), (0.98, 0.68), (0.82, 0.97), (0.18, 0.97)]
    pen.polygon(hull, paint, darker(paint))
    pen.line([(0.08, 0.77), (0.92, 0.77)], lighter(paint, 0.6))


def _bus(pen: Pen, paint: Color) -> None:
    pen.box(0.02, 0.03, 0.98, 0.86, paint, darker(paint), 0.07)
    for x in (0.08, 0.27, 0.46, 0.65):
        pen.box(x, 0.15, x + 0.15, 0.43, _GLASS, darker(paint))
    pen.box(0.84, 0.15, 0.95, 0.72, _GLASS, darker(paint))
    pen.line([(0.05, 0.6), (0.8, 0.6)], lighter(paint, 0.6))
    _wheel(pen, 0.24, 0.82, 0.09, 0.17)
    _wheel(pen, 0.72, 0.82, 0.09, 0.17)


def _wheel(pen: Pen, x: float, y: float, radius_x: float, radius_y: float) -> None:
    pen.ellipse(x - radius_x, y - radius_y, x + radius_x, y + radius_y, INK)
    inner_x, inner_y = radius_x * 0.45, radius_y * 0.45
    pen.ellipse(x - inner_x, y - inner_y, x + inner_x, y + inner_y, (204, 204, 212))


def _car(pen: Pen, paint: Color) -> None:
    edge = darker(paint)
    pen.polygon([(0.22, 0.46), (0.34, 0.05), (0.68, 0.05), (0.82, 0.46)], paint, edge)
    pen.polygon([(0.3, 0.42), (0.385, 0.13), (0.49, 0.13), (0.49, 0.42)], _GLASS)
    pen.polygon([(0.54, 0.42), (0.54, 0.13), (0.645, 0.13), (0.74, 0.42)], _GLASS)
    pen.box(0.02, 0.42, 0.98, 0.83, paint, edge, 0.07)
    pen.ellipse(0.89, 0.5, 0.96, 0.62, (255, 246, 190))
    _wheel(pen, 0.24, 0.8, 0.1, 0.19)
    _wheel(pen, 0.76, 0.8, 0.1, 0.19)


def _cloud(pen: Pen, _: Color) -> None:
    shade = (206, 214, 226)
    puffs = ((0.02, 0.4, 0.42, 0.94), (0.2, 0.06, 0.64, 0.8), (0.5, 0.22, 0.9, 0.86))
    low = (0.6, 0.46, 0.98, 0.94)
    for left, top, right, bottom in (*puffs, low):
        pen.ellipse(left, top, right, bottom, shade)
    pen.box(0.2, 0.6, 0.8, 0.94, shade)
    for left, top, right, bottom in (*puffs, low):
        pen.ellipse(left + 0.02, top + 0.02, right - 0.02, bottom - 0.1, WHITE)
    pen.box(0.2, 0.55, 0.8, 0.84, WHITE)


def _fish(pen: Pen, paint: Color) -> None:
    edge = darker(paint)
    pen.polygon([(0.3, 0.5), (0.03, 0.12), (0.1, 0.5), (0.03, 0.88)], darker(paint, 0.15), edge)
    pen.polygon([(0.42, 0.24), (0.5, 0.03), (0.74, 0.24)], darker(paint, 0.15), edge)
    pen.ellipse(0.2, 0.12, 0.98, 0.9, paint, edge)
    pen.slice((0.42, 0.36, 0.64, 0.76), 40, 220, lighter(paint, 0.5))
    pen.ellipse(0.76, 0.3, 0.88, 0.5, WHITE)
    pen.ellipse(0.81, 0.35, 0.87, 0.46, INK)


def _flower(pen: Pen, paint: Color) -> None:
    stem = (46, 118, 52)
    pen.line([(0.5, 0.5), (0.5, 0.99)], stem, 1.6)
    pen.ellipse(0.08, 0.68, 0.5, 0.82, stem)
    pen.ellipse(0.5, 0.76, 0.92, 0.9, stem)
    for x, y in around(0.5, 0.31, 0.29, 0.18, 6):
        pen.ellipse(x - 0.19, y - 0.12, x + 0.19, y + 0.12, paint, darker(paint))
    pen.ellipse(0.33, 0.205, 0.67, 0.415, (122, 74, 34) if paint == (250, 206, 36) else _GOLD)


def _house(pen: Pen, paint: Color) -> None:
    edge = darker(paint)
    pen.box(0.72, 0.08, 0.84, 0.4, (150, 96, 84))
    pen.box(0.1, 0.42, 0.9, 0.98, paint, edge)
    pen.polygon([(0.02, 0.46), (0.5, 0.03), (0.98, 0.46)], (112, 82, 78), (72, 52, 52))
    pen.box(0.42, 0.64, 0.6, 0.98, _WOOD, darker(_WOOD))
    for x in (0.18, 0.67):
        pen.box(x, 0.54, x + 0.16, 0.72, (255, 244, 196), edge)


def _kite(pen: Pen, paint: Color) -> None:
    pen.line([(0.5, 0.62), (0.42, 0.74), (0.56, 0.84), (0.44, 0.98)], INK)
    for x, y in ((0.45, 0.76), (0.52, 0.87)):
        pen.polygon(
            [(x - 0.1, y - 0.04), (x + 0.1, y + 0.04), (x + 0.1, y - 0.04), (x - 0.1, y + 0.04)],
            darker(paint, 0.15),
        )
    corners = [(0.5, 0.03), (0.95, 0.26), (0.5, 0.68), (0.05, 0.26)]
    pen.polygon(corners, paint)
    pen.polygon([(0.5, 0.03), (0.95, 0.26), (0.5, 0.26)], lighter(paint, 0.4))
    pen.polygon([(0.5, 0.68), (0.05, 0.26), (0.5, 0.26)], lighter(paint, 0.4))
    pen.polygon(corners[:1] * 3, paint, darker(paint))
    pen.line([*corners, corners[0], corners[1]], darker(paint))


def _lighthouse(pen: Pen, _: Color) -> None:
    stripe = (204, 66, 58)
    pen.ellipse(0.02, 0.86, 0.98, 1.0, (128, 122, 118))
    pen.polygon([(0.3, 0.24), (0.7, 0.24), (0.86, 0.93), (0.14, 0.93)], WHITE, (150, 150, 160))
    for top, bottom in ((0.34, 0.47), (0.6, 0.74)):
        slope = 0.16 / 0.69
        left, right = 0.3 - slope * (top - 0.24), 0.7 + slope * (top - 0.24)
        low_left, low_right = 0.3 - slope * (bottom - 0.24), 0.7 + slope * (bottom - 0.24)
        pen.polygon([(left, top), (right, top), (low_right, bottom), (low_left, bottom)], stripe)
    pen.box(0.34, 0.11, 0.66, 0.22, (255, 236, 130), INK)
    pen.box(0.2, 0.21, 0.8, 0.25, INK)
    pen.polygon([(0.24, 0.12), (0.5, 0.01), (0.76, 0.12)], stripe, darker(stripe))


def _moon(pen: Pen, _: Color) -> None:
    face = (250, 240, 190)
    pen.ellipse(0.02, 0.02, 0.98, 0.98, face, (226, 212, 150))
    for x, y, radius in ((0.34, 0.32, 0.1), (0.64, 0.56, 0.13), (0.36, 0.7, 0.07)):
        pen.ellipse(x - radius, y - radius, x + radius, y + radius, (232, 220, 164))


def _rainbow(pen: Pen, _: Color) -> None:
    bands = ((226, 62, 56), (246, 150, 50), (252, 216, 60), (72, 172, 84), (60, 116, 216))
    width = 0.055
    for i, color in enumerate((*bands, (138, 76, 186))):
        inset = 0.01 + i * width
        outer = around(0.5, 0.98, 0.5 - inset, 0.96 - 2 * inset, 96, 180.0)[:49]
        inner = around(0.5, 0.98, 0.5 - inset - width, 0.96 - 2 * (inset + width), 96, 180.0)[:49]
        pen.polygon([*outer, *reversed(inner)], color)


def _snowman(pen: Pen, _: Color) -> None:
    edge = (148, 160, 184)
    pen.line([(0.16, 0.5), (0.02, 0.36)], _WOOD)
    pen.line([(0.84, 0.5), (0.98, 0.36)], _WOOD)
    pen.ellipse(0.08, 0.56, 0.92, 0.99, WHITE, edge)
    pen.ellipse(0.18, 0.33, 0.82, 0.67, WHITE, edge)
    pen.ellipse(0.27, 0.13, 0.73, 0.41, WHITE, edge)
    pen.box(0.3, 0.02, 0.7, 0.17, INK)
    pen.box(0.2, 0.15, 0.8, 0.19, INK)
    for x in (0.4, 0.55):
        pen.ellipse(x, 0.22, x + 0.06, 0.26, INK)
    pen.polygon([(0.48, 0.27), (0.78, 0.31), (0.48, 0.32)], (240, 130, 40))
    for y in (0.43, 0.5, 0.57):
        pen.ellipse(0.47, y, 0.54, y + 0.045, INK)


def _star(pen: Pen, _: Color) -> None:
    outer = around(0.5, 0.53, 0.47, 0.5, 5)
    inner = around(0.5, 0.53, 0.21, 0.22, 5, -54.0)
    points = [point for pair in zip(outer, inner, strict=True) for point in pair]
    pen.polygon(points, (255, 222, 80), (222, 170, 30))


def _sun(pen: Pen, _: Color) -> None:
    rays = around(0.5, 0.5, 0.48, 0.48, 12)
    valleys = around(0.5, 0.5, 0.35, 0.35, 12, -75.0)
    points = [point for pair in zip(rays, valleys, strict=True) for point in pair]
    pen.polygon(points, (252, 178, 38))
    pen.ellipse(0.2, 0.2, 0.8, 0.8, (255, 216, 62), (246, 170, 32))


def _tent(pen: Pen, paint: Color) -> None:
    edge = darker(paint)
    pen.polygon([(0.5, 0.06), (0.97, 0.96), (0.03, 0.96)], paint, edge)
    pen.polygon([(0.5, 0.06), (0.97, 0.96), (0.76, 0.96)], darker(paint, 0.18), edge)
    pen.polygon([(0.48, 0.34), (0.62, 0.95), (0.33, 0.95)], darker(paint, 0.6))


def _tree(pen: Pen, _: Color) -> None:
    pen.polygon([(0.43, 0.55), (0.57, 0.55), (0.62, 0.99), (0.38, 0.99)], _WOOD, darker(_WOOD))
    puffs = ((0.02, 0.26, 0.56, 0.68), (0.44, 0.26, 0.98, 0.68), (0.18, 0.02, 0.82, 0.5))
    for left, top, right, bottom in puffs:
        pen.ellipse(left, top, right, bottom, _LEAVES, darker(_LEAVES))
    pen.ellipse(0.25, 0.25, 0.75, 0.65, _LEAVES)
    for x, y in ((0.34, 0.16), (0.18, 0.4), (0.62, 0.36)):
        pen.ellipse(x, y, x + 0.16, y + 0.1, lighter(_LEAVES, 0.25))


def _umbrella(pen: Pen, paint: Color) -> None:
    edge = darker(paint)
    pen.line([(0.5, 0.08), (0.5, 0.98)], _WOOD, 1.6)
    pen.slice((0.02, 0.06, 0.98, 0.94), 180, 360, paint, edge)
    pen.slice((0.2, 0.06, 0.8, 0.94), 180, 360, WHITE, edge)
    pen.slice((0.38, 0.06, 0.62, 0.94), 180, 360, paint, edge)


def _whale(pen: Pen, _: Color) -> None:
    skin = (84, 106, 134)
    pen.line([(0.66, 0.34), (0.66, 0.14), (0.56, 0.04)], WHITE, 1.4)
    pen.line([(0.66, 0.34), (0.66, 0.14), (0.76, 0.04)], WHITE, 1.4)
    tail = [(0.14, 0.66), (0.03, 0.22), (0.15, 0.32), (0.27, 0.18), (0.26, 0.6)]
    pen.polygon(tail, skin, darker(skin))
    pen.slice((0.08, 0.26, 0.97, 1.6), 180, 360, skin, darker(skin))
    pen.box(0.085, 0.86, 0.965, 0.98, lighter(skin, 0.6))
    pen.ellipse(0.8, 0.6, 0.86, 0.69, WHITE)
    pen.ellipse(0.82, 0.62, 0.86, 0.68, INK)


DRAWINGS: dict[str, Callable[[Pen, Color], None]] = {
    "airplane": _airplane,
    "ball": _ball,
    "balloon": _balloon,
    "bird": _bird,
    "boat": _boat,
    "bus": _bus,
    "car": _car,
    "cloud": _cloud,
    "fish": _fish,
    "flower": _flower,
    "house": _house,
    "kite": _kite,
    "lighthouse": _lighthouse,
    "moon": _moon,
    "rainbow": _rainbow,
    "snowman": _snowman,
    "star": _star,
    "sun": _sun,
    "tent": _tent,
    "tree": _tree,
    "umbrella": _umbrella,
    "whale": _whale,
}
