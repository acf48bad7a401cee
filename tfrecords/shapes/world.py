"""Things of the world of shapes, and the scenes in which they appear.

Only this module defines that boats are on the sea and that the moon shines at night. Both the
pictures and the text corpus are sampled from it, with separate random streams. A language model can
therefore learn from text alone what is true of the pictures.

A captioning model receives only the *concept words* of a picture, so the world is designed such
that the words determine the scene. At most one kind of thing in a scene is painted, and it has the
color and the size; the relative position of two things follows from their zones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tfrecords.shapes.streams import Stream

Zone = Literal["sky", "far", "near", "surface", "under"]
Color = tuple[int, int, int]
MAX_CONCEPTS = 5
PAINTS: dict[str, Color] = {
    "red": (222, 50, 46),
    "blue": (40, 92, 214),
    "green": (38, 150, 66),
    "yellow": (250, 206, 36),
    "purple": (132, 62, 182),
    "pink": (246, 128, 182),
}
COLORS = tuple(PAINTS)
SIZES = ("big", "small")
_LIGHTS = ("moon", "star")


@dataclass(frozen=True)
class Kind:
    """A kind of thing.

    Attributes:
        zone: position in a picture: `sky`, on the ground `far` or `near`, on the `surface` of the
            water or `under` it.
        width: usual width as a fraction of the picture's width.
        aspect: height over width.
        verbs: its actions, in the plural.
        painted: whether it can have any color; other kinds have a fixed color.
        time: visible by `day` only, by `night` only, or at `any` time.
        pair: whether two of it may occur together.
        unique: whether only one exists ("the sun").
    """

    zone: Zone
    width: float
    aspect: float
    verbs: tuple[str, ...]
    painted: bool = False
    time: Literal["any", "day", "night"] = "any"
    pair: bool = False
    unique: bool = False


KINDS: dict[str, Kind] = {
    "airplane": Kind("sky", 0.36, 0.55, ("fly",), painted=True),
    "ball": Kind("near", 0.2, 1.0, ("lie", "roll"), painted=True),
    "balloon": Kind("sky", 0.2, 1.5, ("float", "drift"), painted=True, pair=True),
    "bird": Kind("sky", 0.22, 0.6, ("fly", "glide"), time="day", pair=True),
    "boat": Kind("surface", 0.36, 0.95, ("sail", "float"), painted=True, pair=True),
    "bus": Kind("near", 0.46, 0.54, ("drive", "wait"), painted=True),
    "car": Kind("near", 0.38, 0.52, ("drive", "wait"), painted=True, pair=True),
    "cloud": Kind("sky", 0.32, 0.55, ("drift", "hang"), pair=True),
    "fish": Kind("under", 0.28, 0.58, ("swim",), painted=True, pair=True),
    "flower": Kind("near", 0.2, 1.6, ("grow", "bloom"), painted=True, pair=True),
    "house": Kind("far", 0.36, 1.0, ("stand",), painted=True),
    "kite": Kind("sky", 0.24, 1.35, ("fly",), painted=True, time="day", pair=True),
    "lighthouse": Kind("far", 0.16, 2.4, ("stand",)),
    "moon": Kind("sky", 0.2, 1.0, ("shine",), time="night", unique=True),
    "rainbow": Kind("sky", 0.52, 0.52, ("stretch",), time="day"),
    "snowman": Kind("near", 0.26, 1.55, ("stand",)),
    "star": Kind("sky", 0.16, 0.96, ("shine", "twinkle"), time="night", pair=True),
    "sun": Kind("sky", 0.26, 1.0, ("shine",), time="day", unique=True),
    "tent": Kind("far", 0.38, 0.74, ("stand",), painted=True),
    "tree": Kind("far", 0.28, 1.4, ("stand", "grow"), pair=True),
    "umbrella": Kind("near", 0.36, 1.1, ("stand",), painted=True),
    "whale": Kind("surface", 0.34, 0.66, ("swim",)),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place and the things in it.

    Attributes:
        weight: relative frequency of scenes in this place.
        horizon: height of the horizon or waterline, as a fraction from the top.
        painted: relative frequencies of the painted kinds in this place.
        where: zone -> prepositions for the location of a thing.
        adjectives: adjectives of the place; they are no concepts.
    """

    weight: float
    horizon: float
    painted: dict[str, float]
    where: dict[Zone, tuple[str, ...]]
    adjectives: tuple[str, ...]


PLACES: dict[str, Place] = {
    "sea": Place(
        weight=1.4,
        horizon=0.46,
        painted={"boat": 3, "fish": 2, "balloon": 0.7},
        where={"sky": ("over",), "far": ("by",), "surface": ("on",), "under": ("in",)},
        adjectives=("calm", "wide", "deep"),
    ),
    "meadow": Place(
        weight=1.4,
        horizon=0.56,
        painted={"house": 2, "flower": 2, "ball": 1.5, "kite": 1.2, "tent": 1.2, "balloon": 0.8},
        where={"sky": ("over",), "far": ("in",), "near": ("in",)},
        adjectives=("sunny", "quiet", "grassy"),
    ),
    "road": Place(
        weight=1.2,
        horizon=0.5,
        painted={"car": 3, "bus": 2.5},
        where={"sky": ("over",), "far": ("by",), "near": ("on",)},
        adjectives=("long", "empty", "straight"),
    ),
    "snow": Place(
        weight=1.0,
        horizon=0.56,
        painted={"house": 2.5, "tent": 1.5},
        where={"sky": ("over",), "far": ("in",), "near": ("in",)},
        adjectives=("deep", "fresh", "cold"),
    ),
    "beach": Place(
        weight=1.0,
        horizon=0.54,
        painted={"umbrella": 3, "ball": 2.5, "kite": 1.5},
        where={"sky": ("over",), "near": ("on",)},
        adjectives=("sandy", "warm", "quiet"),
    ),
    "sky": Place(
        weight=1.2,
        horizon=1.0,
        painted={"balloon": 2.5, "kite": 2, "airplane": 2.5},
        where={"sky": ("in",)},
        adjectives=("clear", "wide", "open"),
    ),
}

# Unpainted kind -> place -> relative frequency in this place.
NATURAL: dict[str, dict[str, float]] = {
    "snowman": {"snow": 3},
    "tree": {"meadow": 3, "road": 3, "snow": 2},
    "sun": {"sea": 2, "meadow": 2, "road": 1.5, "snow": 1, "beach": 2.5, "sky": 2},
    "moon": {"sea": 2, "meadow": 1.5, "road": 1.5, "snow": 1.5, "sky": 2},
    "star": {"sea": 1, "meadow": 1, "road": 1, "snow": 1.5, "sky": 1.5},
    "cloud": {"sea": 2, "meadow": 2, "road": 2, "snow": 1.5, "beach": 2, "sky": 2.5},
    "bird": {"sea": 1.5, "meadow": 1.5, "road": 1, "beach": 2, "sky": 2},
    "whale": {"sea": 1.2},
    "lighthouse": {"sea": 1.2},
    "rainbow": {"sea": 0.6, "meadow": 0.8, "road": 0.6, "beach": 0.6, "sky": 0.8},
}
KIND_WORDS = tuple(sorted(KINDS))
TAG_WORDS = (*COLORS, *SIZES, *PLACES)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One or two things of a kind in a scene, alike in color and size."""

    kind: str
    count: int = 1
    color: str | None = None
    size: str | None = None

    @property
    def zone(self) -> Zone:
        """Position in a picture."""
        return KINDS[self.kind].zone


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a scene, the source of its picture and its captions.

    Attributes:
        place: a key of `PLACES`, or None if a sentence does not mention it.
        night: whether it is dark; if so, the scene has a moon or a star.
        things: one to four objects; the first is the main thing, the only one that may be painted.
    """

    place: str | None
    night: bool
    things: tuple[Thing, ...]


def sample_facts(stream: Stream) -> Facts:
    """Draws a scene: a place, a main thing and its companions; 1 to 4 objects in all."""
    name = stream.weighted({name: place.weight for name, place in PLACES.items()})
    night = stream.chance(0.25) and name in NATURAL["moon"]
    painted = _visible(PLACES[name].painted, night)
    natural = _visible({kind: at[name] for kind, at in NATURAL.items() if name in at}, night)
    objects = stream.weighted({1: 0.12, 2: 0.36, 3: 0.36, 4: 0.16})
    if night:
        objects = max(2, objects)

    things: list[Thing] = []
    if stream.chance(0.88):
        kind = stream.weighted(painted)
        count = _count(kind, objects - 1 if night else objects, stream)
        things.append(Thing(kind=kind, count=count, color=stream.pick(COLORS)))
    # At night the sky has fewer kinds than a scene may have objects.
    while natural and (left := objects - sum(thing.count for thing in things)) > 0:
        lit = any(thing.kind in _LIGHTS for thing in things)
        lights = {kind: weight for kind, weight in natural.items() if kind in _LIGHTS}
        kind = stream.weighted(lights if night and not lit else natural)
        del natural[kind]
        things.append(Thing(kind=kind, count=_count(kind, left, stream)))
    if things[0].color is None:
        # Without a painted thing, a thing on the ground is the main thing.
        things.sort(key=lambda thing: thing.zone == "sky")
    main = things[0]
    # With several unpainted kinds the size is ambiguous for a concept model, and it receives at
    # most five words.
    sizeable = main.count == 1 and (main.color or len(things) == 1) and len(things) <= 2
    if sizeable and not KINDS[main.kind].unique and stream.chance(0.4):
        things[0] = replace(main, size=stream.pick(SIZES))
    return Facts(place=name, night=night, things=tuple(things))


def _visible(weights: dict[str, float], night: bool) -> dict[str, float]:
    times = ("any", "night" if night else "day")
    return {kind: weight for kind, weight in weights.items() if KINDS[kind].time in times}


def _count(kind: str, limit: int, stream: Stream) -> int:
    return 2 if limit >= 2 and KINDS[kind].pair and stream.chance(0.2) else 1


def concept_words(facts: Facts) -> list[str]:
    """Returns the words of an ideal detector and tagger, main thing first; may exceed five."""
    main = facts.things[0]
    words = [main.kind, main.color, *(thing.kind for thing in facts.things[1:])]
    return [word for word in (*words, facts.place, main.size) if word]
