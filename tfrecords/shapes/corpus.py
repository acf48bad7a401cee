"""The text corpus: whole sentences about scenes without pictures, in another style.

Words and world are those of the captions, but the style is not: finite verbs, subordinate clauses,
adjectives, and occasionally things that are in no picture.
"""

from __future__ import annotations

from dataclasses import replace

from tfrecords.shapes.language import (
    action,
    groups,
    is_plural,
    join,
    noun_phrase,
    pronoun,
    relation,
    same_height,
    sentence,
    where,
)
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import MAX_CONCEPTS, Facts, Thing, concept_words, sample_facts

MIN_WORDS = 8
_ADJECTIVES = 0.25
_DAYTIME = ("on a lovely day", "early in the morning", "on a bright afternoon", "today")
_NIGHTTIME = ("at night", "at night", "late at night", "in the middle of the night")
_OTHERS = (
    "a dog",
    "a cat",
    "a horse",
    "a rabbit",
    "an old man",
    "a little girl",
    "some children",
    "a group of friends",
    "a train",
    "a farmer",
    "a goat",
    "a tall bridge",
    "a squirrel",
)
_DOING = (
    "playing nearby",
    "passing by",
    "resting close by",
    "not far away",
    "in the distance",
)
_TELLERS = (
    "my brother took a picture of",
    "our teacher made a drawing of",
    "the story begins with an image of",
    "the visitors admired the view of",
    "there was just",
    "nobody noticed",
)
_ELSEWHERE = (
    "in the old library",
    "at the crowded station",
    "in a busy kitchen",
    "behind the school",
    "at the village market",
    "in the museum",
    "around the playground",
    "across the bridge",
)
_BUSY = (
    "talk about the weather",
    "look for a place to rest",
    "listen to quiet music",
    "sell bread and cheese",
    "wait for the next train",
    "read their favourite books",
    "prepare dinner together",
    "play an exciting game",
)
_PEOPLE = (
    "a few friends",
    "two young women",
    "several tourists",
    "some children",
    "three old men",
    "many students",
    "the neighbours",
    "a couple of farmers",
)


def corpus_sentence(stream: Stream) -> str:
    """Returns a sentence of at least eight words about a new scene."""
    if stream.chance(0.04):
        # A real corpus has sentences without any detectable object.
        words = (stream.pick(_PEOPLE), stream.pick(_BUSY), stream.pick(_ELSEWHERE))
        return sentence(*words, stream.pick(_DAYTIME)) + "."
    return tell(_mentioned(sample_facts(stream), stream), stream, extras=0.15)


def tell(facts: Facts, stream: Stream, *, extras: float = 0.0) -> str:
    """Describes a scene in the style of the corpus.

    Args:
        facts: the scene; all its facts are mentioned.
        stream: chooses the words.
        extras: probability of something unrelated to the world of shapes.
    """
    templates = (_while, _see, _there, _main_first, _main_first)
    while True:
        template = stream.pick(templates)
        if stream.chance(0.2) and len(facts.things) > 1:
            template = _above_that
        if stream.chance(extras / 2):
            template = _told
        text = template(facts, stream)
        if stream.chance(extras):
            text = sentence(text, "with", stream.pick(_OTHERS), stream.pick(_DOING))
        short = len(text.split()) < MIN_WORDS
        if short or stream.chance(0.5 if facts.night else 0.08):
            text = sentence(text, stream.pick(_NIGHTTIME if facts.night else _DAYTIME))
        if len(text.split()) >= MIN_WORDS:
            return text + "."


def _mentioned(facts: Facts, stream: Stream) -> Facts:
    """Omits facts as a writer would, and those beyond the maximum number of concepts."""
    main = facts.things[0]
    place = None if stream.chance(0.08) else facts.place
    if main.color and stream.chance(0.06):
        main = replace(main, color=None)
    facts = replace(facts, place=place, things=(main, *facts.things[1:]))
    if len(concept_words(facts)) > MAX_CONCEPTS and main.size:
        facts = replace(facts, things=(replace(main, size=None), *facts.things[1:]))
    if len(concept_words(facts)) > MAX_CONCEPTS:
        facts = replace(facts, place=None)
    return facts


def _with(facts: Facts, stream: Stream, found: list[list[Thing]]) -> str:
    """Returns a phrase like `with the sun above it and two birds beside it`."""
    main = facts.things[0]
    parts = []
    for group in found:
        doing = action(group, stream)[1] if len(group) == 1 and stream.chance(0.5) else ""
        related = f"{relation(group[0], main, stream)} {pronoun([main])}"
        parts.append(sentence(join(group), doing, related))
    return "with " + " and ".join(parts) if parts else ""


def _main_clause(facts: Facts, stream: Stream) -> str:
    main = facts.things[0]
    verb, _ = action([main], stream)
    return sentence(noun_phrase(main), verb, where(facts, main, stream, _ADJECTIVES))


def _clause(group: list[Thing], main: Thing, stream: Stream) -> str:
    """Returns a clause like `the sun shines above it`."""
    verb, _ = action(group, stream)
    return sentence(join(group), verb, relation(group[0], main, stream), pronoun([main]))


def _while(facts: Facts, stream: Stream) -> str:
    found = groups(facts)
    clauses = [_clause(group, facts.things[0], stream) for group in found[:1]]
    link = stream.pick(("while", "and", "as"))
    rest = [f"and {_clause(group, facts.things[0], stream)}" for group in found[1:]]
    text = _main_clause(facts, stream)
    return sentence(text, link, *clauses, *rest) if clauses else text


def _main_first(facts: Facts, stream: Stream) -> str:
    main = facts.things[0]
    found = groups(facts)
    related = [f"{relation(main, group[0], stream)} {join(group)}" for group in found[:1]]
    rest = [f"and {_clause(group, main, stream)}" for group in found[1:]]
    return sentence(_main_clause(facts, stream), *related, *rest)


def _see(facts: Facts, stream: Stream) -> str:
    main = facts.things[0]
    start = stream.pick(("we can see", "here we see", "you can see"))
    here = where(facts, main, stream, _ADJECTIVES)
    doing = action([main], stream)[1] if stream.chance(0.7) else ""
    return sentence(start, noun_phrase(main), doing, here, _with(facts, stream, groups(facts)))


def _there(facts: Facts, stream: Stream) -> str:
    main = facts.things[0]
    here = where(facts, main, stream, _ADJECTIVES)
    be = "there are" if is_plural([main]) else "there is"
    company = _with(facts, stream, groups(facts))
    if stream.chance(0.3):
        return sentence(here, be, noun_phrase(main), company)
    doing = action([main], stream)[1] if stream.chance(0.7) else ""
    return sentence(be, noun_phrase(main), doing, here, company)


def _above_that(facts: Facts, stream: Stream) -> str:
    """Names the companions first: `the sun shines above a boat that sails on the sea`."""
    main = facts.things[0]
    found = groups(facts)
    group = found[-1]
    verb, _ = action(group, stream)
    does, _ = action([main], stream)
    rest = [f"and {_clause(other, main, stream)}" for other in found[:-1]]
    if same_height(group[0], main) and stream.chance(0.5) and not is_plural(group):
        return sentence(
            noun_phrase(group[0]),
            verb,
            f"to the {stream.pick(('left', 'right'))} of",
            noun_phrase(main),
            where(facts, main, stream, _ADJECTIVES),
            *rest,
        )
    start = sentence(join(group), verb, relation(group[0], main, stream), noun_phrase(main))
    return sentence(start, "that", does, where(facts, main, stream, _ADJECTIVES), *rest)


def _told(facts: Facts, stream: Stream) -> str:
    main = facts.things[0]
    here = where(facts, main, stream, _ADJECTIVES)
    company = _with(facts, stream, groups(facts))
    return sentence(stream.pick(_TELLERS), noun_phrase(main), here, company)
