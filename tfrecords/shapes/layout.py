"""Layout of a scene: positions of its things in the picture."""

from __future__ import annotations

from dataclasses import dataclass

from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import KINDS, PLACES, Facts, Thing, Zone

_SCALES = {"big": 1.4, "small": 0.58, None: 1.0}
# Ground first: things in the sky must fit above it. Also the drawing order, far before near.
_ORDER: tuple[Zone, ...] = ("far", "surface", "under", "near", "sky")
_TRIES = 400


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One object of a picture.

    Attributes:
        thing: index into the scene's things.
        left, top, width, height: box of its sprite, as fractions of the picture.
    """

    thing: int
    left: float
    top: float
    width: float
    height: float

    @property
    def center(self) -> float:
        """Horizontal center."""
        return self.left + self.width / 2


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Facts and the positions of the objects in the picture, in drawing order."""

    facts: Facts
    objects: tuple[Placed, ...]


def lay_out(facts: Facts, stream: Stream) -> Scene:
    """Finds a position in its zone for every object, so that it is completely visible.

    Things in the sky are higher than the things below them. Things do not cover each other, except
    that near ones may hide a small part of far ones.
    """
    placed: list[Placed] = []
    for zone in _ORDER:
        for index, thing in enumerate(facts.things):
            if KINDS[thing.kind].zone == zone:
                for _ in range(thing.count):
                    placed.append(_find_spot(facts, index, thing, zone, placed, stream))
    return Scene(facts=facts, objects=tuple(placed))


def _find_spot(
    facts: Facts, index: int, thing: Thing, zone: Zone, placed: list[Placed], stream: Stream
) -> Placed:
    assert facts.place is not None
    kind = KINDS[thing.kind]
    scale = _SCALES[thing.size] * stream.uniform(0.92, 1.05)
    if facts.place == "sky":
        scale *= 1.2
    for attempt in range(_TRIES):
        # Crowded pictures get smaller objects.
        shrunk = scale * min(1.0, 1.1 - 0.8 * attempt / _TRIES)
        width = kind.width * shrunk
        height = width * kind.aspect
        top = _top(zone, PLACES[facts.place].horizon, height, stream)
        left = stream.uniform(0.02, 0.98 - width)
        spot = Placed(thing=index, left=left, top=top, width=width, height=height)
        if top >= 0.02 and top + height <= 0.985 and _fits(spot, zone, facts, placed):
            return spot
    return spot


def _top(zone: Zone, horizon: float, height: float, stream: Stream) -> float:
    """Draws the height of the upper edge of something in `zone`."""
    if zone == "sky":
        return stream.uniform(0.03, max(0.05, min(horizon, 0.97) - height - 0.02))
    low, high = {
        "far": (horizon + 0.05, horizon + 0.14),
        "near": (0.84, 0.95),
        "surface": (horizon + 0.06, horizon + 0.18),
        "under": (horizon + 0.34, 0.96),
    }[zone]
    return stream.uniform(low, high) - height


def _high_up(other: Placed) -> float:
    """Returns the lower limit of things above `other`, which may hang next to a treetop."""
    return other.top + 0.35 * other.height


def _fits(spot: Placed, zone: Zone, facts: Facts, placed: list[Placed]) -> bool:
    for other in placed:
        other_zone = KINDS[facts.things[other.thing].kind].zone
        across = min(spot.left + spot.width, other.left + other.width) - max(spot.left, other.left)
        down = min(spot.top + spot.height, other.top + other.height) - max(spot.top, other.top)
        if zone == "sky" and other_zone != "sky" and spot.top + spot.height > _high_up(other):
            return False
        if zone == "near" and other_zone == "far":
            if across > 0.25 * other.width and down > 0:
                return False
        elif across > -0.02 and down > -0.01:
            return False
    return True
