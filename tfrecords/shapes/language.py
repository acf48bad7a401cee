"""Phrases for things, places and relations, shared by captions and corpus."""

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


def join(things: Sequence[Thing]) -> str:
    """Joins noun phrases: `a boat`, `a boat and the sun`, `a boat, a bird and the sun`."""
    *phrases, last = (noun_phrase(thing) for thing in things)
    return f"{', '.join(phrases)} and {last}" if phrases else last


def relation(thing: Thing, other: Thing, stream: Stream) -> str:
    """Returns the fixed relation of two things: `above`, `in front of`, `beside`."""
    zones = (thing.zone, other.zone)
    if not same_height(thing, other):
        higher = _HEIGHT[thing.zone] > _HEIGHT[other.zone]
        return stream.pick(("above", "over") if higher else ("below", "under"))
    if set(zones) == {"far", "surface"}:
        return "near"
    if set(zones) == {"far", "near"}:
        return stream.pick(("behind" if thing.zone == "far" else "in front of", *_BESIDE))
    return stream.pick(_BESIDE)


def same_height(thing: Thing, other: Thing) -> bool:
    """Returns whether two things are at the same height, not one above the other."""
    return _HEIGHT[thing.zone] == _HEIGHT[other.zone]


def is_plural(things: Sequence[Thing]) -> bool:
    """Returns whether a verb after these things is in the plural."""
    return sum(thing.count for thing in things) > 1


def sentence(*parts: str) -> str:
    """Joins non-empty parts with single spaces."""
    return " ".join(part for part in parts if part)


class Writer:
    """Phrases about one scene.

    Attributes:
        facts: the scene.
        main: its main thing.
        subject: the noun phrase of the main thing.
        groups: the other things by height, nearest height first.
        stream: chooses the words.
    """

    def __init__(self, facts: Facts, stream: Stream, adjectives: float = 0.0) -> None:
        """Describes `facts`; places have an adjective with the probability `adjectives`."""
        self.facts, self.stream, self._adjectives = facts, stream, adjectives
        self.main, *others = facts.things
        self.subject = noun_phrase(self.main)
        found: dict[int, list[Thing]] = {}
        for thing in others:
            distance = abs(_HEIGHT[thing.zone] - _HEIGHT[self.main.zone])
            found.setdefault(distance, []).append(thing)
        self.groups = [found[distance] for distance in sorted(found)]

    def where(self, thing: Thing | None = None) -> str:
        """Returns the place of a thing: `on the sea`, `on the calm sea`; empty if not mentioned."""
        if self.facts.place is None:
            return ""
        preposition = self.stream.pick(PLACES[self.facts.place].where[(thing or self.main).zone])
        return f"{preposition} the {self.place(self._adjectives)}"

    def place(self, adjectives: float) -> str:
        """Returns the noun of the place, with or without adjective: `sea` or `calm sea`."""
        assert self.facts.place is not None
        words = PLACES[self.facts.place].adjectives
        fitting = [word for word in words if not (self.facts.night and word == "sunny")]
        with_adjective = self.stream.chance(adjectives)
        return sentence(self.stream.pick(fitting) if with_adjective else "", self.facts.place)

    def action(self, things: Sequence[Thing] = ()) -> tuple[str, str]:
        """Returns what things (or the main thing) do: `("sails", "sailing")`."""
        things = things or [self.main]
        verb = self.stream.pick(KINDS[things[0].kind].verbs)
        single, doing = _IRREGULAR.get(verb, (verb + "s", verb.removesuffix("e") + "ing"))
        if any(thing.kind != things[0].kind for thing in things):
            verb, doing = "are", "being"
        return (verb if is_plural(things) else single), doing

    def relation_to(self, group: Sequence[Thing]) -> str:
        """Returns the relation of the main thing to a group: `below a cloud and the sun`."""
        return f"{relation(self.main, group[0], self.stream)} {join(group)}"

    def relation_of(self, group: Sequence[Thing]) -> str:
        """Returns the relation of a group to the main thing: `above it`."""
        pronoun = "them" if is_plural([self.main]) else "it"
        return f"{relation(group[0], self.main, self.stream)} {pronoun}"
