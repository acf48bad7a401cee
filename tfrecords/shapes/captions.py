"""Reference captions: short phrases, mostly without a finite verb, like human captions."""

from __future__ import annotations

from dataclasses import replace

from tfrecords.shapes.language import (
    action,
    groups,
    join,
    noun_phrase,
    place_noun,
    pronoun,
    relation,
    same_height,
    sentence,
    where,
)
from tfrecords.shapes.layout import Scene
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import KINDS, Facts

REFERENCES = 5
_PICTURES = ("a picture of", "a view of", "a drawing of", "an image of")


def references(scene: Scene, stream: Stream) -> list[str]:
    """Returns five different true captions of a scene."""
    templates = [_plain, _around, _listed, _picture, _doing, _place_first, _sides]
    found: dict[str, None] = {}
    turn = 0
    mixed = stream.shuffled(templates)
    while len(found) < REFERENCES:
        if caption := mixed[turn % len(mixed)](_as_seen(scene, stream), stream):
            found.setdefault(caption)
        turn += 1
    return list(found)


def _as_seen(scene: Scene, stream: Stream) -> Scene:
    """Draws the facts that one writer mentions: sometimes no size, no color or not everything."""
    facts = scene.facts
    main = facts.things[0]
    if main.size and stream.chance(0.3):
        main = replace(main, size=None)
    if main.color and stream.chance(0.08):
        main = replace(main, color=None)
    things = (main, *facts.things[1:])
    if len(things) > 2 and stream.chance(0.25):
        things = things[:-1]
    return replace(scene, facts=replace(facts, things=things))


def _plain(scene: Scene, stream: Stream) -> str:
    facts = scene.facts
    main = facts.things[0]
    here = where(facts, main, stream, 0.0)
    related = [f"{relation(main, group[0], stream)} {join(group)}" for group in groups(facts)]
    return sentence(noun_phrase(main), here, *related[:2], _hour(facts, stream))


def _around(scene: Scene, stream: Stream) -> str:
    facts = scene.facts
    main = facts.things[0]
    if len(facts.things) == 1:
        return ""
    group = stream.pick(groups(facts))
    here = where(facts, main, stream, 0.0)
    return sentence(join(group), relation(group[0], main, stream), noun_phrase(main), here)


def _listed(scene: Scene, stream: Stream) -> str:
    facts = scene.facts
    if len(facts.things) == 1:
        return sentence("just", noun_phrase(facts.things[0]), _hour(facts, stream))
    # "a balloon and a tree in the meadow": the place relative to a thing on the ground.
    grounded = min(facts.things, key=lambda thing: KINDS[thing.kind].zone == "sky")
    return sentence(join(facts.things), where(facts, grounded, stream, 0.0))


def _picture(scene: Scene, stream: Stream) -> str:
    facts = scene.facts
    main, *others = facts.things
    company = f"with {join(others)}" if others else ""
    here = where(facts, main, stream, 0.0)
    return sentence(stream.pick(_PICTURES), noun_phrase(main), here, company, _hour(facts, stream))


def _doing(scene: Scene, stream: Stream) -> str:
    facts = scene.facts
    main = facts.things[0]
    _, doing = action([main], stream)
    here = where(facts, main, stream, 0.0)
    company = ""
    if len(facts.things) > 1:
        group = stream.pick(groups(facts))
        company = f"with {join(group)} {relation(group[0], main, stream)} {pronoun([main])}"
    return sentence(noun_phrase(main), doing, here, company)


def _place_first(scene: Scene, stream: Stream) -> str:
    facts = scene.facts
    assert facts.place is not None
    noun = place_noun(facts.place, stream, 0.15, facts.night)
    return sentence("the", noun, "with", join(facts.things), _hour(facts, stream))


def _sides(scene: Scene, stream: Stream) -> str:
    """Returns a caption with `left` or `right`, as in the picture; empty if none applies."""
    main = scene.facts.things[0]
    for index, other in enumerate(scene.facts.things[1:], start=1):
        if main.count == other.count == 1 and same_height(main, other):
            centers = {placed.thing: placed.center for placed in scene.objects}
            side = "left" if centers[index] < centers[0] else "right"
            here = where(scene.facts, main, stream, 0.0)
            return sentence(noun_phrase(main), here, "with", noun_phrase(other), f"on the {side}")
    return ""


def _hour(facts: Facts, stream: Stream) -> str:
    return "at night" if facts.night and stream.chance(0.6) else ""
