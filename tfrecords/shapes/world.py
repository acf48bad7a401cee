"""Things of the world of shapes, and the scenes in which they appear.

Only this module defines that boats are on the sea and that the moon shines at night. Both the
pictures and the text corpus are sampled from it, with separate random streams. A language model can
therefore learn from text alone what is true of the pictures.

A captioning model receives only the *concept words* of a picture, so the world is designed such
that the words determine the scene. At most one kind of thing in a scene is painted, and it has the
color and the size; the relative position of two things follows from their zones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfrecords.shapes.streams import Stream

Zone = Literal["sky", "far", "near", "surface", "under"]
MAX_CONCEPTS = 5
COLORS = ("red", "blue", "green", "yellow", "purple", "pink")
SIZES = ("big", "small")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of thing.

    Attributes:
        zone: position in a picture: `sky`, on the ground `far` or `near`, on the `surface` of the
            water or `under` it.
        actions: its actions, as (singular, plural, participle).
        width: usual width as a fraction of the picture's width.
        aspect: height over width.
        painted: whether it can have any color; other kinds have a fixed color.
        time: visible by `day` only, by `night` only, or at `any` time.
        pair: whether two of it may occur together.
        unique: whether only one exists ("the sun").
    """

    zone: Zone
    actions: tuple[tuple[str, str, str], ...]
    width: float
    aspect: float
    painted: bool = False
    time: Literal["any", "day", "night"] = "any"
    pair: bool = False
    unique: bool = False


def _acts(*verbs: str) -> tuple[tuple[str, str, str], ...]:
    """Inflects verbs: `"sail"` -> `("sails", "sail", "sailing")`; or `"drive driving"`."""
    forms = []
    for verb in verbs:
        plain, *gerund = verb.split()
        single = plain[:-1] + "ies" if plain.endswith("ly") else plain + "s"
        single = plain + "es" if plain.endswith("ch") else single
        forms.append((single, plain, gerund[0] if gerund else plain + "ing"))
    return tuple(forms)


KINDS: dict[str, Kind] = {
    "airplane": Kind(zone="sky", actions=_acts("fly"), width=0.36, aspect=0.55, painted=True),
    "ball": Kind(
        zone="near", actions=_acts("lie lying", "roll"), width=0.2, aspect=1.0, painted=True
    ),
    "balloon": Kind(
        zone="sky",
        actions=_acts("float", "drift"),
        width=0.2,
        aspect=1.5,
        painted=True,
        pair=True,
    ),
    "bird": Kind(
        zone="sky",
        actions=_acts("fly", "glide gliding"),
        width=0.22,
        aspect=0.6,
        time="day",
        pair=True,
    ),
    "boat": Kind(
        zone="surface",
        actions=_acts("sail", "float"),
        width=0.36,
        aspect=0.95,
        painted=True,
        pair=True,
    ),
    "bus": Kind(
        zone="near", actions=_acts("drive driving", "wait"), width=0.46, aspect=0.54, painted=True
    ),
    "car": Kind(
        zone="near",
        actions=_acts("drive driving", "wait"),
        width=0.38,
        aspect=0.52,
        painted=True,
        pair=True,
    ),
    "cloud": Kind(zone="sky", actions=_acts("drift", "hang"), width=0.32, aspect=0.55, pair=True),
    "fish": Kind(
        zone="under",
        actions=_acts("swim swimming"),
        width=0.28,
        aspect=0.58,
        painted=True,
        pair=True,
    ),
    "flower": Kind(
        zone="near", actions=_acts("grow", "bloom"), width=0.2, aspect=1.6, painted=True, pair=True
    ),
    "house": Kind(zone="far", actions=_acts("stand"), width=0.36, aspect=1.0, painted=True),
    "kite": Kind(
        zone="sky",
        actions=_acts("fly"),
        width=0.24,
        aspect=1.35,
        painted=True,
        time="day",
        pair=True,
    ),
    "lighthouse": Kind(zone="far", actions=_acts("stand"), width=0.16, aspect=2.4),
    "moon": Kind(
        zone="sky", actions=_acts("shine shining"), width=0.2, aspect=1.0, time="night", unique=True
    ),
    "rainbow": Kind(zone="sky", actions=_acts("stretch"), width=0.52, aspect=0.52, time="day"),
    "snowman": Kind(zone="near", actions=_acts("stand"), width=0.26, aspect=1.55),
    "star": Kind(
        zone="sky",
        actions=_acts("shine shining", "twinkle twinkling"),
        width=0.16,
        aspect=0.96,
        time="night",
        pair=True,
    ),
    "sun": Kind(
        zone="sky", actions=_acts("shine shining"), width=0.26, aspect=1.0, time="day", unique=True
    ),
    "tent": Kind(zone="far", actions=_acts("stand"), width=0.38, aspect=0.74, painted=True),
    "tree": Kind(zone="far", actions=_acts("stand", "grow"), width=0.28, aspect=1.4, pair=True),
    "umbrella": Kind(zone="near", actions=_acts("stand"), width=0.36, aspect=1.1, painted=True),
    "whale": Kind(zone="surface", actions=_acts("swim swimming"), width=0.34, aspect=0.66),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place and the things in it.

    Attributes:
        weight: relative frequency of scenes in this place.
        horizon: height of the horizon or waterline, as a fraction from the top.
        kinds: kind -> relative frequency in this place.
        where: zone -> phrases for the location of a thing; `@` is replaced by the place's noun.
        adjectives: adjectives of the place; they are no concepts.
    """

    weight: float
    horizon: float
    kinds: dict[str, float]
    where: dict[Zone, tuple[str, ...]]
    adjectives: tuple[str, ...]


PLACES: dict[str, Place] = {
    "sea": Place(
        weight=1.4,
        horizon=0.46,
        kinds={
            "boat": 3,
            "fish": 2,
            "balloon": 0.7,
            "sun": 2,
            "moon": 2,
            "star": 1,
            "cloud": 2,
            "bird": 1.5,
            "whale": 1.2,
            "lighthouse": 1.2,
            "rainbow": 0.6,
        },
        where={
            "sky": ("over the @",),
            "far": ("by the @",),
            "surface": ("on the @",),
            "under": ("in the @",),
        },
        adjectives=("calm", "wide", "deep"),
    ),
    "meadow": Place(
        weight=1.4,
        horizon=0.56,
        kinds={
            "house": 2,
            "flower": 2,
            "ball": 1.5,
            "kite": 1.2,
            "tent": 1.2,
            "balloon": 0.8,
            "tree": 3,
            "sun": 2,
            "moon": 1.5,
            "star": 1,
            "cloud": 2,
            "bird": 1.5,
            "rainbow": 0.8,
        },
        where={"sky": ("over the @",), "far": ("in the @",), "near": ("in the @",)},
        adjectives=("sunny", "quiet", "grassy"),
    ),
    "road": Place(
        weight=1.2,
        horizon=0.5,
        kinds={
            "car": 3,
            "bus": 2.5,
            "tree": 3,
            "sun": 1.5,
            "moon": 1.5,
            "star": 1,
            "cloud": 2,
            "bird": 1,
            "rainbow": 0.6,
        },
        where={"sky": ("over the @",), "far": ("by the @",), "near": ("on the @",)},
        adjectives=("long", "empty", "straight"),
    ),
    "snow": Place(
        weight=1.0,
        horizon=0.56,
        kinds={
            "house": 2.5,
            "tent": 1.5,
            "snowman": 3,
            "tree": 2,
            "moon": 1.5,
            "star": 1.5,
            "sun": 1,
            "cloud": 1.5,
        },
        where={"sky": ("over the @",), "far": ("in the @",), "near": ("in the @",)},
        adjectives=("deep", "fresh", "cold"),
    ),
    "beach": Place(
        weight=1.0,
        horizon=0.54,
        kinds={
            "umbrella": 3,
            "ball": 2.5,
            "kite": 1.5,
            "sun": 2.5,
            "cloud": 2,
            "bird": 2,
            "rainbow": 0.6,
        },
        where={"sky": ("over the @",), "near": ("on the @",)},
        adjectives=("sandy", "warm", "quiet"),
    ),
    "sky": Place(
        weight=1.2,
        horizon=1.0,
        kinds={
            "balloon": 2.5,
            "kite": 2,
            "airplane": 2.5,
            "sun": 2,
            "moon": 2,
            "star": 1.5,
            "cloud": 2.5,
            "bird": 2,
            "rainbow": 0.8,
        },
        where={"sky": ("in the @",)},
        adjectives=("clear", "wide", "open"),
    ),
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
    night = stream.chance(0.25) and "moon" in PLACES[name].kinds
    fitting = {
        kind: weight
        for kind, weight in PLACES[name].kinds.items()
        if KINDS[kind].time in ("any", "night" if night else "day")
    }
    painted = {kind: weight for kind, weight in fitting.items() if KINDS[kind].painted}
    natural = {kind: weight for kind, weight in fitting.items() if not KINDS[kind].painted}
    objects = stream.weighted({1: 0.12, 2: 0.36, 3: 0.36, 4: 0.16})
    if night:
        objects = max(2, objects)
        lights = {kind: natural[kind] for kind in ("moon", "star")}

    things: list[Thing] = []
    if stream.chance(0.88):
        kind = stream.weighted(painted)
        limit = objects - 1 if night else objects
        things.append(
            Thing(kind=kind, count=_count(kind, limit, stream), color=stream.pick(COLORS))
        )
    # At night the sky has fewer kinds than a scene may have objects.
    while natural and (left := objects - sum(thing.count for thing in things)) > 0:
        lit = any(thing.kind in ("moon", "star") for thing in things)
        choice = lights if night and not lit else natural
        kind = stream.weighted(choice)
        del natural[kind]
        things.append(Thing(kind=kind, count=_count(kind, left, stream)))
    if things[0].color is None:
        # Without a painted thing, a thing on the ground is the main thing.
        things.sort(key=lambda thing: KINDS[thing.kind].zone == "sky")
    main = things[0]
    # With several unpainted kinds the size is ambiguous for a concept model, and it receives at
    # most five words.
    sizeable = main.count == 1 and (main.color or len(things) == 1) and len(things) <= 2
    if sizeable and not KINDS[main.kind].unique and stream.chance(0.4):
        size = stream.pick(SIZES)
        things[0] = Thing(kind=main.kind, count=1, color=main.color, size=size)
    return Facts(place=name, night=night, things=tuple(things))


def _count(kind: str, limit: int, stream: Stream) -> int:
    return 2 if limit >= 2 and KINDS[kind].pair and stream.chance(0.2) else 1


def concept_words(facts: Facts) -> list[str]:
    """Returns the words of an ideal detector and tagger, main thing first; may exceed five."""
    main = facts.things[0]
    words = [main.kind, main.color, *(thing.kind for thing in facts.things[1:])]
    return [word for word in (*words, facts.place, main.size) if word]
