"""Words for things, places and relations, shared by captions and corpus."""

from __future__ import annotations

from collections.abc import Sequence

from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import KINDS, PLACES, Facts, Thing, Zone

_PLURALS = {"bus": "buses", "fish": "fish", "snowman": "snowmen"}
# Forms of irregular verbs: singular and participle.
_IRREGULAR = {
    "fly": ("flies", "flying"),
    "lie": ("lies", "lying"),
    "stretch": ("stretches", "stretching"),
    "swim": ("swims", "swimming"),
}
_HEIGHT: dict[Zone, int] = {"sky": 2, "far": 1, "near": 1, "surface": 1, "under": 0}
_BESIDE = ("next to", "beside", "near")


def noun_phrase(thing: Thing) -> str:
    """Returns a noun phrase: `a big red boat`, `two blue balloons`, `the sun`."""
    noun = thing.kind if thing.count == 1 else _PLURALS.get(thing.kind, thing.kind + "s")
    words = [word for word in (thing.size, thing.color, noun) if word]
    if thing.count == 2:
        return " ".join(("two", *words))
    if KINDS[thing.kind].unique:
        return "the " + noun
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join((article, *words))


def pronoun(things: Sequence[Thing]) -> str:
    """Returns `it` or `them`."""
    return "them" if is_plural(things) else "it"


def is_plural(things: Sequence[Thing]) -> bool:
    """Returns whether a verb after these things is in the plural."""
    return sum(thing.count for thing in things) > 1


def join(things: Sequence[Thing], word: str = "and") -> str:
    """Joins noun phrases: `a boat`, `a boat and the sun`, `a boat, a bird and the sun`."""
    phrases = [noun_phrase(thing) for thing in things]
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} {word} {phrases[-1]}"


def relation(thing: Thing, other: Thing, stream: Stream) -> str:
    """Returns the fixed relation of two things: `above`, `in front of`, `beside`."""
    here, there = KINDS[thing.kind].zone, KINDS[other.kind].zone
    if _HEIGHT[here] > _HEIGHT[there]:
        return stream.pick(("above", "over"))
    if _HEIGHT[here] < _HEIGHT[there]:
        return stream.pick(("below", "under"))
    if (here, there) == ("near", "far"):
        return stream.pick(("in front of", *_BESIDE))
    if (here, there) == ("far", "near"):
        return stream.pick(("behind", *_BESIDE))
    if {here, there} == {"far", "surface"}:
        return "near"
    return stream.pick(_BESIDE)


def groups(facts: Facts) -> list[list[Thing]]:
    """Groups the companions of the main thing by height, nearest height first."""
    main = _HEIGHT[KINDS[facts.things[0].kind].zone]
    found: dict[int, list[Thing]] = {}
    for thing in facts.things[1:]:
        found.setdefault(abs(_HEIGHT[KINDS[thing.kind].zone] - main), []).append(thing)
    return [found[distance] for distance in sorted(found)]


def same_height(thing: Thing, other: Thing) -> bool:
    """Returns whether two things are at the same height, not one above the other."""
    return _HEIGHT[KINDS[thing.kind].zone] == _HEIGHT[KINDS[other.kind].zone]


def where(facts: Facts, thing: Thing, stream: Stream, adjectives: float) -> str:
    """Returns the place of a thing: `on the sea`, `on the calm sea`; empty if not mentioned.

    Args:
        facts: the scene.
        thing: one of its things.
        stream: chooses the words.
        adjectives: probability of an adjective before the place's noun.
    """
    if facts.place is None:
        return ""
    place = PLACES[facts.place]
    preposition = stream.pick(place.where[thing.zone])
    return f"{preposition} the {place_noun(facts.place, stream, adjectives, facts.night)}"


def place_noun(name: str, stream: Stream, adjectives: float, night: bool) -> str:
    """Returns the noun of a place, with or without adjective: `sea` or `calm sea`."""
    fitting = [word for word in PLACES[name].adjectives if not (night and word == "sunny")]
    return f"{stream.pick(fitting)} {name}" if stream.chance(adjectives) else name


def action(things: Sequence[Thing], stream: Stream) -> tuple[str, str]:
    """Returns the things' action as finite verb and participle: `("sails", "sailing")`."""
    verb = stream.pick(KINDS[things[0].kind].verbs)
    single, doing = _IRREGULAR.get(verb, (verb + "s", verb.removesuffix("e") + "ing"))
    if any(thing.kind != things[0].kind for thing in things):
        verb, doing = "are", "being"
    return (verb if is_plural(things) else single), doing


def sentence(*parts: str) -> str:
    """Joins non-empty parts with single spaces."""
    return " ".join(part for part in parts if part)
