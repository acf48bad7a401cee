"""Reference captions: short phrases, mostly without a finite verb, like human captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tfrecords.shapes.language import Writer, join, noun_phrase, relation, same_height, sentence
from tfrecords.shapes.layout import Scene
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import Facts

REFERENCES = 5
_PICTURES = ("a picture of", "a view of", "a drawing of", "an image of")


def references(scene: Scene, stream: Stream) -> list[str]:
    """Returns five different true captions of a scene."""
    templates: list[Callable[[Writer], str]]
    templates = [_plain, _around, _listed, _picture, _doing, _place_first, partial(_sides, scene)]
    found: dict[str, None] = {}
    turn = 0
    mixed = stream.shuffled(templates)
    while len(found) < REFERENCES:
        if caption := mixed[turn % len(mixed)](Writer(_as_seen(scene.facts, stream), stream)):
            found.setdefault(caption)
        turn += 1
    return list(found)


def _as_seen(facts: Facts, stream: Stream) -> Facts:
    """Draws the facts that one writer mentions: sometimes no size, no color or not everything."""
    main, *others = facts.things
    if main.size and stream.chance(0.3):
        main = replace(main, size=None)
    if main.color and stream.chance(0.08):
        main = replace(main, color=None)
    if len(others) > 1 and stream.chance(0.25):
        others.pop()
    return replace(facts, things=(main, *others))


def _plain(writer: Writer) -> str:
    here = writer.where()
    related = [writer.relation_to(group) for group in writer.groups]
    return sentence(writer.subject, here, *related[:2], _hour(writer))


def _around(writer: Writer) -> str:
    if not writer.groups:
        return ""
    group = writer.stream.pick(writer.groups)
    here = writer.where()
    related = relation(group[0], writer.main, writer.stream)
    return sentence(join(group), related, writer.subject, here)


def _listed(writer: Writer) -> str:
    things = writer.facts.things
    if len(things) == 1:
        return sentence("just", writer.subject, _hour(writer))
    # "a balloon and a tree in the meadow": the place relative to a thing on the ground.
    grounded = min(things, key=lambda thing: thing.zone == "sky")
    return sentence(join(things), writer.where(grounded))


def _picture(writer: Writer) -> str:
    others = writer.facts.things[1:]
    company = f"with {join(others)}" if others else ""
    here = writer.where()
    start = writer.stream.pick(_PICTURES)
    return sentence(start, writer.subject, here, company, _hour(writer))


def _doing(writer: Writer) -> str:
    _, doing = writer.action()
    here = writer.where()
    company = ""
    if writer.groups:
        group = writer.stream.pick(writer.groups)
        company = f"with {join(group)} {writer.relation_of(group)}"
    return sentence(writer.subject, doing, here, company)


def _place_first(writer: Writer) -> str:
    return sentence("the", writer.place(0.15), "with", join(writer.facts.things), _hour(writer))


def _sides(scene: Scene, writer: Writer) -> str:
    """Returns a caption with `left` or `right`, as in the picture; empty if none applies."""
    centers = {placed.thing: placed.left + placed.width / 2 for placed in scene.objects}
    main, *others = writer.facts.things
    for index, other in enumerate(others, start=1):
        if main.count == other.count == 1 and same_height(main, other):
            side = "left" if centers[index] < centers[0] else "right"
            company = f"with {noun_phrase(other)} on the {side}"
            return sentence(writer.subject, writer.where(), company)
    return ""


def _hour(writer: Writer) -> str:
    return "at night" if writer.facts.night and writer.stream.chance(0.6) else ""
