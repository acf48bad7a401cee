"""The world of shapes: facts, layout, pictures and words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import ImageChops

from tfrecords.language.concepts import build_concept_dictionary
from tfrecords.language.label_maps import LabelMap
from tfrecords.shapes.captions import REFERENCES, references
from tfrecords.shapes.corpus import MIN_WORDS, corpus_sentence
from tfrecords.shapes.language import noun_phrase, relation
from tfrecords.shapes.layout import lay_out
from tfrecords.shapes.rendering import render
from tfrecords.shapes.sprites import DRAWINGS
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import (
    COLORS,
    KIND_WORDS,
    KINDS,
    MAX_CONCEPTS,
    NATURAL,
    PAINTS,
    PLACES,
    TAG_WORDS,
    Facts,
    Thing,
    concept_words,
    sample_facts,
)

_SCENES = [sample_facts(Stream("test", i)) for i in range(400)]


def _dictionary():
    maps = [
        LabelMap("kinds", dict(enumerate(KIND_WORDS))),
        LabelMap("tags", dict(enumerate(TAG_WORDS))),
    ]
    return build_concept_dictionary(maps)


def test_streams_are_golden():
    stream = Stream(0, "golden", 1)
    assert [round(stream.uniform(0, 1), 6) for _ in range(3)] == [0.221104, 0.838762, 0.241441]
    assert stream.shuffled("abcdef") == list("efcdba")


def test_tables_are_complete():
    assert set(DRAWINGS) == set(KINDS)
    assert set(NATURAL) == {kind for kind in KINDS if not KINDS[kind].painted}
    assert {kind for place in PLACES.values() for kind in place.painted} == set(KINDS) - set(
        NATURAL
    )
    for name, place in PLACES.items():
        kinds = {*place.painted, *(kind for kind in NATURAL if name in NATURAL[kind])}
        assert {KINDS[kind].zone for kind in kinds} == set(place.where)


def test_every_category_names_just_itself():
    """With the shipped tables (they make a duck a bird, too)."""
    dictionary = _dictionary()
    for word in (*KIND_WORDS, *TAG_WORDS):
        assert dictionary.concepts_of_class(word) == (word,)
    assert set(dictionary.words) == {*KIND_WORDS, *TAG_WORDS}


def test_scenes_have_one_to_four_objects_and_words_that_determine_them():
    counts = {sum(thing.count for thing in facts.things) for facts in _SCENES}
    assert counts == {1, 2, 3, 4}
    for facts in _SCENES:
        main, *others = facts.things
        assert not any(thing.color or thing.size for thing in others)
        assert len({thing.kind for thing in facts.things}) == len(facts.things)
        assert facts.night == any(KINDS[thing.kind].time == "night" for thing in facts.things)
        times = {KINDS[thing.kind].time for thing in facts.things}
        assert not {"day", "night"} <= times
        if main.size:
            assert len(concept_words(facts)) <= MAX_CONCEPTS
    assert {facts.place for facts in _SCENES} == set(PLACES)
    assert {facts.things[0].color for facts in _SCENES} == {*COLORS, None}


def test_scenes_without_enough_kinds_have_fewer_objects():
    """At night the sky has moon, star and cloud only; a fourth object used to be an error."""
    facts = sample_facts(Stream("facts", 123, "val", 3))
    assert (facts.place, facts.night) == ("sky", True)
    assert {thing.kind for thing in facts.things} == {"moon", "star", "cloud"}


def test_objects_are_whole_and_lie_as_their_words_say():
    for index, facts in enumerate(_SCENES):
        scene = lay_out(facts, Stream("layout", index))
        assert len(scene.objects) == sum(thing.count for thing in facts.things)
        by_zone: dict[str, list] = {}
        for placed in scene.objects:
            assert placed.left >= 0 and placed.left + placed.width <= 1
            assert placed.top >= 0 and placed.top + placed.height <= 1
            by_zone.setdefault(KINDS[facts.things[placed.thing].kind].zone, []).append(placed)
        for high in by_zone.get("sky", []):
            for zone in ("far", "near", "surface", "under"):
                for low in by_zone.get(zone, []):
                    assert high.top + high.height <= low.top + 0.36 * low.height
        for high in by_zone.get("surface", []):
            for low in by_zone.get("under", []):
                assert high.top + high.height <= low.top + 0.02


@pytest.mark.parametrize("size", [48, 96])
def test_boxes_hold_all_pixels_of_their_objects_and_are_tight(size):
    for index, facts in enumerate(_SCENES[:40]):
        scene = lay_out(facts, Stream("layout", index))
        _, boxes = render(scene, size, Stream("background", index))
        for which, box in enumerate(boxes):
            alone = replace(scene, objects=scene.objects[which : which + 1])
            with_it, _ = render(alone, size, Stream("background", index))
            nothing, _ = render(replace(scene, objects=()), size, Stream("background", index))
            changed = ImageChops.difference(with_it, nothing).getbbox()
            assert changed is not None
            assert box[0] <= changed[0] and box[1] <= changed[1]
            assert box[2] >= changed[2] and box[3] >= changed[3]
            slack = [abs(a - b) for a, b in zip(box, changed, strict=True)]
            assert max(slack) <= 2


def test_the_painted_color_is_what_is_seen():
    for color in COLORS:
        facts = Facts(place="road", night=False, things=(Thing(kind="bus", color=color),))
        picture, _ = render(lay_out(facts, Stream(1)), 96, Stream(2))
        assert PAINTS[color] in {pixel for _, pixel in picture.getcolors(96 * 96)}


def test_five_different_references_of_the_world_s_words():
    dictionary = _dictionary()
    for index, facts in enumerate(_SCENES):
        scene = lay_out(facts, Stream("layout", index))
        found = references(scene, Stream("captions", index))
        assert len(found) == len(set(found)) == REFERENCES
        for text in found:
            named = {m.concept for m in dictionary.find(text.replace(",", "").split())}
            assert named <= set(concept_words(facts))
            assert facts.things[0].kind in named


def test_corpus_sentences_are_long_and_keep_to_what_a_model_is_shown():
    dictionary = _dictionary()
    without = 0
    for index in range(1000):
        words = corpus_sentence(Stream("corpus", index)).rstrip(".").replace(",", "").split()
        assert len(words) >= MIN_WORDS
        named = {mention.concept for mention in dictionary.find(words)}
        assert len(named) <= MAX_CONCEPTS
        without += not named
    assert 10 < without < 90


@pytest.mark.parametrize(
    ("thing", "phrase"),
    [
        (Thing(kind="umbrella"), "an umbrella"),
        (Thing(kind="umbrella", color="red"), "a red umbrella"),
        (Thing(kind="sun"), "the sun"),
        (Thing(kind="fish", count=2, color="pink"), "two pink fish"),
        (Thing(kind="house", color="blue", size="big"), "a big blue house"),
    ],
)
def test_noun_phrases(thing, phrase):
    assert noun_phrase(thing) == phrase


@pytest.mark.parametrize(
    ("kind", "other", "allowed"),
    [
        ("sun", "house", {"above", "over"}),
        ("car", "cloud", {"below", "under"}),
        ("fish", "boat", {"below", "under"}),
        ("ball", "tree", {"in front of", "next to", "beside", "near"}),
        ("bird", "kite", {"next to", "beside", "near"}),
    ],
)
def test_relations(kind, other, allowed):
    stream = Stream("relations")
    found = {relation(Thing(kind=kind), Thing(kind=other), stream) for _ in range(100)}
    assert found == allowed
