"""Layout of a scene: positions of its things in the picture."""

from __future__ import annotations

from dataclasses import dataclass

from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import KINDS, PLACES, Facts, Zone

_SCALES = {"big": 1.4, "small": 0.58, None: 1.0}
# Ground first: things in the sky must fit above it. Also the drawing order, far before near.
_ORDER: tuple[Zone, ...] = ("far", "surface", "under", "near", "sky")
_ATTEMPTS = 400


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
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height


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
            for _ in range(thing.count if thing.zone == zone else 0):
                placed.append(_find_spot(facts, index, placed, stream))
    return Scene(facts=facts, objects=tuple(placed))


def _find_spot(facts: Facts, index: int, placed: list[Placed], stream: Stream) -> Placed:
    assert facts.place is not None
    thing = facts.things[index]
    kind, horizon = KINDS[thing.kind], PLACES[facts.place].horizon
    scale = _SCALES[thing.size] * stream.uniform(0.92, 1.05)
    if facts.place == "sky":
        scale *= 1.2
    for attempt in range(_ATTEMPTS):
        # Crowded pictures get smaller objects.
        width = kind.width * (scale * min(1.0, 1.1 - 0.8 * attempt / _ATTEMPTS))
        height = width * kind.aspect
        if kind.zone == "sky":
            top = stream.uniform(0.03, max(0.05, min(horizon, 0.97) - height - 0.02))
        else:
            top = stream.uniform(*_bottoms(kind.zone, horizon)) - height
        left = stream.uniform(0.02, 0.98 - width)
        spot = Placed(thing=index, left=left, top=top, width=width, height=height)
        if top >= 0.02 and spot.bottom <= 0.985 and _fits(spot, facts, placed):
            break
    return spot


def _bottoms(zone: Zone, horizon: float) -> tuple[float, float]:
    """Returns the range of lower edges of things on the ground or water."""
    return {
        "far": (horizon + 0.05, horizon + 0.14),
        "near": (0.84, 0.95),
        "surface": (horizon + 0.06, horizon + 0.18),
        "under": (horizon + 0.34, 0.96),
    }[zone]


def _fits(spot: Placed, facts: Facts, placed: list[Placed]) -> bool:
    zone = facts.things[spot.thing].zone
    for other in placed:
        other_zone = facts.things[other.thing].zone
        across = min(spot.right, other.right) - max(spot.left, other.left)
        down = min(spot.bottom, other.bottom) - max(spot.top, other.top)
        # Things in the sky may hang next to a treetop.
        treetop = other.top + 0.35 * other.height
        if zone == "sky" and other_zone != "sky" and spot.bottom > treetop:
            return False
        if zone == "near" and other_zone == "far":
            if across > 0.25 * other.width and down > 0:
                return False
        elif across > -0.02 and down > -0.01:
            return False
    return True
